"""Peers: engines that others wrote, doing the same work with the same durability on the same machine.

`make bench-peers` installs them into `.venv/peers`, apart from everything else; what is not there is left out, and said. Each
peer's half that runs inside that environment (`*_worker.py`, `*_service.py`) imports nothing of Obelisk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.contenders import Contender


def installed() -> tuple[list[Contender], dict[str, str]]:
    """The peers that are there, and why others are not."""
    from benchmarks.peers.dbos import DbosPostgres, DbosSqlite
    from benchmarks.peers.restate import Restate

    there: list[Contender] = []
    absent: dict[str, str] = {}
    for peer in (DbosSqlite, DbosPostgres, Restate):
        problem = peer.missing()
        if problem is None:
            there.append(peer())
        else:
            absent[peer.name] = problem
    return there, absent
