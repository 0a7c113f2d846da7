"""Kinds of components as they are written on a command line and in a configuration."""

from __future__ import annotations

from typing import Any, Final

import click

from obelisk.core.ports import FunctionKind

_WRITTEN: Final = {
    "workflow": FunctionKind.WORKFLOW,
    "activity": FunctionKind.ACTIVITY,
    "activity_stub": FunctionKind.STUB,
    # as the tables of the configuration are called, too
    "workflow_wasm": FunctionKind.WORKFLOW,
    "activity_wasm": FunctionKind.ACTIVITY,
    "activity_exec": FunctionKind.ACTIVITY,
    "activity_external": FunctionKind.STUB,
}
_LATER: Final = ("webhook_endpoint", "webhook_endpoint_wasm", "cron")


class ComponentType(click.ParamType):  # type: ignore[type-arg]  # not generic in every release that fits
    """`workflow`, `activity` or `activity_stub`."""

    name = "COMPONENT_TYPE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> FunctionKind:
        """The kind."""
        if isinstance(value, FunctionKind):
            return value
        if value in _LATER:
            self.fail(f"{value} is known, not available in this version", param, ctx)
        if value not in _WRITTEN:
            self.fail(f"{value!r} is no type of component; expected workflow, activity or activity_stub", param, ctx)
        return _WRITTEN[value]
