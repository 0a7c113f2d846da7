"""Compiled components in the simulator: what they need, what is run, and what takes their place."""

from __future__ import annotations

import msgspec
import pytest

from obelisk.core import calls
from obelisk.core.ids import ExecutionId, RunId
from obelisk.core.policy import CLOSED, DirectoryPolicy, Sandbox
from obelisk.core.ports import Called, FunctionKind, Returned, Trapped, Yielded
from obelisk.core.tcp import parse_target
from obelisk.core.values import Failure, FailureKind, Json, Ok
from obelisk.engine.effects import StartAttempt
from obelisk.runtime.views import ComponentView, FunctionView
from obelisk.testing import ConfigRefused, ResultChanged, ReturnedErr, Simulation, SimulationFailed
from obelisk.testing.components import CompiledGuest, Components, load_components, reached_outside
from obelisk.testing.guests import StrictGuest

ROOT = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYZ")
ECHO = "testing:activity/acts.echo"
INVOKE = "testing:workflow/flows.invoke"


@pytest.fixture
def config(testing_components, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = tmp_path / "obelisk.toml"
    path.write_text(
        f"""
        [[activity_wasm]]
        name = "acts"
        location = "{testing_components.activity}"
        exec.lock_expiry.milliseconds = 50
        max_retries = 1
        [[workflow]]
        name = "flows"
        location = "{testing_components.workflow}"
        exec.cpu_budget.milliseconds = 50
        """
    )
    return path


@pytest.fixture
def sim(config):
    sim = Simulation()
    sim.load(config)
    return sim


def attempt_at(components, ffqn, params):
    info = components.info(ffqn)
    return StartAttempt(ROOT, RunId("Run_1"), info.component, info.ffqn, Json(params), info.policy.lock_expiry_us)


def test_a_python_function_takes_the_place_of_an_activity_and_has_to_fit_its_types(sim):
    asked = []

    @sim.activity(ECHO)
    def echo(text):
        asked.append(text)
        return text.upper()

    assert sim.run(INVOKE, ["x"], seeds=3).result == {"ok": "INVOKED"}
    assert set(asked) == {"invoked"}

    sim.activity(ECHO)(lambda text: 7)
    with pytest.raises(SimulationFailed, match=r"the result of testing:activity/acts.echo does not fit its type: "):
        sim.run(INVOKE, ["x"], seeds=1)


def test_a_python_workflow_calls_a_component_with_its_types(sim):
    @sim.workflow("mine:own/flows.flow")
    def flow(ctx):
        with pytest.raises(ReturnedErr) as caught:
            ctx.call("testing:activity/acts.fail", 3)
        return [ctx.call(ECHO, "hi"), caught.value.value, ctx.call("testing:workflow/flows.parent", 2)]

    assert sim.run("mine:own/flows.flow", seeds=3).result == {"ok": ["hi", "failed with 3", 2]}


def test_an_activity_is_run_once_for_each_of_its_parameters(config, monkeypatch):
    components = load_components(config)
    runs, real = [], Components._run
    monkeypatch.setattr(Components, "_run", lambda self, start: runs.append(start.params) or real(self, start))
    for params in (b'["a"]', b'["b"]', b'["a"]'):
        end = components.attempt(attempt_at(components, ECHO, params))
        assert end.result == Ok(Json(params[1:-1]))
    assert [bytes(params) for params in runs] == [b'["a"]', b'["b"]']


def test_an_activity_that_runs_for_too_long_times_out(config):
    components = load_components(config)
    end = components.attempt(attempt_at(components, "testing:activity/acts.spin", b"[]"))
    assert isinstance(end.result, Failure) and end.result.kind is FailureKind.TIMED_OUT


def test_a_workflow_that_computes_for_too_long_is_out_of_fuel(sim):
    failed = sim.run("testing:workflow/flows.spin", seeds=1).result["execution_failed"]
    assert (failed["kind"], failed["reason"]) == (
        "out_of_fuel",
        "no host call within 50 ms of CPU time (exec.cpu_budget)",
    )


class Scripted:
    """A guest whose steps are given."""

    def __init__(self, *steps):
        self.steps = list(steps)
        self.heard = []

    def start(self, params):
        return self.steps.pop(0)

    def send(self, reply):
        self.heard.append(reply)
        return self.steps.pop(0)

    def resume(self):
        return self.steps.pop(0)

    def close(self):
        self.heard.append("closed")


def test_slices_of_a_guest_are_not_decided_by_the_clock(config):
    components = load_components(config)
    ticker = components._ticker
    called = Called(calls.JoinSetCreate())
    for steps in ([called] * 100, [Yielded(), Yielded(), called, *[called] * 99]):
        live: set[StrictGuest] = set()
        inner = Scripted(*steps, Returned(Ok()))
        guest = CompiledGuest(ROOT, inner, ticker, 1_000_000, live)
        shown, step = [], guest.start(Json(b"[]"))
        while not isinstance(step, Returned):
            shown.append(step)
            step = guest.resume() if isinstance(step, Yielded) else guest.send("g:1")
        guest.close()
        assert shown.count(called) == 100
        assert 0 < shown.count(Yielded()) < 20
        assert inner.heard == ["g:1"] * 100 + ["closed"] and live == set()
    guest = CompiledGuest(ROOT, Scripted(*[Yielded()] * 10_000_000), ticker, 1_000)
    assert isinstance(guest.start(Json(b"[]")), Trapped | Yielded)


def test_what_an_activity_reaches_outside_is_seen():
    def reached(*imported, sandbox=CLOSED):
        functions = tuple(FunctionView(ffqn, (), None, "func()") for ffqn in imported)
        return reached_outside(ComponentView("name", FunctionKind.ACTIVITY, "sha256:0", (), functions), sandbox)

    assert reached() is None
    assert reached("obelisk:log/log@1.0.0.info", "wasi:random/random@0.2.3.get-random-u64") is None
    assert reached("wasi:filesystem/preopens@0.2.0.get-directories", "wasi:sockets/tcp@0.2.0.x") is None
    http = ("obelisk:log/log@1.0.0.info", "wasi:http/outgoing-handler@0.2.0.handle")
    assert reached(*http) == "imports wasi:http/outgoing-handler"
    assert reached("wasi:nn/tensor@0.2.0.x") == "imports wasi:nn/tensor"
    assert reached(sandbox=Sandbox(directories=DirectoryPolicy(own=True))) == "is given directories"
    assert reached(sandbox=Sandbox(tcp=(parse_target("db:5432"),))) == "is given an address (allowed_tcp)"


WASI = "testing:wasi-activity/wasi"
WASI_FLOW = "testing:wasi-workflow/wasi"


@pytest.fixture
def wasi(wasi_components, tmp_path, monkeypatch):
    """Components that use WASI: an activity that may run for 50 ms, and the same as a workflow."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = tmp_path / "wasi.toml"
    path.write_text(
        f"""
        [[activity_wasm]]
        name = "acts"
        location = "{wasi_components.activity}"
        exec.lock_expiry.milliseconds = 50
        [[workflow]]
        name = "flows"
        location = "{wasi_components.workflow}"
        """
    )
    return path


def test_an_activity_with_wasi_runs_and_its_waits_are_over_at_once(wasi):
    components = load_components(wasi)
    assert components.needed_results(f"{WASI}.waits") == []

    def end(function, params):
        return components.attempt(attempt_at(components, f"{WASI}.{function}", params)).result

    assert end("waits", b"[40]") == Ok(Json(b"40"))
    late = end("waits", b"[3600000]")  # an hour
    assert (late.kind, late.reason) == (
        FailureKind.TIMED_OUT,
        "the attempt ran for longer than 50 ms (exec.lock_expiry)",
    )
    assert end("says", b'["hello"]') == Ok()
    failed = end("writes-too-much", b"[]")
    assert failed.kind is FailureKind.UNCATEGORIZED and "may have at most 4096 bytes" in f"{failed}"


def test_what_an_activity_draws_follows_from_its_execution(wasi):
    components, again = load_components(wasi), load_components(wasi)

    def drawn(of, execution_id):
        start = attempt_at(of, f"{WASI}.draws", b"[]")
        return of.attempt(msgspec.structs.replace(start, execution_id=ExecutionId(execution_id))).result

    other = ROOT[:-1] + "0"
    assert drawn(components, ROOT) == drawn(components, ROOT) == drawn(again, ROOT)
    assert drawn(components, other) == drawn(again, other) != drawn(again, ROOT)


def test_a_workflow_with_wasi_does_not_notice_faults(wasi):
    sim = Simulation()
    sim.load(wasi)
    draws = sim.run(f"{WASI_FLOW}.draws", seeds=10).result
    assert draws["ok"] > 0
    assert sim.run(f"{WASI_FLOW}.draws", seeds=1, seed=99).result == draws
    assert sim.run(f"{WASI_FLOW}.says", ["hello\nworld"], seeds=10).result == {"ok": None}
    waits = sim.run(f"{WASI_FLOW}.waits", [50], seeds=10, any_result=True)  # it returns how long it was
    assert waits.result == {"ok": 50}


def test_what_the_simulator_cannot_run_is_named(sim, config, monkeypatch):
    components = load_components(config)
    assert components.needed_results(INVOKE) == []
    monkeypatch.setattr(
        "obelisk.testing.components.reached_outside",
        lambda view, sandbox: "is far" if view.kind is FunctionKind.ACTIVITY else None,
    )
    needed = components.needed_results(INVOKE)
    assert set(needed) == {f"testing:activity/acts.{name}" for name in ("trap", "fail", "spin", "echo")}
    assert components.needed_results(ECHO) == [ECHO]
    with pytest.raises(SimulationFailed, match=r"ResultMissing: testing:activity/acts.echo is far, which"):
        sim.run(INVOKE, ["x"], seeds=1)


def test_a_configuration_that_cannot_be_used_is_refused(tmp_path):
    with pytest.raises(ConfigRefused, match=r"nowhere\.toml"):
        Simulation().load(tmp_path / "nowhere.toml")


def test_results_that_are_given_must_fit(sim):
    sim.give(ECHO, {"err": "no"})
    assert sim.run(INVOKE, ["x"], seeds=1).result == {"err": "no"}
    with pytest.raises(ValueError, match="the result does not fit"):
        sim.give(ECHO, {"ok": 1})
    with pytest.raises(LookupError, match="no component has an activity"):
        sim.give(INVOKE, {"ok": "x"})
    with pytest.raises(LookupError, match="no component has an activity"):
        Simulation().give(ECHO, {"ok": "x"})


def test_a_race_of_a_component_changes_its_result(sim):
    with pytest.raises(ResultChanged, match="depend on the order in which responses arrive"):
        sim.run("testing:workflow/flows.in-time-pattern", [20], seeds=50)
