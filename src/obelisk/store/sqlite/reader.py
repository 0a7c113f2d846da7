"""The read side of the SQLite store, for doors.

Decides which connection a call gets: a few are shared by all threads, the last one used first. Readers see what is committed,
and never wait for the writer. Must not write. How filters and pages become SQL is for `pages` and `lines`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import msgspec

from obelisk.core.backtraces import Backtrace
from obelisk.core.batch import Snapshot, StoreFailed
from obelisk.core.events import Created, Finished, LogEntry
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.lines import LineFilter, LinePage, StoredLogLine
from obelisk.core.reading import ExecutionFilter, FinalResult, Page
from obelisk.core.responses import Response
from obelisk.core.state import ExecutionState
from obelisk.store.sqlite import rows
from obelisk.store.sqlite.connection import Connection, DatabaseFault, explain, open_reader, reading
from obelisk.store.sqlite.lines import read_lines
from obelisk.store.sqlite.naming import Names
from obelisk.store.sqlite.pages import read_page


class SqliteReader:
    """`Reader` of a SQLite file; `SqliteStore.reader` makes one. For any number of threads, of which `connections_max` read at
    once and others wait. Every method may raise `StoreFailed`.
    """

    def __init__(self, path: str, *, pragmas: Mapping[str, str] | None = None, connections_max: int = 4) -> None:
        self._path = path
        self._pragmas = dict(pragmas or {})
        self._names = Names()
        self._free = threading.BoundedSemaphore(connections_max)
        self._idle: list[Connection] = []
        self._closed = threading.Event()

    def state(self, execution_id: ExecutionId) -> ExecutionState | None:
        """The state row."""
        with self._connection() as connection:
            return rows.find_state(connection, execution_id)

    def states(self, execution_ids: list[ExecutionId]) -> list[ExecutionState]:
        """State rows of those that exist, in the order asked for."""
        with self._connection() as connection:
            found = [rows.find_state(connection, execution_id) for execution_id in execution_ids]
        return [state for state in found if state is not None]

    def executions(self, where: ExecutionFilter, page: Page, now: Instant) -> list[ExecutionState]:
        """A page of state rows, newest first. A cursor or root that does not exist gives an empty page."""
        with self._connection() as connection:
            return read_page(connection, where, page, now)

    def created(self, execution_id: ExecutionId) -> Created | None:
        """Version 0 of the log."""
        for entry in self.events(execution_id, 0, 1):
            if isinstance(entry.event, Created):
                return entry.event
        return None

    def events(self, execution_id: ExecutionId, version_from: int, length: int) -> list[LogEntry]:
        """Entries from `version_from` on, ascending."""
        with self._connection() as connection:
            key = rows.key_of(connection, execution_id)
            return [] if key is None else rows.read_log(connection, self._names, key, version_from, max(length, 0))

    def responses(self, execution_id: ExecutionId, seq_from: int, length: int) -> list[Response]:
        """Responses from `seq_from` on, ascending."""
        with self._connection() as connection:
            key = rows.key_of(connection, execution_id)
            return [] if key is None else rows.read_responses(connection, self._names, key, seq_from, max(length, 0))

    def snapshot(self, execution_id: ExecutionId) -> Snapshot | None:
        """All of the execution, read in one transaction."""
        with self._connection() as connection, reading(connection):
            return rows.read_snapshot(connection, self._names, execution_id)

    def backtrace(self, execution_id: ExecutionId, version: int) -> Backtrace | None:
        """The kept backtrace of the host call that left event `version`."""
        with self._connection() as connection:
            key = rows.key_of(connection, execution_id)
            return None if key is None else rows.read_backtrace(connection, key, version)

    def backtraces(self, execution_id: ExecutionId, version_from: int, version_to: int) -> list[tuple[int, int]]:
        """Which backtraces are kept for a part of the log."""
        with self._connection() as connection:
            key = rows.key_of(connection, execution_id)
            return [] if key is None else rows.read_backtraces(connection, key, version_from, version_to)

    def result(self, execution_id: ExecutionId) -> FinalResult | None:
        """How it ended."""
        with self._connection() as connection:
            key = rows.key_of(connection, execution_id)
            state = None if key is None else rows.read_state(connection, key)
            if key is None or state is None or state.finished_at is None:
                return None
            for entry in rows.read_log(connection, self._names, key, state.next_version - 1, 1):
                if isinstance(entry.event, Finished):
                    return FinalResult(
                        state.created_at, state.first_scheduled_at, state.finished_at, entry.event.outcome
                    )
        raise StoreFailed(f"{self._path} is damaged: {execution_id} is finished, but its log has no end")

    def lines(self, where: LineFilter, page: LinePage) -> list[StoredLogLine]:
        """A page of what was logged, the oldest first."""
        with self._connection() as connection:
            return read_lines(connection, where, page)

    def close(self) -> None:
        """Frees connections; one that is in use, when its call ends."""
        self._closed.set()
        while self._idle:
            self._idle.pop().close()

    def _connect(self) -> Connection:
        with suppress(IndexError):
            return self._idle.pop()
        return open_reader(self._path, self._pragmas)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with self._free:
            if self._closed.is_set():
                raise StoreFailed(f"the reader of {self._path} was closed")
            try:
                connection = self._connect()
                try:
                    yield connection
                finally:
                    if self._closed.is_set():
                        connection.close()
                    else:
                        self._idle.append(connection)
            except (DatabaseFault, rows.Damaged, msgspec.DecodeError) as error:
                raise StoreFailed(f"cannot read {self._path}: {explain(error)}") from error
