"""An engine driven by hand: for tests that say tick by tick what happens.

One engine on a memory store; time moves when the test says so. Reads are answered in the next tick, everything else that
the engine wants is put into `effects` for the test to look at.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final, TypeVar

import msgspec

from obelisk.core.batch import Expect, Recovered, Refused, RequestBody, Unit, UnitOutcome
from obelisk.core.events import Locked, kind_of
from obelisk.core.ids import ExecutionId, ExecutorId, RunId
from obelisk.core.instants import Instant
from obelisk.core.names import FunctionName
from obelisk.core.policy import Limits
from obelisk.core.state import Status
from obelisk.core.values import Err, Failure, Json, Ok, Outcome
from obelisk.engine.effects import Answer, CheckNews, Claim, Effect, KillAttempt, Load, Look, Renew, StartAttempt
from obelisk.engine.engine import Engine
from obelisk.engine.inputs import (
    AttemptFinished,
    AttemptKilled,
    Claimed,
    GiveResult,
    Input,
    Loaded,
    Looked,
    News,
    Operate,
    Submit,
)
from obelisk.store.memory import MemoryStore
from obelisk.testing.deployment import DEPLOYMENT, CountedBudget, SeededEntropy, SimulatedRegistry, json_array
from obelisk.testing.invariants import outcome_of, snapshot_of

START: Final = Instant(1_700_000_000_000_000)
NOBODY: Final = ExecutionId("E_" + "0" * 26)
ROOT: Final = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYZ")
"""The execution that tests submit."""

E = TypeVar("E", bound=Effect)


class Driver:
    """An engine, its store and its clock."""

    def __init__(
        self,
        registry: SimulatedRegistry,
        limits: Limits | None = None,
        *,
        store: MemoryStore | None = None,
        budget: int | None = None,
        shared: bool = False,
        seed: int = 0,
    ) -> None:
        self.registry: Final = registry
        self.store: Final = MemoryStore() if store is None else store
        self.now = START
        self.effects: list[Effect] = []
        """What the engine wanted, in order, reads apart."""
        self.limits: Final = limits or Limits()
        self.ticks = 0
        self._shared: Final = shared
        self._entropy: Final = SeededEntropy(Random(seed))
        self._budget: Final = CountedBudget(budget)
        self._read: list[Input] = []
        self._tokens = 1_000
        self._kills: list[StartAttempt] = []
        self.engine = self._boot(frozenset())

    def _boot(self, started: frozenset[ExecutionId]) -> Engine:
        executor = self._entropy.executor_id(self.now)
        engine = Engine(
            executor, DEPLOYMENT, self.registry, self._entropy, self._budget, self.limits, shared=self._shared
        )
        recovered = Recovered([], []) if self._shared else self.store.take_over(executor, started)
        counted = {state.execution_id for state in recovered.states if state.status is Status.LOCKED}
        engine.recover(recovered, self.now, started - counted)
        return engine

    @property
    def executor(self) -> ExecutorId:
        """Who this engine is."""
        return self.engine.executor

    # --- what happens ------------------------------------------------------------------------------------------------

    def tick(self, *inputs: Input, refuse: Callable[[Unit], bool] | None = None) -> list[Effect]:
        """One tick with what was read since the last one and `inputs`. `refuse`: units that the store must refuse."""
        read, self._read = self._read, []
        tick = self.engine.decide([*read, *inputs], self.now)
        self.ticks += 1
        units = [
            msgspec.structs.replace(unit, expects=[*unit.expects, Expect(NOBODY, 1)])
            if refuse and refuse(unit)
            else unit
            for unit in tick.units
        ]
        outcomes = self.store.commit(tick.batch_id, units)
        effects = self.engine.settle(tick, outcomes)
        left = []
        for effect in effects:
            if not self._performs(effect):
                left.append(effect)
                self.effects.append(effect)
        return left

    def _performs(self, effect: Effect) -> bool:
        match effect:
            case Load(execution_id):
                self._read.append(Loaded(execution_id, self.store.load(execution_id)))
            case Look(execution_id):
                self._read.append(Looked(execution_id, self.store.load(execution_id)))
            case Claim(count_max):
                expires_at = Instant(self.now + self.limits.lease_us)
                self._read.append(Claimed(self.store.claim(self.executor, self.now, expires_at, count_max)))
            case Renew(lease_expires_at):
                self.store.renew(self.executor, lease_expires_at)
            case CheckNews():
                self._read.append(News(self.store.news(self.executor)))
            case KillAttempt(execution_id, run):
                killed = [start for start in self.starts() if (start.execution_id, start.run) == (execution_id, run)]
                self._kills += killed
                return False
            case _:
                return False
        return True

    def run(self, *inputs: Input) -> list[Effect]:
        """Ticks until the engine waits for something."""
        effects = self.tick(*inputs)
        while self._read or self.engine.has_work:
            effects += self.tick()
        return effects

    def sleep(self, us: int) -> list[Effect]:
        """Time passes, then the engine ticks until it waits."""
        self.now = Instant(self.now + us)
        return self.run()

    def submit(self, ffqn: FunctionName, *params: object, execution_id: ExecutionId = ROOT) -> list[Effect]:
        """A client submits; ticks until the engine waits."""
        return self.run(Submit(0, execution_id, ffqn, json_array(*params)))

    def crash(self, *started: ExecutionId) -> list[Effect]:
        """The process dies and starts again; `started` had really started."""
        self.die(frozenset(started))
        return self.run()

    def die(self, started: frozenset[ExecutionId]) -> None:
        """The process dies, and another one has started; it has not ticked yet."""
        self._read = []
        self.engine.close()
        self.engine = self._boot(started)
        self._kills = []

    @property
    def wants_tick(self) -> bool:
        """Whether there is something to do."""
        due = self.engine.next_due()
        return bool(self._read) or self.engine.has_work or (due is not None and due <= self.now)

    def take_kills(self) -> list[StartAttempt]:
        """Attempts that are to be killed; their ends are not reported otherwise."""
        kills, self._kills = self._kills, []
        return kills

    def give_back(self, kills: list[StartAttempt]) -> None:
        """Kills that are answered later."""
        self._kills[:0] = kills

    # --- attempts ----------------------------------------------------------------------------------------------------

    def starts(self) -> list[StartAttempt]:
        """All attempts that the engine wanted started, in order."""
        return [effect for effect in self.effects if isinstance(effect, StartAttempt)]

    def end_of(self, start: StartAttempt, result: Ok | Err | Failure | None = None) -> AttemptFinished:
        """The input that says how an attempt ended."""
        return AttemptFinished(start.execution_id, start.run, Ok() if result is None else result)

    def finish(self, start: StartAttempt, result: Ok | Err | Failure | None = None) -> list[Effect]:
        """An attempt ends; ticks until the engine waits."""
        return self.run(self.end_of(start, result))

    def killed(self, start: StartAttempt) -> AttemptKilled:
        """The input that says that an attempt does nothing any more."""
        return AttemptKilled(start.execution_id, start.run)

    def operate(self, body: RequestBody | GiveResult, execution_id: ExecutionId = ROOT) -> Answer | None:
        """A client operates on an execution; ticks until the engine waits. The answer, if there is one yet."""
        self._tokens += 1
        effects = self.run(Operate(self._tokens, execution_id, body))
        answers = [answer for answer in of_kind(effects, Answer) if answer.token == self._tokens]
        return answers[0] if answers else None

    # --- what is durable ---------------------------------------------------------------------------------------------

    def tags(self, execution_id: ExecutionId = ROOT) -> list[str]:
        """The kinds of the events of an execution."""
        return [kind_of(entry.event) for entry in snapshot_of(self.store, execution_id).log]

    def outcome(self, execution_id: ExecutionId = ROOT) -> Outcome | None:
        """How it ended; None when it has not."""
        return outcome_of(snapshot_of(self.store, execution_id))

    def runs(self, execution_id: ExecutionId) -> list[RunId]:
        """The runs in its log."""
        log = snapshot_of(self.store, execution_id).log
        return [entry.event.run for entry in log if isinstance(entry.event, Locked)]


def refused(outcomes: list[UnitOutcome]) -> int:
    """How many units were refused."""
    return sum(isinstance(outcome, Refused) for outcome in outcomes)


def text(value: Json) -> str:
    """A value as text."""
    return bytes(value).decode()


def of_kind(effects: list[Effect], kind: type[E]) -> list[E]:
    """The effects of one kind."""
    return [effect for effect in effects if isinstance(effect, kind)]
