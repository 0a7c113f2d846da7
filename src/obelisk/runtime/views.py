"""What is deployed, as the doors show it: components and their functions as plain data.

Decides the form only; the registry of deployed components fills it in. Stands in this ring, not in `api`, because
arrows point downwards.
"""

from __future__ import annotations

import msgspec

from obelisk.core.ids import Digest
from obelisk.core.names import FunctionName
from obelisk.core.ports import FunctionKind
from obelisk.wit.extensions import ExtensionKind


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
