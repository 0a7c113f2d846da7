"""The CPU lane: turns, first slices, room, and the end."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from obelisk.runtime.lane import AHEAD_MAX, CpuLane, Turn
from obelisk.wasm.epochs import EpochTicker


class NoEngines:
    def increment_epoch(self) -> None:
        pass


class Work:
    """A job of `slices` slices that notes when it ran."""

    def __init__(self, name: str, slices: int, notes: list[str], has_begun: bool = False) -> None:
        self.name = name
        self.left = slices
        self.notes = notes
        self.has_begun = has_begun
        self.abandoned = False
        self.alone = threading.Lock()

    def slice(self) -> Turn:
        assert self.alone.acquire(blocking=False), "on two threads at once"
        self.has_begun = True
        self.notes.append(self.name)
        self.left -= 1
        time.sleep(0.001)
        self.alone.release()
        return Turn.MORE if self.left > 0 else Turn.OVER

    def abandon(self) -> None:
        self.abandoned = True


class Pausing(Work):
    """Waits for something outside after each slice but the last."""

    def slice(self) -> Turn:
        return Turn.WAITS if super().slice() is Turn.MORE else Turn.OVER


@pytest.fixture
def lane() -> Any:
    made: list[tuple[CpuLane, EpochTicker]] = []

    def make(slots: int, begun_max: int = 100) -> CpuLane:
        ticker = EpochTicker(NoEngines())  # type: ignore[arg-type]
        ticker.start()
        made.append((CpuLane(slots, ticker, begun_max), ticker))
        return made[-1][0]

    yield make
    for each, ticker in made:
        each.stop()
        ticker.stop()


def wait_for(notes: list[str], count: int) -> None:
    ends = time.monotonic() + 60
    while len(notes) < count:
        assert time.monotonic() < ends, notes
        time.sleep(0.001)


def test_jobs_take_turns(lane: Any) -> None:
    notes: list[str] = []
    cpu = lane(1)
    for name in "abc":
        cpu.submit(Work(name, 3, notes, has_begun=True))
    cpu.start()
    wait_for(notes, 9)
    assert notes == list("abcabcabc")


def test_a_first_slice_goes_ahead_but_not_for_ever(lane: Any) -> None:
    notes: list[str] = []
    cpu = lane(1)
    cpu.submit(Work("old", 100, notes, has_begun=True))
    for number in range(3 * AHEAD_MAX):
        cpu.submit(Work(f"new{number}", 1, notes))
    cpu.start()
    wait_for(notes, 3 * AHEAD_MAX + 3)
    row = [f"new{number}" for number in range(3 * AHEAD_MAX)]
    expected = [each for at in range(0, len(row), AHEAD_MAX) for each in (*row[at : at + AHEAD_MAX], "old")]
    assert notes[: len(expected)] == expected


def test_what_was_woken_goes_ahead_of_what_used_up_its_slice(lane: Any) -> None:
    notes: list[str] = []
    cpu = lane(1)
    for name in ("old", "older"):
        cpu.submit(Work(name, 100, notes, has_begun=True))
    cpu.adopt()
    cpu.wake(Work("woken", 1, notes, has_begun=True))
    cpu.start()
    wait_for(notes, 3)
    assert notes[:2] == ["woken", "old"]


def test_what_waits_outside_keeps_its_room(lane: Any) -> None:
    notes: list[str] = []
    cpu = lane(1, begun_max=1)
    pausing, next_one = Pausing("pausing", 2, notes), Work("next", 1, notes)
    cpu.submit(pausing)
    cpu.submit(next_one)
    cpu.start()
    wait_for(notes, 1)
    time.sleep(0.05)
    assert notes == ["pausing"] and cpu.is_full
    cpu.wake(pausing)
    wait_for(notes, 3)
    assert notes == ["pausing", "pausing", "next"]


def test_what_began_elsewhere_and_waits_takes_room_too(lane: Any) -> None:
    cpu = lane(1, begun_max=2)
    cpu.start()
    cpu.adopt()
    assert not cpu.is_full
    cpu.adopt()
    assert cpu.is_full


def test_what_is_woken_after_a_stop_is_abandoned(lane: Any) -> None:
    cpu = lane(1)
    cpu.start()
    cpu.stop()
    late = Work("late", 1, [], has_begun=True)
    cpu.wake(late)
    assert late.abandoned


def test_only_so_many_begin(lane: Any) -> None:
    notes: list[str] = []
    cpu = lane(2, begun_max=2)
    jobs = [Work(str(number), 5, notes) for number in range(6)]
    for job in jobs:
        cpu.submit(job)
    cpu.start()
    wait_for(notes, 30)
    first_seen = {name: notes.index(name) for name in set(notes)}
    last_seen = {name: len(notes) - 1 - notes[::-1].index(name) for name in set(notes)}
    for number in range(2, 6):
        over = sum(last < first_seen[str(number)] for last in last_seen.values())
        assert over >= number - 1, notes


def test_a_stop_abandons_what_is_left_and_what_comes_late(lane: Any) -> None:
    notes: list[str] = []
    cpu = lane(1)
    endless = Work("endless", 1 << 30, notes, has_begun=True)
    waiting = Work("waiting", 1 << 30, notes)
    cpu.submit(endless)
    cpu.submit(waiting)
    cpu.start()
    wait_for(notes, 2)
    cpu.stop()
    late = Work("late", 1, notes)
    cpu.submit(late)
    assert endless.abandoned
    assert waiting.abandoned
    assert late.abandoned
    assert "late" not in notes
