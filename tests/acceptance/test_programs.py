"""Programs of the host under a real server that is killed: nothing of them is left, and their executions go on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from obelisk.proto import obelisk_pb2 as pb

pytestmark = pytest.mark.acceptance


def alive(folder: Path) -> list[str]:
    found = []
    for each in folder.iterdir():
        try:
            state = Path(f"/proc/{each.name}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        found += [each.name] if state not in {"Z", "X"} else []
    return found


def test_a_server_that_is_killed_leaves_nothing_and_its_executions_go_on(
    server: Any, tmp_path: Path, spawning_component: Path
) -> None:
    traces, go = tmp_path / "traces", tmp_path / "go"
    traces.mkdir()
    script = tmp_path / "hostile.sh"
    script.write_text(
        f"""#!/bin/sh
        [ ! -e {go} ] || {{ echo 5; exit 0; }}
        trap '' TERM INT HUP
        touch {traces}/$$
        for i in 1 2 3; do
            setsid sh -c '(trap "" TERM; setsid sh -c "touch {traces}/\\$\\$; sleep 100; true") & exit' &
        done
        sleep 100
        """
    )
    script.chmod(0o755)
    served = server(
        f"""
        allow_exec_activities = true
        [[activity_exec]]
        name = "hostile"
        location = "{script}"
        ffqn = "test:exec/all.go"
        return_type = "result<u8>"
        exec.lock_expiry.seconds = 60
        [[activity_wasm]]
        name = "spawning"
        location = "{spawning_component}"
        directories.process_provider = "native"
        exec.lock_expiry.seconds = 60
        """
    )
    for _ in range(3):
        served.start()
        served.submit("test:exec/all.go")
        served.submit("testing:spawning/spawning.run", str(script), [], "")
        deadline = time.monotonic() + 60
        while len(alive(traces)) < 8 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(alive(traces)) >= 8
        served.kill()
        deadline = time.monotonic() + 60
        while alive(traces) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert alive(traces) == []
    go.touch()
    served.start()
    last = served.submit("test:exec/all.go")
    assert served.result(last) == ("ok", 5)
    page = served.executions.ListExecutions(pb.ListExecutionsRequest()).executions
    assert len(page) == 7
    assert {served.result(each.execution_id.id)[0] for each in page} == {"ok"}
