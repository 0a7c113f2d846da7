"""`obelisk new` and `obelisk build`. Nothing here needs a server; the tools are pretended."""

from __future__ import annotations

import json
import re
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from obelisk.api.redeploying import Redeployment, Stayed
from obelisk.authoring import BuildFailed
from obelisk.cli import dev
from obelisk.cli.dev import _Project, _tell_executions
from obelisk.cli.main import cli


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a command in an empty folder, with nothing on PATH but what a shell needs and `bin/`."""
    for folder in ("here", "bin", "beside"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/nowhere")
    monkeypatch.setattr(sys, "executable", f"{tmp_path}/beside/python")

    def invoke(*args):
        result = CliRunner().invoke(cli, args, prog_name="obelisk")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def componentize_py(tmp_path, fibo_components):
    """A function: a componentize-py that gives the components of the example, or says that it fails."""

    def make(*, fails_for=""):
        script = tmp_path / "bin" / "componentize-py"
        script.write_text(
            f"""#!/bin/sh
            for last in "$@"; do
              [ "$before" = --output ] && output=$last
              if [ "$before" = bindings ]; then /bin/mkdir "$last"; exit 0; fi
              before=$last
            done
            if [ "$last" = "{fails_for}" ]; then echo "AssertionError: something with $last"; exit 1; fi
            if [ "$last" = fibo_activity ]; then source={fibo_components.activity}; else source={fibo_components.workflow}; fi
            /bin/cp "$source" "$output"
            """
        )
        script.chmod(0o755)

    return make


def test_a_project_is_made_and_built(run, componentize_py):
    made = run("new", "fibo", "demo")
    assert made.exit_code == 0
    lines = made.stdout.splitlines()
    assert lines[0] == "demo: a workflow and the activity that it calls, in Python"
    assert lines[-1] == "How to go on is told in demo/README.md"
    assert sorted(line.strip() for line in lines[1:-1]) == sorted(
        str(path.relative_to("demo")) for path in Path("demo").rglob("*") if path.is_file()
    )
    componentize_py()
    built = run("build", "demo")
    assert (built.exit_code, built.stderr) == (0, "")
    assert re.sub(r"[0-9a-f]{64}|[\d,.]+ (?=bytes|s$)", "#", built.stdout, flags=re.MULTILINE).splitlines() == [
        "demo/activity/component.toml: building demo/activity/fibo_activity.wasm from demo/activity/fibo_activity.py",
        "  #bytes, sha256:#, in #s",
        "  template-fibo:activity/fibo-activity-ifc.fibo : func(n: u8) -> result<u64>",
        "demo/workflow/component.toml: building demo/workflow/fibo_workflow.wasm from demo/workflow/fibo_workflow.py",
        "  #bytes, sha256:#, in #s",
        "  template-fibo:workflow/fibo-workflow-ifc.fiboa : func(n: u8, iterations: u32) -> result<u64>",
        "  template-fibo:workflow/fibo-workflow-ifc.fiboa-concurrent : func(n: u8, iterations: u32) -> result<u64>",
    ]


def test_what_was_built_is_told_as_json(run, componentize_py, fibo_components):
    run("new", "fibo", "demo")
    componentize_py(fails_for="fibo_workflow")
    built = run("build", "--json")
    assert (built.exit_code, built.stderr) == (1, "")
    first, second = json.loads(built.stdout)
    here = Path.cwd() / "demo"
    assert first["component"] == f"{here}/activity/component.toml"
    assert first["ok"].pop("seconds") >= 0
    assert first["ok"].pop("digest").startswith("sha256:")
    assert first["ok"] == {
        "output": f"{here}/activity/fibo_activity.wasm",
        "size_bytes": fibo_components.activity.stat().st_size,
        "exports": ["template-fibo:activity/fibo-activity-ifc.fibo"],
        "warnings": [],
    }
    assert second == {
        "component": f"{here}/workflow/component.toml",
        "failed": "componentize-py ended with exit code 1:\nsomething with fibo_workflow",
    }


def test_an_annotation_that_means_nothing_is_told_with_its_place(run, componentize_py):
    run("new", "fibo-activity", "demo")
    componentize_py()
    (wit,) = Path("demo/wit/deps/template-fibo_activity").iterdir()
    wit.write_text(f"// @permanent\n{wit.read_text()}")
    built = run("build", "demo")
    assert built.exit_code == 0
    warning = (
        f"{wit}:1: @permanent means nothing for the package template-fibo:activity; it is for the cases of a variant"
    )
    assert built.stderr.startswith(f"Warning: {warning}")
    (document,) = json.loads(run("build", "--json", "demo").stdout)
    assert [each.partition(";")[0] for each in document["ok"]["warnings"]] == [
        f"{Path.cwd()}/{wit}:1: @permanent means nothing for the package template-fibo:activity"
    ]


def test_one_that_fails_does_not_keep_others_from_being_built(run, componentize_py):
    run("new", "fibo", "demo")
    componentize_py(fails_for="fibo_activity")
    built = run("build", "demo")
    assert built.exit_code == 1
    assert built.stderr == (
        "Error: demo/activity/component.toml: componentize-py ended with exit code 1:\nsomething with fibo_activity\n"
    )
    assert not Path("demo/activity/fibo_activity.wasm").exists()
    assert Path("demo/workflow/fibo_workflow.wasm").exists()


def test_a_tool_that_is_missing_is_told_once_before_anything_is_built(run, tmp_path):
    run("new", "fibo", "demo")
    built = run("build")
    assert (built.exit_code, built.stdout) == (1, "")
    assert built.stderr == (
        f"Error: componentize-py was not found in {tmp_path}/beside or on PATH; it makes components of Python. Install it:"
        " pip install 'componentize-py>=0.25,<0.26'\n"
    )


def test_manifests_that_are_wrong_are_told(run):
    Path("component.toml").write_text('language = "fortran"\n')
    built = run("build")
    assert (built.exit_code, built.stdout) == (1, "")
    assert 'component.toml: language: expected "python", "javascript", "rust" or "c"; found "fortran"' in built.stderr
    assert "component.toml: source: is missing" in built.stderr


def test_where_there_is_nothing_to_build_the_command_line_is_wrong(run):
    built = run("build")
    assert built.exit_code == 2
    assert "there is no component.toml in or below .; `obelisk new` makes a project that has one" in built.stderr
    assert run("build", "elsewhere").exit_code == 2


def test_bindings_are_written_beside_each_component(run, componentize_py):
    run("new", "fibo", "demo")
    componentize_py()
    made = run("generate", "bindings", "demo")
    assert (made.exit_code, made.stderr) == (0, "")
    assert made.stdout == (
        '"demo/activity/.bindings" created or updated\n"demo/workflow/.bindings" created or updated\n'
    )
    assert Path("demo/workflow/.bindings/obelisk_guest/__init__.py").is_file()
    again = run("generate", "bindings", "demo/workflow", "--json")
    assert json.loads(again.stdout) == [{"path": "demo/workflow/.bindings", "action": "written"}]


def test_bindings_that_cannot_be_written_are_told(run, tmp_path, componentize_py):
    run("new", "fibo-activity", "demo")
    missing = run("generate", "bindings")
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert missing.stderr.startswith(f"Error: componentize-py was not found in {tmp_path}/beside or on PATH;")
    componentize_py()
    Path("demo/wit/impl.wit").write_text("package any:any;\nworld other {}\n")
    refused = run("generate", "bindings")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.startswith("Error: demo/component.toml: ")
    Path("demo/component.toml").write_text("")
    assert "Error: " in run("generate", "bindings").stderr


def test_where_there_are_no_components_there_are_no_bindings(run):
    assert run("generate", "bindings").output == "There is nothing to generate.\n"


@pytest.mark.parametrize(
    ("language", "source"),
    [
        ("python", "fibo_activity.py"),
        ("javascript", "fibo_activity.js"),
        ("rust", "src/lib.rs"),
        ("c", "fibo_activity.c"),
    ],
)
def test_a_project_is_told_as_json(run, language, source):
    made = run("new", "fibo-activity", "demo", "-l", language, "--json")
    document = json.loads(made.stdout)
    assert document["folder"] == str(Path.cwd() / "demo")
    assert all((Path("demo") / path).is_file() for path in document["files"])
    assert source in document["files"]


def test_templates_are_listed(run):
    assert run("new", "--list").stdout == (
        "fibo           a workflow and the activity that it calls\n"
        "fibo-activity  an activity\n"
        "fibo-workflow  a workflow; its activity is there, built\n"
        "http-activity  an activity that sends HTTP requests\n"
        "in python, javascript, rust, c\n"
    )
    listed = json.loads(run("new", "--list", "--json").stdout)
    assert [each["name"] for each in listed] == ["fibo", "fibo-activity", "fibo-workflow", "http-activity"]
    assert listed[1] == {
        "name": "fibo-activity",
        "summary": "an activity",
        "languages": ["python", "javascript", "rust", "c"],
    }


def test_a_folder_that_is_not_empty_is_refused(run):
    assert run("new", "fibo", "demo").exit_code == 0
    again = run("new", "fibo", "demo")
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr == "Error: demo is not empty (it has .gitignore); a new project needs a folder of its own\n"


def test_a_folder_that_cannot_be_written_is_told(run):
    Path("file").write_text("")
    made = run("new", "fibo", "file/demo")
    assert (made.exit_code, made.stderr) == (1, "Error: file/demo cannot be written: Not a directory\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "TEMPLATE and DIR are missing; --list shows the templates"),
        (("fibo",), "TEMPLATE and DIR are missing; --list shows the templates"),
        (("fibonacci", "demo"), "'fibonacci' is not one of 'fibo', 'fibo-activity', 'fibo-workflow', 'http-activity'"),
        (("fibo", "demo", "--language", "cobol"), "'cobol' is not one of 'python', 'javascript', 'rust', 'c'"),
        (("--list", "fibo"), "--list takes no TEMPLATE"),
    ],
)
def test_a_command_line_that_is_wrong_changes_nothing(run, args, message):
    made = run("new", *args)
    assert (made.exit_code, made.stdout) == (2, "")
    assert message in made.stderr
    assert list(Path().iterdir()) == []


def test_executions_that_stay_for_one_reason_are_told_together(capsys):
    _tell_executions(Redeployment([], ["E_1"], [Stayed("E_2", "why"), Stayed("E_3", "else"), Stayed("E_4", "why")]))
    assert capsys.readouterr().out.splitlines() == [
        "1 execution moved to it",
        "E_2 and 1 execution more go on on the old one: why",
        "E_3 goes on on the old one: else",
    ]


def test_what_is_saved_while_it_is_built_is_not_waited_for(run, tmp_path, monkeypatch):
    """Before there is a server: the watch begins after the build that failed."""
    assert run("new", "fibo-activity", "demo").exit_code == 0
    project = _Project(tmp_path / "here" / "demo" / "obelisk.toml")
    source = next((tmp_path / "here" / "demo").rglob("*.py"))

    def build(manifest, toolbox):
        if saves:
            source.write_text("# mended")
        raise BuildFailed("there is a mistake in it")

    def begun():
        waiting = threading.Thread(target=project.wait_for_changes, daemon=True)
        waiting.start()
        return waiting

    monkeypatch.setattr(dev, "build", build)
    saves = True
    assert not project.build_outdated()
    waiting = begun()
    waiting.join(60)
    assert not waiting.is_alive()
    saves = False
    assert not project.build_outdated()
    waiting = begun()
    waiting.join(3 * dev._LOOK_MS / 1_000)
    assert waiting.is_alive(), "nothing was saved"
    source.write_text("# mended again")
    waiting.join(60)
    assert not waiting.is_alive()
