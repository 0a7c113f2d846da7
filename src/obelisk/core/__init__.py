"""The pure heart of the engine: what happened, what it means and what a workflow may do next.

Nothing in this ring reads a clock, draws randomness, touches a file, a thread or a log. Time and new ids are arguments.
"""
