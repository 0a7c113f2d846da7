"""What was seen of a guest in the host calls that its owner has not heard of yet.

Decides which of two views counts, that of its interpreter or that of wasmtime, and how long one is remembered: until the guest
makes its next call, when all that were made before have been heard of. Stacks are read only when they are asked for, and
equal ones once.
"""

from __future__ import annotations

from obelisk.core.backtraces import Frame
from obelisk.wasm.frames import frames_of
from obelisk.wasm.peek import Peek
from obelisk.wasm.stacks import NoStack, Stacks


class Seen:
    """Of one guest."""

    def __init__(self, stacks: Stacks, peek: Peek | None) -> None:
        self._stacks = stacks
        self._peek = peek
        self._views: dict[int, tuple[Frame, ...] | str | NoStack] = {}
        """By the number of the call: frames of an interpreter, wasmtime's text, or why there is nothing."""
        self._read: dict[str, tuple[Frame, ...]] = {}

    def look(self, number: int, context: int, *, others_wait: bool) -> None:
        """Inside the callback of a host call or drop; `others_wait`: the owner has still to hear of the drops before it."""
        if not others_wait:
            self._views.clear()
        frames = () if self._peek is None else self._peek.look()
        try:
            self._views[number] = frames or self._stacks.take(context)
        except NoStack as problem:
            self._views[number] = problem

    def frames(self, number: int) -> tuple[Frame, ...]:
        """Where it was, the innermost function first. `NoStack`."""
        view = self._views[number]
        if isinstance(view, NoStack):
            raise view
        if not isinstance(view, str):
            return view
        if view not in self._read:
            self._read[view] = frames_of(view)
        return self._read[view]
