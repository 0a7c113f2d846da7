"""Commits on a thread of their own, so that the caller's thread can work while the disk does.

Decides nothing: whoever has a transaction open hands it over and gets it back when it is durable, or has failed. Only COMMIT
itself runs here: it keeps the interpreter free while it waits for the disk. Handing it over costs some 35 µs and hides as much
of the caller's work as the disk takes time; statements before it are too short for that.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Final

from obelisk.core.batch import Meanwhile, StoreFailed, UnitOutcome
from obelisk.store.sqlite.connection import Cursor, commit


class _Commit:
    """One of them; see `core.batch.Underway`."""

    __slots__ = ("_done", "_is_over", "error", "outcomes")

    def __init__(self, outcomes: list[UnitOutcome]) -> None:
        self.outcomes = outcomes
        self.error: BaseException | None = None
        self._is_over = False
        self._done = threading.Lock()
        self._done.acquire()

    def is_over(self) -> bool:
        return self._is_over

    def wait(self) -> None:
        if not self._is_over:
            with self._done:
                pass
        if self.error is not None:
            raise StoreFailed(f"the commit failed: {self.error}")

    def carry_out(self, cursor: Cursor) -> None:
        try:
            commit(cursor)
        except BaseException as error:  # noqa: BLE001 - it is the caller's
            self.error = error
        self._is_over = True
        self._done.release()


class Committer:
    """The thread, which starts with the first commit. One caller at a time."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._thread: threading.Thread | None = None
        self._go: Final = threading.Lock()
        self._go.acquire()
        self._begun: Final = threading.Lock()
        self._begun.acquire()
        self._next: _Commit | None = None

    def commit(self, outcomes: list[UnitOutcome], meanwhile: Meanwhile) -> None:
        """Makes the open transaction durable, while `meanwhile` runs here. Raises what the commit raises, and otherwise what
        `meanwhile` does; not before the commit is over.
        """
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="obelisk-commit", daemon=True)
            thread.start()  # it may be that there is no room for one: then there is none to end either
            self._thread = thread
        self._next = underway = _Commit(outcomes)
        self._go.release()
        self._begun.acquire()
        try:
            meanwhile(underway)
        finally:
            with suppress(StoreFailed):
                underway.wait()
            if underway.error is not None:
                raise underway.error

    def close(self) -> None:
        """Ends the thread."""
        if self._thread is not None:
            self._next = None
            self._go.release()
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while True:
            self._go.acquire()
            commit = self._next
            if commit is None:
                return
            self._begun.release()
            commit.carry_out(self._cursor)
