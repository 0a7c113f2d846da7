"""The subject of a world: what runs in it, and what is asked of it.

A world knows nodes, time, a store and faults. What the functions are, how an attempt at an activity ends, what clients
submit and which results they have for stub activities, its subject says. `programs.py` has random programs,
`functions.py` the functions of a user.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import msgspec

from obelisk.core.ids import ExecutionId
from obelisk.core.names import FunctionName
from obelisk.core.ports import Registry
from obelisk.core.values import Err, Failure, Json, Ok
from obelisk.engine.effects import EmitLog, StartAttempt
from obelisk.testing.guests import StrictGuest
from obelisk.testing.invariants import Memory


class Submission(msgspec.Struct, frozen=True):
    """A client that wants an execution at `at_us`, µs after the world began."""

    execution_id: ExecutionId
    ffqn: FunctionName
    params: Json
    """Canonical."""
    at_us: int = 0
    paused: bool = False


class AttemptEnd(msgspec.Struct, frozen=True):
    """How an attempt at an activity ends if nothing disturbs it. `final`: trying again would not help."""

    result: Ok | Err | Failure
    final: bool = False


class Deployment(Registry, Protocol):
    """The functions as one process has them. `guests` shows what a process leaves behind."""

    @property
    def guests(self) -> set[StrictGuest]:
        """Guests that were started and not closed."""
        ...


class Subject(ABC):
    """What runs in a world. One subject serves all nodes of a world, and may serve many worlds."""

    @property
    @abstractmethod
    def submissions(self) -> Sequence[Submission]:
        """What clients submit."""

    @abstractmethod
    def deployment(self) -> Deployment:
        """The functions for a new process: nothing of an earlier process may be left in it."""

    @abstractmethod
    def attempt(self, start: StartAttempt, failures: int) -> AttemptEnd:
        """Runs an attempt at an activity, after `failures` failed ones. Called once for each attempt that is made."""

    def given_result(self, execution_id: ExecutionId, ffqn: FunctionName, params: Json) -> Ok | Err | None:
        """The result that a client has for an execution of a stub activity; None: no client has one."""
        return None

    def check(self, store: Memory, lines: Sequence[EmitLog], *, calm: bool) -> None:  # noqa: B027 - may do nothing
        """What must hold of its executions at the end of a run, beyond what must hold of all; `Violation` if not. `calm`:
        nothing was disturbed; `lines`: what workflows logged.
        """
