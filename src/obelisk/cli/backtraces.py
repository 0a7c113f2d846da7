"""`obelisk execution backtrace`: where in its code a workflow was."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Final, Self

import click
import grpc

from obelisk.cli import documents, texts
from obelisk.cli.arguments import VERSION, id_argument, json_option
from obelisk.cli.connection import Connection, api_url_option, code_of, connect
from obelisk.proto import obelisk_pb2 as pb

_TELL_EVERY_S: Final = 1.0
"""How often progress is told where there is no terminal."""
_AROUND: Final = 2
"""Lines of source before and after the one that is meant."""


class _Which(click.ParamType):  # type: ignore[type-arg]  # not generic in every release that fits
    """A version, `first` or `last`."""

    name = "VERSION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        """The number, or the word."""
        return str(value) if value in {"first", "last"} else VERSION.convert(value, param, ctx)


@click.command("backtrace")
@id_argument
@click.option(
    "--version",
    "which",
    metavar="VERSION",
    type=_Which(),
    default="last",
    show_default=True,
    help="Of the host call that left this event; or first, or last.",
)
@json_option
@api_url_option
def backtrace(*, execution_id: str, which: str | int, as_json: bool, api_url: str) -> None:
    """Show where in its code a workflow was when it left an event of its log, the innermost function first."""
    request = pb.GetBacktraceRequest(execution_id=pb.ExecutionId(id=execution_id))
    match which:
        case "first":
            request.first.SetInParent()
        case "last":
            request.last.SetInParent()
        case _:
            request.specific.version = int(which)
    with connect(api_url) as connection:
        found = connection.executions.GetBacktrace(request)
        if as_json:
            click.echo(documents.dumps(documents.document(found)))
            return
        stack = found.wasm_backtrace
        first, end = stack.version_min_including, stack.version_max_excluding
        log = connection.executions.ListExecutionEvents(
            pb.ListExecutionEventsRequest(execution_id=request.execution_id, version_from=first, length=end - first)
        )
        for event in log.events:
            click.echo(texts.event(event))
        if found.HasField("recorded_on"):
            click.echo(
                f"seen on {found.component_id.name} ({found.component_id.digest.digest}): {found.recorded_on.digest},"
                " which it ran on then, is not loaded any more"
            )
        if not stack.frames:
            click.echo("no frames: its code has no functions that wasmtime sees")
        sources = _Sources(connection, found.component_id)
        for number, frame in enumerate(stack.frames):
            for line in _frame(number, frame, sources):
                click.echo(line)


@click.command("persist-backtraces")
@id_argument
@json_option
@api_url_option
def persist_backtraces(*, execution_id: str, as_json: bool, api_url: str) -> None:
    """Make the backtraces of all host calls of a workflow and keep them."""
    request = pb.PersistExecutionBacktracesRequest(execution_id=pb.ExecutionId(id=execution_id))
    with connect(api_url) as connection, _Meter() as meter:
        for piece in connection.changes.PersistBacktraces(request):
            meter.show(piece)
    if as_json:
        click.echo(documents.dumps(documents.document(piece)))
        return
    click.echo(f"Persisted {piece.persisted_backtrace_count} backtraces")
    if piece.events_of_gone_components:
        click.echo(
            f"{piece.events_of_gone_components} events have none: the components that left them are not loaded any more"
        )


class _Meter:
    """Tells on stderr how far something has come: on a terminal in one line that is written again and again and then cleared, else in a
    line for each second.
    """

    def __init__(self) -> None:
        self._is_terminal = _is_terminal()
        self._told_at = time.monotonic()
        self._width = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._width:
            click.echo(f"\r{' ' * self._width}\r", nl=False, err=True)

    def show(self, piece: pb.PersistBacktracesResponse) -> None:
        """Tells of a piece that came, unless it is too early for that."""
        text = f"{piece.persisted_backtrace_count} backtraces, at version {piece.version} of {piece.next_version}"
        if self._is_terminal:
            click.echo(f"\r{text:{self._width}}", nl=False, err=True)
            self._width = len(text)
        elif time.monotonic() - self._told_at >= _TELL_EVERY_S:
            self._told_at = time.monotonic()
            click.echo(text, err=True)


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class _Sources:
    """Source files of a component, each asked for once."""

    def __init__(self, connection: Connection, component: pb.ComponentId) -> None:
        self._connection = connection
        self._component = component
        self._files: dict[str, list[str]] = {}

    def around(self, symbol: pb.FrameSymbol) -> list[tuple[int, str]]:
        """The lines around a place, with their numbers; empty when they are not known."""
        if not symbol.file or not symbol.line:
            return []
        if symbol.file not in self._files:
            self._files[symbol.file] = self._read(symbol.file)
        numbered = list(enumerate(self._files[symbol.file], 1))
        if symbol.line > len(numbered):
            return []
        return numbered[max(0, symbol.line - 1 - _AROUND) : symbol.line + _AROUND]

    def _read(self, file: str) -> list[str]:
        request = pb.GetBacktraceSourceRequest(component_id=self._component, file=file)
        try:
            content: str = self._connection.executions.GetBacktraceSource(request).content
        except grpc.RpcError as error:
            if code_of(error) is not grpc.StatusCode.NOT_FOUND:
                raise
            return []
        return content.splitlines()


def _frame(number: int, frame: pb.FrameInfo, sources: _Sources) -> list[str]:
    """A function, and those whose code is in it."""
    symbols = frame.symbols or [pb.FrameSymbol()]
    lines = []
    for index, symbol in enumerate(symbols):
        name = symbol.func_name or _name(frame)
        lines.append(f"{f'{number}:' if index == 0 else '':>4} {name}{_place(symbol)}")
        for at, text in sources.around(symbol):
            mark = ">" if at == symbol.line else " "
            lines.append(f"     {mark} {at:>5} | {text}".rstrip())
    return lines


def _name(frame: pb.FrameInfo) -> str:
    return frame.func_name if frame.module in {"", "<unknown>"} else f"{frame.module}!{frame.func_name}"


def _place(symbol: pb.FrameSymbol) -> str:
    if not symbol.file:
        return ""
    numbers = [str(number) for number in (symbol.line, symbol.col) if number]
    return " at " + ":".join((symbol.file, *numbers))
