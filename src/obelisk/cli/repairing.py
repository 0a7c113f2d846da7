"""Commands for executions that cannot go on as they are: `obelisk execution fork`, `resume`, `fail`."""

from __future__ import annotations

import click

from obelisk.cli.arguments import (
    VERSION,
    NewIdType,
    TextType,
    check_follow,
    follow_options,
    id_argument,
    json_option,
)
from obelisk.cli.connection import api_url_option, connect
from obelisk.cli.ends import tell_created
from obelisk.proto import obelisk_pb2 as pb


@click.command("fork")
@id_argument
@click.option("--at-version", metavar="N", type=VERSION, help="Take over the events before this version only.")
@click.option("--execution-id", "-e", "new_id", metavar="NEW", type=NewIdType(), help="Choose the id of the fork.")
@click.option("--paused", is_flag=True, help="Let it stand still until `unpause`.")
@follow_options("Wait for the end, as submit does.")
@json_option
@api_url_option
@click.pass_context
def fork(
    context: click.Context,
    *,
    execution_id: str,
    at_version: int | None,
    new_id: str | None,
    paused: bool,
    follow: bool,
    no_reconnect: bool,
    as_json: bool,
    api_url: str,
) -> None:
    """Create an execution that goes on from an earlier point of a workflow's execution, on what is deployed now.

    What had ended before that point is taken over and does not run again. The execution with ID is left as it is.
    """
    check_follow(follow=follow, no_reconnect=no_reconnect)
    request = pb.ForkExecutionRequest(
        execution_id=pb.ExecutionId(id=execution_id), at_version=at_version, paused=paused
    )
    if new_id is not None:
        request.new_execution_id.id = new_id
    with connect(api_url) as connection:
        forked = connection.repair.ForkExecution(request).execution_id.id
        code = tell_created(connection, forked, follow=follow, no_reconnect=no_reconnect, as_json=as_json)
    context.exit(code)


@click.command("resume")
@id_argument
@api_url_option
def resume(*, execution_id: str, api_url: str) -> None:
    """Let a parked execution go on, once what kept it from it is mended."""
    with connect(api_url) as connection:
        connection.repair.ResumeExecution(pb.ResumeExecutionRequest(execution_id=pb.ExecutionId(id=execution_id)))
    click.echo("Resumed")


@click.command("fail")
@id_argument
@click.option("--reason", metavar="TEXT", type=TextType(), help="Why; without it, why it was parked.")
@api_url_option
def fail(*, execution_id: str, reason: str | None, api_url: str) -> None:
    """End a parked execution as a failure, with all that it has started."""
    request = pb.FailExecutionRequest(execution_id=pb.ExecutionId(id=execution_id), reason=reason)
    with connect(api_url) as connection:
        connection.repair.FailExecution(request)
    click.echo("Failure requested")
