"""Going ahead: what is done while the commit of a tick is under way.

What becomes of the units is decided by then, and only whether they are durable is not: if they never are, the process ends, and
all that went ahead with it. So the engine takes in the outcomes, first slices run, and the next tick is decided, all while the
disk writes; and nothing of it can be seen outside before the commit is over. A slice that asks its host for anything waits for
that, every effect but the first slice of a short activity comes after it, and so does the next commit.

Decides what may go ahead. Must not perform any other effect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from obelisk.core.batch import Underway, Unit, UnitOutcome
from obelisk.engine.effects import Answer, Changed, Effect, EmitLog, StartAttempt
from obelisk.engine.engine import Engine
from obelisk.engine.tick import Tick
from obelisk.runtime.attempts import Attempts

_HARMLESS: Final[frozenset[type]] = frozenset({StartAttempt, Answer, Changed, EmitLog})
"""Effects that start a slice or tell somebody something. All others read the store, or stop something: what comes after them must
not come before.
"""


Committed = Callable[[Sequence[Unit], Sequence[UnitOutcome]], None]
"""Hears of units and what became of each."""


class Ahead:
    """One tick and its commit; called with it while it is under way. `first`: where the outcomes of its units begin."""

    __slots__ = (
        "_attempts",
        "_committed",
        "_decide",
        "_engine",
        "_first",
        "_is_enough",
        "_is_told",
        "_tick",
        "_underway",
        "effects",
        "following",
    )

    def __init__(
        self,
        tick: Tick,
        first: int,
        engine: Engine,
        attempts: Attempts,
        is_enough: Callable[[], bool],
        decide: Callable[[], Tick | None],
        committed: Committed | None,
    ) -> None:
        """`is_enough`: whether a tick is worth more than another first slice; `decide`: makes it, if there is one to make.
        `committed`: told of the tick once it is durable, before anybody can see what follows from it.
        """
        self._tick = tick
        self._first = first
        self._engine = engine
        self._attempts = attempts
        self._is_enough = is_enough
        self._decide = decide
        self._committed = committed
        self._is_told = committed is None
        self._underway: Underway | None = None
        self.effects: list[Effect] | None = None
        """What is left to perform once the tick is durable; None when the store did not say what becomes of it before."""
        self.following: Tick | None = None
        """The next tick."""

    def __call__(self, underway: Underway) -> None:
        """On the engine thread, while the commit is under way."""
        attempts = self._attempts
        self._underway = underway
        self.effects = effects = self._engine.settle(self._tick, underway.outcomes[self._first :])
        kinds = frozenset(map(type, effects))
        may_go_ahead = kinds <= _HARMLESS
        if may_go_ahead and StartAttempt in kinds:
            self.effects = [
                effect for effect in effects if type(effect) is not StartAttempt or not attempts.go_ahead(effect)
            ]
        attempts.run_queued(self._has_enough, self.hold)
        if may_go_ahead and not underway.is_over():
            self.following = self._decide()
            attempts.run_queued(underway.is_over, self.hold)

    def _has_enough(self) -> bool:
        assert self._underway is not None
        return self._underway.is_over() or self._is_enough()

    def wait(self) -> None:
        """Returns once the tick is durable. `StoreFailed`. From any thread."""
        if self._underway is not None:
            self._underway.wait()

    def hold(self) -> None:
        """Returns once what follows from the tick may be seen. `StoreFailed`. On the engine thread; later from any."""
        assert self._underway is not None
        self._underway.wait()
        if not self._is_told:
            self._is_told = True
            assert self._committed is not None
            self._committed(self._tick.units, self._underway.outcomes[self._first :])
