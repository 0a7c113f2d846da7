"""One component by itself, before it is deployed: what it is, and what would keep it from being deployed.

Decides what its kind is when nobody says. Compiles and runs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from obelisk.core.ports import FunctionKind
from obelisk.runtime.views import ComponentView, component_view
from obelisk.wasm.cache import ComponentCache
from obelisk.wasm.description import Descriptions
from obelisk.wasm.source import is_wasm, read_source
from obelisk.wit.checks import Component, Problem, check_alone
from obelisk.wit.component import ComponentWit


@dataclass(frozen=True, slots=True)
class Inspected:
    """A component. `problems`: why it cannot be deployed, whatever else is. `wit`: its WIT as text."""

    view: ComponentView
    problems: tuple[Problem, ...]
    wit: str


def inspect(path: Path, kind: FunctionKind | None = None) -> Inspected:
    """The component file, file of WIT or folder of WIT at `path`. `kind`: what it would be deployed as; None: what it looks
    like. `ComponentError` of `wasm.source`.
    """
    descriptions = Descriptions(ComponentCache(None))
    loaded = descriptions.read(path)
    if kind is None:
        runs = path.is_file() and is_wasm(read_source(path))
        kind = looks_like(loaded.wit) if runs else FunctionKind.STUB
    problems = check_alone(Component(path.stem, kind, loaded.wit))
    return Inspected(component_view(path.stem, kind, loaded.digest, loaded.wit), problems, descriptions.text(path))


def looks_like(wit: ComponentWit) -> FunctionKind:
    """What a component that runs is, by what it imports: only workflows import functions of other components, or of the host's but its log."""
    names = [interface.name for interface in wit.imports]
    if all(name.startswith(("wasi:", "obelisk:log/")) for name in names):
        return FunctionKind.ACTIVITY
    return FunctionKind.WORKFLOW
