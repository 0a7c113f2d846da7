"""Compiled components in the simulator: the real guests, and activities that really run.

Decides what keeps a run with them deterministic: a guest that uses up its slice of CPU is resumed at once, and a slice is
pretended now and then instead, so that no clock decides what happens when; an activity is given a world of its own
(`hosts.py`), in which it is a function of its parameters and of its execution, so it is run once for each of them and its
end is remembered. An activity that reaches something outside has no place here: its results must be given.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from obelisk.config import Config, ConfigError, load
from obelisk.core.calls import Reply
from obelisk.core.ids import Digest, ExecutionId
from obelisk.core.names import FunctionName, function_of, interface_of
from obelisk.core.policy import AllowedPrograms, Sandbox
from obelisk.core.ports import FunctionInfo, FunctionKind, Guest, Step, Trapped, Yielded
from obelisk.core.values import Failure, FailureKind, Json
from obelisk.engine.effects import StartAttempt
from obelisk.runtime.components import load_active
from obelisk.runtime.deployed import Deployed, DeployedComponent
from obelisk.runtime.refusals import DeploymentRefused
from obelisk.runtime.views import ComponentView
from obelisk.testing.deployment import DEPLOYMENT
from obelisk.testing.guests import StrictGuest
from obelisk.testing.hosts import SimulatedHost
from obelisk.testing.subject import AttemptEnd
from obelisk.wasm.activity import ActivityRun, ActivityStep, Finished, Waiting
from obelisk.wasm.component import ComponentLoader
from obelisk.wasm.engine import EngineConfig, Engines
from obelisk.wasm.epochs import EpochTicker
from obelisk.wit import wasi
from obelisk.wit.extensions import ExtensionKind, classify

__all__ = ["Components", "ConfigError", "DeploymentRefused", "load_components"]

_SIMULATED: Final = frozenset(("obelisk:log/log",)) | wasi.DETERMINISTIC | wasi.FILES | wasi.SOCKETS
"""Interfaces that a simulated world has; there is neither a file nor an address in it."""
_REMEMBERED_MAX: Final = 10_000
_PRETENDED: Final = 23
"""One in so many steps pretends to have used up its slice first."""


class ResultMissing(Exception):
    """An activity that reaches something outside was called, and no result of it is given."""


class Components:
    """The components of a configuration."""

    def __init__(self, components: list[DeployedComponent], ticker: EpochTicker) -> None:
        self._deployed: Final = Deployed(DEPLOYMENT, components, [], None)
        self._views: Final = {view.digest: view for view in self._deployed.components()}
        self._ticker: Final = ticker
        self._remembered: Final[dict[tuple[Digest, FunctionName, bytes, ExecutionId | None], AttemptEnd]] = {}

    def deployment(self) -> CompiledRegistry:
        """The functions for a new process."""
        return CompiledRegistry(self._deployed, self._ticker)

    # --- activities --------------------------------------------------------------------------------------------------

    def attempt(self, start: StartAttempt) -> AttemptEnd:
        """Runs an activity to its end. `ResultMissing` when it reaches something outside."""
        view = self._views[start.component]
        reached = reached_outside(view, self._deployed.sandbox(start.component, start.ffqn))
        if reached is not None:
            raise ResultMissing(f"{start.ffqn} {reached}, which the simulator does not have: its result must be given")
        draws = any(name.startswith("wasi:random/") for name in _imported(view))
        key = (start.component, start.ffqn, bytes(start.params), start.execution_id if draws else None)
        end = self._remembered.get(key)
        if end is None:
            end = self._run(start)
            if len(self._remembered) < _REMEMBERED_MAX:
                self._remembered[key] = end
        return end

    def _run(self, start: StartAttempt) -> AttemptEnd:
        environment = self._deployed.sandbox(start.component, start.ffqn).environment
        host = SimulatedHost(start.execution_id, environment)
        run = self._deployed.attempt(start.component, start.ffqn, host)
        assert isinstance(run, ActivityRun), "programs are not run here"
        too_long = f"the attempt ran for longer than {start.deadline_us // 1_000} ms (exec.lock_expiry)"
        begun = time.thread_time_ns()
        try:
            with self._ticker.polling():
                step = run.start(start.params)
                while not isinstance(step, Finished):
                    if time.thread_time_ns() - begun + host.waited_ns > start.deadline_us * 1_000:
                        return AttemptEnd(Failure(FailureKind.TIMED_OUT, too_long))
                    step = _waited(run, step) if isinstance(step, Waiting) else run.resume()
            if host.waited_ns > start.deadline_us * 1_000:
                return AttemptEnd(Failure(FailureKind.TIMED_OUT, too_long))
            return AttemptEnd(step.outcome, step.permanent)
        finally:
            run.close()

    # --- what is there -----------------------------------------------------------------------------------------------

    def info(self, ffqn: FunctionName) -> FunctionInfo | None:
        """The function, if there is one of that name."""
        return self._deployed.active(ffqn)

    def functions(self) -> list[FunctionName]:
        """All functions that may be executions."""
        exported = [function.ffqn for view in self._views.values() for function in view.exports]
        return [ffqn for ffqn in exported if self.info(ffqn) is not None]

    def needed_results(self, ffqn: FunctionName) -> list[FunctionName]:
        """The functions that `ffqn` may call, itself or through what it calls, and that nothing here can run: activities
        that reach something outside, and stub activities whose result no workflow among them gives.
        """
        needed: dict[FunctionName, None] = {}
        stubbed: set[FunctionName] = set()
        seen: set[Digest] = set()
        todo = [ffqn]
        while todo:
            target = todo.pop(0)
            info = self.info(target)
            if info is None:
                continue
            view = self._views[info.component]
            match info.kind:
                case FunctionKind.STUB:
                    needed[target] = None
                case FunctionKind.ACTIVITY if self._reaches_outside(view, target):
                    needed[target] = None
                case FunctionKind.WORKFLOW if view.digest not in seen:
                    seen.add(view.digest)
                    for called, extension in _called(view):
                        todo.append(called)
                        if extension is ExtensionKind.STUB:
                            stubbed.add(called)
        return [target for target in needed if target not in stubbed]

    def _reaches_outside(self, view: ComponentView, ffqn: FunctionName) -> bool:
        return reached_outside(view, self._deployed.sandbox(view.digest, ffqn)) is not None


def reached_outside(component: ComponentView, sandbox: Sandbox) -> str | None:
    """What an activity reaches that a simulated world does not have, if there is something: "imports wasi:http/types"."""
    if component.program is not None:
        return "is a program"
    for interface in _imported(component):
        if interface not in _SIMULATED:
            return f"imports {interface}"
    if sandbox.directories.gives_any:
        return "is given directories"
    return "is given an address (allowed_tcp)" if sandbox.tcp else None


def _imported(component: ComponentView) -> Iterator[str]:
    """The interfaces that it imports functions of, without their versions."""
    return (interface_of(function.ffqn).partition("@")[0] for function in component.imports)


def _waited(run: ActivityRun, waiting: Waiting) -> ActivityStep:
    """The step after a wait: nothing in a simulated host is still to come."""
    try:
        waiting.coroutine.send(None)
    except StopIteration as end:
        return run.answer(end.value)
    except Exception as error:  # noqa: BLE001 - the guest's mistake, or ours: the run ends
        return run.fail(error)
    raise AssertionError("an activity waits for something that no simulated world has")


def _called(component: ComponentView) -> Iterator[tuple[FunctionName, ExtensionKind | None]]:
    """The functions of others that a workflow imports, and as which extension."""
    for function in component.imports:
        extension = classify(interface_of(function.ffqn), function_of(function.ffqn))
        yield (function.ffqn, None) if extension is None else extension


class CompiledRegistry:
    """The functions of components as one simulated process has them; see `core.ports.Registry`."""

    def __init__(self, deployed: Deployed, ticker: EpochTicker) -> None:
        self._deployed: Final = deployed
        self._ticker: Final = ticker
        self.guests: Final[set[StrictGuest]] = set()
        self.active: Final = deployed.active
        self.pinned: Final = deployed.pinned
        self.typed_params: Final = deployed.typed_params
        self.typed_result: Final = deployed.typed_result

    def guest(self, component: Digest, ffqn: FunctionName, execution_id: ExecutionId) -> Guest:
        """A guest of a workflow."""
        info = self._deployed.pinned(component, ffqn)
        assert info is not None
        guest = self._deployed.guest(component, ffqn, execution_id)
        return CompiledGuest(execution_id, guest, self._ticker, info.policy.cpu_budget_us, self.guests)


class CompiledGuest(StrictGuest):
    """A guest whose slices of CPU are not decided by a clock."""

    def __init__(
        self,
        execution_id: ExecutionId,
        guest: Guest,
        ticker: EpochTicker,
        cpu_budget_us: int,
        live: set[StrictGuest] | None = None,
    ) -> None:
        super().__init__(execution_id, live)
        self._guest: Final = guest
        self._ticker: Final = ticker
        self._cpu_budget_us: Final = cpu_budget_us
        self._steps = 0
        self._held_back: Step | None = None
        """A step that is shown after the slice that was pretended before it."""

    def _start(self, params: Json) -> Step:
        with self._ticker.polling():
            return self._shown(self._guest.start(params))

    def _send(self, reply: Reply) -> Step:
        with self._ticker.polling():
            return self._shown(self._guest.send(reply))

    def _resume(self) -> Step:
        step, self._held_back = self._held_back, None
        assert step is not None
        return step

    def _close(self) -> None:
        self._guest.close()

    def _shown(self, step: Step) -> Step:
        begun = time.thread_time_ns()
        while isinstance(step, Yielded):
            if time.thread_time_ns() - begun > self._cpu_budget_us * 1_000:
                reason = f"no host call within {self._cpu_budget_us // 1_000} ms of CPU time (exec.cpu_budget)"
                return Trapped(Failure(FailureKind.OUT_OF_FUEL, reason))
            step = self._guest.resume()
        self._steps += 1
        if zlib.crc32(f"{self.execution_id} {self._steps}".encode()) % _PRETENDED:
            return step
        self._held_back = step
        return Yielded()


def load_components(path: Path | None) -> Components:
    """The components of a configuration, which is found as the server finds it. `ConfigError`, `DeploymentRefused`, or
    `OSError`.
    """
    config = load(path, os.environ, Path.cwd())
    engines, ticker = _engines(config.wasm.fuel, config.wasm.parallel_compilation)
    return Components(load_active(_loader(config, engines), config.components, AllowedPrograms(all=True)), ticker)


def _loader(config: Config, engines: Engines) -> ComponentLoader:
    return ComponentLoader(engines, config.codegen_cache.directory if config.codegen_cache.enabled else None)


@cache
def _engines(fuel: int | None, parallel_compilation: bool) -> tuple[Engines, EpochTicker]:
    """Engines live as long as the process. No pool: the simulator keeps few guests, and the address space is not its."""
    engines = Engines(
        EngineConfig(pooling=False, fuel=fuel, parallel_compilation=parallel_compilation, memory_max=4 << 30)
    )
    ticker = EpochTicker(engines)
    ticker.start()
    return engines, ticker
