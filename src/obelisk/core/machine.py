"""The replay machine: what a workflow may do next, given its log.

`step(call)` takes one host call and says what comes of it: a reply, a block, or the end. While the log has events left,
the call must be the one that was recorded, and its reply is derived from the record; past the end of the log the call is
new and its events are appended to `writes`. There is no other difference between replaying and running: one code path
serves both, so they cannot disagree.

The machine holds a cursor over the log and counters per join set, rebuilt by replaying: O(1) per host call.

It does not create children, fire delays, write or read anything: the engine turns `writes` into rows. It does not know
time: `now` is an argument.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, Final

import msgspec

from obelisk.core import calls, ids, prng
from obelisk.core.calls import DONE, Call, Log, Reply
from obelisk.core.events import (
    ChildRequested,
    DelayRequested,
    HistoryEvent,
    JoinNext,
    JoinNextTooMany,
    JoinSetCreated,
    LogEntry,
    Persist,
    PersistRandomString,
    PersistRandomU64,
)
from obelisk.core.ids import ChildId, DelayRef, ExecutionId, JoinSetId
from obelisk.core.instants import Instant, InstantOutOfRange, ScheduleAt, due_at
from obelisk.core.names import FunctionName, function_of
from obelisk.core.nondeterminism import Divergence, difference, left_over, same
from obelisk.core.responses import ChildFinished, DelayFinished, Response
from obelisk.core.values import Failure, FailureKind, Json, Ok, Outcome


class Answered(msgspec.Struct, frozen=True):
    """The call is answered; send `reply` to the guest."""

    reply: Reply


class Blocked(msgspec.Struct, frozen=True):
    """Nothing more happens until a response of `join_set` arrives: `deliver` it, then `poll`."""

    join_set: JoinSetId
    closing: bool


class Ended(msgspec.Struct, frozen=True):
    """The execution is over: all of its join sets are closed."""

    outcome: Outcome


class Diverged(msgspec.Struct, frozen=True):
    """The call is not the recorded one."""

    divergence: Divergence


class Stopped(msgspec.Struct, frozen=True):
    """Mode *verify* only: the log is used up and the workflow wants something new, which is in `writes`."""


Decision = Answered | Blocked | Ended | Diverged | Stopped


class Mode(StrEnum):
    """What happens at the end of the log."""

    LIVE = "live"
    """The workflow goes on, and what it does is appended."""
    VERIFY = "verify"
    """The machine stops at the first new event: for replay, upgrade checks and backtraces."""


class Write(msgspec.Struct, frozen=True):
    """A new event; `answered`: for a `join_next`, whether its response was already there."""

    event: HistoryEvent
    answered: bool = False


class Cancel(msgspec.Struct, frozen=True):
    """An outstanding member of a closing join set, to be cancelled if it is a delay or an activity."""

    member: ChildId | DelayRef
    ffqn: FunctionName | None
    """The child's function; None for a delay."""


class Writes(msgspec.Struct):
    """What new calls led to, in order; taken and emptied by the engine."""

    items: list[Write | Log] = []
    """Events to append, and log lines between them."""
    cancels: list[Cancel] = []
    """In the order in which to cancel."""


class _JoinSet:
    """Counters of one join set."""

    __slots__ = ("arrived", "awaited", "children", "delays", "members", "submitted")

    def __init__(self, arrived: deque[Response]) -> None:
        self.children = 0
        self.delays = 0
        self.submitted = 0
        self.awaited = 0
        self.members: dict[tuple[str, bool], FunctionName | Instant] = {}
        """Members (relative id, is it a delay) whose response was not consumed yet, in the order of submission: a
        child's function, a delay's expiry."""
        self.arrived = arrived
        """Responses that were not consumed yet, by seq."""


_OnResponse = Callable[["Machine", Response, Instant], Reply | None]
"""Makes a reply of an awaited response; None when something else is awaited now."""


class _Awaiting(msgspec.Struct, frozen=True, gc=False):
    """The pending await, and how to make a reply of its response."""

    join_set: JoinSetId
    closing: bool
    reply: _OnResponse


class _Diverged(Exception):
    def __init__(self, divergence: Divergence) -> None:
        self.divergence = divergence


class _Misused(Exception):
    """The guest asked for something that it may not ask for."""


class Machine:
    """One execution of a workflow, replaying or running. Owned by whoever drives the guest."""

    def __init__(
        self,
        execution_id: ExecutionId,
        log: Iterable[LogEntry] = (),
        responses: Iterable[Response] = (),
        mode: Mode = Mode.LIVE,
    ) -> None:
        self.execution_id: Final = execution_id
        self.mode: Final = mode
        self.writes = Writes()
        self.run_expires_at = Instant(0)
        """What a new `join_next` says about how long its run may stay hot; set by the engine."""
        self.clock = Instant(0)
        """The workflow's clock: the latest instant that it has consumed; never goes back."""
        self._log = [entry for entry in log if entry.event.history]
        self._cursor = 0
        self._arrived: dict[JoinSetId, deque[Response]] = {}
        self._answered: set[tuple[str, bool]] = set()
        self._open: dict[JoinSetId, _JoinSet] = {}
        self._named: set[str] = set()
        self._generated = 0
        self._one_offs = 0
        self._draws = 0
        self._processed: dict[ExecutionId, tuple[FunctionName, Outcome]] = {}
        self._awaiting: _Awaiting | None = None
        self._closing: JoinSetId | None = None
        self._ending: Outcome | None = None
        for response in responses:
            self.deliver(response)

    # --- driving -----------------------------------------------------------------------------------------------------

    @property
    def replaying(self) -> bool:
        """Whether the log has events that were not met yet."""
        return self._cursor < len(self._log)

    def deliver(self, response: Response) -> None:
        """Takes in a response; responses come in the order of their `seq`.

        A second one of the same member is ignored. It is never durable: an engine that has lost the member decides it
        before it learns that another answered, and the unit is refused.
        """
        member = _member_of(response)
        if member in self._answered:
            return
        self._answered.add(member)
        queue = self._arrived.get(response.join_set)
        if queue is None:
            queue = self._arrived[response.join_set] = deque()
        queue.append(response)

    def step(self, call: Call, now: Instant) -> Decision:
        """Decides about one host call made at `now`."""
        try:
            reply = _HANDLERS[type(call)](self, call, now)
            return self._go_on(now) if reply is None else self._unless_new(Answered(reply))
        except _Misused as error:
            return self.end(Failure(FailureKind.UNCATEGORIZED, f"host call refused: {error}"), now)
        except _Diverged as error:
            return Diverged(error.divergence)

    def poll(self, now: Instant) -> Decision:
        """Goes on with what blocks, after `deliver`."""
        try:
            return self._go_on(now)
        except _Diverged as error:
            return Diverged(error.divergence)

    def end(self, outcome: Outcome, now: Instant) -> Decision:
        """The function returned or failed: closes what is open, newest first, then ends with `outcome`."""
        self._ending = outcome
        self._awaiting = None
        return self.poll(now)

    def take_writes(self) -> Writes:
        """What new calls led to since the last time."""
        writes, self.writes = self.writes, Writes()
        return writes

    def _go_on(self, now: Instant) -> Decision:
        """Consumes responses until there is a reply, none is left, or the execution has ended."""
        while True:
            awaiting = self._awaiting
            if awaiting is None:
                if self._ending is None:
                    raise AssertionError("polled although nothing is awaited")
                if self._open:
                    self._close_one(next(reversed(self._open)), now)
                    continue
                self._expect_end_of_log()
                return self._unless_new(Ended(self._ending))
            queue = self._arrived.get(awaiting.join_set)
            if not queue:
                self._expect_end_of_log()
                return self._unless_new(Blocked(awaiting.join_set, awaiting.closing))
            self._awaiting = None
            reply = awaiting.reply(self, queue.popleft(), now)
            if reply is not None:
                return self._unless_new(Answered(reply))

    def _unless_new(self, decision: Decision) -> Decision:
        if self.mode is Mode.VERIFY and any(isinstance(item, Write) for item in self.writes.items):
            return Stopped()
        return decision

    def _expect_end_of_log(self) -> None:
        if self.replaying:
            entry = self._log[self._cursor]
            raise _Diverged(left_over(_history(entry), entry.version))

    def _record(self, event: HistoryEvent, now: Instant, *, answered: bool = False) -> HistoryEvent:
        """Meets the next recorded event, which is returned, or appends `event`."""
        if self._cursor < len(self._log):
            entry = self._log[self._cursor]
            recorded = _history(entry)
            if not same(event, recorded):
                raise _Diverged(difference(event, recorded, entry.version))
            self._cursor += 1
            self.clock = max(self.clock, entry.created_at)
            if self._cursor == len(self._log):
                self._log.clear()
                self._cursor = 0
            return recorded
        self.clock = max(self.clock, now)
        self.writes.items.append(Write(event, answered))
        return event

    # --- join sets ---------------------------------------------------------------------------------------------------

    def _new_set(self, join_set: JoinSetId, now: Instant) -> _JoinSet:
        self._record(JoinSetCreated(join_set), now)
        arrived = self._arrived.get(join_set)
        if arrived is None:
            arrived = self._arrived[join_set] = deque()
        join = self._open[join_set] = _JoinSet(arrived)
        return join

    def _one_off(self, name: str, now: Instant) -> tuple[JoinSetId, _JoinSet]:
        self._one_offs += 1
        join_set = ids.one_off(self._one_offs, name)
        return join_set, self._new_set(join_set, now)

    def _find(self, join_set: JoinSetId) -> _JoinSet:
        try:
            return self._open[join_set]
        except KeyError:
            raise _Misused(f"the join set {join_set} is closed") from None

    def _submit(self, join_set: JoinSetId, join: _JoinSet, ffqn: FunctionName, params: Json, now: Instant) -> ChildId:
        join.children += 1
        child = ChildId(ids.member(join_set, join.children))
        self._record(ChildRequested(child, ffqn, params), now)
        join.members[child, False] = ffqn
        join.submitted += 1
        return child

    def _submit_delay(self, join_set: JoinSetId, join: _JoinSet, schedule: ScheduleAt, now: Instant) -> DelayRef:
        try:  # the record has the instant, so a replay, made later, does not compute it
            due = now if self.replaying else due_at(schedule, now)
        except InstantOutOfRange as error:
            raise _Misused(str(error)) from None
        join.delays += 1
        delay = DelayRef(ids.member(join_set, join.delays))
        recorded = self._record(DelayRequested(delay, schedule, due), now)
        assert isinstance(recorded, DelayRequested)
        join.members[delay, True] = recorded.expires_at
        join.submitted += 1
        return delay

    def _await(
        self,
        join_set: JoinSetId,
        join: _JoinSet,
        ffqn: FunctionName | None,
        reply: _OnResponse,
        now: Instant,
        *,
        closing: bool = False,
    ) -> None:
        event = JoinNext(join_set, self.run_expires_at, ffqn, closing)
        self._record(event, now, answered=bool(join.arrived))
        join.awaited += 1
        self._awaiting = _Awaiting(join_set, closing, reply)

    def _await_or_too_many(
        self,
        join_set: JoinSetId,
        ffqn: FunctionName | None,
        reply: _OnResponse,
        now: Instant,
    ) -> Reply | None:
        join = self._find(join_set)
        if join.awaited >= join.submitted:
            self._record(JoinNextTooMany(join_set, ffqn), now)
            return calls.AllProcessed()
        self._await(join_set, join, ffqn, reply, now)
        return None

    def _consume(self, response: Response) -> tuple[FunctionName | None, Instant]:
        """Marks a response as processed. Returns the child's function (None for a delay) and a delay's expiry."""
        body = response.body
        members = self._open[response.join_set].members
        if isinstance(body, ChildFinished):
            ffqn: FunctionName = members.pop((body.child, False))  # type: ignore[assignment]
            self._processed[ids.absolute(self.execution_id, body.child)] = (ffqn, body.outcome)
            self.clock = max(self.clock, response.created_at)
            return ffqn, Instant(0)
        expires_at: Instant = members.pop((body.delay, True))  # type: ignore[assignment]
        self.clock = max(self.clock, response.created_at)
        return None, expires_at

    def _close_one(self, join_set: JoinSetId, now: Instant) -> bool:
        """One step of closing: awaits an outstanding member (True); when there is none, forgets the set."""
        join = self._open[join_set]
        if not join.members:
            self._forget(join_set)
            return False
        begins = self._closing != join_set
        self._closing = join_set
        is_new = not self.replaying
        if begins and is_new:
            arrived = {_member_of(response) for response in join.arrived}
            for key in reversed(join.members):
                if key not in arrived:
                    (name, is_delay), what = key, join.members[key]
                    ffqn = FunctionName(str(what)) if not is_delay else None
                    self.writes.cancels.append(Cancel(ChildId(name), ffqn))
        self._await(join_set, join, None, Machine._on_closed, now, closing=True)
        return True

    # --- replies to awaited responses --------------------------------------------------------------------------------

    def _on_closed(self, response: Response, now: Instant) -> Reply | None:
        self._consume(response)
        return None if self._close_one(response.join_set, now) or self._ending is not None else DONE

    def _on_direct(self, response: Response, now: Instant) -> Reply:
        self._consume(response)
        self._forget(response.join_set)
        assert isinstance(response.body, ChildFinished)
        return response.body.outcome

    def _on_slept(self, response: Response, now: Instant) -> Reply:
        _, expires_at = self._consume(response)
        self._forget(response.join_set)
        assert isinstance(response.body, DelayFinished)
        return calls.WokenAt(expires_at) if response.body.ok else calls.DelayCancelled()

    def _forget(self, join_set: JoinSetId) -> None:
        del self._open[join_set]
        self._arrived.pop(join_set, None)

    def _on_member(self, response: Response, now: Instant) -> Reply:
        self._consume(response)
        body = response.body
        if isinstance(body, ChildFinished):
            return calls.MemberDone(ids.absolute(self.execution_id, body.child), False, isinstance(body.outcome, Ok))
        return calls.MemberDone(ids.absolute_delay(self.execution_id, body.delay), True, body.ok)

    # --- one method a call -------------------------------------------------------------------------------------------

    def _call_child(self, call: calls.CallChild, now: Instant) -> Reply | None:
        name = function_of(call.ffqn) if call.label is None else call.label
        if not ids.is_join_set_name(name):
            return calls.InvalidName(_BAD_NAME.format(name))
        join_set, join = self._one_off(name, now)
        self._submit(join_set, join, call.ffqn, call.params, now)
        self._await(join_set, join, call.ffqn, Machine._on_direct, now)
        return None

    def _submit_call(self, call: calls.Submit, now: Instant) -> Reply:
        child = self._submit(call.join_set, self._find(call.join_set), call.ffqn, call.params, now)
        return ids.absolute(self.execution_id, child)

    def _await_next(self, call: calls.AwaitNext, now: Instant) -> Reply | None:
        specified = call.ffqn

        def reply(machine: Machine, response: Response, now: Instant) -> Reply:
            ffqn, _ = machine._consume(response)
            body = response.body
            if isinstance(body, DelayFinished):
                delay = ids.absolute_delay(machine.execution_id, body.delay)
                return calls.FunctionMismatch(specified, None, delay, True)
            child = ids.absolute(machine.execution_id, body.child)
            if ffqn != specified:
                return calls.FunctionMismatch(specified, ffqn, child, False)
            return calls.ChildDone(child, body.outcome)

        return self._await_or_too_many(call.join_set, specified, reply, now)

    def _join_next(self, call: calls.JoinNext, now: Instant) -> Reply | None:
        return self._await_or_too_many(call.join_set, None, Machine._on_member, now)

    def _get(self, call: calls.Get, now: Instant) -> Reply:
        found = self._processed.get(ExecutionId(call.execution_id))
        if found is None:
            return calls.NotProcessed()
        ffqn, outcome = found
        if ffqn != call.ffqn:
            return calls.FunctionMismatch(call.ffqn, ffqn, ExecutionId(call.execution_id), False)
        return outcome

    def _join_set_create(self, call: calls.JoinSetCreate, now: Instant) -> Reply:
        if call.name is None:
            self._generated += 1
            join_set = ids.generated(self._generated)
        elif not ids.is_join_set_name(call.name):
            return calls.InvalidName(_BAD_NAME.format(call.name))
        elif call.name in self._named:
            return calls.Conflict()
        else:
            self._named.add(call.name)
            join_set = ids.named(call.name)
        self._new_set(join_set, now)
        return join_set

    def _join_set_close(self, call: calls.JoinSetClose, now: Instant) -> Reply | None:
        self._find(call.join_set)
        return None if self._close_one(call.join_set, now) else DONE

    def _submit_delay_call(self, call: calls.SubmitDelay, now: Instant) -> Reply:
        delay = self._submit_delay(call.join_set, self._find(call.join_set), call.schedule_at, now)
        return ids.absolute_delay(self.execution_id, delay)

    def _sleep(self, call: calls.Sleep, now: Instant) -> Reply | None:
        name = "sleep" if call.name is None else call.name
        if not ids.is_join_set_name(name):
            raise _Misused(_BAD_NAME.format(name))
        join_set, join = self._one_off(name, now)
        self._submit_delay(join_set, join, call.schedule_at, now)
        self._await(join_set, join, None, Machine._on_slept, now)
        return None

    def _current_execution_id(self, call: calls.CurrentExecutionId, now: Instant) -> Reply:
        return self.execution_id

    def _random_u64(self, call: calls.RandomU64, now: Instant) -> Reply:
        if call.min > call.max_inclusive:
            raise _Misused(f"a random number between {call.min} and {call.max_inclusive}: the range is empty")
        if self.replaying:
            value = 0  # the record is returned
        else:
            value = prng.random_between(self.execution_id, self._draws, call.min, call.max_inclusive)
        self._draws += 1
        kind = PersistRandomU64(call.min, call.max_inclusive)
        recorded = self._record(Persist(kind, Json(msgspec.json.encode(value))), now)
        assert isinstance(recorded, Persist)
        return msgspec.json.decode(recorded.value, type=int)

    def _random_string(self, call: calls.RandomString, now: Instant) -> Reply:
        if call.min_length >= call.max_length_exclusive:
            raise _Misused(
                f"a random string of {call.min_length} to below {call.max_length_exclusive} characters: the range is empty"
            )
        if self.replaying:
            value = ""  # the record is returned
        else:
            value = prng.random_text(self.execution_id, self._draws, call.min_length, call.max_length_exclusive)
        self._draws += 1
        kind = PersistRandomString(call.min_length, call.max_length_exclusive)
        recorded = self._record(Persist(kind, Json(msgspec.json.encode(value))), now)
        assert isinstance(recorded, Persist)
        return msgspec.json.decode(recorded.value, type=str)

    def _log_line(self, call: Log, now: Instant) -> Reply:
        if not self.replaying:
            self.writes.items.append(call)
        return DONE

    def _misuse(self, call: calls.Misuse, now: Instant) -> Reply:
        raise _Misused(call.reason)


_BAD_NAME: Final = "{!r} has characters other than ASCII letters, digits, '-' and '/'"


def _member_of(response: Response) -> tuple[str, bool]:
    body = response.body
    return (body.child, False) if isinstance(body, ChildFinished) else (body.delay, True)


def _history(entry: LogEntry) -> HistoryEvent:
    """The entry's event; the machine's log holds no other kind."""
    return entry.event  # type: ignore[return-value]


_HANDLERS: Final[dict[type[msgspec.Struct], Callable[[Machine, Any, Instant], Reply | None]]] = {
    calls.CallChild: Machine._call_child,
    calls.Submit: Machine._submit_call,
    calls.AwaitNext: Machine._await_next,
    calls.JoinNext: Machine._join_next,
    calls.Get: Machine._get,
    calls.JoinSetCreate: Machine._join_set_create,
    calls.JoinSetClose: Machine._join_set_close,
    calls.SubmitDelay: Machine._submit_delay_call,
    calls.Sleep: Machine._sleep,
    calls.CurrentExecutionId: Machine._current_execution_id,
    calls.RandomU64: Machine._random_u64,
    calls.RandomString: Machine._random_string,
    calls.Log: Machine._log_line,
    calls.Misuse: Machine._misuse,
}
