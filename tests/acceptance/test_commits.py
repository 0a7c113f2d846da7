"""What a step costs on disk, as the kernel counts it."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

FIBO = "template-fibo:workflow/fibo-workflow-ifc."
STEPS = 500


@pytest.mark.timeout(180)
def test_at_most_one_fsync_and_a_tenth_a_step(fibo: Any) -> None:
    fibo.start()
    fibo.result(fibo.submit(FIBO + "fiboa", 10, 5))
    counts = fibo.directory / "strace.txt"
    tracer = subprocess.Popen(
        ["strace", "-f", "-c", "-e", "trace=fsync,fdatasync", "-o", counts, "-p", str(fibo.process.pid)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tracer.stderr is not None
    assert "attached" in tracer.stderr.readline()
    assert fibo.result(fibo.submit(FIBO + "fiboa", 10, STEPS), 120) == ("ok", 55)
    fibo.stop()
    tracer.wait(30)
    tracer.stderr.close()
    rows = [line.split() for line in counts.read_text().splitlines()]
    fsyncs = sum(int(row[3]) for row in rows if row[-1:] in (["fsync"], ["fdatasync"]))
    print(f"{fsyncs} fsyncs for {STEPS} steps")
    assert STEPS < fsyncs <= 1.1 * STEPS
