"""What is deployed: the components of the active configuration, and older ones that open executions still refer to.

Decides which function a name means (the active one), which an execution is pinned to (by digest), what doors may see of it
all, and what stays when another deployment takes its place. Implements `core.ports.Registry`. It does not decide whether a deployment is sound: `wit.checks` did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from obelisk.core.events import RejectReason
from obelisk.core.ids import DeploymentId, Digest, ExecutionId
from obelisk.core.names import FunctionName
from obelisk.core.policy import CLOSED, ExecutionPolicy, ProcessProvider, Sandbox
from obelisk.core.ports import FunctionInfo, FunctionKind, Guest, Inside, Rejection, Typed
from obelisk.core.values import Err, Json, Ok
from obelisk.runtime.marked_guest import MarkedGuest
from obelisk.runtime.marks import Marks
from obelisk.runtime.programs.children import Children
from obelisk.runtime.programs.document import ExecEntry, ExecFile
from obelisk.runtime.programs.exec_run import ExecRun
from obelisk.runtime.programs.programs import Programs
from obelisk.runtime.views import ComponentView, FunctionView, component_view
from obelisk.wasm.activity import ActivityRun, RunHost
from obelisk.wasm.guest import WorkflowGuest
from obelisk.wasm.link import EntryPoint
from obelisk.wasm.source import Source
from obelisk.wasm.wasi.activity import ActivityHost
from obelisk.wit.component import ComponentWit
from obelisk.wit.executable import Executable
from obelisk.wit.reader import InvalidJson, ValueMismatch

_SHOWN_DIGEST: Final = len("sha256:") + 12


class FunctionNotFound(LookupError):
    """No active component exports the function, or none does any more."""


@dataclass(frozen=True, slots=True)
class DeployedComponent:
    """One component, ready to run."""

    name: str | None
    """That of the configuration it was last part of; None where nobody knows it any more."""
    kind: FunctionKind
    digest: Digest
    """Of the bytes of `source`."""
    source: Source | ExecFile
    wit: ComponentWit
    policy: ExecutionPolicy
    functions: Mapping[FunctionName, Executable]
    """Its functions that can be executions."""
    programs: Mapping[FunctionName, EntryPoint | ExecEntry]
    """What runs them; nothing for a stub."""
    memory_max_bytes: int | None
    sandbox: Sandbox
    """What its guests may touch, while it is active."""
    sources: Mapping[str, Path] = field(default_factory=dict)
    """Files of the places in its debug information; see `config`."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A function that can be an execution: what the engine must know of it, and its JSON."""

    info: FunctionInfo
    function: Executable


@dataclass(frozen=True, slots=True)
class _Runnable:
    """A function that something here runs."""

    entry: EntryPoint | ExecEntry
    memory_max_bytes: int | None
    name: str | None


class _Tables:
    """What there is at one time; never changed. `before`: the tables that these take the place of."""

    def __init__(
        self,
        deployment_id: DeploymentId,
        active: list[DeployedComponent],
        older: list[DeployedComponent],
        before: _Tables | None = None,
    ) -> None:
        self.deployment_id = deployment_id
        self.active: dict[FunctionName, _Known] = {}
        self.pinned: dict[tuple[Digest, FunctionName], _Known] = {} if before is None else dict(before.pinned)
        self.runnable: dict[tuple[Digest, FunctionName], _Runnable] = {} if before is None else dict(before.runnable)
        self.names: dict[Digest, str] = {} if before is None else dict(before.names)
        for component in (*older, *active):
            digest = component.digest
            self.names[digest] = component.name or self.names.get(digest) or digest[:_SHOWN_DIGEST]
            for ffqn, function in component.functions.items():
                info = FunctionInfo(
                    ffqn,
                    component.kind,
                    digest,
                    function.outcomes.form,
                    component.policy,
                    is_program=isinstance(component.source, ExecFile),
                )
                self.pinned[digest, ffqn] = _Known(info, function)
            for ffqn, entry in component.programs.items():
                self.runnable[digest, ffqn] = _Runnable(entry, component.memory_max_bytes, component.name)
        self.sandboxes = {component.name: component.sandbox for component in active}
        """By name of the component: those of older ones are those of today."""
        for component in active:
            for ffqn in component.functions:
                self.active[ffqn] = self.pinned[component.digest, ffqn]
        self.views = [_view(component) for component in active]
        self.functions = {function.ffqn: function for view in self.views for function in view.exports}


class Deployed:
    """All components of a process, and what clients may see of them. Read from any thread; replaced as a whole, by the engine
    thread, between two ticks.
    """

    def __init__(
        self,
        deployment_id: DeploymentId,
        active: list[DeployedComponent],
        older: list[DeployedComponent],
        marks: Marks | None,
        programs: Programs | None = None,
    ) -> None:
        """`marks`: None where no crash is counted, `programs`: None where no programs are run, in the simulator."""
        self._marks = marks
        self._programs = programs
        self._tables = _Tables(deployment_id, active, older)

    @property
    def deployment_id(self) -> DeploymentId:
        """The active deployment."""
        return self._tables.deployment_id

    def replace(self, deployment_id: DeploymentId, active: list[DeployedComponent]) -> None:
        """Another deployment is the active one from now on. Components that there were stay for the executions on them."""
        self._tables = _Tables(deployment_id, active, [], self._tables)

    # --- the engine's port -------------------------------------------------------------------------------------------

    def active(self, ffqn: FunctionName) -> FunctionInfo | None:
        """The function as the active deployment has it."""
        found = self._tables.active.get(ffqn)
        return None if found is None else found.info

    def pinned(self, component: Digest, ffqn: FunctionName) -> FunctionInfo | None:
        """The function as component `component` has it."""
        found = self._tables.pinned.get((component, ffqn))
        return None if found is None else found.info

    def name_of(self, component: Digest) -> str:
        """What a component is called; the beginning of its digest when no configuration of this process names it."""
        return self._tables.names.get(component, component[:_SHOWN_DIGEST])

    def guest(self, component: Digest, ffqn: FunctionName, execution_id: ExecutionId) -> Guest:
        """A workflow's guest, marked while it is being polled."""
        return self.traceable(component, ffqn, execution_id)[0]

    def traceable(self, component: Digest, ffqn: FunctionName, execution_id: ExecutionId) -> tuple[Guest, Inside]:
        """The same, with what tells where it is in its code."""
        found = self._tables.runnable[component, ffqn]
        assert isinstance(found.entry, EntryPoint), "no program is a workflow"
        guest = WorkflowGuest(found.entry, memory_max=found.memory_max_bytes)
        return guest if self._marks is None else MarkedGuest(guest, execution_id, self._marks), guest

    def typed_params(self, ffqn: FunctionName, params: Json) -> Typed | Rejection:
        """Parameters in JSON as the active function takes them."""
        found = self._tables.active.get(ffqn)
        if found is None:
            return Rejection(RejectReason.FUNCTION_NOT_FOUND)
        try:
            return Typed(Json(found.function.params.canonical(params)), found.info)
        except (InvalidJson, ValueMismatch) as error:
            return Rejection(RejectReason.TYPE_CHECK_ERROR, str(error))

    def typed_result(self, component: Digest, ffqn: FunctionName, result: Json) -> Ok | Err | Rejection:
        """A result in JSON as the function of that component returns it."""
        found = self._tables.pinned.get((component, ffqn))
        if found is None:
            return Rejection(RejectReason.FUNCTION_NOT_FOUND, f"{component} is not loaded")
        try:
            return found.function.outcomes.decode(result)
        except (InvalidJson, ValueMismatch) as error:
            return Rejection(RejectReason.TYPE_CHECK_ERROR, str(error))

    # --- activities --------------------------------------------------------------------------------------------------

    def sandbox(self, component: Digest, ffqn: FunctionName) -> Sandbox:
        """What an activity may touch now."""
        tables = self._tables
        return tables.sandboxes.get(tables.runnable[component, ffqn].name, CLOSED)

    def attempt(self, component: Digest, ffqn: FunctionName, host: RunHost) -> ActivityRun | ExecRun:
        """One attempt at an activity."""
        found = self._tables.runnable[component, ffqn]
        if isinstance(found.entry, ExecEntry):
            assert self._programs is not None, "programs are run by servers only"
            assert isinstance(host, ActivityHost)
            return ExecRun(found.entry, found.name, host, self._programs)
        if self._programs is not None and self.sandbox(component, ffqn).processes is ProcessProvider.NATIVE:
            assert isinstance(host, ActivityHost)
            host.processes = Children(self._programs, host, host.directory)
        return ActivityRun(found.entry, host, memory_max=found.memory_max_bytes)

    # --- doors -------------------------------------------------------------------------------------------------------

    def components(self) -> list[ComponentView]:
        """The active components, in the order of the configuration."""
        return self._tables.views

    def function(self, ffqn: FunctionName) -> FunctionView | None:
        """An exported or generated function of an active component."""
        return self._tables.functions.get(ffqn)

    def digests_of(self, kind: FunctionKind) -> tuple[Digest, ...]:
        """All components of one kind, active or not."""
        return tuple({entry.info.component for entry in self._tables.pinned.values() if entry.info.kind is kind})

    def check_params(self, ffqn: FunctionName, params: bytes) -> Json:
        """A client's parameters in canonical form. `FunctionNotFound`, or `InvalidJson` or `ValueMismatch` of `wit`."""
        found = self._tables.active.get(ffqn)
        if found is None:
            raise FunctionNotFound(f"no active component exports {ffqn}")
        return Json(found.function.params.canonical(params))


def _view(component: DeployedComponent) -> ComponentView:
    assert component.name is not None, "an active component has a name"
    view = component_view(component.name, component.kind, component.digest, component.wit)
    if not isinstance(component.source, ExecFile):
        return view
    return msgspec.structs.replace(view, program=component.source.document.program)
