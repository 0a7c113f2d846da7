"""Lines: how what components log is kept in rows.

Decides which numbers stand for levels and streams, and how a reader's filter becomes SQL. Must not begin or commit.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from obelisk.core.calls import Log, LogLevel, LogLine, Output, StdStream
from obelisk.core.ids import ExecutionId
from obelisk.core.lines import LineFilter, LinePage, NewLogLine, StoredLogLine
from obelisk.store.sqlite import rows
from obelisk.store.sqlite.connection import Connection, select
from obelisk.store.sqlite.queries import sql

_PAGE: Final = sql("lines_page")
_OF_ONE: Final = sql("lines_of_one")
_OF_TREE: Final = sql("lines_of_tree")
_OF_SUBTREE: Final = sql("lines_of_subtree")
_OF_KINDS: Final = sql("lines_of_kinds")
_LATER: Final = sql("lines_later")
_NEWER: Final = sql("lines_newer")
_OLDER: Final = sql("lines_older")

_KINDS: Final[dict[LogLevel | StdStream, int]] = {
    LogLevel.TRACE: 1,
    LogLevel.DEBUG: 2,
    LogLevel.INFO: 3,
    LogLevel.WARN: 4,
    LogLevel.ERROR: 5,
    StdStream.STDOUT: 6,
    StdStream.STDERR: 7,
}
_MEANINGS: Final = {kind: meaning for meaning, kind in _KINDS.items()}


def line_row(line_id: int, root: int, key: int, new: NewLogLine) -> tuple[Any, ...]:
    """The row of a new line."""
    version, ordinal = (None, None) if new.place is None else new.place
    if isinstance(new.line, Log):
        kind, payload = _KINDS[new.line.level], new.line.message.encode("utf-8", "replace")
    else:
        kind, payload = _KINDS[new.line.stream], new.line.data
    return line_id, root, key, version, ordinal, new.run, new.created_at, kind, payload


def read_lines(connection: Connection, where: LineFilter, page: LinePage) -> list[StoredLogLine]:
    """A page of lines, the oldest first."""
    key = rows.key_of(connection, where.execution_id)
    if key is None:
        return []
    parameters: dict[str, Any] = {"length": max(page.length, 0)}
    top, dot, path = where.execution_id.partition(".")
    if not where.derived:
        conditions = [_OF_ONE]
        parameters["key"] = key
    elif not dot:
        conditions = [_OF_TREE]
        parameters["root"] = key
    else:
        conditions = [_OF_SUBTREE]
        parameters |= {"root": rows.key_of(connection, ExecutionId(top)), "path": path}
    wanted = {_KINDS[level] for level in where.levels} | {_KINDS[stream] for stream in where.streams}
    if len(wanted) < len(_KINDS):
        conditions.append(_OF_KINDS)
        parameters["kinds"] = msgspec.json.encode(sorted(wanted)).decode()
    if where.after is not None:
        conditions.append(_LATER)
        parameters["after"] = where.after
    if page.cursor is not None:
        conditions.append(_OLDER if page.older else _NEWER)
        parameters["cursor"] = page.cursor
    text = _PAGE.format(conditions=" AND ".join(conditions), direction="DESC" if page.older else "ASC")
    found = [_stored(*row) for row in select(connection, text, parameters)]
    return found[::-1] if page.older else found


def _stored(cursor: int, execution_id: Any, run: Any, created_at: Any, kind: int, payload: bytes) -> StoredLogLine:
    return StoredLogLine(cursor, execution_id, run, created_at, _line(_MEANINGS[kind], payload))


def _line(meaning: LogLevel | StdStream, payload: bytes) -> LogLine:
    if isinstance(meaning, LogLevel):
        return Log(meaning, payload.decode("utf-8", "replace"))
    return Output(meaning, payload)
