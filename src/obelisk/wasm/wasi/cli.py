"""wasi:cli: environment, arguments, standard streams, and the ways to end before the function returns.

There is no terminal: output goes to the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from obelisk.wasm.wasi.host import Answer, GuestTrap, Host, WasiFunction


def _environment(host: Host) -> Answer:
    return list(host.environment)


def _arguments(host: Host) -> Answer:
    return list(host.arguments)


def _initial_cwd(host: Host) -> Answer:
    return None


def _exit(host: Host, status: tuple[bool, None]) -> Answer:
    raise GuestTrap(f"the guest called exit, with {'success' if status[0] else 'failure'}, instead of returning")


def _exit_with_code(host: Host, code: int) -> Answer:
    raise GuestTrap(f"the guest called exit, with code {code}, instead of returning")


def _no_terminal(host: Host) -> Answer:
    return None


FUNCTIONS: Final[Mapping[str, Mapping[str, WasiFunction]]] = {
    "wasi:cli/environment": {
        "get-environment": _environment,
        "get-arguments": _arguments,
        "initial-cwd": _initial_cwd,
    },
    "wasi:cli/exit": {"exit": _exit, "exit-with-code": _exit_with_code},
    "wasi:cli/stdin": {"get-stdin": lambda host: host.stdin},
    "wasi:cli/stdout": {"get-stdout": lambda host: host.stdout},
    "wasi:cli/stderr": {"get-stderr": lambda host: host.stderr},
    "wasi:cli/terminal-input": {},
    "wasi:cli/terminal-output": {},
    "wasi:cli/terminal-stdin": {"get-terminal-stdin": _no_terminal},
    "wasi:cli/terminal-stdout": {"get-terminal-stdout": _no_terminal},
    "wasi:cli/terminal-stderr": {"get-terminal-stderr": _no_terminal},
}
