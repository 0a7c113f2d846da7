"""The host of a workflow: the same in every replay.

Decides what each function is made of: the clocks are the workflow's clock, randomness follows from its seed, a wait is a
durable delay, output is lines of its log. All of it is asked of the machine, as host calls; nothing here looks at the world.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from typing import Any, Final

from obelisk.core import calls
from obelisk.core.calls import Call, Output, Reply, StdStream
from obelisk.core.instants import In
from obelisk.wasm.wasi.host import Answer, Pollable
from obelisk.wasm.wasi.output import Lines, LogOutput
from obelisk.wasm.wasi.streams import EmptyInput
from obelisk.wit.types import Value

_US_NS: Final = 1_000


class _Asked:
    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def __await__(self) -> Generator[Call, Reply, Reply]:
        return (yield self._call)


async def ask(call: Call) -> Reply:
    """The machine's reply to a host call: whoever drives the coroutine asks."""
    return await _Asked(call)


class Timer:
    """Ready when the workflow's clock has come to an instant."""

    def __init__(self, monotonic_ns: int) -> None:
        self.at_ns = monotonic_ns

    def ready(self) -> Any:
        """Asks the clock; see `Pollable`."""
        return self._has_come()

    async def _has_come(self) -> Value:
        return await _clock_ns() >= self.at_ns

    async def wait(self) -> None:
        """Sleeps, durably."""
        left_ns = self.at_ns - await _clock_ns()
        if left_ns > 0:
            await ask(calls.Sleep(In(-(-left_ns // _US_NS))))


async def _clock_ns() -> int:
    now = await ask(calls.CurrentTime())
    assert isinstance(now, int)
    return now * _US_NS


class WorkflowHost:
    """Implements `obelisk.wasm.wasi.host.Host`."""

    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()

    def __init__(self) -> None:
        self._lines = {stream: Lines(stream) for stream in StdStream}
        self._seed: bytes | None = None
        self._drawn = 0

    @property
    def stdin(self) -> EmptyInput:
        """See `Host`."""
        return EmptyInput()

    @property
    def stdout(self) -> LogOutput:
        """See `Host`."""
        return LogOutput(self._lines[StdStream.STDOUT], ask)

    @property
    def stderr(self) -> LogOutput:
        """See `Host`."""
        return LogOutput(self._lines[StdStream.STDERR], ask)

    def wall_now(self) -> Answer:
        """See `Host`."""
        return _clock_ns()

    def monotonic_now(self) -> Answer:
        """See `Host`."""
        return _clock_ns()

    def at(self, monotonic_ns: int) -> Pollable:
        """See `Host`."""
        return Timer(monotonic_ns)

    def random_bytes(self, count: int) -> Answer:
        """See `Host`."""
        return self._random(count)

    def poll(self, pollables: Sequence[Any]) -> Answer:
        """See `Host`. Where only timers are left to wait for, the earliest is slept for."""
        return _poll(pollables)

    def rest(self) -> list[Output]:
        """Output without a line end; the run is over."""
        return [piece for lines in self._lines.values() for piece in lines.rest()]

    async def _random(self, count: int) -> Value:
        """SHAKE-256 of the seed and the number of the draw: a draw of any length costs one pass."""
        if self._seed is None:
            seed = await ask(calls.RandomSeed())
            assert isinstance(seed, str)
            self._seed = seed.encode()
        self._drawn += 1
        return hashlib.shake_256(b"%b\0%d" % (self._seed, self._drawn)).digest(count)


async def _poll(pollables: Sequence[Any]) -> Value:
    timers = [pollable for pollable in pollables if isinstance(pollable, Timer)]
    now_ns = await _clock_ns() if timers else 0
    if len(timers) == len(pollables) and all(timer.at_ns > now_ns for timer in timers):
        await min(timers, key=lambda timer: timer.at_ns).wait()
        now_ns = await _clock_ns()
        earliest = min(timer.at_ns for timer in timers)
        now_ns = max(now_ns, earliest)  # a delay that was cancelled is over too
    return [
        index for index, pollable in enumerate(pollables) if not isinstance(pollable, Timer) or pollable.at_ns <= now_ns
    ]
