"""Programs that WASM activities spawn: what a guest sees of them, which are allowed, and that none outlives its run."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from obelisk.core.batch import CancelRequest
from obelisk.core.calls import Output, StdStream
from obelisk.core.lines import LineFilter, LinePage
from obelisk.core.ports import FunctionKind
from obelisk.runtime.programs.copies import digest_of_file
from obelisk.runtime.refusals import DeploymentRefused
from obelisk.wasm.cache import ComponentCache
from obelisk.wasm.description import Descriptions
from obelisk.wasm.wasi.process import FUNCTIONS
from obelisk.wit.checks import Component, check_alone
from obelisk.wit.host import PROCESS, PROCESSES
from obelisk.wit.packages import package_files

IFC = "testing:spawning/spawning"


@pytest.fixture
def spawning(running: Callable[[str], Any], spawning_component: Path) -> Callable[..., Any]:
    """A function: what is allowed -> a runtime with the activity."""

    def begin(allowed: str = "true", root: str = "", expiry_ms: int = 5_000) -> Any:
        return running(
            f'allow_exec_activities = {allowed}\n{root}\n[[activity_wasm]]\nname = "spawning"\nlocation = "{spawning_component}"\n'
            f'max_retries = 0\nexec.lock_expiry.milliseconds = {expiry_ms}\ndirectories.process_provider = "native"'
        )

    return begin


def test_a_child_its_streams_and_its_end(spawning: Any) -> None:
    runtime = spawning()
    assert runtime.run(f"{IFC}.run", "echo", ["hi"], "") == ("ok", "hi\n")
    assert runtime.run(f"{IFC}.run", "tr", ["a-z", "A-Z"], "loud") == ("ok", "LOUD")
    assert runtime.run(f"{IFC}.run", "/bin/sh", ["-c", "env | grep -v ^PWD; cat | wc -c; exit 0"], "x" * 4096) == (
        "ok",
        "4096\n",
    )
    assert runtime.run(f"{IFC}.run", "sh", ["-c", "head -c 90000 /dev/zero | tr '\\0' y"], "") == ("ok", "y" * 90_000)
    assert runtime.run(f"{IFC}.run", "sh", ["-c", "exit 3"], "") == ("err", "exit")
    assert runtime.run(f"{IFC}.run", "sh", ["-c", "kill -9 $$"], "") == ("err", "signal")
    assert runtime.run(f"{IFC}.run", "sh", ["-c", "exec <&-; sleep 0.1; exit 0"], "nobody reads it") == ("ok", "")
    assert runtime.run(f"{IFC}.kills", "sleep", ["100"]) == ("err", "signal")
    execution_id, result = runtime.run_id(f"{IFC}.logs", "echo", ["one\ntwo"])
    assert result == ("ok", "")
    stored = runtime.runtime.reader.lines(LineFilter(execution_id, streams=(StdStream.STDOUT,)), LinePage(10))
    assert b"".join(each.line.data for each in stored if isinstance(each.line, Output)) == b"one\ntwo\n"


def test_what_is_no_command(spawning: Any) -> None:
    runtime = spawning()
    for command, text in {
        "no-such-program": "there is no program no-such-program in the server's PATH",
        "/no/such/program": "there is no /no/such/program",
        "./echo": "expected a name, or an absolute path",
        "": "there is no program",
    }.items():
        kind, reason = runtime.run(f"{IFC}.run", command, [], "")
        assert kind == "err"
        assert text in reason


def test_children_begin_in_the_directory_of_the_execution_if_it_has_one(
    running: Any, spawning_component: Path, tmp_path: Path
) -> None:
    runtime = running(
        f"""
        allow_exec_activities = true
        activities.directories.enabled = true
        activities.directories.parent_directory = "{tmp_path}/own"
        [[activity_wasm]]
        name = "spawning"
        location = "{spawning_component}"
        exec.lock_expiry.seconds = 5
        directories = {{ enabled = true, process_provider = "native" }}
        """
    )
    execution_id, result = runtime.run_id(f"{IFC}.run", "sh", ["-c", "touch it; pwd"], "")
    assert result == ("ok", f"{tmp_path}/own/{execution_id}\n")
    assert (tmp_path / "own" / execution_id / "it").exists()


def test_only_what_is_allowed_is_spawned(spawning: Any) -> None:
    echo = shutil.which("echo")
    assert echo is not None
    digest = digest_of_file(Path(echo))
    kind, reason = spawning("false").run(f"{IFC}.run", "echo", ["hi"], "")
    assert (kind, f'allow_exec_activities.echo = "{digest}"' in reason) == ("err", True)
    runtime = spawning(f'{{ echo = "{digest}", "/bin/sh" = "sha256:{"0" * 64}" }}')
    assert runtime.run(f"{IFC}.run", "echo", ["hi"], "") == ("ok", "hi\n")
    assert runtime.run(f"{IFC}.run", "echo", ["again"], "") == ("ok", "again\n")
    kind, reason = runtime.run(f"{IFC}.run", echo, ["hi"], "")  # the name is part of the word
    assert (kind, f'allow_exec_activities."{echo}" = "{digest}"' in reason) == ("err", True)
    kind, reason = runtime.run(f"{IFC}.run", "/bin/sh", ["-c", "true"], "")
    assert (kind, 'but allow_exec_activities."/bin/sh" allows sha256:000' in reason) == ("err", True)


def test_an_activity_that_may_not_is_refused_at_start(running: Any, spawning_component: Path) -> None:
    toml = f'allow_exec_activities = true\n[[activity_wasm]]\nname = "spawning"\nlocation = "{spawning_component}"\n'
    with pytest.raises(
        DeploymentRefused, match=r'directories\.process_provider = "native" in its table would allow it'
    ):
        running(toml)
    with pytest.raises(DeploymentRefused, match="which only activities may call"):
        running(toml.replace("activity_wasm", "workflow"))


def tree(traces: Any) -> list[str]:
    return [
        "-c",
        f"touch {traces.folder}/$$; setsid sh -c 'touch {traces.folder}/$$; sleep 100; true' & sleep 100; true",
    ]


def test_children_end_with_the_run_that_left_them(spawning: Any, traces: Any) -> None:
    runtime = spawning()
    assert runtime.run(f"{IFC}.leaves", "sh", tree(traces)) == ("ok", "")
    assert traces.gone()


def test_children_end_when_the_run_is_out_of_time_or_cancelled(spawning: Any, traces: Any) -> None:
    runtime = spawning()

    async def run() -> Any:
        execution_id = await runtime.submit(f"{IFC}.run", "sh", tree(traces), "")
        await asyncio.to_thread(traces.pids, 2)
        await runtime.runtime.operate(execution_id, CancelRequest())
        return await runtime.result(execution_id)

    assert asyncio.run(run()).outcome.kind == "cancelled"
    assert traces.gone()
    late = spawning(expiry_ms=500).run(f"{IFC}.run", "sh", ["-c", f"touch {traces.folder}/$$; sleep 100; true"], "")
    assert late[:2] == ("failure", "timed_out")
    assert len(traces.pids(3)) == 3
    assert traces.gone()


def test_no_more_run_at_once_than_may(spawning: Any, traces: Any) -> None:
    runtime = spawning(root="programs.running_max = 1")

    async def run() -> Any:
        first = await runtime.submit(f"{IFC}.run", "sh", tree(traces), "")
        await asyncio.to_thread(traces.pids, 2)
        second = await runtime.submit(f"{IFC}.run", "echo", ["hi"], "")
        refused = await runtime.result(second)
        await runtime.runtime.operate(first, CancelRequest())
        await runtime.result(first)
        assert await asyncio.to_thread(traces.gone)
        return refused

    assert b"programs.running_max" in bytes(asyncio.run(run()).outcome.value)
    assert runtime.run(f"{IFC}.run", "echo", ["hi"], "") == ("ok", "hi\n")  # there is room again


@pytest.mark.parametrize("version", ["0.2.12", "0.2.3"])
def test_the_text_of_the_package_is_what_is_supplied_in_every_version_of_wasi(
    fixture_module: Any, tmp_path: Path, version: str
) -> None:
    folder = tmp_path / "wit"
    for package in ("wasi_io@0.2.12", "obelisk_activity@1.0.0"):
        (folder / "deps" / package).mkdir(parents=True)
        for name, text in package_files(package).items():
            (folder / "deps" / package / name).write_text(text.replace("0.2.12", version))
    (folder / "world.wit").write_text("package any:any; world any { import obelisk:activity/process@1.0.0; }")
    path = tmp_path / "any.wasm"
    path.write_bytes(fixture_module("components").dummy_component(folder, "any"))
    wit = Descriptions(ComponentCache(None)).read(path).wit
    assert check_alone(Component("any", FunctionKind.ACTIVITY, wit)) == ()
    (imported,) = (each for each in wit.imports if each.name == PROCESS)
    assert {each.name for each in imported.functions} == {each.name for each in PROCESSES.functions}
    assert FUNCTIONS["obelisk:activity/process"].keys() == {each.name for each in PROCESSES.functions}
