"""Upkeep of the store, off the commit path: room for the write-ahead log, which is moved into the database while commits go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from obelisk.core.batch import StoreFailed
from obelisk.store.sqlite import SqliteStore

_PERIOD_S: Final = 1.0
_ROOM_WAIT_S: Final = 0.25
"""How long a start waits for room in the log; it takes a third of that on a common disk."""


class Upkeep:
    """A thread that looks after a store when that is wanted, and once a second if anything was committed since."""

    def __init__(self, store: SqliteStore, on_failure: Callable[[BaseException], None]) -> None:
        self._store = store
        self._on_failure = on_failure
        self._is_stopping = False
        self._has_looked = threading.Event()
        self._thread = threading.Thread(target=self._run, name="obelisk-upkeep", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def wait_for_room(self) -> None:
        """Returns once the first commits are as fast as all others, or `_ROOM_WAIT_S` later."""
        self._has_looked.wait(_ROOM_WAIT_S)

    def stop(self) -> None:
        """Stops the thread and waits for it."""
        self._is_stopping = True
        self._store.wants_upkeep.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        done, due = self._store.commits, time.monotonic() + _PERIOD_S
        while True:
            is_wanted = self._store.wants_upkeep.wait(max(0.0, due - time.monotonic()))
            if self._is_stopping:
                return
            is_due = time.monotonic() >= due
            if is_due:
                due = time.monotonic() + _PERIOD_S
            is_due = is_due and self._store.commits != done
            if not is_wanted and not is_due:
                continue
            if is_due:
                done = self._store.commits
            try:
                self._store.upkeep(checkpoint=is_due)
                self._has_looked.set()
            except StoreFailed as failure:
                self._on_failure(failure)
                return
