"""What imports mean, without a guest: the corners that the fixtures do not reach."""

import pytest

from obelisk.core.calls import (
    DONE,
    AllProcessed,
    AwaitNext,
    CallJson,
    ChildDone,
    Conflict,
    CurrentExecutionId,
    DelayCancelled,
    ExecutionNotFound,
    FunctionMismatch,
    FunctionNotFound,
    GenerateExecutionId,
    GetJson,
    InvalidName,
    JoinNext,
    JoinNextTry,
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
    StubJson,
    SubmitDelay,
    SubmitJson,
    TypeCheckError,
    WokenAt,
)
from obelisk.core.instants import INSTANT_MAX, At, In, Instant, Now
from obelisk.core.names import InterfaceName
from obelisk.core.ports import FunctionKind
from obelisk.core.values import Err, ErrForm, Failure, FailureKind, Json, Ok
from obelisk.wasm.calls import Immediate, ReplyMismatch, UnknownImport, meaning_of
from obelisk.wit.component import Function, Interface
from obelisk.wit.extensions import ExtensionKind, extension_function, extension_interfaces
from obelisk.wit.host import (
    BORROWED_JOIN_SET_5,
    EXECUTION_FAILURE_KIND,
    HOST_INTERFACES,
    JOIN_SETS,
    JOIN_SETS_5,
    WORKFLOW_SUPPORT,
    WORKFLOW_SUPPORT_6,
    WORKFLOW_SUPPORT_BACKTRACE_6,
)
from obelisk.wit.types import Prim, Result, Signature, Variant

ERROR = Variant((("bad", Prim.U8), ("execution-failed", None)))
WORK = Function("work", Signature((("n", Prim.U8), ("s", Prim.STRING)), Result(Prim.U64, ERROR)))
BASE = Interface(InterfaceName("some:pkg/ifc@1.2.3"), (WORK,))
EXT, SCHEDULE = extension_interfaces(BASE, FunctionKind.ACTIVITY)
STUBS = extension_interfaces(BASE, FunctionKind.STUB)[1]
FFQN = "some:pkg/ifc@1.2.3.work"
CHILD = "E_01K42AJA8QHD7D3GTJAYMASFYZ.g:1_1"
DELAY = "Delay_01K42AJA8QHD7D3GTJAYMASFYZ.g:1_1"
YEAR_10000_S = INSTANT_MAX // 1_000_000 + 1


ROOT = "E_01K42AJA8QHD7D3GTJAYMASFYZ"
FUNCTION = ("some:pkg/ifc@1.2.3", "work")


def host(name, interface=None):
    if interface is None:
        interface = JOIN_SETS if name.startswith("[") else WORKFLOW_SUPPORT
    return meaning_of(Interface(interface), HOST_INTERFACES[interface].function(name))


def six(name):
    return host(name, WORKFLOW_SUPPORT_6)


def ext(kind):
    interface = {"schedule": SCHEDULE, "stub": STUBS}.get(kind, EXT)
    return meaning_of(interface, interface.function(f"work-{kind}"))


def shown(call):
    """Raw JSON is not equal to its bytes: calls as their fields."""
    return {
        name: bytes(v) if isinstance(v, Json) else v
        for name, v in ((n, getattr(call, n)) for n in call.__struct_fields__)
    }


def test_every_function_of_the_host_has_a_meaning():
    for interface in HOST_INTERFACES.values():
        for function in interface.functions:
            assert meaning_of(Interface(interface.name), function)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("obelisk:workflow/workflow-support@5.0.0", WORKFLOW_SUPPORT),
        ("obelisk:types/join-set@4.0.0", JOIN_SETS),
        ("obelisk:types/join-set@4.1.0", JOIN_SETS),
    ],
)
def test_older_versions_mean_the_same(older, newer):
    for function in HOST_INTERFACES[newer].functions:
        assert meaning_of(Interface(older), function) is meaning_of(Interface(newer), function)


def test_versions_and_packages_stay_in_the_name_of_the_function():
    call = ext("submit").call(("n:batch", 7, "é"))
    assert (call.join_set, call.ffqn, bytes(call.params)) == ("n:batch", FFQN, '[7,"é"]'.encode())
    assert ext("await-next").call(("g:1",)) == AwaitNext("g:1", FFQN)
    direct = meaning_of(BASE, WORK).call((7, "x"))
    assert (direct.ffqn, direct.label) == (FFQN, None)
    invoked = ext("invoke").call(("label", 7, "x"))
    assert (invoked.ffqn, bytes(invoked.params), invoked.label) == (FFQN, b'[7,"x"]', "label")


@pytest.mark.parametrize(
    ("outcome", "value"),
    [
        (Ok(Json(b"5")), (True, 5)),
        (Err(Json(b'{"bad":3}')), (False, (0, 3))),
        (Failure(FailureKind.CANCELLED), (False, (1, None))),
    ],
)
def test_outcomes_in_each_place_they_appear(outcome, value):
    assert meaning_of(BASE, WORK).result(outcome) == value
    assert ext("invoke").result(outcome) == (True, value)
    assert ext("get").result(outcome) == (True, value)
    assert ext("await-next").result(ChildDone(CHILD, outcome)) == (True, ((CHILD,), value))


def test_a_mismatch_in_both_places():
    mismatch = FunctionMismatch(FFQN, "other:pkg/ifc.run", CHILD, is_delay=False)
    value = (("some:pkg/ifc@1.2.3", "work"), (("other:pkg/ifc", "run"),), (0, (CHILD,)))
    assert ext("await-next").result(mismatch) == (False, (1, value))
    assert ext("get").result(mismatch) == (False, (0, value))
    of_delay = FunctionMismatch(FFQN, None, DELAY, is_delay=True)
    assert ext("await-next").result(of_delay) == (False, (1, (value[0], None, (1, (DELAY,)))))


@pytest.mark.parametrize(
    ("value", "schedule"),
    [
        ((0, None), Now()),
        ((1, (1, 999)), At(Instant(1_000_000))),
        ((1, (1, 1_000)), At(Instant(1_000_001))),
        ((1, (YEAR_10000_S - 1, 999_999_999)), At(INSTANT_MAX)),
        ((2, (0, 5)), In(5_000)),
        ((2, (1, 5)), In(5_000_000)),
        ((2, (2, 5)), In(300_000_000)),
        ((2, (3, 5)), In(18_000_000_000)),
        ((2, (4, 5)), In(432_000_000_000)),
    ],
)
def test_schedules(value, schedule):
    assert host("sleep").call((value,)) == Sleep(schedule)
    assert host("submit-delay").call(("g:1", value)) == SubmitDelay("g:1", schedule)
    assert host("[method]join-set.submit-delay").call(("g:1", value)) == SubmitDelay("g:1", schedule)


@pytest.mark.parametrize(
    "value", [(1, (YEAR_10000_S, 0)), (1, (2**64 - 1, 2**32 - 1)), (2, (0, 2**64 - 1)), (2, (4, 2**32 - 1))]
)
def test_a_schedule_beyond_the_year_9999_is_a_misuse(value):
    assert host("sleep").call((value,)) == Misuse("the schedule lies beyond the year 9999")
    assert host("submit-delay").call(("g:1", value)) == Misuse("the schedule lies beyond the year 9999")


def test_random_ranges():
    assert host("random-u64").call((3, 4)) == RandomU64(3, 3)
    assert host("random-u64").call((0, 2**64 - 1)) == RandomU64(0, 2**64 - 2)
    assert host("random-u64-inclusive").call((0, 2**64 - 1)) == RandomU64(0, 2**64 - 1)
    assert host("random-string").call((0, 1)) == RandomString(0, 1)
    for name, empty in (("random-u64", (4, 4)), ("random-u64-inclusive", (5, 4)), ("random-string", (3, 3))):
        assert isinstance(host(name).call(empty), Misuse)


def test_replies_of_the_host():
    assert host("sleep").result(WokenAt(1_500_000)) == (True, (1, 500_000_000))
    assert host("sleep").result(DelayCancelled()) == (False, None)
    named = host("join-set-create-named")
    assert named.call(("a",)) == JoinSetCreate("a")
    assert named.result("n:a") == (True, "n:a")
    assert named.result(Conflict()) == (False, (0, None))
    assert named.result(InvalidName("why")) == (False, (1, "why"))
    for name in ("join-next", "[method]join-set.join-next"):
        assert host(name).call(("g:1",)) == JoinNext("g:1")
        assert host(name).result(MemberDone(CHILD, is_delay=False, ok=False)) == (True, ((0, (CHILD,)), (False, None)))
        assert host(name).result(MemberDone(DELAY, is_delay=True, ok=True)) == (True, ((1, (DELAY,)), (True, None)))
        assert host(name).result(AllProcessed()) == (False, (0, None))
    tried = host("join-next-try")
    assert tried.call(("g:1",)) == JoinNextTry("g:1")
    assert tried.result(MemberDone(CHILD, is_delay=False, ok=True)) == (True, ((0, (CHILD,)), (True, None)))
    assert tried.result(MemberDone(DELAY, is_delay=True, ok=False)) == (True, ((1, (DELAY,)), (False, None)))
    assert tried.result(AllProcessed()) == (False, (0, None))
    assert tried.result(NoneYet()) == (False, (1, None))
    assert ext("submit").result(CHILD) == (CHILD,)
    assert host("[method]join-set.id").call(("g:1",)) == Immediate("g:1")
    assert host("[method]join-set.id", JOIN_SETS_5).call(("g:1",)) == Immediate("g:1")


# --- how the callee declares errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("err", "form"), [(None, ErrForm.NONE), (Prim.STRING, ErrForm.STRING), (ERROR, ErrForm.VARIANT)]
)
def test_calls_say_how_their_callee_declares_errors(err, form):
    function = Function("work", Signature((("n", Prim.U8),), Result(Prim.U64, err)))
    base = Interface(BASE.name, (function,))
    (of_base, _) = extension_interfaces(base, FunctionKind.ACTIVITY)
    assert meaning_of(base, function).call((7,)).form is form
    assert meaning_of(of_base, of_base.function("work-invoke")).call(("label", 7)).form is form
    submit = of_base.function("work-submit")
    later = Interface(
        of_base.name,
        (extension_function(function, ExtensionKind.AWAIT_NEXT, join_set=BORROWED_JOIN_SET_5),),
    )
    for known in (base, later, *(Interface(of_base.name, (each,)) for each in of_base.functions if each != submit)):
        other = Interface(
            "some:pkg/other", (Function("work", Signature((), Result(None, None if err else Prim.STRING))),)
        )
        others = (other, *extension_interfaces(other, FunctionKind.ACTIVITY))
        call = meaning_of(Interface(of_base.name, (submit,)), submit, (*others, known)).call(("g:1", 7))
        assert call.form is form
        assert shown(call) == {"join_set": "g:1", "ffqn": FFQN, "params": b"[7]", "form": form}


# --- both generations ------------------------------------------------------------------------------------------------


def test_the_id_is_not_beside_a_result_that_is_awaited_with_later_types():
    function = extension_function(WORK, ExtensionKind.AWAIT_NEXT, join_set=BORROWED_JOIN_SET_5)
    meaning = meaning_of(Interface(EXT.name, (function,)), function)
    assert meaning.call(("g:1",)) == AwaitNext("g:1", FFQN)
    assert meaning.result(ChildDone(CHILD, Ok(Json(b"5")))) == (True, (True, 5))
    assert meaning.result(ChildDone(CHILD, Failure(FailureKind.CANCELLED))) == (True, (False, (1, None)))
    assert meaning.result(AllProcessed()) == (False, (0, None))
    assert meaning.result(FunctionMismatch(FFQN, None, DELAY, is_delay=True))[1][0] == 1


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        (MemberDone(CHILD, False, True, Ok(Json(b"[1]"))), (True, ("[1]",))),
        (MemberDone(CHILD, False, True, Ok()), (True, None)),
        (MemberDone(CHILD, False, False, Err(Json(b"3"))), (False, ("3",))),
        (MemberDone(CHILD, False, False, Failure(FailureKind.CANCELLED)), (False, None)),
        (
            MemberDone(CHILD, False, False, Failure(FailureKind.CANCELLED), ErrForm.STRING),
            (False, ('"execution-failed"',)),
        ),
        (
            MemberDone(CHILD, False, False, Failure(FailureKind.CANCELLED), ErrForm.VARIANT),
            (False, ('"execution_failed"',)),
        ),
        (MemberDone(DELAY, True, True), (True, None)),
        (MemberDone(DELAY, True, False), (False, None)),
    ],
)
def test_join_next_of_workflow_6_gives_the_value_itself(reply, value):
    assert six("join-next").call(("g:1",)) == JoinNext("g:1")
    assert six("join-next-try").call(("g:1",)) == JoinNextTry("g:1")
    for name in ("join-next", "join-next-try"):
        assert six(name).result(reply) == (True, value)
        assert six(name).result(AllProcessed()) == (False, (0, None))
    assert six("join-next-try").result(NoneYet()) == (False, (1, None))


def test_sleeps_have_names():
    for meaning, more in ((six("sleep"), ()), (host("sleep-named-bt"), (None,))):
        assert meaning.call(((0, None), None, *more)) == Sleep(Now())
        assert meaning.call(((2, (1, 5)), ("nap",), *more)) == Sleep(In(5_000_000), "nap")
        assert meaning.call(((1, (YEAR_10000_S, 0)), ("nap",), *more)) == Misuse(
            "the schedule lies beyond the year 9999"
        )
        assert meaning.result(WokenAt(1_500_000)) == (True, (1, 500_000_000))
        assert meaning.result(DelayCancelled()) == (False, None)


def test_who_was_last():
    last = host("[method]join-set.last-id", JOIN_SETS_5)
    assert last.call(("g:1",)) == LastOfSet("g:1")
    for meaning in (last, six("last-oneoff-id")):
        assert meaning.result(MemberId(CHILD, False)) == ((0, (CHILD,)),)
        assert meaning.result(MemberId(DELAY, True)) == ((1, (DELAY,)),)
        assert meaning.result(NoneYet()) is None
    assert six("last-oneoff-id").call(()) == LastOneOff()
    direct = six("last-direct-call-id")
    assert direct.call(()) == LastDirectCall()
    assert direct.result(MemberId(CHILD, False)) == ((CHILD,),)
    assert direct.result(NoneYet()) is None


ARGUMENTS = {
    "random-u64": (3, 4),
    "random-u64-inclusive": (3, 3),
    "random-string": (0, 5),
    "sleep": ((0, None),),
    "join-set-create": (),
    "join-set-create-named": ("a",),
    "join-set-close": ("g:1",),
    "submit-json": ("g:1", FUNCTION, "[]", None),
    "get-result-json": ((CHILD,),),
    "submit-delay": ("g:1", (0, None)),
    "join-next": ("g:1",),
    "join-next-try": ("g:1",),
}
ARGUMENTS_6 = {
    **{name: arguments for name, arguments in ARGUMENTS.items() if name != "get-result-json"},
    "sleep": ((0, None), ("nap",)),
    "submit-json": ("g:1", FUNCTION, "[]"),
    "execution-id-generate": (),
    "schedule-json": ((ROOT,), (0, None), FUNCTION, "[]"),
    "call-json": (FUNCTION, "[]"),
    "stub-json": ((CHILD,), '{"ok":null}'),
}


@pytest.mark.parametrize("backtrace", [None, ((([("m", "f", [(None, ("a.js",), (3,), None)])]),),)])
def test_backtraces_are_taken_and_change_nothing(backtrace):
    five = HOST_INTERFACES[WORKFLOW_SUPPORT].functions
    twins = {function.name for function in five if function.name.endswith("-bt")} - {"sleep-named-bt"}
    assert twins == {f"{name}-bt" for name in ARGUMENTS}
    assert {function.name for function in HOST_INTERFACES[WORKFLOW_SUPPORT_BACKTRACE_6].functions} == set(ARGUMENTS_6)
    for plain, twin, arguments in [
        *((host(name), host(f"{name}-bt"), arguments) for name, arguments in ARGUMENTS.items()),
        *((six(name), host(name, WORKFLOW_SUPPORT_BACKTRACE_6), arguments) for name, arguments in ARGUMENTS_6.items()),
    ]:
        called = plain.call(arguments)
        assert not isinstance(called, (Immediate, Misuse))
        again = twin.call((*arguments, backtrace))
        assert type(again) is type(called) and shown(again) == shown(called)
        assert twin.result is plain.result


def test_ids_that_are_asked_for():
    for meaning, arguments in ((host("execution-id-generate"), (None,)), (six("execution-id-generate"), ())):
        assert meaning.call(arguments) == GenerateExecutionId()
        assert meaning.result(ROOT) == (ROOT,)
    for meaning in (host("execution-id-current"), six("execution-id-current")):
        assert meaning.call(()) == CurrentExecutionId()
        assert meaning.result(CHILD) == (CHILD,)


# --- calls in JSON ---------------------------------------------------------------------------------------------------

IN_5_SECONDS = (2, (1, 5))
WITH_TIMEOUT = (((IN_5_SECONDS[1],),),)
"""some(submit-config { timeout: some(seconds(5)) })"""


def json_calls(params, config=()):
    """Each call that takes a function and its parameters as JSON, in both generations."""
    for generation, more in ((host, (config or None,)), (six, ())):
        backtrace = (None,) if generation is host else ()
        yield generation("call-json"), (FUNCTION, params, *more, *backtrace)
        yield generation("submit-json"), ("g:1", FUNCTION, params, *more)
        yield generation("schedule-json"), ((ROOT,), IN_5_SECONDS, FUNCTION, params, *more, *backtrace)


def test_parameters_in_json_are_handed_over_in_normal_form():
    types = []
    for meaning, arguments in json_calls(' [ 7.0, {"b" : "\\u0041", "a":null} ] '):
        call = meaning.call(arguments)
        types.append(type(call))
        fields = shown(call)
        assert (fields.pop("ffqn"), fields.pop("params")) == (FFQN, b'[7.0,{"b":"A","a":null}]')
        assert fields.pop("timeout_us") is None
        assert (
            fields
            == {
                CallJson: {},
                SubmitJson: {"join_set": "g:1"},
                ScheduleJson: {"execution_id": ROOT, "schedule_at": In(5_000_000)},
            }[type(call)]
        )
    assert types == [CallJson, SubmitJson, ScheduleJson] * 2


@pytest.mark.parametrize(
    ("config", "timeout_us"),
    [
        ((((None,),),), None),
        ((((((0, 1),),),),), 1_000),
        ((((((1, 5),),),),), 5_000_000),
        ((((((4, 36_600),),),),), 36_600 * 86_400_000_000),
    ],
)
def test_a_timeout_of_a_child(config, timeout_us):
    calls = [meaning.call(arguments) for meaning, arguments in json_calls("[]", config[0])]
    assert [call.timeout_us for call in calls] == [timeout_us] * 3 + [None] * 3


@pytest.mark.parametrize("duration", [(0, 0), (4, 0), (4, 36_601), (0, 2**64 - 1), (4, 2**32 - 1)])
def test_a_timeout_of_nothing_or_of_centuries_is_told(duration):
    calls = [meaning.call(arguments) for meaning, arguments in json_calls("[]", ((((duration,),),),)[0])]
    for call in calls[:3]:
        ok, (case, message) = call.value
        assert (ok, case) == (False, 2)
        assert message.startswith("timeout: expected more than nothing and at most 100 years, got ")


@pytest.mark.parametrize("params", ["", "[", "{}", "7", '"[]"', '[{"a":1,"a":2}]', "[1e400]"])
def test_parameters_that_are_no_json_array_are_answered_on_the_spot(params):
    for meaning, arguments in json_calls(params):
        ok, (case, message) = meaning.call(arguments).value
        assert (ok, case) == (False, 2)
        assert message


@pytest.mark.parametrize(
    "function",
    [("", ""), ("no-interface", "work"), ("a:b/c", ""), ("a:b/c", "no.dot"), ("a:b/c@", "f"), ("A_:b/c", "f")],
)
def test_a_function_name_that_does_not_parse_is_answered_on_the_spot(function):
    for meaning, arguments in json_calls("[]"):
        swapped = tuple(function if argument is FUNCTION else argument for argument in arguments)
        ok, (case, message) = meaning.call(swapped).value
        assert (ok, case) == (False, 0)
        assert (
            message
            == f"{function[0]}.{function[1]} is not a function name; expected namespace:package/interface.function"
        )


def test_schedule_json_takes_top_level_ids_and_says_so_as_a_type_error():
    """Bug 14 of the original: it was reported as a function name that does not parse."""
    calls = [pair for pair in json_calls("[]") if pair[1][0] == (ROOT,)]
    assert len(calls) == 2
    for meaning, arguments in calls:
        for text, why in (("E_1", "is not an execution id"), (CHILD, "is the id of a child"), ("", "is not an")):
            ok, (case, message) = meaning.call(((text,), *arguments[1:])).value
            assert (ok, case) == (False, 2)
            assert why in message
        too_late = ((ROOT,), (2, (4, 2**32 - 1)), *arguments[2:])
        assert meaning.call(too_late) == Misuse("the schedule lies beyond the year 9999")


@pytest.mark.parametrize("generation", [host, six])
def test_replies_to_calls_in_json(generation):
    called = generation("call-json")
    assert called.result(JsonDone(Ok(Json(b"5")), ErrForm.NONE)) == (True, (True, ("5",)))
    assert called.result(JsonDone(Ok(), ErrForm.NONE)) == (True, (True, None))
    assert called.result(JsonDone(Err(Json(b'"no"')), ErrForm.STRING)) == (True, (False, ('"no"',)))
    failure = Failure(FailureKind.TIMED_OUT)
    assert called.result(JsonDone(failure, ErrForm.STRING)) == (True, (False, ('"execution-failed"',)))
    submitted = generation("submit-json")
    assert submitted.result(CHILD) == (True, (CHILD,))
    scheduled = generation("schedule-json")
    assert scheduled.result(DONE) == (True, None)
    for meaning in (called, submitted, scheduled):
        assert meaning.result(FunctionNotFound()) == (False, (1, None))
        assert meaning.result(TypeCheckError("why")) == (False, (2, "why"))


@pytest.mark.parametrize("generation", [host, six])
def test_results_in_json(generation):
    got = generation("get-result-json")
    assert got.call(((CHILD,),)) == GetJson(CHILD)
    assert got.result(JsonDone(Ok(Json(b"[]")), ErrForm.NONE)) == (True, (True, ("[]",)))
    assert got.result(JsonDone(Failure(FailureKind.CANCELLED), ErrForm.VARIANT)) == (
        True,
        (False, ('"execution_failed"',)),
    )
    assert got.result(NotProcessed()) == (False, (1, None))
    ok, (case, message) = got.call((("nonsense",),)).value
    assert (ok, case) == (False, 0) and "'nonsense' is not an execution id" in message


def test_the_kind_of_a_failure():
    kind = six("get-execution-failure-kind")
    assert kind.call(((CHILD,),)) == GetJson(CHILD)
    for each in FailureKind:
        ((index,),) = (kind.result(JsonDone(Failure(each), ErrForm.NONE))[1],)
        assert EXECUTION_FAILURE_KIND.names[index] == each.value.replace("_", "-")
    assert kind.result(JsonDone(Ok(), ErrForm.NONE)) == (True, None)
    assert kind.result(JsonDone(Err(), ErrForm.NONE)) == (True, None)
    assert kind.result(NotProcessed()) == (False, (1, None))
    assert kind.call((("",),)).value[1][0] == 0


# --- schedule and stub -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "schedule"),
    [
        ((0, None), Now()),
        ((1, (1, 0)), At(Instant(1_000_000))),
        ((2, (0, 1)), In(1_000)),
        ((2, (2, 1)), In(60_000_000)),
        ((2, (3, 1)), In(3_600_000_000)),
        ((2, (4, 1)), In(86_400_000_000)),
        ((2, (4, 49_711)), In(49_711 * 86_400_000_000)),
    ],
)
def test_bug_02_every_unit_of_a_schedule_works_and_many_days_do_not_overflow(at, schedule):
    call = ext("schedule").call((at, 7, "x"))
    assert type(call) is Schedule
    assert shown(call) == {"ffqn": FFQN, "params": b'[7,"x"]', "schedule_at": schedule}
    for generation, more in ((host, (None, None)), (six, ())):
        assert generation("schedule-json").call(((ROOT,), at, FUNCTION, "[]", *more)).schedule_at == schedule


def test_schedule_replies_with_the_new_id():
    assert ext("schedule").result(ROOT) == (ROOT,)
    assert ext("schedule").call(((2, (0, 2**64 - 1)), 7, "x")) == Misuse("the schedule lies beyond the year 9999")


def test_stub_gives_the_outcome_that_the_function_would_return():
    stub = ext("stub")
    for value, outcome in (
        ((True, 5), Ok(Json(b"5"))),
        ((False, (0, 3)), Err(Json(b'{"bad":3}'))),
        ((False, (1, None)), Err(Json(b'"execution_failed"'))),
    ):
        call = stub.call(((CHILD,), value))
        assert (call.execution_id, call.ffqn, call.outcome) == (CHILD, FFQN, outcome)
    for reply, value in (
        (DONE, (True, None)),
        (ExecutionNotFound(), (False, (0, None))),
        (TypeCheckError("why"), (False, (1, "why"))),
        (Conflict(), (False, (2, None))),
    ):
        assert stub.result(reply) == value
    for text, why in (("E_1", "is not an execution id"), (ROOT, "is a top-level execution")):
        ok, (case, message) = stub.call(((text,), (True, 5))).value
        assert (ok, case) == (False, 1) and why in message


def test_a_permanent_error_stays_one_when_it_is_given():
    gone = Variant((("permanently-gone", None), ("execution-failed", None)))
    (_, stubs) = extension_interfaces(
        Interface("a:b/c", (Function("f", Signature((), Result(None, gone))),)), FunctionKind.STUB
    )
    call = meaning_of(stubs, stubs.functions[0]).call(((CHILD,), (False, (0, None))))
    assert call.outcome == Err(Json(b'"permanently_gone"'), permanent=True)


@pytest.mark.parametrize(("generation", "more"), [(host, (None,)), (six, ())])
def test_stub_json(generation, more):
    stub = generation("stub-json")
    call = stub.call(((CHILD,), '{ "ok": 5.0 }', *more))
    assert type(call) is StubJson and shown(call) == {"execution_id": CHILD, "result": b'{"ok":5.0}'}
    for reply, value in (
        (DONE, (True, None)),
        (ExecutionNotFound(), (False, (1, None))),
        (TypeCheckError("why"), (False, (2, "why"))),
        (Conflict(), (False, (3, None))),
    ):
        assert stub.result(reply) == value
    for text, why in (("E_1", "is not an execution id"), (ROOT, "is a top-level execution")):
        ok, (case, message) = stub.call(((text,), '{"ok":null}', *more)).value
        assert (ok, case) == (False, 0) and why in message
    for result in ("", "5", '{"ok":1,"err":1}', '{"fine":1}', "[]"):
        ok, (case, message) = stub.call(((CHILD,), result, *more)).value
        assert (ok, case) == (False, 2) and message


# --- what cannot be --------------------------------------------------------------------------------------------------

ANSWERED_WITH_SOMETHING = [
    meaning_of(BASE, WORK),
    *map(ext, ("submit", "await-next", "get", "invoke", "schedule")),
    *(
        meaning_of(Interface(interface.name), function)
        for interface in HOST_INTERFACES.values()
        for function in interface.functions
        if "log" not in interface.name
        and not function.name.startswith(("join-set-close", "schedule-json", "stub-json", "[method]join-set.id"))
    ),
]


@pytest.mark.parametrize("meaning", ANSWERED_WITH_SOMETHING)
def test_a_reply_of_another_call_is_a_bug_that_is_named(meaning):
    with pytest.raises(ReplyMismatch, match="was answered"):
        meaning.result(DONE)


@pytest.mark.parametrize("meaning", [ext("stub"), *(g(n) for g in (host, six) for n in ("schedule-json", "stub-json"))])
def test_so_is_one_of_a_call_that_is_only_done(meaning):
    with pytest.raises(ReplyMismatch, match="was answered"):
        meaning.result(AllProcessed())


def test_what_nobody_supplies():
    for interface, function in (
        (Interface(SCHEDULE.name), Function("work-submit", WORK.signature)),
        (Interface(EXT.name), Function("work", WORK.signature)),
        (Interface("obelisk:types/join-set@4.2.0"), Function("[method]join-set.other", WORK.signature)),
        (Interface(JOIN_SETS), HOST_INTERFACES[JOIN_SETS_5].function("[method]join-set.last-id")),
        (Interface(WORKFLOW_SUPPORT_6), HOST_INTERFACES[WORKFLOW_SUPPORT].function("sleep-bt")),
        (Interface("obelisk:workflow/workflow-support@7.0.0"), HOST_INTERFACES[WORKFLOW_SUPPORT].function("sleep")),
        (Interface("obelisk:unknown/ifc@1.0.0"), WORK),
    ):
        with pytest.raises(UnknownImport, match="is not supplied to workflows"):
            meaning_of(interface, function)
