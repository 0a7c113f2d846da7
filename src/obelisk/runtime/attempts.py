"""Attempts: runs activities, a slice here and the rest on the CPU lane, and reports how they end.

Decides where an attempt's first slice runs (on the engine thread while the function has shown to be short and has no files,
else on the lane) and when an attempt is out of time. What it waits for is awaited on the I/O loop, where it holds neither a thread nor a
CPU slot; then it goes back to the lane. It does not decide whether a failed attempt is tried again.

The deadline counts the time in which the attempt runs: CPU time of whatever thread runs it, and the time that it waits for
something outside. While it queues for a slot, or the machine is busy with something else, the clock stands still. But for a first slice
on the engine thread: to ask for CPU time costs more than most of them take, so that one is measured by the clock on the wall.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from obelisk.core.batch import StoreFailed
from obelisk.core.http_traces import HttpTrace
from obelisk.core.ids import Digest, ExecutionId, RunId
from obelisk.core.names import FunctionName
from obelisk.core.policy import Sandbox
from obelisk.core.values import Failure, FailureKind, Json
from obelisk.engine.effects import KillAttempt, StartAttempt
from obelisk.engine.inputs import AttemptFinished, AttemptKilled, AttemptSliced, AttemptStopped, Input
from obelisk.runtime.directories import Directories, preopens
from obelisk.runtime.io_loop import IoLoop
from obelisk.runtime.lane import CpuLane, Turn
from obelisk.runtime.lines import AttemptLines, ComponentLines
from obelisk.runtime.marks import Marks
from obelisk.runtime.outgoing import Outgoing
from obelisk.wasm.activity import ActivityStep, Finished, Hold, RunHost, Waiting
from obelisk.wasm.guest import PoolIsFull
from obelisk.wasm.wasi.activity import ActivityHost
from obelisk.wit.types import Value

_log: Final = logging.getLogger(__name__)
_LONG_NS: Final = 4_000_000
"""What a first slice on the engine thread may take; a guest there is interrupted much later."""
_SHORT_NS: Final = 2_000_000
"""An attempt that takes less CPU time than this in all proves that its function is short (again)."""


class Run(Protocol):
    """One attempt: of a guest (`wasm.activity`), or of a program (`programs.exec_run`)."""

    def start(self, params: Json, hold: Hold | None = None) -> ActivityStep:
        """Runs the first slice. Before anything is done that can be seen outside, `hold` is called."""
        ...

    def resume(self) -> ActivityStep:
        """Runs the next slice."""
        ...

    def answer(self, value: Value) -> ActivityStep:
        """Runs on with what it waited for."""
        ...

    def fail(self, error: Exception) -> ActivityStep:
        """What it waited for ended in an error."""
        ...

    def close(self) -> None:
        """Frees everything; in any state, also more than once."""
        ...


class Activities(Protocol):
    """Makes runs of activities."""

    def sandbox(self, component: Digest, ffqn: FunctionName) -> Sandbox:
        """What an activity may touch now."""
        ...

    def attempt(self, component: Digest, ffqn: FunctionName, host: RunHost) -> Run:
        """One attempt at an activity."""
        ...


class Attempts:
    """All attempts of a process. `start` and `kill` are called by the engine thread only."""

    def __init__(
        self,
        activities: Activities,
        lane: CpuLane,
        io: IoLoop,
        outgoing: Outgoing,
        marks: Marks,
        lines: ComponentLines,
        offer: Callable[[Input], None],
        directories: Directories | None = None,
    ) -> None:
        """`directories`: of executions; None: they have none."""
        self._activities = activities
        self._lines = lines
        self._lane = lane
        self._io = io
        self._outgoing = outgoing
        self._offer = offer
        self._marks = marks
        self._directories = directories
        self._long: set[tuple[Digest, FunctionName]] = set()
        """Functions whose first slice runs on the lane, since two in a row were seen to take longer than one."""
        self._suspected: set[tuple[Digest, FunctionName]] = set()
        """These, and those of which the last one did. Epochs go by while others have the processor too: once does not say much, and to take it
        for more would send hundreds that are queued to other threads, one change of thread each.
        """
        self._queued: dict[ExecutionId, StartAttempt] = {}
        """Attempts whose first slice is due on the engine thread, in the order of their start."""
        self._ahead: dict[ExecutionId, StartAttempt] = {}
        """Attempts whose lock is not durable yet, and whose first slice may run ahead of that."""
        self._held_back: list[_Attempt] = []
        """Those that want more than the slice which they had ahead."""
        self._running: dict[ExecutionId, _Attempt] = {}
        self._stopping = False

    def start(self, effect: StartAttempt) -> None:
        """Queues the first slice: for `run_queued`, or on the lane."""
        if self._stopping or not self._may_run_here(effect):
            attempt = _Attempt(self, effect)
            self._running[effect.execution_id] = attempt
            if self._stopping:
                attempt.abandon()
            else:
                self._lane.submit(attempt)
        else:
            self._queued[effect.execution_id] = effect

    def go_ahead(self, effect: StartAttempt) -> bool:
        """Queues the first slice of an attempt whose lock is not durable yet, for `run_queued`. False: it has to be started when
        it is. `landed` or `lost` is called before anything else is started.
        """
        if self._stopping or not self._may_run_here(effect):
            return False
        self._ahead[effect.execution_id] = effect
        return True

    def landed(self) -> None:
        """The locks of those that went ahead are durable."""
        if self._ahead:
            self._queued.update(self._ahead)
            self._ahead.clear()
        for attempt in self._held_back:
            attempt.hold = None
            self._lane.submit(attempt)
        self._held_back.clear()

    def lost(self) -> None:
        """They never will be: the process is about to end."""
        self._ahead.clear()
        while self._held_back:
            self._held_back.pop().abandon()

    def run_queued(self, is_enough: Callable[[], bool], hold: Hold | None = None) -> None:
        """Runs first slices until none is due, or `is_enough`; on the engine thread, between two ticks or while a commit is under
        way. Those whose lock is durable are first; the others only run with `hold`, which returns once theirs are.
        """
        while not is_enough():
            if self._queued:
                queue, must_hold = self._queued, None
            elif self._ahead and hold is not None:
                queue, must_hold = self._ahead, hold
            else:
                return
            effect = queue.pop(next(iter(queue)))
            function = (effect.component, effect.ffqn)
            attempt = _Attempt(self, effect, hold=must_hold)
            self._running[effect.execution_id] = attempt
            turn = Turn.MORE if function in self._long else attempt.slice(inline=True)
            # One that waits is not this thread's any more: nothing of it is looked at.
            if turn is Turn.MORE or (turn is Turn.OVER and attempt.took_long):
                (self._long if function in self._suspected else self._suspected).add(function)
            else:
                self._suspected.discard(function)
            if turn is Turn.MORE:
                if must_hold is None:
                    self._lane.submit(attempt)
                else:
                    self._held_back.append(attempt)

    @property
    def queued(self) -> int:
        """First slices that are due on the engine thread."""
        return len(self._queued)

    def _may_run_here(self, effect: StartAttempt) -> bool:
        """Whether its first slice is one for the engine thread."""
        function = (effect.component, effect.ffqn)
        return function not in self._long and not self._lane.is_full and not self._may_wait_for_a_disk(*function)

    def _is_short(self, function: tuple[Digest, FunctionName]) -> None:
        """One of its attempts took less than a slice. From any thread."""
        self._suspected.discard(function)
        self._long.discard(function)

    def _may_wait_for_a_disk(self, component: Digest, ffqn: FunctionName) -> bool:
        """A guest waits for its files on its thread, in which no CPU time passes: never on the engine's."""
        return self._activities.sandbox(component, ffqn).directories.gives_any

    def kill(self, effect: KillAttempt) -> None:
        """Stops an attempt; what is reported is that it does nothing any more, whatever it came to."""
        queued = self._queued.get(effect.execution_id)
        if queued is not None and queued.run == effect.run:
            del self._queued[effect.execution_id]
        attempt = self._running.get(effect.execution_id)
        if attempt is not None and attempt.run == effect.run:
            attempt.kill()
        else:
            self._offer(AttemptKilled(effect.execution_id, effect.run))

    def stop(self) -> None:
        """Gives up the attempts that are left, and from now on every new one. The lane must have been stopped."""
        self._stopping = True
        while self._queued:
            _, effect = self._queued.popitem()
            _Attempt(self, effect).abandon()
        if any(attempt.is_waiting for attempt in tuple(self._running.values())):
            self._io.run(self._give_up())

    @property
    def count(self) -> int:
        """Attempts that have not ended."""
        return len(self._running) + len(self._queued)

    async def _give_up(self) -> None:
        """Ends every wait; the lane abandons whose wait is over."""
        waits = [attempt.wait for attempt in tuple(self._running.values()) if attempt.wait is not None]
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


class _Attempt(msgspec.Struct, eq=False):
    """One attempt: a job of the lane. Used by one thread at a time: whoever runs a slice, or the I/O loop while it waits."""

    _owner: Attempts
    _effect: StartAttempt
    hold: Hold | None = None
    """Returns once its lock is durable; None: it is."""
    _lines: AttemptLines | None = None
    _run: Run | None = None
    _host: ActivityHost | None = None
    _used_ns: int = 0
    _waited_ns: int = 0
    _timed_out: bool = False
    _slot: int = -1
    _came_to: Callable[[Run], ActivityStep] | None = None
    """How the run goes on after its wait."""
    has_begun: bool = False
    killed: bool = False
    is_waiting: bool = False
    wait: asyncio.Task[None] | None = None

    @property
    def run(self) -> RunId:
        return self._effect.run

    @property
    def _left_ns(self) -> int:
        return self._effect.deadline_us * 1_000 - self._used_ns - self._waited_ns

    @property
    def took_long(self) -> bool:
        """Whether it has used more than is good for the engine thread, where it may be left alone for longer."""
        return self._used_ns >= _LONG_NS

    def kill(self) -> None:
        """Ends it, by whoever runs it, at its next slice; a wait ends at once. On the engine thread."""
        self.killed = True
        if self.is_waiting:
            self._owner._io.loop.call_soon_threadsafe(self._end_wait)

    def slice(self, *, inline: bool = False) -> Turn:
        effect = self._effect
        if self.killed:
            self._over(None)
            return Turn.OVER
        if self._timed_out:
            return self._time_out()
        clock = time.monotonic_ns if inline else time.thread_time_ns
        begun = clock()
        first = not self.has_begun
        try:
            step = self._step(first)
        except PoolIsFull:
            return Turn.MORE  # nothing was started: ask again when it is this attempt's turn
        except StoreFailed:
            raise  # what it waited for will never be durable
        except Exception as error:  # noqa: BLE001 - a bug of ours must not take the engine down
            _log.exception("an attempt at %s failed in the host", effect.ffqn)
            step = Finished(Failure(FailureKind.UNCATEGORIZED, f"internal error: {error}"))
        self._used_ns += clock() - begun
        if isinstance(step, Finished):
            if self._owner._suspected and self._used_ns < _SHORT_NS:
                self._owner._is_short((effect.component, effect.ffqn))
            self._over(AttemptFinished(effect.execution_id, effect.run, step.outcome, step.permanent, self._traces))
            return Turn.OVER
        if self._left_ns <= 0:
            if isinstance(step, Waiting):
                step.coroutine.close()
            return self._time_out()
        if first:
            self._owner._offer(AttemptSliced(effect.execution_id, effect.run))
        if isinstance(step, Waiting):
            if self.hold is not None:
                try:
                    self.hold()
                except BaseException:
                    step.coroutine.close()
                    self.abandon()
                    raise
                self.hold = None  # nor does it keep alive what it was decided with
            if inline:
                self._owner._lane.adopt()
            self._begin_wait(step)  # from here on it belongs to the loop
            return Turn.WAITS
        return Turn.MORE

    def _step(self, first: bool) -> ActivityStep:
        effect, owner = self._effect, self._owner
        if not first:
            assert self._run is not None
            go_on, self._came_to = self._came_to, None
            if go_on is None:
                return self._run.resume()
            owner._marks.put_back(self._slot, effect.execution_id)
            return go_on(self._run)
        if self._slot < 0:
            self._slot = owner._marks.set(effect.execution_id)
        if self._lines is None:
            self._lines = owner._lines.of_attempt(effect)
        owner._io.start()  # what a host starts runs there, whether or not the guest waits for it
        sandbox = owner._activities.sandbox(effect.component, effect.ffqn)
        http = partial(owner._outgoing.client, sandbox.http, effect.execution_id, effect.trace_context)
        try:
            given = preopens(owner._directories, sandbox.directories, effect.execution_id)
        except OSError as error:
            return Finished(Failure(FailureKind.UNCATEGORIZED, f"its directory cannot be made: {error}"))
        host = ActivityHost(sandbox, owner._io.loop, self._lines, http, given)
        self._host = host
        run = owner._activities.attempt(effect.component, effect.ffqn, host)
        try:
            step = run.start(effect.params, None if self.hold is None else self._await_lock)
        except BaseException:
            run.close()
            raise
        self._run = run
        self.has_begun = True
        return step

    def _await_lock(self) -> None:
        """For the run, before its host does anything for it. What the disk takes is no time of the attempt."""
        if self.hold is not None:
            began = time.monotonic_ns()
            self.hold()
            self._used_ns -= time.monotonic_ns() - began

    def _time_out(self) -> Turn:
        effect = self._effect
        reason = f"the attempt ran for longer than {effect.deadline_us // 1_000} ms (exec.lock_expiry)"
        failure = Failure(FailureKind.TIMED_OUT, reason)
        self._over(AttemptFinished(effect.execution_id, effect.run, failure, http_traces=self._traces))
        return Turn.OVER

    @property
    def _traces(self) -> tuple[HttpTrace, ...]:
        """What it sent over HTTP."""
        return () if self._host is None else self._host.http_traces

    # --- waiting -----------------------------------------------------------------------------------------------------

    def _begin_wait(self, step: Waiting) -> None:
        owner = self._owner
        owner._marks.lift(self._slot)  # what only waits takes no process down
        self.is_waiting = True
        owner._io.loop.call_soon_threadsafe(self._wait, step)

    def _wait(self, step: Waiting) -> None:
        """On the loop."""
        began = time.monotonic_ns()
        self.wait = wait = self._owner._io.loop.create_task(self._wait_for(step))
        # A task that is cancelled before it began runs nothing of its coroutine.
        wait.add_done_callback(lambda _: self._waited(step, began))
        if self.killed or self._owner._stopping:
            wait.cancel()

    def _end_wait(self) -> None:
        """On the loop."""
        if self.wait is not None:
            self.wait.cancel()

    async def _wait_for(self, step: Waiting) -> None:
        try:
            async with asyncio.timeout(None if step.queues else self._left_ns / 1e9) as timeout:
                self._came_to = _answer(await step.coroutine)
        except asyncio.CancelledError:
            if not (self.killed or self._owner._stopping):
                self._came_to = _failure(RuntimeError("what it waited for was cancelled"))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the end of the run and not of the loop
            if timeout.expired():
                self._timed_out = True
            else:
                self._came_to = _failure(error)

    def _waited(self, step: Waiting, began: int) -> None:
        step.coroutine.close()
        if not step.queues:
            self._waited_ns += time.monotonic_ns() - began
        self.is_waiting = False
        self.wait = None
        self._owner._lane.wake(self)  # from here on it belongs to the lane

    # --- the end -----------------------------------------------------------------------------------------------------

    def _over(self, report: Input | None) -> None:
        if self.killed:
            report = AttemptKilled(self._effect.execution_id, self._effect.run, self._traces)
        if self._run is not None:
            self._run.close()
            self._run = None
        if self._lines is not None:
            self._lines.close()
        owner = self._owner
        owner._marks.clear(self._slot)
        self._slot = -1
        if owner._running.get(self._effect.execution_id) is self:
            del owner._running[self._effect.execution_id]
        if report is not None:
            owner._offer(report)

    def abandon(self) -> None:
        effect = self._effect
        self._over(AttemptStopped(effect.execution_id, effect.run, "the server is stopping", self._traces))


def _answer(value: Any) -> Callable[[Run], ActivityStep]:
    return lambda run: run.answer(value)


def _failure(error: Exception) -> Callable[[Run], ActivityStep]:
    return lambda run: run.fail(error)
