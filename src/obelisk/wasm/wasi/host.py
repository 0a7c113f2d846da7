"""The port between WASI functions and the run that calls them.

Decides how a function is answered: by a value at once, or by a coroutine that ends in the value later. Must not know what
drives the coroutine: an activity's is awaited on the I/O loop while its fiber is suspended; a workflow's asks host calls of
the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from types import CoroutineType
from typing import Any, Protocol

from obelisk.wit.types import Value

Answer = Value | Coroutine[Any, Any, Value]
"""The value of a function, or what will come to it."""
WasiFunction = Callable[..., Answer]
"""Takes the host of the run, then its arguments, as `obelisk.wit.types` has them; a `list<u8>` is `bytes`."""


class GuestTrap(Exception):
    """The guest did what the interface forbids; it traps, with this text."""


class Pollable(Protocol):
    """Something that a guest may wait for."""

    def ready(self) -> bool:
        """Whether there is nothing to wait for (any more); from any thread."""
        ...

    async def wait(self) -> None:
        """Waits until it is ready, on the I/O loop. Cancelled when the guest waits for it no longer."""
        ...


class Subscription:
    """Another resource's readiness, as a resource of its own: a guest drops it, and the other one stays."""

    __slots__ = ("of",)

    def __init__(self, of: Pollable) -> None:
        self.of = of

    def ready(self) -> bool:
        """See `Pollable`."""
        return self.of.ready()

    async def wait(self) -> None:
        """See `Pollable`."""
        await self.of.wait()


class Host(Protocol):
    """What every run has. Everything more belongs to activities: `obelisk.wasm.wasi.activity`."""

    arguments: tuple[str, ...]

    @property
    def environment(self) -> tuple[tuple[str, str], ...]:
        """Environment variables, by name."""
        ...

    @property
    def stdin(self) -> Any:
        """A new input stream."""
        ...

    @property
    def stdout(self) -> Any:
        """A new output stream."""
        ...

    @property
    def stderr(self) -> Any:
        """A new output stream."""
        ...

    def wall_now(self) -> Answer:
        """Nanoseconds since 1970 UTC."""
        ...

    def monotonic_now(self) -> Answer:
        """Nanoseconds of a clock that never goes back."""
        ...

    def at(self, monotonic_ns: int) -> Pollable:
        """Ready when the monotonic clock has come to that."""
        ...

    def random_bytes(self, count: int) -> Answer:
        """Random bytes."""
        ...

    def poll(self, pollables: Sequence[Any]) -> Answer:
        """The indices of those that are ready, once there are some."""
        ...


def is_later(answer: Answer) -> bool:
    """Whether the value is still to come."""
    return type(answer) is CoroutineType


async def value_of(answer: Answer) -> Value:
    """The value, awaited where need be: for functions that are made of others."""
    return await answer if is_later(answer) else answer


def then(answer: Answer, make: Callable[[Value], Value]) -> Answer:
    """`make` of the value, at once if it is there."""
    return _made_later(answer, make) if is_later(answer) else make(answer)


async def _made_later(answer: Answer, make: Callable[[Value], Value]) -> Value:
    return make(await value_of(answer))


def method(name: str) -> WasiFunction:
    """A method of a resource, as its object has it."""

    def call(_host: Host, target: Any, *arguments: Value) -> Answer:
        return getattr(target, name)(*arguments)

    return call
