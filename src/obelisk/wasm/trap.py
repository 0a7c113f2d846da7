"""What a dead guest leaves behind becomes a `Failure`.

Decides how wasmtime's text is cut into a reason (one line) and a detail (all of it, with functions and source lines when
the component has debug information), and which kind of failure it is.
"""

from __future__ import annotations

from typing import Final

from obelisk.core.ports import FunctionKind
from obelisk.core.values import Failure, FailureKind

_OUT_OF_FUEL: Final = "all fuel consumed"
_POOL_IS_FULL: Final = "maximum concurrent"


def trapped(kind: FunctionKind, text: str) -> Failure:
    """The failure of a guest that trapped with wasmtime's `text`."""
    cause = _cause(text)
    failure = FailureKind.OUT_OF_FUEL if _OUT_OF_FUEL in text else FailureKind.UNCATEGORIZED
    return Failure(failure, f"{kind} trap: {cause}", text)


def not_instantiated(kind: FunctionKind, text: str) -> Failure:
    """The failure of a guest that could not even be made."""
    return Failure(FailureKind.UNCATEGORIZED, f"{kind} cannot be instantiated: {_cause(text)}", text)


def bad_params(kind: FunctionKind, problem: Exception) -> Failure:
    """The failure of a guest whose parameters are not what its function takes."""
    return Failure(FailureKind.UNCATEGORIZED, f"{kind} cannot take its parameters: {problem}")


def host_failed(kind: FunctionKind, problem: Exception) -> Failure:
    """The failure of a guest that ended because of a mistake of ours."""
    return Failure(FailureKind.UNCATEGORIZED, f"{kind} ended by an error of the host: {problem}", repr(problem))


def says_pool_is_full(text: str) -> bool:
    """Whether instantiation failed for want of room: the guest may be tried again later."""
    return _POOL_IS_FULL in text and "limit of" in text


def _cause(text: str) -> str:
    """The innermost cause of a wasmtime error: the last line of its chain."""
    _, found, causes = text.rpartition("Caused by:")
    lines = [line.strip() for line in (causes if found else text).splitlines() if line.strip()]
    last = lines[-1] if found and lines else (lines[0] if lines else "unknown")
    number, colon, rest = last.partition(": ")
    return rest if colon and number.isdigit() else last
