"""`obelisk component`: what is deployed, or could be."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
import msgspec

from obelisk.cli import documents, texts
from obelisk.cli.connection import api_url_option, connect
from obelisk.cli.kinds import ComponentType
from obelisk.proto import obelisk_pb2 as pb


@click.group("component")
def component() -> None:
    """What is deployed, or could be."""


@component.command("list")
@click.option("-i", "--imports", is_flag=True, help="Show imports too.")
@click.option("-e", "--extensions", is_flag=True, help="Show the generated extension functions too.")
@click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")
@api_url_option
def list_(*, imports: bool, extensions: bool, as_json: bool, api_url: str) -> None:
    """List components with the functions that they export."""
    with connect(api_url) as connection:
        found = connection.functions.ListComponents(pb.ListComponentsRequest(extensions=extensions)).components
    if as_json:
        click.echo(documents.dumps([_document(one, imports=imports) for one in found]))
    else:
        click.echo("\n\n".join(_text(one, imports=imports) for one in found) or "There are no components.")


@component.command("wit")
@click.argument("component", metavar="NAME")
@api_url_option
def wit(component: str, api_url: str) -> None:
    """Print the WIT of a component, given by its name or its digest."""
    with connect(api_url) as connection:
        digest = component
        if not component.startswith("sha256:"):
            found = connection.functions.ListComponents(pb.ListComponentsRequest()).components
            digests = [each.component_id.digest.digest for each in found if each.component_id.name == component]
            if not digests:
                names = ", ".join(each.component_id.name for each in found) or "none"
                raise click.ClickException(f"there is no component {component}; deployed are: {names}")
            (digest,) = digests
        request = pb.GetWitRequest(component_digest=pb.ContentDigest(digest=digest))
        click.echo(connection.functions.GetWit(request).content, nl=False)


@component.command("inspect")
@click.argument("kind_and_path", metavar="[COMPONENT_TYPE] PATH", nargs=-1, required=True)
@click.option("-i", "--imports", is_flag=True, help="Show imports too.")
@click.option("-e", "--extensions", is_flag=True, help="Show the generated extension functions too.")
@click.option("-w", "--wit", "as_wit", is_flag=True, help="Print its WIT instead.")
@click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def inspect(
    context: click.Context,
    kind_and_path: tuple[str, ...],
    *,
    imports: bool,
    extensions: bool,
    as_wit: bool,
    as_json: bool,
) -> None:
    """Show what a component file, or a file or folder of WIT, exports, and what would keep it from being deployed.

    No server is needed. COMPONENT_TYPE is workflow, activity or activity_stub; without it, what the component looks like.
    """
    from obelisk.runtime import inspecting
    from obelisk.server import messages
    from obelisk.wasm.source import ComponentError

    if len(kind_and_path) > 2:
        raise click.UsageError("expected [COMPONENT_TYPE] PATH")
    kind = ComponentType().convert(kind_and_path[0], None, context) if len(kind_and_path) == 2 else None
    try:
        found = inspecting.inspect(Path(kind_and_path[-1]), kind)
    except ComponentError as error:
        raise click.ClickException(str(error)) from None
    if as_wit:
        click.echo(found.wit, nl=False)
        return
    exports = tuple(view for view in found.view.exports if extensions or view.extension is None)
    shown = messages.component(msgspec.structs.replace(found.view, exports=exports))
    if as_json:
        click.echo(documents.dumps({**_document(shown, imports=imports), "problems": list(found.problems)}))
    else:
        click.echo(_text(shown, imports=imports))
        for problem in found.problems:
            click.echo(f"Problem: {problem}", err=True)
    context.exit(1 if found.problems else 0)


def _text(of: pb.Component, *, imports: bool) -> str:
    lines = [f"{of.component_id.name}\t{texts.component_type(of.component_id)}:{of.component_id.name}"]
    if of.HasField("program_digest"):
        lines.append(f"Program: {of.program_digest.digest}")
    lines += ["Exports:", *_functions(of.exports)]
    if imports:
        lines += ["Imports:", *_functions(of.imports)]
    return "\n".join(lines)


def _functions(of: Iterable[pb.FunctionDetail]) -> list[str]:
    return [f"\t{_name(function.function_name)} : {texts.signature(function)}" for function in of]


def _name(of: pb.FunctionName) -> str:
    if of.function_name.startswith("["):  # a method of a resource is not a function name
        return f"{of.interface_name} . {of.function_name}"
    return texts.ffqn(of)


def _document(of: pb.Component, *, imports: bool) -> documents.Document:
    found = documents.document(of)
    del found["files"]
    if not imports:
        del found["imports"]
    return found
