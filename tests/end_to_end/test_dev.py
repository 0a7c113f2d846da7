"""`obelisk dev`: a server that builds and deploys what is saved. The tool of the language only pretends: it takes the component
that the source names.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

FLOWS = "testing:workflow/flows."
BEGINS = '"testing:workflow/flows#many-sleeps") (param $n i32) (param $ms i64) (result i32)\n    (local $slept i32)'
TOOL = """#!/bin/sh
for given in "$@"; do [ "$before" = --output ] && output=$given; before=$given; done
named=$(sed -n 's/^# //p' app.py)
if [ ! -f "$named" ]; then echo "AssertionError: there is no $named"; exit 1; fi
cp "$named" "$output"
"""
MANIFEST = 'language = "python"\nsource = "app.py"\nworld = "w"\noutput = "app.wasm"\n'
WIT = "package any:any;\nworld w { export t:t/t; }\npackage t:t { interface t { f: func() -> result; } }\n"


class Dev:
    """A project, and the command that runs on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.process: Any = None
        self.address = ""

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "obelisk", "dev", "--config", str(self.folder / "obelisk.toml")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PATH": f"{self.folder.parent}/bin:{os.environ['PATH']}"},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with self.process.stdout as lines:
            for line in lines:
                self.lines.append(line.rstrip("\n"))

    def said(self, text: str, timeout_s: float = 120) -> str:
        """Waits for a line with the text; the lines up to it are not looked at again."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for index, line in enumerate(self.lines):
                if text in line:
                    del self.lines[: index + 1]
                    return line
            time.sleep(0.02)
        raise AssertionError(f"{text!r} was not said, but:\n" + "\n".join(self.lines))

    def obelisk(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "obelisk", *arguments, "--api-url", f"http://{self.address}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code: int = self.process.wait(120)
        self._reader.join()
        return code

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            self._reader.join()


@pytest.fixture
def dev(tmp_path: Path, testing_components: Any) -> Iterator[Dev]:
    """A project with a workflow that can be built, and an activity that is."""
    made = Dev(tmp_path / "project")
    tool = tmp_path / "bin" / "componentize-py"
    tool.parent.mkdir()
    tool.write_text(TOOL)
    tool.chmod(0o755)
    made.write("flow/component.toml", MANIFEST)
    made.write("flow/wit/impl.wit", WIT)
    made.write("flow/app.py", f"# {testing_components.workflow}\n")
    made.write(
        "obelisk.toml",
        f"""
        api.listening_addr = "127.0.0.1:0"
        sqlite.directory = "${{OBELISK_TOML_DIR}}/db"
        codegen_cache.directory = "{tmp_path}/code"
        [[workflow]]
        name = "flows"
        location = "${{OBELISK_TOML_DIR}}/flow/app.wasm"
        [[activity_wasm]]
        name = "acts"
        location = "{testing_components.activity}"
        """,
    )
    yield made
    made.close()


@pytest.fixture
def altered(fixture_module: Callable[[str], Any], tmp_path: Path) -> Path:
    """A component whose `many-sleeps` makes a join set first."""
    made = f"{BEGINS} (call $join_set_drop (call $join_set_create))"
    path: Path = fixture_module("features").variant(tmp_path / "altered", fixture_module("components"), {BEGINS: made})
    return path


def serving(dev: Dev) -> None:
    dev.address = dev.said("Serving gRPC requests at ").rpartition(" ")[2]
    dev.said("watching ")


def test_what_is_saved_is_built_and_deployed_and_open_executions_move(dev: Dev, altered: Path, tmp_path: Path) -> None:
    dev.start()
    dev.said("flow/app.wasm: building")
    dev.said("flow/app.wasm: built in ")
    serving(dev)
    # One that can move, and one that has slept where the new one does something else.
    paused = dev.obelisk("execution", "submit", "--paused", f"{FLOWS}many-sleeps", "[1, 1]")
    asleep = dev.obelisk("execution", "submit", f"{FLOWS}many-sleeps", "[1, 3600000]")
    while "BlockedByJoinSet" not in dev.obelisk("execution", "status", asleep):
        pass
    dev.write("flow/app.py", f"# {altered}\n")
    dev.said("flow/app.wasm: built in ")
    dev.said("flows: deployed anew, sha256:")
    dev.said("1 execution moved to it")
    stayed = dev.said(f"{asleep} goes on on the old one: ")
    assert "nondeterminism detected at version 2" in stayed
    assert dev.obelisk("execution", "unpause", paused) == "Unpaused"
    assert dev.obelisk("execution", "result", "-f", paused).endswith("OK: 1")
    assert "g:1" in dev.obelisk("execution", "events", paused)
    dev.obelisk("execution", "cancel", f"Delay_{asleep[2:]}.o:1-sleep_1")
    while not (status := dev.obelisk("execution", "status", asleep)).startswith("Finished"):
        pass
    assert status.startswith("Finished: Error")  # a sleep that was cancelled is one
    assert "g:1" not in dev.obelisk("execution", "events", asleep)
    # Mistakes change nothing.
    dev.write("flow/app.py", "# nowhere.wasm\n")
    dev.said("Error: flow/app.wasm: componentize-py ended with exit code 1:")
    dev.said("there is no nowhere.wasm")
    toml = (dev.folder / "obelisk.toml").read_text()
    dev.write("obelisk.toml", toml + "nonsense = 1\n")
    dev.said("nonsense")
    dev.write("obelisk.toml", toml.partition("[[activity_wasm]]")[0])
    dev.said("Error: workflow flows imports testing:activity/acts")
    dev.said("What was deployed before goes on.")
    dev.obelisk("execution", "submit", "-f", f"{FLOWS}named", '["x"]')
    # The configuration is deployed too.
    dev.write("obelisk.toml", toml.replace('name = "acts"', 'name = "deeds"'))
    dev.said("acts: not deployed any more")
    dev.said("deeds: deployed, sha256:")
    assert dev.stop() == 0
    assert "stopped" in "\n".join(dev.lines)


def test_a_project_that_cannot_be_built_yet_is_waited_for(dev: Dev, testing_components: Any) -> None:
    dev.write("flow/app.py", "# nowhere.wasm\n")
    dev.start()
    dev.said("Error: flow/app.wasm: ")
    dev.said("waiting for changes in ")
    dev.write("flow/app.py", f"# {testing_components.workflow}\n")
    dev.said("flow/app.wasm: built in ")
    serving(dev)
    assert dev.stop() == 0
    dev.start()  # what is up to date is not built again
    serving(dev)
    assert not any("building" in line for line in dev.lines)
    assert dev.stop() == 0


def test_without_a_configuration_there_is_nothing_to_run(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "obelisk", "dev"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (
        1,
        "Error: there is no obelisk.toml; `obelisk new` makes a project that has one\n",
    )


def test_what_could_not_move_moves_to_a_later_component_and_so_does_what_an_earlier_server_left(
    dev: Dev, altered: Path, testing_components: Any
) -> None:
    dev.start()
    serving(dev)
    asleep = dev.obelisk("execution", "submit", f"{FLOWS}many-sleeps", "[1, 3600000]")
    while "BlockedByJoinSet" not in dev.obelisk("execution", "status", asleep):
        pass
    dev.write("flow/app.py", f"# {altered}\n")
    dev.said(f"{asleep} goes on on the old one: ")
    same_but_other_bytes = dev.folder.parent / "third.wasm"
    same_but_other_bytes.write_bytes(
        Path(testing_components.workflow).read_bytes() + b"\0\2\1x"
    )  # an empty section "x"
    dev.write("flow/app.py", f"# {same_but_other_bytes}\n")
    dev.said("flows: deployed anew, sha256:")
    dev.said("1 execution moved to it")
    assert dev.stop() == 0
    dev.write("flow/app.py", f"# {testing_components.workflow}\n")
    dev.start()
    dev.said("flow/app.wasm: built in ")
    dev.said("1 execution moved to it")
    dev.said("watching ")
    assert dev.stop() == 0


def test_a_folder_that_is_renamed_does_not_end_the_server(dev: Dev) -> None:
    dev.start()
    serving(dev)
    dev.obelisk("component", "list")  # it watches by then
    (dev.folder / "flow").rename(dev.folder / "flowing")
    dev.said("flowing/app.wasm: built in ")
    dev.said("found nothing at")
    (dev.folder / "flowing").rename(dev.folder / "flow")
    dev.said("nothing to deploy: every component is what it was")
    assert dev.stop() == 0
