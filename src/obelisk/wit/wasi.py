"""Which interfaces of WASI are supplied to which kind of component, by name.

Decides what is refused at start. A workflow gets the interfaces that can be made the same in every replay. Of the others it
gets, with nothing behind them, those that language runtimes import whether or not the author uses them, where every call
answers that it is not permitted: files, which every C library imports, and sockets, if all of them are imported, as CPython
does. Who imports a part of the sockets means to use them, and is refused; so is HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
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
FILES: Final = frozenset(("wasi:filesystem/types", "wasi:filesystem/preopens"))
SOCKETS: Final = frozenset(f"wasi:sockets/{name}" for name in _SOCKETS)
HTTP: Final = frozenset(("wasi:http/types", "wasi:http/outgoing-handler"))

SUPPLIED: Final = {
    FunctionKind.WORKFLOW: DETERMINISTIC | FILES | SOCKETS,
    FunctionKind.ACTIVITY: DETERMINISTIC | FILES | SOCKETS | HTTP,
}
"""What components of a kind may import."""


def refusals(kind: FunctionKind, imported: Collection[InterfaceName]) -> Iterator[tuple[InterfaceName, str]]:
    """The interfaces, of all those of WASI that a component imports, that it may not import, with why and what to do."""
    names = {interface.partition("@")[0] for interface in imported}
    supplied = SUPPLIED[kind]
    if not names >= SOCKETS and kind is FunctionKind.WORKFLOW:
        supplied -= SOCKETS
    for interface in imported:
        name, _, version = interface.partition("@")
        if not _VERSION.fullmatch(version):
            yield interface, "supplied are the versions 0.2.x of WASI: build the component against one of those"
        elif name in SUPPLIED[FunctionKind.ACTIVITY] - supplied:
            yield interface, "which no replay can repeat, so workflows have none of it: call an activity that does it"
        elif name not in supplied:
            yield interface, "which is no interface of this host"
