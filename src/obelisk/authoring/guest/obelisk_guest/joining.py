"""Join sets, for workflows: children that run at the same time.

Decides how a set is left, and that its responses are taken one by one, in the order in which they came, until there are no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

from obelisk_guest.world import Err, Ok, imported

P = ParamSpec("P")
R = TypeVar("R")
Id = TypeVar("Id")
T = TypeVar("T")
E = TypeVar("E")


class JoinSet:
    """A set of children: `with JoinSet() as jobs`. Leaving it closes it: what still runs is cancelled or awaited first.

    A name, of ASCII letters, digits, `-` and `/`, is seen in the log, and may be used once in an execution.
    """

    def __init__(self, name: str | None = None) -> None:
        support = imported("workflow_support", "JoinSet")
        try:
            made = support.join_set_create() if name is None else support.join_set_create_named(name)
        except Err as refused:
            raise ValueError(f"a join set cannot have the name {name!r}: {refused.value}") from None
        self.raw: Final[Any] = made
        """What the functions of `wit_world` take."""
        self._awaited = 0
        """Children of which no response was taken. Asking for one too many would be an event in the log."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.raw.__exit__(kind, error, traceback)

    def submit(self, function: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Starts a child, with a `…_submit` function; its execution id."""
        child = function(self.raw, *args, **kwargs)
        self._awaited += 1
        return child

    def outcomes(
        self, await_next: Callable[[Any], tuple[Id, Ok[T] | Err[E]] | Ok[T] | Err[E]]
    ) -> Iterator[tuple[Id, Ok[T] | Err[E]]]:
        """The execution id and the result of each child, `Ok(value)` or `Err(value)`, as they come, until those of all that
        were submitted here have been taken.

        `await_next` is the `…_await_next` of the one function whose children are in the set.
        """
        while self._awaited:
            try:
                taken = await_next(self.raw)
            except Err as refused:
                kind = type(refused.value).__name__  # by its name: the module's depends on the world
                if kind == "AwaitNextExtensionError_AllProcessed":  # others were taken past this
                    self._awaited = 0
                    return
                raise TypeError(
                    f"the join set has another member than {await_next.__name__} takes: {refused.value}"
                ) from None
            self._awaited -= 1
            if isinstance(taken, Ok | Err):  # types@5.0.0: without the id
                taken = self.raw.last_id().value, taken
            yield taken

    def results(
        self, await_next: Callable[[Any], tuple[Id, Ok[T] | Err[E]] | Ok[T] | Err[E]]
    ) -> Iterator[tuple[Id, T]]:
        """As `outcomes`, with the values themselves. The first child that returned an error raises its `Err`."""
        for execution_id, outcome in self.outcomes(await_next):
            if isinstance(outcome, Err):
                raise outcome
            yield execution_id, outcome.value
