"""Clients of a simulated world: whoever asks something of the engine, until there is an answer.

Decides when a client asks (again), and what an answer must be true of. A client does not see into the engine: it talks to
some node that is up, and reads the store. The world answers calls by token.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final

from obelisk.core.batch import RequestBody
from obelisk.core.ids import ExecutionId
from obelisk.core.state import Status
from obelisk.engine.effects import Answer, AnswerKind
from obelisk.engine.inbox import ClientCall, InboxFull
from obelisk.engine.inputs import Fork, GiveResult, Operate, Submit
from obelisk.testing.invariants import Violation
from obelisk.testing.subject import Submission

if TYPE_CHECKING:
    from obelisk.testing.world import World

MakeCall = Callable[[int], ClientCall]
"""Makes the call with a token, anew for each time that it is sent."""
_PATIENCE_US: Final = 2_000_000


class Client:
    """Asks for one thing until it has an answer. Made by `World.add_client`."""

    def __init__(self, world: World, token: int, make: MakeCall) -> None:
        self.world: Final = world
        self.token: Final = token
        self.answers: Final[list[Answer]] = []
        """All answers that count. There may be several, when it asked again because one was late."""
        self._make: Final = make

    @property
    def answered(self) -> bool:
        """Whether it has an answer."""
        return bool(self.answers)

    @property
    def done(self) -> bool:
        """Whether it wants nothing more. The world goes on until then."""
        return self.answered

    def ask(self) -> None:
        """Asks some node, and asks again when no answer comes."""
        if self.answered:
            return
        nodes = [node for node in self.world.nodes if node.is_up]
        for _ in range(2 if self._asks_twice() else 1):
            if nodes:
                call = self._make(self.token)
                try:
                    self._random.choice(nodes).offer(call)
                except InboxFull:
                    self.world.tell(f"{call.execution_id} is refused: the inbox is full")
        self.world.after(_PATIENCE_US, self.ask)

    @property
    def _random(self) -> Random:
        return self.world.random

    def _asks_twice(self) -> bool:
        return False

    def answer(self, answer: Answer) -> None:
        """Learns what became of it. What is outdated is asked again, anew."""
        if answer.kind is not AnswerKind.OUTDATED:
            self.answers.append(answer)


class Submitter(Client):
    """Submits an execution, and waits for its end."""

    def __init__(self, world: World, token: int, submission: Submission) -> None:
        super().__init__(world, token, self._call)
        self.submission: Final = submission
        self._has_ended = False

    def _call(self, token: int) -> ClientCall:
        wanted = self.submission
        return Submit(token, wanted.execution_id, wanted.ffqn, wanted.params, paused=wanted.paused)

    @property
    def done(self) -> bool:
        """Whether it was answered, and the execution is over."""
        return self.answered and self._ended

    @property
    def _ended(self) -> bool:
        if not self._has_ended:
            state = self.world.store.state(self.submission.execution_id)
            self._has_ended = state is not None and state.status is Status.FINISHED
        return self._has_ended

    def _asks_twice(self) -> bool:
        return self.world.faults.submits_twice()

    def answer(self, answer: Answer) -> None:
        """Learns what became of it; it must be durable."""
        execution_id = self.submission.execution_id
        if answer.kind is AnswerKind.FUNCTION_NOT_FOUND or self.world.store.state(execution_id) is None:
            raise Violation(f"{execution_id} was answered {answer.kind}, but is not in the store")
        super().answer(answer)


def operation(execution_id: ExecutionId, body: RequestBody | GiveResult) -> MakeCall:
    """A call that wants something of an existing execution."""
    return lambda token: Operate(token, execution_id, body)


def fork(fork: Fork) -> MakeCall:
    """A call that wants a copy of an execution; the token of `fork` does not matter."""
    return lambda token: Fork(token, fork.execution_id, fork.origin, fork.version, fork.component, fork.paused)
