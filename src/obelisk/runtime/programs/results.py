"""What the end of a program means as the result of its function.

    exit 0          `ok`, its payload the JSON on standard output
    any other exit  `err`, its payload the JSON on standard output
    a signal        a failure, which may be tried again, as that of a trap

A program that memory ran out for has failed, whatever exit it made of that, unless it is 0. A side without payload says nothing: whatever the program wrote is left out. Where a payload is expected, output that is not
one value of JSON of its type, or longer than it may be, is a failure that no retry mends. Pure.
"""

from __future__ import annotations

import signal
from typing import Final

from obelisk.core.policy import ProgramLimits
from obelisk.core.values import Failure, FailureKind
from obelisk.runtime.programs.launching import Ended
from obelisk.wasm.activity import Finished
from obelisk.wit.executable import Executable
from obelisk.wit.reader import InvalidJson, ValueMismatch
from obelisk.wit.text import type_text

SHOWN_MAX: Final = 200
"""Characters of a program's output that a failure shows."""


def result(
    function: Executable, ended: Ended, output: bytes, *, too_long: int | None, errors: str, limits: ProgramLimits
) -> Finished:
    """The end of an attempt. `output`: what the program wrote to its standard output; `too_long`: the limit, if it wrote more;
    `errors`: the last of what it wrote to its standard error; `limits`: that it ran under.
    """
    if ended.oom and ended.code != 0:
        return failed(_out_of_memory(ended, limits), errors)
    if ended.code is None:
        return failed(_signalled(ended), errors)
    is_ok = ended.code == 0
    payload = function.outcomes.payload(is_ok)
    if payload is None:
        return Finished(function.outcomes.side(is_ok, b""))
    side = f"exited with {ended.code}, so that its standard output is the {'ok' if is_ok else 'err'} value"
    expected = f"expected was JSON of the type {type_text(payload)}"
    if too_long is not None:
        return failed(
            f"the program {side}, which has more than {too_long} bytes (max_output_bytes)", errors, permanent=True
        )
    if not output.strip():
        return failed(f"the program {side}, but it wrote none; {expected}", errors, permanent=True)
    try:
        return Finished(function.outcomes.side(is_ok, output))
    except (InvalidJson, ValueMismatch) as problem:
        text = output[: 4 * SHOWN_MAX].decode("utf-8", "replace").strip()
        shown = text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"
        return failed(
            f"the program {side}, which it is not: {problem}; {expected}; found {shown}", errors, permanent=True
        )


def failed(reason: str, detail: str = "", *, permanent: bool = False) -> Finished:
    """An attempt that came to no result."""
    return Finished(Failure(FailureKind.UNCATEGORIZED, reason, detail), permanent)


def met(ended: Ended, limits: ProgramLimits) -> list[str]:
    """What there is to say of the limits that a program has met, in the log of its execution."""
    said = [_out_of_memory(ended, limits)] if ended.oom else []
    if ended.refused:
        said.append(
            f"{ended.refused} processes or threads that the program would have started were refused: it may have"
            f" {limits.tasks_max} (programs.tasks_max)"
        )
    return said


def _out_of_memory(ended: Ended, limits: ProgramLimits) -> str:
    who = "a process of the program" if ended.code == 0 else "the program"
    if ended.over and limits.memory_max_bytes is not None:
        return (
            f"{who} was ended because it needed more memory than it may have: {limits.memory_max_bytes} bytes"
            " (programs.memory_max_bytes)"
        )
    return f"{who} was ended because memory ran out: not its own, but that of a cgroup above it or of the machine"


def _signalled(ended: Ended) -> str:
    if ended.signal is None:
        return "the program was ended from outside"
    try:
        name = signal.Signals(ended.signal).name
    except ValueError:
        name = "a signal"
    return f"the program was ended by {name} ({ended.signal})"
