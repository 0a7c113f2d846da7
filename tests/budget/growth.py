"""Does a step cost more when there is more of something else? Counted in bytecode, so that it takes seconds and not hours:
`make bench ARGS=scale` has the real sizes. Prints, as JSON, the instructions of a step beside little and beside much.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Final

from budget import cranked_runtime
from counting import PythonCounts
from cranked import Cranked
from workloads import FIBO, FLOWS, ROOT

STEPS: Final = 20
LITTLE: Final = 20
MUCH: Final = 400


def _turn(runtime: Cranked, turns: int) -> None:
    for _ in range(turns):
        assert runtime.driver._turn()
        runtime.turns += 1


def _per_step(work: Callable[[], None]) -> float:
    python = PythonCounts()
    with python.counting():
        work()
    return python.found()["instructions"] / STEPS


def _in_a_long_history(runtime: Cranked) -> list[float]:
    """Of one workflow: after some steps, and after many."""
    runtime.submit(FIBO + "fiboa", 1, LITTLE + MUCH + 3 * STEPS)
    found = []
    for before in (LITTLE, MUCH):
        _turn(runtime, before)
        found.append(_per_step(lambda: _turn(runtime, STEPS)))
    runtime.crank(until=runtime.clock.at)
    return found


def _beside(runtime: Cranked, add: Callable[[int], None]) -> list[float]:
    """Of a new workflow: beside some others, and beside many."""
    found = []
    for others in (LITTLE, MUCH):
        add(others)

        def work() -> None:
            runtime.submit(FIBO + "fiboa", 1, STEPS)
            runtime.crank(until=runtime.clock.at)

        found.append(_per_step(work))
    return found


def main() -> None:
    """One after another, on one database."""
    with cranked_runtime() as runtime:
        runtime.store._connection.execute("PRAGMA synchronous = OFF")
        runtime.value(FIBO + "fiboa", 1, STEPS)

        def finished(count: int) -> None:
            runtime.value(FIBO + "fiboa-concurrent", 1, count)

        def waiting(count: int) -> None:
            for _ in range(count):
                runtime.submit(FLOWS + "sleeper", 3_600_000)
            runtime.crank(until=runtime.clock.at)

        print(
            json.dumps(
                {
                    "in a long history": _in_a_long_history(runtime),
                    "beside finished executions": _beside(runtime, finished),
                    "beside waiting workflows": _beside(runtime, waiting),
                }
            )
        )


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests" / "fixtures"))
    main()
