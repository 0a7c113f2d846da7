"""The reference names everything there is."""

import re
from pathlib import Path

import click
import pytest

from obelisk.cli.main import cli
from obelisk.proto import obelisk_pb2 as pb
from obelisk.server.answers import _CODES

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def commands(group=cli, path=("obelisk",)):
    """Name and command of each leaf."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command.hidden:
            continue
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def section(text, title):
    """The part of the page below a heading."""
    match = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return match[1] if match else None


COMMANDS = dict(commands())


def test_there_are_commands():
    assert {"obelisk server run", "obelisk execution submit", "obelisk component list"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_each_of_its_options_is_documented(name):
    text = (REFERENCE / "cli.md").read_text()
    if name == "obelisk execution get":  # another name of status
        assert "`obelisk execution get ID`" in text
        return
    part = section(text, name)
    assert part is not None, f"docs/reference/cli.md has no section {name}"
    for option in COMMANDS[name].params:
        if isinstance(option, click.Option) and option.name != "api_url":
            for spelling in option.opts:
                assert re.search(rf"`{re.escape(spelling)}[` ]", part), f"{name}: {spelling} is not documented"


def test_options_in_the_documentation_exist():
    text = (REFERENCE / "cli.md").read_text()
    documented = set()
    for name, command in COMMANDS.items():
        known = {spelling for option in command.params for spelling in option.opts}
        for row in re.findall(r"^\| (`-.*?) \|", section(text, name) or "", re.MULTILINE):
            for spelling in re.findall(r"`(--?[a-z-]+)", row):
                assert spelling in known or spelling == "--", f"{name} has no {spelling}"
                documented.add(spelling)
    assert documented >= {"--steps", "-f", "--reason", "--json"}


def test_where_the_server_is_is_documented_once_for_all():
    text = section((REFERENCE / "cli.md").read_text(), "Where the server is")
    for spelling in ("`-a`", "`--api-url URL`", "$OBELISK_API_URL", "http://127.0.0.1:5005"):
        assert spelling in text


def test_every_rpc_status_code_and_addition_is_documented():
    text = (REFERENCE / "grpc.md").read_text()
    for service in pb.DESCRIPTOR.services_by_name.values():
        assert f"`{service.name}`" in text
        for rpc in service.methods:
            assert f"`{rpc.name}`" in text
    for code in _CODES.values():
        assert f"`{code.name}`" in text

    def additions(descriptor):
        yield from (f"{descriptor.name}.{field.name}" for field in descriptor.fields if field.number >= 1000)
        for enum in descriptor.enum_types:
            yield from (value.name for value in enum.values if value.number >= 1000)
        for nested in descriptor.nested_types:
            yield from additions(nested)

    found = [name for message in pb.DESCRIPTOR.message_types_by_name.values() for name in additions(message)]
    found += [v.name for enum in pb.DESCRIPTOR.enum_types_by_name.values() for v in enum.values if v.number >= 1000]
    assert len(found) == 28
    assert [name for name in found if f"`{name}`" not in text] == []
