"""A small engine for tests of the doors: the memory store, the real change stream, and executions that go where a test
drives them. What it writes is derived by the same transition table as everywhere else.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec

from obelisk.api.service import Service
from obelisk.config import Config
from obelisk.core import calls, transitions
from obelisk.core.backtraces import Backtrace, Frame, Symbol
from obelisk.core.batch import Expect, NewEvent, NewResponse, RequestBody, Snapshot, Unit
from obelisk.core.events import (
    ChildRequested,
    Created,
    Event,
    Finished,
    JoinNext,
    JoinSetCreated,
    Locked,
    Paused,
    RejectReason,
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
from obelisk.core.lines import NewLogLine
from obelisk.core.names import FunctionName, function_of
from obelisk.core.ports import Called, FunctionInfo, FunctionKind, Rejection, Step, Typed
from obelisk.core.replay import Replayed, replay
from obelisk.core.responses import ChildFinished, DelayFinished, Response
from obelisk.core.tracing import Found, HostCall, find_call, trace_calls
from obelisk.core.values import Err, Json, Ok, Outcome
from obelisk.engine.effects import Answer, AnswerKind, Changed
from obelisk.engine.inbox import InboxFull
from obelisk.engine.inputs import GiveResult
from obelisk.runtime.changes import Changes, ShuttingDown
from obelisk.runtime.redeploying import Replaced
from obelisk.runtime.views import ComponentView, FunctionView
from obelisk.server.grpc import GrpcDoor
from obelisk.store.memory import MemoryStore
from obelisk.testing.guests import Flow, FlowFunction, PythonGuest
from obelisk.wit.codec import ParamsCodec
from obelisk.wit.extensions import ExtensionKind
from obelisk.wit.outcomes import outcome_codec
from obelisk.wit.reader import InvalidJson, ValueMismatch
from obelisk.wit.text import signature_text, type_text
from obelisk.wit.types import Prim, Result, Signature, Type

FIBOA = FunctionName("template-fibo:workflow/fibo-workflow-ifc.fiboa")
FIBOA_CONCURRENT = FunctionName("template-fibo:workflow/fibo-workflow-ifc.fiboa-concurrent")
FIBO = FunctionName("template-fibo:activity/fibo-activity-ifc.fibo")
GREET = FunctionName("testing:activity/greet@1.2.0.greet")
FIBO_SUBMIT = FunctionName("template-fibo:activity-obelisk-ext/fibo-activity-ifc.fibo-submit")
FIBO_SCHEDULE = FunctionName("template-fibo:activity-obelisk-schedule/fibo-activity-ifc.fibo-schedule")
APPROVE = FunctionName("testing:stub/approvals.approve")
APPROVE_STUB = FunctionName("testing:stub-obelisk-stub/approvals.approve-stub")
NOTICE = FunctionName("testing:stub/approvals.notice")
WORKFLOW_DIGEST = Digest("sha256:" + "a" * 64)
ACTIVITY_DIGEST = Digest("sha256:" + "b" * 64)
STUB_DIGEST = Digest("sha256:" + "c" * 64)
OLD_DIGEST = Digest("sha256:" + "e" * 64)
"""An older version of the workflow component: loaded, not active."""
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
    APPROVE: Signature((("what", Prim.STRING),), Result(Prim.BOOL, Prim.STRING)),
    NOTICE: Signature((), Result(None, None)),
}


def _side(type_: Type | None) -> str | None:
    return None if type_ is None else type_text(type_)


def view(ffqn: FunctionName, *, submittable: bool = True) -> FunctionView:
    signature = SIGNATURES[ffqn]
    result = signature.result
    assert isinstance(result, Result)
    return FunctionView(
        ffqn=ffqn,
        params=tuple((name, type_text(type_)) for name, type_ in signature.params),
        return_type=type_text(result),
        signature=signature_text(signature),
        submittable=submittable,
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
_SCHEDULE_VIEW = FunctionView(
    ffqn=FIBO_SCHEDULE,
    params=(("schedule-at", "schedule-at"), ("n", "u8")),
    return_type="execution-id",
    signature="func(schedule-at: schedule-at, n: u8) -> execution-id",
    extension=ExtensionKind.SCHEDULE,
    submittable=True,
)
_STUB_VIEW = FunctionView(
    ffqn=APPROVE_STUB,
    params=(("execution-id", "execution-id"), ("execution-result", "result<bool, string>")),
    return_type="result<_, stub-error>",
    signature="func(execution-id: execution-id, execution-result: result<bool, string>) -> result<_, stub-error>",
    extension=ExtensionKind.STUB,
)


def fiboa(execution_id: ExecutionId, params: Json) -> Flow:
    """What `fiboa` does: `iterations` calls of `fibo`, in series."""
    n, iterations = msgspec.json.decode(params)
    outcome: Any = Ok(Json(b"0"))
    for _ in range(iterations):
        outcome = yield calls.CallChild(FIBO, Json(b"[%d]" % n))
    return outcome if isinstance(outcome, Ok) else Err()


def fiboa_of_old(execution_id: ExecutionId, params: Json) -> Flow:
    """The older version counts one more."""
    n, iterations = msgspec.json.decode(params)
    outcome: Any = Ok(Json(b"0"))
    for _ in range(iterations):
        outcome = yield calls.CallChild(FIBO, Json(b"[%d]" % (n + 1)))
    return outcome if isinstance(outcome, Ok) else Err()


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
                (view(FIBO), view(GREET), _SCHEDULE_VIEW, _SUBMIT_VIEW),
                (),
            ),
        ]
        self.older = {OLD_DIGEST: (FunctionKind.WORKFLOW, (FIBOA,))}
        """Components that are loaded, and not active: kind and functions."""

    def components(self) -> list[ComponentView]:
        return list(self._components)

    def function(self, ffqn: FunctionName) -> FunctionView | None:
        exports = (function for component in self._components for function in component.exports)
        return next((function for function in exports if function.ffqn == ffqn), None)

    def check_params(self, ffqn: FunctionName, data: bytes) -> Json:
        return Json(ParamsCodec(SIGNATURES[ffqn]).canonical(data))

    def active(self, ffqn: FunctionName) -> FunctionInfo | None:
        for component in self._components:
            if ffqn in SIGNATURES and any(function.ffqn == ffqn for function in component.exports):
                return self._info(ffqn, component.kind, component.digest)
        return None

    def pinned(self, component: Digest, ffqn: FunctionName) -> FunctionInfo | None:
        info = self.active(ffqn)
        if info is not None and info.component == component:
            return info
        kind, functions = self.older.get(component, (None, ()))
        return self._info(ffqn, kind, component) if kind is not None and ffqn in functions else None

    @staticmethod
    def _info(ffqn: FunctionName, kind: FunctionKind, component: Digest) -> FunctionInfo:
        return FunctionInfo(ffqn, kind, component, outcome_codec(SIGNATURES[ffqn].result).form)

    def typed_params(self, ffqn: FunctionName, params: Json) -> Typed | Rejection:
        info = self.active(ffqn)
        if info is None:
            return Rejection(RejectReason.FUNCTION_NOT_FOUND)
        return Typed(self.check_params(ffqn, bytes(params)), info)

    def typed_result(self, component: Digest, ffqn: FunctionName, result: Json) -> Ok | Err | Rejection:
        try:
            return outcome_codec(SIGNATURES[ffqn].result).decode(result)
        except (InvalidJson, ValueMismatch) as error:
            return Rejection(RejectReason.TYPE_CHECK_ERROR, str(error))

    def digests_of(self, kind: FunctionKind) -> tuple[Digest, ...]:
        active = [component.digest for component in self._components if component.kind is kind]
        return (*active, *(digest for digest, (older, _) in self.older.items() if older is kind))

    def deploy_stubs(self) -> None:
        """A component of stub activities comes."""
        exports = (view(APPROVE, submittable=False), view(NOTICE, submittable=False), _STUB_VIEW)
        self._components.append(ComponentView("approvals", FunctionKind.STUB, STUB_DIGEST, exports, ()))

    def undeploy(self, ffqn: FunctionName) -> None:
        """The component that exports it is not there any more."""
        self._components = [
            component for component in self._components if all(function.ffqn != ffqn for function in component.exports)
        ]


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


class TracedPythonGuest:
    """A guest of Python that tells a stack of its own with each call, as interpreters do."""

    def __init__(self, guest: PythonGuest) -> None:
        self._guest = guest
        self._calls = 0
        self._in_call = False

    def start(self, params: Json) -> Step:
        return self._note(self._guest.start(params))

    def send(self, reply: calls.Reply) -> Step:
        return self._note(self._guest.send(reply))

    def resume(self) -> Step:
        return self._note(self._guest.resume())

    def close(self) -> None:
        self._guest.close()

    def _note(self, step: Step) -> Step:
        self._in_call = isinstance(step, Called)
        self._calls += self._in_call
        return step

    def look(self) -> None:
        assert self._calls == 0

    def stack(self) -> tuple[Frame, ...] | None:
        if not self._in_call:
            return None
        called = Symbol(f"call_{self._calls}", "/src/flow.py", 1 + self._calls)
        return (Frame("flow", "fiboa", (called, Symbol("fiboa", "lib.py"))), Frame("<unknown>", "run"))


class SmallEngine:
    """`obelisk.api.ports.Engine`, with the means to drive executions."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.catalogue = SmallCatalogue()
        self.changes = Changes()
        self.line_changes = Changes()
        self.late_lines: list[NewLogLine] = []
        """Of activities: stored when somebody must see all."""
        self.is_full = False
        self.is_stopping = False
        self.script: Callable[[ExecutionId], Awaitable[None]] | None = None
        """What happens to an execution once it has been submitted."""
        self.script_errors: list[BaseException | None] = []
        self.operated: list[tuple[ExecutionId, RequestBody | GiveResult]] = []
        """What was wanted of executions; nothing is done about it but what `on_operate` does."""
        self.answers: deque[Answer | AnswerKind] = deque()
        """What is answered next; done, when there is nothing."""
        self.on_operate: Callable[[ExecutionId, RequestBody | GiveResult], None] = lambda execution_id, body: None
        self.replaced: list[Replaced] = []
        """What the next redeployment replaces."""
        self.forked: list[tuple[ExecutionId, ExecutionId, int, Digest, bool]] = []
        self.flows: dict[tuple[Digest, FunctionName], FlowFunction] = {
            (WORKFLOW_DIGEST, FIBOA): fiboa,
            (OLD_DIGEST, FIBOA): fiboa_of_old,
        }
        self.traced = 0
        """How many backtraces were made."""
        self.sources: dict[tuple[Digest, str], str] = {}
        self._scripts: set[asyncio.Future[None]] = set()
        self._lock = threading.Lock()
        self.reader: Any = LockedReader(self.store, self._lock)
        self._now = START
        self._ids = 0
        self._batches = 0

    # --- the port ------------------------------------------------------------------------------------------------

    def now(self) -> Instant:
        return self._now

    def wit(self, digest: Digest) -> str | None:
        assert threading.current_thread() is not threading.main_thread(), "it may take a while"
        return f"package of:{digest[7:11]};" if digest in {WORKFLOW_DIGEST, OLD_DIGEST} else None

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
        *,
        paused: bool = False,
        ending: Any = None,
    ) -> AnswerKind:
        self._refuse()
        if self.store.state(execution_id) is not None:
            return AnswerKind.EXISTS
        self.create(execution_id, ffqn, bytes(params), metadata=metadata, scheduled_at=scheduled_at)
        if paused:
            self.append(execution_id, Paused())
        if self.script is not None:
            running = asyncio.ensure_future(self.script(execution_id))
            self._scripts.add(running)
            running.add_done_callback(self._script_done)
        return AnswerKind.CREATED

    def _refuse(self) -> None:
        if self.is_stopping:
            raise ShuttingDown("server is shutting down")
        if self.is_full:
            raise InboxFull("2000 requests of clients are waiting (limits.inbox_max)")

    async def operate(self, execution_id: ExecutionId, body: RequestBody | GiveResult) -> Answer:
        self._refuse()
        self.operated.append((execution_id, body))
        self.on_operate(execution_id, body)
        return self._answer()

    async def fork(
        self, execution_id: ExecutionId, origin: Snapshot, version: int, component: Digest, *, paused: bool = False
    ) -> Answer:
        self._refuse()
        self.forked.append((execution_id, origin.state.execution_id, version, component, paused))
        return self._answer(AnswerKind.CREATED)

    async def redeploy(self, config: Config) -> list[Replaced]:
        self._refuse()
        return self.replaced

    def _answer(self, usual: AnswerKind = AnswerKind.DONE) -> Answer:
        answer = self.answers.popleft() if self.answers else usual
        return answer if isinstance(answer, Answer) else Answer(0, answer)

    async def replay(self, snapshot: Snapshot, component: Digest, calls_max: int, now: Instant) -> Replayed:
        self._refuse()
        state = snapshot.state
        guest = PythonGuest(state.execution_id, self.flows[component, state.ffqn])
        typing = self.catalogue.typed_params
        return replay(
            state.execution_id, snapshot.log, snapshot.responses, guest, now, typing=typing, calls_max=calls_max
        )

    async def trace(self, snapshot: Snapshot, component: Digest, version: int, now: Instant) -> Found | Backtrace:
        self._refuse()
        state = snapshot.state
        guest = TracedPythonGuest(PythonGuest(state.execution_id, self.flows[component, state.ffqn]))
        found = find_call(snapshot, version, guest, guest, now, typing=self.catalogue.typed_params)
        if found.call is None:
            return found
        self.traced += 1
        return Backtrace(found.call.first, found.call.end, component, found.call.frames)

    async def trace_all(
        self,
        snapshot: Snapshot,
        component: Digest,
        versions: Collection[int],
        now: Instant,
        keep: Callable[[list[Backtrace]], None],
    ) -> Replayed:
        self._refuse()
        state = snapshot.state
        guest = TracedPythonGuest(PythonGuest(state.execution_id, self.flows[component, state.ffqn]))
        made: list[Backtrace] = []

        def heard(call: HostCall) -> None:
            made.append(Backtrace(call.first, call.end, component, call.frames))

        typing = self.catalogue.typed_params
        replayed = trace_calls(snapshot, versions, guest, guest, now, heard, typing=typing)
        self.traced += 1
        for each in made:
            await asyncio.to_thread(keep, [each])
        return replayed

    def keep_backtraces(self, execution_id: ExecutionId, backtraces: list[Backtrace]) -> bool:
        assert threading.current_thread() is not threading.main_thread(), "it may wait for a commit"
        with self._lock:
            self.store.keep_backtraces(execution_id, backtraces)
        return True

    def source(self, digest: Digest, file: str) -> str | None:
        assert threading.current_thread() is not threading.main_thread(), "it reads a file"
        return self.sources.get((digest, file))

    def _script_done(self, script: asyncio.Future[None]) -> None:
        self._scripts.discard(script)
        if not script.cancelled() and script.exception() is not None:
            self.script_errors.append(script.exception())

    def watch(self, root: ExecutionId) -> AbstractAsyncContextManager[Any]:
        return self.changes.watch(root)

    def watch_one(self, execution_id: ExecutionId) -> AbstractAsyncContextManager[Any]:
        return self.changes.watch_one(execution_id)

    def watch_end(self, execution_id: ExecutionId) -> AbstractAsyncContextManager[Any]:
        return self.changes.watch_end(execution_id)

    def watch_lines(self, root: ExecutionId) -> AbstractAsyncContextManager[Any]:
        return self.line_changes.watch(root)

    async def lines_stored(self) -> None:
        self._refuse()
        late, self.late_lines = self.late_lines, []
        self.log(*late)

    def stop(self) -> None:
        self.is_stopping = True
        self.changes.close()
        self.line_changes.close()

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
        component: Digest | None = None,
    ) -> ExecutionId:
        """A new execution, pending."""
        info = self.catalogue.active(ffqn)
        event = Created(
            ffqn=ffqn,
            params=Json(params),
            component=component or (WORKFLOW_DIGEST if info is None else info.component),
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

    def call(self, parent: ExecutionId, index: int, params: bytes = b"[10]", ffqn: FunctionName = FIBO) -> ExecutionId:
        """The parent calls `fibo` directly, for the `index`-th time, and blocks; the child is born locked. One of a stub
        activity is not.
        """
        join_set = JoinSetId(f"o:{index}-{function_of(ffqn)}")
        child = ChildId(f"{join_set}_1")
        child_id = absolute(parent, child)
        self.append(
            parent,
            JoinSetCreated(join_set),
            ChildRequested(child, ffqn, Json(params)),
            JoinNext(join_set, Instant(self._now + SECOND_US), ffqn),
        )
        self.create(child_id, ffqn, params)
        if ffqn == FIBO:
            self.lock(child_id)
        return child_id

    def finish(self, execution_id: ExecutionId, outcome: Outcome) -> None:
        """Ends the execution and tells its parent."""
        state = self.store.state(execution_id)
        assert state is not None
        version = state.next_version
        self.append(execution_id, Finished(outcome))
        self.line_changes.publish((execution_id,))
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

    def log(self, *lines: NewLogLine) -> None:
        """Components log."""
        self._commit(Unit(expects=[], lines=list(lines)))
        self.line_changes.publish({line.execution_id for line in lines})

    def _commit(self, unit: Unit) -> None:
        self._batches += 1
        with self._lock:
            outcomes = self.store.commit(f"batch {self._batches}", [unit])
        assert all(type(outcome).__name__ == "Applied" for outcome in outcomes), outcomes
        for change in Changed(unit).rows():
            self.changes.tell(change)


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
        self.engine.line_changes.close()
        await self.door.stop(0.1)
        self.service.close()
