"""A whole runtime in the test's process: real components, a real SQLite file, no doors."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from obelisk.config import load
from obelisk.core.events import DelayRequested, LogEntry
from obelisk.core.ids import ExecutionId
from obelisk.core.names import FunctionName
from obelisk.core.reading import FinalResult
from obelisk.core.state import Status
from obelisk.core.values import Err, Failure, Ok
from obelisk.engine.effects import AnswerKind
from obelisk.runtime import clock as clock_module
from obelisk.runtime.runtime import Failure as RuntimeFailure
from obelisk.runtime.runtime import Runtime, start
from obelisk.wasm.component import ComponentLoader
from obelisk.wasm.engine import EngineConfig, Engines

ALL = 1 << 30
PATIENCE = float(os.environ.get("OBELISK_TEST_PATIENCE", "1"))


@pytest.fixture(scope="session")
def loader(tmp_path_factory: pytest.TempPathFactory) -> ComponentLoader:
    """A loader of components, with a cache."""
    return ComponentLoader(Engines(EngineConfig(pooling=False)), tmp_path_factory.mktemp("code"))


class Running:
    """A started runtime, and how tests use it."""

    def __init__(self, directory: Path, toml: str) -> None:
        self.directory = directory
        path = directory / "obelisk.toml"
        path.write_text(toml)
        self.failure = RuntimeFailure()
        gc.collect()  # one that was stopped is full of cycles, and has a sixth of all memory mappings until it is gone
        self.runtime: Runtime = start(load(path, {}, directory), self.failure)

    def stop(self) -> None:
        self.runtime.refuse_new_work()
        self.runtime.stop()
        assert self.failure.error is None

    async def submit(self, ffqn: str, *params: Any, execution_id: ExecutionId | None = None) -> ExecutionId:
        runtime = self.runtime
        chosen = execution_id or runtime.new_execution_id()
        name = FunctionName(ffqn)
        canonical = runtime.catalogue.check_params(name, msgspec.json.encode(params))
        assert await runtime.submit(chosen, name, canonical, {}, None) is AnswerKind.CREATED
        return chosen

    async def asleep(self, execution_id: ExecutionId, times: int = 1) -> None:
        """Waits until it is, for the first time, the second, ... It should sleep for hours, and wake by `Clock.put_forward`: how
        long it takes until the test goes on is not known.
        """
        async with self.runtime.watch(execution_id) as changes:
            while sum(isinstance(entry.event, DelayRequested) for entry in self.log(execution_id)) < times:
                await asyncio.wait_for(changes.changed(), 60)
            while self.runtime.reader.state(execution_id).status is not Status.BLOCKED:
                await asyncio.wait_for(changes.changed(), 60)

    async def result(self, execution_id: ExecutionId) -> FinalResult:
        async with self.runtime.watch(execution_id) as changes:
            while (result := self.runtime.reader.result(execution_id)) is None:
                await changes.changed()
        return result

    def run(self, ffqn: str, *params: Any) -> Any:
        """Submits, waits, and gives the result as data: ("ok", value), ("err", value) or ("failure", kind, reason)."""
        _, outcome = self.run_id(ffqn, *params)
        return outcome

    def run_id(self, ffqn: str, *params: Any) -> tuple[ExecutionId, Any]:
        async def go() -> tuple[ExecutionId, FinalResult]:
            execution_id = await self.submit(ffqn, *params)
            return execution_id, await asyncio.wait_for(self.result(execution_id), 60 * PATIENCE)

        execution_id, result = asyncio.run(go())
        return execution_id, shown(result)

    def log(self, execution_id: ExecutionId) -> list[LogEntry]:
        return self.runtime.reader.events(execution_id, 0, ALL)


def shown(result: FinalResult) -> Any:
    match result.outcome:
        case Ok(value):
            return ("ok", msgspec.json.decode(value) if value else None)
        case Err(value):
            return ("err", msgspec.json.decode(value) if value else None)
        case Failure(kind, reason):
            return ("failure", str(kind), reason)


class Clock:
    """The time of day for all runtimes of a test: that of the system, and more once the test wants it to be later."""

    def __init__(self) -> None:
        self._ahead_ns = 0

    def time_ns(self) -> int:
        return time.time_ns() + self._ahead_ns

    def put_forward(self, hours: int, running: Running | None = None) -> None:
        """Makes it so much later; a runtime that runs must be given, or it goes on to wait for as long as it wanted to."""
        self._ahead_ns += hours * 3_600 * 1_000_000_000
        if running is not None:
            running.runtime._driver.between_ticks(lambda: None).result(60)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(clock_module, "time", SimpleNamespace(time_ns=made.time_ns, monotonic_ns=time.monotonic_ns))
    return made


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Callable[[str], Running]]:
    """A function: TOML text -> a started runtime in the test's folder, stopped at the end."""
    started: list[Running] = []

    def begin(toml: str) -> Running:
        directory = tmp_path / f"runtime-{len(started)}"
        directory.mkdir(exist_ok=True)
        (directory / "db").mkdir(exist_ok=True)
        text = f'sqlite.directory = "{directory}/db"\ncodegen_cache.directory = "{tmp_path}/code"\n{toml}'
        started.append(Running(directory, text))
        return started[-1]

    yield begin
    for each in started:
        each.stop()


@pytest.fixture
def flows(running: Callable[[str], Running], testing_components: Any) -> Running:
    """A runtime with the components of tests/fixtures."""
    return running(
        f"""
        [[activity_wasm]]
        name = "acts"
        location = "{testing_components.activity}"
        max_retries = 1
        retry_exp_backoff.milliseconds = 10
        exec.lock_expiry.milliseconds = 300
        exec.memory_max_bytes = 4194304

        [[workflow]]
        name = "flows"
        location = "{testing_components.workflow}"
        exec.cpu_budget.milliseconds = 30
        exec.memory_max_bytes = 4194304
        """
    )
