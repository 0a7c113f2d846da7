"""`obelisk component`: what is deployed."""

from __future__ import annotations

from collections.abc import Iterable

import click

from obelisk.cli import documents, texts
from obelisk.cli.connection import api_url_option, connect
from obelisk.proto import obelisk_pb2 as pb


@click.group("component")
def component() -> None:
    """What is deployed."""


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


def _text(of: pb.Component, *, imports: bool) -> str:
    lines = [f"{of.component_id.name}\t{texts.component_id(of.component_id)}", "Exports:", *_functions(of.exports)]
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
