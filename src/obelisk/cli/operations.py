"""Commands that change executions: `obelisk execution cancel`, `pause`, `unpause`, `stub`."""

from __future__ import annotations

from typing import Final

import click

from obelisk.cli.arguments import ExecutionOrDelayIdType, id_argument, is_delay
from obelisk.cli.connection import api_url_option, connect
from obelisk.cli.params import value_json
from obelisk.proto import obelisk_pb2 as pb

_either_id = click.argument("some_id", metavar="ID", type=ExecutionOrDelayIdType())

_CANCELLED: Final = {
    pb.CancelExecutionResponse.CANCEL_EXECUTION_OUTCOME_CANCELLATION_REQUESTED: "Cancellation requested",
    pb.CancelExecutionResponse.CANCEL_EXECUTION_OUTCOME_ALREADY_FINISHED: "Already successfully finished",
    pb.CancelExecutionResponse.CANCEL_EXECUTION_OUTCOME_ALREADY_CANCELLING: "Already cancelling",
}
_DELAY_CANCELLED: Final = {
    pb.CancelDelayResponse.CANCEL_DELAY_OUTCOME_CANCELLED: "Cancelled",
    pb.CancelDelayResponse.CANCEL_DELAY_OUTCOME_ALREADY_FINISHED: "Already successfully finished",
}


@click.command("cancel")
@_either_id
@api_url_option
def cancel(*, some_id: str, api_url: str) -> None:
    """End an execution with all that it has started, or a delay.

    A workflow ends once everything that it has started has ended. ID is that of an execution or of a delay.
    """
    with connect(api_url) as connection:
        if is_delay(some_id):
            delay = pb.CancelDelayRequest(delay_id=pb.DelayId(id=some_id))
            told = _DELAY_CANCELLED[connection.executions.CancelDelay(delay).outcome]
        else:
            execution = pb.CancelExecutionRequest(execution_id=pb.ExecutionId(id=some_id))
            told = _CANCELLED[connection.executions.CancelExecution(execution).outcome]
    click.echo(told)


@click.command("pause")
@_either_id
@api_url_option
def pause(*, some_id: str, api_url: str) -> None:
    """Let an execution stand still: it takes in responses, and runs nothing."""
    with connect(api_url) as connection:
        if is_delay(some_id):
            connection.executions.PauseDelay(pb.PauseDelayRequest(delay_id=pb.DelayId(id=some_id)))
        else:
            request = pb.PauseExecutionRequest(execution_id=pb.ExecutionId(id=some_id))
            connection.executions.PauseExecution(request)
    click.echo("Paused")


@click.command("unpause")
@_either_id
@api_url_option
def unpause(*, some_id: str, api_url: str) -> None:
    """Let a paused execution go on."""
    with connect(api_url) as connection:
        if is_delay(some_id):
            connection.executions.UnpauseDelay(pb.UnpauseDelayRequest(delay_id=pb.DelayId(id=some_id)))
        else:
            request = pb.UnpauseExecutionRequest(execution_id=pb.ExecutionId(id=some_id))
            connection.executions.UnpauseExecution(request)
    click.echo("Unpaused")


@click.command("stub")
@id_argument
@click.argument("result", metavar="[JSON]", required=False)
@click.option("--return-value", metavar="JSON", help="Another way to write JSON.")
@click.option("--empty", is_flag=True, help="The same as '{\"ok\": null}'.")
@click.option("--error", is_flag=True, help="The error that callers get of an execution that failed.")
@api_url_option
def stub(
    *, execution_id: str, result: str | None, return_value: str | None, empty: bool, error: bool, api_url: str
) -> None:
    """Give the result of an execution of a stub activity.

    JSON is {"ok": VALUE} or {"err": VALUE}, with null where that side has no value; @FILE stands for what FILE holds.
    """
    if (result is not None) + (return_value is not None) + empty + error != 1:
        raise click.UsageError("give exactly one of JSON, --return-value, --empty and --error")
    request = pb.StubRequest(execution_id=pb.ExecutionId(id=execution_id))
    if error:
        request.execution_failed = True
    else:
        text = '{"ok":null}' if empty else result or return_value or ""
        request.return_value.type_url = "urn:obelisk:json:retval:TBD"
        request.return_value.value = value_json(text, "the result")
    with connect(api_url) as connection:
        connection.executions.Stub(request)
