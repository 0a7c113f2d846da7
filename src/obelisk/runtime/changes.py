"""The change stream: tells watchers which executions have a new state row, of a tree or one alone.

A change is a hint to read the store; nothing is lost when several become one. Who watches one execution is also given its row as
it was committed last, so that most often there is nothing to read. Fed by the engine thread, read on the loop, which is only woken
for what somebody waits for: a thread that wakes up takes the interpreter from the engine.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from types import TracebackType
from typing import Generic, TypeVar

from obelisk.core.ids import ExecutionId, root_of
from obelisk.core.reading import Change
from obelisk.core.state import Status


class ShuttingDown(Exception):
    """The server is stopping: try again on the next one."""


class Subscription:
    """One watcher of one tree, or of one execution."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._changed: set[ExecutionId] = set()
        self._latest: Change | None = None
        self._awake = asyncio.Event()
        self._over = asyncio.Event()
        self._closed = False

    async def changed(self) -> frozenset[ExecutionId]:
        """Waits for changes; returns the ids that changed since the last call. `ShuttingDown` when there will be none."""
        await self._awake.wait()
        with self._lock:
            changed, self._changed = frozenset(self._changed), set()
            self._awake.clear()
            if self._closed:
                self._awake.set()
        if not changed and self._closed:
            raise ShuttingDown("server is shutting down")
        return changed

    def latest(self) -> Change | None:
        """The row of the one execution that is watched, as it was last committed; None when that must be read."""
        with self._lock:
            return self._latest

    async def ended(self, within_s: float) -> None:
        """Returns when the execution that is watched has ended, there will be no more changes, or `within_s` has passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._over.wait()

    def end(self) -> None:
        """What is watched has ended; from any thread, after the change itself was put."""
        self._loop.call_soon_threadsafe(self._over.set)

    def put(self, execution_id: ExecutionId, row: Change | None = None) -> None:
        """Adds a change; from any thread."""
        with self._lock:
            was_empty = not self._changed
            self._changed.add(execution_id)
            self._latest = row
        if was_empty:
            self._loop.call_soon_threadsafe(self._awake.set)

    def close(self) -> None:
        """Ends the subscription; from the loop's thread."""
        self._closed = True
        self._awake.set()
        self._over.set()


class Ending:
    """Who waits for the end of one execution, and is not woken for anything else. One waiter at a time."""

    __slots__ = ("_call", "_is_over", "_is_refused", "_loop", "_mail", "_row")

    def __init__(self, loop: asyncio.AbstractEventLoop, mail: _Mail) -> None:
        self._loop = loop
        self._mail = mail
        self._row: Change | None = None
        self._is_over = self._is_refused = False
        self._call: Callable[[], None] | None = None

    async def wait(self) -> Change | None:
        """Returns when the execution has ended: with its row, or None when that must be read. `ShuttingDown` when nobody will tell."""
        if not self._is_over:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self.then(partial(_wake, waiter))
            await waiter
        if self._is_refused:
            raise ShuttingDown("server is shutting down")
        return self._row

    def then(self, call: Callable[[], None]) -> None:
        """Has `call` called when `wait` would return, on the loop's thread, instead of what was to be called."""
        self._call = call
        if self._is_over:
            call()

    def put(self, row: Change | None) -> None:
        """It has ended; from any thread."""
        self._mail.put(self, row)

    def close(self) -> None:
        """Ends the wait; from the loop's thread."""
        if not self._is_over:
            self._is_refused = True
            self.over(None)

    def over(self, row: Change | None) -> None:
        """It has ended; from the loop's thread. The first one counts."""
        if not self._is_over:
            self._is_over, self._row = True, row
            if self._call is not None:
                self._call()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():  # it may have been cancelled
        waiter.set_result(None)


class _Mail:
    """Ends on their way to the loop: those that come together wake it once. Waking it is a system call, for which the engine
    thread lets go of the interpreter.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._ends: deque[tuple[Ending, Change | None]] = deque()
        self._is_called = False

    def put(self, ending: Ending, row: Change | None) -> None:
        """From any thread."""
        self._ends.append((ending, row))
        if not self._is_called:
            self._is_called = True
            self.loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._is_called = False  # first: what is put from now on calls again, what was put before is there
        while self._ends:
            ending, row = self._ends.popleft()
            ending.over(row)


_Watcher = TypeVar("_Watcher", Subscription, Ending)
Watchers = dict[ExecutionId, frozenset[_Watcher]]
"""Its values are replaced, never changed: the engine thread reads them without a lock."""


class Changes:
    """All watchers of a process."""

    def __init__(self) -> None:
        self._of_trees: Watchers[Subscription] = {}
        self._of_one: Watchers[Subscription] = {}
        self._of_ends: Watchers[Ending] = {}
        self._mail: _Mail | None = None
        self._closed = False

    @property
    def watchers(self) -> int:
        """How many there are."""
        return sum(
            len(watchers) for each in (self._of_trees, self._of_one, self._of_ends) for watchers in each.values()
        )

    @property
    def is_watched(self) -> bool:
        """Whether anybody watches anything."""
        return bool(self._of_one or self._of_trees or self._of_ends)

    def publish(self, execution_ids: Iterable[ExecutionId], *, ended: bool = False) -> None:
        """From the engine thread: something of these changed, for the last time if they `ended`, and the change is durable."""
        of_one, of_trees = self._of_one, self._of_trees
        for execution_id in execution_ids:
            for subscription in of_trees.get(root_of(execution_id), ()):
                subscription.put(execution_id)
            for subscription in of_one.get(execution_id, ()):
                subscription.put(execution_id)
                if ended:
                    subscription.end()
            if ended:
                for ending in self._of_ends.get(execution_id, ()):
                    ending.put(None)

    def tell(self, change: Change) -> None:
        """From the engine thread: this row changed, and that is durable."""
        execution_id = change.state.execution_id
        for subscription in self._of_trees.get(root_of(execution_id), ()):
            subscription.put(execution_id)
        for subscription in self._of_one.get(execution_id, ()):
            subscription.put(execution_id, change)
            if change.state.status is Status.FINISHED:
                subscription.end()
        if change.state.status is Status.FINISHED:
            for ending in self._of_ends.get(execution_id, ()):
                ending.put(change)

    def watch(self, root: ExecutionId) -> AbstractAsyncContextManager[Subscription]:
        """Watches the tree of a top-level execution. `ShuttingDown` when the server is stopping."""
        return _Watching(self._of_trees, root, self._subscription)

    def watch_one(self, execution_id: ExecutionId) -> AbstractAsyncContextManager[Subscription]:
        """Watches one execution. `ShuttingDown` when the server is stopping."""
        return _Watching(self._of_one, execution_id, self._subscription)

    def watch_end(self, execution_id: ExecutionId) -> AbstractAsyncContextManager[Ending]:
        """Watches for the end of one execution. `ShuttingDown` when the server is stopping."""
        return _Watching(self._of_ends, execution_id, self._ending)

    def _subscription(self) -> Subscription:
        self._refuse()
        return Subscription(asyncio.get_running_loop())

    def _ending(self) -> Ending:
        self._refuse()
        loop = asyncio.get_running_loop()
        if self._mail is None or self._mail.loop is not loop:
            self._mail = _Mail(loop)
        return Ending(loop, self._mail)

    def _refuse(self) -> None:
        if self._closed:
            raise ShuttingDown("server is shutting down")

    def close(self) -> None:
        """Ends all subscriptions; from the loop's thread."""
        self._closed = True
        for watchers in (self._of_trees, self._of_one, self._of_ends):
            for each in watchers.values():
                for watcher in each:
                    watcher.close()


class _Watching(Generic[_Watcher]):
    """One watcher, for as long as it is entered."""

    __slots__ = ("_key", "_make", "_watcher", "_watchers")

    def __init__(self, watchers: Watchers[_Watcher], key: ExecutionId, make: Callable[[], _Watcher]) -> None:
        self._watchers: Watchers[_Watcher] = watchers
        self._key = key
        self._make: Callable[[], _Watcher] = make

    async def __aenter__(self) -> _Watcher:
        watchers, key = self._watchers, self._key
        watcher = self._make()
        self._watcher: _Watcher = watcher
        watchers[key] = watchers.get(key, frozenset()) | {watcher}
        return watcher

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        left = self._watchers[self._key] - {self._watcher}
        if left:
            self._watchers[self._key] = left
        else:
            del self._watchers[self._key]
