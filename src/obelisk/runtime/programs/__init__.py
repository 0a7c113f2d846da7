"""Programs of the host that activities run: started, watched over, and ended with everything that they started.

Three processes stand between a server and a program, so that none of them can outlive the server:

    server ─ socket ─▶ keeper ─ forks ─▶ guard, one for each program ─ forks ─▶ program ─▶ whatever it starts
       └──────────────── leash: a socket to each guard ──┘

`keeper` is that process' code, `launching` the server's side of it. Which programs may be run, `copies` and `core.policy`
decide.
"""
