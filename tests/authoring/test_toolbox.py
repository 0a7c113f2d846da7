"""Where tools are looked for, and what is said when one is not there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from obelisk.authoring import Toolbox, ToolMissing
from obelisk.authoring.toolbox import Tool, ToolFailed

PLAIN = Tool("plain", "it is plain", "apt-get install plain")
OF_PYTHON = Tool("snake", "it makes snakes", "pip install snake", of_python=True)
OF_NODE = Tool("knot", "it makes knots", "npm install knot", of_node=True)


@pytest.mark.parametrize("wanted", [PLAIN, OF_PYTHON, OF_NODE])
def test_every_tool_is_found_on_path(tool, toolbox, tmp_path, wanted):
    assert toolbox.find(wanted, tmp_path) is None
    made = tool(wanted.command)
    assert toolbox.find(wanted, tmp_path) == made.path


def test_a_package_of_this_python_comes_first(tool, toolbox, tmp_path):
    tool("snake")
    beside = tool("snake", folder=toolbox.beside)
    assert toolbox.need(OF_PYTHON, tmp_path) == beside.path


def test_a_package_of_the_nearest_project_comes_first(tool, toolbox, tmp_path):
    tool("knot")
    above = tool("knot", folder=tmp_path / "a" / "node_modules" / ".bin")
    assert toolbox.need(OF_NODE, tmp_path / "a" / "b") == above.path
    nearest = tool("knot", folder=tmp_path / "a" / "b" / "node_modules" / ".bin")
    assert toolbox.need(OF_NODE, tmp_path / "a" / "b") == nearest.path


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (PLAIN, "plain was not found on PATH; it is plain. Install it: apt-get install plain"),
        (OF_PYTHON, "snake was not found in {beside} or on PATH; it makes snakes. Install it: pip install snake"),
        (OF_NODE, "knot was not found in node_modules of {folder} or a folder above it, or on PATH; it makes knots. Install it: npm install knot"),
    ],
)  # fmt: skip
def test_what_is_missing_is_told_with_the_command_that_installs_it(toolbox, tmp_path, wanted, message):
    with pytest.raises(ToolMissing) as raised:
        toolbox.need(wanted, tmp_path)
    assert str(raised.value) == message.format(beside=toolbox.beside, folder=tmp_path)


def test_a_tool_runs_in_its_folder_with_what_is_added_to_the_environment(toolbox, tmp_path):
    assert (
        toolbox.run(["/bin/sh", "-c", "echo $PWD $ADDED; echo more >&2"], tmp_path, ADDED="yes")
        == f"{tmp_path} yes\nmore\n"
    )


def test_a_failure_carries_what_the_tool_said(toolbox, tmp_path):
    with pytest.raises(ToolFailed, match=r"^sh ended with exit code 3$") as raised:
        toolbox.run(["/bin/sh", "-c", "echo this; echo that >&2; exit 3"], tmp_path)
    assert raised.value.output == "this\nthat\n"


def test_what_cannot_be_run_is_a_failure(toolbox, tmp_path):
    (tmp_path / "text").write_text("not a program")
    with pytest.raises(ToolFailed) as raised:
        toolbox.run([tmp_path / "text"], tmp_path)
    assert raised.value.output == "it could not be run: Permission denied"


def test_the_toolbox_of_this_process_looks_beside_its_python():
    assert Toolbox.of({}).beside == Path(sys.executable).parent
