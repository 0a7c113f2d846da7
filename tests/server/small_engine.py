"""A small engine for tests of the doors: the memory store, the real change stream, and executions that go where a test
drives them. What it writes is derived by the same transition table as everywhere else.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

from obelisk.api.service import Service
from obelisk.core import transitions
from obelisk.core.batch import Expect, NewEvent, NewResponse, Unit
from obelisk.core.events import (
    ChildRequested,
    Created,
    Event,
    Finished,
    JoinNext,
    JoinSetCreated,
    Locked,
)
from obelisk.core.ids import (
    ChildId,
    DeploymentId,
    Digest,
    ExecutionId,
    ExecutorId,
    JoinSetId,
    RunId,
    absolute,
    join_set_of,
    parent_of,
    relative,
    ulid,
)
from obelisk.core.instants import SECOND_US, Instant
from obelisk.core.names import FunctionName
from obelisk.core.ports import FunctionKind
from obelisk.core.responses import ChildFinished, DelayFinished, Response
from obelisk.core.values import Json, Ok, Outcome
from obelisk.engine.effects import AnswerKind
from obelisk.engine.inbox import InboxFull
from obelisk.runtime.changes import Changes, ShuttingDown
from obelisk.runtime.views import ComponentView, FunctionView
from obelisk.server.grpc import GrpcDoor
from obelisk.store.memory import MemoryStore
from obelisk.wit.codec import ParamsCodec
from obelisk.wit.extensions import ExtensionKind
from obelisk.wit.text import signature_text, type_text
from obelisk.wit.types import Prim, Result, Signature, Type

FIBOA = FunctionName("template-fibo:workflow/fibo-workflow-ifc.fiboa")
FIBOA_CONCURRENT = FunctionName("template-fibo:workflow/fibo-workflow-ifc.fiboa-concurrent")
FIBO = FunctionName("template-fibo:activity/fibo-activity-ifc.fibo")
GREET = FunctionName("testing:activity/greet@1.2.0.greet")
FIBO_SUBMIT = FunctionName("template-fibo:activity-obelisk-ext/fibo-activity-ifc.fibo-submit")
WORKFLOW_DIGEST = Digest("sha256:" + "a" * 64)
ACTIVITY_DIGEST = Digest("sha256:" + "b" * 64)
DEPLOYMENT = DeploymentId("Dep_01K42AJA8QHD7D3GTJAYMASFYZ")
EXECUTOR = ExecutorId("Exr_01K42AJA8QHD7D3GTJAYMASFYZ")
START = Instant(1_767_225_600_000_000)  # 2026-01-01T00:00:00Z

_FIBO_SIGNATURE = Signature((("n", Prim.U8),), Result(Prim.U64, None))
_FIBOA_SIGNATURE = Signature((("n", Prim.U8), ("iterations", Prim.U32)), Result(Prim.U64, None))
_GREET_SIGNATURE = Signature((("name", Prim.STRING),), Result(Prim.STRING, Prim.STRING))
SIGNATURES = {
    FIBOA: _FIBOA_SIGNATURE,
    FIBOA_CONCURRENT: _FIBOA_SIGNATURE,
    FIBO: _FIBO_SIGNATURE,
    GREET: _GREET_SIGNATURE,
}


def _side(type_: Type | None) -> str | None:
    return None if type_ is None else type_text(type_)


def view(ffqn: FunctionName) -> FunctionView:
    signature = SIGNATURES[ffqn]
    result = signature.result
    assert isinstance(result, Result)
    return FunctionView(
        ffqn=ffqn,
        params=tuple((name, type_text(type_)) for name, type_ in signature.params),
        return_type=type_text(result),
        signature=signature_text(signature),
        submittable=True,
        ok_type=_side(result.ok),
        err_type=_side(result.err),
    )


_SUBMIT_VIEW = FunctionView(
    ffqn=FIBO_SUBMIT,
    params=(("join-set", "borrow<join-set>"), ("n", "u8")),
    return_type="execution-id",
    signature="func(join-set: borrow<join-set>, n: u8) -> execution-id",
    extension=ExtensionKind.SUBMIT,
)


class SmallCatalogue:
    """The seed's two components, with one more function that has a version and an `err` payload."""

    def __init__(self) -> None:
        self.deployment_id = DEPLOYMENT
        self._components = [
            ComponentView(
                "myworkflow",
                FunctionKind.WORKFLOW,
                WORKFLOW_DIGEST,
                (view(FIBOA), view(FIBOA_CONCURRENT)),
                (view(FIBO),),
            ),
            ComponentView(
                "activity_myfibo",
                FunctionKind.ACTIVITY,
                ACTIVITY_DIGEST,
                (view(FIBO), view(GREET), _SUBMIT_VIEW),
                (),
            ),
        ]

    def components(self) -> list[ComponentView]:
        return list(self._components)

    def function(self, ffqn: FunctionName) -> FunctionView | None:
        exports = (function for component in self._components for function in component.exports)
        return next((function for function in exports if function.ffqn == ffqn), None)

    def check_params(self, ffqn: FunctionName, data: bytes) -> Json:
        return Json(ParamsCodec(SIGNATURES[ffqn]).canonical(data))


class LockedReader:
    """The memory store is used from one thread; the doors read from several."""

    def __init__(self, store: MemoryStore, lock: threading.Lock) -> None:
        self._store = store
        self._lock = lock

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(*args: Any) -> Any:
            with self._lock:
                return method(*args)

        return call


class SmallEngine:
    """`obelisk.api.ports.Engine`, with the means to drive executions."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.catalogue = SmallCatalogue()
        self.changes = Changes()
        self.is_full = False
        self.is_stopping = False
        self.script: Callable[[ExecutionId], Awaitable[None]] | None = None
        """What happens to an execution once it has been submitted."""
        self.script_errors: list[BaseException | None] = []
        self._scripts: set[asyncio.Future[None]] = set()
        self._lock = threading.Lock()
        self.reader: Any = LockedReader(self.store, self._lock)
        self._now = START
        self._ids = 0
        self._batches = 0

    # --- the port ------------------------------------------------------------------------------------------------

    def now(self) -> Instant:
        return self._now

    def new_execution_id(self) -> ExecutionId:
        self._ids += 1
        return ExecutionId("E_" + ulid(self._now // 1000, self._ids.to_bytes(10)))

    async def submit(
        self,
        execution_id: ExecutionId,
        ffqn: FunctionName,
        params: Json,
        metadata: dict[str, str],
        scheduled_at: Instant | None,
    ) -> AnswerKind:
        if self.is_stopping:
            raise ShuttingDown("server is shutting down")
        if self.is_full:
            raise InboxFull("2000 submissions are waiting (limits.inbox_max)")
        if self.store.state(execution_id) is not None:
            return AnswerKind.EXISTS
        self.create(execution_id, ffqn, bytes(params), metadata=metadata, scheduled_at=scheduled_at)
        if self.script is not None:
            running = asyncio.ensure_future(self.script(execution_id))
            self._scripts.add(running)
            running.add_done_callback(self._script_done)
        return AnswerKind.CREATED

    def _script_done(self, script: asyncio.Future[None]) -> None:
        self._scripts.discard(script)
        if not script.cancelled() and script.exception() is not None:
            self.script_errors.append(script.exception())

    def watch(self, root: ExecutionId) -> AbstractAsyncContextManager[Any]:
        return self.changes.watch(root)

    def stop(self) -> None:
        self.is_stopping = True
        self.changes.close()

    # --- driving -------------------------------------------------------------------------------------------------

    def advance(self, us: int) -> Instant:
        """Time passes."""
        self._now = Instant(self._now + us)
        return self._now

    def create(
        self,
        execution_id: ExecutionId,
        ffqn: FunctionName,
        params: bytes,
        *,
        metadata: dict[str, str] | None = None,
        scheduled_at: Instant | None = None,
    ) -> ExecutionId:
        """A new execution, pending."""
        kind = WORKFLOW_DIGEST if "workflow" in ffqn else ACTIVITY_DIGEST
        event = Created(
            ffqn=ffqn,
            params=Json(params),
            component=kind,
            deployment=DEPLOYMENT,
            scheduled_at=self._now if scheduled_at is None else scheduled_at,
            join_set=None if parent_of(execution_id) is None else join_set_of(relative(execution_id)),
            metadata=metadata or {},
        )
        state = transitions.create(execution_id, event, self._now, EXECUTOR)
        self._commit(
            Unit(
                expects=[Expect(execution_id, 0)],
                events=[NewEvent(execution_id, 0, self._now, event)],
                states=[state],
            )
        )
        return execution_id

    def append(self, execution_id: ExecutionId, *events: Event, answered: bool = False) -> None:
        """Appends to the log."""
        state = self.store.state(execution_id)
        assert state is not None
        expect = Expect(execution_id, state.next_version)
        new = []
        for event in events:
            version = transitions.append(state, event, self._now, answered=answered)
            new.append(NewEvent(execution_id, version, self._now, event))
        self._commit(Unit(expects=[expect], events=new, states=[state]))

    def lock(self, execution_id: ExecutionId) -> None:
        """A run starts, for a second."""
        run = RunId("Run_" + execution_id[2:28])
        expires = Instant(self._now + SECOND_US)
        self.append(execution_id, Locked(executor=EXECUTOR, run=run, lock_expires_at=expires, max_retries=5))

    def call(self, parent: ExecutionId, index: int, params: bytes = b"[10]") -> ExecutionId:
        """The parent calls `fibo` directly, for the `index`-th time, and blocks; the child is born locked."""
        join_set = JoinSetId(f"o:{index}-fibo")
        child = ChildId(f"{join_set}_1")
        child_id = absolute(parent, child)
        self.append(
            parent,
            JoinSetCreated(join_set),
            ChildRequested(child, FIBO, Json(params)),
            JoinNext(join_set, Instant(self._now + SECOND_US), FIBO),
        )
        self.create(child_id, FIBO, params)
        self.lock(child_id)
        return child_id

    def finish(self, execution_id: ExecutionId, outcome: Outcome) -> None:
        """Ends the execution and tells its parent."""
        state = self.store.state(execution_id)
        assert state is not None
        version = state.next_version
        self.append(execution_id, Finished(outcome))
        parent = parent_of(execution_id)
        if parent is not None:
            self.respond(parent, ChildFinished(relative(execution_id), version, outcome))

    def respond(self, execution_id: ExecutionId, body: ChildFinished | DelayFinished) -> None:
        """A response arrives."""
        state = self.store.state(execution_id)
        assert state is not None
        join_set = join_set_of(body.child if isinstance(body, ChildFinished) else body.delay)
        seq = transitions.respond(state, join_set, self._now)
        self._commit(
            Unit(
                expects=[Expect(execution_id, state.next_version)],
                responses=[NewResponse(execution_id, Response(seq, self._now, join_set, body))],
                states=[state],
            )
        )

    def fibo_run(self, execution_id: ExecutionId, iterations: int = 2) -> None:
        """Runs a pending `fiboa` to its end: `iterations` calls of 10 ms each, result 55."""
        self.lock(execution_id)
        for index in range(1, iterations + 1):
            child = self.call(execution_id, index)
            self.advance(10_000)
            self.finish(child, Ok(Json(b"55")))
        self.finish(execution_id, Ok(Json(b"55")))

    def _commit(self, unit: Unit) -> None:
        self._batches += 1
        with self._lock:
            outcomes = self.store.commit(f"batch {self._batches}", [unit])
        assert all(type(outcome).__name__ == "Applied" for outcome in outcomes), outcomes
        self.changes.publish({expect.execution_id for expect in unit.expects})


class LoopThread:
    """The one event loop of the process, on a thread of its own: grpc.aio does not survive a second one."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="doors", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any], timeout_s: float = 30) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout_s)


@functools.cache
def the_loop() -> LoopThread:
    """Shared by all tests; ends with the process."""
    return LoopThread()


class SmallServer:
    """A real door over a small engine. Made by `open`, on the loop."""

    engine: SmallEngine
    service: Service
    door: GrpcDoor
    port: int

    @classmethod
    async def open(cls, port: int = 0, engine: SmallEngine | None = None) -> SmallServer:
        self = cls()
        self.engine = engine or SmallEngine()
        self.service = Service(self.engine)
        self.door = GrpcDoor()
        self.port = self.door.bind("127.0.0.1", port)
        await self.door.serve(self.service, self.engine.catalogue)
        return self

    async def close(self) -> None:
        self.engine.changes.close()
        await self.door.stop(0.1)
        self.service.close()
