"""A disk that is full or fails: the server says so and stops, and nothing that was promised is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

FIBO = "template-fibo:workflow/fibo-workflow-ifc."


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("call", "kind", "at", "said"),
    [("fdatasync", "eio", 40, "disk I/O error"), ("pwrite", "enospc", 400, "full")],
)
def test_the_server_stops_and_recovers(
    fibo: Any, faults: Path, tmp_path: Path, call: str, kind: str, at: int, said: str
) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    fault = {
        "LD_PRELOAD": str(faults),
        "FAULT_CALL": call,
        "FAULT_KIND": kind,
        "FAULT_FILE": "obelisk.sqlite-wal",
        "FAULT_AT": str(at),
        "FAULT_UNTIL": str(broken),
    }
    fibo.start(fault)
    execution_id = fibo.submit(FIBO + "fiboa", 10, 2_000)
    assert fibo.wait_dead(60) == 1
    log = fibo.log.read_text()
    assert said in log
    assert "Traceback" not in log
    fibo.log.write_text("")
    fibo.start({**fault, "FAULT_AT": "1"}, wait=False)  # it is still broken
    assert fibo.wait_dead(60) == 1
    log = fibo.log.read_text()
    assert said in log
    assert "Traceback" not in log
    broken.unlink()
    fibo.start()
    fibo.check_fibo(execution_id, 2_000)
    fibo.stop()
