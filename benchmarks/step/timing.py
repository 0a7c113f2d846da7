"""Timing by wrapping: functions of one thread are replaced, for a while, by ones that note when they begin and end.

Decides what wrapping costs and how notes become times. Must not know what the functions are.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final, NamedTuple

_END: Final = -1
_CALLS: Final = 1_000
_TIMES: Final = 20

Notes = list[int]
"""The number of a function that begins, or `_END`; then when, in ns; and so on. Integers only: no work for the garbage collector."""


class Target(NamedTuple):
    """An attribute of a class or a module, which is a function."""

    owner: Any
    name: str


class Cost(NamedTuple):
    """What one wrapper takes, ns: between its two looks at the clock, and around them."""

    inside: float
    outside: float

    @property
    def whole(self) -> float:
        return self.inside + self.outside


class Turn(NamedTuple):
    """From one call of the first target to the next one. What wrappers cost is in it."""

    whole_ns: int
    own_ns: tuple[int, ...]
    """Of each target, without what it calls of the others. All of them are the whole."""
    calls: tuple[int, ...]
    """Of each target."""
    below: tuple[int, ...]
    """Calls of other targets that each target made itself."""

    def without(self, cost: Cost) -> tuple[float, ...]:
        """What each target took itself, ns, without what wrapping cost."""
        parts = zip(self.own_ns, self.calls, self.below, strict=True)
        own = [took - calls * cost.inside - below * cost.outside for took, calls, below in parts]
        own[0] -= self.calls[0] * cost.outside  # nobody else calls the first: this is before the next one begins
        return tuple(own)


@contextmanager
def wrapped(targets: Sequence[Target], thread: int) -> Iterator[Notes]:
    """Wraps `targets`, which gives the notes of calls by that thread; then everything is as it was before."""
    notes: Notes = []
    with ExitStack() as stack:
        for number, (owner, name) in enumerate(targets):
            function = vars(owner)[name]
            stack.callback(setattr, owner, name, function)
            setattr(owner, name, _wrapper(function, number, notes, thread))
        yield notes


def _wrapper(function: Callable[..., Any], number: int, notes: Notes, thread: int) -> Callable[..., Any]:
    note, clock, this_thread = notes.append, time.perf_counter_ns, threading.get_ident

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if this_thread() != thread:
            return function(*args, **kwargs)
        note(number)
        note(clock())
        try:
            return function(*args, **kwargs)
        finally:
            note(_END)
            note(clock())

    return wrapper


def turns(notes: Notes, targets: int) -> list[Turn]:
    """All turns that ended: each with the beginning of the next."""
    found = []
    calls: list[int] | None = None
    own: list[int] = []
    below: list[int] = []
    callers: list[int] = []
    began = last = 0
    for number, now in zip(notes[::2], notes[1::2], strict=False):
        if number == 0 and not callers:
            if calls is not None:
                own[0] += now - last
                found.append(Turn(now - began, tuple(own), tuple(calls), tuple(below)))
            own, calls, below = [0] * targets, [0] * targets, [0] * targets
            began = last = now
        elif calls is None:
            continue  # it began before the first turn
        own[callers[-1] if callers else 0] += now - last
        last = now
        if number == _END:
            callers.pop()
            continue
        calls[number] += 1
        if callers:
            below[callers[-1]] += 1
        callers.append(number)
    return found


class _Example:
    def do(self, first: object, second: object) -> None:
        """Nothing."""


def cost_of_wrapping() -> Cost:
    """Measured on a method that does nothing, again and again; the fastest times count, others were disturbed. In a program, where
    the processor has other things in mind, it is more.
    """
    example, here = _Example(), threading.get_ident()
    empty, plain, around, between = [], [], [], []
    for _ in range(_TIMES):
        begun = time.perf_counter_ns()
        for _ in range(_CALLS):
            pass
        empty.append(time.perf_counter_ns() - begun)
        plain.append(_calling_ns(example))
        with wrapped([Target(_Example, "do")], here) as notes:
            around.append(_calling_ns(example))
        between.append(statistics.median(end - start for start, end in zip(notes[1::4], notes[3::4], strict=True)))
    whole = max((min(around) - min(plain)) / _CALLS, 0.0)
    call = (min(plain) - min(empty)) / _CALLS
    inside = min(max(min(between) - call, 0.0), whole)
    return Cost(inside, whole - inside)


def _calling_ns(example: _Example) -> int:
    begun = time.perf_counter_ns()
    for _ in range(_CALLS):
        example.do(None, None)
    return time.perf_counter_ns() - begun
