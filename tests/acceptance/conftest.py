"""Real server processes: started, killed, restarted, and asked over gRPC."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest

from obelisk.core.events import ChildRequested, Finished, kind_of
from obelisk.core.ids import ExecutionId, absolute
from obelisk.core.reading import ExecutionFilter, Page
from obelisk.core.values import Json, Ok
from obelisk.proto import obelisk_pb2 as pb
from obelisk.proto import obelisk_pb2_grpc as rpc
from obelisk.store.sqlite import SqliteReader

HERE = Path(__file__).resolve().parent
READY = "Serving gRPC requests at "
ALL = 1 << 30


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs Debian packages or minutes."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.acceptance)


class Server:
    """One server process on its own folder. `start` may be called again after it has died."""

    def __init__(self, directory: Path, toml: str) -> None:
        self.directory = directory
        self.toml = directory / "obelisk.toml"
        self.toml.write_text(
            f'api.listening_addr = "127.0.0.1:0"\nsqlite.directory = "{directory}/db"\n'
            f'codegen_cache.directory = "{directory.parent}/code"\n{toml}'
        )
        self.log = directory / "server.log"
        self.process: subprocess.Popen[str] | None = None
        self.address = ""
        self.ready_at = 0.0
        self._channel: grpc.Channel | None = None

    @property
    def database(self) -> Path:
        return self.directory / "db" / "obelisk.sqlite"

    def reader(self) -> SqliteReader:
        """Reads the file itself, whether or not the server lives. Use `contextlib.closing`."""
        return SqliteReader(str(self.database))

    def command(self) -> list[str]:
        return [sys.executable, "-m", "obelisk", "server", "run", "--config", str(self.toml)]

    def start(self, env: Mapping[str, str] | None = None, *, wait: bool = True) -> None:
        """Starts the process; with `wait`, until it says that it serves."""
        self._close_channel()
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.command(), stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **(env or {})}
            )
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(READY):
                self.ready_at = time.monotonic()
                self.address = line.removeprefix(READY).strip()
                return
        raise AssertionError(f"the server ended with {self.process.wait()}:\n{self.log.read_text()[-4000:]}")

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        assert self.process is not None
        self.process.kill()
        self.wait_dead()

    def wait_dead(self, timeout_s: float = 30.0) -> int:
        assert self.process is not None
        code = self.process.wait(timeout_s)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._close_channel()
        return code

    def stop(self) -> int:
        """A clean stop; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait_dead()

    # --- asking ------------------------------------------------------------------------------------------------------

    def _close_channel(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    @property
    def executions(self) -> Any:
        if self._channel is None:
            self._channel = grpc.insecure_channel(self.address)
        return rpc.ExecutionRepositoryStub(self._channel)

    def new_id(self) -> str:
        return str(self.executions.GenerateExecutionId(pb.GenerateExecutionIdRequest()).execution_id.id)

    def submit(self, ffqn: str, *params: Any, execution_id: str | None = None) -> str:
        chosen = execution_id or self.new_id()
        interface, _, function = ffqn.rpartition(".")
        request = pb.SubmitRequest(
            execution_id=pb.ExecutionId(id=chosen),
            function_name=pb.FunctionName(interface_name=interface, function_name=function),
        )
        request.params.value = msgspec.json.encode(params)
        self.executions.Submit(request, timeout=20)
        return chosen

    def finished(self, execution_id: str, timeout_s: float = 60.0) -> Any:
        """Waits for the end; the `FinishedStatus`."""
        request = pb.GetStatusRequest(
            execution_id=pb.ExecutionId(id=execution_id), follow=True, send_finished_status=True
        )
        for message in self.executions.GetStatus(request, timeout=timeout_s):
            if message.HasField("finished_status"):
                return message.finished_status
        raise AssertionError(f"{execution_id} did not finish")

    def result(self, execution_id: str, timeout_s: float = 60.0) -> Any:
        """The end as data: ("ok", value), ("err", value) or ("failure", kind, reason)."""
        value = self.finished(execution_id, timeout_s).value
        match value.WhichOneof("value"):
            case "ok":
                return ("ok", _json(value.ok.return_value.value))
            case "error":
                return ("err", _json(value.error.return_value.value))
            case _:
                failure = value.execution_failure
                kind = pb.ExecutionFailureKind.Name(failure.kind).removeprefix("EXECUTION_FAILURE_KIND_").lower()
                return ("failure", kind, failure.reason)

    def events(self, execution_id: str) -> list[Any]:
        found: list[Any] = []
        while True:
            request = pb.ListExecutionEventsRequest(
                execution_id=pb.ExecutionId(id=execution_id), version_from=len(found), length=1000
            )
            page = self.executions.ListExecutionEvents(request).events
            found += page
            if len(page) < 1000:
                return found

    def kinds(self, execution_id: str) -> list[str]:
        """Kinds of all events; history events by their own kind."""
        found = []
        for event in self.events(execution_id):
            kind = event.WhichOneof("event")
            found.append(event.history_variant.WhichOneof("event") if kind == "history_variant" else kind)
        return found

    def check_fibo(self, execution_id: str, children: int) -> None:
        """The value is right; every child exists once and finished once; no version is missing anywhere."""
        assert self.result(execution_id, 120) == ("ok", 55)
        with closing(self.reader()) as reader:
            parent = ExecutionId(execution_id)
            log = reader.events(parent, 0, ALL)
            requested = [absolute(parent, each.event.child) for each in log if isinstance(each.event, ChildRequested)]
            assert len(set(requested)) == len(requested) == children
            tree = reader.executions(ExecutionFilter(top_level_only=False, root=parent), Page(ALL), 0)
            assert {state.execution_id for state in tree} == {parent, *requested}
            for state in tree:
                entries = reader.events(state.execution_id, 0, ALL)
                kinds = [kind_of(entry.event) for entry in entries]
                assert [entry.version for entry in entries] == list(range(len(entries)))
                assert kinds[0] == "created"
                assert kinds.count("finished") == 1
                assert entries[-1].event == Finished(Ok(Json(b"55")))
            responses = reader.responses(parent, 0, ALL)
            assert [response.seq for response in responses] == list(range(1, children + 1))


def _json(data: bytes) -> Any:
    return msgspec.json.decode(data) if data else None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    """A function: TOML text -> a `Server` that was not started yet. All are killed at the end."""
    made: list[Server] = []

    def make(toml: str) -> Server:
        directory = tmp_path / f"server-{len(made)}"
        directory.mkdir()
        made.append(Server(directory, toml))
        return made[-1]

    yield make
    for each in made:
        if each.process is not None and each.process.poll() is None:
            each.kill()
        with contextlib.suppress(AttributeError):
            each._close_channel()


@pytest.fixture
def fibo(server: Any, fibo_components: Any) -> Server:
    """A server with the example's components, not started yet."""
    made: Server = server(
        f"""
        [[activity_wasm]]
        name = "activity_myfibo"
        location = "{fibo_components.activity}"
        exec.lock_expiry.seconds = 60

        [[workflow]]
        name = "myworkflow"
        location = "{fibo_components.workflow}"
        """
    )
    return made


@pytest.fixture
def flows(server: Any, testing_components: Any) -> Server:
    """A server with the components of tests/fixtures, nothing retried, not started yet."""
    made: Server = server(
        f"""
        [[activity_wasm]]
        name = "acts"
        location = "{testing_components.activity}"
        max_retries = 0
        exec.lock_expiry.milliseconds = 10
        exec.memory_max_bytes = 4194304

        [[workflow]]
        name = "flows"
        location = "{testing_components.workflow}"
        exec.cpu_budget.milliseconds = 20
        exec.memory_max_bytes = 4194304
        """
    )
    return made


@pytest.fixture(scope="session")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The LD_PRELOAD library of faults.c."""
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    source = HERE / "faults.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source, "-ldl"], check=True)
    return library
