"""`obelisk component inspect` and `wit`, `obelisk server verify`: what a component is, before and after it is deployed."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from obelisk.cli.main import cli


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def invoke(*args):
        result = CliRunner().invoke(cli, list(map(str, args)), prog_name="obelisk")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


def test_a_workflow_as_it_would_be_listed(run, fibo_components):
    done = run("component", "inspect", fibo_components.workflow)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.output == (
        "fibo_workflow\tworkflow:fibo_workflow\n"
        "Exports:\n"
        "\ttemplate-fibo:workflow/fibo-workflow-ifc.fiboa : func(n: u8, iterations: u32) -> result<u64>\n"
        "\ttemplate-fibo:workflow/fibo-workflow-ifc.fiboa-concurrent : func(n: u8, iterations: u32) -> result<u64>\n"
    )
    more = run("component", "inspect", fibo_components.workflow, "-i", "-e").output
    assert "Imports:\n\tobelisk:workflow/workflow-support@5.1.0.join-set-create : func() -> join-set\n" in more
    assert "fibo-workflow-ifc.fiboa-schedule : func(schedule-at: " in more


def test_an_activity_as_json(run, fibo_components):
    found = json.loads(run("component", "inspect", fibo_components.activity, "--json").output)
    assert found["component_id"]["component_type"] == "activity_wasm"
    assert [each["ffqn"] for each in found["exports"]] == ["template-fibo:activity/fibo-activity-ifc.fibo"]
    assert found["problems"] == []
    assert "imports" not in found


def test_what_would_keep_it_from_being_deployed(run, fibo_components):
    done = run("component", "inspect", "activity_wasm", fibo_components.workflow)
    assert done.exit_code == 1
    assert done.output.startswith("fibo_workflow\tactivity_wasm:fibo_workflow\nExports:\n")
    assert done.stderr.count("Problem: activity fibo_workflow imports ") == 4
    assert "only workflows may call other functions" in done.stderr
    assert (
        len(json.loads(run("component", "inspect", "activity", fibo_components.workflow, "-j").output)["problems"]) == 4
    )


def test_wit_is_a_stub(run, tmp_path):
    path = tmp_path / "shop.wit"
    path.write_text("package shop:orders;\n/// Asks.\ninterface a { f: func() -> u8; }\n")
    done = run("component", "inspect", path)
    assert done.exit_code == 1
    assert done.output.startswith("shop\tactivity_stub:shop\n")
    assert done.stderr.startswith(
        "Problem: stub shop exports shop:orders/a.f: func() -> u8, which cannot be an execution"
    )
    wit = run("component", "inspect", path, "--wit")
    assert (wit.exit_code, "/// Asks.\ninterface a {\n  f: func() -> u8;\n}\n" in wit.output) == (0, True)


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["nothing.wasm"], 1, "Error: nothing.wasm: no such file"),
        (["a", "b", "c"], 2, "expected [COMPONENT_TYPE] PATH"),
        (["nothing", "b"], 2, "'nothing' is no type of component"),
        ([], 2, "Missing argument"),
    ],
)
def test_what_cannot_be_inspected(run, args, code, message):
    done = run("component", "inspect", *args)
    assert (done.exit_code, message in done.stderr) == (code, True)


# --- of a server ------------------------------------------------------------------------------------------------------


def test_the_wit_of_what_is_deployed_by_name_and_by_digest(obelisk):
    by_name = obelisk("component", "wit", "myworkflow")
    assert (by_name.exit_code, by_name.output.startswith("package of:")) == (0, True)
    digest = json.loads(obelisk("component", "list", "-j").output)[0]["component_id"]["digest"]
    assert obelisk("component", "wit", digest).output == by_name.output


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobody", "there is no component nobody; deployed are: myworkflow, activity_myfibo"),
        ("sha256:" + "7" * 64, f"WIT not found for component digest 'sha256:{'7' * 64}'"),
        ("sha256:7", "sha256:7"),
    ],
)
def test_the_wit_of_what_is_not(obelisk, name, message):
    done = obelisk("component", "wit", name)
    assert (done.exit_code, message in done.stderr) == (1, True)


# --- verify -----------------------------------------------------------------------------------------------------------


def test_a_configuration_that_would_run_is_verified_and_nothing_is_started(run, fibo_components, tmp_path):
    toml = tmp_path / "obelisk.toml"
    toml.write_text(
        f'sqlite.directory = "{tmp_path}/db"\n'
        f'[[workflow]]\nname = "flow"\nlocation = "{fibo_components.workflow}"\n'
        f'[[activity_wasm]]\nname = "act"\nlocation = "{fibo_components.activity}"\n'
    )
    done = run("server", "verify", "-c", toml)
    assert (done.exit_code, done.output) == (0, "Obelisk configuration was verified\n")
    assert not (tmp_path / "db").exists()


def test_every_problem_of_the_components_is_told(run, fibo_components, tmp_path):
    toml = tmp_path / "obelisk.toml"
    toml.write_text(f'[[workflow]]\nname = "flow"\nlocation = "{fibo_components.workflow}"\n')
    done = run("server", "verify", "-c", toml)
    assert done.exit_code == 1
    assert done.stderr.count("workflow flow imports template-fibo:activity") == 3
    toml.write_text("nonsense = 1\n[[workflow]]\n")
    wrong = run("server", "verify", "-c", toml)
    assert (wrong.exit_code, "nonsense" in wrong.stderr, "name" in wrong.stderr) == (1, True, True)
