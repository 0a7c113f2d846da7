"""Programs of the host as the command line shows them: as what they are called in the configuration."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def shown(server: Any, *arguments: str) -> Any:
    """The document that a command prints."""
    command = [sys.executable, "-m", "obelisk", *arguments, "--json", "--api-url", f"http://{server.address}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_execution_of_a_program_is_one_of_an_activity_exec(
    server: Callable[[str], Any], fibo_components: Any, tmp_path: Path
) -> None:
    program = tmp_path / "program.sh"
    program.write_text("#!/bin/sh\nexit 0\n")
    made = server(
        f"""
        allow_exec_activities = true
        [[activity_exec]]
        name = "program"
        location = "{program}"
        ffqn = "test:exec/all.go"
        return_type = "result"
        [[activity_wasm]]
        name = "fibo"
        location = "{fibo_components.activity}"
        """
    )
    made.start()
    go = made.submit("test:exec/all.go")
    fibo = made.submit("template-fibo:activity/fibo-activity-ifc.fibo", 1)
    assert made.result(go)[0] == made.result(fibo)[0] == "ok"
    expected = {go: "activity_exec", fibo: "activity_wasm"}
    for execution_id, kind in expected.items():
        status = shown(made, "execution", "status", execution_id)
        assert status["component_type"] == kind
        (created,) = [
            event["event"]["created"]
            for event in shown(made, "execution", "events", execution_id)
            if "created" in event["event"]
        ]
        assert created["component_id"]["component_type"] == kind
    assert {each["execution_id"]: each["component_type"] for each in shown(made, "execution", "list")} == expected
    listed = shown(made, "component", "list")
    assert [each["component_id"]["component_type"] for each in listed] == ["activity_exec", "activity_wasm"]
