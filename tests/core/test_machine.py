"""The replay machine: for each host call whether it blocks, is answered, or still waits; each time with nothing extra.

A case is a call after some others. It is run live, answered early and late, replayed, and verified; what is written and
decided is compared to the end each time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from obelisk.core import calls
from obelisk.core.calls import Call
from obelisk.core.events import (
    ChildRequested,
    DelayRequested,
    HistoryEvent,
    JoinNext,
    JoinNextTooMany,
    JoinSetCreated,
    Locked,
    LogEntry,
    Persist,
    PersistRandomString,
    PersistRandomU64,
)
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import INSTANT_MAX, At, In, Instant, Now
from obelisk.core.machine import Answered, Blocked, Cancel, Decision, Diverged, Ended, Machine, Mode, Stopped, Write
from obelisk.core.names import FunctionName
from obelisk.core.responses import ChildFinished, DelayFinished, Response
from obelisk.core.values import Err, Failure, FailureKind, Json, Ok

ROOT = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYZ")
DELAY = "Delay_01K42AJA8QHD7D3GTJAYMASFYZ"
F, G = FunctionName("t:acts/acts.work"), FunctionName("t:acts/acts.rest")
NOW, LATER, RUN = Instant(1_000), Instant(5_000), Instant(9_000)
ONE = Json(b"[1]")
OK, ERR, FAILED = Ok(Json(b"55")), Err(Json(b'"no"')), Failure(FailureKind.TIMED_OUT)
OTHER = "n:other"


def child(member: str, outcome: Ok | Err | Failure = OK, version: int = 2) -> Response:
    return Response(0, LATER, member.rpartition("_")[0], ChildFinished(member, version, outcome))


def delay(member: str, ok: bool = True) -> Response:
    return Response(0, LATER, member.rpartition("_")[0], DelayFinished(member, ok))


class Case(msgspec.Struct, frozen=True):
    """`call` after `before`: writes `events`; blocks on `join_set` until `responses` came, then gets `reply`."""

    name: str
    call: Call
    events: tuple[HistoryEvent, ...] = ()
    reply: Any = None
    before: tuple[Call, ...] = ()
    join_set: str | None = None
    """None: it does not block."""
    responses: tuple[Response, ...] = ()
    closing: bool = False
    cancels: tuple[Cancel, ...] = ()

    @property
    def decision(self) -> Decision:
        return Answered(self.reply)


SET, SUBMIT, SUBMIT_G = calls.JoinSetCreate(), calls.Submit("g:1", F, ONE), calls.Submit("g:1", G, ONE)
HOUR = calls.SubmitDelay("g:1", In(3_600))


def one_off(name: str, member: HistoryEvent, ffqn: FunctionName | None = None) -> tuple[HistoryEvent, ...]:
    return (JoinSetCreated(name), member, JoinNext(name, RUN, ffqn))


def direct(outcome: Ok | Err | Failure) -> Case:
    events = one_off("o:1-work", ChildRequested("o:1-work_1", F, ONE), F)
    name = f"direct call, {type(outcome).__name__}"
    return Case(name, calls.CallChild(F, ONE), events, outcome, (), "o:1-work", (child("o:1-work_1", outcome),))


BLOCKING = [
    direct(OK),
    direct(ERR),
    direct(FAILED),
    Case(
        "second direct call",
        calls.CallChild(G, ONE),
        one_off("o:2-rest", ChildRequested("o:2-rest_1", G, ONE), G),
        OK,
        (calls.Sleep(Now()),),
        "o:2-rest",
        (child("o:2-rest_1"),),
    ),
    Case(
        "invoke",
        calls.CallChild(F, ONE, "my/label-1"),
        one_off("o:1-my/label-1", ChildRequested("o:1-my/label-1_1", F, ONE), F),
        OK,
        (),
        "o:1-my/label-1",
        (child("o:1-my/label-1_1"),),
    ),
    Case(
        "invoke with an empty label",
        calls.CallChild(F, ONE, ""),
        one_off("o:1-", ChildRequested("o:1-_1", F, ONE), F),
        OK,
        (),
        "o:1-",
        (child("o:1-_1"),),
    ),
    Case(
        "sleep in",
        calls.Sleep(In(500)),
        one_off("o:1-sleep", DelayRequested("o:1-sleep_1", In(500), Instant(1_500))),
        calls.WokenAt(Instant(1_500)),
        (),
        "o:1-sleep",
        (delay("o:1-sleep_1"),),
    ),
    Case(
        "sleep until the past",
        calls.Sleep(At(Instant(7))),
        one_off("o:1-sleep", DelayRequested("o:1-sleep_1", At(Instant(7)), Instant(7))),
        calls.WokenAt(Instant(7)),
        (),
        "o:1-sleep",
        (delay("o:1-sleep_1"),),
    ),
    Case(
        "sleep now",
        calls.Sleep(Now()),
        one_off("o:1-sleep", DelayRequested("o:1-sleep_1", Now(), NOW)),
        calls.WokenAt(NOW),
        (),
        "o:1-sleep",
        (delay("o:1-sleep_1"),),
    ),
    Case(
        "named sleep, cancelled",
        calls.Sleep(In(500), "nap"),
        one_off("o:1-nap", DelayRequested("o:1-nap_1", In(500), Instant(1_500))),
        calls.DelayCancelled(),
        (),
        "o:1-nap",
        (delay("o:1-nap_1", ok=False),),
    ),
    Case(
        "await-next",
        calls.AwaitNext("g:1", F),
        (JoinNext("g:1", RUN, F),),
        calls.ChildDone(ExecutionId(f"{ROOT}.g:1_1"), OK),
        (SET, SUBMIT),
        "g:1",
        (child("g:1_1"),),
    ),
    Case(
        "await-next takes the lowest seq, whichever was submitted first",
        calls.AwaitNext("g:1", F),
        (JoinNext("g:1", RUN, F),),
        calls.ChildDone(ExecutionId(f"{ROOT}.g:1_2"), FAILED),
        (SET, SUBMIT, SUBMIT),
        "g:1",
        (child("g:1_2", FAILED), child("g:1_1")),
    ),
    Case(
        "await-next meets another function",
        calls.AwaitNext("g:1", F),
        (JoinNext("g:1", RUN, F),),
        calls.FunctionMismatch(F, G, ExecutionId(f"{ROOT}.g:1_1"), is_delay=False),
        (SET, SUBMIT_G),
        "g:1",
        (child("g:1_1"),),
    ),
    Case(
        "await-next meets a delay",
        calls.AwaitNext("g:1", F),
        (JoinNext("g:1", RUN, F),),
        calls.FunctionMismatch(F, None, f"{DELAY}.g:1_1", is_delay=True),
        (SET, HOUR),
        "g:1",
        (delay("g:1_1"),),
    ),
    *[
        Case(
            f"join-next, child {type(outcome).__name__}",
            calls.JoinNext("g:1"),
            (JoinNext("g:1", RUN),),
            calls.MemberDone(ExecutionId(f"{ROOT}.g:1_1"), is_delay=False, ok=outcome is OK),
            (SET, SUBMIT),
            "g:1",
            (child("g:1_1", outcome),),
        )
        for outcome in (OK, ERR, FAILED)
    ],
    *[
        Case(
            f"join-next, delay {ok}",
            calls.JoinNext("g:1"),
            (JoinNext("g:1", RUN),),
            calls.MemberDone(f"{DELAY}.g:1_1", is_delay=True, ok=ok),
            (SET, HOUR),
            "g:1",
            (delay("g:1_1", ok),),
        )
        for ok in (True, False)
    ],
    Case(
        "close with one child outstanding",
        calls.JoinSetClose("g:1"),
        (JoinNext("g:1", RUN, None, closing=True),),
        calls.DONE,
        (SET, SUBMIT),
        "g:1",
        (child("g:1_1"),),
        closing=True,
        cancels=(Cancel("g:1_1", F),),
    ),
    Case(
        "close with one delay outstanding",
        calls.JoinSetClose("g:1"),
        (JoinNext("g:1", RUN, None, closing=True),),
        calls.DONE,
        (SET, HOUR),
        "g:1",
        (delay("g:1_1", ok=False),),
        closing=True,
        cancels=(Cancel("g:1_1", None),),
    ),
]

AWAITED = (SET, SUBMIT, calls.JoinNext("g:1"))
READY = [
    Case("join-set-create", SET, (JoinSetCreated("g:1"),), "g:1"),
    Case("second join-set-create", SET, (JoinSetCreated("g:2"),), "g:2", (SET,)),
    Case("join-set-create-named", calls.JoinSetCreate("a/B-1"), (JoinSetCreated("n:a/B-1"),), "n:a/B-1"),
    Case("join-set-create-named, empty", calls.JoinSetCreate(""), (JoinSetCreated("n:"),), "n:"),
    Case("a name like a generated one", calls.JoinSetCreate("1"), (JoinSetCreated("n:1"),), "n:1", (SET,)),
    Case("a name that is taken", calls.JoinSetCreate("x"), (), calls.Conflict(), (calls.JoinSetCreate("x"),)),
    Case(
        "a name whose set is closed",
        calls.JoinSetCreate("x"),
        (),
        calls.Conflict(),
        (calls.JoinSetCreate("x"), calls.JoinSetClose("n:x")),
    ),
    Case(
        "an invalid name",
        calls.JoinSetCreate("a_b"),
        (),
        calls.InvalidName("'a_b' has characters other than ASCII letters, digits, '-' and '/'"),
    ),
    Case(
        "invoke with an invalid label",
        calls.CallChild(F, ONE, "a.b"),
        (),
        calls.InvalidName("'a.b' has characters other than ASCII letters, digits, '-' and '/'"),
    ),
    Case("submit", SUBMIT, (ChildRequested("g:1_1", F, ONE),), f"{ROOT}.g:1_1", (SET,)),
    Case("second submit", SUBMIT_G, (ChildRequested("g:1_2", G, ONE),), f"{ROOT}.g:1_2", (SET, SUBMIT, HOUR)),
    Case("submit-delay", HOUR, (DelayRequested("g:1_1", In(3_600), Instant(4_600)),), f"{DELAY}.g:1_1", (SET, SUBMIT)),
    Case(
        "await-next of an empty set",
        calls.AwaitNext("g:1", F),
        (JoinNextTooMany("g:1", F),),
        calls.AllProcessed(),
        (SET,),
    ),
    Case("join-next of an empty set", calls.JoinNext("g:1"), (JoinNextTooMany("g:1"),), calls.AllProcessed(), (SET,)),
    Case("join-next past the end", calls.JoinNext("g:1"), (JoinNextTooMany("g:1"),), calls.AllProcessed(), AWAITED),
    Case("get", calls.Get(f"{ROOT}.g:1_1", F), (), OK, AWAITED),
    Case("get after close", calls.Get(f"{ROOT}.g:1_1", F), (), OK, (SET, SUBMIT, calls.JoinSetClose("g:1"))),
    Case(
        "get as another function",
        calls.Get(f"{ROOT}.g:1_1", G),
        (),
        calls.FunctionMismatch(G, F, ExecutionId(f"{ROOT}.g:1_1"), is_delay=False),
        AWAITED,
    ),
    Case("get before awaiting", calls.Get(f"{ROOT}.g:1_1", F), (), calls.NotProcessed(), (SET, SUBMIT)),
    Case("get of a stranger", calls.Get("nonsense", F), (), calls.NotProcessed(), AWAITED),
    Case("close of an empty set", calls.JoinSetClose("g:1"), (), calls.DONE, (SET,)),
    Case("close of a set that was awaited", calls.JoinSetClose("g:1"), (), calls.DONE, AWAITED),
    Case("execution-id-current", calls.CurrentExecutionId(), (), str(ROOT)),
    Case("random-u64 of one value", calls.RandomU64(3, 3), (Persist(PersistRandomU64(3, 3), Json(b"3")),), 3),
    Case(
        "random-string of no letters", calls.RandomString(0, 1), (Persist(PersistRandomString(0, 1), Json(b'""')),), ""
    ),
]


class Live:
    """A machine that is run, with the log that comes of it."""

    def __init__(
        self, mode: Mode = Mode.LIVE, log: Iterable[LogEntry] = (), responses: Iterable[Response] = ()
    ) -> None:
        self.log = list(log)
        self.responses = list(responses)
        self.machine = Machine(ROOT, self.log, self.responses, mode)
        self.machine.run_expires_at = RUN

    def step(self, *some: Call) -> Decision:
        decision: Decision
        for call in some:
            decision = self.machine.step(call, NOW)
        return decision

    def deliver(self, *responses: Response) -> None:
        for response in responses:
            numbered = msgspec.structs.replace(response, seq=len(self.responses) + 1)
            self.responses.append(numbered)
            self.machine.deliver(numbered)

    def prepare(self, case: Case) -> None:
        """Makes the calls before; what they wait for comes at once."""
        for call in case.before:
            decision = self.step(call)
            if isinstance(decision, Blocked):
                member = f"{decision.join_set}_1"
                self.deliver(delay(member) if isinstance(call, calls.Sleep) else child(member))
                assert isinstance(self.machine.poll(NOW), Answered)
        self.take()

    def take(self) -> tuple[list[HistoryEvent], list[bool], list[Cancel]]:
        """The events written since the last time, which of them were answered at once, and what is to be cancelled."""
        writes = self.machine.take_writes()
        items = [item for item in writes.items if isinstance(item, Write)]
        self.log += [LogEntry(version, NOW, item.event) for version, item in enumerate(items, len(self.log))]
        return [item.event for item in items], [item.answered for item in items], writes.cancels


by_name = pytest.mark.parametrize("case", BLOCKING, ids=lambda case: case.name)
any_by_name = pytest.mark.parametrize("case", BLOCKING + READY, ids=lambda case: case.name)


@by_name
def test_it_blocks(case: Case) -> None:
    live = Live()
    live.prepare(case)
    assert live.step(case.call) == Blocked(case.join_set, case.closing)
    assert live.take() == ([*case.events], [False] * len(case.events), [*case.cancels])


@by_name
def test_it_still_waits(case: Case) -> None:
    live = Live()
    live.prepare(case)
    live.step(case.call)
    live.take()
    live.deliver(Response(0, LATER, OTHER, DelayFinished(f"{OTHER}_1", ok=True)))
    assert live.machine.poll(LATER) == Blocked(case.join_set, case.closing)
    assert live.take() == ([], [], [])
    replay = Live(Mode.LIVE, live.log, live.responses)
    replayed = replay_until(replay, case)
    assert replayed == Blocked(case.join_set, case.closing)
    assert replay.take() == ([], [], [])


@by_name
def test_it_is_answered_later(case: Case) -> None:
    live = Live()
    live.prepare(case)
    live.step(case.call)
    live.take()
    live.deliver(*case.responses)
    assert live.machine.poll(LATER) == case.decision
    assert live.take() == ([], [], [])
    assert live.machine.clock == LATER


@by_name
def test_it_is_answered_at_once(case: Case) -> None:
    live = Live()
    live.prepare(case)
    live.deliver(*case.responses)
    assert live.step(case.call) == case.decision
    events, answered, cancels = live.take()
    assert events == [*case.events]
    assert answered == [isinstance(event, JoinNext) for event in events]
    assert cancels == []


@pytest.mark.parametrize("case", READY, ids=lambda case: case.name)
def test_it_does_not_block(case: Case) -> None:
    live = Live()
    live.prepare(case)
    assert live.step(case.call) == case.decision
    assert live.take() == ([*case.events], [False] * len(case.events), [])


def replay_until(live: Live, case: Case) -> Decision:
    for call in case.before:
        assert isinstance(live.step(call), Answered)
    return live.step(case.call)


@any_by_name
@pytest.mark.parametrize("mode", Mode)
def test_it_replays_to_the_same_answer_and_writes_nothing(case: Case, mode: Mode) -> None:
    live = Live()
    live.prepare(case)
    live.step(case.call)
    live.take()
    live.deliver(*case.responses)
    replay = Live(mode, live.log, live.responses)
    assert replay_until(replay, case) == case.decision
    assert not replay.machine.replaying
    assert replay.take() == ([], [], [])


@any_by_name
def test_verify_stops_at_the_first_new_event(case: Case) -> None:
    live = Live()
    live.prepare(case)
    verify = Live(Mode.VERIFY, live.log, live.responses)
    decision = replay_until(verify, case)
    assert decision == (Stopped() if case.events else case.decision)
    assert verify.take() == ([*case.events], [False] * len(case.events), [*case.cancels])


@any_by_name
def test_its_log_does_not_replay_without_the_call(case: Case) -> None:
    if case.events and not case.closing:  # the end closes too
        live = Live()
        live.prepare(case)
        version = len(live.log)
        live.step(case.call)
        live.take()
        replay = Live(Mode.LIVE, live.log, live.responses)
        for call in case.before:
            replay.step(call)
        decision = replay.machine.end(Ok(), NOW)
        assert isinstance(decision, Diverged)
        assert decision.divergence.version == version
        assert replay.take() == ([], [], [])


# --- random values ---------------------------------------------------------------------------------------------------


def test_random_numbers_reach_both_bounds() -> None:
    live = Live()
    drawn = [live.step(calls.RandomU64(1, 6)).reply for _ in range(200)]
    assert set(drawn) == {1, 2, 3, 4, 5, 6}
    events, _, _ = live.take()
    assert [event.value for event in events] == [Json(str(value).encode()) for value in drawn]


def test_random_values_are_returned_from_the_record_and_not_drawn_again() -> None:
    log = [
        LogEntry(0, NOW, Persist(PersistRandomU64(0, 1 << 63), Json(b"42"))),
        LogEntry(1, NOW, Persist(PersistRandomString(1, 9), Json(b'"recorded"'))),
    ]
    replay = Live(Mode.LIVE, log)
    assert replay.step(calls.RandomU64(0, 1 << 63)) == Answered(42)
    assert replay.step(calls.RandomString(1, 9)) == Answered("recorded")
    assert replay.take() == ([], [], [])


def test_what_is_drawn_after_a_replay_is_what_would_have_been_drawn() -> None:
    some = [calls.RandomU64(0, 1 << 63), calls.RandomString(5, 9), calls.RandomU64(0, 1 << 63)]
    live = Live()
    drawn = [live.step(call) for call in some]
    log = [LogEntry(index, NOW, event) for index, event in enumerate(live.take()[0])]
    for known in range(4):
        replay = Live(Mode.LIVE, log[:known])
        assert [replay.step(call) for call in some] == drawn


# --- logs ------------------------------------------------------------------------------------------------------------


def test_a_log_line_is_no_event_and_is_silent_during_replay() -> None:
    line = calls.Log(calls.LogLevel.INFO, "hello")
    live = Live()
    assert live.step(line, SET, line) == Answered(calls.DONE)
    assert live.machine.take_writes().items == [line, Write(JoinSetCreated("g:1")), line]
    replay = Live(Mode.LIVE, [LogEntry(0, NOW, JoinSetCreated("g:1"))])
    replay.step(line, SET)
    assert replay.machine.take_writes().items == []
    assert replay.step(line) == Answered(calls.DONE)
    assert replay.machine.take_writes().items == [line]


def test_a_log_line_does_not_stop_a_verification() -> None:
    verify = Live(Mode.VERIFY)
    assert verify.step(calls.Log(calls.LogLevel.INFO, "hello")) == Answered(calls.DONE)


# --- closing ---------------------------------------------------------------------------------------------------------


def test_closing_cancels_in_reverse_order_and_awaits_each_member() -> None:
    live = Live()
    live.step(SET, SUBMIT, HOUR, SUBMIT_G, SUBMIT)
    live.take()
    live.deliver(child("g:1_2"))
    assert live.step(calls.JoinSetClose("g:1")) == Blocked("g:1", closing=True)
    closing = JoinNext("g:1", RUN, None, closing=True)
    assert live.take() == (
        [closing, closing],
        [True, False],
        [Cancel("g:1_3", F), Cancel("g:1_1", None), Cancel("g:1_1", F)],
    )
    live.deliver(delay("g:1_1", ok=False), child("g:1_3", FAILED))
    assert live.machine.poll(LATER) == Blocked("g:1", closing=True)
    assert live.take() == ([closing, closing], [True, False], [])
    live.deliver(child("g:1_1"))
    assert live.machine.poll(LATER) == Answered(calls.DONE)
    assert live.take() == ([], [], [])
    assert live.step(calls.Get(f"{ROOT}.g:1_3", F)) == Answered(FAILED)


def test_the_end_closes_what_is_open_newest_first() -> None:
    live = Live()
    live.step(SET, calls.JoinSetCreate("x"), SET, SUBMIT, calls.Submit("n:x", F, ONE), calls.Submit("g:2", G, ONE))
    live.take()
    for join_set, ffqn in (("g:2", G), ("n:x", F)):
        decision = live.machine.end(OK, NOW) if join_set == "g:2" else live.machine.poll(NOW)
        assert decision == Blocked(join_set, closing=True)
        events = [JoinNext(join_set, RUN, None, closing=True)]
        assert live.take() == (events, [False], [Cancel(f"{join_set}_1", ffqn)])
        live.deliver(child(f"{join_set}_1"))
    assert live.machine.poll(NOW) == Blocked("g:1", closing=True)
    live.take()
    live.deliver(child("g:1_1"))
    assert live.machine.poll(NOW) == Ended(OK)
    assert live.take() == ([], [], [])
    assert live.machine.poll(NOW) == Ended(OK)
    for mode in Mode:
        replay = Live(mode, live.log, live.responses)
        replay.step(
            SET, calls.JoinSetCreate("x"), SET, SUBMIT, calls.Submit("n:x", F, ONE), calls.Submit("g:2", G, ONE)
        )
        assert replay.machine.end(OK, NOW) == Ended(OK)
        assert replay.take() == ([], [], [])


def test_the_end_of_a_workflow_without_open_sets_writes_nothing() -> None:
    live = Live()
    live.step(SET)
    live.take()
    assert live.machine.end(ERR, NOW) == Ended(ERR)
    assert live.take() == ([], [], [])


# --- misuse ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "call", "reason"),
    [
        ((), SUBMIT, "the join set g:1 is closed"),
        ((SET, calls.JoinSetClose("g:1")), SUBMIT, "the join set g:1 is closed"),
        ((SET, calls.JoinSetClose("g:1")), HOUR, "the join set g:1 is closed"),
        ((SET, calls.JoinSetClose("g:1")), calls.JoinNext("g:1"), "the join set g:1 is closed"),
        ((SET, calls.JoinSetClose("g:1")), calls.AwaitNext("g:1", F), "the join set g:1 is closed"),
        ((SET, calls.JoinSetClose("g:1")), calls.JoinSetClose("g:1"), "the join set g:1 is closed"),
        ((), calls.RandomU64(2, 1), "a random number between 2 and 1: the range is empty"),
        ((), calls.RandomString(1, 1), "a random string of 1 to below 1 characters: the range is empty"),
        ((), calls.Sleep(In(INSTANT_MAX)), "the schedule lies beyond the year 9999"),
        ((SET,), calls.SubmitDelay("g:1", At(Instant(-1))), "the schedule lies beyond the year 9999"),
        ((), calls.Sleep(Now(), "a b"), "'a b' has characters other than ASCII letters, digits, '-' and '/'"),
        ((), calls.Misuse("what the codec found"), "what the codec found"),
    ],
)
def test_misuse_ends_the_execution_and_replays(before: tuple[Call, ...], call: Call, reason: str) -> None:
    live = Live()
    for earlier in before:
        live.step(earlier)
    ended = Ended(Failure(FailureKind.UNCATEGORIZED, f"host call refused: {reason}"))
    assert live.step(call) == ended
    live.take()
    for mode in Mode:
        replay = Live(mode, live.log)
        for earlier in before:
            replay.step(earlier)
        assert replay.step(call) == ended
        assert replay.take() == ([], [], [])


def test_misuse_closes_open_sets_first() -> None:
    live = Live()
    live.step(SET, SUBMIT)
    live.take()
    assert live.step(calls.Misuse("bad")) == Blocked("g:1", closing=True)
    assert live.take() == ([JoinNext("g:1", RUN, None, closing=True)], [False], [Cancel("g:1_1", F)])
    live.deliver(child("g:1_1"))
    assert live.machine.poll(NOW) == Ended(Failure(FailureKind.UNCATEGORIZED, "host call refused: bad"))


# --- divergence ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recorded", "now", "version", "detail"),
    [
        ([SET], [calls.JoinSetCreate("x")], 0, 'join_set: recorded "g:1", now "n:x"'),
        ([SET, SUBMIT], [SET, SUBMIT_G], 1, f'ffqn: recorded "{F}", now "{G}"'),
        ([SET, SUBMIT], [SET, calls.Submit("g:1", F, Json(b"[2]"))], 1, "params: recorded [1], now [2]"),
        ([SET, HOUR], [SET, calls.SubmitDelay("g:1", In(1))], 1,
         'schedule_at: recorded {"type":"in","us":3600}, now {"type":"in","us":1}'),
        ([SET, SET, SUBMIT], [SET, SET, calls.Submit("g:2", F, ONE)], 2, 'child: recorded "g:1_1", now "g:2_1"'),
        ([SET, SET, HOUR], [SET, SET, calls.SubmitDelay("g:2", In(3_600))], 2, 'delay: recorded "g:1_1", now "g:2_1"'),
        ([SET, SUBMIT, calls.JoinNext("g:1")], [SET, SUBMIT, calls.AwaitNext("g:1", F)], 2,
         f'ffqn: recorded null, now "{F}"'),
        ([SET, SUBMIT, calls.JoinNext("g:1")], [SET, SUBMIT, calls.JoinSetClose("g:1")], 2,
         "closing: recorded false, now true"),
        ([SET, calls.JoinNext("g:1")], [SET, calls.AwaitNext("g:1", F)], 1, f'ffqn: recorded null, now "{F}"'),
        ([calls.RandomU64(1, 6)], [calls.RandomU64(1, 7)], 0,
         ('kind: recorded {"type":"random_u64","min":1,"max_inclusive":6}, now'
          ' {"type":"random_u64","min":1,"max_inclusive":7}')),
        ([calls.RandomString(1, 6)], [calls.RandomU64(1, 6)], 0,
         ('kind: recorded {"type":"random_string","min_length":1,"max_length_exclusive":6}, now'
          ' {"type":"random_u64","min":1,"max_inclusive":6}')),
        ([SET], [calls.RandomU64(1, 6)], 0,
         ('event: recorded join_set_create, now persist\nrecorded join_set: "g:1"\n'
          'now kind: {"type":"random_u64","min":1,"max_inclusive":6}')),
        ([SET, SUBMIT], [SET, HOUR], 1,
         (f'event: recorded child_request, now delay_request\nrecorded child: "g:1_1"\nrecorded ffqn: "{F}"\n'
          'recorded params: [1]\nnow delay: "g:1_1"\nnow schedule_at: {"type":"in","us":3600}')),
        ([calls.CallChild(F, ONE)], [calls.CallChild(F, ONE, "label")], 0,
         'join_set: recorded "o:1-work", now "o:1-label"'),
        ([calls.CallChild(F, ONE)], [calls.CallChild(F, Json(b"[1,1]"))], 1, "params: recorded [1], now [1,1]"),
    ],
)  # fmt: skip
def test_a_changed_call_is_told_field_by_field(
    recorded: list[Call], now: list[Call], version: int, detail: str
) -> None:
    live = Live()
    live.step(*recorded)
    live.take()
    for mode in Mode:
        replay = Live(mode, live.log)
        decision = replay.step(*now)
        assert isinstance(decision, Diverged)
        assert (decision.divergence.version, decision.divergence.detail) == (version, detail)
        assert replay.take() == ([], [], [])


def test_what_may_differ_does_not_diverge() -> None:
    log = [
        LogEntry(3, NOW, JoinSetCreated("g:1")),
        LogEntry(4, NOW, Locked("Exr_1", "Run_1", Instant(7))),  # no history: skipped
        LogEntry(5, NOW, DelayRequested("g:1_1", In(3_600), Instant(77))),
        LogEntry(6, NOW, JoinNext("g:1", Instant(78))),
    ]
    replay = Live(Mode.LIVE, log)
    assert replay.step(SET, HOUR, calls.JoinNext("g:1")) == Blocked("g:1", closing=False)
    assert replay.take() == ([], [], [])


def test_a_log_that_goes_on_where_the_workflow_waits_is_left_over() -> None:
    log = [
        LogEntry(0, NOW, JoinSetCreated("g:1")),
        LogEntry(1, NOW, ChildRequested("g:1_1", F, ONE)),
        LogEntry(2, NOW, JoinNext("g:1", RUN)),
        LogEntry(3, NOW, JoinSetCreated("g:2")),
    ]
    decision = Live(Mode.LIVE, log).step(SET, SUBMIT, calls.JoinNext("g:1"))
    assert isinstance(decision, Diverged)
    assert decision.divergence.version == 3
    assert decision.divergence.detail == (
        'the log goes on with join_set_create (join_set "g:2"), now the workflow does not'
    )


# --- worked examples -------------------------------------------------------------------------------------------------


def test_d2_a_fan_out_awaits_in_the_order_of_arrival_and_closes_without_a_word() -> None:
    live = Live()
    live.step(SET, SUBMIT, SUBMIT, SUBMIT)
    live.take()
    live.deliver(child("g:1_3"), child("g:1_1"))
    await_next = calls.AwaitNext("g:1", F)
    assert live.step(await_next) == Answered(calls.ChildDone(f"{ROOT}.g:1_3", OK))
    assert live.step(await_next) == Answered(calls.ChildDone(f"{ROOT}.g:1_1", OK))
    assert live.step(await_next) == Blocked("g:1", closing=False)
    assert live.take() == ([JoinNext("g:1", RUN, F)] * 3, [True, True, False], [])
    live.deliver(child("g:1_2"))
    assert live.machine.poll(NOW) == Answered(calls.ChildDone(f"{ROOT}.g:1_2", OK))
    assert live.machine.end(OK, NOW) == Ended(OK)
    assert live.take() == ([], [], [])


def test_d3_a_timeout_fires_first() -> None:
    live = Live()
    live.step(SET, SUBMIT, HOUR, calls.JoinNext("g:1"))
    live.deliver(delay("g:1_1"))
    assert live.machine.poll(NOW) == Answered(calls.MemberDone(f"{DELAY}.g:1_1", is_delay=True, ok=True))
    live.take()
    assert live.step(calls.JoinSetClose("g:1")) == Blocked("g:1", closing=True)
    assert live.take() == ([JoinNext("g:1", RUN, None, closing=True)], [False], [Cancel("g:1_1", F)])
    live.deliver(child("g:1_1", Failure(FailureKind.CANCELLED)))
    assert live.machine.poll(NOW) == Answered(calls.DONE)
    assert live.step(calls.Get(f"{ROOT}.g:1_1", F)) == Answered(Failure(FailureKind.CANCELLED))


def test_d4_all_processed_stays_all_processed_although_more_responses_exist_by_then() -> None:
    live = Live()
    live.step(SET, SUBMIT)
    live.deliver(child("g:1_1"))
    await_next = calls.AwaitNext("g:1", F)
    live.step(await_next)
    assert live.step(await_next) == Answered(calls.AllProcessed())
    live.step(SUBMIT)
    live.take()
    live.deliver(child("g:1_2"))
    replay = Live(Mode.LIVE, live.log, live.responses)
    replay.step(SET, SUBMIT)
    assert replay.step(await_next) == Answered(calls.ChildDone(f"{ROOT}.g:1_1", OK))
    assert replay.step(await_next) == Answered(calls.AllProcessed())
    replay.step(SUBMIT)
    assert replay.take() == ([], [], [])
    assert replay.step(await_next) == Answered(calls.ChildDone(f"{ROOT}.g:1_2", OK))


def test_the_clock_follows_what_was_consumed_and_never_goes_back() -> None:
    live = Live()
    live.machine.step(SET, Instant(10))
    assert live.machine.clock == 10
    live.machine.step(SET, Instant(5))
    assert live.machine.clock == 10


def test_a_second_response_of_a_member_is_ignored() -> None:
    live = Live()
    live.step(SET, SUBMIT, HOUR, SUBMIT)
    live.deliver(child("g:1_1"), child("g:1_1", FAILED), delay("g:1_1"))
    join_next = calls.JoinNext("g:1")
    assert live.step(join_next) == Answered(calls.MemberDone(f"{ROOT}.g:1_1", is_delay=False, ok=True))
    live.deliver(child("g:1_1"))
    assert live.step(join_next) == Answered(calls.MemberDone(f"{DELAY}.g:1_1", is_delay=True, ok=True))
    assert live.step(join_next) == Blocked("g:1", closing=False)


# --- cost ------------------------------------------------------------------------------------------------------------


def operations(count: int) -> tuple[int, int]:
    """Function calls, Python's and C's, of `count` awaited children, live and replayed."""
    made = 0

    def watch(frame: object, event: str, argument: object) -> None:
        nonlocal made
        made += event in {"call", "c_call"}

    def some() -> Iterable[Call]:
        yield SET
        for _ in range(count):
            yield SUBMIT
        for _ in range(count):
            yield calls.AwaitNext("g:1", F)

    def drive(live: Live) -> int:
        nonlocal made
        made = 0
        sys.setprofile(watch)
        try:
            for call in some():
                live.machine.step(call, NOW)
        finally:
            sys.setprofile(None)
        return made

    live = Live()
    for index in range(count):
        live.deliver(child(f"g:1_{index + 1}"))
    cost = drive(live)
    live.take()
    return cost, drive(Live(Mode.LIVE, live.log, live.responses))


def test_a_host_call_costs_the_same_however_long_the_log_is() -> None:
    few, many = operations(200), operations(2_000)
    for less, more in zip(few, many, strict=True):
        assert more <= 10 * less
