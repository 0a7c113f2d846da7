"""Meddling: operators and clients who do things to executions of a simulated world, at any moment.

Decides who is meddled with, when and how: cancelled, paused, advanced, moved to another component, forked, failed, resumed,
a delay cut short. What comes of it may be anything that the documentation says; what must hold are the invariants, and that
everything ends: who lets something stand still sees to it later that it goes on.
"""

from __future__ import annotations

from random import Random
from typing import Final

import msgspec

from obelisk.core.batch import (
    AdvanceRequest,
    CancelDelayRequest,
    CancelRequest,
    FailRequest,
    PauseRequest,
    RequestBody,
    ResumeRequest,
    Snapshot,
    UnpauseRequest,
    UpgradeRequest,
)
from obelisk.core.ids import Digest, ExecutionId
from obelisk.core.replay import before, replay
from obelisk.core.state import ExecutionState, Lifecycle, Status
from obelisk.core.values import Failure, FailureKind
from obelisk.engine.effects import AnswerKind
from obelisk.engine.inputs import Fork
from obelisk.testing import invariants
from obelisk.testing.clients import fork, operation
from obelisk.testing.deployment import COMPONENT
from obelisk.testing.invariants import Violation
from obelisk.testing.node import MS
from obelisk.testing.programs import LIKE, RUN, SHORTER, UNLIKE
from obelisk.testing.world import World

_EVERY_US: Final = 40 * MS
_FORKS_MAX: Final = 3


class Meddler:
    """Meddles with a world until `count` things were done, then only lets go on what stands still."""

    def __init__(self, world: World, random: Random, count: int) -> None:
        self.done: Final[list[str]] = []
        """What was asked for."""
        self._world: Final = world
        self._random: Final = random
        self._left = count
        self._forks = 0
        world.is_tended = True
        world.after(random.randint(0, _EVERY_US), self._act)

    def _act(self) -> None:
        world, random = self._world, self._random
        states = [world.store.state(execution_id) for execution_id in invariants.everything(world.store)]
        open_ones = [state for state in states if state is not None and state.status is not Status.FINISHED]
        workflows = [state for state in states if state is not None and state.ffqn == RUN]
        if self._left > 0:
            if workflows and self._forks < _FORKS_MAX and random.random() < 0.15:
                self._fork(random.choice(workflows))
            elif open_ones:
                self._operate(random.choice(open_ones))
        for state in open_ones:
            if state.lifecycle in {Lifecycle.PAUSED, Lifecycle.PARKED} and random.random() < 0.3:
                self._let_go_on(state)
        if self._left > 0 or any(not client.done for client in world.clients) or open_ones:
            world.after(random.randint(1, _EVERY_US), self._act)

    def _ask(self, state: ExecutionState, body: RequestBody) -> None:
        self._left -= 1
        self.done.append(type(body).__name__)
        self._world.tell(f"somebody wants {type(body).__name__} of {state.execution_id}")
        self._world.add_client(operation(state.execution_id, body))

    def _operate(self, state: ExecutionState) -> None:
        random = self._random
        body: RequestBody
        match random.randrange(9):
            case 0:
                body = CancelRequest()
            case 1 | 2:
                body = PauseRequest()
            case 3:
                body = AdvanceRequest(state.next_version, random.randint(1, 3), random.random() < 0.3)
            case 4:
                body = UpgradeRequest(random.choice([LIKE, COMPONENT]), None)
            case 5:
                body = UpgradeRequest(random.choice([UNLIKE, SHORTER]), None)
            case 6:
                delays = invariants.snapshot_of(self._world.store, state.execution_id).delays
                body = CancelDelayRequest(random.choice(delays).delay) if delays else UnpauseRequest()
            case 7:
                body = UpgradeRequest(LIKE, self._checked(state, random.choice([0, 0, 1])))
            case _:
                others: list[RequestBody] = [ResumeRequest(), UnpauseRequest(), FailRequest(_GIVEN_UP)]
                body = random.choice(others)
        self._ask(state, body)

    def _let_go_on(self, state: ExecutionState) -> None:
        random = self._random
        if state.lifecycle is Lifecycle.PAUSED:
            steps = AdvanceRequest(state.next_version, random.randint(1, 5))
            ways: list[RequestBody] = [UnpauseRequest(), UnpauseRequest(), steps, CancelRequest()]
        else:
            mended = UpgradeRequest(random.choice([LIKE, COMPONENT]), None)
            ways = [mended, mended, ResumeRequest(), FailRequest(_GIVEN_UP), CancelRequest()]
        self._ask(state, random.choice(ways))

    def _fork(self, state: ExecutionState) -> None:
        """Forks as the API does: only what replays on the component."""
        world, random = self._world, self._random
        origin = invariants.snapshot_of(world.store, state.execution_id)
        version = random.randint(1, len(origin.log))
        component = random.choice([LIKE, COMPONENT])
        new = ExecutionId(world.entropy.execution_id(world.wall))
        if not self._replays(origin, version, component, new):
            return  # it ran on a component that does something else
        self._left -= 1
        self._forks += 1
        self.done.append("Fork")
        world.tell(f"somebody forks {state.execution_id} at {version} to {new}")
        world.add_client(fork(Fork(0, new, origin, version, component, random.random() < 0.3)))

    def _checked(self, state: ExecutionState, late: int) -> int | None:
        """Looks, as the API does, whether the execution replays on `LIKE`, and says up to where it did, as seen `late` events
        ago. None: it does not, so the operator may only force it.
        """
        if state.ffqn == RUN:
            snapshot = invariants.snapshot_of(self._world.store, state.execution_id)
            if not self._replays(snapshot, len(snapshot.log), LIKE, state.execution_id):
                return None
        return state.next_version - late

    def _replays(self, snapshot: Snapshot, version: int, component: Digest, as_: ExecutionId) -> bool:
        """Whether the log before `version` replays on the component."""
        guest = self._world.subject.deployment().guest(component, RUN, as_)
        part = before(snapshot, version)
        return replay(as_, part.log, part.responses, guest, self._world.wall).divergence is None

    def check(self) -> None:
        """What answers must have been: nothing was refused for a reason that is not there."""
        for client in self._world.clients:
            for answer in client.answers:
                if answer.kind is AnswerKind.FUNCTION_NOT_FOUND or (
                    answer.kind is AnswerKind.REFUSED and not answer.message
                ):
                    raise Violation(f"an operation was answered {msgspec.structs.asdict(answer)}")


_GIVEN_UP: Final = Failure(FailureKind.UNCATEGORIZED, "given up by an operator")
