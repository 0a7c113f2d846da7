"""Lines of executions on the wire: requests for them read and checked, answers written.

Decides what a page token is: standard base64 of `{"NewerThan":{"cursor":N}}` or `{"OlderThan":{"cursor":N}}`. What is none
means the beginning.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Final

import msgspec

from obelisk.api.errors import InvalidArgument
from obelisk.api.lines import PAGE_MAX
from obelisk.core.calls import Log, LogLevel, StdStream
from obelisk.core.lines import LEVELS, STREAMS, LineFilter, LinePage, StoredLogLine
from obelisk.proto import obelisk_pb2 as pb
from obelisk.server import requests
from obelisk.server.answers import fitting
from obelisk.server.messages import execution_id, timestamp

LOGS_LENGTH: Final = 20
"""Lines of a page whose request asks for no length, or for one that is too long."""
_CURSOR_MAX: Final = 2**63 - 1

_LEVELS: Final = {
    LogLevel.TRACE: pb.LOG_LEVEL_TRACE,
    LogLevel.DEBUG: pb.LOG_LEVEL_DEBUG,
    LogLevel.INFO: pb.LOG_LEVEL_INFO,
    LogLevel.WARN: pb.LOG_LEVEL_WARN,
    LogLevel.ERROR: pb.LOG_LEVEL_ERROR,
}
_STREAMS: Final = {
    StdStream.STDOUT: pb.LOG_STREAM_TYPE_STDOUT,
    StdStream.STDERR: pb.LOG_STREAM_TYPE_STDERR,
}
_LEVELS_READ: Final = {number: level for level, number in _LEVELS.items()}
_STREAMS_READ: Final = {number: stream for stream, number in _STREAMS.items()}


class _Cursor(msgspec.Struct):
    cursor: int


class _Token(msgspec.Struct, omit_defaults=True, rename="pascal"):
    newer_than: _Cursor | None = None
    older_than: _Cursor | None = None


_token: Final = msgspec.json.Decoder(_Token)


def where_of(request: pb.ListLogsRequest) -> LineFilter:
    """Which lines are asked for. `InvalidArgument`."""
    if not request.show_logs and not request.show_streams:
        raise InvalidArgument("one of `show_logs` and `show_streams` must be set")
    try:
        levels = tuple(_LEVELS_READ[number] for number in request.levels)
        streams = tuple(_STREAMS_READ[number] for number in request.stream_types)
    except KeyError as error:
        raise InvalidArgument(f"{error} is no level of a line, or no type of a stream") from None
    return LineFilter(
        requests.execution_id_in(request),
        derived=request.show_derived,
        levels=(levels or LEVELS) if request.show_logs else (),
        streams=(streams or STREAMS) if request.show_streams else (),
        after=requests.instant(request.after) if request.HasField("after") else None,
    )


def page_of(request: pb.ListLogsRequest) -> LinePage:
    """Which of them."""
    length = request.page_size if 1 <= request.page_size <= PAGE_MAX else LOGS_LENGTH
    cursor, older = _read_token(request.page_token)
    return LinePage(length, cursor, older)


def page(found: list[StoredLogLine], of: LinePage) -> pb.ListLogsResponse:
    """A page; of lines that are longer than a message may be, those at its beginning."""
    if of.older:
        entries = fitting(map(_entry, reversed(found)))[::-1]
        found = found[len(found) - len(entries) :]
    else:
        entries = fitting(map(_entry, found))
        found = found[: len(entries)]
    if found:
        first, last = found[0].cursor, found[-1].cursor
    else:
        first = last = of.cursor or 0
        if of.older:
            last = max(0, last - 1)
    answer = pb.ListLogsResponse(logs=entries, next_page_token=_written(_Token(newer_than=_Cursor(last))))
    if of.cursor is not None:
        answer.prev_page_token = _written(_Token(older_than=_Cursor(first)))
    return answer


def pieces(found: list[StoredLogLine]) -> Iterable[pb.ListLogsResponse]:
    """What a follower gets: as many messages as the lines need."""
    while found:
        piece = page(found, LinePage())
        yield piece
        found = found[len(piece.logs) :]


def _entry(line: StoredLogLine) -> pb.ListLogsResponse.LogEntry:
    entry = pb.ListLogsResponse.LogEntry(
        created_at=timestamp(line.created_at), execution_id=execution_id(line.execution_id)
    )
    if line.run is not None:
        entry.run_id.id = line.run
    if isinstance(line.line, Log):
        entry.log.level, entry.log.message = _LEVELS[line.line.level], line.line.message
    else:
        entry.stream.stream_type, entry.stream.payload = _STREAMS[line.line.stream], line.line.data
    return entry


def _written(token: _Token) -> str:
    return base64.b64encode(msgspec.json.encode(token)).decode()


def _read_token(text: str) -> tuple[int | None, bool]:
    try:
        token = _token.decode(base64.b64decode(text, validate=True))
    except (binascii.Error, msgspec.MsgspecError, ValueError):
        return None, False
    place, older = (token.newer_than, False) if token.older_than is None else (token.older_than, True)
    return (None, False) if place is None or not 0 <= place.cursor <= _CURSOR_MAX else (place.cursor, older)
