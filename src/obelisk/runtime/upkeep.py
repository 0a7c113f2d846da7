"""Upkeep of the store, off the commit path: moves the write-ahead log into the database while commits go on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from obelisk.core.batch import StoreFailed
from obelisk.store.sqlite import SqliteStore

_PERIOD_S: Final = 1.0


class Upkeep:
    """A thread that looks after a store once a second, if anything was committed since."""

    def __init__(self, store: SqliteStore, on_failure: Callable[[BaseException], None]) -> None:
        self._store = store
        self._on_failure = on_failure
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="obelisk-upkeep", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stops the thread and waits for it."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        done = self._store.commits
        while not self._stopping.wait(_PERIOD_S):
            if self._store.commits == done:
                continue
            done = self._store.commits
            try:
                self._store.checkpoint()
            except StoreFailed as failure:
                self._on_failure(failure)
                return
