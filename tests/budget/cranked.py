"""A runtime that is cranked by hand: real components, a real SQLite file and the real driver, on one thread, with a clock that
moves when it is told to and ids from a seed. What happens in it is the same every time, so that it can be counted.

No doors, no threads: attempts run to their end within their first slice, since no epoch ever ticks.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from obelisk.config import load
from obelisk.core.batch import Meanwhile, Unit, UnitOutcome
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import MILLISECOND_US, Instant
from obelisk.core.names import FunctionName
from obelisk.core.values import Ok, Outcome
from obelisk.engine.engine import Engine
from obelisk.engine.inputs import Submit
from obelisk.runtime import attempts
from obelisk.runtime.attempts import Attempts
from obelisk.runtime.changes import Changes
from obelisk.runtime.clock import Clock
from obelisk.runtime.components import load_active
from obelisk.runtime.deployed import Deployed
from obelisk.runtime.driver import Driver
from obelisk.runtime.io_loop import IoLoop
from obelisk.runtime.lane import CpuLane
from obelisk.runtime.lines import ComponentLines
from obelisk.runtime.marks import Marks
from obelisk.runtime.outgoing import Outgoing, Secrets
from obelisk.runtime.streams import Streams
from obelisk.store.sqlite import SqliteStore
from obelisk.testing.deployment import DEPLOYMENT, CountedBudget, SeededEntropy
from obelisk.wasm.component import ComponentLoader
from obelisk.wasm.engine import EngineConfig, Engines
from obelisk.wasm.epochs import EpochTicker

START: Final = Instant(1_700_000_000_000_000)
_TURN_US: Final = 250


class HandClock(Clock):
    """Stands still until it is moved."""

    def __init__(self) -> None:
        super().__init__()
        self.at = START

    def now(self) -> Instant:
        return self.at


class SlowCommit:
    """One that takes as long as there is something to do meanwhile: how much that is would be a matter of time."""

    def __init__(self, outcomes: list[UnitOutcome]) -> None:
        self.outcomes = outcomes

    def is_over(self) -> bool:
        return False

    def wait(self) -> None:
        pass


class SerialStore(SqliteStore):
    """Commits, and then lets everything be done that goes ahead of it."""

    def commit(self, batch_id: str, units: list[Unit], meanwhile: Meanwhile | None = None) -> list[UnitOutcome]:
        outcomes = super().commit(batch_id, units)
        if meanwhile is not None:
            meanwhile(SlowCommit(outcomes))
        return outcomes


class Cranked:
    """The runtime. `turns`: how often the driver found something to do; `submitted`: all
    executions, the oldest first.
    """

    def __init__(self, directory: Path, toml: str, stack: ExitStack) -> None:
        path = directory / "obelisk.toml"
        path.write_text(f'codegen_cache.directory = "{directory}/code"\n{toml}')
        config = load(path, {}, directory)
        engines = Engines(EngineConfig(pool_instances_max=1_000))
        loader = ComponentLoader(engines, config.codegen_cache.directory)
        active = load_active(loader, config.components, config.allowed_programs)

        self.database = directory / "obelisk.sqlite"
        self.store = stack.enter_context(closing(SerialStore(self.database)))
        self.reader = stack.enter_context(closing(self.store.reader()))
        marks = stack.enter_context(closing(Marks(directory / "obelisk.running")))
        self.clock = HandClock()
        self.turns = 0
        self.submitted: list[ExecutionId] = []
        self._entropy = SeededEntropy(random.Random(7))
        executor = self._entropy.executor_id(START)
        self.deployed = Deployed(DEPLOYMENT, active, [], marks)
        ticker = EpochTicker(engines)
        lane = CpuLane(0, ticker)
        io = IoLoop()
        stack.callback(io.stop)
        outgoing = Outgoing(io, self.clock, Secrets({}))
        limits = config.limits
        self.engine = Engine(executor, DEPLOYMENT, self.deployed, self._entropy, CountedBudget(), limits)
        stack.callback(self.engine.close)
        self.engine.recover(self.store.take_over(executor, frozenset()), START)
        self.changes, self.line_changes = Changes(), Changes()
        self.driver = Driver(
            self.engine, self.store, self.clock, limits, lane, ticker, self.changes, self.line_changes, _raise
        )
        lines = ComponentLines(self.deployed, limits, self.driver.lines, Streams(), self.clock.now)
        # What `Driver.start` does, but for the thread: it is this one, which need not be woken by what it does itself.
        self.driver._thread = threading.current_thread()
        attempts._LONG_NS = 1 << 62  # whoever counts takes a hundred times as long
        self.driver._attempts = Attempts(self.deployed, lane, io, outgoing, marks, lines, self.driver.offer)
        self.driver._emit = lines.emitted

    def new_id(self) -> ExecutionId:
        """A fresh id."""
        return self._entropy.execution_id(self.clock.at)

    def submit(self, ffqn: str, *params: Any) -> ExecutionId:
        """Offers an execution; `crank` creates it."""
        execution_id = self.new_id()
        name = FunctionName(ffqn)
        canonical = self.deployed.check_params(name, msgspec.json.encode(params))
        self.submitted.append(execution_id)
        self.driver.offer(Submit(0, execution_id, name, canonical))
        return execution_id

    def crank(self, until: Instant | None = None) -> None:
        """Turns until nothing is left to do; timers that are due by `until` (None: all) expire on the way."""
        while True:
            while self.driver._turn():
                self.turns += 1
                self.clock.at = Instant(self.clock.at + _TURN_US)
            due = self.engine.next_due()
            if due is None or (until is not None and due > until):
                return
            self.clock.at = Instant(max(due, self.clock.at + MILLISECOND_US))

    def outcome(self, execution_id: ExecutionId) -> Outcome:
        """How it ended."""
        result = self.reader.result(execution_id)
        assert result is not None, f"{execution_id} has not finished"
        return result.outcome

    def run(self, ffqn: str, *params: Any) -> Outcome:
        """Submits, cranks, and returns how it ended."""
        execution_id = self.submit(ffqn, *params)
        self.crank()
        return self.outcome(execution_id)

    def value(self, ffqn: str, *params: Any) -> Any:
        """What it returned."""
        outcome = self.run(ffqn, *params)
        assert isinstance(outcome, Ok), outcome
        return msgspec.json.decode(outcome.value)


def _raise(failure: BaseException) -> None:
    raise failure


@contextmanager
def cranked(directory: Path, toml: str) -> Iterator[Cranked]:
    """A runtime in `directory`, which must be empty."""
    with ExitStack() as stack:
        yield Cranked(directory, toml, stack)
