"""What is deployed, as the doors show it: components and their functions as plain data.

Decides the form, and what of a component is shown. Stands in this ring, not in `api`, because arrows point downwards.
"""

from __future__ import annotations

import msgspec

from obelisk.core.ids import Digest
from obelisk.core.names import FunctionName
from obelisk.core.ports import FunctionKind
from obelisk.wit.component import ComponentWit, Function, Interface
from obelisk.wit.extensions import ExtensionKind, classify, extension_interfaces
from obelisk.wit.outcomes import err_form
from obelisk.wit.text import type_text
from obelisk.wit.types import Result


class FunctionView(msgspec.Struct, frozen=True):
    """A function that a component exports or imports. Types are WIT texts."""

    ffqn: FunctionName
    params: tuple[tuple[str, str], ...]
    """Name and type of each parameter."""
    return_type: str | None
    signature: str
    """`func(n: u8, iterations: u32) -> result<u64>`."""
    extension: ExtensionKind | None = None
    submittable: bool = False
    """Whether a client may submit it."""
    ok_type: str | None = None
    """Payload of `ok`; None: it has none."""
    err_type: str | None = None
    """Payload of `err`; None: it has none."""


class ComponentView(msgspec.Struct, frozen=True):
    """A deployed component. Functions of generated extension interfaces are among its exports, marked as such."""

    name: str
    kind: FunctionKind
    digest: Digest
    exports: tuple[FunctionView, ...]
    imports: tuple[FunctionView, ...]
    program: Digest | None = None
    """The digest of the program of the host that it is; None: it is WASM, or WIT alone."""


def component_view(name: str, kind: FunctionKind, digest: Digest, wit: ComponentWit) -> ComponentView:
    """A component with its WIT, as it is shown."""
    exports: list[FunctionView] = []
    is_stub = kind is FunctionKind.STUB
    for interface in wit.exports:
        exports += [_function_view(interface, function, is_stub=is_stub) for function in interface.functions]
    for interface in wit.exports:
        for generated in extension_interfaces(interface, kind):
            exports += [_function_view(generated, function) for function in generated.functions]
    return ComponentView(
        name,
        kind,
        digest,
        tuple(exports),
        tuple(_function_view(interface, function) for interface in wit.imports for function in interface.functions),
    )


def _function_view(interface: Interface, function: Function, *, is_stub: bool = False) -> FunctionView:
    extension = classify(interface.name, function.name)
    can_be_submitted = (
        extension[1] is ExtensionKind.SCHEDULE
        if extension is not None
        else not is_stub and err_form(function.signature) is not None
    )
    result = function.signature.result
    sides = (result.ok, result.err) if isinstance(result, Result) else (None, None)
    ok_type, err_type = (None if side is None else type_text(side) for side in sides)
    return FunctionView(
        ffqn=interface.ffqn(function),
        params=tuple((name, type_text(type_)) for name, type_ in function.signature.params),
        return_type=None if result is None else type_text(result),
        signature=function.text,
        extension=None if extension is None else extension[1],
        submittable=can_be_submitted,
        ok_type=ok_type,
        err_type=err_type,
    )
