"""The inbox: inputs that wait for a tick.

Decides the order of admission: completions and the engine's own inputs before what clients want, each in the order of
arrival; but a timeout after all that came with it, so that a completion beats the timeout of its attempt. Client calls
are bounded; completions never are, since refusing one would lose work that was done.
"""

from __future__ import annotations

from collections import deque

from obelisk.core.values import Failure, FailureKind
from obelisk.engine.inputs import AttemptFinished, Fork, Input, Operate, Submit

ClientCall = Submit | Operate | Fork


class InboxFull(Exception):
    """Too many client calls are waiting: try again later."""


class Inbox:
    """Two queues. `offer` may be called from any thread (appending to a deque is atomic), `admit` from one."""

    def __init__(self, calls_max: int) -> None:
        self._calls_max = calls_max
        self._calls: deque[ClientCall] = deque()
        self._facts: deque[Input] = deque()

    def offer(self, item: Input) -> None:
        """Adds an input; `InboxFull` for a client call beyond the limit."""
        if not isinstance(item, ClientCall):
            self._facts.append(item)
        elif len(self._calls) >= self._calls_max:
            raise InboxFull(f"{self._calls_max} requests of clients are waiting (limits.inbox_max)")
        else:
            self._calls.append(item)

    def admit(self, count_max: int) -> list[Input]:
        """Takes up to `count_max` inputs, in the order in which the tick applies them."""
        admitted: list[Input] = []
        timeouts: list[Input] = []
        while self._facts and len(admitted) + len(timeouts) < count_max:
            fact = self._facts.popleft()
            (timeouts if _is_timeout(fact) else admitted).append(fact)
        admitted += timeouts
        while self._calls and len(admitted) < count_max:
            admitted.append(self._calls.popleft())
        return admitted

    @property
    def facts(self) -> int:
        """How many inputs wait that no client sent."""
        return len(self._facts)

    def __bool__(self) -> bool:
        return bool(self._facts or self._calls)


def _is_timeout(item: Input) -> bool:
    return (
        isinstance(item, AttemptFinished)
        and isinstance(item.result, Failure)
        and item.result.kind is FailureKind.TIMED_OUT
    )
