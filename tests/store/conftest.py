"""What the store tests share: stores of each kind, and an author who writes units as an engine would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from obelisk.core.batch import Applied, Expect, NewEvent, NewResponse, Store, Unit, UnitOutcome
from obelisk.core.events import (
    ChildRequested,
    Created,
    Event,
    Finished,
    JoinNext,
    JoinSetCreated,
    Locked,
)
from obelisk.core.ids import (
    ChildId,
    DeploymentId,
    Digest,
    ExecutionId,
    ExecutorId,
    RunId,
    absolute,
    is_top_level,
    join_set_of,
    relative,
    ulid,
)
from obelisk.core.instants import Instant
from obelisk.core.names import FunctionName
from obelisk.core.reading import Reader
from obelisk.core.responses import ChildFinished, Response
from obelisk.core.state import ExecutionState
from obelisk.core.transitions import append, create, respond
from obelisk.core.values import Json, Ok, Outcome
from obelisk.store.memory import MemoryStore
from obelisk.store.sqlite import SqliteStore

T0 = Instant(1_763_854_000_000_000)
FIBO = FunctionName("template-fibo:activity/fibo-activity-ifc.fibo")
FIBOA = FunctionName("template-fibo:workflow/fibo-workflow-ifc.fiboa")
ACTIVITY = Digest("sha256:" + "a1" * 32)
WORKFLOW = Digest("sha256:" + "b2" * 32)
DEPLOYMENT = DeploymentId("Dep_01K42AJA8QHD7D3GTJAYMASFYZ")
ENGINE = ExecutorId("Exr_01K42AJA8QHD7D3GTJAYMASFYZ")


class Author:
    """Writes units as an engine would, from its own copy of the states. `now` moves when the test moves it."""

    start, fibo, fiboa = T0, FIBO, FIBOA
    activity, workflow, deployment, engine = ACTIVITY, WORKFLOW, DEPLOYMENT, ENGINE

    def __init__(self, owner: ExecutorId | None = ENGINE) -> None:
        self.owner = owner
        self.now = T0
        self.states: dict[ExecutionId, ExecutionState] = {}
        self._runs = 0

    @staticmethod
    def id(number: int) -> ExecutionId:
        return ExecutionId("E_" + ulid(1_763_854_000_000, number.to_bytes(10)))

    @staticmethod
    def json(text: str) -> Json:
        return Json(text.encode())

    def expect(self, execution_id: ExecutionId, *, responses: bool = True) -> Expect:
        state = self.states[execution_id]
        return Expect(execution_id, state.next_version, state.lease_epoch, state.response_count if responses else None)

    def created(self, execution_id: ExecutionId, **changes: object) -> Created:
        join_set = None if is_top_level(execution_id) else join_set_of(relative(execution_id))
        event = Created(FIBO, self.json("[10]"), ACTIVITY, DEPLOYMENT, self.now, join_set)
        return msgspec.structs.replace(event, **changes)

    def create(self, execution_id: ExecutionId, **changes: object) -> Unit:
        event = self.created(execution_id, **changes)
        self.states[execution_id] = create(execution_id, event, self.now, self.owner)
        return Unit(
            [Expect(execution_id, 0)],
            events=[NewEvent(execution_id, 0, self.now, event)],
            states=[self.states[execution_id].copy()],
        )

    def append(self, execution_id: ExecutionId, *events: Event) -> Unit:
        expect = self.expect(execution_id)
        state = self.states[execution_id]
        new = [NewEvent(execution_id, append(state, event, self.now), self.now, event) for event in events]
        return Unit([expect], events=new, states=[state.copy()])

    def locked(self) -> Locked:
        self._runs += 1
        run = RunId("Run_" + ulid(1_763_854_000_000, self._runs.to_bytes(10)))
        return Locked(self.owner or ENGINE, run, Instant(self.now + 10**12))

    def call_child(self, parent: ExecutionId, child: ChildId) -> Unit:
        """The parent requests a child and awaits it; the child is created and locked."""
        join_set = join_set_of(child)
        unit = self.append(
            parent,
            JoinSetCreated(join_set),
            ChildRequested(child, FIBO, self.json("[10]")),
            JoinNext(join_set, Instant(self.now + 10**12), FIBO),
        )
        born = self.create(absolute(parent, child))
        locked = self.append(absolute(parent, child), self.locked())
        unit.expects += born.expects
        unit.events += born.events + locked.events
        unit.states += locked.states
        return unit

    def finish_child(self, parent: ExecutionId, child: ChildId, outcome: Outcome | None = None) -> Unit:
        """The child ends and its parent, which this author holds, gets the response."""
        outcome = Ok(self.json("55")) if outcome is None else outcome
        before = self.expect(parent)
        unit = self.append(absolute(parent, child), Finished(outcome))
        seq = respond(self.states[parent], join_set_of(child), self.now)
        body = ChildFinished(child, unit.events[0].version, outcome)
        unit.expects.append(before)
        unit.responses = [NewResponse(parent, Response(seq, self.now, join_set_of(child), body))]
        unit.states.append(self.states[parent].copy())
        return unit


class Opened:
    """A store and its reader."""

    def __init__(self, store: Store, reader: Reader) -> None:
        self.store = store
        self.reader = reader
        self._batches = 0

    def commit(self, *units: Unit) -> list[UnitOutcome]:
        self._batches += 1
        return self.store.commit(f"batch {self._batches}", list(units))

    def apply(self, *units: Unit) -> None:
        """Commits units, none of which may be refused."""
        assert all(isinstance(outcome, Applied) for outcome in self.commit(*units))


Make = Callable[[], Opened]


@pytest.fixture
def author() -> Author:
    return Author()


@pytest.fixture
def make_author() -> Callable[[ExecutorId | None], Author]:
    return Author


@pytest.fixture(params=["memory", "sqlite"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    if request.param == "memory":
        memory = MemoryStore()
        yield Opened(memory, memory)
        return
    store = SqliteStore(tmp_path / "obelisk.sqlite")
    reader = store.reader()
    yield Opened(store, reader)
    reader.close()
    store.close()


@pytest.fixture
def make_opened() -> Callable[[Store, Reader], Opened]:
    return Opened
