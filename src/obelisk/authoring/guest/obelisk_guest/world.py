"""What the component's world imports.

Worlds differ, and one that lacks an interface is fine until something is called that needs it; that then says what to import.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Final

try:
    from componentize_py_types import Err, Ok
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "obelisk_guest works inside of a component, or with what `obelisk generate bindings` writes on the path"
    ) from None

__all__ = ["Err", "Ok", "imported"]


def _found(module: str) -> ModuleType | None:
    try:
        return import_module(f"wit_world.imports.{module}")
    except ModuleNotFoundError:
        return None


def _http_types() -> ModuleType | None:
    """That of wasi:http, which has a long name where the world imports another interface `types`."""
    found = (_found(module) for module in ("types", "wasi_http_types"))
    return next((module for module in found if hasattr(module, "OutgoingRequest")), None)


_INTERFACES: Final = {
    "http_types": "wasi:http/types",
    "log": "obelisk:log/log",
    "outgoing_handler": "wasi:http/outgoing-handler",
    "streams": "wasi:io/streams",  # which wasi:http brings along
    "time": "obelisk:workflow/workflow-support",  # which brings it along
    "workflow_support": "obelisk:workflow/workflow-support",
}
_MODULES: Final = {module: _found(module) for module in _INTERFACES} | {"http_types": _http_types()}


def imported(module: str, user: str) -> ModuleType:
    """A module of `wit_world.imports`, for `user`. `ImportError` when the world does not have it."""
    found = _MODULES[module]
    if found is None:
        raise ImportError(f"{user} needs {_INTERFACES[module]}; the component's world must import it, in one version")
    return found
