"""Exhaustive small worlds: every order of arrival, and a crash at every commit of each.

Decides which small worlds there are: one workflow with up to two join sets, two children in each and one delay, that
awaits everything, or some of it, or nothing, or is cancelled at any moment. One input comes in a tick, in every order that
there is. Each such run is then repeated with one crash: before each commit, after it, and after it was settled. With one
engine, which starts again, and with two on one store, of which the other one takes over.

After each run all invariants must hold, effects must follow from rows, and what the workflow did must be what it did
without the crash. Nothing here is random.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import permutations
from typing import Final

import msgspec

from obelisk.core import calls
from obelisk.core.batch import CancelRequest, Unit, UnitOutcome
from obelisk.core.events import HistoryEvent
from obelisk.core.ids import ExecutionId, JoinSetId
from obelisk.core.instants import In, Instant
from obelisk.core.names import FunctionName
from obelisk.core.policy import Limits
from obelisk.core.ports import FunctionKind
from obelisk.core.state import ExecutionState, Status
from obelisk.core.values import Json, Ok, Outcome
from obelisk.engine.effects import StartAttempt
from obelisk.engine.inputs import Input, Operate, Submit
from obelisk.store.memory import MemoryStore
from obelisk.testing import invariants
from obelisk.testing.deployment import SimulatedRegistry, json_array
from obelisk.testing.driver import ROOT, Driver
from obelisk.testing.endings import Endings
from obelisk.testing.guests import Flow
from obelisk.testing.invariants import Violation

ACT: Final = FunctionName("small:acts/acts.act")
FLOW: Final = FunctionName("small:flows/flows.flow")
DELAY: Final = "delay"
CANCEL: Final = "cancel"
_DELAY_US: Final = 10_000_000
_LEASE_US: Final = 50_000
_ROUNDS_MAX: Final = 40


class Ending(StrEnum):
    """What the workflow does once everything is submitted."""

    AWAITS = "awaits everything"
    TRIES = "asks without waiting, then awaits everything"
    LEAVES = "awaits one of each set, then closes it"
    RETURNS = "returns at once"
    IS_CANCELLED = "awaits everything, and is cancelled at some moment"


class Small(msgspec.Struct, frozen=True):
    """A small world."""

    sets: int
    children: int
    delay: bool
    ending: Ending
    engines: int

    @property
    def members(self) -> list[str]:
        """What arrives: children, by their relative ids, the delay, and the cancellation."""
        found = [f"g:{js}_{index}" for js in range(1, self.sets + 1) for index in range(1, self.children + 1)]
        return found + [DELAY] * self.delay + [CANCEL] * (self.ending is Ending.IS_CANCELLED)


class Crash(StrEnum):
    """Where around a commit the process dies."""

    BEFORE = "before the commit"
    AFTER = "after the commit"
    SETTLED = "after it was settled"


class Count(msgspec.Struct):
    """How much was run."""

    worlds: int = 0
    orders: int = 0
    runs: int = 0


def all_small(engines: tuple[int, ...] = (1, 2), sets_max: int = 2) -> Iterator[Small]:
    """Every small world."""
    for count in engines:
        for sets in range(1, sets_max + 1):
            for children in (1, 2):
                for delay in (False, True):
                    for ending in Ending:
                        yield Small(sets, children, delay, ending, count)


def explore(small: Small, count: Count) -> None:
    """Runs a small world in every order, undisturbed and with a crash everywhere. `Violation` when a promise was broken."""
    count.worlds += 1
    for order in permutations(small.members):
        count.orders += 1
        calm = _Run(small, order, None)
        calm.go()
        count.runs += 1
        for number in range(1, calm.commits + 1):
            for crash in Crash:
                disturbed = _Run(small, order, (number, crash))
                try:
                    disturbed.go()
                    _compare(small, calm, disturbed)
                except Violation as error:
                    raise Violation(f"{small}, order {order}, crash {crash} {number}: {error}") from error
                count.runs += 1


def _compare(small: Small, calm: _Run, disturbed: _Run) -> None:
    if small.ending in {Ending.TRIES, Ending.IS_CANCELLED}:
        return  # what it finds, and where it is cancelled, depends on when it gets there
    if calm.history != disturbed.history:
        raise Violation(f"another history:\n{calm.history}\n{disturbed.history}")
    if small.ending is Ending.AWAITS and calm.outcome != disturbed.outcome:
        raise Violation(f"ended with {disturbed.outcome}, without the crash {calm.outcome}")


class _Died(Exception):
    """The process died here."""


def _flow(small: Small) -> SimulatedRegistry:
    def flow(execution_id: ExecutionId, params: Json) -> Flow:
        sets: list[JoinSetId] = []
        for index in range(small.sets):
            reply = yield calls.JoinSetCreate()
            assert isinstance(reply, str)
            sets.append(JoinSetId(reply))
            for number in range(small.children):
                yield calls.Submit(sets[-1], ACT, json_array(index, number))
        if small.delay:
            yield calls.SubmitDelay(sets[0], In(_DELAY_US))
        seen: list[list[str]] = [[] for _ in sets]
        members = [small.children + (small.delay and index == 0) for index in range(small.sets)]
        for index, join_set in enumerate(sets):
            awaited = 0
            if small.ending is Ending.TRIES:
                found = yield calls.JoinNextTry(join_set)
                awaited += isinstance(found, calls.MemberDone)
            wanted = {Ending.RETURNS: 0, Ending.LEAVES: 1}.get(small.ending, members[index])
            while awaited < wanted:
                done = yield calls.JoinNext(join_set)
                assert isinstance(done, calls.MemberDone)
                seen[index].append(done.member.rpartition(".")[2])
                awaited += 1
            if small.ending is Ending.LEAVES:
                yield calls.JoinSetClose(join_set)
        return Ok(json_array(*[sorted(each) for each in seen]))

    registry = SimulatedRegistry()
    registry.add_activity(ACT)
    registry.add_workflow(FLOW, flow)
    return registry


class _Run:
    """One run of a small world in one order."""

    def __init__(self, small: Small, order: tuple[str, ...], crash: tuple[int, Crash] | None) -> None:
        self.commits = 0
        self.history: list[HistoryEvent] = []
        self.outcome: Outcome | None = None
        self._small = small
        self._left = list(order)
        self._crash = crash
        self._store = MemoryStore()
        self._registry = _flow(small)
        limits = Limits(start_window_shared=1, lease_us=_LEASE_US) if small.engines > 1 else Limits()
        self._drivers = [
            Driver(self._registry, limits, store=self._store, shared=small.engines > 1, seed=index)
            for index in range(small.engines)
        ]
        self._endings = Endings(self._store, self._kind_of)
        self._commit = self._store.commit
        self._store.commit = self._committing  # type: ignore[method-assign, assignment]
        self._died = False

    def _kind_of(self, state: ExecutionState) -> FunctionKind | None:
        info = self._registry.pinned(state.component, state.ffqn)
        return None if info is None else info.kind

    # --- crashing ----------------------------------------------------------------------------------------------------

    def _committing(self, batch_id: str, units: list[Unit]) -> list[UnitOutcome]:
        if not units:
            return self._commit(batch_id, units)
        self.commits += 1
        strikes = self._crash is not None and self._crash[0] == self.commits and not self._died
        if strikes and self._crash is not None and self._crash[1] is Crash.BEFORE:
            raise _Died
        outcomes = self._commit(batch_id, units)
        self._endings.see(units, outcomes)
        if strikes and self._crash is not None and self._crash[1] is Crash.AFTER:
            raise _Died
        return outcomes

    def _tick(self, driver: Driver, *inputs: Input) -> None:
        """One tick; the process may die in it, and then another one starts."""
        before = self.commits
        try:
            driver.tick(*inputs)
        except _Died:
            self._die(driver)
            return
        settled = self._crash == (self.commits, Crash.SETTLED) and self.commits > before and not self._died
        if settled:
            self._die(driver)

    def _die(self, driver: Driver) -> None:
        self._died = True
        driver.die(frozenset(start.execution_id for start in driver.starts()))
        if self._small.engines > 1:
            self._pass(2 * _LEASE_US)  # the other one takes over what it held

    # --- running -----------------------------------------------------------------------------------------------------

    def _idle(self) -> None:
        """Ticks, each engine in turn, until all wait; kills are answered as they come."""
        for _ in range(400):
            busy = False
            for driver in self._drivers:
                kills = driver.take_kills()
                if kills or driver.wants_tick:
                    busy = True
                    self._tick(driver, *[driver.killed(kill) for kill in kills[:1]])
                    driver.give_back(kills[1:])
            if not busy:
                return
        raise Violation("the engines never wait")

    def _pass(self, us: int) -> None:
        for driver in self._drivers:
            driver.now = Instant(driver.now + us)

    def go(self) -> None:
        """Runs to the end, then checks everything."""
        try:
            self._go()
            self._check()
        finally:
            for driver in self._drivers:
                driver.engine.close()

    def _go(self) -> None:
        self._idle()
        for _ in range(3):  # a client asks again until it is there
            if self._store.state(ROOT) is None:
                self._tick(self._drivers[0], Submit(1, ROOT, FLOW, json_array()))
                self._idle()
        for _ in range(_ROUNDS_MAX):
            for member in list(self._left):
                if self._arrives(member):
                    self._left.remove(member)
                    self._idle()
                    self._inbox_is_read()
            root = self._store.state(ROOT)
            if root is not None and root.status is Status.FINISHED:
                return
            if self._small.engines > 1:
                self._pass(_LEASE_US // 3)  # so that what waits for a window is claimed
                self._idle()
        raise Violation(f"it never ends; left: {self._left}, {self._store.state(ROOT)}")

    def _inbox_is_read(self) -> None:
        """Whoever holds the workflow learns, with its next lease at the latest, what others have asked of it."""
        if CANCEL in self._left or self._small.engines == 1:
            return
        self._pass(_LEASE_US // 3)
        self._idle()
        root = invariants.snapshot_of(self._store, ROOT)
        if root.requests and root.state.owner in {driver.executor for driver in self._drivers}:
            raise Violation(f"nobody carries out {root.requests}")

    def _arrives(self, member: str) -> bool:
        """Lets one thing happen, as the only input of a tick. False: it cannot, yet."""
        if member == CANCEL:
            if self._store.state(ROOT) is None:
                return False
            self._tick(self._drivers[-1], Operate(2, ROOT, CancelRequest()))
            state = self._store.state(ROOT)
            # When the process died with it, it is asked for again.
            return state is not None and (
                state.lifecycle != "active" or bool(invariants.snapshot_of(self._store, ROOT).requests)
            )
        if member == DELAY:
            due = self._delays()
            if not due:
                return self._is_over(member)
            self._pass(max(0, min(due) - self._drivers[0].now))
            self._idle()
            return True
        child = ExecutionId(f"{ROOT}.{member}")
        for driver in self._drivers:
            start = self._running(driver, child)
            if start is not None:
                self._tick(driver, driver.end_of(start, Ok(json_array(member))))
                self._idle()
                state = self._store.state(child)
                return state is not None and state.status is Status.FINISHED
        return self._is_over(member)

    def _is_over(self, member: str) -> bool:
        """Whether it will not come any more: its execution was cancelled, or is over."""
        root = self._store.state(ROOT)
        if root is not None and root.status is Status.FINISHED:
            return True
        state = None if member == DELAY else self._store.state(ExecutionId(f"{ROOT}.{member}"))
        return state is not None and state.status is Status.FINISHED

    def _delays(self) -> list[Instant]:
        snapshot = self._store.load(ROOT)
        return [] if snapshot is None else [delay.expires_at for delay in snapshot.delays]

    def _running(self, driver: Driver, child: ExecutionId) -> StartAttempt | None:
        state = self._store.state(child)
        starts = [start for start in driver.starts() if start.execution_id == child]
        if state is None or not starts or state.status is not Status.LOCKED or state.run != starts[-1].run:
            return None
        return starts[-1]

    # --- checking ----------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        for execution_id in invariants.everything(self._store):
            snapshot = invariants.snapshot_of(self._store, execution_id)
            invariants.log_is_whole(snapshot)
            invariants.state_follows(snapshot)
            invariants.awaits_match(snapshot)
            invariants.cancelled_closes_newest_first(snapshot)
            invariants.family_agrees(self._store, snapshot)
            invariants.end_is_the_end(self._store, snapshot)
            if snapshot.state.ffqn == FLOW:
                invariants.replays(snapshot, self._registry.guest(snapshot.state.component, FLOW, execution_id))
            if snapshot.state.status is not Status.FINISHED:
                raise Violation(f"{execution_id} has not ended")
            if snapshot.requests:
                raise Violation(f"{execution_id} has unanswered requests: {snapshot.requests}")
        root = invariants.snapshot_of(self._store, ROOT)
        self.history, self.outcome = invariants.history_of(root), invariants.outcome_of(root)
        if self._small.engines == 1 and self._drivers[0].engine.open_count:
            raise Violation("executions are held although all have ended")
