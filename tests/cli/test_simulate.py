"""`obelisk simulate`: the example, wrong command lines, failures. Nothing here needs a server."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from obelisk.cli.main import cli
from obelisk.testing import Simulation

WORKFLOW = "template-fibo:workflow/fibo-workflow-ifc"
ACTIVITY = "template-fibo:activity/fibo-activity-ifc.fibo"


@pytest.fixture
def simulate(fibo_components, tmp_path, monkeypatch):
    """Runs the command on the example; compiled code goes to a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def run(*args, config=fibo_components.toml, function=f"{WORKFLOW}.fiboa", params="[10, 4]"):
        given = ["simulate", "--config", str(config), "--function", function, "--params", params, *args]
        result = CliRunner().invoke(cli, given, prog_name="obelisk")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def own(testing_components, tmp_path):
    """A configuration with the components of the tests; more of it may be given."""

    def make(more=""):
        path = tmp_path / "obelisk.toml"
        path.write_text(
            f"""
            [[activity_wasm]]
            name = "acts"
            location = "{testing_components.activity}"
            retry_exp_backoff.milliseconds = 5
            [[workflow]]
            name = "flows"
            location = "{testing_components.workflow}"
            {more}
            """
        )
        return path

    return make


@pytest.mark.parametrize("function", ["fiboa", "fiboa-concurrent"])
def test_the_example_keeps_its_promises(simulate, function):
    done = simulate("--seeds", "5", "--crash-rate", "0.3", function=f".../fibo-workflow-ifc.{function}")
    assert done.exit_code == 0, done.output
    first, *faults = done.stdout.splitlines()
    assert first.startswith(f'{WORKFLOW}.{function} ended with {{"ok":55}} in 11 runs (5 seeds): 5 executions each')
    assert first.endswith(f"{sum(int(line.split()[0]) for line in faults)} faults injected")
    assert any("crash after commit" in line for line in faults)


def test_a_report_as_json(simulate):
    done = simulate("--seeds", "2", "--nodes", "2", "--json")
    assert done.exit_code == 0
    report = json.loads(done.stdout)["ok"]
    assert report["function"] == f"{WORKFLOW}.fiboa"
    assert (report["seeds"], report["runs"], report["executions"], report["result"]) == (2, 3, 5, {"ok": 55})
    assert report["commits"] > 10 and report["attempts"] >= 12 and report["other_results"] == {}


def test_an_activity_whose_result_is_given_does_not_run(simulate):
    done = simulate("--activity", f'{ACTIVITY}={{"ok": 7}}', "--seeds", "1", "--json")
    assert json.loads(done.stdout)["ok"]["result"] == {"ok": 7}
    done = simulate("--activity", f'{ACTIVITY}={{"err": null}}', "--seeds", "1", "--json")
    assert json.loads(done.stdout)["ok"]["result"] == {"err": None}


@pytest.mark.parametrize(("function", "params", "result"), [
    ("returns-err", "[]", {"err": "returned by the workflow"}),
    ("many-sleeps", "[3, 86400000]", {"ok": 3}),
    ("random", "[3]", {"ok": 4208}),
    ("logs", "[7]", {"ok": None}),
    ("calls-trap", "[]", {"err": None}),
    ("calls-fail", "[3]", {"err": "failed with 3"}),
    ("invoke", '["label"]', {"ok": "invoked"}),
    ("get", "[]", {"ok": "got"}),
    ("close-then-get", "[]", {"err": "execution-failed"}),
    ("mismatch", "[]", {"ok": "echo"}),
    ("submit-many", "[5]", {"ok": 5}),
    ("parent", "[4]", {"ok": 4}),
])  # fmt: skip
def test_what_workflows_can_do_survives_every_fault(simulate, own, function, params, result):
    done = simulate("--seeds", "3", "--json", config=own(), function=f".../flows.{function}", params=params)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["ok"]["result"] == result


def test_a_race_is_told_with_both_logs_and_its_seed(simulate, own):
    race = {"config": own(), "function": ".../flows.in-time-pattern", "params": "[20]"}
    done = simulate("--seeds", "50", **race)
    assert done.exit_code == 1
    assert 'the execution ended with {"ok":"Delay_' in done.stdout
    assert "depend on the order in which responses arrive" in done.stdout
    assert "event log of the undisturbed run:" in done.stdout
    first, last = done.stdout.splitlines()[0], done.stdout.splitlines()[-1]
    seed = last.split()[4]
    assert last.startswith("Repeat it with --seed ") and first.startswith(f"seed {seed}, ")
    again = simulate(*last.removeprefix("Repeat it with ").rstrip(".").split(), "--json", **race)
    assert again.exit_code == 1
    failed = json.loads(again.stdout)["failed"]
    assert failed["result_changed"] is True and str(failed["seed"]) == seed
    assert failed["log"][0]["kind"] == failed["undisturbed_log"][0]["kind"] == "created"
    accepted = simulate("--seeds", "50", "--any-result", **race)
    assert accepted.exit_code == 0
    assert 'times it ended with {"ok":"Delay_' in accepted.stdout


def test_parameters_may_be_in_a_file(simulate, tmp_path):
    (tmp_path / "params.json").write_text("[10, 2]")
    done = simulate("--seeds", "1", "--nodes", "1", params=f"@{tmp_path / 'params.json'}")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith(f'{WORKFLOW}.fiboa ended with {{"ok":55}} in 2 runs (1 seeds): 3 executions each')


@pytest.mark.parametrize(("args", "kwargs", "message"), [
    ((), {"params": "[10"}, "cannot parse --params as JSON: "),
    ((), {"params": "3"}, "--params must be a JSON array, '[]' for none; it was: 3"),
    ((), {"params": "@nowhere"}, "cannot read nowhere: "),
    ((), {"params": "[10]"}, "params: expected 2 parameters (n: u8, iterations: u32), got 1"),
    ((), {"params": "[300, 1]"}, "the parameters do not fit template-fibo:workflow/fibo-workflow-ifc.fiboa: "),
    ((), {"function": "fibo"}, "'fibo' is not a function name"),
    ((), {"function": "a:b/c.d"}, f"there is no function a:b/c.d to run; there are: {ACTIVITY}, "),
    ((), {"function": ".../c.d"}, "no component of the configuration exports .../c.d; there are: "),
    (("--seeds", "0"), {}, "0 is not in the range x>=1"),
    (("--crash-rate", "2"), {}, "2.0 is not in the range 0<=x<=1"),
    (("--crash-rate", "nan"), {}, "nan is not a number from 0 to 1"),
    (("--nodes", "3"), {}, "3 is not in the range 1<=x<=2"),
    (("--activity", "x"), {}, 'x has no "="'),
    (("--activity", "x=1"), {}, "'x' is not a function name"),
    (("--activity", f"{ACTIVITY}=x"), {}, "cannot parse x as JSON: "),
    (("--activity", f"{ACTIVITY}=1"), {}, 'must be {"ok": VALUE} or {"err": VALUE}; it was 1'),
    (("--activity", f'{ACTIVITY}={{"ok": "x"}}'), {}, f"--activity: the result does not fit {ACTIVITY}: "),
    (("--activity", 'a:b/c.d={"ok": 1}'), {}, "--activity: no component has an activity a:b/c.d"),
    (("--activity", f'{WORKFLOW}.fiboa={{"ok": 1}}'), {}, f"--activity: no component has an activity {WORKFLOW}.fiboa"),
])  # fmt: skip
def test_wrong_command_lines(simulate, args, kwargs, message):
    done = simulate(*args, **kwargs)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr


def test_activities_that_cannot_be_run_are_named_and_may_be_given(simulate, monkeypatch):
    monkeypatch.setattr("obelisk.testing.components.reached_outside", lambda view, sandbox: "is far")
    done = simulate()
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"""give the results: --activity '{ACTIVITY}={{"ok": VALUE}}'""" in done.stderr
    assert simulate("--activity", f'{ACTIVITY}={{"ok": 7}}', "--seeds", "1").exit_code == 0


def test_a_configuration_that_cannot_be_used(simulate, tmp_path):
    done = simulate(config=tmp_path / "nowhere.toml")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ") and "nowhere.toml" in done.stderr
    (tmp_path / "bad.toml").write_text('[[workflow]]\nname = "w"\nlocation = "none.wasm"\n')
    assert simulate(config=tmp_path / "bad.toml").exit_code == 1


def test_the_seed_of_the_command_is_that_of_the_library(simulate, fibo_components):
    done = json.loads(simulate("--seed", "7", "--nodes", "2", "--json").stdout)["ok"]
    sim = Simulation()
    sim.load(fibo_components.toml)
    assert sim.run(f"{WORKFLOW}.fiboa", [10, 4], seed=7, nodes=2).document() == done


def test_progress_is_shown_on_a_terminal_only(simulate, monkeypatch):
    monkeypatch.setattr("obelisk.cli.simulate._is_terminal", lambda: True)
    done = simulate("--seeds", "2")
    assert done.stderr == "\r1 of 2 seeds\r2 of 2 seeds\r" + " " * 12 + "\r" and "\r" not in done.stdout
    monkeypatch.undo()
    assert simulate("--seeds", "2").stderr == ""


def test_ctrl_c_ends_it(fibo_components, tmp_path):
    command = [sys.executable, "-m", "obelisk", "simulate", "-c", str(fibo_components.toml), "--seeds", "1000000"]
    command += ["--function", f"{WORKFLOW}.fiboa", "--params", "[1, 3]"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "XDG_CACHE_HOME": str(tmp_path)}
    screen, terminal = os.openpty()  # on which it shows how far it is
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=terminal, text=True, env={**env, "TERM": "xterm"}
    )
    os.close(terminal)
    shown = b""
    try:
        while b"2 of 1000000 seeds" not in shown:
            shown += os.read(screen, 1_000)
        running.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # that is how a terminal ends
            while more := os.read(screen, 1_000):
                shown += more
        out, _ = running.communicate(timeout=120)
    finally:
        running.kill()
        running.wait()
        os.close(screen)
    assert (running.returncode, out, shown.rpartition(b"\r ")[2].strip()) == (1, "", b"Aborted!")


def test_the_other_commands_do_not_load_the_test_world():
    code = "import sys; from obelisk.cli.main import cli; cli(['--help'], standalone_mode=False);"
    code += "sys.exit(any(name.startswith(('obelisk.testing', 'wasmtime')) for name in sys.modules))"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    assert "simulate" in done.stdout


# --- stub activities -------------------------------------------------------------------------------------------------

DECIDE = "testing:stubs/stubs.decide"
STUBS = "package testing:stubs { interface stubs { decide: func(question: string) -> result<bool, string>; } }"


@pytest.fixture
def asking(own, calling_components, dummy_component, tmp_path):
    """A configuration with a stub activity, and workflows that call it: by name, and by import."""
    wit = tmp_path / "stubs.wit"
    wit.write_text(STUBS.replace(" {", ";", 1).rstrip("}"))
    flow = "package x:y { interface z { ask: func() -> result; } }"
    world = "package any:any; world any { import testing:stubs/stubs; export x:y/z; }"
    importing = dummy_component(f"{world} {flow} {STUBS}")
    return own(
        f"""
        [[activity_stub]]
        name = "asks"
        location = "{wit}"
        [[workflow]]
        name = "calls"
        location = "{calling_components.five}"
        [[workflow]]
        name = "importing"
        location = "{importing}"
        """
    )


def test_stub_activities_that_a_workflow_imports_are_named(simulate, asking):
    done = simulate(config=asking, function="x:y/z.ask", params="[]")
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"""give the results: --activity '{DECIDE}={{"ok": VALUE}}'""" in done.stderr
    wrong = simulate("--activity", f'{DECIDE}={{"ok": "yes"}}', config=asking, function="x:y/z.ask", params="[]")
    assert wrong.exit_code == 2 and 'expected bool, got "yes"' in wrong.stderr
    done = simulate("--activity", f'{DECIDE}={{"ok": true}}', config=asking, function="x:y/z.ask", params="[]")
    assert (done.exit_code, "workflow trap" in done.stdout) == (0, True)  # all that a dummy can do


def test_a_stub_activity_that_is_called_by_name_gets_the_result_that_is_given(simulate, asking):
    function = {"interface_name": "testing:stubs/stubs", "function_name": "decide"}
    params = json.dumps([function, '["?"]', None, None])
    call = {"config": asking, "function": "testing:calls-five/support.call-json", "params": params}
    done = simulate("--activity", f'{DECIDE}={{"ok": true}}', "--seeds", "10", "--json", **call)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)["ok"]
    assert report["result"] == {"ok": {"ok": {"ok": "true"}}} and report["executions"] == 2
    waiting = simulate("--seeds", "1", **call)
    assert waiting.exit_code == 1
    assert "nothing happens any more" in waiting.stdout and f"{DECIDE}: pending" in waiting.stdout
