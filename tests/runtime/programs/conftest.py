"""Programs to be run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PATIENCE = float(os.environ.get("OBELISK_TEST_PATIENCE", "1"))
"""By which upper bounds of waits are multiplied: `make vm` raises it, since what is emulated is slow."""


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    """A function: the lines of a shell script -> its path."""
    made: list[Path] = []

    def make(text: str) -> Path:
        path = tmp_path / f"script{len(made)}.sh"
        path.write_text(f"#!/bin/sh\n{text}\n")
        made.append(path)
        return path

    return make


class Traces:
    """A folder in which processes write their numbers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pids(self, count: int) -> list[int]:
        """Waits until so many have done so."""
        deadline = time.monotonic() + 60 * PATIENCE
        while time.monotonic() < deadline:
            found = [int(each.name) for each in self.folder.iterdir() if each.name.isdigit()]
            if len(found) >= count:
                return found
            time.sleep(0.01)
        raise AssertionError(f"only {len(list(self.folder.iterdir()))} of {count} processes have begun")

    def alive(self) -> list[int]:
        """Those that are still there."""
        return [pid for pid in self.pids(0) if is_alive(pid)]

    def gone(self, within_s: float = 60.0) -> bool:
        """Whether none is left, soon."""
        deadline = time.monotonic() + within_s * PATIENCE
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self.alive()


def is_alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


@pytest.fixture
def traces(tmp_path: Path) -> Iterator[Traces]:
    """See `Traces`; whoever is left is killed."""
    folder = tmp_path / "traces"
    folder.mkdir()
    made = Traces(folder)
    yield made
    for pid in made.alive():
        os.kill(pid, signal.SIGKILL)
