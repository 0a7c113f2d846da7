"""Replays for the doors: a workflow runs against a snapshot of its log, on threads of their own; what it does next is looked
at, or where in its code it was.

Decides how many run at once, how many may wait, and when one that computes for too long, or that nobody waits for any
more, is given up. The engine does not know of them: nothing is written, and an execution that is being replayed goes on.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, TypeVar

from obelisk.core.backtraces import Backtrace
from obelisk.core.batch import Snapshot
from obelisk.core.calls import Reply
from obelisk.core.ids import Digest, ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.names import FunctionName
from obelisk.core.ports import FunctionInfo, Guest, Inside, Rejection, Step, Typed
from obelisk.core.replay import Replayed, replay
from obelisk.core.tracing import Found, HostCall, find_call, trace_calls
from obelisk.core.values import Json
from obelisk.runtime.changes import ShuttingDown
from obelisk.runtime.lane import give_way
from obelisk.wasm.epochs import EpochTicker
from obelisk.wasm.guest import PoolIsFull

THREADS: Final = 2
"""Replays that run at once."""
WAITING_MAX: Final = 64
"""Replays that may run or wait; more are refused, since each of them holds a log in memory."""

KEPT_AT_ONCE: Final = 200
"""Backtraces that are handed on together, while many are made."""
KEPT_EVERY_S: Final = 0.5
"""Those that there are by then are handed on, so that who waits sees that it goes on."""

T = TypeVar("T")


class ReplaysBusy(Exception):
    """There is no room for another replay now."""


class Functions(Protocol):
    """Makes guests."""

    def pinned(self, component: Digest, ffqn: FunctionName) -> FunctionInfo | None:
        """The function as a component has it."""
        ...

    def traceable(self, component: Digest, ffqn: FunctionName, execution_id: ExecutionId) -> tuple[Guest, Inside]:
        """A guest that has not started yet, and what tells where it is in its code."""
        ...

    def typed_params(self, ffqn: FunctionName, params: Json) -> Typed | Rejection:
        """Parameters in JSON as the active function takes them."""
        ...


class Replays:
    """All replays of a process. `run` is for the loop's thread."""

    def __init__(self, functions: Functions, ticker: EpochTicker) -> None:
        self._functions = functions
        self._ticker = ticker
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="obelisk-replay", initializer=give_way)
        self._stopping = threading.Event()
        self._count = 0

    async def run(self, snapshot: Snapshot, component: Digest, calls_max: int, now: Instant) -> Replayed:
        """Replays `snapshot` on a component that has its function; see `core.replay`. `ReplaysBusy`, or `ShuttingDown`."""
        return await self._on_a_thread(lambda unwanted: self._replay(snapshot, component, calls_max, now, unwanted))

    async def trace(self, snapshot: Snapshot, component: Digest, version: int, now: Instant) -> Found | Backtrace:
        """Where the workflow was when it left event `version`, or why that is not known; see `core.tracing`. `ReplaysBusy`, or
        `ShuttingDown`.
        """
        return await self._on_a_thread(lambda unwanted: self._trace(snapshot, component, version, now, unwanted))

    async def trace_all(
        self,
        snapshot: Snapshot,
        component: Digest,
        versions: Collection[int],
        now: Instant,
        keep: Callable[[list[Backtrace]], None],
    ) -> Replayed:
        """Where the workflow was at each call that left one of these events, by one replay. `keep` gets them piece by piece, on the
        thread of the replay. `ReplaysBusy`, or `ShuttingDown`.
        """
        return await self._on_a_thread(
            lambda unwanted: self._trace_all(snapshot, component, versions, now, keep, unwanted)
        )

    async def _on_a_thread(self, deed: Callable[[threading.Event], T]) -> T:
        if self._stopping.is_set():
            raise ShuttingDown("server is shutting down")
        if self._count >= WAITING_MAX:
            raise ReplaysBusy(f"{self._count} replays are waiting")
        unwanted = threading.Event()
        self._count += 1
        try:
            job = self._threads.submit(deed, unwanted)
            try:
                return await asyncio.wrap_future(job)
            except _GivenUp:
                raise ShuttingDown("server is shutting down") from None
            except PoolIsFull:
                raise ReplaysBusy("there is no room for another workflow instance") from None
        finally:
            unwanted.set()
            self._count -= 1

    def refuse(self) -> None:
        """No more replays; those that run are given up at their next step."""
        self._stopping.set()

    def stop(self) -> None:
        """Waits until none runs."""
        self.refuse()
        self._threads.shutdown()

    def _replay(
        self, snapshot: Snapshot, component: Digest, calls_max: int, now: Instant, unwanted: threading.Event
    ) -> Replayed:
        state = snapshot.state
        guest, _ = self._guest(snapshot, component, unwanted)
        with self._ticker.polling():
            return replay(
                state.execution_id,
                snapshot.log,
                snapshot.responses,
                guest,
                now,
                typing=self._functions.typed_params,
                calls_max=calls_max,
                may_go_on=guest.may_go_on,
            )

    def _trace(
        self, snapshot: Snapshot, component: Digest, version: int, now: Instant, unwanted: threading.Event
    ) -> Found | Backtrace:
        typing = self._functions.typed_params
        with self._ticker.polling():
            guest, inside = self._guest(snapshot, component, unwanted)
            found = find_call(snapshot, version, guest, inside, now, typing=typing, may_go_on=guest.may_go_on)
            call = found.call
            return found if call is None else _backtrace(call, component)

    def _trace_all(
        self,
        snapshot: Snapshot,
        component: Digest,
        versions: Collection[int],
        now: Instant,
        keep: Callable[[list[Backtrace]], None],
        unwanted: threading.Event,
    ) -> Replayed:
        made: list[Backtrace] = []
        kept_at = time.monotonic()

        def heard(call: HostCall) -> None:
            nonlocal kept_at
            made.append(_backtrace(call, component))
            if len(made) >= KEPT_AT_ONCE or time.monotonic() - kept_at >= KEPT_EVERY_S:
                hand_on()
                kept_at = time.monotonic()

        def hand_on() -> None:
            if made:
                keep(made[:])
                made.clear()

        typing = self._functions.typed_params
        with self._ticker.polling():
            guest, inside = self._guest(snapshot, component, unwanted)
            try:
                return trace_calls(
                    snapshot, versions, guest, inside, now, heard, typing=typing, may_go_on=guest.may_go_on
                )
            finally:
                hand_on()

    def _guest(self, snapshot: Snapshot, component: Digest, unwanted: threading.Event) -> tuple[_Watched, Inside]:
        state = snapshot.state
        info = self._functions.pinned(component, state.ffqn)
        if info is None:
            raise LookupError(f"{component} is not loaded, or does not export {state.ffqn}")
        guest, inside = self._functions.traceable(component, state.ffqn, state.execution_id)
        return _Watched(guest, info.policy.cpu_budget_us * 1_000, (self._stopping, unwanted)), inside


def _backtrace(call: HostCall, component: Digest) -> Backtrace:
    return Backtrace(call.first, call.end, component, call.frames)


class _GivenUp(Exception):
    """Nobody wants the outcome any more."""


class _Watched:
    """A guest whose CPU time between two host calls is counted, and that stops at its next step when it is to be given up.
    Implements `core.ports.Guest` over another one.
    """

    def __init__(self, guest: Guest, budget_ns: int, unwanted: tuple[threading.Event, ...]) -> None:
        self._guest = guest
        self._budget_ns = budget_ns
        self._unwanted = unwanted
        self._used_ns = 0

    def may_go_on(self) -> bool:
        """Whether there is CPU time left before the next host call."""
        return self._used_ns < self._budget_ns

    def start(self, params: Json) -> Step:
        """See the port."""
        begun = self._begin()
        step = self._guest.start(params)
        self._used_ns = time.thread_time_ns() - begun
        return step

    def send(self, reply: Reply) -> Step:
        """See the port."""
        begun = self._begin()
        step = self._guest.send(reply)
        self._used_ns = time.thread_time_ns() - begun
        return step

    def resume(self) -> Step:
        """See the port."""
        begun = self._begin()
        step = self._guest.resume()
        self._used_ns += time.thread_time_ns() - begun
        return step

    def close(self) -> None:
        """See the port."""
        self._guest.close()

    def _begin(self) -> int:
        if any(flag.is_set() for flag in self._unwanted):
            raise _GivenUp
        return time.thread_time_ns()
