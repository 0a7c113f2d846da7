"""`obelisk execution`: submitting executions and seeing what became of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import click

from obelisk.cli import documents, texts
from obelisk.cli.connection import Connection, api_url_option, connect
from obelisk.cli.following import Follower
from obelisk.cli.params import params_json
from obelisk.core.ids import InvalidId, is_top_level, parse_execution_id
from obelisk.core.names import InvalidName, parse_function_name
from obelisk.proto import obelisk_pb2 as pb

_PAGE: Final = 1_000
_LIMIT: Final = 20
_SHORT: Final = ".../"

F = TypeVar("F", bound=Callable[..., Any])


class ExecutionIdType(click.ParamType):  # type: ignore[type-arg]  # not generic in every release that fits
    """An execution id; anything else makes the command line wrong."""

    name = "ID"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The id as text."""
        try:
            return parse_execution_id(value)
        except InvalidId as error:
            self.fail(str(error), param, ctx)


class FunctionType(click.ParamType):  # type: ignore[type-arg]
    """A function's name, whole or short (`.../ifc.fn`)."""

    name = "FUNCTION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name as text, still short if it was."""
        if value.startswith(_SHORT) and value.removeprefix(_SHORT).count(".") == 1:
            return str(value)
        try:
            return parse_function_name(value)
        except InvalidName as error:
            self.fail(f"{error}, or .../interface.function for short", param, ctx)


class TextType(click.ParamType):  # type: ignore[type-arg]
    """Any text; bytes that are none make the command line wrong."""

    name = "TEXT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text."""
        try:
            str(value).encode()
        except UnicodeEncodeError:  # bytes that Python could not decode are surrogates
            self.fail(f"{value!a} is not UTF-8", param, ctx)
        return str(value)


class SubmitCommand(click.Command):
    """Remembers whether `--` stood before the parameters, which the grammar of parameters needs to know."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Looks before the parser throws it away."""
        ctx.meta["obelisk.separate"] = "--" in args
        return super().parse_args(ctx, args)


_ID: Final = ExecutionIdType()
_json_option: Final = click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")
_POSITION: Final = click.IntRange(0, 2**32 - 1)
_limit_option: Final = click.option(
    "--limit", metavar="N", type=click.IntRange(1), default=_LIMIT, show_default=True, help="Print at most N."
)


def _follow_options(what: str) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        function = click.option(
            "--no-reconnect", is_flag=True, help="With --follow: give up when the connection breaks."
        )(function)
        return click.option("-f", "--follow", is_flag=True, help=what)(function)

    return decorate


@click.group("execution")
def execution() -> None:
    """Submit executions and see what became of them."""


# --- submit ----------------------------------------------------------------------------------------------------------


@execution.command("submit", cls=SubmitCommand)
@click.argument("function", type=FunctionType())
@click.argument("params", nargs=-1)
@_follow_options("Wait for the end, showing what happens; the exit code is 1 unless it ends well.")
@_json_option
@click.option(
    "-e", "--execution-id", metavar="ID", type=_ID, help="Choose the id; repeating a submission is then safe."
)
@api_url_option
@click.pass_context
def submit(
    context: click.Context,
    *,
    function: str,
    params: tuple[str, ...],
    follow: bool,
    no_reconnect: bool,
    as_json: bool,
    execution_id: str | None,
    api_url: str,
) -> None:
    """Call FUNCTION as a new execution.

    FUNCTION is namespace:package/interface.function, or .../interface.function where that is unique. PARAMS is one JSON
    array, or one JSON value per parameter (a single one after --); @FILE stands for what FILE holds.
    """
    if no_reconnect and not follow:
        raise click.UsageError("--no-reconnect needs --follow")
    if execution_id is not None and not is_top_level(parse_execution_id(execution_id)):
        raise click.UsageError(f"{execution_id} is a derived id; only top-level executions can be submitted")
    data = params_json(params, separate=context.meta["obelisk.separate"])
    with connect(api_url) as connection:
        name = _resolve(connection, function)
        if execution_id is None:
            execution_id = connection.executions.GenerateExecutionId(pb.GenerateExecutionIdRequest()).execution_id.id
        request = pb.SubmitRequest(execution_id=pb.ExecutionId(id=execution_id), function_name=name)
        request.params.type_url = f"urn:obelisk:json:params:{texts.ffqn(name)}"
        request.params.value = data
        connection.executions.Submit(request)
        if not as_json:
            click.echo(execution_id)
        elif not follow:
            click.echo(documents.dumps({"ok": execution_id}))
        if follow:
            follower = Follower(connection, execution_id, reconnect=not no_reconnect, known=True)
            with follower.leaving():
                code = _follow_to_the_end(follower, execution_id, as_json=as_json)
            context.exit(code)


def _resolve(connection: Connection, function: str) -> pb.FunctionName:
    """The name as the server knows it; a short one must fit exactly one function."""
    if not function.startswith(_SHORT):
        interface, _, name = function.rpartition(".")
        return pb.FunctionName(interface_name=interface, function_name=name)
    wanted, _, name = function.removeprefix(_SHORT).rpartition(".")
    found = [
        export.function_name
        for component in connection.functions.ListComponents(pb.ListComponentsRequest()).components
        for export in component.exports
        if export.submittable
        and export.function_name.function_name == name
        and export.function_name.interface_name.rpartition("/")[2].partition("@")[0] == wanted.partition("@")[0]
        and export.function_name.interface_name.endswith(wanted if "@" in wanted else "")
    ]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(map(texts.ffqn, found))
        raise click.ClickException(f"{function} could be any of {names}; write the one that is meant in full")
    raise click.ClickException(f"function not found: no deployed component exports {function}; see component list")


# --- following -------------------------------------------------------------------------------------------------------


def _follow_to_the_end(follower: Follower, execution_id: str, *, as_json: bool) -> int:
    """Follows to the end and prints it; the exit code."""
    if not as_json and _is_terminal():
        from rich.console import Console

        from obelisk.cli.live import LiveTree

        LiveTree(Console(), execution_id).follow(follower.tree())
        finished = _finished(follower.states())
        _print_end(finished)
    elif as_json:
        finished = _finished(follower.states())
        click.echo(documents.dumps(documents.document(finished.value)))
    else:
        finished = _finished(_printing(follower.states()))
        _print_end(finished)
    return _exit_code(finished)


def _is_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _printing(states: Iterator[Any]) -> Iterator[Any]:
    """Prints a line whenever the state is another one."""
    last = None
    for message in states:
        if not isinstance(message, pb.FinishedStatus):
            status = message.current_status if isinstance(message, pb.ExecutionSummary) else message
            line = texts.status(status)
            if line != last:
                click.echo(line)
            last = line
        yield message


def _finished(states: Iterator[Any]) -> pb.FinishedStatus:
    for message in states:
        if isinstance(message, pb.FinishedStatus):
            return message
    raise click.ClickException("the server ended the stream before the execution had finished; ask again")


def _print_end(finished: pb.FinishedStatus) -> None:
    took = finished.finished_at.ToMicroseconds() - finished.created_at.ToMicroseconds()
    click.echo(f"Execution finished: {texts.result(finished.value)}\n\nExecution took {texts.seconds(took)}.")


def _exit_code(finished: pb.FinishedStatus) -> int:
    return 0 if finished.value.WhichOneof("value") == "ok" else 1


# --- status, get, result ---------------------------------------------------------------------------------------------


@click.command("status")
@click.argument("execution_id", metavar="ID", type=_ID)
@_follow_options("Go on until it has finished.")
@_json_option
@api_url_option
@click.pass_context
def status(
    context: click.Context, *, execution_id: str, follow: bool, no_reconnect: bool, as_json: bool, api_url: str
) -> None:
    """Show what the execution is doing. `get` is the same."""
    if no_reconnect and not follow:
        raise click.UsageError("--no-reconnect needs --follow")
    with connect(api_url) as connection:
        if follow:
            follower = Follower(connection, execution_id, reconnect=not no_reconnect)
            with follower.leaving():
                if as_json:
                    code = _exit_code(_finished(follower.states()))
                    click.echo(documents.dumps(documents.document(_status_of(connection, execution_id)[0])))
                else:
                    code = _follow_to_the_end(follower, execution_id, as_json=False)
            context.exit(code)
        summary, finished_status = _status_of(connection, execution_id)
        if as_json:
            click.echo(documents.dumps(documents.document(summary)))
            return
        click.echo(texts.status(summary.current_status))
        if finished_status is not None:
            _print_end(finished_status)


execution.add_command(status)
execution.add_command(status, "get")


def _status_of(connection: Connection, execution_id: str) -> tuple[pb.ExecutionSummary, pb.FinishedStatus | None]:
    request = pb.GetStatusRequest(execution_id=pb.ExecutionId(id=execution_id), send_finished_status=True)
    messages = list(connection.executions.GetStatus(request))
    return messages[0].summary, messages[1].finished_status if len(messages) > 1 else None


@execution.command("result")
@click.argument("execution_id", metavar="ID", type=_ID)
@_follow_options("Wait for it.")
@_json_option
@api_url_option
@click.pass_context
def result(
    context: click.Context, *, execution_id: str, follow: bool, no_reconnect: bool, as_json: bool, api_url: str
) -> None:
    """Print how the execution ended; the exit code is 1 unless it ended well."""
    if no_reconnect and not follow:
        raise click.UsageError("--no-reconnect needs --follow")
    with connect(api_url) as connection:
        if follow:
            follower = Follower(connection, execution_id, reconnect=not no_reconnect)
            with follower.leaving():
                finished = _finished(follower.states())
        else:
            _, found = _status_of(connection, execution_id)
            if found is None:
                raise click.ClickException("execution not finished yet; --follow waits for it")
            finished = found
    if as_json:
        click.echo(documents.dumps(documents.document(finished.value)))
    else:
        click.echo(texts.result(finished.value))
    context.exit(_exit_code(finished))


# --- lists -----------------------------------------------------------------------------------------------------------


@execution.command("list")
@click.option("--ffqn", metavar="PREFIX", type=TextType(), help="Only functions whose name begins so.")
@click.option("-e", "--execution-id", metavar="PREFIX", type=TextType(), help="Only executions whose id begins so.")
@click.option("--show-derived", is_flag=True, help="Executions that others called, too.")
@click.option("--hide-finished", is_flag=True, help="Only executions that go on.")
@_limit_option
@_json_option
@api_url_option
def list_(
    *,
    ffqn: str | None,
    execution_id: str | None,
    show_derived: bool,
    hide_finished: bool,
    limit: int,
    as_json: bool,
    api_url: str,
) -> None:
    """List executions, newest first."""
    request = pb.ListExecutionsRequest(
        top_level_only=not show_derived, hide_finished=hide_finished, execution_id_prefix=execution_id
    )
    if ffqn is not None:
        request.function_filter.function_name = ffqn
    found: list[pb.ExecutionSummary] = []
    with connect(api_url) as connection:
        while len(found) < limit:
            request.older_than.length = min(_PAGE, limit - len(found))
            page = connection.executions.ListExecutions(request).executions
            if not page:
                break
            found += page
            request.older_than.cursor.execution_id.CopyFrom(page[-1].execution_id)
    _print_list(found, texts.summary, as_json=as_json)


@execution.command("events")
@click.argument("execution_id", metavar="ID", type=_ID)
@click.option("--from", "version", metavar="VERSION", type=_POSITION, default=0, help="Begin with this one.")
@_limit_option
@_json_option
@api_url_option
def events(*, execution_id: str, version: int, limit: int, as_json: bool, api_url: str) -> None:
    """Print the execution's log."""
    found: list[pb.ExecutionEvent] = []
    with connect(api_url) as connection:
        while len(found) < limit:
            request = pb.ListExecutionEventsRequest(
                execution_id=pb.ExecutionId(id=execution_id),
                version_from=version + len(found),
                length=min(_PAGE, limit - len(found)),
            )
            page = connection.executions.ListExecutionEvents(request)
            found += page.events
            if not page.events or found[-1].version >= page.max_version:
                break
    _print_list(found, texts.event, as_json=as_json)


@execution.command("responses")
@click.argument("execution_id", metavar="ID", type=_ID)
@click.option("--from", "cursor", metavar="CURSOR", type=_POSITION, default=0, help="Begin with this one.")
@_limit_option
@_json_option
@api_url_option
def responses(*, execution_id: str, cursor: int, limit: int, as_json: bool, api_url: str) -> None:
    """Print the responses to the execution's join sets, in the order in which they arrived."""
    found: list[pb.ResponseWithCursor] = []
    with connect(api_url) as connection:
        while len(found) < limit:
            # Unlike ListResponses, this one knows nobody from somebody without responses.
            request = pb.ListExecutionEventsAndResponsesRequest(
                execution_id=pb.ExecutionId(id=execution_id),
                responses_cursor_from=found[-1].cursor + 1 if found else cursor,
                responses_length=min(_PAGE, limit - len(found)),
                responses_including_cursor=True,
            )
            page = connection.executions.ListExecutionEventsAndResponses(request)
            found += page.responses
            if not page.responses or found[-1].cursor >= page.max_cursor:
                break
    _print_list(found, texts.response, as_json=as_json)


def _print_list(found: list[Any], text: Callable[[Any], str], *, as_json: bool) -> None:
    if as_json:
        click.echo(documents.dumps([documents.document(one) for one in found]))
    else:
        for one in found:
            click.echo(text(one))


# --- trace -----------------------------------------------------------------------------------------------------------


@execution.command("trace")
@click.argument("execution_id", metavar="ID", type=_ID)
@click.option(
    "--limit", metavar="N", type=click.IntRange(1), default=100, show_default=True, help="Draw at most N executions."
)
@_json_option
@api_url_option
def trace(*, execution_id: str, limit: int, as_json: bool, api_url: str) -> None:
    """Draw the execution and its children against time."""
    from obelisk.cli.tree import Tree

    tree = Tree(execution_id)
    snapshot: list[pb.ExecutionProgress] = []
    with connect(api_url) as connection:
        call = connection.changes.WatchExecutions(
            pb.WatchExecutionsRequest(execution_id=pb.ExecutionId(id=execution_id))
        )
        for message in call:
            tree.update(message)
            snapshot += message.executions
            if message.snapshot_complete:
                call.cancel()
                break
    if as_json:
        click.echo(documents.dumps([_progress(one) for one in snapshot]))
        return
    from rich.console import Console

    from obelisk.cli.gantt import gantt

    Console().print(gantt(tree, limit))


def _progress(of: pb.ExecutionProgress) -> documents.Document:
    found = documents.document(of)
    return {**found.pop("summary"), **found}
