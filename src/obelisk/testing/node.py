"""A node: one simulated process with an engine; it boots, works, dies, and boots again.

Decides when its engine ticks and commits, and what a fault does to it. Between deciding, committing and settling a tick
other things happen, as in life. It performs effects as the runtime does, only without threads, files, clocks or wasm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, assert_never

import msgspec

from obelisk.core.batch import CommitUnknown, Expect, Recovered, Refused, RefusedBy, Unit, UnitOutcome
from obelisk.core.events import Created, Finished
from obelisk.core.ids import ExecutionId, ExecutorId
from obelisk.core.instants import Instant
from obelisk.core.ports import FunctionKind, Guest, Yielded
from obelisk.core.reading import Change
from obelisk.engine.effects import (
    Answer,
    Changed,
    CheckNews,
    Claim,
    Effect,
    EmitLog,
    KillAttempt,
    Load,
    Look,
    Renew,
    RunGuest,
    StartAttempt,
    WakeOthers,
)
from obelisk.engine.engine import Engine
from obelisk.engine.inbox import Inbox
from obelisk.engine.inputs import Claimed, Input, Loaded, Looked, News, Stepped
from obelisk.engine.tick import Tick
from obelisk.testing import invariants
from obelisk.testing.attempts import Attempts
from obelisk.testing.deployment import DEPLOYMENT, CountedBudget
from obelisk.testing.faults import CommitFault, HintFault
from obelisk.testing.invariants import Violation

if TYPE_CHECKING:
    from obelisk.testing.world import World

MS: Final = 1_000
_NOBODY: Final = ExecutionId("E_" + "0" * 26)
_UNREACHED: Final = 1 << 30
"""More events, or responses, than any execution has."""


class Node:
    """One process: boots, works, dies, and boots again."""

    def __init__(self, world: World, index: int) -> None:
        self.world: Final = world
        self.index: Final = index
        self.engine: Engine | None = None
        self.registry = world.subject.deployment()
        self.inbox = Inbox(world.setting.limits.inbox_max)
        self.executor = ExecutorId("")
        self.attempts = Attempts(self)
        self.lane: Final[dict[Guest, ExecutionId]] = {}
        """Guests on the CPU lane, and whose they are."""
        self._life = 0
        """Counts boots and deaths: whatever belongs to an earlier life is void."""
        self._paused_until = 0
        self._is_ticking = False
        self.latest = Instant(0)
        """The latest instant that its clock has shown to this process: clocks jump back, and what was due stays so."""
        self._alarm: int | None = None
        """The moment for which a tick is arranged because a timer is due then."""
        self._started: frozenset[ExecutionId] = frozenset()
        """What had really started when the process died."""
        self._stopping = False

    # --- life --------------------------------------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether the process is alive (it may be paused)."""
        return self.engine is not None and not self._stopping

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way that it will finish by itself, timers apart."""
        if self.engine is None:
            return True
        return not (self._is_busy(self.engine) or self.attempts.running or self.attempts.dying or self.lane)

    @property
    def is_settled(self) -> bool:
        """Whether it has done all that it can do at this moment, and only waits."""
        engine, wall = self.engine, self.world.wall
        if engine is None or self._stopping or self.world.now < self._paused_until:
            return False
        due = engine.next_due()
        return (due is None or due > wall) and not self._is_busy(engine)

    def _is_busy(self, engine: Engine) -> bool:
        return bool(engine.has_work or self.inbox or self._is_ticking)

    @property
    def _is_shared(self) -> bool:
        return self.world.setting.nodes > 1

    def boot(self) -> None:
        """A new process with a new executor id takes over what it finds."""
        world, setting = self.world, self.world.setting
        self.latest = Instant(0)
        self._life += 1
        self._stopping = False
        self.registry = world.subject.deployment()
        self.inbox = Inbox(setting.limits.inbox_max)
        self.executor = world.entropy.executor_id(world.wall)
        budget = CountedBudget(setting.budget)
        engine = Engine(
            self.executor, DEPLOYMENT, self.registry, world.entropy, budget, setting.limits, shared=self._is_shared
        )
        recovered = Recovered([], [])
        if not self._is_shared:
            recovered = world.store.take_over(self.executor, self._started)
        world.tell(f"node {self.index}: boots as {self.executor}, takes {len(recovered.states)}")
        engine.recover(recovered, world.wall)
        self.engine = engine
        self.poke()

    def crash(self) -> None:
        """The process is gone; another starts a little later."""
        if self.engine is None:
            return
        self.world.tell(f"node {self.index}: dies")
        self._started = frozenset(self.attempts.running)
        self._die()

    def stop(self) -> None:
        """A clean stop: attempts are given up, what they tell is written down, then the process ends."""
        if not self.is_up:
            return
        self._stopping = True
        self.attempts.stop()
        self.poke()
        life = self._life
        self.world.after(5 * MS, lambda: self._stopped(life))

    def _stopped(self, life: int) -> None:
        if life == self._life and self.engine is not None:
            self.world.tell(f"node {self.index}: has stopped")
            self._started = frozenset()
            self._die()

    def _die(self) -> None:
        for guest in [*sorted(self.registry.guests, key=lambda guest: guest.execution_id), *self.lane]:
            guest.close()
        self.engine = None
        self.attempts = Attempts(self)
        self.lane.clear()
        self._life += 1
        self._is_ticking = False
        self._alarm = None
        self._paused_until = 0
        self.world.after(self.world.random.choice([1, 50, 1_500]) * MS, self.boot)

    def halt(self) -> None:
        """The world ends: frees all guests. The node is of no use afterwards."""
        self._life += 1
        for guest in [*self.registry.guests, *self.lane]:
            guest.close()

    def pause(self, us: int) -> None:
        """The process does nothing for a while, and does not notice."""
        self._paused_until = self.world.now + us

    def later(self, us: int, what: Callable[[], None]) -> None:
        """Does `what` in `us`, if this process is still alive then; when it is paused, after that."""
        life = self._life

        def act() -> None:
            if life != self._life:
                return
            if self.world.now < self._paused_until:
                self.world.after(self._paused_until - self.world.now, act)
            else:
                what()

        self.world.after(us, act)

    # --- ticks -------------------------------------------------------------------------------------------------------

    def offer(self, item: Input) -> None:
        """Puts an input into the inbox and wakes the engine."""
        self.inbox.offer(item)
        self.poke()

    def poke(self) -> None:
        """Sees to it that there is a tick soon."""
        self.later(self.world.random.randint(0, 200), self.tick)

    def _set_alarm(self, us: int) -> None:
        at = self.world.now + us
        if self._alarm is None or at < self._alarm:
            self._alarm = at
            self.later(us, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self.tick()

    def tick(self) -> None:
        """Decides; commits a little later."""
        engine = self.engine
        if engine is None or self._is_ticking:
            return
        now = self.world.wall
        self.latest = max(self.latest, now)
        due = engine.next_due()
        if not (self.inbox or engine.has_work or (due is not None and due <= now)):
            if due is not None:
                self._set_alarm(due - now)
            return
        self._is_ticking = True
        self.world.ticks += 1
        tick = engine.decide(self.inbox.admit(self.world.setting.admit_max), now)
        self.later(self.world.random.randint(50, 500), lambda: self._commit(tick))

    def _commit(self, tick: Tick) -> None:
        if not tick.units:
            self._settle(tick, [], CommitFault.NONE)
            return
        world = self.world
        world.commits += 1
        fault = world.faults.at_commit(world.commits)
        if fault is not CommitFault.NONE:
            world.faults.book(fault)
            world.tell(f"node {self.index}: {fault}, commit {world.commits}")
        if fault is CommitFault.CRASH_BEFORE:
            self.crash()
            return
        units = list(tick.units)
        if fault in {CommitFault.REFUSE, CommitFault.REFUSE_ALL}:
            one = world.random.randrange(len(units))
            units = [
                self._refusable(unit) if index == one or fault is CommitFault.REFUSE_ALL else unit
                for index, unit in enumerate(units)
            ]
        outcomes = self._write(tick.batch_id, units, fault)
        if fault is CommitFault.CRASH_AFTER:
            self.crash()
            return
        self.later(world.random.randint(10, 100), lambda: self._settle(tick, outcomes, fault))

    def _refusable(self, unit: Unit) -> Unit:
        """The unit, losing a race against somebody who is not there."""
        expects = list(unit.expects)
        for index, expect in enumerate(expects):
            if expect.next_version > 0 and expect.response_count is not None:
                expects[index] = msgspec.structs.replace(expect, response_count=expect.response_count + _UNREACHED)
                break
        else:
            expected = {expect.execution_id for expect in expects}
            asked = (request.execution_id for request in unit.requests)
            target = next((each for each in asked if each not in expected), _NOBODY)
            expects.append(Expect(target, _UNREACHED))
        return msgspec.structs.replace(unit, expects=expects)

    def _write(self, batch_id: str, units: list[Unit], fault: CommitFault) -> list[UnitOutcome]:
        """Commits as the runtime does: reads back what is unknown; what was not committed counts as refused."""
        world = self.world
        try:
            if fault is CommitFault.LOST_UNDONE:
                raise CommitUnknown
            before = {
                state.execution_id: world.store.state(state.execution_id) for unit in units for state in unit.states
            }
            outcomes = world.store.commit(batch_id, units)
            for unit, outcome in zip(units, outcomes, strict=True):
                world.tell(f"node {self.index}: {_show(unit)} -> {outcome}")
                if isinstance(outcome, Refused):
                    continue
                for state in unit.states:
                    info = self.registry.pinned(state.component, state.ffqn)
                    if info is None or info.kind is not FunctionKind.STUB:  # whose result anybody may write
                        invariants.only_holders_write(before[state.execution_id], state, self.executor)
                for new in unit.events:
                    if isinstance(new.event, Created):
                        world.see_created(new.execution_id, new.event)
                    elif isinstance(new.event, Finished):
                        ended, run = before[new.execution_id], self.attempts.running.get(new.execution_id)
                        if ended is not None and run is not None and run == ended.run:  # not one of a lost lease
                            raise Violation(f"{new.execution_id} has finished, but its attempt still does something")
            world.check_commit(units, outcomes)
            if fault is CommitFault.LOST_DONE:
                raise CommitUnknown
        except CommitUnknown:
            read_back = world.store.outcome_of(batch_id)
            if read_back is None:
                return [Refused(RefusedBy.VERSION)] * len(units)
            outcomes = read_back
        return outcomes

    def _settle(self, tick: Tick, outcomes: list[UnitOutcome], fault: CommitFault) -> None:
        assert self.engine is not None
        self._is_ticking = False
        effects = self.engine.settle(tick, outcomes)
        if fault is CommitFault.CRASH_SETTLED:
            self.crash()
            return
        for effect in effects:
            self._perform(effect)
        self.poke()

    # --- effects -----------------------------------------------------------------------------------------------------

    def _perform(self, effect: Effect) -> None:
        world = self.world
        match effect:
            case StartAttempt():
                self.attempts.start(effect, stopping=self._stopping)
            case KillAttempt():
                self.attempts.kill(effect)
            case RunGuest():
                self.lane[effect.guest] = effect.execution_id
                self.later(world.random.randint(1, 20) * MS, lambda: self._run_guest(effect))
            case Load(execution_id):
                self.offer(Loaded(execution_id, world.store.load(execution_id)))
            case Look(execution_id):
                self.offer(Looked(execution_id, world.store.load(execution_id)))
            case Answer(token):
                world.clients[token].answer(effect)
            case EmitLog(execution_id, version):
                state = world.store.state(execution_id)
                if state is None or version > state.next_version:
                    raise Violation(f"a log line left before its event was durable: {effect}")
                world.lines.append(effect)
            case Changed():
                for change in effect.rows():
                    self._look_at(change)
            case WakeOthers(execution_id):
                self._wake_others(execution_id)
            case Claim(count_max):
                expires_at = Instant(world.wall + world.setting.limits.lease_us)
                recovered = world.store.claim(self.executor, world.wall, expires_at, count_max)
                if recovered.states:
                    world.tell(f"node {self.index}: claims {[state.execution_id for state in recovered.states]}")
                    self.offer(Claimed(recovered))
            case Renew(lease_expires_at):
                world.store.renew(self.executor, lease_expires_at)
            case CheckNews():
                news = world.store.news(self.executor)
                if news:
                    self.offer(News(news))
            case _:
                assert_never(effect)

    def _look_at(self, change: Change) -> None:
        """The row that is said to have changed is there, and so is the end."""
        world, state = self.world, change.state
        row = world.store.state(state.execution_id)
        if row is None or row.next_version < state.next_version:
            raise Violation(f"{state.execution_id} is said to have changed, but the store does not know")
        if change.outcome is not None:
            result = world.store.result(state.execution_id)
            if result is None or result.outcome != change.outcome:
                raise Violation(f"{state.execution_id} is said to have ended as {change.outcome}, not {result}")

    def _wake_others(self, execution_id: ExecutionId) -> None:
        fault = self.world.faults.at_hint()
        if fault is not None:
            self.world.faults.book(fault)
        if fault is HintFault.LOST:
            return
        for node in self.world.nodes:
            if node is not self and node.engine is not None:
                late = 300 * MS if fault is HintFault.LATE else 0
                node.later(late, lambda node=node: node.offer(News([execution_id])))  # type: ignore[misc]

    def _run_guest(self, effect: RunGuest) -> None:
        if effect.guest not in self.lane:
            return
        step = effect.guest.resume()
        if isinstance(step, Yielded):
            self.later(self.world.random.randint(1, 20) * MS, lambda: self._run_guest(effect))
            return
        del self.lane[effect.guest]
        self.offer(Stepped(effect.execution_id, effect.generation, effect.guest, step))


def _show(unit: Unit) -> str:
    """A unit in one line."""
    parts = [f"{new.execution_id[-12:]} v{new.version} {type(new.event).__name__}" for new in unit.events]
    parts += [f"{new.execution_id[-12:]} <- {_text(new.response.body)}" for new in unit.responses]
    parts += [f"request {_text(request.body)} to {request.execution_id[-12:]}" for request in unit.requests]
    return f"after {unit.after}: " + ", ".join(parts or [str([s.execution_id for s in unit.states])])


def _text(body: msgspec.Struct) -> str:
    return msgspec.json.encode(body).decode()
