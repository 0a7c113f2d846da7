"""Marks: what was running is known after the process has died, however it died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from obelisk.core.ids import ExecutionId
from obelisk.runtime.marks import Marks


def test_marks_outlive_a_killed_process(tmp_path: Path) -> None:
    path = tmp_path / "marks"
    script = f"""
import os, signal
from pathlib import Path
from obelisk.runtime.marks import Marks
marks = Marks(Path({str(path)!r}))
marks.set("E_ended"); marks.clear(marks.set("E_over")); marks.set("E_running")
os.kill(os.getpid(), signal.SIGKILL)
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
    died = subprocess.run([sys.executable, "-c", script], env=env, check=False, timeout=120)
    assert died.returncode == -signal.SIGKILL
    marks = Marks(path)
    assert marks.left_over() == {"E_ended", "E_running"}
    marks.blank_all()
    assert not marks.left_over()
    marks.close()


def test_suspects_are_marked_once_it_is_settled_that_they_run(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks")
    settled: list[frozenset[ExecutionId]] = []
    marks.beware(frozenset({ExecutionId("E_1")}), lambda: settled.append(marks.left_over()))
    for number in (0, 1, 1):
        marks.clear(marks.set(ExecutionId(f"E_{number}")))
    assert settled == [frozenset()] * 2

    def fail() -> None:
        raise LookupError

    marks.beware(frozenset({ExecutionId("E_2")}), fail)
    with pytest.raises(LookupError):
        marks.set(ExecutionId("E_2"))
    assert not marks.left_over() and marks.set(ExecutionId("E_1")) >= 0
    marks.close()


def test_slots_are_given_back_and_ids_may_be_too_long(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks")
    slots = [marks.set(ExecutionId(f"E_{number}")) for number in range(3)]
    assert len(set(slots)) == 3
    marks.clear(slots[1])
    assert marks.set(ExecutionId("E_again")) == slots[1]
    assert marks.set(ExecutionId("E_" + "x" * 2_000)) == -1
    marks.clear(-1)
    assert marks.left_over() == {"E_0", "E_again", "E_2"}
    marks.close()


def test_all_that_was_used_is_found(tmp_path: Path) -> None:
    """However much was, and where threads that took the first slots have not come to write into them."""
    ids = [ExecutionId(f"E_{number}") for number in range(1_000)]
    for begun in (ids, ids[:3], []):
        marks = Marks(tmp_path / "marks")
        slots = [marks.set(each) for each in begun]
        if len(begun) == len(ids):
            marks._map[slots[0] : slots[200]] = bytes(slots[200] - slots[0])
            begun = begun[200:]
        marks.close()
        marks = Marks(tmp_path / "marks")
        assert marks.left_over() == set(begun)
        marks.blank_all()
        assert not marks.left_over()
        marks.close()


def test_looking_for_marks_takes_no_more_into_memory_than_was_used(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks")
    marks.set(ExecutionId("E_1"))
    assert not marks.left_over() - {"E_1"}
    marks.blank_all()
    assert _resident_kib(tmp_path / "marks") < 2_000
    marks.close()


def _resident_kib(path: Path) -> int:
    """Of a file that this process has mapped."""
    parts = Path("/proc/self/smaps").read_text().partition(f"{path}\n")
    return int(next(line for line in parts[2].splitlines() if line.startswith("Rss:")).split()[1])
