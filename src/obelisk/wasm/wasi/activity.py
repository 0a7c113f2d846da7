"""The host of one attempt at an activity: real clocks, real randomness, and what its component's sandbox allows.

Decides what ends with the run: every task that was started for it, and whatever was registered with `on_close`. Functions
are called on the thread that runs the guest; tasks and callbacks run on the I/O loop.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from obelisk.core.calls import Log, LogLevel, LogLine, Output, StdStream
from obelisk.core.http_traces import HttpTrace
from obelisk.core.policy import Sandbox
from obelisk.wasm.wasi.filesystem import Files, Preopen
from obelisk.wasm.wasi.host import Answer, Pollable, Subscription
from obelisk.wasm.wasi.output import Lines, LogOutput
from obelisk.wasm.wasi.process import NO_PROCESSES, Processes
from obelisk.wasm.wasi.room import PROCESS
from obelisk.wasm.wasi.sockets import Network
from obelisk.wasm.wasi.streams import EmptyInput
from obelisk.wit.types import Value

if TYPE_CHECKING:  # imported with the first component that has a use for it, see `tables`
    from obelisk.wasm.wasi.http.client import HttpClient


def _sends_nothing() -> HttpClient:
    from obelisk.wasm.wasi.http.client import sends_nothing

    return sends_nothing()


class Deadline:
    """Ready at an instant of the monotonic clock."""

    def __init__(self, monotonic_ns: int) -> None:
        self.at_ns = monotonic_ns

    def ready(self) -> bool:
        """See `Pollable`."""
        return time.monotonic_ns() >= self.at_ns

    async def wait(self) -> None:
        """See `Pollable`."""
        left_ns = self.at_ns - time.monotonic_ns()
        if left_ns > 0:
            await asyncio.sleep(left_ns / 1e9)


class ActivityHost:
    """Implements `obelisk.wasm.wasi.host.Host`. Made for each attempt, of which most want nothing of it."""

    arguments: tuple[str, ...] = ()
    processes: Processes = NO_PROCESSES
    _http: HttpClient | None = None
    _files: Files | None = None
    _network: Network | None = None
    _closed = False

    def __init__(
        self,
        sandbox: Sandbox,
        loop: asyncio.AbstractEventLoop,
        sink: Callable[[LogLine], None],
        http: Callable[[], HttpClient] = _sends_nothing,
        preopens: Sequence[Preopen] = (),
    ) -> None:
        """`http`: makes the client, for a guest that asks for one: most do not. `preopens`: the directories that it is given."""
        self._make_http = http
        self._sandbox = sandbox
        self.loop = loop
        self._sink = sink
        self._lines: dict[StdStream, Lines] = {}
        """Of the streams that it has asked for."""
        self._tasks: set[Future[Any]] = set()
        self._closers: list[Callable[[], None]] = []
        self._preopens = preopens

    @property
    def http(self) -> HttpClient:
        """What the guest may do over HTTP."""
        if self._http is None:
            self._http = self._make_http()
            self._http.tell = lambda text: self.log(LogLevel.WARN, text)
        return self._http

    @property
    def http_traces(self) -> tuple[HttpTrace, ...]:
        """What it sent over HTTP by now."""
        return () if self._http is None else self._http.traces

    @property
    def environment(self) -> tuple[tuple[str, str], ...]:
        """See `Host`. Secrets are in it as what stands for them."""
        if not any(target.secrets for target in self._sandbox.http.allowed):
            return self._sandbox.environment
        return (*self._sandbox.environment, *self.http.environment.items())

    # --- the guest's world -------------------------------------------------------------------------------------------

    @property
    def stdin(self) -> EmptyInput:
        """See `Host`."""
        return EmptyInput()

    @property
    def stdout(self) -> LogOutput:
        """See `Host`."""
        return self._output(StdStream.STDOUT)

    @property
    def stderr(self) -> LogOutput:
        """See `Host`."""
        return self._output(StdStream.STDERR)

    @property
    def files(self) -> Files:
        """What it may touch of the file system."""
        if self._files is None:
            self._files = Files(self._preopens, self._warn, self.wall_now)
        return self._files

    @property
    def network(self) -> Network:
        """What it may reach."""
        if self._network is None:
            self._network = Network(self._sandbox.tcp, self._warn, self.loop, self.spawn, PROCESS)
        return self._network

    @property
    def directory(self) -> Path | None:
        """The execution's own directory, on the host."""
        return next((each.host for each in self._preopens if each.guest == "."), None)

    def wall_now(self) -> int:
        """See `Host`."""
        return time.time_ns()

    def monotonic_now(self) -> Answer:
        """See `Host`."""
        return time.monotonic_ns()

    def at(self, monotonic_ns: int) -> Pollable:
        """See `Host`."""
        return Deadline(monotonic_ns)

    def random_bytes(self, count: int) -> Answer:
        """See `Host`."""
        return os.urandom(count)

    def poll(self, pollables: Sequence[Pollable]) -> Answer:
        """See `Host`."""
        ready = _ready(pollables)
        return ready or _wait_for_any(pollables)

    def log(self, level: LogLevel, message: str) -> None:
        """A line of `obelisk:log`."""
        self._sink(Log(level, message))

    # --- the run -----------------------------------------------------------------------------------------------------

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Starts a task on the I/O loop; from any thread. It is cancelled when the run ends."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        self._tasks.add(future)
        future.add_done_callback(self._tasks.discard)
        if self._closed:
            future.cancel()
        return future

    def on_close(self, callback: Callable[[], None]) -> None:
        """Has the loop call something when the run ends; from any thread."""
        self._closers.append(callback)

    def close(self) -> None:
        """The run is over; from any thread, also more than once. Does not wait for what it cancels."""
        if self._closed:
            return
        self._closed = True
        for lines in self._lines.values():
            for piece in lines.rest():
                self._sink(piece)
        for task in tuple(self._tasks):
            task.cancel()
        if self._files is not None:
            self._files.close()
        if self._network is not None:
            self.on_close(self._network.close)
        for callback in self._closers:
            if self.loop.is_running():
                self.loop.call_soon_threadsafe(callback)
            else:
                callback()  # nothing of this run can be on it

    def _warn(self, event: str) -> None:
        self.log(LogLevel.WARN, event)

    def _output(self, stream: StdStream) -> LogOutput:
        lines = self._lines.get(stream)
        if lines is None:
            lines = self._lines[stream] = Lines(stream)
        return LogOutput(lines, self._emit)

    def _emit(self, piece: Output) -> None:
        self._sink(piece)


def _ready(pollables: Sequence[Pollable]) -> list[int]:
    return [index for index, pollable in enumerate(pollables) if pollable.ready()]


async def _wait_for_any(pollables: Sequence[Pollable]) -> Value:
    if len(pollables) == 1:
        await pollables[0].wait()
        return [0]
    distinct = _distinct(pollables)
    while not (ready := _ready(pollables)):
        waits = [asyncio.ensure_future(pollable.wait()) for pollable in distinct]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
    return ready


def _distinct(pollables: Sequence[Pollable]) -> list[Pollable]:
    """What there is to wait for: each thing once, however often it is named, and of the deadlines the first. A task is made
    for each, on the loop of all runs.
    """
    found: dict[int, Pollable] = {}
    first: Deadline | None = None
    for pollable in pollables:
        if isinstance(pollable, Deadline):
            first = pollable if first is None or pollable.at_ns < first.at_ns else first
        else:
            one = pollable.of if isinstance(pollable, Subscription) else pollable
            found[id(one)] = one
    return [*found.values(), *([] if first is None else [first])]
