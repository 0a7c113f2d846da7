"""obelisk:activity/process: programs of the host, as children of a run.

Decides what a guest sees of a child: its streams, its end, and why it could not be started. Which programs may be started,
and how they are held and ended, is decided by whoever implements `Processes`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from enum import Enum
from typing import Any, Final, Protocol

import msgspec

from obelisk.wasm.wasi.host import Answer, WasiFunction, method
from obelisk.wasm.wasi.streams import InputStream, OutputStream, Sink, Source
from obelisk.wit.types import Value


class Stdio(Enum):
    """Where a standard stream of a child leads; in the order of the interface."""

    DISCARD = 0
    PIPED = 1
    INHERIT = 2


class Why(Enum):
    """Why a child could not be started; in the order of the interface."""

    NOT_PERMITTED = 0
    NOT_FOUND = 1
    INVALID = 2
    FAILED = 3


class SpawnFailed(Exception):
    """A child could not be started; the guest is told `why` and the text."""

    def __init__(self, why: Why, text: str) -> None:
        super().__init__(text)
        self.why = why


class ChildLost(Exception):
    """Nobody can say how a child ended."""


class Spawn(msgspec.Struct, frozen=True):
    """A child that a guest wants."""

    command: str
    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    directory: str | None
    stdin: Stdio
    stdout: Stdio
    stderr: Stdio


class ClosingSink(Sink, Protocol):
    """A sink that can be closed; on the loop."""

    def close(self) -> None:
        """No more will come."""
        ...


class ClosingSource(Source, Protocol):
    """A source that can be closed; on the loop."""

    def close(self) -> None:
        """No more is wanted."""
        ...


class Child(Protocol):
    """A running program. Its streams are None where they are not piped."""

    @property
    def id(self) -> int:
        """The system's number of it."""
        ...

    @property
    def stdin(self) -> ClosingSink | None:
        """What it reads."""
        ...

    @property
    def stdout(self) -> ClosingSource | None:
        """What it writes."""
        ...

    @property
    def stderr(self) -> ClosingSource | None:
        """What else it writes."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether it has ended; from any thread."""
        ...

    async def ended(self) -> int | None:
        """Its exit code; None when a signal ended it. On the loop. `ChildLost`."""
        ...

    def kill(self) -> None:
        """Ends it, and all that it started; on the loop."""
        ...


class Processes(Protocol):
    """Starts programs for one run, and ends them with it."""

    async def spawn(self, wanted: Spawn) -> Child:
        """Starts one; on the loop. `SpawnFailed`."""
        ...


class NoProcesses:
    """Implements `Processes`, for runs that must not have any."""

    async def spawn(self, wanted: Spawn) -> Child:
        """Never."""
        raise SpawnFailed(
            Why.NOT_PERMITTED,
            'this activity may not spawn programs; directories.process_provider = "native" would allow it',
        )


NO_PROCESSES: Final = NoProcesses()


class ProcessHost(Protocol):
    """What of its host a call needs."""

    processes: Processes
    loop: asyncio.AbstractEventLoop

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Starts a task on the loop, until the run ends."""
        ...


class _Input(InputStream):
    """What a child writes; who drops the stream closes the pipe."""

    def __init__(self, source: ClosingSource, host: ProcessHost) -> None:
        super().__init__(source, host.spawn)
        self._pipe = source
        self._loop = host.loop

    def close(self) -> None:
        """The guest has dropped it."""
        self._loop.call_soon_threadsafe(self._pipe.close)


class ChildProcess:
    """`child-process`."""

    def __init__(self, child: Child, host: ProcessHost) -> None:
        self._child = child
        self._host = host
        self._stdin = None if child.stdin is None else _output(child.stdin, host)
        self._stdout = None if child.stdout is None else _Input(child.stdout, host)
        self._stderr = None if child.stderr is None else _Input(child.stderr, host)

    def id(self) -> Value:
        """The system's number of it."""
        return self._child.id

    def take_stdin(self) -> Value:
        """Once."""
        taken, self._stdin = self._stdin, None
        return taken and (taken,)

    def take_stdout(self) -> Value:
        """Once."""
        taken, self._stdout = self._stdout, None
        return taken and (taken,)

    def take_stderr(self) -> Value:
        """Once."""
        taken, self._stderr = self._stderr, None
        return taken and (taken,)

    def subscribe_wait(self) -> Value:
        """Ready when it has ended."""
        return _Ended(self._child)

    async def wait(self) -> Value:
        """Its exit code."""
        try:
            code = await self._child.ended()
        except ChildLost as lost:
            return False, (0, str(lost))
        return True, None if code is None else (code,)

    def kill(self) -> Value:
        """Ends it."""
        self._host.loop.call_soon_threadsafe(self._child.kill)
        return None


class _Ended:
    """Ready when a child has ended."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def ready(self) -> bool:
        """See `Pollable`."""
        return self._child.is_over

    async def wait(self) -> None:
        """See `Pollable`."""
        try:
            await self._child.ended()
        except ChildLost:
            return


def _output(sink: ClosingSink, host: ProcessHost) -> OutputStream:
    async def close() -> None:
        sink.close()

    return OutputStream(sink, host.spawn, close)


async def _spawn(host: ProcessHost, command: str, options: Any) -> Value:
    arguments, environment, directory, *stdio = options
    wanted = Spawn(
        command,
        tuple(arguments),
        tuple(environment),
        None if directory is None else directory[0],
        *map(Stdio, stdio),
    )
    try:
        child = await host.processes.spawn(wanted)
    except SpawnFailed as failure:
        return False, (failure.why.value, str(failure))
    return True, ChildProcess(child, host)


def _wait(_host: ProcessHost, child: ChildProcess) -> Answer:
    return child.wait()


FUNCTIONS: Final[Mapping[str, Mapping[str, WasiFunction]]] = {
    "obelisk:activity/process": {
        "spawn": _spawn,
        "[method]child-process.id": method("id"),
        "[method]child-process.take-stdin": method("take_stdin"),
        "[method]child-process.take-stdout": method("take_stdout"),
        "[method]child-process.take-stderr": method("take_stderr"),
        "[method]child-process.subscribe-wait": method("subscribe_wait"),
        "[method]child-process.wait": _wait,
        "[method]child-process.kill": method("kill"),
    },
}
