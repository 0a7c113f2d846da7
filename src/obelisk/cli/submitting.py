"""`obelisk execution submit`."""

from __future__ import annotations

import click

from obelisk.cli import texts
from obelisk.cli.arguments import (
    SHORT,
    FunctionType,
    NewIdType,
    check_follow,
    follow_options,
    is_short_for,
    json_option,
)
from obelisk.cli.connection import Connection, api_url_option, connect
from obelisk.cli.ends import tell_created
from obelisk.cli.params import params_json
from obelisk.proto import obelisk_pb2 as pb


class SubmitCommand(click.Command):
    """Remembers whether `--` stood before the parameters, which the grammar of parameters needs to know."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Looks before the parser throws it away."""
        ctx.meta["obelisk.separate"] = "--" in args
        return super().parse_args(ctx, args)


@click.command("submit", cls=SubmitCommand)
@click.argument("function", type=FunctionType())
@click.argument("params", nargs=-1)
@follow_options("Wait for the end, showing what happens; the exit code is 1 unless it ends well.")
@json_option
@click.option(
    "-e", "--execution-id", metavar="ID", type=NewIdType(), help="Choose the id; repeating a submission is then safe."
)
@click.option("--paused", is_flag=True, help="Let it stand still until `unpause`.")
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
    paused: bool,
    api_url: str,
) -> None:
    """Call FUNCTION as a new execution.

    FUNCTION is namespace:package/interface.function, or .../interface.function where that is unique. PARAMS is one JSON
    array, or one JSON value per parameter (a single one after --); @FILE stands for what FILE holds.
    """
    check_follow(follow=follow, no_reconnect=no_reconnect)
    data = params_json(params, separate=context.meta["obelisk.separate"])
    with connect(api_url) as connection:
        name = _resolve(connection, function)
        if execution_id is None:
            execution_id = connection.executions.GenerateExecutionId(pb.GenerateExecutionIdRequest()).execution_id.id
        request = pb.SubmitRequest(execution_id=pb.ExecutionId(id=execution_id), function_name=name, paused=paused)
        request.params.type_url = f"urn:obelisk:json:params:{texts.ffqn(name)}"
        request.params.value = data
        connection.executions.Submit(request)
        code = tell_created(connection, execution_id, follow=follow, no_reconnect=no_reconnect, as_json=as_json)
    context.exit(code)


def _resolve(connection: Connection, function: str) -> pb.FunctionName:
    """The name as the server knows it; a short one must fit exactly one function."""
    if not function.startswith(SHORT):
        interface, _, name = function.rpartition(".")
        return pb.FunctionName(interface_name=interface, function_name=name)
    found = [
        export.function_name
        for component in connection.functions.ListComponents(pb.ListComponentsRequest()).components
        for export in component.exports
        if export.submittable
        and is_short_for(function, export.function_name.interface_name, export.function_name.function_name)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(map(texts.ffqn, found))
        raise click.ClickException(f"{function} could be any of {names}; write the one that is meant in full")
    raise click.ClickException(f"function not found: no deployed component exports {function}; see component list")
