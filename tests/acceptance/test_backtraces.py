"""Backtraces of a workflow in C, with what its debug information says, through a real server and the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from obelisk.authoring import Toolbox, build, find_manifests
from obelisk.authoring.manifest import Language
from obelisk.authoring.projects import TEMPLATES, create_project

FIBOA = "template-fibo:workflow/fibo-workflow-ifc.fiboa"


@pytest.fixture
def project(server: Any, tmp_path: Path) -> Any:
    """A started server with the template's workflow, built; `.folder` has its source."""
    folder = tmp_path / "project"
    create_project(TEMPLATES["fibo-workflow"], Language.C, folder)
    for manifest in find_manifests([folder]):
        build(manifest, Toolbox.of(os.environ))
    started = server(
        f"""
        [[activity_wasm]]
        name = "activity"
        location = "{folder}/fibo_activity.wasm"

        [[workflow]]
        name = "workflow"
        location = "{folder}/fibo_workflow.wasm"
        backtrace.sources = {{ ".../fibo_workflow.c" = "{folder}/fibo_workflow.c" }}
        """
    )
    started.folder = folder
    started.start()
    return started


def shown(server: Any, execution_id: str, version: int) -> list[str]:
    """What the command prints below the events."""
    command = [sys.executable, "-m", "obelisk", "execution", "backtrace", execution_id, "--version", str(version)]
    environ = {**os.environ, "OBELISK_API_URL": f"http://{server.address}"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if line.startswith(" ")]


def line_of(source: str, text: str) -> int:
    return next(number for number, line in enumerate(source.splitlines(), 1) if text in line)


def test_functions_and_lines_of_c(project: Any) -> None:
    execution_id = project.submit(FIBOA, 10, 2)
    assert project.result(execution_id) == ("ok", 55)
    source = (project.folder / "fibo_workflow.c").read_text()
    call = line_of(source, "if (!fibo(n, ok)) return false;")
    (project.folder / "fibo_workflow.c").write_text("// written anew since\n" + source)
    before = shown(project, execution_id, 6)
    places = [line.strip() for line in before if " at " in line]
    assert places[0].startswith("0: fibo at ./bindings/workflow.h:")
    assert places[1].startswith(f"fiboa at ./fibo_workflow.c:{call}:")
    assert f"     > {call:>5} |     if (!fibo(n, ok)) return false;" in before
    assert [line.split(" | ")[0].split()[-1] for line in before if " | " in line] == [
        str(number) for number in range(call - 2, call + 3)
    ]
    # All of it is on the disk: neither a replay nor the folder of the source is needed any more.
    project.kill()
    project.start()
    assert shown(project, execution_id, 5) == shown(project, execution_id, 7) == before


def test_each_call_of_a_join_set_has_its_line(project: Any) -> None:
    execution_id = project.submit(FIBOA + "-concurrent", 10, 2)
    assert project.result(execution_id) == ("ok", 55)
    source = (project.folder / "fibo_workflow.c").read_text()
    for version, text in (
        (2, "join_set_create();"),
        (3, "fibo_submit(join_set, n);"),
        (4, "fibo_submit(join_set, n);"),
        (5, "fibo_await_next("),
        (6, "fibo_await_next("),
    ):
        marked = [line for line in shown(project, execution_id, version) if line.startswith("     >")]
        assert len(marked) == 1
        assert int(marked[0].split()[1]) == line_of(source, text), version
