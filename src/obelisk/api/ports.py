"""What the use cases need of the running engine, as types: `runtime` conforms to these, tests have a small one of their own.

Decides nothing. Everything here is used on the event loop's thread, except `Engine.reader`, which may be used by any.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from obelisk.config import Config
from obelisk.core.backtraces import Backtrace
from obelisk.core.batch import RequestBody, Snapshot
from obelisk.core.ids import DeploymentId, Digest, ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.names import FunctionName
from obelisk.core.ports import FunctionInfo, FunctionKind, Rejection
from obelisk.core.reading import Change, Reader
from obelisk.core.replay import Replayed
from obelisk.core.tracing import Found
from obelisk.core.values import Err, Json, Ok
from obelisk.engine.effects import Answer, AnswerKind
from obelisk.engine.inbox import InboxFull
from obelisk.engine.inputs import GiveResult
from obelisk.runtime.changes import Ending, ShuttingDown
from obelisk.runtime.deployed import FunctionNotFound
from obelisk.runtime.redeploying import Replaced
from obelisk.runtime.refusals import DeploymentRefused
from obelisk.runtime.replaying import ReplaysBusy
from obelisk.runtime.views import ComponentView, FunctionView

__all__ = [
    "Answer",
    "AnswerKind",
    "Catalogue",
    "ComponentView",
    "DeploymentRefused",
    "Ending",
    "Engine",
    "FunctionNotFound",
    "FunctionView",
    "GiveResult",
    "InboxFull",
    "Replaced",
    "ReplaysBusy",
    "ShuttingDown",
    "Subscription",
]


class Catalogue(Protocol):
    """The functions of the active deployment, and of older components that executions still refer to."""

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
        """A JSON array from outside in canonical form. `FunctionNotFound`, or `InvalidJson` or `ValueMismatch` of
        `obelisk.wit.reader`.
        """
        ...

    def active(self, ffqn: FunctionName) -> FunctionInfo | None:
        """The function as the active deployment has it."""
        ...

    def pinned(self, component: Digest, ffqn: FunctionName) -> FunctionInfo | None:
        """The function as a component has it; None when that component is not loaded, or has no such function."""
        ...

    def typed_result(self, component: Digest, ffqn: FunctionName, result: Json) -> Ok | Err | Rejection:
        """A result in JSON, `{"ok": …}` or `{"err": …}`, as the function of that component returns it."""
        ...

    def digests_of(self, kind: FunctionKind) -> tuple[Digest, ...]:
        """All components of one kind, active or not."""
        ...


class Subscription(Protocol):
    """One watcher of one tree, or of one execution."""

    async def changed(self) -> frozenset[ExecutionId]:
        """Waits for changes and returns whose rows changed since the last call: a hint to read them. `ShuttingDown`."""
        ...

    def latest(self) -> Change | None:
        """Of who watches one execution: its row as it was last committed; None when it must be read."""
        ...

    async def ended(self, within_s: float) -> None:
        """Returns when the one execution that is watched has ended, there will be no more changes, or `within_s` has passed."""
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

    @property
    def wit(self) -> Callable[[Digest], str | None]:
        """The WIT of a component that is deployed, or that an execution refers to, as text; None: there is no such. From
        any thread; may take a while.
        """
        ...

    async def submit(
        self,
        execution_id: ExecutionId,
        ffqn: FunctionName,
        params: Json,
        metadata: dict[str, str],
        scheduled_at: Instant | None,
        *,
        paused: bool = False,
        ending: Ending | None = None,
    ) -> AnswerKind:
        """Creates an execution; answered once it is durable. `ending`, of the same execution, is for whoever waits for its end:
        when it is created, the answer may come as late as that. `InboxFull` or `ShuttingDown`.
        """
        ...

    async def redeploy(self, config: Config) -> list[Replaced]:
        """Makes the components of `config` the active ones; returns those that are others than before. `DeploymentRefused`
        or `ShuttingDown`.
        """
        ...

    async def operate(self, execution_id: ExecutionId, body: RequestBody | GiveResult) -> Answer:
        """Does something to an existing execution; answered once it is durable. `InboxFull` or `ShuttingDown`."""
        ...

    async def fork(
        self, execution_id: ExecutionId, origin: Snapshot, version: int, component: Digest, *, paused: bool = False
    ) -> Answer:
        """Creates a copy of `origin` as it was before `version`; answered once it is durable. `InboxFull` or
        `ShuttingDown`.
        """
        ...

    async def replay(self, snapshot: Snapshot, component: Digest, calls_max: int, now: Instant) -> Replayed:
        """Runs a workflow on `component`, which has its function, against its log; see `core.replay`. `ReplaysBusy` or
        `ShuttingDown`.
        """
        ...

    async def trace(self, snapshot: Snapshot, component: Digest, version: int, now: Instant) -> Found | Backtrace:
        """Where a workflow was, on `component`, which has its function, when it left event `version`; see `core.tracing`.
        `ReplaysBusy` or `ShuttingDown`.
        """
        ...

    async def trace_all(
        self,
        snapshot: Snapshot,
        component: Digest,
        versions: Collection[int],
        now: Instant,
        keep: Callable[[list[Backtrace]], None],
    ) -> Replayed:
        """The same for each of these events, by one replay. `keep` gets the backtraces piece by piece, on another thread."""
        ...

    @property
    def keep_backtraces(self) -> Callable[[ExecutionId, list[Backtrace]], bool]:
        """Keeps backtraces; False: none are to be kept. `StoreFailed`. From any thread."""
        ...

    @property
    def source(self) -> Callable[[Digest, str], str | None]:
        """The text of a source file, as it was when a component was deployed, by the path that its debug information has;
        None: there is none. From any thread.
        """
        ...

    def watch_lines(self, root: ExecutionId) -> AbstractAsyncContextManager[Subscription]:
        """Watches what a top-level execution's tree logs, and its ends. `ShuttingDown` on entry."""
        ...

    async def lines_stored(self) -> None:
        """Returns once all that was logged by now can be read. `ShuttingDown`."""
        ...

    def watch(self, root: ExecutionId) -> AbstractAsyncContextManager[Subscription]:
        """Watches the tree of a top-level execution. `ShuttingDown` on entry."""
        ...

    def watch_one(self, execution_id: ExecutionId) -> AbstractAsyncContextManager[Subscription]:
        """Watches one execution. `ShuttingDown` on entry."""
        ...

    def watch_end(self, execution_id: ExecutionId) -> AbstractAsyncContextManager[Ending]:
        """Watches for the end of one execution. `ShuttingDown` on entry."""
        ...
