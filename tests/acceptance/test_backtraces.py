"""Backtraces of workflows in C and Python, through a real server and the command line: functions, files, lines and source."""

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


def started(server: Any, folder: Path, language: Language) -> Any:
    """A server with the template's workflow, built; its configuration is that of the template. `.folder` has its source."""
    create_project(TEMPLATES["fibo-workflow"], language, folder)
    for manifest in find_manifests([folder]):
        build(manifest, Toolbox.of(os.environ))
    configured = (folder / "obelisk.toml").read_text().replace("${OBELISK_TOML_DIR}", str(folder))
    made = server(configured[configured.index("[[") :])
    made.folder = folder
    made.start()
    return made


@pytest.fixture
def project(server: Any, tmp_path: Path) -> Any:
    return started(server, tmp_path / "project", Language.C)


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


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("componentize_py")
def test_functions_and_lines_of_python(server: Any, tmp_path: Path) -> None:
    """Those of Python, not of its interpreter."""
    made = started(server, tmp_path / "project", Language.PYTHON)
    source = (made.folder / "fibo_workflow.py").read_text()
    in_series, at_once = made.submit(FIBOA, 10, 2), made.submit(FIBOA + "-concurrent", 10, 2)
    assert made.result(in_series) == made.result(at_once) == ("ok", 55)
    call = line_of(source, "last = fibo(n)")
    lines = shown(made, in_series, 6)
    places = [line.split(":", 1)[1].strip() for line in lines if " at " in line]
    assert places[0].startswith("fibo at wit_world/imports/fibo_activity_ifc.py:")
    assert places[1] == f"FiboWorkflowIfc.fiboa at fibo_workflow.py:{call}:20"
    assert f"     > {call:>5} |             last = fibo(n)" in lines
    for version, text in (
        (2, "with JoinSet() as calls:"),
        (3, "calls.submit(fibo_submit, n)"),
        (4, "calls.submit(fibo_submit, n)"),
        (5, "calls.results(fibo_await_next)"),
        (6, "calls.results(fibo_await_next)"),
    ):
        [marked] = [line for line in shown(made, at_once, version) if line.startswith("     >")]
        assert int(marked.split()[1]) == line_of(source, text), version
