"""Servers of Obelisk for measuring: real processes on temporary folders, asked over gRPC as users would."""

from __future__ import annotations

import compileall
import functools
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import components  # of tests/fixtures
from serving import Server, outcome  # of tests/fixtures

import obelisk
from obelisk.core.ids import ulid

ROOT: Final = Path(__file__).resolve().parents[1]
EXAMPLE: Final = ROOT / "examples" / "fibo" / "components"
FIBO: Final = "template-fibo:workflow/fibo-workflow-ifc."
FIBO_ACTIVITY: Final = "template-fibo:activity/fibo-activity-ifc.fibo"
FLOWS: Final = "testing:workflow/flows."
ALL: Final = 1 << 30
_CLIENTS: Final = 16


@contextmanager
def serving(toml: str, *, database: Path | None = None) -> Iterator[Server]:
    """A running server on a temporary folder. `database`: a file to move there first."""
    _compile()
    with tempfile.TemporaryDirectory(prefix="obelisk-bench-") as folder:
        directory = Path(folder) / "server"
        directory.mkdir()
        server = Server(directory, toml)
        if database is not None:
            server.database.parent.mkdir()
            database.rename(server.database)
        server.start()
        try:
            yield server
        finally:
            if server.process is not None and server.process.poll() is None:
                server.stop()


@functools.cache
def _compile() -> None:
    """Has the bytecode of Obelisk written, as pip has for what it installs: a checkout has none where PYTHONDONTWRITEBYTECODE is
    set, and each start would compile it, for half a second.
    """
    compileall.compile_dir(Path(obelisk.__file__).parent, quiet=1)


def table(kind: str, name: str, path: Path, keys: str = "") -> str:
    """A component's table."""
    return f'[[{kind}]]\nname = "{name}"\nlocation = "{path}"\n{keys}\n'


def fibo_toml() -> str:
    """The components of `examples/fibo`."""
    activity = table("activity_wasm", "fibo", EXAMPLE / "fibo_activity.wasm", "exec.lock_expiry.minutes = 10")
    return activity + table("workflow", "flow", EXAMPLE / "fibo_workflow.wasm")


@functools.cache
def _built() -> components.Built:
    folder = tempfile.TemporaryDirectory(prefix="obelisk-bench-components-")
    _KEPT.append(folder)
    return components.build(Path(folder.name) / "components")


_KEPT: Final[list[tempfile.TemporaryDirectory[str]]] = []
"""Folders that go with the process."""


def flows_toml() -> str:
    """The test components."""
    built = _built()
    return table("activity_wasm", "acts", built.activity) + table("workflow", "flows", built.workflow)


def new_id() -> str:
    """An execution id, made here: asking for one is another round trip."""
    return f"E_{ulid(time.time_ns() // 1_000_000, os.urandom(10))}"


def run_s(server: Server, function: str, *params: Any) -> float:
    """Seconds that one execution takes, as its client sees it."""
    chosen = new_id()
    begun = time.perf_counter()
    ended = server.call(function, *params, execution_id=chosen, timeout_s=300)
    took = time.perf_counter() - begun
    assert ended[0] == "ok", ended
    return took


def submit_many(server: Server, count: int, function: str, *params: Any) -> list[str]:
    """Submits the same `count` times, from several threads."""
    with ThreadPoolExecutor(_CLIENTS) as pool:
        return list(pool.map(lambda _: server.submit(function, *params, execution_id=new_id()), range(count)))


def call_many(server: Server, count: int, function: str, *params: Any) -> None:
    """Calls the same `count` times at once, and waits for all of them."""
    calls = [server.begin_call(function, *params, execution_id=new_id(), timeout_s=300) for _ in range(count)]
    outcomes = [outcome(call.result().finished_status) for call in calls]
    assert all(kind == "ok" for kind, *_ in outcomes), outcomes


def pid_of(server: Server) -> int:
    """The process of a running server."""
    assert server.process is not None
    return server.process.pid
