"""Which interfaces of WASI are supplied to which kind of component, by name.

Decides what is refused at start. A workflow gets the interfaces that can be made the same in every replay, and, with
nothing behind them, those that language runtimes import whether or not the author uses them (files and sockets: every call
answers that it is not permitted). What no runtime needs to drag along and no replay can repeat, HTTP, it does not get.
"""

from __future__ import annotations

import re
from typing import Final

from obelisk.core.names import InterfaceName
from obelisk.core.ports import FunctionKind

_VERSION: Final = re.compile(r"0\.2\.\d+")
_CLI: Final = ("environment", "exit", "stdin", "stdout", "stderr")
_TERMINALS: Final = ("terminal-input", "terminal-output", "terminal-stdin", "terminal-stdout", "terminal-stderr")
_SOCKETS: Final = (
    "network",
    "instance-network",
    "ip-name-lookup",
    "tcp",
    "tcp-create-socket",
    "udp",
    "udp-create-socket",
)

DETERMINISTIC: Final = frozenset(
    (
        "wasi:io/error",
        "wasi:io/poll",
        "wasi:io/streams",
        "wasi:clocks/wall-clock",
        "wasi:clocks/monotonic-clock",
        "wasi:clocks/timezone",
        "wasi:random/random",
        "wasi:random/insecure",
        "wasi:random/insecure-seed",
        *(f"wasi:cli/{name}" for name in (*_CLI, *_TERMINALS)),
    )
)
"""The same in every replay."""
DRAGGED_ALONG: Final = frozenset(
    (
        "wasi:filesystem/types",
        "wasi:filesystem/preopens",
        *(f"wasi:sockets/{name}" for name in _SOCKETS),
    )
)
"""What runtimes such as CPython's import whatever the author writes. In a workflow there is nothing behind it."""
HTTP: Final = frozenset(("wasi:http/types", "wasi:http/outgoing-handler"))

SUPPLIED: Final = {
    FunctionKind.WORKFLOW: DETERMINISTIC | DRAGGED_ALONG,
    FunctionKind.ACTIVITY: DETERMINISTIC | DRAGGED_ALONG | HTTP,
}


def refusal(kind: FunctionKind, interface: InterfaceName) -> str | None:
    """Why a component of that kind may not import the interface, and what to do; None when it may."""
    name, _, version = interface.partition("@")
    if not _VERSION.fullmatch(version):
        return "supplied are the versions 0.2.x of WASI: build the component against one of those"
    if name in SUPPLIED[kind]:
        return None
    if name in SUPPLIED[FunctionKind.ACTIVITY]:
        return "which no replay can repeat, so workflows have none of it: call an activity that does it"
    return "which is no interface of this host"
