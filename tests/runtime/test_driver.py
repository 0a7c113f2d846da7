"""The driver: when a tick is made, what is done while its commit waits, and who is told of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import msgspec
import pytest

from obelisk.core.batch import Applied, NewEvent, StoreFailed, Unit
from obelisk.core.calls import Log, LogLevel
from obelisk.core.events import Finished
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.lines import NewLogLine
from obelisk.core.policy import Limits
from obelisk.core.reading import Change
from obelisk.core.state import Status
from obelisk.core.values import Json, Ok
from obelisk.engine.effects import Changed, KillAttempt, Load, StartAttempt
from obelisk.engine.inputs import AttemptKilled
from obelisk.engine.tick import Tick
from obelisk.runtime.clock import Clock
from obelisk.runtime.driver import Driver

ONE = ExecutionId("E_1")
FACT: Any = AttemptKilled(ONE, "Run_1")  # type: ignore[arg-type]
LINE = NewLogLine(ONE, Instant(1), Log(LogLevel.INFO, "said"))


def start(number: int) -> StartAttempt:
    return StartAttempt(f"E_{number}", f"Run_{number}", "sha256:0", "a:b/c.d", Json(b"[]"), 1)  # type: ignore[arg-type]


def told(world: World) -> list[Any]:
    """What was told to anybody."""
    return [note for note in world.notes if isinstance(note, tuple)]


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
        self.has_meanwhile: list[bool] = []
        self.lasts = True
        self.is_over = False
        self.fails = False
        self.during: Callable[[Any], None] = lambda underway: None
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
        self.notes.append("decided")
        starts = [effect for effect in effects if isinstance(effect, StartAttempt)]
        return Tick("batch", now, units, [], effects, len(starts))

    def settle(self, tick: Tick, outcomes: list[Any]) -> list[Any]:
        assert len(outcomes) == len(tick.units)
        self.notes.append("settled")
        return tick.effects

    def close(self) -> None:
        pass

    # The store.

    def commit(self, batch_id: str, units: list[Unit], meanwhile: Any = None) -> list[Applied]:
        outcomes = [Applied() for _ in units]
        self.has_meanwhile.append(meanwhile is not None)
        if meanwhile is not None and self.lasts:
            underway = Underway(self, outcomes)
            meanwhile(underway)
            self.during(underway)
        if self.fails:
            raise StoreFailed("the disk is full")
        self.notes.append("durable")
        return outcomes

    # The lane, and the ticker.

    def stop(self) -> None:
        pass

    def polling(self, *, brief: bool = False) -> Any:
        return nullcontext()


class Underway:
    """A commit that is over when somebody waits for it."""

    def __init__(self, world: World, outcomes: list[Any]) -> None:
        self._world = world
        self.outcomes = outcomes
        self.over = world.is_over

    def is_over(self) -> bool:
        return self.over

    def wait(self) -> None:
        self.over = True
        if self._world.fails:
            raise StoreFailed("the disk is full")


class Attempts:
    """First slices that end at once; none runs but in `run_queued`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.queued = 0
        self.held = False
        self.is_refusing = False
        self.asks = False
        self.ahead: list[ExecutionId] = []

    def run_queued(self, is_enough: Callable[[], bool], hold: Callable[[], None] | None = None) -> None:
        while (self.queued or (self.ahead and hold)) and not self.held and not is_enough():
            if self.queued:
                self.queued -= 1
            else:
                self._world.notes.append(f"{self.ahead.pop(0)} runs")
                if self.asks:
                    assert hold is not None
                    hold()
                    self._world.notes.append("it goes on")
            self._world.driver.offer(FACT)

    def go_ahead(self, effect: StartAttempt) -> bool:
        if not self.is_refusing:
            self.ahead.append(effect.execution_id)
        return not self.is_refusing

    def landed(self) -> None:
        self._world.notes.append("landed")
        self.queued += len(self.ahead)
        self.ahead.clear()

    def lost(self) -> None:
        self._world.notes.append("lost")
        self.ahead.clear()

    def start(self, effect: StartAttempt) -> None:
        self._world.notes.append(f"{effect.execution_id} starts")
        self.queued += 1

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
@pytest.mark.parametrize(
    ("queued", "effects", "fact", "expected"),
    [(0, [], False, False), (1, [], False, True), (0, [start(1)], False, True), (0, [], True, True)],
)
def test_a_commit_is_handed_over_when_there_is_something_to_do_meanwhile(
    world: World, lines: bool, queued: int, effects: list[Any], fact: bool, expected: bool
) -> None:
    world.attempts.held = True
    world.attempts.queued = queued
    world.lasts = False
    if lines:
        world.driver.lines.put(LINE)
    if fact:
        world.driver._inbox.offer(FACT)
    world.driver._carry_out(Tick("batch", Instant(1), [Unit([])], [], effects, len(effects)))
    assert world.has_meanwhile == [expected]


# --- what goes ahead -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [False, True])
def test_a_first_slice_and_the_next_tick_go_ahead_and_nobody_is_told_before_it_is_durable(
    world: World, lines: bool
) -> None:
    world.changes.is_watched = True
    world.ticks.append(([Unit([])], [start(1), changed(Status.LOCKED)]))
    world.ticks.append(([Unit([]), Unit([])], [changed(Status.LOCKED)]))
    if lines:
        world.driver.lines.put(LINE)
    world.turn()
    line = [("line", ONE)] if lines else []
    first = [
        "decided",
        "settled",
        "E_1 runs",
        "decided",
        "durable",
        *line,
        ("committed", 1, 1),
        "landed",
        ("state", ONE),
    ]
    assert world.notes == first
    assert world.admitted == [0, 1]
    world.turn()
    assert [note for note in world.notes[len(first) :] if note[0] != "line"] == [
        "durable",
        ("committed", 2, 2),
        "settled",
        ("state", ONE),
    ]
    assert world.admitted == [0, 1]
    assert not world.turn()


def test_a_slice_that_asks_for_something_waits_for_the_commit_and_what_led_to_it_is_told_once(world: World) -> None:
    world.attempts.asks = True
    world.ticks.append(([Unit([])], [start(1), start(2)]))
    world.turn()
    assert world.notes == [
        *["decided", "settled", "E_1 runs", ("committed", 1, 1), "it goes on"],
        *["durable", "landed"],  # the commit was over: the other one runs with the next tick
    ]
    assert world.attempts.queued == 1


@pytest.mark.parametrize("effect", [KillAttempt(ONE, "Run_1"), Load(ONE)])  # type: ignore[arg-type]
def test_where_something_else_is_to_be_done_nothing_goes_ahead(world: World, effect: Any) -> None:
    world.load = lambda execution_id: None  # type: ignore[attr-defined]
    world.ticks.append(([Unit([])], [start(1), effect]))
    world.ticks.append(([Unit([])], []))
    world.turn()
    assert world.notes == ["decided", "settled", "durable", ("committed", 1, 1), "landed", "E_1 starts"]
    assert world.driver._inbox.facts == 1


def test_a_slice_that_is_not_for_this_thread_is_started_when_its_lock_is_durable(world: World) -> None:
    world.attempts.is_refusing = True
    world.ticks.append(([Unit([])], [start(1)]))
    world.turn()
    assert world.notes == ["decided", "settled", "durable", ("committed", 1, 1), "landed", "E_1 starts"]


def test_the_next_tick_is_not_decided_when_the_commit_is_over(world: World) -> None:
    world.is_over = True
    for _ in range(2):
        world.ticks.append(([Unit([])], []))
    world.attempts.queued = 1
    world.turn()
    assert world.admitted == [1]  # which ran before it
    world.is_over = False
    world.turn()
    assert world.admitted == [1, 0]


def test_what_is_to_be_called_between_two_ticks_keeps_the_next_one_from_being_decided(world: World) -> None:
    for _ in range(3):
        world.ticks.append(([Unit([])], [start(1)]))
    called: list[int] = []
    world.turn()
    assert len(world.ticks) == 1
    # The tick that was decided ahead is not committed yet: whoever calls must not see the middle of it.
    world.driver.between_ticks(lambda: called.append(world.notes.count("durable")))
    world.turn()
    assert not called and len(world.ticks) == 1
    world.turn()
    assert called == [2] and not world.ticks


def test_a_tick_that_was_decided_ahead_is_committed_when_the_server_stops(world: World) -> None:
    for _ in range(2):
        world.ticks.append(([Unit([])], [start(1)]))
    world.turn()
    world.driver._stopping = True
    world.driver._wind_up()
    assert world.notes.count("durable") == 2 and not world.driver._inbox


def test_the_last_ticks_of_a_stop_are_not_decided_ahead_of_each_other(world: World) -> None:
    """Each is decided with what the one before led to, and none is left over."""
    for _ in range(3):
        world.ticks.append(([Unit([])], [start(1)]))
    world.turn()
    world.driver._stopping = True
    world.driver._wind_up()
    assert world.notes.count("durable") == 3
    assert world.driver._following is None and not world.driver._inbox


def test_units_rest_on_the_same_ones_when_lines_go_first(world: World) -> None:
    seen: list[list[int]] = []

    def commit(batch_id: str, units: list[Unit], meanwhile: Any = None) -> list[Applied]:
        seen.extend(unit.after for unit in units)
        return [Applied() for _ in units]

    world.commit = commit  # type: ignore[method-assign]
    world.driver.lines.put(LINE)
    world.ticks.append(([Unit([]), Unit([], after=[0])], []))
    world.turn()
    assert seen == [[], [], [1]]


def test_of_a_commit_that_fails_nothing_is_told_and_what_waits_for_it_ends(world: World) -> None:
    world.changes.is_watched = True
    world.attempts.asks = world.fails = True
    world.ticks.append(([Unit([])], [start(1), changed(Status.LOCKED)]))
    with pytest.raises(StoreFailed):
        world.turn()
    assert world.notes == ["decided", "settled", "E_1 runs", "lost"]


def test_who_wants_what_was_decided_to_be_durable_waits_for_the_commit_that_is_under_way(world: World) -> None:
    seen: list[bool] = []

    def during(underway: Underway) -> None:
        assert not underway.over
        world.driver.wait_for_commit()
        seen.append(underway.over)

    world.driver.wait_for_commit()
    world.during = during
    world.ticks.append(([Unit([])], [start(1)]))
    world.turn()
    assert seen == [True]
    world.driver.wait_for_commit()


def test_what_is_durable_is_told_before_anything_follows_from_it(world: World) -> None:
    world.changes.is_watched = True
    world.ticks.append(([Unit([]), Unit([])], [changed(Status.LOCKED)]))
    world.driver.lines.put(LINE)
    world.turn()
    assert told(world) == [("line", ONE), ("committed", 2, 2), ("state", ONE)]


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
    assert world.admitted and not told(world)


def test_an_input_wakes_the_thread_and_one_of_its_own_is_not_slept_over(world: World) -> None:
    world.driver.start(world.attempts, world.notes.append)  # type: ignore[arg-type]
    for rounds in range(1, 4):
        world.ticks.append(([], [KillAttempt(ONE, "Run_1")]))  # type: ignore[arg-type]
        world.driver.offer(FACT)
        deadline = time.monotonic() + 60
        while sum(world.admitted) < 2 * rounds and time.monotonic() < deadline:
            time.sleep(0.001)
        assert sum(world.admitted) == 2 * rounds
