"""Rows of the table of features: schema first, and the configuration and commands of the pages that present Obelisk."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from obelisk.proto import obelisk_pb2 as pb

FIBO = "template-fibo:workflow/fibo-workflow-ifc."
SEED = """
api.listening_addr = "127.0.0.1:0"
sqlite.directory = "${OBELISK_TOML_DIR}/db"
codegen_cache.directory = "${OBELISK_TOML_DIR}/code"

[[activity_wasm]]
name = "activity_myfibo"
location = "${OBELISK_TOML_DIR}/fibo_activity.wasm"

[[workflow]]
name = "myworkflow"
location = "${OBELISK_TOML_DIR}/target/wasm32-unknown-unknown/release/myworkflow.wasm"
exec.lock_expiry.seconds = 1
join_next_blocking_strategy = "await"
"""
"""What the page on workflows shows, with what it leaves out filled in."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, fibo_components: Any) -> Path:
    """The folder of the page, built."""
    folder = tmp_path_factory.mktemp("page") / "myworkflow"
    release = folder / "target" / "wasm32-unknown-unknown" / "release"
    release.mkdir(parents=True)
    shutil.copy(fibo_components.workflow, release / "myworkflow.wasm")
    shutil.copy(fibo_components.activity, folder / "fibo_activity.wasm")
    (folder / "obelisk.toml").write_text(SEED)
    return folder


Obelisk = Callable[..., str]


@contextmanager
def started(cwd: Path, config: str) -> Iterator[Obelisk]:
    """`obelisk server run --config …` in a folder; a function that runs commands against it."""
    command = [sys.executable, "-m", "obelisk"]
    with subprocess.Popen(
        [*command, "server", "run", "--config", config],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("Serving gRPC requests at "), process.stderr.read()
            url = f"http://{line.rpartition(' ')[2].strip()}"

            def run(*arguments: str) -> str:
                done = subprocess.run(
                    [*command, *arguments, "--api-url", url], capture_output=True, text=True, check=False, timeout=120
                )
                assert done.returncode == 0, done.stderr
                return done.stdout

            yield run
        finally:
            process.terminate()
            process.communicate()


@pytest.fixture(scope="module")
def page(project: Path) -> Iterator[Obelisk]:
    """The server of the page."""
    with started(project, "./obelisk.toml") as obelisk:
        yield obelisk


def test_w10_functions_are_described_in_wit(served: Any) -> None:
    lines = served.done("component", "list", "--extensions").splitlines()
    assert f"\t{FIBO}fiboa : func(n: u8, iterations: u32) -> result<u64>" in lines
    (submit,) = [line for line in lines if "fibo-activity-ifc.fibo-submit" in line]
    assert submit.startswith(
        "\ttemplate-fibo:activity-obelisk-ext/fibo-activity-ifc.fibo-submit : func(join-set: borrow<join-set>, n: u8) -> "
    )


@pytest.mark.acceptance
def test_w13_a_new_project_is_built_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In C, whose tools need no registry; the other languages' projects are made and run by `make tutorials`."""

    def obelisk(*arguments: str, cwd: Path) -> str:
        command = [sys.executable, "-m", "obelisk", *arguments]
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    obelisk("new", "fibo", "myproject", "--language", "c", cwd=tmp_path)
    folder = tmp_path / "myproject"
    assert "template-fibo:activity/fibo-activity-ifc.fibo : func(n: u8) -> result<u64>" in obelisk("build", cwd=folder)
    monkeypatch.setenv("OBELISK__API__LISTENING_ADDR", "127.0.0.1:0")
    monkeypatch.setenv("OBELISK__CODEGEN_CACHE__DIRECTORY", str(tmp_path / "code"))
    with started(folder, "obelisk.toml") as run:
        for function, params in (("fiboa", "[10,5]"), ("fiboa-concurrent", "[10,5]")):
            assert "Execution finished: OK: 55\n" in run("execution", "submit", "--follow", FIBO + function, params)


def test_w14_the_packages_of_a_project_are_generated(project: Path) -> None:
    """The tree of the page, and every file of it can be parsed."""

    def generate(*arguments: str) -> str:
        command = [sys.executable, "-m", "obelisk", "generate", *arguments]
        return subprocess.run(command, cwd=project, capture_output=True, text=True, check=True, timeout=120).stdout

    wit = project / "wit"
    (wit / "deps" / "template-fibo_workflow").mkdir(parents=True)
    (wit / "deps" / "template-fibo_workflow" / "fibo-workflow.wit").write_text(
        "package template-fibo:workflow;\n"
        "interface fibo-workflow-ifc { fiboa: func(n: u8, iterations: u32) -> result<u64>; }\n"
    )
    (wit / "impl.wit").write_text(
        "package any:any;\nworld any {\n  export template-fibo:workflow/fibo-workflow-ifc;\n"
        "  import template-fibo:activity/fibo-activity-ifc;\n  import template-fibo:activity-obelisk-ext/fibo-activity-ifc;\n"
        "  import obelisk:workflow/workflow-support@5.1.0;\n}\n"
    )
    commands = (
        ("wit-support", "workflow", "wit/deps"),
        ("wit-deps", "wit/deps", "--config", "obelisk.toml"),
        ("wit-extensions", "workflow", "wit"),
    )
    for command in commands:
        generate(*command)
    folders = {str(path.relative_to(wit)) for path in wit.rglob("*") if path.is_dir()}
    assert folders >= {
        *("deps/obelisk_types@4.2.0", "deps/obelisk_workflow@5.1.0", "deps/template-fibo_activity"),
        *("deps/template-fibo_activity-obelisk-ext", "deps/template-fibo_workflow"),
        *("template-fibo_workflow-obelisk-ext", "template-fibo_workflow-obelisk-schedule"),
    }
    assert [path.name for path in (wit / "deps" / "template-fibo_workflow").iterdir()] == ["fibo-workflow.wit"]
    before = {path: path.read_text() for path in wit.rglob("*.wit")}
    said = [generate(*command, "--json") for command in commands]
    assert {path: path.read_text() for path in wit.rglob("*.wit")} == before
    assert {each["action"] for text in said for each in json.loads(text)} == {"same", "kept"}


def test_w17_the_configuration_of_the_page_is_accepted(page: Obelisk) -> None:
    found = {
        each["component_id"]["name"]: each["component_id"]["component_type"]
        for each in json.loads(page("component", "list", "-j"))
    }
    assert found == {"activity_myfibo": "activity_wasm", "myworkflow": "workflow"}


def test_w18_it_is_read_from_anywhere(project: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "obelisk", "server", "verify", "--config", str(project / "obelisk.toml")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "Obelisk configuration was verified\n")
    assert list(tmp_path.iterdir()) == []


def test_w19_the_server_of_the_page_runs(page: Obelisk) -> None:
    assert "Execution finished: OK: 55\n" in page("execution", "submit", "--follow", FIBO + "fiboa", "[10,2]")


def test_w20_components_are_listed_as_on_the_page(page: Obelisk) -> None:
    expected = """
        activity_myfibo activity_wasm:activity_myfibo
        Exports:
        template-fibo:activity/fibo-activity-ifc.fibo : func(n: u8) -> result<u64>
        myworkflow workflow:myworkflow
        Exports:
        template-fibo:workflow/fibo-workflow-ifc.fiboa : func(n: u8, iterations: u32) -> result<u64>
        template-fibo:workflow/fibo-workflow-ifc.fiboa-concurrent : func(n: u8, iterations: u32) -> result<u64>
    """
    assert page("component", "list").split() == expected.split()


def test_m27_parameters_are_checked_when_an_execution_is_created(served: Any) -> None:
    before = len(served.json("execution", "list", "--limit", "200"))
    for params, message in (
        (b'[10,"x"]', 'params[1]: expected u32, got "x"'),
        (b"[256,1]", "params[0]"),
        (b"[10]", ""),
        (b"{}", ""),
    ):
        request = pb.SubmitRequest(
            execution_id=pb.ExecutionId(id="E_01K42AJA8QHD7D3GTJAYMASFYZ"),
            function_name=pb.FunctionName(interface_name=FIBO[:-1], function_name="fiboa"),
        )
        request.params.value = params
        with pytest.raises(grpc.RpcError) as refused:
            served.server.executions.Submit(request)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert message in refused.value.details()
        assert "func(n: u8, iterations: u32) -> result<u64>" in refused.value.details()
    assert len(served.json("execution", "list", "--limit", "200")) == before


def test_m313_imports_and_exports_are_printed_as_wit(served: Any, fibo_components: Any, tmp_path: Path) -> None:
    names = [
        line.partition("\t")[0] for line in served.done("component", "list").splitlines() if "\t" in line.strip("\t")
    ]
    for name in names:
        text = served.done("component", "wit", name)
        assert text.startswith(("package root:component;", "package "))
        path = tmp_path / f"{name}.wit"
        path.write_text(text)
        inspected = served.cli("component", "inspect", "activity_stub", str(path), "--wit")
        # Parsed and printed again it is the same, but for the order of packages.
        assert sorted(inspected.output.splitlines()) == sorted(text.splitlines())
        assert inspected.output
