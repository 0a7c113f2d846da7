"""Faults: what may go wrong in a simulated world, and when.

Decides only *that* something goes wrong; the world makes it happen. `Calm` lets everything succeed, `Scripted` does one
thing at one commit, `Storm` draws from a seed.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from random import Random
from typing import Final


class CommitFault(StrEnum):
    """What happens around one commit."""

    NONE = "none"
    CRASH_BEFORE = "crash before commit"
    CRASH_AFTER = "crash after commit, before settle"
    CRASH_SETTLED = "crash after settle, before effects"
    LOST_DONE = "acknowledgement lost, committed"
    LOST_UNDONE = "acknowledgement lost, not committed"
    REFUSE = "one unit refused"
    REFUSE_ALL = "all units refused"


class AttemptFault(StrEnum):
    """What happens to one attempt at an activity."""

    NONE = "none"
    FAILS = "attempt fails"
    TIMES_OUT = "attempt times out"
    TIMES_OUT_AND_ENDS = "attempt times out and ends in one tick"
    TWICE = "completion delivered twice"
    LATE = "completion very late"


class NodeFault(StrEnum):
    """What happens to a node, at any moment."""

    CRASH = "crash at any moment"
    STOP = "clean stop"
    PAUSE = "pause"
    CLOCK = "clock jump"


class HintFault(StrEnum):
    """What happens to a hint from one node to another."""

    LATE = "hint late"
    LOST = "hint lost"


class Faults:
    """No faults; the base of those who have some. `injected` counts them by kind."""

    def __init__(self) -> None:
        self.injected: Counter[str] = Counter()

    def at_commit(self, number: int) -> CommitFault:
        """For the `number`-th commit (from 1) of the world."""
        return CommitFault.NONE

    def at_attempt(self) -> AttemptFault:
        """For an attempt that is started."""
        return AttemptFault.NONE

    def at_large(self) -> NodeFault | None:
        """For a node, asked every now and then."""
        return None

    def at_hint(self) -> HintFault | None:
        """For a hint that leaves a node."""
        return None

    def survives_kill(self) -> bool:
        """Whether an attempt that is killed reports its end all the same."""
        return False

    def submits_twice(self) -> bool:
        """Whether a client asks for the same execution twice."""
        return False

    def book(self, kind: StrEnum) -> None:
        """Counts a fault that really happened."""
        self.injected[kind.value] += 1


Calm = Faults


class Scripted(Faults):
    """One fault at one commit."""

    def __init__(self, number: int, fault: CommitFault) -> None:
        super().__init__()
        self._number: Final = number
        self._fault: Final = fault

    def at_commit(self, number: int) -> CommitFault:
        """The fault, at its commit."""
        return self._fault if number == self._number else CommitFault.NONE


class Storm(Faults):
    """Random faults, until `over` is set. `rate`: the share of commits, attempts and hints that go wrong."""

    def __init__(self, random: Random, rate: float, *, shared: bool) -> None:
        super().__init__()
        self.over = False
        self._random: Final = random
        self._rate: Final = rate
        self._shared: Final = shared

    def _strikes(self) -> bool:
        return not self.over and self._random.random() < self._rate

    def at_commit(self, number: int) -> CommitFault:
        """Any fault."""
        return self._random.choice(list(CommitFault)) if self._strikes() else CommitFault.NONE

    def at_attempt(self) -> AttemptFault:
        """Any fault."""
        return self._random.choice(list(AttemptFault)) if self._strikes() else AttemptFault.NONE

    def at_large(self) -> NodeFault | None:
        """Any fault; crashes less often."""
        return self._random.choice(list(NodeFault)) if self._strikes() else None

    def at_hint(self) -> HintFault | None:
        """Any fault."""
        return self._random.choice(list(HintFault)) if self._strikes() else None

    def survives_kill(self) -> bool:
        """Sometimes."""
        return not self.over and self._random.random() < 0.3

    def submits_twice(self) -> bool:
        """Sometimes."""
        return self._random.random() < 0.3
