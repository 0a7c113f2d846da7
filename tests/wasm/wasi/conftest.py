"""A guest of the I/O loop, without a guest."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from obelisk.core.calls import LogLine
from obelisk.core.policy import Sandbox
from obelisk.wasm.wasi.activity import ActivityHost
from obelisk.wasm.wasi.host import is_later
from obelisk.wasm.wasi.tables import ACTIVITY, function_of

_NAME = re.compile(r"(.*@\d+\.\d+\.\d+)\.(.*)")


class Guest:
    """Calls functions of WASI as an activity does: on a thread of its own, waiting on the I/O loop."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.lines: list[LogLine] = []
        self.host = self.new_host(Sandbox())

    def new_host(self, sandbox: Sandbox) -> ActivityHost:
        return ActivityHost(sandbox, self.loop, self.lines.append)

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        return self.host.spawn(coroutine)

    def value(self, answer: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(answer, self.loop).result(60) if is_later(answer) else answer

    def call(self, function: str, *arguments: Any) -> Any:
        interface, name = _NAME.fullmatch(function).groups()  # type: ignore[union-attr]
        found = function_of(ACTIVITY, interface, name)
        assert found is not None, function
        return self.value(found(self.host, *arguments))

    def stop(self) -> None:
        self.host.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.wait(left))
        self.loop.close()


@pytest.fixture
def guest() -> Iterator[Guest]:
    made = Guest()
    yield made
    made.stop()


@pytest.fixture
def calls(fixture_module: Any) -> Any:
    """The functions of wasi:filesystem, each call checked against its WIT: see fixtures/filesystem.py."""
    for name in ("components", "signatures"):
        fixture_module(name)
    return fixture_module("filesystem")
