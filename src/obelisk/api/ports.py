"""What the use cases need of the running engine, as types: `runtime` conforms to these, tests have a small one of their own.

Decides nothing. Everything here is used on the event loop's thread, except `Engine.reader`, which may be used by any.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from obelisk.core.ids import DeploymentId, ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.names import FunctionName
from obelisk.core.reading import Reader
from obelisk.core.values import Json
from obelisk.engine.effects import AnswerKind
from obelisk.engine.inbox import InboxFull
from obelisk.runtime.changes import ShuttingDown
from obelisk.runtime.views import ComponentView, FunctionView

__all__ = ["Catalogue", "ComponentView", "Engine", "FunctionView", "InboxFull", "ShuttingDown", "Subscription"]


class Catalogue(Protocol):
    """The functions of the active deployment."""

    @property
    def deployment_id(self) -> DeploymentId:
        """The active deployment."""
        ...

    def components(self) -> list[ComponentView]:
        """All components, in the order of the configuration."""
        ...

    def function(self, ffqn: FunctionName) -> FunctionView | None:
        """An exported function, extensions included; None when no component exports it."""
        ...

    def check_params(self, ffqn: FunctionName, data: bytes) -> Json:
        """A JSON array from outside in canonical form. `obelisk.wit.reader`'s `InvalidJson` or `ValueMismatch`."""
        ...


class Subscription(Protocol):
    """One watcher of one tree."""

    async def changed(self) -> frozenset[ExecutionId]:
        """Waits for changes and returns whose rows changed since the last call: a hint to read them. `ShuttingDown`."""
        ...


class Engine(Protocol):
    """The running engine."""

    @property
    def reader(self) -> Reader:
        """Reads of the store: calls block for at most a few milliseconds and may come from any thread."""
        ...

    @property
    def catalogue(self) -> Catalogue:
        """What is deployed."""
        ...

    def new_execution_id(self) -> ExecutionId:
        """A fresh top-level id."""
        ...

    def now(self) -> Instant:
        """The time."""
        ...

    async def submit(
        self,
        execution_id: ExecutionId,
        ffqn: FunctionName,
        params: Json,
        metadata: dict[str, str],
        scheduled_at: Instant | None,
    ) -> AnswerKind:
        """Creates an execution; answered once it is durable. `InboxFull` or `ShuttingDown`."""
        ...

    def watch(self, root: ExecutionId) -> AbstractAsyncContextManager[Subscription]:
        """Watches the tree of a top-level execution. `ShuttingDown` on entry."""
        ...
