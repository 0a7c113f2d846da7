"""Invariants: what must hold of a store after every commit and at the end of every run, each tied to its rule.

Functions over what is durable; they know neither engine nor world, and raise `Violation`. Each says in its docstring
which promise it checks. To check that a run was right although it was disturbed, compare `history_of` and outcomes.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final, NoReturn, Protocol

import msgspec

from obelisk.core import ids, transitions
from obelisk.core.batch import Snapshot, Store
from obelisk.core.events import (
    CancellationRequested,
    ChildRequested,
    ComponentUpgraded,
    Created,
    DelayRequested,
    Finished,
    HistoryEvent,
    JoinNext,
    JoinNextTooMany,
    JoinNextTry,
    JoinSetCreated,
    Locked,
    Parked,
    Paused,
    Resumed,
    Scheduled,
    TemporarilyFailed,
    TemporarilyTimedOut,
    TryOutcome,
    kind_of,
)
from obelisk.core.ids import ExecutionId, JoinSetId
from obelisk.core.instants import At, Instant, ScheduleAt
from obelisk.core.policy import RetryPolicy
from obelisk.core.ports import Guest
from obelisk.core.reading import ExecutionFilter, Page, Reader
from obelisk.core.replay import Replayed, replay, replayable
from obelisk.core.responses import ChildFinished, Response, member_of
from obelisk.core.state import ExecutionState, Lifecycle, Status
from obelisk.core.values import Failure, Outcome

_EVERYTHING: Final = 1 << 40


class Violation(AssertionError):
    """A promise was broken. `execution_id`: of which execution, where one is concerned; `evidence`: what it looks like."""

    def __init__(self, what: str, execution_id: ExecutionId | None = None, evidence: str = "") -> None:
        super().__init__(f"{what}\n{evidence}" if evidence else what)
        self.what: Final = what
        self.execution_id: Final = execution_id


class Memory(Store, Reader, Protocol):
    """A store with its read side."""


def _broken(snapshot: Snapshot, what: str) -> NoReturn:
    log = "\n".join(f"    {entry.version:3} {entry.created_at} {entry.event}" for entry in snapshot.log)
    responses = "\n".join(f"    {response.seq:3} {response}" for response in snapshot.responses)
    execution_id = snapshot.state.execution_id
    evidence = f"  {snapshot.state}\n  log:\n{log}\n  responses:\n{responses}"
    raise Violation(f"{execution_id}: {what}", execution_id, evidence)


def everything(store: Memory) -> list[ExecutionId]:
    """All executions, oldest first."""
    where, page = ExecutionFilter(top_level_only=False), Page(length=_EVERYTHING)
    return [state.execution_id for state in reversed(store.executions(where, page, Instant(0)))]


class Loads(Protocol):
    """Whatever gives snapshots: a store, or `Remembered`."""

    def load(self, execution_id: ExecutionId) -> Snapshot | None:
        """The execution; None when it does not exist."""
        ...


class Remembered:
    """Snapshots of a store that does not change any more, each loaded once."""

    def __init__(self, store: Loads) -> None:
        self._store: Final = store
        self._snapshots: Final[dict[ExecutionId, Snapshot | None]] = {}
        self._requested: Final[dict[ExecutionId, frozenset[ids.ChildId]]] = {}

    def load(self, execution_id: ExecutionId) -> Snapshot | None:
        """The execution; None when it does not exist."""
        if execution_id not in self._snapshots:
            self._snapshots[execution_id] = self._store.load(execution_id)
        return self._snapshots[execution_id]

    def requested(self, execution_id: ExecutionId) -> frozenset[ids.ChildId]:
        """The children that an execution asked for."""
        found = self._requested.get(execution_id)
        if found is None:
            found = self._requested[execution_id] = _requested(snapshot_of(self, execution_id))
        return found


def _requested(snapshot: Snapshot) -> frozenset[ids.ChildId]:
    return frozenset(entry.event.child for entry in snapshot.log if isinstance(entry.event, ChildRequested))


def snapshot_of(store: Loads, execution_id: ExecutionId) -> Snapshot:
    """The execution, which must exist."""
    snapshot = store.load(execution_id)
    if snapshot is None:
        raise Violation(f"{execution_id} does not exist")
    return snapshot


def outcome_of(snapshot: Snapshot) -> Outcome | None:
    """How it ended; None when it has not."""
    last = snapshot.log[-1].event
    return last.outcome if isinstance(last, Finished) else None


def comparable(outcome: Outcome) -> object:
    """What counts when two ends are compared: not where in the code it failed, which a trap does not tell exactly."""
    return (outcome.kind, outcome.reason) if isinstance(outcome, Failure) else outcome


def history_of(snapshot: Snapshot) -> list[HistoryEvent]:
    """The history events, without the instants that may differ from run to run."""
    history: list[HistoryEvent] = []
    for entry in snapshot.log:
        event = entry.event
        if isinstance(event, DelayRequested):
            event = msgspec.structs.replace(event, expires_at=Instant(0), schedule_at=_timeless(event.schedule_at))
        elif isinstance(event, JoinNext):
            event = msgspec.structs.replace(event, run_expires_at=Instant(0))
        elif isinstance(event, Scheduled):
            event = msgspec.structs.replace(event, scheduled_at=Instant(0), schedule_at=_timeless(event.schedule_at))
        if event.history:
            history.append(event)  # type: ignore[arg-type]
    return history


def _timeless(at: ScheduleAt) -> ScheduleAt:
    """An instant that a guest names follows from its clock."""
    return At(Instant(0)) if isinstance(at, At) else at


# --- one execution ---------------------------------------------------------------------------------------------------


def log_is_whole(snapshot: Snapshot) -> None:
    """Versions 0, 1, 2, … without a gap; `created` first and only there; at most one `finished`, and last. Responses 1, 2,
    3, …, each member answered once; the state row knows both ends.
    """
    state, log, responses = snapshot.state, snapshot.log, snapshot.responses
    if [entry.version for entry in log] != list(range(len(log))):
        _broken(snapshot, "versions have gaps")
    for entry in log:
        if isinstance(entry.event, Created) != (entry.version == 0):
            _broken(snapshot, "created must be version 0, and nothing else")
        if isinstance(entry.event, Finished) and entry.version != len(log) - 1:
            _broken(snapshot, "finished is not the last event")
    if [response.seq for response in responses] != list(range(1, len(responses) + 1)):
        _broken(snapshot, "numbers of responses have gaps")
    if len(set(map(member_of, responses))) != len(responses):
        _broken(snapshot, "a member was answered twice")
    if state.next_version != len(log) or state.response_count != len(responses):
        _broken(snapshot, "the state row does not know the end of the log, or of the responses")


def state_follows(snapshot: Snapshot) -> None:
    """The state row is the fold of events and responses through `core.transitions`, and nothing else.

    A log does not say when a response arrived, nor whether the run's lock still stood then; so that what follows an await
    whose response is there may have been written in several states, and one of them must lead to the row.
    """
    row, created = snapshot.state, snapshot.log[0]
    assert isinstance(created.event, Created)
    possible = [transitions.create(row.execution_id, created.event, created.created_at, None)]
    arrived: dict[JoinSetId, deque[Response]] = {}
    for response in snapshot.responses:
        arrived.setdefault(response.join_set, deque()).append(response)
    awaited: Response | None = None
    for entry in snapshot.log[1:]:
        folded: dict[tuple[Status, Lifecycle], ExecutionState] = {}
        for state in _woken(possible, awaited):
            try:
                transitions.append(state, entry.event, entry.created_at)
            except transitions.IllegalTransition as error:
                why = str(error)
            else:
                folded[state.status, state.lifecycle] = state
        if not folded:
            _broken(snapshot, f"version {entry.version}: {why}")
        possible = list(folded.values())
        if isinstance(entry.event, JoinNext):
            queue = arrived.get(entry.event.join_set)
            awaited = queue.popleft() if queue else None
        elif isinstance(entry.event, JoinNextTry) and entry.event.outcome is TryOutcome.FOUND:
            arrived[entry.event.join_set].popleft()
    if awaited is not None:
        knows = row.responses_known >= awaited.seq  # otherwise its holder may not know yet
        possible = [state for state in _woken(possible, awaited) if state.status is not Status.BLOCKED or not knows]
    if row.status not in {state.status for state in possible}:
        _broken(snapshot, f"the state row says {row.status}, the log {[state.status for state in possible]}")
    state = next(state for state in possible if state.status is row.status)
    for field in ("lifecycle", "run", "executor", "failures", "finished_at", "finish_kind", "component", "join_set"):
        if getattr(row, field) != getattr(state, field):
            _broken(snapshot, f"the state row says {field} {getattr(row, field)}, the log {getattr(state, field)}")
    if row.status is Status.BLOCKED and row.blocked_on != state.blocked_on:
        _broken(snapshot, f"the state row waits for {row.blocked_on}, the log for {state.blocked_on}")


def _woken(possible: list[ExecutionState], awaited: Response | None) -> list[ExecutionState]:
    """The states that there may be once the awaited response may have arrived."""
    states = [state.copy() for state in possible]
    for state in possible if awaited is not None else ():
        if state.status is Status.BLOCKED and state.blocked_on is not None:
            for at in (Instant(0), Instant(state.lock_expires_at + 1)):  # in time, and too late
                woken = state.copy()
                transitions.respond(woken, state.blocked_on, at)
                states.append(woken)
    return states


def awaits_match(snapshot: Snapshot) -> None:
    """Each await stands for one member: never more awaits than members were submitted before; only the last event of a
    log may await a response that is not there; `join_next_too_many` only when every member was awaited.
    """
    submitted: Counter[JoinSetId] = Counter()
    awaited: Counter[JoinSetId] = Counter()
    there = Counter(response.join_set for response in snapshot.responses)
    open_sets: set[JoinSetId] = set()
    history = [entry for entry in snapshot.log if entry.event.history]
    for entry in history:
        match entry.event:
            case JoinSetCreated(join_set):
                if join_set in open_sets:
                    _broken(snapshot, f"{join_set} was created twice")
                open_sets.add(join_set)
            case ChildRequested(child=member) | DelayRequested(delay=member):
                submitted[ids.join_set_of(member)] += 1
            case JoinNextTry(join_set, TryOutcome.FOUND):
                awaited[join_set] += 1
                if awaited[join_set] > there[join_set]:
                    _broken(snapshot, f"version {entry.version} found what is not there")
            case JoinNext(join_set):
                awaited[join_set] += 1
                if awaited[join_set] > submitted[join_set]:
                    _broken(snapshot, f"version {entry.version} awaits more of {join_set} than was submitted")
                if awaited[join_set] > there[join_set] and entry is not history[-1]:
                    _broken(snapshot, f"version {entry.version} was not answered, and yet the log goes on")
            case JoinNextTooMany(join_set):
                if awaited[join_set] < submitted[join_set]:
                    _broken(snapshot, f"version {entry.version} says too many, but {join_set} has more")


def cancelled_closes_newest_first(snapshot: Snapshot) -> None:
    """What an execution that was ended from outside has left open is closed in turn, the newest join set first."""
    created: list[JoinSetId] = []
    closed: list[int] = []
    for entry in snapshot.log:
        if isinstance(entry.event, JoinSetCreated):
            created.append(entry.event.join_set)
        elif isinstance(entry.event, CancellationRequested):
            closed.clear()
        elif isinstance(entry.event, JoinNext):
            closed.append(created.index(entry.event.join_set))
    is_cancelled = any(isinstance(entry.event, CancellationRequested) for entry in snapshot.log)
    if is_cancelled and closed != sorted(closed, reverse=True):
        _broken(snapshot, "its join sets were not closed newest first")


def retries_are_kept(snapshot: Snapshot, policy: RetryPolicy) -> None:
    """At most `max_retries` failures are retried, and the n-th retry waits `exp_backoff * 2**(n-1)`, no longer than
    `backoff_max`, give or take the jitter.
    """
    failures = 0
    for entry in snapshot.log:
        if isinstance(entry.event, TemporarilyFailed | TemporarilyTimedOut):
            waits = entry.event.backoff_expires_at - entry.created_at
            wanted = policy.exp_backoff_us << failures
            if policy.backoff_max_us is not None:
                wanted = min(wanted, policy.backoff_max_us)
            if abs(waits - wanted) > wanted * policy.jitter:
                _broken(snapshot, f"retry {failures + 1} waits {waits} µs")
            failures += 1
    if failures > policy.max_retries:
        _broken(snapshot, f"{failures} retries, {policy.max_retries} allowed")


def locked_only_when_lost(snapshot: Snapshot) -> None:
    """For a store that one process owns: an activity's run is not followed by another of the same process, unless it
    ended: a finished attempt is kept until its end is durable, and the activity does not run again.
    """
    for before, after in zip(snapshot.log, snapshot.log[1:], strict=False):
        match before.event, after.event:
            case Locked(executor=one), Locked(executor=two) if one == two:
                _broken(snapshot, f"version {after.version} starts a run although the one before has not ended")


def locked_only_when_due(snapshot: Snapshot) -> None:
    """For an undisturbed run on one engine: a workflow is locked once, and again after each wake-up for which its lock
    had expired; nowhere else, and always then. An execution that an operator touched is left out.
    """
    if any(
        isinstance(entry.event, Paused | Parked | CancellationRequested | ComponentUpgraded) for entry in snapshot.log
    ):
        return
    lock_expires_at = Instant(0)
    arrived: dict[JoinSetId, deque[Response]] = {}
    for response in snapshot.responses:
        arrived.setdefault(response.join_set, deque()).append(response)
    for before, entry in zip(snapshot.log, snapshot.log[1:], strict=False):
        must = entry.version == 1
        may = must
        if isinstance(before.event, JoinNext) and arrived[before.event.join_set]:
            woken_at = arrived[before.event.join_set].popleft().created_at
            expires_at = min(lock_expires_at, before.event.run_expires_at)
            must = before.created_at < woken_at >= expires_at
            may = must or before.created_at == woken_at >= expires_at
        elif isinstance(before.event, JoinNext):
            continue
        elif isinstance(before.event, JoinNextTry) and before.event.outcome is TryOutcome.FOUND:
            arrived[before.event.join_set].popleft()
        if isinstance(entry.event, Locked):
            lock_expires_at = entry.event.lock_expires_at
            if not may:
                _broken(snapshot, f"version {entry.version} locks for no reason")
        elif must:
            _broken(snapshot, f"version {entry.version} goes on although the lock had expired")


# --- families --------------------------------------------------------------------------------------------------------


def family_agrees(store: Loads, snapshot: Snapshot) -> None:
    """A child was created if and only if its request is in the parent's log; its response is there if and only if it has
    finished, and says the same. A delay is either unresolved or answered.
    """
    state = snapshot.state
    children: dict[ids.ChildId, ChildFinished] = {}
    resolved: set[ids.DelayRef] = set()
    for response in snapshot.responses:
        if isinstance(response.body, ChildFinished):
            children[response.body.child] = response.body
        else:
            resolved.add(response.body.delay)
    delays = {delay.delay for delay in snapshot.delays}
    for entry in snapshot.log:
        match entry.event:
            case ChildRequested(child, ffqn, params):
                family = snapshot_of(store, ids.absolute(state.execution_id, child))
                created = family.log[0].event
                assert isinstance(created, Created)
                if (created.ffqn, created.params, created.join_set) != (ffqn, params, ids.join_set_of(child)):
                    _broken(snapshot, f"{child} was created otherwise than requested: {created}")
                body, outcome = children.pop(child, None), outcome_of(family)
                said = None if body is None else (body.version, body.outcome)
                if said != (None if outcome is None else (family.log[-1].version, outcome)):
                    _broken(snapshot, f"{child} ended with {outcome}, its response says {said}")
            case DelayRequested(delay):
                if (delay in resolved) == (delay in delays):
                    _broken(snapshot, f"the delay {delay} is lost, or unresolved although it was answered")
                resolved.discard(delay)
                delays.discard(delay)
    if children or resolved or delays:
        _broken(snapshot, f"nobody asked for {[*children, *resolved, *delays]}")
    parent_id = ids.parent_of(state.execution_id)
    if parent_id is not None:
        if isinstance(store, Remembered):
            asked = store.requested(parent_id)
        else:
            asked = _requested(snapshot_of(store, parent_id))
        if ids.relative(state.execution_id) not in asked:
            _broken(snapshot, "its parent did not ask for it")


def end_is_the_end(store: Loads, snapshot: Snapshot) -> None:
    """When an execution has finished, all that derive from it have; no delay is left, and nobody owns it."""
    if outcome_of(snapshot) is None:
        return
    if snapshot.delays or snapshot.state.owner is not None:
        _broken(snapshot, f"finished, with {snapshot.delays}, owned by {snapshot.state.owner}")
    for entry in snapshot.log:
        if isinstance(entry.event, ChildRequested):
            child = snapshot_of(store, ids.absolute(snapshot.state.execution_id, entry.event.child))
            if outcome_of(child) is None:
                _broken(child, "its parent has finished before it")


# --- replays ---------------------------------------------------------------------------------------------------------


def verify(snapshot: Snapshot, guest: Guest) -> Replayed:
    """Replays an execution."""
    return replay(snapshot.state.execution_id, snapshot.log, snapshot.responses, guest, Instant(0))


def replays(snapshot: Snapshot, guest: Guest) -> None:
    """A log replays: a finished workflow to the same outcome, another one to where it stands."""
    if is_parked(snapshot):
        return  # it does not replay, or it is not known
    created = snapshot.log[0].event
    assert isinstance(created, Created)
    if created.forked_from is not None and created.join_set is not None:
        return  # the copy of a child that had ended: it has nothing but its end
    own = replayable(snapshot.log)
    upgrades = [entry.event for entry in own if isinstance(entry.event, ComponentUpgraded)]
    if upgrades and upgrades[-1].forced and not isinstance(own[-1].event, Finished):
        return  # nobody has looked whether it does
    replayed, outcome = verify(snapshot, guest), outcome_of(snapshot)
    if replayed.divergence is not None:
        divergence = replayed.divergence
        _broken(snapshot, f"does not replay from version {divergence.version} on: {divergence.detail}")
    if outcome is None or len(replayable(snapshot.log)) < len(snapshot.log):
        return  # it stands still somewhere, or was ended from outside
    if replayed.outcome is None:
        _broken(snapshot, f"has finished, but its replay says {replayed}")
    if comparable(replayed.outcome) != comparable(outcome):
        _broken(snapshot, f"replays to {replayed.outcome}")


def needs_its_whole_log(snapshot: Snapshot, guest: Guest) -> None:
    """A workflow that returned has caused everything that is in its log: without its last history event, a replay has
    something new to do before it comes to the end.
    """
    if outcome_of(snapshot) is None or is_parked(snapshot) or len(replayable(snapshot.log)) < len(snapshot.log):
        return
    history = [entry for entry in snapshot.log if entry.event.history]
    if not history:
        return
    cut = msgspec.structs.replace(snapshot, log=[entry for entry in snapshot.log if entry is not history[-1]])
    replayed = verify(cut, guest)
    if replayed.outcome is not None and not replayed.new:
        _broken(snapshot, f"ends without version {history[-1].version} of its log")


# --- who wrote -------------------------------------------------------------------------------------------------------


def only_holders_write(before: ExecutionState | None, after: ExecutionState, writer: ids.ExecutorId) -> None:
    """Only the holder of the lease appends to a log."""
    if before is not None and before.owner != writer:
        raise Violation(f"{writer} wrote to {after.execution_id}, which {before.owner} holds")


def is_parked(snapshot: Snapshot) -> bool:
    """Whether it stands still until an operator acts; or did so, and was then ended."""
    states = [entry.event for entry in replayable(snapshot.log) if isinstance(entry.event, Parked | Resumed)]
    return bool(states) and isinstance(states[-1], Parked)


def tags_of(snapshot: Snapshot) -> list[str]:
    """The kinds of its events, in order: for messages and tests."""
    return [kind_of(entry.event) for entry in snapshot.log]
