"""`obelisk execution logs`: what an execution logged, and wrote to its streams."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import click
from google.protobuf.timestamp_pb2 import Timestamp

from obelisk.cli import documents
from obelisk.cli.arguments import check_follow, follow_options, id_argument, json_option
from obelisk.cli.connection import Connection, api_url_option, connect
from obelisk.cli.following import Follower
from obelisk.proto import obelisk_pb2 as pb

_PAGE: Final = 200
_LIMIT: Final = 20
_LEVELS: Final = {
    "trace": pb.LOG_LEVEL_TRACE,
    "debug": pb.LOG_LEVEL_DEBUG,
    "info": pb.LOG_LEVEL_INFO,
    "warn": pb.LOG_LEVEL_WARN,
    "error": pb.LOG_LEVEL_ERROR,
}
_STREAMS: Final = {"stdout": pb.LOG_STREAM_TYPE_STDOUT, "stderr": pb.LOG_STREAM_TYPE_STDERR}
_WIDTH: Final = len("STDOUT")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal might obey."""


class InstantType(click.ParamType):  # type: ignore[type-arg]  # not generic in every release that fits
    """An instant in RFC 3339."""

    name = "RFC3339"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Timestamp:
        """The instant."""
        found = Timestamp()
        try:
            found.FromJsonString(value)
            datetime.fromisoformat(value[:10])
        except ValueError:
            self.fail(f"{value!r} is no instant such as 2026-01-31T09:30:00Z", param, ctx)
        return found


@click.command("logs")
@id_argument
@click.option("--show-derived", is_flag=True, help="Also those of all executions that derive from it.")
@click.option(
    "--level",
    type=click.Choice([*_LEVELS, "off"]),
    default="debug",
    show_default=True,
    help="Lines of obelisk:log from this level on.",
)
@click.option(
    "--stream-type",
    "streams",
    type=click.Choice([*_STREAMS, "none"]),
    multiple=True,
    help="Only this stream; may be given twice. [default: both]",
)
@click.option("--show-run-id", is_flag=True, help="Which run a line is from.")
@click.option("--after", type=InstantType(), help="Only what was logged later.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(1), help=f"Print at most N. [default: {_LIMIT}; all with --follow]"
)
@follow_options("Go on until it has finished.")
@json_option
@api_url_option
@click.pass_context
def logs(
    context: click.Context,
    *,
    execution_id: str,
    show_derived: bool,
    level: str,
    streams: tuple[str, ...],
    show_run_id: bool,
    after: Timestamp | None,
    limit: int | None,
    follow: bool,
    no_reconnect: bool,
    as_json: bool,
    api_url: str,
) -> None:
    """Print what the execution logged and wrote to its streams, the oldest first."""
    check_follow(follow=follow, no_reconnect=no_reconnect)
    if "none" in streams and (len(set(streams)) > 1 or level == "off"):
        raise click.UsageError("--stream-type none leaves nothing to show, or contradicts another --stream-type")
    request = pb.ListLogsRequest(
        execution_id=pb.ExecutionId(id=execution_id),
        page_size=_PAGE,
        show_logs=level != "off",
        show_streams="none" not in streams,
        levels=[] if level == "off" else [number for number in _LEVELS.values() if number >= _LEVELS[level]],
        stream_types=[] if "none" in streams else [_STREAMS[stream] for stream in streams],
        show_derived=show_derived,
        after=after,
    )
    printer = _Printer(as_json=as_json, show_run=show_run_id, show_execution=show_derived)
    with connect(api_url) as connection:
        if follow:
            follower = Follower(connection, execution_id, reconnect=not no_reconnect)
            with follower.leaving():
                _print(follower.logs(request), limit, printer)
        else:
            limit = limit or _LIMIT
            request.page_size = min(_PAGE, limit + 1)
            has_more = _print(_pages(connection, request), limit, printer)
            if has_more:
                click.echo("there are more lines; see --limit, --after and --follow", err=True)


def _pages(connection: Connection, request: pb.ListLogsRequest) -> Iterator[pb.ListLogsResponse.LogEntry]:
    while True:
        page = connection.executions.ListLogs(request)
        yield from page.logs
        if not page.logs:
            return
        request.page_token = page.next_page_token


def _print(entries: Iterator[pb.ListLogsResponse.LogEntry], limit: int | None, printer: _Printer) -> bool:
    """Prints up to `limit`; whether there are more."""
    printer.begin()
    has_more = False
    for count, entry in enumerate(entries):
        if count == limit:
            has_more = True
            break
        printer.entry(entry)
    printer.end()
    return has_more


class _Printer:
    """Lines as text, or one JSON array of them, written as they come."""

    def __init__(self, *, as_json: bool, show_run: bool, show_execution: bool) -> None:
        self._as_json = as_json
        self._show_run = show_run
        self._show_execution = show_execution
        self._count = 0

    def begin(self) -> None:
        if self._as_json:
            click.echo("[", nl=False)

    def entry(self, entry: pb.ListLogsResponse.LogEntry) -> None:
        if self._as_json:
            text = json.dumps(documents.document(entry), ensure_ascii=False)
            click.echo(f"{',' if self._count else ''}\n  {text}", nl=False)
        else:
            click.echo(self._text(entry))
        self._count += 1

    def end(self) -> None:
        if self._as_json:
            click.echo("\n]" if self._count else "]")

    def _text(self, entry: pb.ListLogsResponse.LogEntry) -> str:
        if entry.WhichOneof("entry") == "stream":
            kind = pb.LogStreamType.Name(entry.stream.stream_type).removeprefix("LOG_STREAM_TYPE_")
            message = entry.stream.payload.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
        else:
            kind = pb.LogLevel.Name(entry.log.level).removeprefix("LOG_LEVEL_")
            message = entry.log.message
        whose = [entry.execution_id.id] if self._show_execution else []
        if self._show_run:
            whose.append(entry.run_id.id or "-")
        shown = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", message)
        return " ".join([nanoseconds(entry.created_at), f"[{kind:{_WIDTH}}]", *whose, shown])


def nanoseconds(at: Timestamp) -> str:
    """`2026-04-14T10:00:00.000000000Z`: all of the same width."""
    whole = Timestamp(seconds=at.seconds).ToJsonString().removesuffix("Z")
    return f"{whole}.{at.nanos:09}Z"
