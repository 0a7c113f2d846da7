"""The replay machine: what a workflow may do next, given its log.

`step(call)` takes one host call and says what comes of it: a reply, a block, or the end. While the log has events left,
the call must be the one that was recorded, and its reply is derived from the record; past the end of the log the call is
new and its events are appended to `writes`. There is no other difference between replaying and running: one code path
serves both, so they cannot disagree.

The machine holds a cursor over the log and counters per join set, rebuilt by replaying: O(1) per host call.

It does not create children, fire delays, write or read anything: the engine turns `writes` into rows. It does not know
time: `now` is an argument. What was given as JSON is typed by a function that it is given; what depends on another
execution is `Unsettled`, and the engine finds it out.

`abandon` ends an execution without its guest: the log is taken in as it is, and what is open is closed.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from obelisk.core import calls, ids, prng
from obelisk.core.calls import DONE, Call, LogLine, Reply
from obelisk.core.decisions import (
    Answered,
    Blocked,
    Cancel,
    Decision,
    Diverged,
    Ended,
    Mode,
    Stopped,
    Unsettled,
    Write,
    Writes,
)
from obelisk.core.events import (
    ChildRejected,
    ChildRequested,
    Created,
    DelayRequested,
    HistoryEvent,
    JoinNext,
    JoinNextTooMany,
    JoinNextTry,
    JoinSetCreated,
    LogEntry,
    Persist,
    PersistExecutionId,
    PersistKind,
    PersistRandomString,
    PersistRandomU64,
    RejectReason,
    Scheduled,
    ScheduleRejected,
    Stubbed,
    StubResult,
    TryOutcome,
)
from obelisk.core.ids import ChildId, DelayRef, ExecutionId, JoinSetId
from obelisk.core.instants import Instant, InstantOutOfRange, ScheduleAt, due_at
from obelisk.core.names import FunctionName, function_of
from obelisk.core.nondeterminism import Divergence, difference, left_over, same
from obelisk.core.ports import FunctionKind, Rejection, Typed
from obelisk.core.responses import ChildFinished, DelayFinished, Response, member_of
from obelisk.core.values import NO_VALUE, ErrForm, Failure, FailureKind, Json, Ok, Outcome

Typing = Callable[[FunctionName, Json], Typed | Rejection]
"""Parameters in JSON as the active function takes them: `Registry.typed_params`."""


def no_typing(ffqn: FunctionName, params: Json) -> Typed | Rejection:
    """For where nothing is deployed."""
    return Rejection(RejectReason.FUNCTION_NOT_FOUND)


class _Child(msgspec.Struct, frozen=True, gc=False):
    ffqn: FunctionName
    form: ErrForm


class _JoinSet(msgspec.Struct):
    """Counters of one join set."""

    arrived: deque[Response]
    """Responses that were not consumed yet, by seq."""
    children: int = 0
    delays: int = 0
    submitted: int = 0
    awaited: int = 0
    """Responses that were consumed, or are being waited for."""
    members: dict[tuple[str, bool], _Child | Instant] = {}
    """Members (relative id, is it a delay) whose response was not consumed yet, in the order of submission: a child's
    function, a delay's expiry."""
    last: tuple[str, bool] | None = None
    """Whose response was consumed last."""


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
        typing: Typing = no_typing,
        began_at: Instant | None = None,
    ) -> None:
        """`began_at`: when the execution was created, where `log` does not begin with that."""
        self.execution_id: Final = execution_id
        self.mode: Final = mode
        self._typing = typing
        self.writes = Writes()
        self.run_expires_at = Instant(0)
        """What a new `join_next` says about how long its run may stay hot; set by the engine."""
        log = tuple(log)
        self._seed, began = _beginning(execution_id, log)
        self.clock = began if began_at is None else began_at
        """The workflow's clock: the latest instant that it has consumed, its creation at first; never goes back."""
        self.events = 0
        """History events that its calls met in the log or appended."""
        self._log = [entry for entry in log if entry.event.history]
        """Emptied when its last event was met."""
        self._cursor = 0
        self._arrived: dict[JoinSetId, deque[Response]] = {}
        self._answered: set[tuple[str, bool]] = set()
        self._open: dict[JoinSetId, _JoinSet] = {}
        self._named: set[str] = set()
        self._generated = 0
        self._one_offs = 0
        self._draws = 0
        self.news = 0
        """Events that were appended since `take_writes`."""
        self._processed: dict[ChildId, tuple[_Child, Outcome]] = {}
        self._forms: dict[FunctionName, ErrForm] = {}
        self._last_direct: ChildId | None = None
        self._last_one_off: tuple[str, bool] | None = None
        self._awaiting: _Awaiting | None = None
        self._closing: JoinSetId | None = None
        self._ending: Outcome | None = None
        self._abandoned = False
        self._unsettled: tuple[calls.Stub | calls.StubJson | calls.ScheduleJson, HistoryEvent] | None = None
        """A call that waits for what the engine finds out, and the event if all is well with it."""
        for response in responses:
            self.deliver(response)

    # --- driving -----------------------------------------------------------------------------------------------------

    @property
    def replaying(self) -> bool:
        """Whether the log has events that were not met yet."""
        return bool(self._log)

    def deliver(self, response: Response) -> None:
        """Takes in a response; responses come in the order of their `seq`.

        A second one of the same member is ignored. It is never durable: an engine that has lost the member decides it
        before it learns that another answered, and the unit is refused.
        """
        member = member_of(response)
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
            if self._unsettled is not None:
                return self._ask(now)
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

    def abandon(self, outcome: Outcome, now: Instant) -> Decision:
        """Ends the execution without its guest, whose log need not replay: takes in what is left of the log, then cancels
        and closes everything that is open, newest first, and ends with `outcome`.
        """
        for entry in self._log[self._cursor :]:
            self._take_in(_history(entry), entry.created_at)
        self._log.clear()
        self._cursor = 0
        self._abandoned = True
        self._unsettled = None
        for join_set in reversed(self._open):
            self._cancel_members(self._open[join_set])
        self._ending = outcome
        if self._awaiting is not None:  # the guest's last await consumes the response of a member, as it would have
            self._awaiting = _Awaiting(self._awaiting.join_set, self._awaiting.closing, Machine._on_discarded)
        return self.poll(now)

    def settle_stub(self, result: StubResult, message: str, now: Instant) -> Decision:
        """Goes on after `Unsettled` with what became of the result for another execution."""
        assert self._unsettled is not None
        (_, event), self._unsettled = self._unsettled, None
        assert isinstance(event, Stubbed)
        self._record(msgspec.structs.replace(event, result=result, message=message), now)
        return Answered(_stub_reply(result, message))

    def settle_schedule(self, conflict: str | None, now: Instant, *, exists: bool) -> Decision:
        """Goes on after `Unsettled` with whether the execution is there already; `conflict`: as something else."""
        assert self._unsettled is not None
        (_, event), self._unsettled = self._unsettled, None
        assert isinstance(event, Scheduled)
        if conflict is not None:
            given = event.given or event.params
            event = ScheduleRejected(
                event.execution_id,
                event.ffqn,
                given,
                event.schedule_at,
                RejectReason.TYPE_CHECK_ERROR,
                conflict,
                event.timeout_us,
            )
            self._record(event, now)
            return Answered(calls.TypeCheckError(conflict))
        self._record(event, now, exists=exists)
        return Answered(DONE)

    def take_writes(self) -> Writes:
        """What new calls led to since the last time."""
        writes, self.writes = self.writes, Writes()
        self.news = 0
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
        return Stopped(decision) if self.mode is Mode.VERIFY and self.news else decision

    def _ask(self, now: Instant) -> Decision:
        """The new call's answer depends on another execution. In mode *verify* it is shown as if all were well."""
        assert self._unsettled is not None
        call, event = self._unsettled
        if self.mode is Mode.VERIFY:
            self._unsettled = None
            self._record(event, now)
            return Stopped(Unsettled(call))
        return Unsettled(call)

    def _expect_end_of_log(self) -> None:
        if self.replaying:
            entry = self._log[self._cursor]
            raise _Diverged(left_over(_history(entry), entry.version))

    def _recorded(self) -> HistoryEvent | None:
        """The event that the log has next; None when the call is new."""
        return _history(self._log[self._cursor]) if self.replaying else None

    def _record(
        self, event: HistoryEvent, now: Instant, *, answered: bool = False, exists: bool = False
    ) -> HistoryEvent:
        """Meets the next recorded event, which is returned, or appends `event`."""
        self.events += 1
        if self._log:
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
        self.writes.items.append(Write(event, answered, exists))
        self.news += 1
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

    def _submit(
        self, join_set: JoinSetId, join: _JoinSet, ffqn: FunctionName, params: Json, form: ErrForm, now: Instant
    ) -> ChildId:
        child = self._next_child(join_set, join)
        self._record(ChildRequested(child, ffqn, params), now)
        self._add_child(join, child, ffqn, form)
        return child

    def _next_child(self, join_set: JoinSetId, join: _JoinSet) -> ChildId:
        join.children += 1
        return ChildId(ids.member(join_set, join.children))

    def _add_child(self, join: _JoinSet, child: ChildId, ffqn: FunctionName, form: ErrForm) -> None:
        join.members[child, False] = _Child(ffqn, form)
        join.submitted += 1

    def _submit_given(
        self, join_set: JoinSetId, join: _JoinSet, call: calls.CallJson | calls.SubmitJson, now: Instant
    ) -> ChildId | Reply:
        """A child whose parameters were given as JSON; or why it was rejected. The record has the answer."""
        child = self._next_child(join_set, join)
        recorded = self._recorded()
        if recorded is None:
            typed = self._typing(call.ffqn, call.params)
            if isinstance(typed, Typed):
                given = NO_VALUE if typed.params == call.params else call.params
                event: ChildRequested | ChildRejected = ChildRequested(
                    child, call.ffqn, typed.params, given, typed.info.err_form, call.timeout_us
                )
            else:
                event = ChildRejected(child, call.ffqn, call.params, typed.reason, typed.message, call.timeout_us)
        elif isinstance(recorded, ChildRejected):
            event = ChildRejected(child, call.ffqn, call.params, recorded.reason, "", call.timeout_us)
        else:
            event = ChildRequested(child, call.ffqn, call.params, timeout_us=call.timeout_us)
        recorded = self._record(event, now)
        if isinstance(recorded, ChildRejected):
            return _rejected(recorded.reason, recorded.message)
        assert isinstance(recorded, ChildRequested)
        self._add_child(join, child, recorded.ffqn, recorded.form)
        return child

    def _due(self, schedule: ScheduleAt, now: Instant, *recorded_as: type[HistoryEvent]) -> Instant:
        """When a schedule is due. The record (an event `recorded_as` what the call causes) has the instant, so a replay,
        made later, does not compute it. Where the log goes on otherwise, the call was refused, and is again.
        """
        if self.replaying:
            entry = self._log[self._cursor]
            if isinstance(entry.event, recorded_as):
                return now
            now = entry.created_at
        try:
            return due_at(schedule, now)
        except InstantOutOfRange as error:
            raise _Misused(str(error)) from None

    def _submit_delay(self, join_set: JoinSetId, join: _JoinSet, schedule: ScheduleAt, now: Instant) -> DelayRef:
        due = self._due(schedule, now, DelayRequested)
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

    def _consume(self, response: Response) -> tuple[_Child | None, Instant]:
        """Marks a response as processed. Returns the child (None for a delay) and a delay's expiry."""
        body = response.body
        join = self._open[response.join_set]
        self.clock = max(self.clock, response.created_at)
        join.last = member = member_of(response)
        what = join.members.pop(member)
        if isinstance(body, ChildFinished):
            assert isinstance(what, _Child)
            self._processed[body.child] = (what, body.outcome)
            return what, Instant(0)
        assert not isinstance(what, _Child)
        return None, what

    def _close_one(self, join_set: JoinSetId, now: Instant) -> bool:
        """One step of closing: awaits an outstanding member (True); when there is none, forgets the set."""
        join = self._open[join_set]
        if not join.members:
            self._forget(join_set)
            return False
        begins = self._closing != join_set
        self._closing = join_set
        is_new = not self.replaying
        if begins and is_new and not self._abandoned:
            self._cancel_members(join)
        self._await(join_set, join, None, Machine._on_closed, now, closing=True)
        return True

    def _cancel_members(self, join: _JoinSet) -> None:
        """Asks for the end of the members that have none yet, the last one first."""
        arrived = {member_of(response) for response in join.arrived}
        for key in reversed(join.members):
            if key not in arrived:
                what = join.members[key]
                self.writes.cancels.append(Cancel(ChildId(key[0]), what.ffqn if isinstance(what, _Child) else None))

    def _take_in(self, event: HistoryEvent, at: Instant) -> None:
        """Counts an event of the log without a guest that calls for it."""
        self.clock = max(self.clock, at)
        match event:
            case JoinSetCreated(join_set):
                self._open[join_set] = _JoinSet(self._arrived.setdefault(join_set, deque()))
            case ChildRequested(child, ffqn, form=form):
                self._add_child(self._open[ids.join_set_of(child)], child, ffqn, form)
            case DelayRequested(delay, _, expires_at):
                join = self._open[ids.join_set_of(delay)]
                join.members[delay, True] = expires_at
                join.submitted += 1
            case JoinNext(join_set, closing=closing):
                join = self._open[join_set]
                join.awaited += 1
                if join.arrived:
                    self._consume(join.arrived.popleft())
                else:
                    self._awaiting = _Awaiting(join_set, closing, Machine._on_discarded)
            case JoinNextTry(join_set, TryOutcome.FOUND):
                join = self._open[join_set]
                join.awaited += 1
                self._consume(join.arrived.popleft())
            case _:
                pass

    # --- replies to awaited responses --------------------------------------------------------------------------------

    def _on_closed(self, response: Response, now: Instant) -> Reply | None:
        self._consume(response)
        return None if self._close_one(response.join_set, now) or self._ending is not None else DONE

    def _on_discarded(self, response: Response, now: Instant) -> Reply | None:
        self._consume(response)
        return None

    def _on_direct(self, response: Response, now: Instant) -> Reply:
        self._consume(response)
        self._answer_one_off(response.join_set)
        body = response.body
        assert isinstance(body, ChildFinished)
        self._last_direct = body.child
        return body.outcome

    def _on_direct_json(self, response: Response, now: Instant) -> Reply:
        child, _ = self._consume(response)
        self._answer_one_off(response.join_set)
        body = response.body
        assert isinstance(body, ChildFinished)
        assert child is not None
        self._last_direct = body.child
        return calls.JsonDone(body.outcome, child.form)

    def _answer_one_off(self, join_set: JoinSetId) -> None:
        self._last_one_off = self._open[join_set].last
        self._forget(join_set)

    def _on_slept(self, response: Response, now: Instant) -> Reply:
        _, expires_at = self._consume(response)
        self._answer_one_off(response.join_set)
        assert isinstance(response.body, DelayFinished)
        return calls.WokenAt(expires_at) if response.body.ok else calls.DelayCancelled()

    def _forget(self, join_set: JoinSetId) -> None:
        newest, join = (
            self._open.popitem()
        )  # unlike `del`, it leaves no gap at the end, so that finding the newest is O(1)
        if newest != join_set:
            self._open[newest] = join
            del self._open[join_set]
        self._arrived.pop(join_set, None)

    def _on_member(self, response: Response, now: Instant) -> Reply:
        child, _ = self._consume(response)
        body = response.body
        if isinstance(body, ChildFinished):
            assert child is not None
            child_id = ids.absolute(self.execution_id, body.child)
            return calls.MemberDone(child_id, False, isinstance(body.outcome, Ok), body.outcome, child.form)
        return calls.MemberDone(ids.absolute_delay(self.execution_id, body.delay), True, body.ok)

    def _member_id(self, member: tuple[str, bool] | None) -> Reply:
        if member is None:
            return calls.NoneYet()
        name, is_delay = member
        if is_delay:
            return calls.MemberId(ids.absolute_delay(self.execution_id, DelayRef(name)), True)
        return calls.MemberId(ids.absolute(self.execution_id, ChildId(name)), False)

    # --- one method a call -------------------------------------------------------------------------------------------

    def _call_child(self, call: calls.CallChild, now: Instant) -> Reply | None:
        name = function_of(call.ffqn) if call.label is None else call.label
        if not ids.is_join_set_name(name):
            return calls.InvalidName(_BAD_NAME.format(name))
        join_set, join = self._one_off(name, now)
        self._submit(join_set, join, call.ffqn, call.params, call.form, now)
        self._await(join_set, join, call.ffqn, Machine._on_direct, now)
        return None

    def _call_json(self, call: calls.CallJson, now: Instant) -> Reply | None:
        name = function_of(call.ffqn)
        if not ids.is_join_set_name(name):
            return calls.FunctionNotFound()  # no function is called that
        join_set, join = self._one_off(name, now)
        child = self._submit_given(join_set, join, call, now)
        if not isinstance(child, str):
            self._forget(join_set)
            return child
        self._await(join_set, join, call.ffqn, Machine._on_direct_json, now)
        return None

    def _submit_call(self, call: calls.Submit, now: Instant) -> Reply:
        join = self._find(call.join_set)
        if call.form is not None:
            child = self._submit(call.join_set, join, call.ffqn, call.params, call.form, now)
            return ids.absolute(self.execution_id, child)
        form = ErrForm.NONE if self.replaying else self._form_of(call.ffqn, call.params)
        child = self._next_child(call.join_set, join)
        recorded = self._record(ChildRequested(child, call.ffqn, call.params, form=form), now)
        assert isinstance(recorded, ChildRequested)
        self._add_child(join, child, call.ffqn, recorded.form)
        return ids.absolute(self.execution_id, child)

    def _form_of(self, ffqn: FunctionName, params: Json) -> ErrForm:
        """How the active function declares errors; found out once."""
        form = self._forms.get(ffqn)
        if form is None:
            typed = self._typing(ffqn, params)
            form = self._forms[ffqn] = typed.info.err_form if isinstance(typed, Typed) else ErrForm.NONE
        return form

    def _submit_json(self, call: calls.SubmitJson, now: Instant) -> Reply:
        child = self._submit_given(call.join_set, self._find(call.join_set), call, now)
        return ids.absolute(self.execution_id, ChildId(child)) if isinstance(child, str) else child

    def _await_next(self, call: calls.AwaitNext, now: Instant) -> Reply | None:
        specified = call.ffqn

        def reply(machine: Machine, response: Response, now: Instant) -> Reply:
            child, _ = machine._consume(response)
            body = response.body
            if isinstance(body, DelayFinished):
                delay = ids.absolute_delay(machine.execution_id, body.delay)
                return calls.FunctionMismatch(specified, None, delay, True)
            assert child is not None
            child_id = ids.absolute(machine.execution_id, body.child)
            if child.ffqn != specified:
                return calls.FunctionMismatch(specified, child.ffqn, child_id, False)
            return calls.ChildDone(child_id, body.outcome)

        return self._await_or_too_many(call.join_set, specified, reply, now)

    def _join_next(self, call: calls.JoinNext, now: Instant) -> Reply | None:
        return self._await_or_too_many(call.join_set, None, Machine._on_member, now)

    def _join_next_try(self, call: calls.JoinNextTry, now: Instant) -> Reply:
        join = self._find(call.join_set)
        recorded = self._recorded()
        if isinstance(recorded, JoinNextTry):
            outcome = recorded.outcome  # as it was then, whatever has arrived since
        elif join.arrived:
            outcome = TryOutcome.FOUND
        else:
            outcome = TryOutcome.PENDING if join.members else TryOutcome.ALL_PROCESSED
        self._record(JoinNextTry(call.join_set, outcome), now)
        match outcome:
            case TryOutcome.FOUND:
                join.awaited += 1
                return self._on_member(join.arrived.popleft(), now)
            case TryOutcome.PENDING:
                return calls.NoneYet()
            case TryOutcome.ALL_PROCESSED:
                return calls.AllProcessed()

    def _last_of_set(self, call: calls.LastOfSet, now: Instant) -> Reply:
        join = self._open.get(call.join_set)
        return self._member_id(None if join is None else join.last)

    def _last_direct_call(self, call: calls.LastDirectCall, now: Instant) -> Reply:
        return self._member_id(None if self._last_direct is None else (self._last_direct, False))

    def _last_one_off_call(self, call: calls.LastOneOff, now: Instant) -> Reply:
        return self._member_id(self._last_one_off)

    def _processed_child(self, execution_id: str) -> tuple[_Child, Outcome] | None:
        """What came of a child, by the id that the guest knows; None when it has not consumed its response."""
        of_whom, _, child = execution_id.rpartition(".")
        return self._processed.get(ChildId(child)) if of_whom == self.execution_id else None

    def _get(self, call: calls.Get, now: Instant) -> Reply:
        found = self._processed_child(call.execution_id)
        if found is None:
            return calls.NotProcessed()
        child, outcome = found
        if child.ffqn != call.ffqn:
            return calls.FunctionMismatch(call.ffqn, child.ffqn, ExecutionId(call.execution_id), False)
        return outcome

    def _get_json(self, call: calls.GetJson, now: Instant) -> Reply:
        found = self._processed_child(call.execution_id)
        if found is None:
            return calls.NotProcessed()
        child, outcome = found
        return calls.JsonDone(outcome, child.form)

    def _schedule(self, call: calls.Schedule, now: Instant) -> Reply:
        recorded = self._recorded()
        if isinstance(recorded, Scheduled):
            execution_id = recorded.execution_id  # the record is returned
        else:
            execution_id = prng.random_execution_id(self.execution_id, self._draws)
        self._draws += 1
        at = self._due(call.schedule_at, now, Scheduled)
        self._record(Scheduled(execution_id, call.ffqn, call.params, call.schedule_at, at), now)
        return execution_id

    def _schedule_json(self, call: calls.ScheduleJson, now: Instant) -> Reply | None:
        if not ids.is_top_level(call.execution_id):
            return calls.TypeCheckError(f"{call.execution_id} is a derived id; only top-level executions are scheduled")
        at = self._due(call.schedule_at, now, Scheduled, ScheduleRejected)
        recorded = self._recorded()
        if recorded is None:
            typed = self._typing(call.ffqn, call.params)
            if isinstance(typed, Typed) and typed.info.kind is FunctionKind.STUB:
                typed = Rejection(RejectReason.FUNCTION_NOT_FOUND)
            if isinstance(typed, Typed):
                given = NO_VALUE if typed.params == call.params else call.params
                self._unsettled = (
                    call,
                    Scheduled(call.execution_id, call.ffqn, typed.params, call.schedule_at, at, given, call.timeout_us),
                )
                return None
            rejection = typed
        elif isinstance(recorded, ScheduleRejected):
            rejection = Rejection(recorded.reason, recorded.message)
        else:
            event = Scheduled(
                call.execution_id, call.ffqn, call.params, call.schedule_at, at, timeout_us=call.timeout_us
            )
            self._record(event, now)
            return DONE
        reason, message = rejection.reason, rejection.message
        self._record(
            ScheduleRejected(
                call.execution_id, call.ffqn, call.params, call.schedule_at, reason, message, call.timeout_us
            ),
            now,
        )
        return _rejected(reason, message)

    def _stub(self, call: calls.Stub, now: Instant) -> Reply | None:
        side = "ok" if isinstance(call.outcome, Ok) else "err"
        value = call.outcome.value or Json(b"null")
        return self._stubbed(call, call.execution_id, b'{"%s":%s}' % (side.encode(), bytes(value)), now)

    def _stub_json(self, call: calls.StubJson, now: Instant) -> Reply | None:
        return self._stubbed(call, call.execution_id, bytes(call.result), now)

    def _stubbed(
        self, call: calls.Stub | calls.StubJson, execution_id: ExecutionId, result: bytes, now: Instant
    ) -> Reply | None:
        inside = f"{self.execution_id}."
        target = execution_id.removeprefix(inside)
        event = Stubbed(target, f"sha256:{hashlib.sha256(result).hexdigest()}", StubResult.OK)
        if not self.replaying:
            self._unsettled = call, event
            return None
        recorded = self._record(event, now)
        assert isinstance(recorded, Stubbed)
        return _stub_reply(recorded.result, recorded.message)

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
        self._due(call.schedule_at, now, JoinSetCreated)  # what is refused leaves no join set
        join_set, join = self._one_off(name, now)
        self._submit_delay(join_set, join, call.schedule_at, now)
        self._await(join_set, join, None, Machine._on_slept, now)
        return None

    def _current_execution_id(self, call: calls.CurrentExecutionId, now: Instant) -> Reply:
        return self.execution_id

    def _random_u64(self, call: calls.RandomU64, now: Instant) -> Reply:
        if call.min > call.max_inclusive:
            raise _Misused(f"a random number between {call.min} and {call.max_inclusive}: the range is empty")
        kind = PersistRandomU64(call.min, call.max_inclusive)
        draw = lambda: prng.random_between(self.execution_id, self._draws, call.min, call.max_inclusive)  # noqa: E731
        return msgspec.json.decode(self._persist(kind, draw, now), type=int)

    def _random_string(self, call: calls.RandomString, now: Instant) -> Reply:
        if call.min_length >= call.max_length_exclusive:
            raise _Misused(
                f"a random string of {call.min_length} to below {call.max_length_exclusive} characters: the range is empty"
            )
        kind = PersistRandomString(call.min_length, call.max_length_exclusive)
        low, high = call.min_length, call.max_length_exclusive
        draw = lambda: prng.random_text(self.execution_id, self._draws, low, high)  # noqa: E731
        return msgspec.json.decode(self._persist(kind, draw, now), type=str)

    def _generate_execution_id(self, call: calls.GenerateExecutionId, now: Instant) -> Reply:
        draw = lambda: prng.random_execution_id(self.execution_id, self._draws)  # noqa: E731
        return msgspec.json.decode(self._persist(PersistExecutionId(), draw, now), type=str)

    def _persist(self, kind: PersistKind, draw: Callable[[], int | str], now: Instant) -> Json:
        """A drawn value, as JSON; when replaying the record is returned, and nothing is drawn."""
        value = NO_VALUE if self.replaying else Json(msgspec.json.encode(draw()))
        self._draws += 1
        recorded = self._record(Persist(kind, value), now)
        assert isinstance(recorded, Persist)
        return recorded.value

    def _log_line(self, call: LogLine, now: Instant) -> Reply:
        if not self.replaying:
            self.writes.items.append(call)
        return DONE

    def _current_time(self, call: calls.CurrentTime, now: Instant) -> Reply:
        return self.clock

    def _random_seed(self, call: calls.RandomSeed, now: Instant) -> Reply:
        return self._seed

    def _misuse(self, call: calls.Misuse, now: Instant) -> Reply:
        raise _Misused(call.reason)


def _rejected(reason: RejectReason, message: str) -> Reply:
    return calls.FunctionNotFound() if reason is RejectReason.FUNCTION_NOT_FOUND else calls.TypeCheckError(message)


def _stub_reply(result: StubResult, message: str) -> Reply:
    match result:
        case StubResult.OK:
            return DONE
        case StubResult.EXECUTION_NOT_FOUND:
            return calls.ExecutionNotFound()
        case StubResult.TYPE_CHECK_ERROR:
            return calls.TypeCheckError(message)
        case StubResult.CONFLICT:
            return calls.Conflict()


_BAD_NAME: Final = "{!r} has characters other than ASCII letters, digits, '-' and '/'"


def _beginning(execution_id: ExecutionId, log: Sequence[LogEntry]) -> tuple[ExecutionId, Instant]:
    """The execution that the guest's own randomness follows from, and when that was created: a fork goes on as what it was
    forked from, so that the copied part of its log replays.
    """
    if not log or not isinstance(log[0].event, Created):
        return execution_id, Instant(0)
    origin = log[0].event.forked_from
    if origin is None:
        return execution_id, log[0].created_at
    return origin.first or origin.execution_id, origin.began_at


def _history(entry: LogEntry) -> HistoryEvent:
    """The entry's event; the machine's log holds no other kind."""
    return entry.event  # type: ignore[return-value]


_HANDLERS: Final[dict[type[msgspec.Struct], Callable[[Machine, Any, Instant], Reply | None]]] = {
    calls.CallChild: Machine._call_child,
    calls.CallJson: Machine._call_json,
    calls.Submit: Machine._submit_call,
    calls.SubmitJson: Machine._submit_json,
    calls.AwaitNext: Machine._await_next,
    calls.JoinNext: Machine._join_next,
    calls.JoinNextTry: Machine._join_next_try,
    calls.LastOfSet: Machine._last_of_set,
    calls.LastDirectCall: Machine._last_direct_call,
    calls.LastOneOff: Machine._last_one_off_call,
    calls.Get: Machine._get,
    calls.GetJson: Machine._get_json,
    calls.Schedule: Machine._schedule,
    calls.ScheduleJson: Machine._schedule_json,
    calls.Stub: Machine._stub,
    calls.StubJson: Machine._stub_json,
    calls.GenerateExecutionId: Machine._generate_execution_id,
    calls.JoinSetCreate: Machine._join_set_create,
    calls.JoinSetClose: Machine._join_set_close,
    calls.SubmitDelay: Machine._submit_delay_call,
    calls.Sleep: Machine._sleep,
    calls.CurrentExecutionId: Machine._current_execution_id,
    calls.RandomU64: Machine._random_u64,
    calls.RandomString: Machine._random_string,
    calls.Log: Machine._log_line,
    calls.Output: Machine._log_line,
    calls.CurrentTime: Machine._current_time,
    calls.RandomSeed: Machine._random_seed,
    calls.Misuse: Machine._misuse,
}
