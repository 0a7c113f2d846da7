"""Random workflows against the machine: whatever they do, it does not raise; and what is durable says all.

A workflow here is a list of operations with random numbers, read so that each makes sense (or is misuse) where it comes.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from obelisk.core import calls, ids
from obelisk.core.calls import Call
from obelisk.core.decisions import Answered, Blocked, Decision, Ended, Mode, Unsettled
from obelisk.core.events import (
    ChildRequested,
    DelayRequested,
    JoinNext,
    JoinNextTry,
    JoinSetCreated,
    RejectReason,
    StubResult,
    TryOutcome,
)
from obelisk.core.ids import Digest, ExecutionId
from obelisk.core.instants import INSTANT_MAX, At, In, Instant, Now
from obelisk.core.machine import Machine, Typing
from obelisk.core.names import FunctionName
from obelisk.core.ports import FunctionInfo, FunctionKind, Rejection, Typed
from obelisk.core.responses import Response
from obelisk.core.values import Err, ErrForm, Failure, FailureKind, Json
from obelisk.testing.machines import NOTHING, NOW, OK, ROOT, DrivenMachine, Taken, child, delay, unasked

TOP = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYA")
NAMES = [
    FunctionName(name) for name in ("t:acts/acts.work", "t:acts/acts.rest", "t:acts/acts.gone", "", "a b", "x" * 300)
]
PARAMS = [Json(b"[1]"), Json(b"[1.0]"), Json(b'["x"]')]
SCHEDULES = [Now(), In(5), At(Instant(7)), In(INSTANT_MAX), At(Instant(-1))]
CANCELLED = Failure(FailureKind.CANCELLED, "cancelled")


def deployed(ffqn: FunctionName, params: Json) -> Typed | Rejection:
    if ffqn not in NAMES[:2]:
        return Rejection(RejectReason.FUNCTION_NOT_FOUND)
    if params == PARAMS[2]:
        return Rejection(RejectReason.TYPE_CHECK_ERROR, "expected a number")
    return Typed(PARAMS[0], FunctionInfo(ffqn, FunctionKind.ACTIVITY, Digest("sha256:0"), ErrForm.STRING))


def pick(some: list[Any], number: int) -> Any:
    return some[number % len(some)]


class Workflow:
    """A machine, and the workflow that it serves."""

    def __init__(self) -> None:
        self.live = DrivenMachine(typing=deployed)
        self.calls: list[Call] = []
        self.answers: list[Decision] = []
        """To each call; the last one may still wait."""
        self.sets: list[str] = []
        self.outstanding: list[Response] = []
        """What its members will answer."""

    @property
    def decision(self) -> Decision:
        return self.answers[-1] if self.answers else Answered(calls.DONE)

    def perform(self, operation: str, one: int, two: int) -> None:
        """What an operation means here; nothing, if it makes no sense."""
        if operation == "answer":
            if self.outstanding:
                self.live.deliver(self.outstanding.pop(one % len(self.outstanding)))
                if isinstance(self.decision, Blocked):
                    self.answers[-1] = self.live.poll()
                    self._look()
        elif isinstance(self.decision, Answered):
            call = self._call(operation, one, two)
            self.calls.append(call)
            decision = self.live.step(call)
            if isinstance(decision, Unsettled):
                assert self.live.take() == NOTHING
                decision = settle(self.live.machine, call, one)
            self.answers.append(decision)
            self._look()

    def _look(self) -> None:
        if isinstance(self.decision, Answered) and isinstance(self.calls[-1], calls.JoinSetCreate):
            reply = self.decision.reply
            if isinstance(reply, str):
                self.sets.append(reply)
        for event in self.live.take().events:
            match event:
                case ChildRequested(member):
                    ends = [OK, Err(), CANCELLED]
                    self.outstanding.append(child(member, pick(ends, len(self.outstanding))))
                case DelayRequested(member):
                    self.outstanding.append(delay(member, ok=len(self.outstanding) % 2 == 0))

    def _call(self, operation: str, one: int, two: int) -> Call:
        join_set = pick(self.sets or ["g:1"], one)
        ffqn, params, schedule = pick(NAMES, one), pick(PARAMS, two), pick(SCHEDULES, two)
        everything = [
            ROOT,
            TOP,
            "nonsense",
            f"{ROOT}.g:1_1",
            f"{ROOT}.g:1_1.o:1-x_1",
            f"{TOP}.g:1_1",
            f"Delay_{ROOT[2:]}.g:1_1",
        ]
        execution_id = pick(everything, one)
        match operation:
            case "direct":
                return calls.CallChild(NAMES[one % 2], params, pick([None, "me", "", "a_b"], two))
            case "call-json":
                return calls.CallJson(ffqn, params, pick([None, 7], one))
            case "submit":
                return calls.Submit(join_set, NAMES[two % 2], params, pick([ErrForm.VARIANT, None], one))
            case "submit-json":
                return calls.SubmitJson(join_set, pick(NAMES, two), pick(PARAMS, two + one))
            case "delay":
                return calls.SubmitDelay(join_set, SCHEDULES[two % 3])
            case "sleep":
                return calls.Sleep(SCHEDULES[two % 3], pick([None, "nap", ""], one))
            case "create":
                return calls.JoinSetCreate(pick([None, "x", "y", "", "a_b"], one))
            case "close":
                return calls.JoinSetClose(join_set)
            case "await":
                return pick([calls.JoinNext(join_set), calls.AwaitNext(join_set, NAMES[0])], two)
            case "try":
                return calls.JoinNextTry(join_set)
            case "get":
                of = pick(
                    [
                        *everything,
                        *(ids.absolute(ROOT, r.body.child) for r in self.live.responses if hasattr(r.body, "child")),
                    ],
                    two,
                )
                return pick([calls.Get(of, NAMES[0]), calls.GetJson(of)], one)
            case "last":
                return pick([calls.LastOfSet(join_set), calls.LastDirectCall(), calls.LastOneOff()], two)
            case "schedule":
                return calls.Schedule(NAMES[one % 2], params, SCHEDULES[two % 3])
            case "schedule-json":
                return calls.ScheduleJson(execution_id, pick(NAMES, two), params, SCHEDULES[two % 3])
            case "stub":
                return pick([calls.Stub(execution_id, NAMES[0], OK), calls.StubJson(execution_id, params)], two)
            case "random":
                return pick([calls.RandomU64(1, 6), calls.RandomString(1, 9), calls.GenerateExecutionId()], one)
            case "log":
                return calls.Log(calls.LogLevel.INFO, "a line")
            case "misuse":
                bad = [
                    calls.RandomU64(2, 1),
                    calls.RandomString(1, 1),
                    calls.Sleep(SCHEDULES[3 + two % 2]),
                    calls.Sleep(Now(), "a_b"),
                    calls.SubmitDelay(join_set, SCHEDULES[3 + two % 2]),
                    calls.Schedule(NAMES[0], params, SCHEDULES[3 + two % 2]),
                    calls.ScheduleJson(TOP, NAMES[0], params, schedule),
                    calls.JoinNext("n:unheard-of"),
                    calls.Misuse("bad"),
                ]
                return pick(bad, one)
        raise AssertionError(operation)


def settle(machine: Machine, call: Call, number: int) -> Decision:
    if isinstance(call, calls.ScheduleJson):
        return machine.settle_schedule(pick([None, None, "it is taken"], number), NOW, exists=number % 2 == 0)
    return machine.settle_stub(pick(list(StubResult), number), "why", NOW)


OFTEN = ["create", "submit", "submit", "delay", "submit-json", "await", "try", "answer", "answer", "answer", "direct"]
SELDOM = ["call-json", "sleep", "close", "get", "last", "schedule", "schedule-json", "stub", "random", "log"]
operations = st.lists(
    st.tuples(st.sampled_from(OFTEN + SELDOM), st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=40
)
ends = st.sampled_from(["misuse", "return", "none"])
few = settings(max_examples=60)


def run(program: list[tuple[str, int, int]], end: str) -> Workflow:
    workflow = Workflow()
    for operation in program:
        workflow.perform(*operation)
    if isinstance(workflow.decision, Answered):
        if end == "return":
            workflow.answers.append(workflow.live.machine.end(OK, NOW))
            workflow.live.take()
        elif end == "misuse":
            workflow.perform("misuse", len(program), program[0][1])
    return workflow


def check_counts(workflow: Workflow) -> None:
    """Never more awaits than members; answered at once is what is there."""
    submitted: dict[str, int] = {}
    awaited: dict[str, int] = {}
    for entry in workflow.live.log:
        match entry.event:
            case JoinSetCreated(join_set):
                assert join_set not in submitted
                submitted[join_set] = awaited[join_set] = 0
            case ChildRequested(member) | DelayRequested(member):
                submitted[ids.join_set_of(member)] += 1
            case JoinNext(join_set) | JoinNextTry(join_set, TryOutcome.FOUND):
                awaited[join_set] += 1
                assert awaited[join_set] <= submitted[join_set]


def replayed(workflow: Workflow, mode: Mode = Mode.LIVE, typing: Typing = unasked) -> DrivenMachine:
    """A fresh machine that has gone through the same calls: each with the same answer, and nothing is written."""
    replay = workflow.live.reloaded(mode, typing)
    for call, answer in zip(workflow.calls, workflow.answers, strict=False):
        assert replay.step(call) == answer
    if len(workflow.answers) > len(workflow.calls):
        assert replay.machine.end(OK, NOW) == workflow.answers[-1]
    assert not replay.machine.replaying
    assert replay.take() == NOTHING
    return replay


@given(operations, ends)
@few
def test_it_replays_to_the_same_answers_and_writes_nothing(program: list[tuple[str, int, int]], end: str) -> None:
    workflow = run(program, end)
    check_counts(workflow)
    for mode in Mode:
        replayed(workflow, mode)


@given(operations, st.integers(0, 40))
@few
def test_torn_down_and_reloaded_at_any_time_it_comes_to_the_same_log(
    program: list[tuple[str, int, int]], cut: int
) -> None:
    undisturbed, workflow = Workflow(), Workflow()
    for number, operation in enumerate(program):
        undisturbed.perform(*operation)
        if number == cut % len(program):
            workflow.live = replayed(workflow, typing=deployed)
        workflow.perform(*operation)
    assert workflow.answers == undisturbed.answers
    assert workflow.live.log == undisturbed.live.log


def finished(live: DrivenMachine) -> list[Taken]:
    """Abandons it, and answers the last of its members each time that it waits; all that it writes."""
    decision, taken = live.abandon(CANCELLED), []
    while True:
        taken.append(live.take())
        if isinstance(decision, Ended):
            assert decision == Ended(CANCELLED)
            return taken
        assert isinstance(decision, Blocked)
        members = {}
        for entry in live.log:
            if isinstance(entry.event, ChildRequested) and ids.join_set_of(entry.event.child) == decision.join_set:
                members[entry.event.child, False] = child(entry.event.child, CANCELLED)
            elif isinstance(entry.event, DelayRequested) and ids.join_set_of(entry.event.delay) == decision.join_set:
                members[entry.event.delay, True] = delay(entry.event.delay, ok=False)
        for response in live.responses:
            body = response.body
            members.pop(
                (getattr(body, "child", None) or getattr(body, "delay", None), not hasattr(body, "child")), None
            )
        live.deliver(list(members.values())[-1])
        decision = live.poll()


@given(operations, ends, st.integers(0, 60))
@few
def test_abandoned_from_its_log_it_is_as_if_abandoned_in_memory_and_as_if_begun_again(
    program: list[tuple[str, int, int]], end: str, crash: int
) -> None:
    workflow = run(program, end)
    before, arrived = len(workflow.live.log), len(workflow.live.responses)
    if isinstance(workflow.decision, Ended):
        return
    reloaded = workflow.live.reloaded()
    taken = finished(workflow.live)
    assert finished(reloaded) == taken
    log = workflow.live.log
    assert reloaded.log == log
    # a crash after some of the units that it writes
    units = crash % len(taken)
    length = before + sum(len(unit.events) for unit in taken[:units])
    again = DrivenMachine(log=log[:length], responses=workflow.live.responses[: arrived + max(units - 1, 0)])
    finished(again)
    assert again.log == log
