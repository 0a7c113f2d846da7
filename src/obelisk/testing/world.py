"""The world: real engines in virtual time, with everything around them simulated.

A world has one store, one or two nodes, clients, faults, and a subject, which says what runs in it. It is a loop over a
heap of moments; whatever is random comes from one seeded generator, so a seed repeats a run exactly. After every commit
the invariants of what was touched are checked, and at the end those of everything; see `invariants.py`.

The world decides nothing about executions. What a process does is in `node.py`.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Final, TypeVar, assert_never

import msgspec

from obelisk.core.batch import Refused, Unit, UnitOutcome
from obelisk.core.events import Created, Parked
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.policy import Limits
from obelisk.core.ports import FunctionKind
from obelisk.core.state import ExecutionState, Lifecycle, Status
from obelisk.core.values import Outcome
from obelisk.engine.effects import EmitLog
from obelisk.engine.inputs import GiveResult
from obelisk.store.memory import MemoryStore
from obelisk.testing import invariants
from obelisk.testing.clients import Client, MakeCall, Submitter, operation
from obelisk.testing.deployment import SeededEntropy
from obelisk.testing.derived import STANDS_STILL, effects_are_derived
from obelisk.testing.endings import Endings
from obelisk.testing.faults import Calm, Faults, NodeFault, Storm
from obelisk.testing.invariants import Violation
from obelisk.testing.node import MS, Node
from obelisk.testing.subject import Subject

EPOCH: Final = 1_700_000_000_000_000
"""The wall clock at the beginning of the world, in µs."""
_TOLD: Final = 400
"""Lines of the story that a failure shows."""

C = TypeVar("C", bound=Client)


class Setting(msgspec.Struct, frozen=True):
    """What a world consists of, apart from its subject."""

    nodes: int = 1
    """One node owns its store; two share it."""
    limits: Limits = Limits()
    budget: int | None = None
    """How often a tick may ask for its budget; None: without end."""
    admit_max: int = 1_000
    """Inputs that one tick admits."""
    calm_after_us: int = 5_000 * MS
    """When a storm is over."""
    end_after_us: int = 3_600_000 * MS
    """By then everything must have finished."""
    ticks_max: int | None = None
    """… and within so many ticks."""
    slow: int = 1
    """Factor on how long attempts take."""
    pace: int = 1
    """Factor on how long trouble lasts and how often it comes, for worlds whose executions sleep for long."""
    own_failures: Mapping[ExecutionId, int] = {}
    """How often activities fail without any fault: injected failures leave room in their retries."""
    rows_checked: int = 200
    """What is larger is not looked at after every commit, and tick, but after some."""
    may_park: bool = True
    """Whether an execution may be parked; if not, it is a violation at once."""


class Broken(Violation):
    """A run broke a promise: which world, what was broken (`reason`), and the story up to there."""

    def __init__(self, world: World, error: Exception) -> None:
        self.seed: Final = world.seed
        self.reason: Final = error.what if isinstance(error, Violation) else f"{type(error).__name__}: {error}"
        self.story: Final = tuple(world.story)
        told = "\n".join(self.story[-_TOLD:])
        super().__init__(f"seed {self.seed}: {error}", getattr(error, "execution_id", None), told)


class World:
    """One run. `run` until everything has finished, or raise `Violation`."""

    def __init__(self, seed: int, subject: Subject, setting: Setting, faults: Faults | None = None) -> None:
        self.seed: Final = seed
        self.subject: Final = subject
        self.setting: Final = setting
        self.random: Final = Random(seed)
        self.faults: Final = Calm() if faults is None else faults
        self.store: Final = MemoryStore()
        self.now = 0
        self.clock_offset = EPOCH
        self.commits = 0
        self.ticks = 0
        self.starts: Counter[ExecutionId] = Counter()
        """Attempts that were started, by execution."""
        self.lines: list[EmitLog] = []
        self.story: list[str] = []
        """What happened, one line a moment: printed when a run fails."""
        self._moments: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._check_at = 1
        """Ticks after which the effects are checked again."""
        self.entropy: Final = SeededEntropy(self.random)
        self.is_tended = False
        """Whether somebody sees to it that what stands still goes on; the world waits for that."""
        self.clients: Final[list[Client]] = []
        """By token."""
        self._endings: Final = Endings(self.store, self._kind_of)
        self.nodes: Final = [Node(self, index) for index in range(setting.nodes)]
        self.submitters: Final = [
            self._add(Submitter(self, token, submission)) for token, submission in enumerate(subject.submissions)
        ]

    # --- time --------------------------------------------------------------------------------------------------------

    @property
    def wall(self) -> Instant:
        """What the nodes' clocks show."""
        return Instant(self.now + self.clock_offset)

    def after(self, us: int, what: Callable[[], None]) -> None:
        """Does `what` in `us` microseconds."""
        self._count += 1
        heapq.heappush(self._moments, (self.now + us, self._count, what))

    def tell(self, text: str) -> None:
        """Adds a line to the story."""
        self.story.append(f"{self.now / MS:10.3f} ms  {text}")

    # --- clients -----------------------------------------------------------------------------------------------------

    def _add(self, client: C) -> C:
        assert client.token == len(self.clients)
        self.clients.append(client)
        return client

    def add_client(self, make: MakeCall, after_us: int = 0) -> Client:
        """Somebody who wants something from `after_us` on: an operation on an execution, or a fork. The world goes on
        until there is an answer.
        """
        client = self._add(Client(self, len(self.clients), make))
        self.after(after_us, client.ask)
        return client

    # --- running -----------------------------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether every client was answered and every execution that it asked for has ended."""
        return all(client.done for client in self.clients)

    def run(self) -> None:
        """Runs until all is done and the nodes are quiet, then checks everything."""
        try:
            for node in self.nodes:
                node.boot()
            for submitter in self.submitters:
                self.after(submitter.submission.at_us, submitter.ask)
            if isinstance(self.faults, Storm):
                self.after(10 * MS, self._trouble)
            self._loop()
            self.check()
        except Exception as error:
            raise Broken(self, error) from error
        finally:
            for node in self.nodes:
                node.halt()

    def _loop(self) -> None:
        setting = self.setting
        while not (self.done and all(node.is_quiet for node in self.nodes) and not self._goes_on()):
            if not self._moments:
                raise Violation(f"nothing happens any more, but not everything has finished{self._open()}")
            at, _, what = heapq.heappop(self._moments)
            self.now = max(self.now, at)
            if self.now > setting.end_after_us or (setting.ticks_max is not None and self.ticks > setting.ticks_max):
                raise Violation(f"not everything has finished in time{self._open()}")
            what()
            if setting.nodes == 1:
                self._check_effects()

    def _unfinished(self) -> list[ExecutionState]:
        states = [self.store.state(execution_id) for execution_id in invariants.everything(self.store)]
        return [state for state in states if state is not None and state.status is not Status.FINISHED]

    def _goes_on(self) -> bool:
        """Whether something that nobody asked for is still to end: what was scheduled."""
        return any(self.is_tended or state.lifecycle not in STANDS_STILL for state in self._unfinished())

    def _open(self) -> str:
        """What has not finished, one line each."""
        lines = [_standing(state) for state in self._unfinished()]
        return "".join(f"\n    {line}" for line in lines[:20])

    def _trouble(self) -> None:
        """Lets the storm strike at the nodes, until it is over."""
        assert isinstance(self.faults, Storm)
        pace = self.setting.pace
        if self.now >= self.setting.calm_after_us * pace:
            self.faults.over = True
            self.tell("the storm is over")
            return
        for node in self.nodes:
            fault = self.faults.at_large()
            if fault is not None and node.is_up:
                self.faults.book(fault)
                self.tell(f"node {node.index}: {fault}")
                match fault:
                    case NodeFault.CRASH:
                        node.crash()
                    case NodeFault.STOP:
                        node.stop()
                    case NodeFault.PAUSE:
                        node.pause(self.random.choice([1, 20, 2_000]) * MS * pace)
                    case NodeFault.CLOCK:
                        self.clock_offset += self.random.choice([-3_000, -5, 5, 3_000]) * MS
                        for other in self.nodes:
                            other.poke()
                    case _:
                        assert_never(fault)
        self.after(self.random.randint(1, 100) * MS * pace, self._trouble)

    # --- checking ----------------------------------------------------------------------------------------------------

    def check_commit(self, units: list[Unit], outcomes: list[UnitOutcome]) -> None:
        """What must hold of everything that a batch touched."""
        self._endings.see(units, outcomes)
        touched = {
            state.execution_id: None
            for unit, outcome in zip(units, outcomes, strict=True)
            if not isinstance(outcome, Refused)
            for state in unit.states
        }
        for execution_id in touched:
            state = self.store.state(execution_id)
            assert state is not None
            is_parked = state.lifecycle is Lifecycle.PARKED and not self.setting.may_park
            if self.commits % (1 + state.next_version // self.setting.rows_checked) and not is_parked:
                continue  # a long log is looked at less often, and at the end
            snapshot = invariants.snapshot_of(self.store, execution_id)
            invariants.log_is_whole(snapshot)
            invariants.state_follows(snapshot)
            last = snapshot.log[-1].event
            if isinstance(last, Parked) and not self.setting.may_park:
                what = f"{execution_id} ({snapshot.state.ffqn}) is parked: {last.reason}\n{last.detail}"
                raise Violation(what.rstrip(), execution_id)

    def _kind_of(self, state: ExecutionState) -> FunctionKind | None:
        info = self.nodes[0].registry.pinned(state.component, state.ffqn)
        return None if info is None else info.kind

    def see_created(self, execution_id: ExecutionId, created: Created) -> None:
        """An execution exists: somebody may have the result of a stub activity."""
        info = self.nodes[0].registry.pinned(created.component, created.ffqn)
        if info is not None and info.kind is FunctionKind.STUB:
            outcome = self.subject.given_result(execution_id, created.ffqn, created.params)
            if outcome is not None:
                self.add_client(operation(execution_id, GiveResult(outcome)), self.random.randint(1, 50) * MS)

    def _check_effects(self) -> None:
        (node,) = self.nodes
        if self.ticks >= self._check_at and node.is_settled:
            rows = effects_are_derived(node, self.store)
            self._check_at = self.ticks + 1 + rows // self.setting.rows_checked  # a large store is looked at less often

    def check(self) -> None:
        """What must hold of the whole store."""
        registry = self.subject.deployment()
        is_calm, owns = type(self.faults) is Calm, self.setting.nodes == 1
        remembered = invariants.Remembered(self.store)
        for execution_id in invariants.everything(self.store):
            snapshot = invariants.snapshot_of(remembered, execution_id)
            invariants.log_is_whole(snapshot)
            invariants.state_follows(snapshot)
            invariants.awaits_match(snapshot)
            invariants.cancelled_closes_newest_first(snapshot)
            invariants.family_agrees(remembered, snapshot)
            invariants.end_is_the_end(remembered, snapshot)
            info = registry.pinned(snapshot.state.component, snapshot.state.ffqn)
            assert info is not None
            match info.kind:
                case FunctionKind.ACTIVITY:
                    invariants.retries_are_kept(snapshot, info.policy.retry)
                    if owns:
                        invariants.locked_only_when_lost(snapshot)
                case FunctionKind.WORKFLOW:
                    if is_calm and owns:
                        invariants.locked_only_when_due(snapshot)
                    invariants.replays(snapshot, registry.guest(info.component, info.ffqn, execution_id))
                    invariants.needs_its_whole_log(snapshot, registry.guest(info.component, info.ffqn, execution_id))
            if owns and snapshot.requests:
                raise Violation(f"{execution_id} has unanswered requests: {snapshot.requests}")
        self.subject.check(self.store, self.lines, calm=is_calm)
        engine = self.nodes[0].engine
        if owns and engine is not None:
            left = (engine.open_count, engine.hot_count, len(self.nodes[0].registry.guests))
            if left != (0, 0, 0):
                raise Violation(f"executions held, counted hot, guests alive: {left}, although all have finished")


def _standing(state: ExecutionState) -> str:
    waits = "" if state.blocked_on is None else f" by {state.blocked_on}"
    return f"{state.execution_id} {state.ffqn}: {state.status}{waits}, {state.lifecycle}"


def outcomes_of(world: World) -> dict[ExecutionId, Outcome | None]:
    """How every execution of a world ended."""
    store = world.store
    return {
        execution_id: invariants.outcome_of(invariants.snapshot_of(store, execution_id))
        for execution_id in invariants.everything(store)
    }
