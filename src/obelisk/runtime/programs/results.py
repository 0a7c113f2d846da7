"""What the end of a program means as the result of its function.

    exit 0          `ok`, its payload the JSON on standard output
    any other exit  `err`, its payload the JSON on standard output
    a signal        a failure, which may be tried again, as that of a trap

A side without payload says nothing: whatever the program wrote is left out. Where a payload is expected, output that is not
one value of JSON of its type, or longer than it may be, is a failure that no retry mends. Pure.
"""

from __future__ import annotations

import signal
from typing import Final

from obelisk.core.values import Failure, FailureKind
from obelisk.runtime.programs.launching import Ended
from obelisk.wasm.activity import Finished
from obelisk.wit.executable import Executable
from obelisk.wit.reader import InvalidJson, ValueMismatch
from obelisk.wit.text import type_text

SHOWN_MAX: Final = 200
"""Characters of a program's output that a failure shows."""


def result(function: Executable, ended: Ended, output: bytes, *, too_long: int | None, errors: str) -> Finished:
    """The end of an attempt. `output`: what the program wrote to its standard output; `too_long`: the limit, if it wrote more;
    `errors`: the last of what it wrote to its standard error.
    """
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


def _signalled(ended: Ended) -> str:
    if ended.oom:
        return "the program was ended because it needed more memory than programs.memory_max_bytes"
    if ended.signal is None:
        return "the program was ended from outside"
    try:
        name = signal.Signals(ended.signal).name
    except ValueError:
        name = "a signal"
    return f"the program was ended by {name} ({ended.signal})"
