"""The change stream: tells watchers which executions of a tree have a new state row.

A change is a hint to read the store; nothing is lost when several become one. Fed by the engine thread, read on the loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from obelisk.core.ids import ExecutionId, root_of


class ShuttingDown(Exception):
    """The server is stopping: try again on the next one."""


class Subscription:
    """One watcher of one tree."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._changed: set[ExecutionId] = set()
        self._awake = asyncio.Event()
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

    def put(self, execution_id: ExecutionId) -> None:
        """Adds a change; from any thread."""
        with self._lock:
            was_empty = not self._changed
            self._changed.add(execution_id)
        if was_empty:
            self._loop.call_soon_threadsafe(self._awake.set)

    def close(self) -> None:
        """Ends the subscription; from the loop's thread."""
        self._closed = True
        self._awake.set()


class Changes:
    """All watchers of a process."""

    def __init__(self) -> None:
        self._watchers: dict[ExecutionId, frozenset[Subscription]] = {}
        self._closed = False

    def publish(self, execution_ids: Iterable[ExecutionId]) -> None:
        """From the engine thread: these rows changed, and the change is durable."""
        watchers = self._watchers
        if not watchers:
            return
        for execution_id in execution_ids:
            for subscription in watchers.get(root_of(execution_id), ()):
                subscription.put(execution_id)

    @asynccontextmanager
    async def watch(self, root: ExecutionId) -> AsyncIterator[Subscription]:
        """Watches the tree of a top-level execution. `ShuttingDown` when the server is stopping."""
        if self._closed:
            raise ShuttingDown("server is shutting down")
        subscription = Subscription(asyncio.get_running_loop())
        self._watchers = {**self._watchers, root: self._watchers.get(root, frozenset()) | {subscription}}
        try:
            yield subscription
        finally:
            left = self._watchers[root] - {subscription}
            rest = {key: value for key, value in self._watchers.items() if key != root}
            self._watchers = {**rest, root: left} if left else rest

    def close(self) -> None:
        """Ends all subscriptions; from the loop's thread."""
        self._closed = True
        for watchers in self._watchers.values():
            for subscription in watchers:
                subscription.close()
