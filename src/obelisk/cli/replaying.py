"""Commands around a replay: `obelisk execution replay`, `advance`, `upgrade`."""

from __future__ import annotations

import click

from obelisk.cli import documents, texts
from obelisk.cli.arguments import id_argument, json_option
from obelisk.cli.connection import Connection, api_url_option, connect
from obelisk.cli.reading import status_of
from obelisk.proto import obelisk_pb2 as pb


def _replay(connection: Connection, execution_id: str) -> pb.ReplayExecutionResponse:
    request = pb.ReplayExecutionRequest(execution_id=pb.ExecutionId(id=execution_id))
    response: pb.ReplayExecutionResponse = connection.executions.ReplayExecution(request)
    return response


@click.command("replay")
@id_argument
@json_option
@api_url_option
@click.pass_context
def replay(context: click.Context, *, execution_id: str, as_json: bool, api_url: str) -> None:
    """Run a workflow against its log and tell what it comes to; nothing is changed.

    The exit code is 1 when it leaves its log.
    """
    with connect(api_url) as connection:
        found = _replay(connection, execution_id)
        own = status_of(connection, execution_id)[0].component_digest.digest
    if as_json:
        click.echo(documents.dumps(documents.document(found)))
    else:
        click.echo(texts.replay(found))
        if found.component_id.digest.digest != own:
            component = found.component_id
            click.echo(
                f"replayed on {component.name} ({component.digest.digest}): its own component is not loaded any more"
            )
    context.exit(1 if found.WhichOneof("outcome") == "replay_failed" else 0)


@click.command("advance")
@id_argument
@click.option("--steps", metavar="N", type=click.IntRange(1), help="At most N of the writes that a replay shows.")
@click.option("--trim", metavar="N", type=click.IntRange(1), help="Another name of --steps.")
@click.option(
    "-p",
    "--pause-all",
    "--pause",
    "--pause-submitted-executions",
    "pause_children",
    is_flag=True,
    help="Executions that it creates are born paused.",
)
@json_option
@api_url_option
def advance(
    *, execution_id: str, steps: int | None, trim: int | None, pause_children: bool, as_json: bool, api_url: str
) -> None:
    """Let a paused workflow do what a replay shows, all of it or N steps, and stand still again."""
    if steps is not None and trim is not None:
        raise click.UsageError("--steps and --trim are the same; give one of them")
    with connect(api_url) as connection:
        summary, _ = status_of(connection, execution_id)
        shown = _replay(connection, execution_id)
        count = _steps_shown(shown, summary)
        request = pb.AdvanceExecutionRequest(
            execution_id=pb.ExecutionId(id=execution_id),
            expected_version=shown.next_version,
            steps=min(steps or trim or count, count),
            pause_submitted_executions=pause_children,
        )
        answer = connection.executions.AdvanceExecution(request)
        if answer.WhichOneof("result") == "error":
            raise click.ClickException(_error(answer.error))
        summary, finished = status_of(connection, execution_id)
    if as_json:
        document = {"steps": request.steps, "pending_state": documents.document(summary.current_status)}
        if finished is not None:
            document["finished"] = documents.document(finished.value)
        click.echo(documents.dumps({"success": document}))
        return
    click.echo(f"success, current state: {texts.status(summary.current_status)}")
    if finished is not None:
        click.echo(f"result: {texts.result(finished.value)}")


def _steps_shown(shown: pb.ReplayExecutionResponse, summary: pb.ExecutionSummary) -> int:
    """How many steps there are; an error when there are none."""
    match shown.WhichOneof("outcome"):
        case "advanceable":
            return len(shown.advanceable.captured_writes)
        case "replay_failed":
            raise click.ClickException(f"replay failed: {shown.replay_failed.error}")
        case "blocked" if summary.current_status.WhichOneof("status") == "paused":
            raise click.ClickException("there is nothing to advance by: the execution waits for a response")
        case _:
            return 1  # the server says why not


def _error(error: pb.AdvanceExecutionResponse.Error) -> str:
    match error.WhichOneof("error"):
        case "version_mismatch":
            version = error.version_mismatch.expected
            return f"the execution went on meanwhile, its next version is {version}; replay it, then try again"
        case "replay_mismatch":
            return "a replay shows something else now; replay it, then try again"
        case _:
            return error.transient_error.message


@click.command("upgrade")
@id_argument
@click.option("--skip-determinism-check", is_flag=True, help="Do not look whether its log replays there.")
@api_url_option
def upgrade(*, execution_id: str, skip_determinism_check: bool, api_url: str) -> None:
    """Run an execution on the component that is deployed now.

    A parked one is resumed by that. Only if its log replays there, unless the check is skipped.
    """
    with connect(api_url) as connection:
        summary, _ = status_of(connection, execution_id)
        old, new = summary.component_digest, _deployed(connection, summary.function_name)
        if old == new:
            click.echo(f"Already up to date ({new.digest})")
            return
        click.echo(f"Upgrading from {old.digest} to {new.digest}")
        request = pb.UpgradeExecutionComponentRequest(
            execution_id=summary.execution_id,
            expected_component_digest=old,
            new_component_digest=new,
            skip_determinism_check=skip_determinism_check,
        )
        connection.executions.UpgradeExecutionComponent(request)
    click.echo("Upgraded")


def _deployed(connection: Connection, function: pb.FunctionName) -> pb.ContentDigest:
    """The component that exports the function now."""
    found = connection.functions.ListComponents(pb.ListComponentsRequest(function_name=function)).components
    if not found:
        raise click.ClickException(
            f"function not found: no deployed component exports {texts.ffqn(function)}; see component list"
        )
    return found[0].component_id.digest
