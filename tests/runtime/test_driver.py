"""The driver: when a tick is made, what is done while its commit waits, and who is told of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import msgspec
import pytest

from obelisk.core.batch import Applied, NewEvent, Unit
from obelisk.core.calls import Log, LogLevel
from obelisk.core.events import Finished
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.lines import NewLogLine
from obelisk.core.policy import Limits
from obelisk.core.reading import Change
from obelisk.core.state import Status
from obelisk.core.values import Json, Ok
from obelisk.engine.effects import Changed, KillAttempt
from obelisk.engine.inputs import AttemptKilled
from obelisk.engine.tick import Tick
from obelisk.runtime.clock import Clock
from obelisk.runtime.driver import Driver

ONE = ExecutionId("E_1")
FACT: Any = AttemptKilled(ONE, "Run_1")  # type: ignore[arg-type]
LINE = NewLogLine(ONE, Instant(1), Log(LogLevel.INFO, "said"))


class State(msgspec.Struct):
    execution_id: ExecutionId
    status: Status


def changed(status: Status, events: Sequence[NewEvent] = ()) -> Changed:
    """`ONE` has changed, in a unit with `events`."""
    return Changed(Unit([], states=[State(ONE, status)], events=list(events)))  # type: ignore[list-item]


class World:
    """A driver whose engine makes the ticks that a test has put into `ticks`, and one of nothing for inputs."""

    next_due: Any = staticmethod(lambda: None)
    executor = "Exr_1"

    def __init__(self) -> None:
        self.notes: list[Any] = []
        self.ticks: deque[tuple[list[Unit], list[Any]]] = deque()
        self.admitted: list[int] = []
        self.meanwhile: list[Any] = []
        self.changes, self.line_changes = Changes("state", self.notes), Changes("line", self.notes)
        self.attempts = Attempts(self)
        self.failures: list[BaseException] = []
        everything: Any = self
        self.driver = Driver(
            everything,
            everything,
            Clock(),
            Limits(),
            everything,
            everything,
            self.changes,  # type: ignore[arg-type]
            self.line_changes,  # type: ignore[arg-type]
            self.failures.append,
            lambda units, outcomes: self.notes.append(("committed", len(units), len(outcomes))),
        )
        self.driver._attempts = self.attempts  # type: ignore[assignment]

    def turn(self) -> bool:
        """One turn of the engine thread, on this one."""
        return self.driver._turn()

    # The engine.

    @property
    def has_work(self) -> bool:
        return bool(self.ticks)

    def decide(self, inputs: list[Any], now: Instant) -> Tick:
        self.admitted.append(len(inputs))
        units, effects = self.ticks.popleft() if self.ticks else ([], [])
        return Tick("batch", now, units, [], effects)

    def settle(self, tick: Tick, outcomes: list[Any]) -> list[Any]:
        return tick.effects

    def close(self) -> None:
        pass

    # The store.

    def commit(self, batch_id: str, units: list[Unit], meanwhile: Any = None) -> list[Applied]:
        self.meanwhile.append(meanwhile)
        return [Applied() for _ in units]

    # The lane, and the ticker.

    def stop(self) -> None:
        pass

    def polling(self) -> Any:
        return nullcontext()


class Attempts:
    """First slices that end at once; none runs but in `run_queued`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.queued = 0
        self.held = False

    def run_queued(self, is_enough: Callable[[], bool]) -> None:
        while self.queued and not self.held and not is_enough():
            self.queued -= 1
            self._world.driver.offer(FACT)

    def kill(self, effect: KillAttempt) -> None:
        self._world.driver.offer(FACT)

    def stop(self) -> None:
        pass


class Changes:
    def __init__(self, name: str, notes: list[Any]) -> None:
        self.name = name
        self.notes = notes
        self.is_watched = False

    def publish(self, execution_ids: Any) -> None:
        self.notes.append((self.name, *execution_ids))

    def tell(self, change: Change) -> None:
        ended = [change.outcome] if change.state.status is Status.FINISHED else []
        self.notes.append((self.name, change.state.execution_id, *ended))


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.driver.stop()
    assert not made.failures


def test_many_ends_of_attempts_are_worth_a_tick_and_few_wait_for_what_is_due(world: World) -> None:
    world.attempts.queued = 70
    while world.turn():
        pass
    assert world.admitted == [32, 32, 6]


@pytest.mark.parametrize("lines", [False, True])
def test_more_than_one_first_slice_is_run_while_a_commit_waits(world: World, lines: bool) -> None:
    world.attempts.held = True
    for queued in (0, 1, 2):
        world.attempts.queued = queued
        world.ticks.append(([Unit([])], []))
        if lines:
            world.driver.lines.put(LINE)
        world.turn()
    assert world.meanwhile == [None, None, world.attempts.run_queued]


def test_what_is_durable_is_told_before_anything_follows_from_it(world: World) -> None:
    world.changes.is_watched = True
    world.ticks.append(([Unit([]), Unit([])], [changed(Status.LOCKED)]))
    world.driver.lines.put(LINE)
    world.turn()
    assert world.notes == [("line", ONE), ("committed", 2, 2), ("state", ONE)]


@pytest.mark.parametrize("watched", ["changes", "line_changes"])
def test_who_follows_states_or_only_lines_is_told_of_the_end(world: World, watched: str) -> None:
    getattr(world, watched).is_watched = True
    ends = [NewEvent(one, 5, Instant(1), Finished(Ok(Json(one.encode())))) for one in ("E_0", ONE, "E_2")]  # type: ignore[arg-type]
    world.ticks.append(([], [changed(Status.LOCKED), changed(Status.FINISHED, ends)]))
    world.turn()
    assert [note for note in world.notes if note[0] == "line"] == [("line", ONE)]
    assert [note for note in world.notes if note[0] == "state"] == [("state", ONE), ("state", ONE, Ok(Json(b"E_1")))]


def test_where_nobody_follows_anything_nothing_is_told(world: World) -> None:
    world.ticks.append(([], [changed(Status.FINISHED)]))
    world.turn()
    assert world.admitted and not [note for note in world.notes if note[0] != "committed"]


def test_an_input_wakes_the_thread_and_one_of_its_own_is_not_slept_over(world: World) -> None:
    world.driver.start(world.attempts, world.notes.append)  # type: ignore[arg-type]
    for rounds in range(1, 4):
        world.ticks.append(([], [KillAttempt(ONE, "Run_1")]))  # type: ignore[arg-type]
        world.driver.offer(FACT)
        deadline = time.monotonic() + 60
        while sum(world.admitted) < 2 * rounds and time.monotonic() < deadline:
            time.sleep(0.001)
        assert sum(world.admitted) == 2 * rounds
