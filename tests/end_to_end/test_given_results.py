"""Results of stub activities, given with the command line to workflows of real components that wait for them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CALL = "testing:calls-five/support.call-json"
FUNCTION = '{"interface_name": "testing:stubs/stubs", "function_name": "decide"}'
WIT = "package testing:stubs; interface stubs { decide: func(question: string) -> result<bool, string>; }"
CHILD = ".o:1-decide_1"


@pytest.fixture
def asking(server: Callable[[str], Any], testing_components: Any, calling_components: Any, tmp_path: Path) -> Any:
    """A running server with a stub and a workflow that calls it."""
    wit = tmp_path / "stubs.wit"
    wit.write_text(WIT)
    made = server(
        f"""
        [[activity_wasm]]
        name = "acts"
        location = "{testing_components.activity}"

        [[activity_stub]]
        name = "asks"
        location = "{wit}"

        [[workflow]]
        name = "calls"
        location = "{calling_components.five}"
        """
    )
    made.start()
    return made


def obelisk(server: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line."""
    command = [sys.executable, "-m", "obelisk", "execution", *arguments, "--api-url", f"http://{server.address}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def begun(server: Any) -> str:
    """A workflow that waits for the stub."""
    execution_id = obelisk(server, "submit", CALL, FUNCTION, json.dumps('["?"]'), "null", "null").stdout.strip()
    deadline = time.monotonic() + 60
    while execution_id + CHILD not in obelisk(server, "list", "--open-stubs").stdout:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return execution_id


def test_a_workflow_goes_on_with_the_result_that_it_is_given(asking: Any) -> None:
    execution_id = begun(asking)
    child = execution_id + CHILD
    (row,) = json.loads(obelisk(asking, "list", "--open-stubs", "--json").stdout)
    assert (row["execution_id"], row["component_type"]) == (child, "activity_stub")

    wrong = obelisk(asking, "stub", child, '{"ok": "yes"}')
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith('Error: the result does not fit: value.ok: expected bool, got "yes"')
    top = obelisk(asking, "stub", execution_id, '{"ok": true}')
    assert f"{execution_id} is a top-level execution" in top.stderr

    for _ in range(2):  # the same again is fine
        done = obelisk(asking, "stub", child, '{"ok": true}')
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    conflict = obelisk(asking, "stub", child, '{"ok": false}')
    assert (conflict.returncode, conflict.stderr) == (
        1,
        f"Error: {child} has ended already, with another result: ok true\n",
    )
    assert json.loads(obelisk(asking, "result", "--follow", "--json", execution_id).stdout) == {
        "ok": {"ok": {"ok": "true"}}
    }
    assert obelisk(asking, "list", "--open-stubs").stdout == ""
    assert obelisk(asking, "replay", execution_id).stdout.startswith("outcome: finished\n")


def test_the_error_of_an_execution_that_failed(asking: Any) -> None:
    execution_id = begun(asking)
    assert obelisk(asking, "stub", execution_id + CHILD, "--error").returncode == 0
    assert json.loads(obelisk(asking, "result", "--follow", "--json", execution_id).stdout) == {
        "ok": {"ok": {"err": '"execution-failed"'}}
    }


def test_a_stub_is_cancelled_alone_or_with_the_workflow_that_waits_for_it(asking: Any) -> None:
    alone = begun(asking)
    assert obelisk(asking, "pause", alone + CHILD).stderr == "Error: cannot pause, nothing here runs a stub activity\n"
    assert obelisk(asking, "cancel", alone + CHILD).stdout == "Cancellation requested\n"
    assert json.loads(obelisk(asking, "result", "--follow", "--json", alone).stdout) == {
        "ok": {"ok": {"err": '"execution-failed"'}}
    }
    late = obelisk(asking, "stub", alone + CHILD, '{"ok": true}')
    assert (late.returncode, "has ended already, with another result: cancelled" in late.stderr) == (1, True)
    whole = begun(asking)
    assert obelisk(asking, "cancel", whole).stdout == "Cancellation requested\n"
    assert obelisk(asking, "result", "--follow", whole).returncode == 1
    assert obelisk(asking, "status", whole + CHILD).stdout.startswith("Finished: Execution failure (cancelled)")
