"""The runtime: everything of a running server that is not a door.

Decides the order in which things start and stop. Doors see `Runtime`; of the rest of this ring only what it hands out.

    components ─▶ store ─▶ take over ─▶ engine thread          and back, to stop
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager, ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Final

from obelisk.config import Config
from obelisk.core.backtraces import Backtrace
from obelisk.core.batch import BacktraceStore, Recovered, RequestBody, Snapshot, StoreFailed
from obelisk.core.ids import Digest, ExecutionId, root_of
from obelisk.core.instants import Instant
from obelisk.core.names import FunctionName
from obelisk.core.reading import Reader
from obelisk.core.replay import Replayed
from obelisk.core.state import Status
from obelisk.core.tracing import Found
from obelisk.core.values import Json
from obelisk.engine.effects import Answer, AnswerKind
from obelisk.engine.engine import Engine
from obelisk.engine.inbox import ClientCall
from obelisk.engine.inputs import Fork, GiveResult, Operate, Submit
from obelisk.runtime import entropy
from obelisk.runtime.attempts import Attempts
from obelisk.runtime.changes import Changes, Ending, ShuttingDown, Subscription
from obelisk.runtime.clock import Clock, TickBudget
from obelisk.runtime.compiling import make_engines
from obelisk.runtime.components import load_active
from obelisk.runtime.deployed import Deployed, DeployedComponent
from obelisk.runtime.directories import Directories
from obelisk.runtime.driver import Driver
from obelisk.runtime.io_loop import IoLoop
from obelisk.runtime.kept import KeptComponents
from obelisk.runtime.lane import CpuLane
from obelisk.runtime.lines import ComponentLines
from obelisk.runtime.marks import Marks
from obelisk.runtime.outgoing import Outgoing, Secrets
from obelisk.runtime.programs.programs import Programs
from obelisk.runtime.redeploying import Redeploying, Replaced, deployment_digest
from obelisk.runtime.refusals import DeploymentRefused
from obelisk.runtime.replaying import Replays
from obelisk.runtime.streams import Streams
from obelisk.runtime.upkeep import Upkeep
from obelisk.store.sqlite import SqliteStore
from obelisk.wasm.component import ComponentLoader
from obelisk.wasm.engine import Engines
from obelisk.wasm.epochs import EpochTicker

_SWITCH_INTERVAL_S: Final = 0.000_5
"""How long a thread may keep the interpreter while another one waits for it. Python's own 5 ms would let a thread that
computes delay every commit by as much.
"""
_DATABASE: Final = "obelisk.sqlite"
_MARKS: Final = "obelisk.running"
_KEPT: Final = "components"


class Runtime:
    """A started runtime. Its methods are for the loop's thread, `reader` for any."""

    def __init__(
        self,
        store: SqliteStore,
        deployed: Deployed,
        driver: Driver,
        replays: Replays,
        clock: Clock,
        changes: Changes,
        line_changes: Changes,
        wit: Callable[[Digest], str | None],
        sources: Callable[[Digest, str], str | None],
        keep_backtraces: Callable[[ExecutionId, list[Backtrace]], bool],
        redeploying: Redeploying,
        stack: ExitStack,
    ) -> None:
        """Made by `start`; `stack` holds what must be stopped, in reverse order."""
        self._driver = driver
        self._replays = replays
        self._clock = clock
        self._changes = changes
        self._line_changes = line_changes
        self._redeploying = redeploying
        self._one_redeploys = asyncio.Lock()
        self._stack = stack
        self.wit: Final = wit
        """The WIT of a component that is deployed, or that an execution refers to, as text; None: there is no such. From
        any thread; may take a while.
        """
        self.source: Final = sources
        """The text of a source file, as it was when a component was deployed, by the path that its debug information has; None:
        there is none. From any thread.
        """
        self.keep_backtraces: Final = keep_backtraces
        """Keeps backtraces, if they are to be kept. `StoreFailed`. From any thread."""
        self._tokens = itertools.count(1)
        self._stopped = False
        self.catalogue: Final = deployed
        self.reader: Final[Reader] = stack.enter_context(closing(store.reader()))

    def new_execution_id(self) -> ExecutionId:
        """A fresh top-level id."""
        return entropy.execution_id(self._clock.now())

    def now(self) -> Instant:
        """The time."""
        return self._clock.now()

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
        """Creates a top-level execution; returns once it is durable. `ending`, of the same execution, is for whoever waits for
        its end: when it is created, returns once there is nothing more to wait for. `InboxFull` or `ShuttingDown`.
        """
        token = next(self._tokens)
        call = Submit(token, execution_id, ffqn, params, scheduled_at, metadata, paused, ending is not None)
        return (await self._ask(call, ending)).kind

    async def operate(self, execution_id: ExecutionId, body: RequestBody | GiveResult) -> Answer:
        """Does something to an existing execution; returns once it is durable. `InboxFull` or `ShuttingDown`."""
        return await self._ask(Operate(next(self._tokens), execution_id, body))

    async def fork(
        self, execution_id: ExecutionId, origin: Snapshot, version: int, component: Digest, *, paused: bool = False
    ) -> Answer:
        """Creates a copy of `origin` as it was before `version`; returns once it is durable. `InboxFull` or
        `ShuttingDown`.
        """
        return await self._ask(Fork(next(self._tokens), execution_id, origin, version, component, paused))

    async def replay(self, snapshot: Snapshot, component: Digest, calls_max: int, now: Instant) -> Replayed:
        """Runs a workflow on `component`, which has its function, against its log; see `core.replay`. `ReplaysBusy` or
        `ShuttingDown`.
        """
        return await self._replays.run(snapshot, component, calls_max, now)

    async def trace(self, snapshot: Snapshot, component: Digest, version: int, now: Instant) -> Found | Backtrace:
        """Where a workflow was, on `component`, when it left event `version`; see `core.tracing`. `ReplaysBusy` or
        `ShuttingDown`.
        """
        return await self._replays.trace(snapshot, component, version, now)

    async def trace_all(
        self,
        snapshot: Snapshot,
        component: Digest,
        versions: Collection[int],
        now: Instant,
        keep: Callable[[list[Backtrace]], None],
    ) -> Replayed:
        """The same for each of these events, by one replay. `keep` gets the backtraces piece by piece, on another thread."""
        return await self._replays.trace_all(snapshot, component, versions, now, keep)

    async def redeploy(self, config: Config) -> list[Replaced]:
        """Makes the components of `config` the active ones; returns those that are others than before. `DeploymentRefused`,
        or `ShuttingDown`.
        """
        if self._stopped:
            raise ShuttingDown("server is shutting down")
        async with self._one_redeploys:
            return await self._redeploying.redeploy(config, self._driver)

    async def _ask(self, call: ClientCall, ending: Ending | None = None) -> Answer:
        if self._stopped:
            raise ShuttingDown("server is shutting down")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._driver.expect_answer(call.token, loop, answer)
        try:
            self._driver.offer(call)
            if ending is not None:
                ending.then(partial(_set_created, answer, call.token))
            return await answer
        finally:
            self._driver.forget_answer(call.token)

    def watch(self, root: ExecutionId) -> AbstractAsyncContextManager[Subscription]:
        """Watches the tree that an execution belongs to. `ShuttingDown` on entry."""
        return self._changes.watch(root_of(root))

    def watch_one(self, execution_id: ExecutionId) -> AbstractAsyncContextManager[Subscription]:
        """Watches one execution. `ShuttingDown` on entry."""
        return self._changes.watch_one(execution_id)

    def watch_end(self, execution_id: ExecutionId) -> AbstractAsyncContextManager[Ending]:
        """Watches for the end of one execution. `ShuttingDown` on entry."""
        return self._changes.watch_end(execution_id)

    def watch_lines(self, root: ExecutionId) -> AbstractAsyncContextManager[Subscription]:
        """Watches what the tree that an execution belongs to logs, and its ends. `ShuttingDown` on entry."""
        return self._line_changes.watch(root_of(root))

    async def lines_stored(self) -> None:
        """Returns once all that was logged by now can be read. `ShuttingDown`."""
        await asyncio.wrap_future(self._driver.between_ticks(self._driver.store_lines))

    def refuse_new_work(self) -> None:
        """The first step of a stop: no more calls of clients, no more replays, and all change streams end."""
        self._stopped = True
        self._replays.refuse()
        self._changes.close()
        self._line_changes.close()

    def stop(self) -> None:
        """Stops everything and frees the database; blocks until it is done. `refuse_new_work` must have been called."""
        self._stack.close()


def _set_created(answer: asyncio.Future[Answer], token: int) -> None:
    if not answer.done():
        answer.set_result(Answer(token, AnswerKind.CREATED))


class Failure:
    """Why a runtime cannot go on, once that is so. `StoreFailed` has a message for the operator."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._happened = threading.Event()
        self._listener: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def report(self, error: BaseException) -> None:
        """From any thread; the first one counts."""
        if self.error is None:
            self.error = error
        self._happened.set()
        if self._listener is not None:
            loop, event = self._listener
            loop.call_soon_threadsafe(event.set)

    async def wait(self) -> BaseException:
        """Waits for it, on the loop."""
        event = asyncio.Event()
        self._listener = (asyncio.get_running_loop(), event)
        if self._happened.is_set():
            event.set()
        await event.wait()
        assert self.error is not None
        return self.error


def start(config: Config, failure: Failure, engines: Callable[[], Engines] | None = None) -> Runtime:
    """Starts everything that `config` asks for. `failure` hears of it when the runtime cannot go on later. `engines`: of
    `make_engines_aside`; without it they are made here.

    Raises `DeploymentRefused` (components, limits), `StoreUnusable` (the database), or `OSError`; nothing is then left running.
    """
    with ExitStack() as stack:
        runtime = _start(config, failure, engines or partial(make_engines, config), stack)
        stack.pop_all()
    return runtime


def _start(config: Config, failure: Failure, make: Callable[[], Engines], building: ExitStack) -> Runtime:
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    _check_extras(config)
    clock = Clock()
    # Components first: what is refused has written nothing but compiled code into its cache.
    engines = make()
    loader = _loader(config, engines)
    active = load_active(loader, config.components, config.allowed_programs)
    secrets = Secrets(os.environ)
    problems = secrets.take(config)
    if problems:
        raise DeploymentRefused(problems)

    directory = config.sqlite.directory
    directory.mkdir(parents=True, exist_ok=True)
    stack = building.enter_context(ExitStack())
    store = stack.enter_context(closing(SqliteStore(str(directory / _DATABASE), pragmas=config.sqlite.pragma)))
    upkeep = Upkeep(store, failure.report)
    upkeep.start()  # at once: it has room to make
    stack.callback(upkeep.stop)
    marks = stack.enter_context(closing(Marks(directory / _MARKS)))

    now = clock.now()
    executor = entropy.executor_id(now)
    running = marks.left_over()
    recovered = store.take_over(executor, running)
    marks.blank_all()
    stack.callback(marks.blank_all)
    deployment = store.deployment(deployment_digest(config, active), now, entropy.deployment_id(now))
    kept = KeptComponents(directory / _KEPT)
    io = IoLoop()
    programs = Programs(config.allowed_programs, config.programs, kept.programs, io.loop, Path(tempfile.gettempdir()))
    stack.callback(programs.close)
    deployed = Deployed(deployment, active, _older(kept, loader, active, recovered), marks, programs)

    limits = config.limits
    ticker = EpochTicker(engines)
    ticker.start()
    stack.callback(ticker.stop)
    lane = CpuLane(os.cpu_count() or 1, ticker)
    lane.start()
    stack.callback(lane.stop)  # again, for when the engine could not
    stack.callback(io.stop)
    exporter = None
    if config.otlp.enabled:
        from obelisk.runtime.telemetry import otlp
        from obelisk.runtime.telemetry.exporter import Exporter

        connect = partial(otlp.OtlpSender, config.otlp, executor)
        exporter = Exporter(config.otlp, connect, deployed, stack.enter_context(closing(store.reader())))
        exporter.start()
        stack.callback(exporter.stop)
    outgoing = Outgoing(io, clock, secrets, traces_all=exporter is not None)
    stack.callback(outgoing.stop)
    changes, line_changes = Changes(), Changes()
    streams = Streams()
    stack.callback(streams.stop)
    budget = TickBudget(limits.tick_deciding_us_max)
    engine = Engine(executor, deployment, deployed, entropy.SystemEntropy(), budget, limits)
    counted = {state.execution_id for state in recovered.states if state.status is Status.LOCKED}
    suspects = running - counted
    engine.recover(recovered, now, suspects)
    committed, said = (None, None) if exporter is None else (exporter.committed, exporter.said)
    driver = Driver(engine, store, clock, limits, lane, ticker, changes, line_changes, failure.report, committed)
    marks.beware(suspects, driver.wait_for_commit)
    lines = ComponentLines(deployed, limits, driver.lines, streams, clock.now, said)
    redeploying = Redeploying(loader, kept, deployed, store, engine, secrets, clock, programs)
    directories = None
    if config.directories.enabled:
        reader = stack.enter_context(closing(store.reader()))
        directories = Directories(config.directories, clock.now)
        stack.callback(directories.stop)
        directories.start(reader)
    replays = Replays(deployed, ticker)
    stack.callback(replays.stop)
    keep_backtraces = _keeper(store, failure) if config.wasm.backtrace_persist else _keep_nothing
    wit, source_text = partial(_wit, kept, loader), kept.source_text
    runtime = Runtime(
        store,
        deployed,
        driver,
        replays,
        clock,
        changes,
        line_changes,
        wit,
        source_text,
        keep_backtraces,
        redeploying,
        stack,
    )
    stack.callback(driver.stop)
    attempts = Attempts(deployed, lane, io, outgoing, marks, lines, driver.offer, directories)
    driver.start(attempts, lines.emitted)
    upkeep.wait_for_room()
    return runtime


def verify_components(config: Config, engines: Callable[[], Engines]) -> None:
    """Loads, checks and links the components of a configuration, and starts nothing. `engines`: as in `start`.
    `DeploymentRefused`.
    """
    _check_extras(config)
    load_active(_loader(config, engines()), config.components, config.allowed_programs)


def _check_extras(config: Config) -> None:
    """What the configuration needs of packages is installed. `DeploymentRefused`."""
    if not config.otlp.enabled:
        return
    from obelisk.runtime.telemetry import otlp

    problem = otlp.missing()
    if problem is not None:
        raise DeploymentRefused([problem])


def _loader(config: Config, engines: Engines) -> ComponentLoader:
    return ComponentLoader(engines, config.codegen_cache.directory if config.codegen_cache.enabled else None)


def _wit(kept: KeptComponents, loader: ComponentLoader, digest: Digest) -> str | None:
    source = kept.source(digest)
    return None if source is None else loader.descriptions.text(source)


def _keeper(store: BacktraceStore, failure: Failure) -> Callable[[ExecutionId, list[Backtrace]], bool]:
    def keep(execution_id: ExecutionId, backtraces: list[Backtrace]) -> bool:
        try:
            store.keep_backtraces(execution_id, backtraces)
        except StoreFailed as error:
            failure.report(error)
            raise
        return True

    return keep


def _keep_nothing(execution_id: ExecutionId, backtraces: list[Backtrace]) -> bool:
    """As the configuration says."""
    return False


def _older(
    kept: KeptComponents, loader: ComponentLoader, active: list[DeployedComponent], recovered: Recovered
) -> list[DeployedComponent]:
    """The components that open executions refer to and that are not active any more."""
    kept.keep(active)
    current = {component.digest for component in active}
    wanted = {state.component for state in recovered.states} - current
    older = kept.load(loader, sorted(wanted))
    kept.forget_all_but(frozenset(current | wanted))
    return older
