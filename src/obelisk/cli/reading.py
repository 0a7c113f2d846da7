"""Commands that read: `obelisk execution status`, `result`, `list`, `events`, `responses`, `trace`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from obelisk.cli import documents, texts
from obelisk.cli.arguments import (
    VERSION,
    TextType,
    check_follow,
    follow_options,
    id_argument,
    json_option,
    limit_option,
)
from obelisk.cli.connection import Connection, api_url_option, connect
from obelisk.cli.ends import exit_code, finished_of, follow_to_the_end, print_end
from obelisk.cli.following import Follower
from obelisk.proto import obelisk_pb2 as pb

_PAGE: Final = 1_000


@click.command("status")
@id_argument
@follow_options("Go on until it has finished.")
@json_option
@api_url_option
@click.pass_context
def status(
    context: click.Context, *, execution_id: str, follow: bool, no_reconnect: bool, as_json: bool, api_url: str
) -> None:
    """Show what the execution is doing. `get` is the same."""
    check_follow(follow=follow, no_reconnect=no_reconnect)
    with connect(api_url) as connection:
        if follow:
            follower = Follower(connection, execution_id, reconnect=not no_reconnect)
            with follower.leaving():
                if as_json:
                    code = exit_code(finished_of(follower.states()))
                    click.echo(documents.dumps(documents.document(status_of(connection, execution_id)[0])))
                else:
                    code = follow_to_the_end(follower, execution_id, as_json=False)
            context.exit(code)
        summary, finished_status = status_of(connection, execution_id)
        if as_json:
            click.echo(documents.dumps(documents.document(summary)))
            return
        click.echo(texts.status(summary.current_status) + texts.parked_detail(summary.current_status))
        if finished_status is not None:
            print_end(finished_status)


def status_of(connection: Connection, execution_id: str) -> tuple[pb.ExecutionSummary, pb.FinishedStatus | None]:
    """The execution as it is, and how it ended if it has."""
    request = pb.GetStatusRequest(execution_id=pb.ExecutionId(id=execution_id), send_finished_status=True)
    messages = list(connection.executions.GetStatus(request))
    return messages[0].summary, messages[1].finished_status if len(messages) > 1 else None


@click.command("result")
@id_argument
@follow_options("Wait for it.")
@json_option
@api_url_option
@click.pass_context
def result(
    context: click.Context, *, execution_id: str, follow: bool, no_reconnect: bool, as_json: bool, api_url: str
) -> None:
    """Print how the execution ended; the exit code is 1 unless it ended well."""
    check_follow(follow=follow, no_reconnect=no_reconnect)
    with connect(api_url) as connection:
        if follow:
            follower = Follower(connection, execution_id, reconnect=not no_reconnect)
            with follower.leaving():
                finished = finished_of(follower.states())
        else:
            _, found = status_of(connection, execution_id)
            if found is None:
                raise click.ClickException("execution not finished yet; --follow waits for it")
            finished = found
    if as_json:
        click.echo(documents.dumps(documents.document(finished.value)))
    else:
        click.echo(texts.result(finished.value))
    context.exit(exit_code(finished))


# --- lists -----------------------------------------------------------------------------------------------------------


@click.command("list")
@click.option("--ffqn", metavar="PREFIX", type=TextType(), help="Only functions whose name begins so.")
@click.option("-e", "--execution-id", metavar="PREFIX", type=TextType(), help="Only executions whose id begins so.")
@click.option("--show-derived", is_flag=True, help="Executions that others called, too.")
@click.option("--hide-finished", is_flag=True, help="Only executions that go on.")
@click.option("--open-stubs", is_flag=True, help="Only executions of stub activities that wait for their result.")
@limit_option
@json_option
@api_url_option
def list_(
    *,
    ffqn: str | None,
    execution_id: str | None,
    show_derived: bool,
    hide_finished: bool,
    open_stubs: bool,
    limit: int,
    as_json: bool,
    api_url: str,
) -> None:
    """List executions, newest first."""
    request = pb.ListExecutionsRequest(
        top_level_only=not show_derived, hide_finished=hide_finished, execution_id_prefix=execution_id
    )
    if open_stubs:
        request.top_level_only, request.hide_finished = False, True
        request.component_type_filters.append(pb.COMPONENT_TYPE_ACTIVITY_STUB)
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


@click.command("events")
@id_argument
@click.option("--from", "version", metavar="VERSION", type=VERSION, default=0, help="Begin with this one.")
@limit_option
@json_option
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


@click.command("responses")
@id_argument
@click.option("--from", "cursor", metavar="CURSOR", type=VERSION, default=0, help="Begin with this one.")
@limit_option
@json_option
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


@click.command("trace")
@id_argument
@click.option(
    "--limit", metavar="N", type=click.IntRange(1), default=100, show_default=True, help="Draw at most N executions."
)
@json_option
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
    for _, node in tree.rows()[:limit]:
        if node.kind == "parked":
            status = node.status
            click.echo(f"{node.execution_id} {texts.status(status)}{texts.parked_detail(status)}")


def _progress(of: pb.ExecutionProgress) -> documents.Document:
    found = documents.document(of)
    return {**found.pop("summary"), **found}
