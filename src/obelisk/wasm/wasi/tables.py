"""Which interfaces are supplied to which kind of component, and by which functions.

An interface is found by its name without version: all versions 0.2.x resolve to the same functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from obelisk.core.calls import LogLevel
from obelisk.wasm.wasi import cli, clocks, filesystem, io, process, random, sockets
from obelisk.wasm.wasi.activity import ActivityHost
from obelisk.wasm.wasi.host import Answer, WasiFunction

Table = Mapping[str, Mapping[str, WasiFunction]]

WORKFLOW: Final[Table] = {
    **io.FUNCTIONS,
    **clocks.FUNCTIONS,
    **random.FUNCTIONS,
    **cli.FUNCTIONS,
    **filesystem.FUNCTIONS,
    **sockets.FUNCTIONS,
}
"""What a workflow is supplied with, apart from what is asked of the machine. Its host has neither files nor a network."""


def _log(level: LogLevel, host: ActivityHost, message: str) -> Answer:
    host.log(level, message)
    return None


ACTIVITY: Final[Table] = {
    **WORKFLOW,
    **process.FUNCTIONS,
    "obelisk:log/log": {level.value: partial(_log, level) for level in LogLevel},
}
"""What an activity is supplied with, apart from HTTP."""
_HTTP: Final = "wasi:http/"


def function_of(table: Table, interface: str, function: str) -> WasiFunction | None:
    """The function `interface.function`; None when the table has none."""
    name, _, version = interface.partition("@")
    if name.startswith("wasi:") and not version.startswith("0.2."):
        return None
    if table is ACTIVITY and name.startswith(_HTTP):
        # Here, since a client for HTTP takes as long to import as a database to open, and many servers have no use for one.
        from obelisk.wasm.wasi.http import functions as http

        return http.FUNCTIONS.get(name, {}).get(function)
    return table.get(name, {}).get(function)
