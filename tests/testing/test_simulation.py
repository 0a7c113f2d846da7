"""`obelisk.testing` as a user has it: Python functions in simulated worlds, right ones and wrong ones."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from obelisk.testing import (
    AllProcessed,
    Conflict,
    ExecutionFailed,
    ExecutionPolicy,
    FunctionMismatch,
    FunctionNotFound,
    InvalidName,
    NotProcessed,
    ResultChanged,
    RetryPolicy,
    ReturnedErr,
    Simulation,
    SimulationFailed,
    TypeCheckError,
    Violation,
)
from obelisk.testing.simulation import ROOT

ECHO, FAIL, DIE, FLAKY = (f"test:acts/acts.{name}" for name in ("echo", "fail", "die", "flaky"))
FLOW, CHILD = "test:flows/flows.flow", "test:flows/flows.child"


@pytest.fixture
def sim():
    sim = Simulation()

    @sim.activity(ECHO)
    def echo(value):
        return value

    @sim.activity(FAIL, policy=ExecutionPolicy(retry=RetryPolicy(max_retries=2, exp_backoff_us=1_000)))
    def fail(value, permanent=False):
        raise ReturnedErr(value, permanent=permanent)

    @sim.activity(DIE, policy=ExecutionPolicy(retry=RetryPolicy(max_retries=1)))
    def die():
        raise RuntimeError("gone")

    @sim.activity(FLAKY)
    def flaky(*, attempt):
        if attempt.number < 3:
            raise RuntimeError(f"attempt {attempt.number} fails")
        return attempt.execution_id

    @sim.workflow(CHILD)
    def child(ctx, value):
        return ctx.call(ECHO, value)

    return sim


def value(sim, flow, *params, seeds=2):
    """The ok result of a workflow that every seed agrees on."""
    sim.workflow(FLOW)(flow)
    result = sim.run(FLOW, params, seeds=seeds).result
    assert list(result) == ["ok"], result
    return result["ok"]


# --- right workflows -------------------------------------------------------------------------------------------------


def test_a_plain_function_and_a_generator_are_the_same_workflow(sim):
    def plain(ctx, n):
        found = [ctx.call(ECHO, n), ctx.random_u64(1, 6), ctx.random_string(3, 9), ctx.call(CHILD, [n])]
        with_set = ctx.create_join_set("batch")
        children = [with_set.submit(ECHO, i) for i in range(n)]
        found.append(sorted(with_set.await_next(ECHO) for _ in children))
        with_set.close()
        ctx.log("closed")
        ctx.compute()
        return found

    def generator(ctx, n):
        found = [(yield ctx.call(ECHO, n)), (yield ctx.random_u64(1, 6)), (yield ctx.random_string(3, 9))]
        found.append((yield ctx.call(CHILD, [n])))
        with_set = yield ctx.create_join_set("batch")
        for i in range(n):
            yield with_set.submit(ECHO, i)
        got = []
        for _ in range(n):
            got += [(yield with_set.await_next(ECHO))]
        found.append(sorted(got))
        yield with_set.close()
        yield ctx.log("closed")
        yield ctx.compute()
        return found

    one, other = value(sim, plain, 3), value(sim, generator, 3)
    assert one == other
    assert one[0] == 3 and one[3] == [3] and 1 <= one[1] <= 6
    assert one[4] == [[f"{ROOT}.n:batch_{i + 1}", i] for i in range(3)]


def test_a_python_workflow_has_what_wasi_gives_a_compiled_one(sim):
    def flow(ctx):
        began, seed = ctx.clock(), ctx.random_seed()
        ctx.print("hello")
        ctx.print("worse", error=True)
        stood_still = ctx.clock() == began
        due = ctx.sleep(5)
        return [stood_still, ctx.clock() >= due >= began + timedelta(seconds=5), seed == ctx.random_seed(), seed]

    assert value(sim, flow)[:3] == [True, True, True]


def test_an_err_of_a_child_is_an_exception_that_may_be_caught(sim):
    def flow(ctx):
        found = []
        for params in (("no",), ("never", True)):
            with pytest.raises(ReturnedErr) as caught:
                ctx.call(FAIL, *params)
            found.append([caught.value.value, caught.value.permanent])
        with pytest.raises(ExecutionFailed) as failed:
            ctx.call(DIE)
        return [*found, failed.value.kind, failed.value.reason]

    assert value(sim, flow) == [["no", False], ["never", True], "uncategorized", "activity trap: RuntimeError: gone"]


def test_an_err_that_is_not_caught_is_the_workflows_own(sim):
    sim.workflow(FLOW)(lambda ctx: ctx.call(FAIL, {"code": 7}))
    assert sim.run(FLOW, seeds=2).result == {"err": {"code": 7}}


def test_anything_else_that_is_not_caught_is_a_trap_with_the_place_where_it_happened(sim):
    @sim.workflow(FLOW)
    def flow(ctx):
        return {}["nothing"]

    failed = sim.run(FLOW, seeds=2).result["execution_failed"]
    assert (failed["kind"], failed["reason"]) == ("uncategorized", "workflow trap: KeyError: 'nothing'")
    assert 'return {}["nothing"]' in failed["detail"] and "functions.py" not in failed["detail"]


def test_an_activity_knows_its_attempt_and_injected_failures_leave_room_for_its_own(sim):
    def flow(ctx):
        return ctx.call(FLAKY)

    assert value(sim, flow, seeds=30) == f"{ROOT}.o:1-flaky_1"


def test_every_answer_that_is_no_value_is_an_exception(sim):
    def flow(ctx):
        found = []

        def refused(error, function, *args):
            with pytest.raises(error):
                function(*args)
            found.append(error.__name__)

        one, other = ctx.create_join_set("one"), ctx.create_join_set()
        refused(Conflict, ctx.create_join_set, "one")
        refused(InvalidName, ctx.create_join_set, "not valid!")
        refused(AllProcessed, one.join_next)
        refused(AllProcessed, one.join_next_try)
        refused(NotProcessed, ctx.get, f"{ctx.execution_id}.n:one_1", ECHO)
        one.submit(ECHO, 1)
        refused(FunctionMismatch, one.await_next, FAIL)
        refused(FunctionNotFound, ctx.call, "test:acts/acts.none")
        refused(TypeCheckError, ctx.call, ECHO)
        other.submit(FAIL, "no", True)
        with pytest.raises(ReturnedErr) as caught:
            other.await_next(FAIL)
        assert caught.value.execution_id == other.last_id() == f"{ctx.execution_id}.g:1_1"
        return found

    assert len(value(sim, flow)) == 8


def test_responses_of_any_kind_are_joined(sim):
    def flow(ctx):
        group = ctx.create_join_set()
        assert group.last_id() is None
        assert ctx.last_direct_call() is None
        child = group.submit(CHILD, "x", timeout=1.5)
        while (first := group.join_next_try()) is None:
            ctx.sleep(0.01)
        delay = group.submit_delay(timedelta(milliseconds=5))
        second = group.join_next()
        assert (first.member, first.is_delay, first.ok, first.result()) == (child, False, True, "x")
        assert (second.member, second.is_delay, second.ok, second.result()) == (delay, True, True, None)
        assert group.last_id() == delay
        assert ctx.get(child, CHILD) == "x"
        assert ctx.call(ECHO, 1, timeout=timedelta(seconds=2)) == 1
        assert ctx.last_direct_call() == ctx.last_one_off()
        assert ctx.call(ECHO, 2, label="mine") == 2
        return ctx.last_direct_call()

    sim.workflow(FLOW)(flow)
    report = sim.run(FLOW, seeds=4, any_result=True)  # how often it asks depends on the time
    assert report.result["ok"].endswith("-mine_1")


def test_time_passes_for_a_workflow_and_for_nobody_else(sim):
    def flow(ctx):
        ctx.sleep(None)
        until = datetime(2030, 1, 1, tzinfo=UTC)
        assert ctx.sleep(until, name="new-year") == until
        return str(ctx.sleep(until) - until)

    assert value(sim, flow, seeds=5) == "0:00:00"


def test_what_is_scheduled_runs_too(sim):
    ran = []
    sim.activity("test:acts/acts.note")(ran.append)

    @sim.workflow(CHILD)
    def child(ctx, what):
        ctx.call("test:acts/acts.note", what)

    def flow(ctx):
        ctx.schedule(CHILD, "later", at=timedelta(hours=1))
        chosen = ctx.generate_execution_id()
        assert ctx.schedule(CHILD, "chosen", execution_id=chosen) == chosen
        return ctx.schedule(CHILD, "chosen", execution_id=chosen) == chosen

    assert value(sim, flow) is True
    assert set(ran) == {"later", "chosen"}


def test_a_stub_is_answered_by_a_client_or_by_a_workflow(sim):
    @sim.stub("test:stubs/stubs.ask")
    def ask(question):
        if question == "bad":
            raise ReturnedErr("refused")
        return f"{question}!"

    sim.stub("test:stubs/stubs.wait")

    def flow(ctx):
        waiting = ctx.create_join_set()
        mine, err = waiting.submit("test:stubs/stubs.wait"), waiting.submit("test:stubs/stubs.wait")
        ctx.stub(mine, {"by": "me"})
        ctx.stub_err(err, "no")
        assert waiting.await_next("test:stubs/stubs.wait") == (mine, {"by": "me"})
        with pytest.raises(ReturnedErr, match=r"^no$"):
            waiting.await_next("test:stubs/stubs.wait")
        with pytest.raises(ReturnedErr, match="refused"):
            ctx.call("test:stubs/stubs.ask", "bad")
        return ctx.call("test:stubs/stubs.ask", "why")

    assert value(sim, flow, seeds=10) == "why!"


def test_every_fault_at_every_commit_of_a_small_workflow(sim):
    sim.workflow(FLOW)(lambda ctx: [ctx.call(ECHO, 1), ctx.call(ECHO, 2)])
    report = sim.run_exhaustively(FLOW)
    assert report.runs >= 1 + 3 * 7
    assert set(report.faults.values()) == {report.runs // 7}
    assert 'ended with {"ok":[1,2]}' in str(report)


def test_a_report_tells_what_was_done(sim):
    sim.workflow(FLOW)(lambda ctx: ctx.call(ECHO, 1))
    done = []
    report = sim.run(FLOW, seeds=5, crash_rate=0.3, nodes=2, progress=done.append)
    assert (report.seeds, report.runs, report.executions, done) == (5, 6, 2, [0, 1, 2, 3, 4])
    assert report.commits > 12 and report.attempts >= 6 and sum(report.faults.values()) > 0
    assert report.document()["result"] == {"ok": 1}
    assert "6 runs (5 seeds)" in str(report)


# --- wrong workflows -------------------------------------------------------------------------------------------------


def test_a_workflow_that_remembers_something_between_its_runs_is_caught(sim):
    calls = []

    @sim.workflow(FLOW)
    def flow(ctx):
        calls.append(1)
        return ctx.call(ECHO, len(calls))

    with pytest.raises(SimulationFailed) as caught:
        sim.run(FLOW)
    failed = caught.value
    assert failed.seed is None  # its log does not replay, disturbed or not
    assert "params: recorded [1], now [2]" in failed.reason
    assert "child_request  child=o:1-echo_1" in str(failed)
    assert failed.log[-1].kind == "finished" and failed.story


def test_a_divergence_that_only_a_crash_shows_is_caught_with_its_seed_and_the_seed_repeats_it(sim):
    def broken():
        runs = set()

        @sim.workflow(FLOW)
        def flow(ctx):
            # Runs that begin anew after a crash take another way; the check at the end sees an untouched one.
            is_first = not runs
            runs.add(threading.current_thread())
            ctx.call(ECHO, "same")
            if is_first or threading.current_thread().name.endswith("never"):
                return ctx.call(ECHO, "first")
            runs.clear()
            return ctx.call(ECHO, "again")

    broken()
    with pytest.raises(SimulationFailed) as caught:
        sim.run(FLOW, seeds=50)
    assert 'recorded ["first"], now ["again"]' in str(caught.value)


def test_a_workflow_that_looks_at_the_world_outside_is_caught(sim):
    worlds = iter(range(1_000))

    @sim.activity("test:acts/acts.counter")
    def counter():
        return next(worlds)

    sim.workflow(FLOW)(lambda ctx: ctx.call("test:acts/acts.counter"))
    with pytest.raises(ResultChanged) as caught:
        sim.run(FLOW, seeds=3)
    failed = caught.value
    assert failed.seed == 0
    assert 'undisturbed it ends with {"ok":0}' in failed.reason
    assert "depend on the order in which responses arrive" in str(failed)
    assert failed.log and failed.undisturbed_log and failed.document()["result_changed"] is True
    report = sim.run(FLOW, seeds=3, any_result=True)
    assert sum(report.other_results.values()) == 6


def test_a_race_is_told_as_one(sim):
    @sim.workflow(FLOW)
    def race(ctx):
        runners = ctx.create_join_set()
        runners.submit(ECHO, "a")
        runners.submit(ECHO, "b")
        return runners.join_next().result()

    with pytest.raises(ResultChanged) as caught:
        sim.run(FLOW, seeds=50)
    failed = caught.value
    arrived = [
        next(line.fields["child"] for line in log if line.kind == "response")
        for log in (failed.log, failed.undisturbed_log)
    ]
    assert arrived[0] != arrived[1]
    with pytest.raises(ResultChanged) as again:
        sim.run(FLOW, seed=failed.seed, nodes=failed.nodes)
    assert (again.value.reason, again.value.story) == (failed.reason, failed.story)
    assert sim.run(FLOW, seeds=10, any_result=True).other_results


def test_a_workflow_that_waits_for_ever_is_told(sim):
    sim.stub("test:stubs/stubs.wait")
    sim.workflow(FLOW)(lambda ctx: ctx.call("test:stubs/stubs.wait"))
    with pytest.raises(SimulationFailed, match=r"nothing happens any more(.|\n)*stubs.wait: pending"):
        sim.run(FLOW)


def test_a_workflow_that_never_ends_is_told(sim, monkeypatch):
    monkeypatch.setattr("obelisk.testing.simulation.TICKS_MAX", 200)

    @sim.workflow(FLOW)
    def flow(ctx):
        while True:
            ctx.sleep(3600)

    with pytest.raises(SimulationFailed, match="not everything has finished in time"):
        sim.run(FLOW)


def test_a_workflow_that_catches_the_end_of_its_run_is_told(sim):
    @sim.workflow(FLOW)
    def flow(ctx):
        while True:
            try:
                return ctx.call(ECHO, 1)
            except BaseException:  # noqa: BLE001
                continue

    threads = threading.active_count()
    with pytest.raises(SimulationFailed, match="must not catch BaseException"):
        sim.run(FLOW, seeds=50)
    assert threading.active_count() == threads + 1  # it is stuck for ever, which is what the message is about


def test_a_generator_that_yields_something_else_is_told(sim):
    @sim.workflow(FLOW)
    def flow(ctx):
        yield 3

    failed = sim.run(FLOW, seeds=1).result["execution_failed"]
    assert failed["reason"] == "workflow trap: TypeError: a workflow yields its host calls, not 3"


def test_functions_that_are_not_there_and_parameters_that_do_not_fit(sim):
    sim.stub("test:stubs/stubs.wait")
    with pytest.raises(LookupError, match=r"no function test:a/b.c to run; there are: test:acts/acts.die, "):
        sim.run("test:a/b.c")
    with pytest.raises(LookupError, match=r"no function test:stubs/stubs.wait to run"):
        sim.run("test:stubs/stubs.wait")
    with pytest.raises(ValueError, match="missing a required argument: 'value'"):
        sim.run(CHILD)
    with pytest.raises(ValueError, match="is not a function name"):
        sim.workflow("nothing")


def test_a_failure_is_an_assertion_so_that_tests_show_it(sim):
    assert issubclass(SimulationFailed, Violation) and issubclass(Violation, AssertionError)


# --- threads ---------------------------------------------------------------------------------------------------------


def test_no_thread_is_left_behind(sim):
    sim.workflow(FLOW)(lambda ctx: [ctx.call(CHILD, i) for i in range(3)])
    before = set(threading.enumerate())
    sim.run(FLOW, seeds=10, crash_rate=0.3)
    sim.workflow(FLOW)(lambda ctx: ctx.call("test:stubs/stubs.wait"))
    sim.stub("test:stubs/stubs.wait")
    with pytest.raises(SimulationFailed):
        sim.run(FLOW)
    assert set(threading.enumerate()) == before


def test_a_seed_repeats_its_run_exactly(sim):
    sim.workflow(FLOW)(lambda ctx: [ctx.call(FLAKY), ctx.call(CHILD, 1), str(ctx.sleep(1))])
    with pytest.raises(ResultChanged) as one:  # when it slept
        sim.run(FLOW, seed=3, nodes=2)
    with pytest.raises(ResultChanged) as other:
        sim.run(FLOW, seed=3, nodes=2)
    assert one.value.story == other.value.story and len(one.value.story) > 10
    assert str(one.value) == str(other.value)
