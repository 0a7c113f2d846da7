"""Backtraces: where in its code a workflow was when it made a host call.

Decides what a backtrace is made of and how long it may get. Must not know how one is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from obelisk.core.ids import Digest

FRAMES_MAX: Final = 200
"""Frames of a backtrace, from the innermost on, and symbols of a frame; more are left out."""
NAME_LENGTH_MAX: Final = 1_000
"""Characters of a name in a frame; the rest is left out."""


class Symbol(msgspec.Struct, frozen=True, omit_defaults=True):
    """A place in a source file, as far as the component's debug information tells."""

    func_name: str | None = None
    file: str | None = None
    line: int | None = None
    col: int | None = None


class Frame(msgspec.Struct, frozen=True, omit_defaults=True):
    """One function of a stack. `symbols`: none without debug information; several, the innermost first, when the compiler
    put the code of others into the function.
    """

    module: str
    func_name: str
    symbols: tuple[Symbol, ...] = ()


class Backtrace(msgspec.Struct, frozen=True):
    """Where the host call was made that left the events from `first` up to but not including `end`."""

    first: int
    end: int
    component: Digest
    """Whose code it is."""
    frames: tuple[Frame, ...]
    """The innermost first."""


def bounded(frames: Iterable[Frame]) -> tuple[Frame, ...]:
    """The frames, cut to what is kept of them."""
    return tuple(
        Frame(_cut(frame.module), _cut(frame.func_name), tuple(map(_bounded, frame.symbols[:FRAMES_MAX])))
        for frame in tuple(frames)[:FRAMES_MAX]
    )


def _bounded(symbol: Symbol) -> Symbol:
    name, file = (None if text is None else _cut(text) for text in (symbol.func_name, symbol.file))
    return Symbol(name, file, symbol.line, symbol.col)


def _cut(text: str) -> str:
    return text[:NAME_LENGTH_MAX]
