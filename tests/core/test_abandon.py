"""Abandoning: an execution ends without its guest, from any prefix of its log, and however often it is begun again."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from obelisk.core import calls, ids
from obelisk.core.calls import Call
from obelisk.core.decisions import Answered, Blocked, Cancel, Decision, Diverged, Ended, Unsettled
from obelisk.core.events import (
    ChildRequested,
    DelayRequested,
    HistoryEvent,
    JoinNext,
    JoinNextTry,
    JoinSetCreated,
    LogEntry,
    RejectReason,
    StubResult,
    TryOutcome,
)
from obelisk.core.ids import Digest, ExecutionId
from obelisk.core.instants import In, Now
from obelisk.core.names import FunctionName
from obelisk.core.ports import FunctionInfo, FunctionKind, Rejection, Typed
from obelisk.core.responses import ChildFinished, Response
from obelisk.core.values import Err, ErrForm, Failure, FailureKind, Json
from obelisk.testing.machines import NOTHING, NOW, OK, ROOT, RUN, DrivenMachine, Taken, child, delay

TOP = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYA")
F, G = FunctionName("t:acts/acts.work"), FunctionName("t:acts/acts.rest")
ONE, BAD = Json(b"[1]"), Json(b'["x"]')
CANCELLED = Failure(FailureKind.CANCELLED, "cancelled")
SET, SUBMIT, HOUR = calls.JoinSetCreate(), calls.Submit("g:1", F, ONE), calls.SubmitDelay("g:1", In(3_600))
JSON, REJECTED = calls.SubmitJson("g:1", G, ONE), calls.SubmitJson("g:1", F, BAD)
TRY, NEXT, CLOSE = calls.JoinNextTry("g:1"), calls.JoinNext("g:1"), calls.JoinSetClose("g:1")
NAMED, SUBMIT_NAMED = calls.JoinSetCreate("x"), calls.Submit("n:x", G, ONE)


def deployed(ffqn: FunctionName, params: Json) -> Typed | Rejection:
    if params == BAD:
        return Rejection(RejectReason.TYPE_CHECK_ERROR, "expected a number")
    return Typed(params, FunctionInfo(ffqn, FunctionKind.ACTIVITY, Digest("sha256:0"), ErrForm.STRING))


Action = Call | Response
PROGRAMS: dict[str, list[Action]] = {
    "nothing": [],
    "one-off sets": [
        calls.CallChild(F, ONE),
        child("o:1-work_1"),
        calls.CallJson(F, BAD),
        calls.CallJson(G, ONE),
        child("o:3-rest_1", CANCELLED),
        calls.Sleep(In(5), "nap"),
        delay("o:4-nap_1"),
        calls.CallChild(F, ONE, "last"),
    ],
    "sets that are open beside a one-off": [
        SET, SUBMIT, HOUR, NAMED, SUBMIT_NAMED, child("g:1_1"), calls.Sleep(In(5)), child("n:x_1"),
        delay("o:1-sleep_1"), calls.CallJson(F, ONE), delay("g:1_1"), child("o:2-work_1"), NEXT, SET,
    ],
    "awaits of a generated set": [
        SET, SUBMIT, SUBMIT, HOUR, child("g:1_2"), NEXT, NEXT, delay("g:1_1"), SUBMIT, calls.AwaitNext("g:1", F),
        child("g:1_3"), NEXT, child("g:1_1"), NEXT, SUBMIT, NEXT,
    ],
    "awaits of a named set": [NAMED, SUBMIT_NAMED, SUBMIT_NAMED, SET, SUBMIT, calls.JoinNext("n:x"), child("n:x_2")],
    "a close": [SET, SUBMIT, HOUR, JSON, SET, SUBMIT, CLOSE, child("g:1_2"), delay("g:1_1", ok=False), child("g:1_1")],
    "a close whose members have ended": [SET, SUBMIT, SUBMIT, child("g:1_2"), child("g:1_1"), NAMED, SUBMIT_NAMED, CLOSE],
    "tries": [SET, SUBMIT, HOUR, TRY, child("g:1_1"), TRY, TRY, delay("g:1_1"), TRY, TRY, SUBMIT, TRY, child("g:1_2")],
    "rejected requests": [SET, REJECTED, JSON, REJECTED, JSON, TRY, child("g:1_4"), NEXT, NEXT, child("g:1_2"), NEXT],
    "what has nothing to do with it": [
        calls.RandomU64(1, 6), calls.Schedule(F, ONE, Now()), calls.ScheduleJson(TOP, F, ONE, Now()), SET, SUBMIT,
        calls.StubJson(f"{ROOT}.g:1_1", Json(b'{"ok":1}')), calls.GenerateExecutionId(), NEXT,
    ],
    "many sets": [
        SET, SET, NAMED, SET, SUBMIT, calls.Submit("g:2", F, ONE), SUBMIT_NAMED, calls.SubmitDelay("g:3", In(5)),
        calls.Submit("g:3", G, ONE), calls.Submit("g:2", F, ONE), HOUR, child("g:2_1"), delay("g:3_1"),
    ],
}  # fmt: skip


class Driven(DrivenMachine):
    """Keeps how many responses there were when each event was written."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.known: list[int] = []

    def take(self) -> Taken:
        taken = super().take()
        self.known += [len(self.responses)] * len(taken.events)
        return taken


def performed(actions: list[Action]) -> Driven:
    """A machine after these."""
    live = Driven(typing=deployed)
    decision: Decision = Answered(calls.DONE)
    for action in actions:
        if isinstance(action, Response):
            live.deliver(action)
            if isinstance(decision, Blocked):
                decision = live.poll()
        else:
            assert isinstance(decision, Answered), action
            decision = live.step(action)
            if isinstance(decision, Unsettled):
                if isinstance(action, calls.ScheduleJson):
                    decision = live.machine.settle_schedule(None, NOW, exists=False)
                else:
                    decision = live.machine.settle_stub(StubResult.OK, "", NOW)
        live.take()
    return live


Member = tuple[str, bool]
"""Relative id, and whether it is a delay."""


def member_of(response: Response) -> Member:
    body = response.body
    return (body.child, False) if isinstance(body, ChildFinished) else (body.delay, True)


class Standing:
    """What a log and its responses come to, found out by counting."""

    def __init__(self, log: list[LogEntry], responses: list[Response]) -> None:
        self.members: dict[str, list[Member]] = {}
        """Of each set, both in the order of creation."""
        self.functions: dict[Member, str | None] = {}
        self.awaits: Counter[str] = Counter()
        for entry in log:
            match entry.event:
                case JoinSetCreated(join_set):
                    self.members[join_set] = []
                case ChildRequested(member, ffqn):
                    self._submitted((member, False), ffqn)
                case DelayRequested(member):
                    self._submitted((member, True), None)
                case JoinNext(join_set) | JoinNextTry(join_set, TryOutcome.FOUND):
                    self.awaits[join_set] += 1
        self.answered = {member_of(response) for response in responses}
        self.arrived = Counter(response.join_set for response in responses)
        self.pending: JoinNext | None = None
        last = log[-1].event if log else None
        if isinstance(last, JoinNext) and self.awaits[last.join_set] > self.arrived[last.join_set]:
            self.pending = last

    def _submitted(self, member: Member, ffqn: str | None) -> None:
        self.members[ids.join_set_of(member[0])].append(member)
        self.functions[member] = ffqn

    def cancels(self) -> list[Cancel]:
        return [
            Cancel(member[0], self.functions[member])
            for members in reversed(self.members.values())
            for member in reversed(members)
            if member not in self.answered
        ]

    def closings(self) -> list[HistoryEvent]:
        """One for each member that nobody has awaited, newest set first."""
        return [
            JoinNext(join_set, RUN, None, closing=True)
            for join_set in reversed(self.members)
            for _ in range(len(self.members[join_set]) - self.awaits[join_set])
        ]

    def outstanding(self) -> list[Member]:
        return [member for members in self.members.values() for member in members if member not in self.answered]


def answer(member: Member) -> Response:
    return delay(member[0], ok=False) if member[1] else child(member[0], CANCELLED)


def finished(live: Driven, *, newest_first: bool = True) -> list[HistoryEvent]:
    """Abandons `live` and answers what it waits for, and other members too; all that it writes."""
    standing = Standing(live.log, live.responses)
    outstanding = standing.outstanding()
    decision = live.abandon(CANCELLED)
    taken = live.take()
    assert taken.cancels == standing.cancels()
    written: list[HistoryEvent] = []
    while True:
        written += taken.events
        if isinstance(decision, Ended):
            assert decision == Ended(CANCELLED)
            assert all(taken.answered)
            assert not outstanding
            return written
        assert isinstance(decision, Blocked)
        if taken.events:
            assert taken.answered == [True] * (len(taken.events) - 1) + [False]
            assert decision.join_set == taken.events[-1].join_set
        elif not written:
            assert standing.pending is not None
            assert decision == Blocked(standing.pending.join_set, standing.pending.closing)
        assert outstanding, "it waits for what has been answered"
        live.deliver(answer(outstanding.pop(-1 if newest_first else 0)))
        decision = live.poll()
        taken = live.take()
        assert taken.cancels == []


def snapshots(name: str) -> list[Driven]:
    """Every prefix of a program's log, with the responses that had arrived by then, and with all that arrived later."""
    live = performed(PROGRAMS[name])
    some: list[Driven] = []
    for length in range(len(live.log) + 1):
        log = live.log[:length]
        members = Standing(log, []).functions
        there = [response for response in live.responses if member_of(response) in members]
        by_then = there[: live.known[length - 1]] if length else []
        some += [Driven(log=log, responses=by_then), Driven(log=log, responses=there)]
    return some


by_name = pytest.mark.parametrize("name", PROGRAMS)


@by_name
@pytest.mark.parametrize("newest_first", [True, False])
def test_what_is_open_is_cancelled_and_awaited_once(name: str, newest_first: bool) -> None:
    for live in snapshots(name):
        expected = Standing(live.log, live.responses).closings()
        assert finished(live, newest_first=newest_first) == expected
        assert live.poll() == Ended(CANCELLED)
        assert live.take() == NOTHING


@by_name
def test_it_is_begun_again_at_any_point_and_comes_to_the_same_log(name: str) -> None:
    for live in snapshots(name):
        length, count = len(live.log), len(live.responses)
        finished(live)
        known = [count, *live.known]
        for more in range(len(live.log) - length + 1):
            for responses in (live.responses[: known[more]], live.responses):
                again = Driven(log=live.log[: length + more], responses=responses)
                finished(again)
                assert again.log == live.log


@by_name
def test_abandoning_what_is_in_memory_is_abandoning_what_is_durable(name: str) -> None:
    actions = PROGRAMS[name]
    for length in range(len(actions) + 1):
        live = performed(actions[:length])
        reloaded = live.reloaded()
        assert finished(live) == finished(reloaded)
        assert live.log == reloaded.log


@by_name
def test_a_log_that_does_not_replay_is_abandoned_all_the_same(name: str) -> None:
    live = performed(PROGRAMS[name])
    if live.log:
        reloaded = live.reloaded()
        diverged = reloaded.step(calls.JoinSetCreate("unheard-of"))
        assert isinstance(diverged, Diverged)
        expected = Standing(live.log, live.responses).closings()
        assert finished(live.reloaded()) == expected


def test_the_newest_set_is_closed_first_and_the_last_member_cancelled_first() -> None:
    live = performed(PROGRAMS["many sets"])
    assert live.abandon(CANCELLED) == Blocked("g:3", closing=True)
    closing = JoinNext("g:3", RUN, None, closing=True)
    assert live.take() == (
        [closing, closing],
        [True, False],
        [
            Cancel("g:3_1", G),  # its delay has come
            Cancel("n:x_1", G),
            Cancel("g:2_2", F),  # the first has ended
            Cancel("g:1_1", None),
            Cancel("g:1_1", F),
        ],
    )


def test_an_await_of_the_guest_is_waited_for_before_anything_is_closed() -> None:
    live = performed([SET, SUBMIT, SUBMIT, SET, calls.Submit("g:2", F, ONE), NEXT])
    live = live.reloaded()
    assert live.abandon(CANCELLED) == Blocked("g:1", closing=False)
    assert live.take() == ([], [], [Cancel("g:2_1", F), Cancel("g:1_2", F), Cancel("g:1_1", F)])
    live.deliver(child("g:2_1"))
    assert live.poll() == Blocked("g:1", closing=False)
    live.deliver(child("g:1_2"))
    assert live.poll() == Blocked("g:1", closing=True)
    closings = [JoinNext(join_set, RUN, None, closing=True) for join_set in ("g:2", "g:1")]
    assert live.take() == (closings, [True, False], [])
    live.deliver(child("g:1_1"))
    assert live.poll() == Ended(CANCELLED)
    assert live.take() == NOTHING


def test_a_call_that_was_not_settled_is_forgotten() -> None:
    live = performed([SET, SUBMIT])
    assert isinstance(live.step(calls.StubJson(f"{ROOT}.g:1_1", Json(b'{"ok":1}'))), Unsettled)
    assert live.abandon(CANCELLED) == Blocked("g:1", closing=True)
    with pytest.raises(AssertionError):
        live.machine.settle_stub(StubResult.OK, "", NOW)
    assert live.take() == ([JoinNext("g:1", RUN, None, closing=True)], [False], [Cancel("g:1_1", F)])


def test_it_ends_as_what_it_is_told() -> None:
    for outcome in (OK, Err(), Failure(FailureKind.NONDETERMINISM_DETECTED, "parked", "why")):
        live = performed(PROGRAMS["one-off sets"][:2])
        assert live.abandon(outcome) == Ended(outcome)
