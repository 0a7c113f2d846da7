"""Turns: a lock that goes to whoever waits for it, and not to whoever has just had it and wants it again.

Commits follow each other closely; with a plain lock nobody else would get between two of them. Decides nothing but the order.
"""

from __future__ import annotations

import threading


class Turns:
    """A lock for `with`; not to be taken twice."""

    __slots__ = ("_lock", "_next")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = threading.Lock()

    def __enter__(self) -> None:
        with self._next:  # kept while one waits, so that nobody overtakes it
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
