"""Case A's step, in this process: with all parts wrapped, and in turns with nothing but the turn itself.

Decides what is run where and which steps are told of. What wrapping costs is taken off; how well that works is seen by
comparing the parts with steps that were left alone.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from benchmarks import machine
from benchmarks.step import places
from benchmarks.step.parts import PARTS, TARGETS, TURN, by_part, is_step
from benchmarks.step.timing import Cost, Turn, cost_of_wrapping, turns, wrapped
from obelisk.config import load
from obelisk.core.names import FunctionName
from obelisk.core.state import Status
from obelisk.core.values import Json
from obelisk.runtime.runtime import Failure, Runtime, start

STEPS: Final = 200
"""Of a round: a short one, since a machine is now faster and now slower."""
ROUNDS: Final = 20
_CONFIG: Final = Path(__file__).resolve().parents[2] / "examples" / "fibo" / "obelisk.toml"
_SERIES: Final = FunctionName("template-fibo:workflow/fibo-workflow-ifc.fiboa")
_WARM_UP: Final = 100
_LOOK_S: Final = 0.02
"""How often this thread looks whether the steps are done, each time instead of the engine's."""
_PATIENCE_S: Final = 600.0
_FASTEST: Final = (0.0, 0.1)
_MIDDLE: Final = (0.45, 0.55)

_Each = TypeVar("_Each")


class Spent(msgspec.Struct):
    """µs, each a mean: of the tenth of steps around the median, and of the fastest tenth. So parts add up to the whole."""

    median: float
    fastest: float


class Found(msgspec.Struct):
    """What was measured in one place."""

    title: str
    folder: str
    file_system: str
    steps: int
    """That are told of in parts; as many were left alone."""
    parts: dict[str, Spent]
    """Without what wrapping cost."""
    alone: Spent
    """A whole step in which only its beginning was noted."""
    wrappers: float
    """Calls in a step that were wrapped, a mean."""
    wrapping: float
    """What they cost, µs: an estimate, which was taken off."""

    @property
    def whole(self) -> Spent:
        """All parts together."""
        spent = self.parts.values()
        return Spent(sum(each.median for each in spent), sum(each.fastest for each in spent))


class Report(msgspec.Struct):
    """Everything, as `--json` writes it."""

    machine: dict[str, str]
    places: list[Found]


def measure(steps: int, rounds: int, say: Callable[[str], None], wait: Callable[[], None]) -> Report:
    """`rounds` times `steps` steps in parts and as many alone, in memory and on a disk. `wait`: until it is a good time."""
    found = []
    for title, folder in (("in memory", places.in_memory()), ("on a disk", places.on_disk())):
        if folder is None:
            say(f"not {title}: there is no folder for it")
        else:
            wait()
            found.append(measure_in(folder, title, steps, rounds, say))
    return Report(machine.describe(), found)


def measure_in(folder: Path, title: str, steps: int, rounds: int, say: Callable[[str], None]) -> Found:
    """The same in one place."""
    kind = places.file_system(folder)
    say(f"{title}: {folder} ({kind}), {rounds} x {steps:,} steps in parts and as many alone")
    switching = sys.getswitchinterval()
    try:
        with tempfile.TemporaryDirectory(prefix="obelisk-bench-", dir=folder) as temporary:
            alone, parted = asyncio.run(_run(Path(temporary), steps, rounds))
    finally:
        sys.setswitchinterval(switching)  # a runtime has its own
    return told(title, str(folder), kind, alone, [turn for turn in parted if is_step(turn)], cost_of_wrapping())


async def _run(folder: Path, steps: int, rounds: int) -> tuple[list[Turn], list[Turn]]:
    environ = {
        "OBELISK__SQLITE__DIRECTORY": str(folder / "database"),
        "OBELISK__CODEGEN_CACHE__DIRECTORY": str(folder / "code"),
    }
    failure = Failure()
    gc.collect()  # a runtime that was stopped is full of cycles, and keeps its memory mappings until it is gone
    before = set(threading.enumerate())
    runtime = start(load(_CONFIG, environ, folder), failure)
    alone: list[Turn] = []
    parted: list[Turn] = []
    try:
        (thread,) = [each.ident for each in set(threading.enumerate()) - before if each.name == "obelisk-engine"]
        assert thread is not None
        await _series(runtime, failure, _WARM_UP)
        ways = [((TURN,), alone), (TARGETS, parted)]
        for _ in range(rounds):
            for targets, into in ways:
                with wrapped(targets, thread) as notes:
                    await _series(runtime, failure, steps)
                into += turns(notes, len(targets))
            ways.reverse()  # so that neither is always first
    finally:
        runtime.refuse_new_work()
        runtime.stop()
    return alone, parted


async def _series(runtime: Runtime, failure: Failure, steps: int) -> None:
    """One workflow, to its end."""
    execution_id = runtime.new_execution_id()
    await runtime.submit(execution_id, _SERIES, Json(b"[10,%d]" % steps), {}, None)
    until = time.monotonic() + _PATIENCE_S
    while (state := runtime.reader.state(execution_id)) is None or state.status is not Status.FINISHED:
        if failure.error is not None:
            raise failure.error
        if time.monotonic() > until:
            raise TimeoutError(f"{steps} steps were not done after {_PATIENCE_S:g} s")
        await asyncio.sleep(_LOOK_S)


def told(title: str, folder: str, file_system: str, alone: Sequence[Turn], steps: Sequence[Turn], cost: Cost) -> Found:
    """What is told of these turns: `alone` have the first target only."""
    wholes = sorted(turn.whole_ns - cost.whole for turn in alone)
    ordered = sorted(steps, key=lambda turn: turn.whole_ns)
    middle, fastest = (_parts(_between(ordered, bounds), cost) for bounds in (_MIDDLE, _FASTEST))
    calls = sum(sum(turn.calls) for turn in ordered) / len(ordered)
    return Found(
        title,
        folder,
        file_system,
        len(ordered),
        {part.name: Spent(middle[part.name], fastest[part.name]) for part in PARTS},
        Spent(*(_mean(_between(wholes, bounds)) / 1_000 for bounds in (_MIDDLE, _FASTEST))),
        calls,
        calls * cost.whole / 1_000,
    )


def _parts(steps: Sequence[Turn], cost: Cost) -> dict[str, float]:
    """µs of each part, means."""
    each = [by_part(turn.without(cost)) for turn in steps]
    return {part.name: _mean([parts[part.name] for parts in each]) / 1_000 for part in PARTS}


def _between(ordered: Sequence[_Each], bounds: tuple[float, float]) -> Sequence[_Each]:
    """Those between two shares of a sorted sequence: at least one."""
    low, high = (round(share * len(ordered)) for share in bounds)
    return ordered[low : max(high, low + 1)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
