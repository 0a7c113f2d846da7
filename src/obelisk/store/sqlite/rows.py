"""Rows: reading what the tables hold back into the core's types.

Decides how a row becomes a state, an event, a response; the writer's `load` and all readers use it. Must not write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from obelisk.core.backtraces import Backtrace, Frame
from obelisk.core.batch import Delay, Request, RequestBody, Snapshot
from obelisk.core.events import Event, Finished, LogEntry
from obelisk.core.ids import ChildId, Digest, ExecutionId, is_top_level, join_set_of, relative
from obelisk.core.responses import ChildFinished, DelayFinished, Response
from obelisk.core.state import ExecutionState, Lifecycle, Status
from obelisk.store.sqlite.connection import Connection, select, select_one
from obelisk.store.sqlite.naming import Names, decode
from obelisk.store.sqlite.queries import sql

_KEY_OF: Final = sql("key_of")
_STATE: Final = sql("state")
_LOG: Final = sql("log")
_RESPONSES: Final = sql("responses")
_REQUESTS: Final = sql("requests")
_DELAYS: Final = sql("delays")
_BACKTRACE: Final = sql("backtrace")
_BACKTRACES: Final = sql("backtraces")

ALL: Final = -1
"""As a length: no limit."""

request_body_encode: Final = msgspec.json.Encoder().encode
frames_encode: Final = msgspec.json.Encoder().encode
_frames_decode: Final = msgspec.json.Decoder(tuple[Frame, ...]).decode
_request_body_decode: Final = msgspec.json.Decoder(RequestBody).decode
T = TypeVar("T")


def place_of_event(key: int, version: int) -> int:
    """Where an event is in the table `log`."""
    return (key << 32) + version


class Damaged(Exception):
    """Rows contradict each other."""


def key_of(connection: Connection, execution_id: ExecutionId) -> int | None:
    """The key of an execution; None when it does not exist."""
    head, dot, path = execution_id.partition(".")
    row = select_one(connection, _KEY_OF, (0, head))
    if row is not None and dot:
        row = select_one(connection, _KEY_OF, (row[0], path))
    return None if row is None else int(row[0])


_END: Final = 29
"""Where the fields of a state end in the view: what follows is for conditions."""


def state_from(row: Any) -> ExecutionState:
    """The state that a row of the view `states` holds."""
    execution_id = row[3]
    join_set = None if is_top_level(execution_id) else join_set_of(relative(execution_id))
    values = (
        *row[3:9],
        join_set,
        row[9],
        Status(row[10]),
        Lifecycle(row[11]),
        *row[12:20],
        bool(row[20]),
        *row[21:_END],
    )
    return ExecutionState(*values)  # in the order of its fields; a test compares


def read_state(connection: Connection, key: int) -> ExecutionState | None:
    """The state row of `key`."""
    row = select_one(connection, _STATE, (key,))
    return None if row is None else state_from(row)


def find_state(connection: Connection, execution_id: ExecutionId) -> ExecutionState | None:
    """The state row of that id, if there is one."""
    key = key_of(connection, execution_id)
    return None if key is None else read_state(connection, key)


def read_log(connection: Connection, names: Names, key: int, version_from: int, length: int) -> list[LogEntry]:
    """Entries of a log, ascending."""
    first, end = place_of_event(key, 0), place_of_event(key + 1, 0)
    start = min(first + max(version_from, 0), end)
    rows = select(connection, _LOG, (start, end, length))

    def entries() -> list[LogEntry]:
        return [
            LogEntry(place - first, created_at, decode(event, event_format, names))
            for place, created_at, event_format, event in rows
        ]

    return _with_names(connection, names, entries)


def read_responses(connection: Connection, names: Names, key: int, seq_from: int, length: int) -> list[Response]:
    """Responses, ascending."""
    rows = select(connection, _RESPONSES, (key, seq_from, length))
    return _with_names(connection, names, lambda: [_response(row, names) for row in rows])


def _response(row: Any, names: Names) -> Response:
    seq, created_at, delay, ok, path, version, event_format, event = row
    if delay is not None:
        return Response(seq, created_at, join_set_of(delay), DelayFinished(delay, bool(ok)))
    finished: Event | None = None if event is None else decode(event, event_format, names)
    if not isinstance(finished, Finished):
        raise Damaged(f"response {seq} names version {version} of {path}, which is not the end of its log")
    child = ChildId(path.rpartition(".")[2])
    return Response(seq, created_at, join_set_of(child), ChildFinished(child, version, finished.outcome))


def read_requests(connection: Connection, key: int, execution_id: ExecutionId) -> list[Request]:
    """The inbox, by id."""
    rows = select(connection, _REQUESTS, (key,))
    return [
        Request(execution_id, created_at, _request_body_decode(body), request_id)
        for request_id, created_at, body in rows
    ]


def read_delays(connection: Connection, key: int, execution_id: ExecutionId) -> list[Delay]:
    """Unresolved delays, by expiry."""
    rows = select(connection, _DELAYS, (key,))
    return [Delay(execution_id, delay, expires_at) for delay, expires_at in rows]


def read_backtrace(connection: Connection, key: int, version: int) -> Backtrace | None:
    """The backtrace that covers `version`."""
    row = select_one(connection, _BACKTRACE, (key, version))
    if row is None or version >= row[1]:
        return None
    first, end, component, frames = row
    return Backtrace(first, end, Digest(component), _frames_decode(frames))


def read_backtraces(connection: Connection, key: int, version_from: int, version_to: int) -> list[tuple[int, int]]:
    """The first event of each that concerns a part of the log, and the one after its last."""
    return select(connection, _BACKTRACES, (key, version_to, version_from))


def read_snapshot(connection: Connection, names: Names, execution_id: ExecutionId) -> Snapshot | None:
    """All of an execution; delays by expiry. None when it does not exist."""
    key = key_of(connection, execution_id)
    state = None if key is None else read_state(connection, key)
    if key is None or state is None:
        return None
    return Snapshot(
        state,
        read_log(connection, names, key, 0, ALL),
        read_responses(connection, names, key, 0, ALL),
        read_requests(connection, key, execution_id),
        read_delays(connection, key, execution_id),
    )


def _with_names(connection: Connection, names: Names, read: Callable[[], list[T]]) -> list[T]:
    try:
        return read()
    except KeyError:
        names.refresh(connection)
    try:
        return read()
    except KeyError as error:
        raise Damaged(f"the log uses the name {error}, which is not there") from error
