"""Stacks of guests: wasmtime's text, and what a guest says of its own, become frames.

Decides how the text of a trap is read, and which of its frames are not the guest's: the trampolines that the tools which make
components put between a module and its imports, and the function that asks for a stack (`stacks`). Pure: it knows nothing of fibers.

    error while executing at wasm backtrace:
        0:   0x2319 - wit-component:shim!indirect-…        no debug information: MODULE!FUNCTION
        1:    0x643 - fibo                                 with it: FUNCTION, then its place,
                        at bindings/workflow.h:784:3
                    - fiboa                                then those that its code was put into, the last one being
                        at fibo_workflow.c:10:10           the function of the module
"""

from __future__ import annotations

import re
from typing import Any, Final

from obelisk.core.backtraces import Frame, Symbol, bounded
from obelisk.wit.types import Value

UNKNOWN: Final = "<unknown>"
"""A module without a name."""
_HEADER: Final = "wasm backtrace:"
_FRAME: Final = re.compile(r"\s*\d+:\s+(?:0x[0-9a-f]+ - )?(.*)")
_INLINED: Final = re.compile(r"\s+- (.*)")
_PLACE: Final = re.compile(r"\s+at (.*?)(?::(\d+))?(?::(\d+))?")
ASKING: Final = "obelisk:stacks"
"""The module whose function asks."""
_MACHINERY: Final = ("wit-component:shim", "wit-component:fixups", ASKING)


def frames_of(text: str) -> tuple[Frame, ...]:
    """The frames in the text of a trap, the innermost first; none when it has none."""
    _, found, rest = text.partition(_HEADER)
    lines = rest.partition("\nCaused by:")[0].splitlines() if found else []
    found_frames: list[Frame] = []
    name, symbols = "", list[Symbol]()

    def finish() -> None:
        if name:
            found_frames.append(_frame(name, symbols))

    for line in lines:
        if (match := _FRAME.fullmatch(line)) is not None:
            finish()
            name, symbols = match[1], [Symbol(match[1])]
        elif (match := _PLACE.fullmatch(line)) is not None and symbols:
            symbols[-1] = Symbol(symbols[-1].func_name, match[1], _number(match[2]), _number(match[3]))
        elif (match := _INLINED.fullmatch(line)) is not None and symbols:
            symbols.append(Symbol(match[1]))
    finish()
    return bounded(frame for frame in found_frames if frame.module not in _MACHINERY)


def _frame(name: str, symbols: list[Symbol]) -> Frame:
    if len(symbols) == 1 and symbols[0].file is None:
        module, has_module, function = name.partition("!")
        if has_module:
            return Frame(module, function)
    return Frame(UNKNOWN, symbols[-1].func_name or UNKNOWN, tuple(symbols))


def _number(digits: str | None) -> int | None:
    return None if digits is None else int(digits)


def told_frames(backtrace: Value) -> tuple[Frame, ...] | None:
    """The frames in an `option<wasm-backtrace>`, which interpreters give; None when there is none."""
    if backtrace is None:
        return None
    ((frames,),) = backtrace
    return bounded(Frame(module, function, tuple(map(_told, symbols))) for module, function, symbols in frames)


def _told(symbol: Value) -> Symbol:
    return Symbol(*(None if part is None else _some(part) for part in symbol))


def _some(option: Any) -> Any:
    return option[0]
