"""What a step costs in the engine alone: decide and settle, without wasm, disk or threads.

A step is one awaited child: its completion comes in, its parent goes on and calls the next one. Shapes: one workflow with
children in series (a step a tick), and many workflows at once (many steps a tick). `--profile` shows where the time goes.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import pstats
import statistics
import time
from random import Random

import msgspec

from obelisk.core import calls
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.policy import Limits
from obelisk.core.values import Json, Ok
from obelisk.engine.effects import Effect, StartAttempt
from obelisk.engine.engine import Engine
from obelisk.engine.inputs import AttemptFinished, Input, Submit
from obelisk.store.memory import MemoryStore
from obelisk.testing.deployment import DEPLOYMENT, CountedBudget, SeededEntropy, SimulatedRegistry, json_array
from obelisk.testing.guests import Flow

START = Instant(1_700_000_000_000_000)


class Clocked:
    """An engine on a memory store, with the time that each half of a tick takes."""

    def __init__(self) -> None:
        registry = SimulatedRegistry()
        self.activity = registry.add_activity("bench:acts/acts.work")
        self.workflow = registry.add_workflow("bench:flows/flows.series", self._series)
        self.entropy = SeededEntropy(Random(0))
        executor = self.entropy.executor_id(START)
        limits = Limits(start_window=1_000_000)
        self.engine = Engine(executor, DEPLOYMENT, registry, self.entropy, CountedBudget(), limits)
        self.store = MemoryStore()
        self.engine.recover(self.store.take_over(executor, frozenset()), START)
        self.now = START
        self.engine_s = self.store_s = 0.0

    def _series(self, execution_id: ExecutionId, params: Json) -> Flow:
        (count,) = msgspec.json.decode(params)
        for index in range(count):
            yield calls.CallChild(self.activity, json_array(index))
        return Ok(Json(b"55"))

    def tick(self, inputs: list[Input]) -> list[Effect]:
        self.now = Instant(self.now + 300)
        began = time.perf_counter()
        tick = self.engine.decide(inputs, self.now)
        decided = time.perf_counter()
        outcomes = self.store.commit(tick.batch_id, tick.units)
        committed = time.perf_counter()
        effects = self.engine.settle(tick, outcomes)
        self.engine_s += decided - began + time.perf_counter() - committed
        self.store_s += committed - decided
        return effects

    def run(self, workflows: int, children: int) -> int:
        """Runs to the end; returns the ticks."""
        inputs: list[Input] = [
            Submit(index, self.entropy.execution_id(self.now), self.workflow, json_array(children))
            for index in range(workflows)
        ]
        ticks = 0
        while inputs or self.engine.has_work:
            effects = self.tick(inputs)
            ticks += 1
            inputs = [
                AttemptFinished(effect.execution_id, effect.run, Ok(Json(b"55")))
                for effect in effects
                if isinstance(effect, StartAttempt)
            ]
        assert self.engine.open_count == 0
        return ticks


def measure(workflows: int, children: int, rounds: int) -> dict[str, float]:
    """Median µs a step, in the engine and in the memory store."""
    engine_us, store_us, ticks = [], [], 0
    for _ in range(rounds):
        clocked = Clocked()
        gc.collect()
        ticks = clocked.run(workflows, children)
        steps = workflows * children
        engine_us.append(clocked.engine_s / steps * 1e6)
        store_us.append(clocked.store_s / steps * 1e6)
    return {
        "workflows": workflows,
        "children": children,
        "ticks": ticks,
        "engine_us_per_step": round(statistics.median(engine_us), 1),
        "engine_us_best": round(min(engine_us), 1),
        "memory_store_us_per_step": round(statistics.median(store_us), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true", help="show the functions that take the time")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.profile:
        clocked = Clocked()
        with cProfile.Profile() as profile:
            clocked.run(1, 3_000)
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)
        return
    for workflows, children in ((1, 2_000), (200, 10)):
        print(json.dumps(measure(workflows, children, options.rounds)))


if __name__ == "__main__":
    main()
