"""Workflows as guests: what they call, what they are told, and in which order."""

import pytest

from obelisk.core.calls import (
    DONE,
    AllProcessed,
    AwaitNext,
    CallChild,
    ChildDone,
    Conflict,
    CurrentExecutionId,
    FunctionMismatch,
    Get,
    InvalidName,
    JoinNext,
    JoinSetClose,
    JoinSetCreate,
    Log,
    LogLevel,
    MemberDone,
    Misuse,
    NotProcessed,
    RandomString,
    RandomU64,
    Sleep,
    Submit,
    SubmitDelay,
    WokenAt,
)
from obelisk.core.instants import In
from obelisk.core.ports import Called, Guest, Returned, Trapped, Yielded
from obelisk.core.values import Err, ErrForm, Failure, FailureKind, Json, Ok
from obelisk.wasm.calls import ReplyMismatch
from obelisk.wasm.component import ComponentLoader
from obelisk.wasm.engine import EngineConfig, Engines
from obelisk.wasm.fiber import FiberMisuse
from obelisk.wasm.guest import PoolIsFull, WorkflowGuest
from obelisk.wasm.link import link_workflow

ROOT = "E_01K42AJA8QHD7D3GTJAYMASFYZ"
CHILD = f"{ROOT}.g:1_1"
CREATE, DROP, CLOSE, ID, NEXT, RANDOM, LOG, TRAP, SPIN, ERR = range(10)


def params(*values):
    return Json(("[" + ",".join(values) + "]").encode())


def steps(*bytes_):
    return params(str(list(bytes_)).replace(" ", ""))


def text(raw):
    return bytes(raw).decode()


@pytest.fixture
def scripted(script):
    """A guest of fixtures/script.wat; closed at the end."""
    guest = WorkflowGuest(script)
    yield guest
    guest.close()


@pytest.fixture
def flow(flows, drive):
    """Runs a function of testing:workflow/flows; gives its calls and how it ended."""

    def run(name, arguments=(), **replies):
        by_type = {
            Submit: CHILD,
            JoinSetCreate: "g:1",
            JoinSetClose: DONE,
            **{globals()[k]: v for k, v in replies.items()},
        }
        return drive(WorkflowGuest(flows[name]), params(*arguments), by_type)

    return run


def as_port(guest: WorkflowGuest) -> Guest:
    """mypy checks that a workflow's guest is what the engine asks for."""
    return guest


def test_it_is_a_guest(scripted):
    port = as_port(scripted)
    step = port.start(steps(RANDOM, 9))
    assert step == Called(RandomU64(0, 8))
    step = port.send(5)
    assert isinstance(step, Returned) and text(step.outcome.value) == "5"


def test_a_direct_call_carries_canonical_parameters_and_its_outcome_comes_back(fibo_components, loader, drive):
    entries = link_workflow(loader.load(fibo_components.workflow)).entries
    guest = WorkflowGuest(entries["template-fibo:workflow/fibo-workflow-ifc.fiboa"])
    calls, step = drive(guest, params("10", "3"), {CallChild: Ok(Json(b"89"))})
    assert [(call.ffqn, text(call.params), call.label) for call in calls] == [
        ("template-fibo:activity/fibo-activity-ifc.fibo", "[10]", None)
    ] * 3
    assert isinstance(step, Returned) and text(step.outcome.value) == "89"


@pytest.mark.parametrize(
    ("reply", "seen"),
    [
        (Ok(Json(b"7")), (Ok, "7")),
        (Err(Json(b'"broken"')), (Err, '"broken"')),
        (Failure(FailureKind.TIMED_OUT), (Err, '"execution-failed"')),
    ],
)
def test_a_failure_is_projected_into_the_declared_error(flow, reply, seen):
    calls, step = flow("calls-fail", ("4",), CallChild=reply)
    assert text(calls[0].params) == "[4]"
    assert (type(step.outcome), text(step.outcome.value)) == seen


def test_a_failure_without_declared_error_is_a_bare_err(flow):
    _, step = flow("calls-trap", CallChild=Failure(FailureKind.CANCELLED))
    assert step == Returned(Err())


def test_dropped_handles_are_heard_before_the_next_call_and_before_the_return(scripted):
    step = scripted.start(steps(CREATE, 0, CREATE, 1, CREATE, 2, DROP, 1, DROP, 0, RANDOM, 9, DROP, 2))
    heard = []
    replies = iter(["g:1", "g:2", "g:3", DONE, DONE, 4, DONE])
    while isinstance(step, Called):
        heard.append(step.call)
        step = scripted.send(next(replies))
    assert heard == [
        *[JoinSetCreate()] * 3,
        JoinSetClose("g:2"),
        JoinSetClose("g:1"),
        RandomU64(0, 8),
        JoinSetClose("g:3"),
    ]
    assert isinstance(step, Returned) and text(step.outcome.value) == "4"


@pytest.mark.parametrize("after", [(LOG, 0), (ID, 1), (10, 0), (CLOSE, 1), (NEXT, 1)], ids=str)
def test_a_drop_comes_before_a_call_of_any_kind(scripted, after):
    scripted.start(steps(CREATE, 0, CREATE, 1, DROP, 0, *after))
    scripted.send("g:1")
    assert scripted.send("g:2") == Called(JoinSetClose("g:1"))


def test_an_explicit_close_is_one_close(scripted):
    scripted.start(steps(CREATE, 0, CLOSE, 0))
    assert scripted.send("g:1") == Called(JoinSetClose("g:1"))
    assert isinstance(scripted.send(DONE), Returned)


def test_a_handle_that_is_kept_closes_nothing_here(scripted):
    scripted.start(steps(CREATE, 0))
    assert isinstance(scripted.send("g:1"), Returned)


def test_drops_before_a_trap_are_not_heard(scripted):
    scripted.start(steps(CREATE, 0, DROP, 0, TRAP, 0))
    assert isinstance(scripted.send("g:1"), Trapped)


def test_a_drop_survives_a_yield(script, ticking):
    guest = WorkflowGuest(script)
    step = guest.start(steps(CREATE, 0, DROP, 0, SPIN, 0))
    while isinstance(step, Yielded):  # before the call: a tick may come at any time
        step = guest.resume()
    assert isinstance(guest.send("g:1"), Yielded)
    assert isinstance(guest.resume(), Yielded)
    guest.close()


def test_the_id_of_a_join_set_is_known_without_asking(flow):
    calls, step = flow("named", ('"batch"',), JoinSetCreate="n:batch")
    assert calls[0] == JoinSetCreate("batch")
    assert text(step.outcome.value) == '"n:batch"'


def test_join_set_names_may_be_refused(flow):
    _, step = flow("named", ('"a b"',), JoinSetCreate=InvalidName("no spaces"))
    assert (type(step.outcome), text(step.outcome.value)) == (Err, '"no spaces"')
    replies = iter(["n:same", Conflict()])
    _, step = flow("named-conflict", JoinSetCreate=lambda _: next(replies))
    assert text(step.outcome.value) == '"conflict"'


def test_submit_await_get(flow):
    done = ChildDone(CHILD, Ok(Json(b'"got"')))
    calls, step = flow("get", AwaitNext=done, Get=Ok(Json(b'"got"')))
    ffqn = "testing:activity/acts.echo"
    assert [type(call) for call in calls] == [JoinSetCreate, Submit, AwaitNext, JoinSetClose, Get]
    assert (calls[1].join_set, calls[1].ffqn, text(calls[1].params)) == ("g:1", ffqn, '["got"]')
    assert calls[2] == AwaitNext("g:1", ffqn)
    assert calls[4] == Get(CHILD, ffqn)
    assert text(step.outcome.value) == '"got"'
    _, step = flow("get-early", AwaitNext=done, Get=NotProcessed())
    assert (type(step.outcome), text(step.outcome.value)) == (Err, '"not-found"')


def test_too_many_awaits(flow):
    replies = iter([ChildDone(CHILD, Ok(Json(b'"x"'))), AllProcessed()])
    _, step = flow("overawait", AwaitNext=lambda _: next(replies))
    assert (type(step.outcome), text(step.outcome.value)) == (Ok, '"all-processed"')


def test_a_mismatch_names_the_actual_function_or_a_delay(flow):
    fail, echo = "testing:activity/acts.fail", "testing:activity/acts.echo"
    _, step = flow("mismatch", AwaitNext=FunctionMismatch(fail, echo, CHILD, is_delay=False))
    assert (type(step.outcome), text(step.outcome.value)) == (Ok, '"echo"')
    delay = f"Delay_{CHILD[2:]}"
    _, step = flow("mismatch-delay", SubmitDelay=delay, AwaitNext=FunctionMismatch(fail, None, delay, is_delay=True))
    assert (type(step.outcome), text(step.outcome.value)) == (Ok, '"delay"')


def test_invoke_carries_its_label(flow):
    calls, step = flow("invoke", ('"label"',), CallChild=Ok(Json(b'"invoked"')))
    assert calls == [CallChild("testing:activity/acts.echo", calls[0].params, "label", ErrForm.STRING)]
    assert text(calls[0].params) == '["invoked"]'
    assert text(step.outcome.value) == '"invoked"'
    _, step = flow("invoke", ('"a b"',), CallChild=InvalidName("no spaces"))
    assert (type(step.outcome), text(step.outcome.value)) == (Err, '"no spaces"')


def test_sleep_returns_the_recorded_instant(flow):
    calls, step = flow("sleeper", ("250",), Sleep=WokenAt(1_700_000_000_123_456))
    assert calls == [Sleep(In(250_000))]
    assert text(step.outcome.value) == "1700000000123"


def test_a_timeout_pattern(flow):
    delay = f"Delay_{ROOT[2:]}.n:timeout_1"
    calls, step = flow(
        "timeout-pattern",
        ("100",),
        JoinSetCreate="n:timeout",
        SubmitDelay=delay,
        JoinNext=MemberDone(delay, is_delay=True, ok=True),
    )
    assert SubmitDelay("n:timeout", In(100_000)) in calls and JoinNext("n:timeout") in calls
    assert text(step.outcome.value) == f'"{delay}"'


def test_random_values(flow):
    calls, step = flow("random", ("2",), RandomU64=3, RandomString="abcde")
    assert calls == [RandomU64(0, 999), RandomU64(1, 6), RandomString(5, 10)] * 2
    assert text(step.outcome.value) == str(2 * (3 + 3 + 5 + sum(b"abcde")))


def test_the_execution_id(flow):
    calls, step = flow("current-id", CurrentExecutionId=ROOT)
    assert calls == [CurrentExecutionId()] and text(step.outcome.value) == f'"{ROOT}"'


def test_log_lines(flow):
    calls, _ = flow("logs", ("5",), Log=DONE)
    levels = [LogLevel.TRACE, LogLevel.DEBUG, LogLevel.INFO, LogLevel.WARN, LogLevel.ERROR]
    assert calls == [Log(level, f"line {number}") for number, level in enumerate(levels)]


def test_an_empty_random_range_is_a_misuse(scripted):
    step = scripted.start(steps(RANDOM, 0))
    assert isinstance(step.call, Misuse) and "empty" in step.call.reason


def test_a_trap_says_why_and_where(scripted):
    step = scripted.start(steps(TRAP, 0))
    assert step.failure.kind is FailureKind.UNCATEGORIZED
    assert step.failure.reason == "workflow trap: wasm trap: wasm `unreachable` instruction executed"
    assert "trap_by_name" in step.failure.detail


LINES = """(module
  (memory (export "memory") 1)
  (func $boom
    unreachable)
  (func (export "testing:lines/lines#go") (result i32)
    call $boom
    i32.const 0))
"""
LINES_WIT = """package any:any;
world lines { export testing:lines/lines; }
package testing:lines { interface lines { go: func() -> result; } }"""


def test_a_trap_carries_source_lines_when_the_component_has_them(core_module, wasm_tools, loader, tmp_path):
    source, path = tmp_path / "lines.wat", tmp_path / "lines.wasm"
    source.write_text(LINES)
    module = core_module(LINES_WIT, "lines", wasm_tools("parse", "-g", source))
    path.write_bytes(wasm_tools("component", "new", "-", given=module))
    guest = WorkflowGuest(link_workflow(loader.load(path)).entries["testing:lines/lines.go"])
    detail = guest.start(params()).failure.detail
    guest.close()
    assert "boom" in detail and "lines.wat:4:5" in detail


def test_returned_errors_and_exhausted_memory(flow, flows):
    _, step = flow("returns-err")
    assert (type(step.outcome), text(step.outcome.value)) == (Err, '"returned by the workflow"')
    guest = WorkflowGuest(flows["hog"], memory_max=4 << 20)
    step = guest.start(params())
    guest.close()
    assert step.failure.reason.startswith("workflow trap: ")


@pytest.mark.parametrize("wrong", ["[]", "[[1],[2]]", "[[256]]", '["a"]', "[null]"])
def test_parameters_that_do_not_fit_end_the_guest_before_it_starts(scripted, wrong):
    step = scripted.start(Json(wrong.encode()))
    assert isinstance(step, Trapped) and "cannot take its parameters" in step.failure.reason


def test_a_component_that_cannot_be_instantiated(script):
    guest = WorkflowGuest(script, memory_max=1 << 16)
    step = guest.start(steps())
    guest.close()
    assert "workflow cannot be instantiated" in step.failure.reason and "memory limits" in step.failure.reason


def test_out_of_fuel_is_its_own_kind(script_path):
    engines = Engines(EngineConfig(fuel=100_000, pool_instances_max=2, pool_memory_max=1 << 20))
    entry = link_workflow(ComponentLoader(engines).load(script_path)).entries["testing:script/script.run"]
    guest = WorkflowGuest(entry)
    step = guest.start(steps(SPIN, 0))
    guest.close()
    assert step.failure.kind is FailureKind.OUT_OF_FUEL


def test_a_full_pool_is_not_the_guests_fault(script_path):
    engines = Engines(EngineConfig(pool_instances_max=1, pool_memory_max=1 << 20))
    entry = link_workflow(ComponentLoader(engines).load(script_path)).entries["testing:script/script.run"]
    first, second = WorkflowGuest(entry), WorkflowGuest(entry)
    first.start(steps(RANDOM, 9))
    with pytest.raises(PoolIsFull):
        second.start(steps(RANDOM, 9))
    second.close()
    first.close()


def test_a_reply_of_the_wrong_kind_leaves_the_call_pending(scripted):
    scripted.start(steps(RANDOM, 9))
    for wrong in ("text", DONE, None, True, AllProcessed()):
        with pytest.raises(ReplyMismatch):
            scripted.send(wrong)
    assert isinstance(scripted.send(3), Returned)


def test_a_reply_without_a_call_is_a_misuse(scripted):
    with pytest.raises(FiberMisuse):
        scripted.send(DONE)
    scripted.start(steps())
    with pytest.raises(FiberMisuse):
        scripted.send(DONE)


def test_the_close_of_a_dropped_handle_is_answered_done(scripted):
    scripted.start(steps(CREATE, 0, DROP, 0))
    scripted.send("g:1")
    with pytest.raises(FiberMisuse):
        scripted.send("g:1")
    assert isinstance(scripted.send(DONE), Returned)
