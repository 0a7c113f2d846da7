"""The components that are ready to run, by digest: where guests and attempts come from.

Decides nothing about what is active: several versions of a component are here at once, and stay until they are removed.
"""

from __future__ import annotations

from typing import NamedTuple

from obelisk.core.ids import Digest
from obelisk.core.names import FunctionName
from obelisk.core.ports import FunctionKind
from obelisk.wasm.activity import ActivityRun, LogLine
from obelisk.wasm.component import LoadedComponent
from obelisk.wasm.guest import WorkflowGuest
from obelisk.wasm.link import EntryPoint, LinkedComponent, link_activity, link_workflow


class UnknownFunction(LookupError):
    """No component of that digest is here, or it has no such function of that kind."""


class _Ready(NamedTuple):
    kind: FunctionKind
    linked: LinkedComponent
    memory_max: int | None


class Catalogue:
    """Linked components. Safe to use from several threads."""

    def __init__(self) -> None:
        self._ready: dict[Digest, _Ready] = {}

    def add(self, component: LoadedComponent, kind: FunctionKind, *, memory_max: int | None = None) -> LinkedComponent:
        """Links a component; `memory_max`: bytes of each linear memory of its guests. `ComponentError` when it imports
        what its kind is not supplied with.
        """
        linked = link_workflow(component) if kind is FunctionKind.WORKFLOW else link_activity(component)
        self._ready[component.digest] = _Ready(kind, linked, memory_max)
        return linked

    def remove(self, digest: Digest) -> None:
        """Forgets a component; its guests that run now are not disturbed."""
        self._ready.pop(digest, None)

    def entry(self, digest: Digest, ffqn: FunctionName) -> EntryPoint | None:
        """A function of a component, of either kind; None when it is not here."""
        ready = self._ready.get(digest)
        return None if ready is None else ready.linked.entries.get(ffqn)

    def workflow(self, digest: Digest, ffqn: FunctionName) -> WorkflowGuest:
        """A guest that has not started yet. `UnknownFunction`."""
        ready, entry = self._found(digest, ffqn, FunctionKind.WORKFLOW)
        return WorkflowGuest(entry, memory_max=ready.memory_max)

    def activity(self, digest: Digest, ffqn: FunctionName, log_line: LogLine) -> ActivityRun:
        """An attempt that has not started yet. `UnknownFunction`."""
        ready, entry = self._found(digest, ffqn, FunctionKind.ACTIVITY)
        return ActivityRun(entry, log_line, memory_max=ready.memory_max)

    def _found(self, digest: Digest, ffqn: FunctionName, kind: FunctionKind) -> tuple[_Ready, EntryPoint]:
        ready = self._ready.get(digest)
        if ready is not None and ready.kind is kind:
            entry = ready.linked.entries.get(ffqn)
            if entry is not None:
                return ready, entry
        raise UnknownFunction(f"no loaded {kind} of digest {digest} exports {ffqn}")
