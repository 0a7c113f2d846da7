"""Values and results as the engine keeps them.

A value is **canonical JSON bytes** (`Json`), written by `obelisk.wit` from the WIT type: two equal values of one type have
equal bytes, so that comparing is comparing bytes. The type itself is not stored with the value; it follows from the
component's digest. Nothing here parses or writes JSON.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

Json = msgspec.Raw
"""Canonical JSON bytes, embedded in events without being encoded again. Falsy when absent. Unhashable."""

NO_VALUE: Final = Json()
"""What a side of a `result` without payload holds."""


class FailureKind(StrEnum):
    """Why the platform, not the function, ended an execution."""

    TIMED_OUT = "timed_out"
    NONDETERMINISM_DETECTED = "nondeterminism_detected"
    OUT_OF_FUEL = "out_of_fuel"
    CANCELLED = "cancelled"
    UNCATEGORIZED = "uncategorized"


class Ok(msgspec.Struct, frozen=True, tag="ok", omit_defaults=True):
    """The function returned `ok`; `value` is its payload."""

    value: Json = NO_VALUE


class Err(msgspec.Struct, frozen=True, tag="err", omit_defaults=True):
    """The function returned `err`; `value` is its payload. `permanent`: its variant case says that retrying is useless."""

    value: Json = NO_VALUE
    permanent: bool = False


class Failure(msgspec.Struct, frozen=True, tag="execution_failure", omit_defaults=True):
    """The platform ended the execution: trap, timeout, cancellation.

    A parent sees it projected into its child's declared error type; APIs show all of it.
    """

    kind: FailureKind
    reason: str = ""
    detail: str = ""


Outcome = Ok | Err | Failure
"""How an execution ended."""

CANCELLED: Final = Failure(FailureKind.CANCELLED, "cancelled")
"""How one ends that somebody cancelled."""


class ErrForm(StrEnum):
    """Which of the four return forms a function declares; says how a `Failure` is shown to its caller."""

    NONE = "none"
    """`result` or `result<T>`: the caller gets a bare `err`."""
    STRING = "string"
    """`result<_, string>`: the caller gets `err("execution-failed")`."""
    VARIANT = "variant"
    """`result<_, V>` where V has a case `execution-failed` without payload: the caller gets that case."""
