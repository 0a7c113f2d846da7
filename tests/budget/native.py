"""The engine and the SQLite store alone, for valgrind: machine instructions of a step.

wasmtime does not run under valgrind, so the workflow is a Python guest and the activities are answered here. `measure` runs
this file under callgrind. (Calls of malloc cannot be counted so: callgrind attributes them in another way each time.)
"""

from __future__ import annotations

import functools
import os
import random
import re
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from obelisk.core import calls
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.values import Json, Ok
from obelisk.engine.effects import StartAttempt
from obelisk.engine.engine import Engine
from obelisk.engine.inputs import AttemptFinished, Input, Submit
from obelisk.store.sqlite import SqliteStore
from obelisk.testing.deployment import DEPLOYMENT, CountedBudget, SeededEntropy, SimulatedRegistry, json_array
from obelisk.testing.guests import Flow

START: Final = Instant(1_700_000_000_000_000)
STEPS: Final = 200
_COUNTED: Final = "functools_reduce"
"""The C function inside which callgrind counts: nothing else here calls it."""


def run(steps: int, database: Path) -> None:
    """One workflow calls `steps` activities, one after another."""
    registry = SimulatedRegistry()
    activity = registry.add_activity("budget:acts/acts.work")

    def series(execution_id: ExecutionId, params: Json) -> Flow:
        (count,) = msgspec.json.decode(params)
        for index in range(count):
            yield calls.CallChild(activity, json_array(index))
        return Ok(Json(b"55"))

    workflow = registry.add_workflow("budget:flows/flows.series", series)
    entropy = SeededEntropy(random.Random(7))
    executor = entropy.executor_id(START)
    engine = Engine(executor, DEPLOYMENT, registry, entropy, CountedBudget())
    with closing(SqliteStore(database, pragmas={"synchronous": "OFF"})) as store:
        engine.recover(store.take_over(executor, frozenset()), START)
        inputs: list[Input] = [Submit(0, entropy.execution_id(START), workflow, json_array(steps))]
        now = START
        while inputs or engine.has_work:
            now = Instant(now + 250)
            tick = engine.decide(inputs, now)
            effects = engine.settle(tick, store.commit(tick.batch_id, tick.units))
            started = [effect for effect in effects if isinstance(effect, StartAttempt)]
            inputs = [AttemptFinished(each.execution_id, each.run, Ok(Json(b"55"))) for each in started]
        assert engine.open_count == 0
        assert store.commits >= steps


def build_of_python() -> str:
    """Machine instructions are those of one build."""
    return re.sub(r"[^\w.]+", "-", f"{sys.version.split()[0]} {sys.version.rpartition('[')[2]}").strip("-")


def measure() -> dict[str, int]:
    """Instructions of `STEPS` steps. A minute or so."""
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    with tempfile.TemporaryDirectory(prefix="obelisk-budget-") as folder:
        out = Path(folder) / "callgrind.out"
        subprocess.run(
            [
                *("valgrind", "-q", "--tool=callgrind", f"--toggle-collect={_COUNTED}", f"--callgrind-out-file={out}"),
                *(sys.executable, __file__),
            ],
            env=environment,
            check=True,
        )
        (total,) = re.findall(r"^totals: (\d+)", out.read_text(), re.MULTILINE)
        return {"steps": STEPS, "machine_instructions": int(total)}


def _counted(_: None, folder: str) -> None:
    run(STEPS, Path(folder) / "obelisk.sqlite")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        run(5, Path(folder) / "warm.sqlite")
        functools.reduce(_counted, [folder], None)
