"""F for peers: kill -9 of everything amid a series, and a start."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.figures import Figures
from benchmarks.peers.work import marks
from benchmarks.work import STEPS

_TIMEOUT_S: Final = 120.0


def crash(start: Callable[[], None], kill: Callable[[], None], is_done: Callable[[], bool], steps: Path) -> Figures:
    """`start`: everything, and the series if it is not there. `steps`: the file in which steps leave their marks."""
    start()
    _wait(lambda: marks(steps) >= STEPS // 2)
    kill()
    before = marks(steps)
    begun = time.monotonic()
    start()
    _wait(lambda: marks(steps) > before)
    first = time.monotonic() - begun
    _wait(is_done)
    return {"first_step_s": first, "repeated": marks(steps) - STEPS}


def _wait(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + _TIMEOUT_S
    while not condition():
        if time.monotonic() > ends:
            raise TimeoutError(f"it did not go on within {_TIMEOUT_S:.0f} s")
        time.sleep(0.002)
