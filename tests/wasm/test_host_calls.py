"""Every host call, made by real components of both generations: what is asked, and how each answer is seen."""

import json

import pytest

from obelisk.core.calls import (
    DONE,
    AllProcessed,
    AwaitNext,
    CallChild,
    CallJson,
    ChildDone,
    Conflict,
    CurrentExecutionId,
    DelayCancelled,
    ExecutionNotFound,
    FunctionMismatch,
    FunctionNotFound,
    GenerateExecutionId,
    Get,
    GetJson,
    InvalidName,
    JoinNext,
    JoinNextTry,
    JoinSetClose,
    JoinSetCreate,
    JsonDone,
    LastDirectCall,
    LastOfSet,
    LastOneOff,
    MemberDone,
    MemberId,
    Misuse,
    NoneYet,
    NotProcessed,
    RandomString,
    RandomU64,
    Schedule,
    ScheduleJson,
    Sleep,
    Stub,
    StubJson,
    Submit,
    SubmitDelay,
    SubmitJson,
    TypeCheckError,
    WokenAt,
)
from obelisk.core.instants import At, In, Instant, Now
from obelisk.core.ports import FunctionKind, Returned
from obelisk.core.values import Err, ErrForm, Failure, FailureKind, Json, Ok
from obelisk.wasm.guest import WorkflowGuest
from obelisk.wasm.link import link_activity, link_workflow
from obelisk.wit.checks import Component, check
from obelisk.wit.executable import executables

ROOT = "E_01K42AJA8QHD7D3GTJAYMASFYZ"
OTHER = "E_01K42AJA8QHD7D3GTJAYMASFY0"
CHILD = f"{ROOT}.g:1_1"
DELAY = f"Delay_{ROOT[2:]}.g:1_1"
ECHO = "testing:activity/acts.echo"
DECIDE = "testing:stubs/stubs.decide"

ID = {"id": CHILD}
FUNCTION = {"interface_name": "testing:activity/acts", "function_name": "echo"}
TRACE = {"frames": [{"module": "m", "func_name": "f", "symbols": [{"file": "a.js", "line": 3}]}]}
IN_A_MINUTE = {"in": {"minutes": 1}}
TIMEOUT = {"timeout": {"seconds": 5}}
FAILED = Failure(FailureKind.TIMED_OUT, "too slow")

CREATED = [
    ("n:a", {"ok": None}),
    (Conflict(), {"err": "conflict"}),
    (InvalidName("no spaces"), {"err": {"invalid_name": "no spaces"}}),
]
SLEPT = [
    (WokenAt(Instant(1_700_000_000_123_456)), {"ok": {"seconds": 1_700_000_000, "nanoseconds": 123_456_000}}),
    (DelayCancelled(), {"err": None}),
]
MEMBERS = [
    (MemberDone(CHILD, False, True, Ok(Json(b"1"))), {"ok": [{"execution_id": ID}, {"ok": None}]}),
    (MemberDone(CHILD, False, False, FAILED), {"ok": [{"execution_id": ID}, {"err": None}]}),
    (MemberDone(DELAY, True, True), {"ok": [{"delay_id": {"id": DELAY}}, {"ok": None}]}),
    (MemberDone(DELAY, True, False), {"ok": [{"delay_id": {"id": DELAY}}, {"err": None}]}),
    (AllProcessed(), {"err": "all_processed"}),
]
MEMBERS_6 = [
    (MemberDone(CHILD, False, True, Ok(Json('"é"'.encode()))), {"ok": {"ok": '"é"'}}),
    (MemberDone(CHILD, False, True, Ok()), {"ok": {"ok": None}}),
    (MemberDone(CHILD, False, False, Err(Json(b'{"a":1}'))), {"ok": {"err": '{"a":1}'}}),
    (MemberDone(CHILD, False, False, FAILED, ErrForm.NONE), {"ok": {"err": None}}),
    (MemberDone(CHILD, False, False, FAILED, ErrForm.STRING), {"ok": {"err": '"execution-failed"'}}),
    (MemberDone(CHILD, False, False, FAILED, ErrForm.VARIANT), {"ok": {"err": '"execution_failed"'}}),
    (MemberDone(DELAY, True, True), {"ok": {"ok": None}}),
    (MemberDone(DELAY, True, False), {"ok": {"err": None}}),
    (AllProcessed(), {"err": "all_processed"}),
]
PENDING = (NoneYet(), {"err": "pending"})
REJECTED = [
    (FunctionNotFound(), {"err": "function_not_found"}),
    (TypeCheckError("params[0]: …"), {"err": {"type_check_error": "params[0]: …"}}),
]
JSONS = [
    (JsonDone(Ok(Json(b"[1,2]")), ErrForm.NONE), {"ok": {"ok": "[1,2]"}}),
    (JsonDone(Ok(), ErrForm.NONE), {"ok": {"ok": None}}),
    (JsonDone(Err(Json(b'"no"')), ErrForm.STRING), {"ok": {"err": '"no"'}}),
    (JsonDone(FAILED, ErrForm.NONE), {"ok": {"err": None}}),
    (JsonDone(FAILED, ErrForm.STRING), {"ok": {"err": '"execution-failed"'}}),
    (JsonDone(FAILED, ErrForm.VARIANT), {"ok": {"err": '"execution_failed"'}}),
]
NOT_YET = (NotProcessed(), {"err": "not_found_in_processed_responses"})
STUBBED = [
    (DONE, {"ok": None}),
    (ExecutionNotFound(), {"err": "execution_not_found"}),
    (TypeCheckError("result.ok: …"), {"err": {"type_check_error": "result.ok: …"}}),
    (Conflict(), {"err": "conflict"}),
]
MISMATCHES = [
    (
        FunctionMismatch(ECHO, "testing:activity/acts.fail", CHILD, False),
        {
            "specified_function": FUNCTION,
            "actual_function": {**FUNCTION, "function_name": "fail"},
            "actual_id": {"execution_id": ID},
        },
    ),
    (
        FunctionMismatch(ECHO, None, DELAY, True),
        {"specified_function": FUNCTION, "actual_function": None, "actual_id": {"delay_id": {"id": DELAY}}},
    ),
]
OUTCOMES = [
    (Ok(Json(b'"x"')), {"ok": "x"}),
    (Err(Json(b'"y"')), {"err": "y"}),
    (FAILED, {"err": "execution-failed"}),
]
AWAIT_ERRORS = [
    (AllProcessed(), {"err": "all_processed"}),
    *((reply, {"err": {"function_mismatch": shown}}) for reply, shown in MISMATCHES),
]

# What both generations have: function -> (parameters, the call, answers and how they are seen).
RANDOM = {
    "random-u64": ([3, 7], RandomU64(3, 6), [(5, 5)]),
    "random-u64-inclusive": ([0, 2**64 - 1], RandomU64(0, 2**64 - 1), [(2**64 - 1, 2**64 - 1)]),
    "random-string": ([1, 5], RandomString(1, 5), [("abc", "abc")]),
}
SETS = {
    "join-set-create": ([], JoinSetCreate(), [("g:1", None)]),
    "join-set-create-named": (["a"], JoinSetCreate("a"), CREATED),
    "join-set-close": ([], JoinSetClose("g:1"), [(DONE, None)]),
    "submit-delay": ([IN_A_MINUTE], SubmitDelay("g:1", In(60_000_000)), [(DELAY, {"id": DELAY})]),
}
GENERATED = ([], GenerateExecutionId(), [(OTHER, {"id": OTHER})])
CURRENT = {"execution-id-current": ([], CurrentExecutionId(), [(ROOT, {"id": ROOT})])}
GOT = ([ID], GetJson(CHILD), [*JSONS, NOT_YET])
STUB_JSON = ([ID, ' { "ok" : true }'], StubJson(CHILD, Json(b'{"ok":true}')), STUBBED)
TWINNED_5 = {
    **RANDOM,
    **SETS,
    "sleep": ([IN_A_MINUTE], Sleep(In(60_000_000)), SLEPT),
    "submit-json": (
        [FUNCTION, '[ "x" ]', TIMEOUT],
        SubmitJson("g:1", ECHO, Json(b'["x"]'), 5_000_000),
        [(CHILD, {"ok": ID}), *REJECTED],
    ),
    "get-result-json": GOT,
    "join-next": ([], JoinNext("g:1"), MEMBERS),
    "join-next-try": ([], JoinNextTry("g:1"), [*MEMBERS, PENDING]),
}
SUPPORT_5 = {
    **CURRENT,
    **TWINNED_5,
    **{f"{name}-bt": ([*params, TRACE], call, replies) for name, (params, call, replies) in TWINNED_5.items()},
    "sleep-named-bt": ([IN_A_MINUTE, "nap", TRACE], Sleep(In(60_000_000), "nap"), SLEPT),
    "execution-id-generate": ([TRACE], *GENERATED[1:]),
    "schedule-json": (
        [{"id": OTHER}, {"at": {"seconds": 7, "nanoseconds": 8_000}}, FUNCTION, '["x"]', TIMEOUT, TRACE],
        ScheduleJson(OTHER, ECHO, Json(b'["x"]'), At(Instant(7_000_008)), 5_000_000),
        [(DONE, {"ok": None}), *REJECTED],
    ),
    "call-json": ([FUNCTION, '["x"]', None, TRACE], CallJson(ECHO, Json(b'["x"]')), [*JSONS, *REJECTED]),
    "stub-json": ([*STUB_JSON[0], None], *STUB_JSON[1:]),
}
WRITING_6 = {
    **RANDOM,
    **SETS,
    "sleep": ([IN_A_MINUTE, "nap"], Sleep(In(60_000_000), "nap"), SLEPT),
    "submit-json": (
        [FUNCTION, '[ "x" ]'],
        SubmitJson("g:1", ECHO, Json(b'["x"]')),
        [(CHILD, {"ok": ID}), *REJECTED],
    ),
    "join-next": ([], JoinNext("g:1"), MEMBERS_6),
    "join-next-try": ([], JoinNextTry("g:1"), [*MEMBERS_6, PENDING]),
    "execution-id-generate": GENERATED,
    "schedule-json": (
        [{"id": OTHER}, "now", FUNCTION, '["x"]'],
        ScheduleJson(OTHER, ECHO, Json(b'["x"]'), Now()),
        [(DONE, {"ok": None}), *REJECTED],
    ),
    "call-json": ([FUNCTION, '["x"]'], CallJson(ECHO, Json(b'["x"]')), [*JSONS, *REJECTED]),
    "stub-json": STUB_JSON,
}
SUPPORT_6 = {
    **CURRENT,
    **WRITING_6,
    "get-result-json": GOT,
    "get-execution-failure-kind": (
        [ID],
        GetJson(CHILD),
        [
            *((JsonDone(Failure(kind), ErrForm.NONE), {"ok": kind.value}) for kind in FailureKind),
            (JsonDone(Err(), ErrForm.NONE), {"ok": None}),
            NOT_YET,
        ],
    ),
    "last-direct-call-id": ([], LastDirectCall(), [(MemberId(CHILD, False), ID), (NoneYet(), None)]),
    "last-oneoff-id": (
        [],
        LastOneOff(),
        [
            (MemberId(CHILD, False), {"execution_id": ID}),
            (MemberId(DELAY, True), {"delay_id": {"id": DELAY}}),
            (NoneYet(), None),
        ],
    ),
}
TRACED_6 = {name: ([*params, TRACE], call, replies) for name, (params, call, replies) in WRITING_6.items()}
ACTS = {
    "acts": {"echo": (["x"], CallChild(ECHO, Json(b'["x"]'), None, ErrForm.STRING), OUTCOMES)},
    "acts-schedule": {
        "echo-schedule": (
            [{"in": {"days": 49_711}}, "x"],
            Schedule(ECHO, Json(b'["x"]'), In(49_711 * 86_400_000_000)),
            [(OTHER, {"id": OTHER})],
        )
    },
    "stubs-ext": {
        # Nothing else of it is imported: how it declares errors is not known.
        "decide-submit": (["why?"], Submit("g:1", DECIDE, Json(b'["why?"]'), None), [(CHILD, ID)])
    },
    "stubs-stub": {
        "decide-stub": ([ID, {"err": "no"}], Stub(CHILD, DECIDE, Err(Json(b'"no"'))), STUBBED),
    },
}
ACTS_EXT = {
    "echo-submit": (["x"], Submit("g:1", ECHO, Json(b'["x"]'), ErrForm.STRING), [(CHILD, ID)]),
    "echo-get": (
        [ID],
        Get(CHILD, ECHO),
        [
            *((outcome, {"ok": seen}) for outcome, seen in OUTCOMES),
            (NotProcessed(), {"err": "not_found_in_processed_responses"}),
            *((reply, {"err": {"function_mismatch": seen}}) for reply, seen in MISMATCHES),
        ],
    ),
}
AWAITED_5 = [*((ChildDone(CHILD, outcome), {"ok": [ID, seen]}) for outcome, seen in OUTCOMES), *AWAIT_ERRORS]
AWAITED_6 = [*((ChildDone(CHILD, outcome), {"ok": seen}) for outcome, seen in OUTCOMES), *AWAIT_ERRORS]
LAST = [
    (MemberId(CHILD, False), {"execution_id": ID}),
    (MemberId(DELAY, True), {"delay_id": {"id": DELAY}}),
    (NoneYet(), None),
]
FIVE = {
    **ACTS,
    "support": SUPPORT_5,
    "sets": {
        "set-id": ([], None, [(None, "g:1")]),
        "set-submit-delay": SETS["submit-delay"],
        "set-join-next": TWINNED_5["join-next"],
    },
    "acts-ext": {**ACTS_EXT, "echo-await-next": ([], AwaitNext("g:1", ECHO), AWAITED_5)},
}
SIX = {
    **ACTS,
    "support": SUPPORT_6,
    "traced": TRACED_6,
    "sets": {"set-id": ([], None, [(None, "g:1")]), "set-last-id": ([], LastOfSet("g:1"), LAST)},
    "acts-ext": {**ACTS_EXT, "echo-await-next": ([], AwaitNext("g:1", ECHO), AWAITED_6)},
}
GENERATIONS = {"five": FIVE, "six": SIX, "older": FIVE}
NUMBERS = {"five": "five", "six": "six", "older": "five"}
EVERY_CALL = [
    pytest.param(generation, interface, function, id=f"{generation}-{interface}.{function}")
    for generation, interfaces in GENERATIONS.items()
    for interface, functions in interfaces.items()
    for function in functions
]


def shown(call):
    """A call by its type and fields: JSON is not equal to its bytes otherwise."""
    fields = [(name, getattr(call, name)) for name in call.__struct_fields__]
    values = {name: bytes(value) if isinstance(value, Json) else value for name, value in fields}
    if isinstance(call, Stub):
        values["outcome"] = (type(call.outcome), bytes(call.outcome.value))
    return type(call).__name__, values


@pytest.fixture(scope="session")
def linked(calling_components, loader):
    """The components of each generation, linked as workflows."""
    return {name: link_workflow(loader.load(getattr(calling_components, name))) for name in GENERATIONS}


@pytest.fixture
def make_call(linked, drive):
    """Runs the function that makes one host call, answered with `reply`; gives the calls that the guest was seen to make,
    without those that only make and close its join set, and what it returned.
    """

    def run(generation, interface, function, params, reply):
        entry = linked[generation].entries[f"testing:calls-{NUMBERS[generation]}/{interface}.{function}"]

        def answer(call):
            if isinstance(call, JoinSetCreate):
                return reply if function.startswith("join-set-create") else "g:1"
            return DONE if isinstance(call, JoinSetClose) else reply

        guest = WorkflowGuest(entry)
        calls, step = drive(guest, Json(json.dumps(params).encode()), _Answers(answer))
        assert isinstance(step, Returned), step
        if calls and isinstance(calls[0], JoinSetCreate) and not function.startswith("join-set-create-named"):
            assert calls[-1] == JoinSetClose("g:1")
            if not function.startswith("join-set-close"):
                calls.pop()
            if not function.startswith("join-set-create"):
                calls.pop(0)
        value = step.outcome.value
        return calls, json.loads(bytes(value)) if value else None

    return run


class _Answers(dict):
    """One answer to calls of all types."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def __missing__(self, _type):
        return self.answer


@pytest.mark.parametrize("generation", GENERATIONS)
def test_no_function_is_forgotten(linked, generation):
    exported = {name.partition("/")[2] for name in linked[generation].entries}
    exported -= {name for name in exported if name.startswith("acts.") and name != "acts.echo"}
    tried = {f"{i}.{f}" for i, functions in GENERATIONS[generation].items() for f in functions}
    assert exported == tried


@pytest.mark.parametrize(("generation", "interface", "function"), EVERY_CALL)
def test_a_call_is_made_and_every_answer_is_seen(make_call, generation, interface, function):
    params, expected, replies = GENERATIONS[generation][interface][function]
    assert replies
    for reply, seen in replies:
        calls, returned = make_call(generation, interface, function, params, reply)
        assert [shown(call) for call in calls] == ([] if expected is None else [shown(expected)])
        assert returned == seen


MISTAKES = [
    ("call-json", {0: {**FUNCTION, "function_name": "no.dot"}}, "ffqn_parsing_error", "is not a function name"),
    ("call-json", {1: "[1,"}, "type_check_error", "not valid JSON"),
    ("call-json", {1: '{"s":"x"}'}, "type_check_error", 'params: expected an array, got {"s": "x"}'),
    ("submit-json", {0: {**FUNCTION, "interface_name": "acts"}}, "ffqn_parsing_error", "is not a function name"),
    ("submit-json", {1: "nonsense"}, "type_check_error", "not valid JSON"),
    ("schedule-json", {0: {"id": "E_1"}}, "type_check_error", "'E_1' is not an execution id"),
    ("schedule-json", {0: ID}, "type_check_error", "is the id of a child"),
    ("schedule-json", {2: {**FUNCTION, "function_name": ""}}, "ffqn_parsing_error", "is not a function name"),
    ("schedule-json", {3: "7"}, "type_check_error", "params: expected an array, got 7"),
    ("stub-json", {0: {"id": ROOT}}, "execution_id_parsing_error", "is a top-level execution"),
    ("stub-json", {0: {"id": "x"}}, "execution_id_parsing_error", "'x' is not an execution id"),
    ("stub-json", {1: "true"}, "type_check_error", 'result: expected {"ok": …} or {"err": …}, got true'),
    ("get-result-json", {0: {"id": "x"}}, "execution_id_parsing_error", "'x' is not an execution id"),
]


@pytest.mark.parametrize("generation", ["five", "six"])
@pytest.mark.parametrize(("function", "wrong", "case", "message"), MISTAKES)
def test_mistakes_that_the_arguments_show_are_answered_without_a_call(
    make_call, generation, function, wrong, case, message
):
    params = [*GENERATIONS[generation]["support"][function][0]]
    for index, value in wrong.items():
        params[index] = value
    calls, returned = make_call(generation, "support", function, params, None)
    assert calls == []
    ((found, text),) = returned["err"].items()
    assert found == case and message in text


@pytest.mark.parametrize("generation", ["five", "six"])
def test_a_stub_is_given_its_result_by_its_own_id(make_call, generation):
    calls, returned = make_call(generation, "stubs-stub", "decide-stub", [{"id": ROOT}, {"ok": True}], None)
    assert calls == [] and "is a top-level execution" in returned["err"]["type_check_error"]


def test_a_timeout_of_nothing_is_told(make_call):
    params = [FUNCTION, "[]", {"timeout": {"days": 0}}, None]
    calls, returned = make_call("five", "support", "call-json", params, None)
    assert calls == [] and "timeout: expected more than nothing" in returned["err"]["type_check_error"]


@pytest.mark.parametrize("unit", ["milliseconds", "seconds", "minutes", "hours", "days"])
@pytest.mark.parametrize("generation", ["five", "six"])
def test_bug_02_every_unit_of_a_schedule_reaches_the_host(make_call, generation, unit):
    us = {"milliseconds": 1_000, "seconds": 10**6, "minutes": 60 * 10**6, "hours": 3600 * 10**6, "days": 86400 * 10**6}
    at = {"in": {unit: 60_000}}
    (call,), _ = make_call(generation, "acts-schedule", "echo-schedule", [at, "x"], OTHER)
    assert call.schedule_at == In(60_000 * us[unit])
    more = [None, None] if generation == "five" else []
    (call,), _ = make_call(generation, "support", "schedule-json", [{"id": OTHER}, at, FUNCTION, "[]", *more], DONE)
    assert call.schedule_at == In(60_000 * us[unit])


def test_a_schedule_beyond_the_calendar_is_a_misuse(linked):
    entry = linked["six"].entries["testing:calls-six/acts-schedule.echo-schedule"]
    guest = WorkflowGuest(entry)
    step = guest.start(Json(b'[{"in":{"days":4294967295}},"x"]'))
    guest.close()
    assert step.call == Misuse("the schedule lies beyond the year 9999")


def test_both_generations_stand_side_by_side(calling_components, testing_components, loader, linked):
    """As one deployment: with the activity and the stub that they call."""
    activity = link_activity(loader.load(testing_components.activity))
    stubs = loader.load_wit(calling_components.stubs)
    functions = executables(stubs.wit)
    assert list(functions) == [DECIDE] and functions[DECIDE].outcomes.form is ErrForm.STRING
    for generation in ("five", "six", "older"):
        components = [
            Component("acts", FunctionKind.ACTIVITY, activity.component.wit),
            Component("stubs", FunctionKind.STUB, stubs.wit),
            Component("calls", FunctionKind.WORKFLOW, linked[generation].component.wit),
        ]
        assert check(components) == ()
