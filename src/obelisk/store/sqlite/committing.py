"""Commits on a thread of their own, so that the caller's thread can work while the disk does.

Decides nothing: whoever has a transaction open hands it over and gets it back when it is durable, or has failed. Only COMMIT
itself runs here: it keeps the interpreter free while it waits for the disk. Handing it over costs some 35 µs and hides as much
of the caller's work as the disk takes time; statements before it are too short for that.
"""

from __future__ import annotations

import threading
from typing import Final

from obelisk.core.batch import Meanwhile
from obelisk.store.sqlite.connection import Cursor, commit


class Committer:
    """The thread, which starts with the first commit. One caller at a time."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._thread: threading.Thread | None = None
        self._go: Final = threading.Lock()
        self._done: Final = threading.Lock()
        self._go.acquire()
        self._done.acquire()
        self._is_done = False
        self._closing = False
        self._error: BaseException | None = None

    def commit(self, meanwhile: Meanwhile) -> None:
        """Makes the open transaction durable, while `meanwhile` runs here. Raises what the commit raises, and otherwise what
        `meanwhile` does; not before the commit is over.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="obelisk-commit", daemon=True)
            self._thread.start()
        self._is_done = False
        self._go.release()
        try:
            meanwhile(lambda: self._is_done)
        finally:
            self._done.acquire()
            error, self._error = self._error, None
            if error is not None:
                raise error

    def close(self) -> None:
        """Ends the thread."""
        if self._thread is not None:
            self._closing = True
            self._go.release()
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while True:
            self._go.acquire()
            if self._closing:
                return
            try:
                commit(self._cursor)
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                self._error = error
            self._is_done = True
            self._done.release()
