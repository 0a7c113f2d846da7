"""The clock that interrupts guests: a period where they may take long, a look now and then where they are brief."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from obelisk.wasm import epochs
from obelisk.wasm.epochs import EpochTicker
from obelisk.wasm.fiber import SLICE_EPOCHS, Fiber, State

SPIN = 8
"""The instruction of the script for an endless loop."""


class Counting:
    ticks = 0

    def increment_epoch(self) -> None:
        self.ticks += 1


def soon(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def ticker(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> Iterator[EpochTicker]:
    monkeypatch.setattr(epochs, "_LINGER_S", 0.01)
    made = EpochTicker(counting, period_s=0.001, watch_period_s=0.001)  # type: ignore[arg-type]
    made.start()
    yield made
    made.stop()


def test_the_epoch_sleeps_while_nobody_polls(ticker: EpochTicker, counting: Counting) -> None:
    soon(lambda: ticker._asleep)
    time.sleep(0.02)
    assert counting.ticks == 0 and ticker.pollers == 0
    with ticker.polling():
        assert ticker.pollers == 1
        soon(lambda: counting.ticks >= 5)
    soon(lambda: ticker._asleep)
    quiet = counting.ticks
    time.sleep(0.02)
    assert counting.ticks == quiet


def test_it_stays_awake_for_a_while_since_to_wake_it_costs_who_polls(
    ticker: EpochTicker, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epochs, "_LINGER_S", 60)
    with ticker.polling():
        soon(lambda: counting.ticks > 0)
    time.sleep(0.05)
    assert not ticker._asleep


def test_who_polls_for_a_moment_and_wakes_it_keeps_it_awake_too(
    ticker: EpochTicker, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is there any more when it looks again; but one who polls now and then should not have to wake it each time."""
    monkeypatch.setattr(epochs, "_LINGER_S", 0.2)
    time.sleep(0.4)
    soon(lambda: ticker._asleep)
    with ticker.polling(brief=True):
        pass
    soon(lambda: not ticker._asleep)
    time.sleep(0.05)
    assert not ticker._asleep


def test_brief_guests_are_left_alone_but_for_one_that_is_at_it_all_the_time(
    ticker: EpochTicker, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    stays: list[object] = []

    def being_polled() -> set[object]:
        nonlocal looks
        looks += 1
        return {object(), *stays}

    monkeypatch.setattr(epochs, "being_polled", being_polled)
    with ticker.polling(brief=True):
        soon(lambda: looks >= 10)
        assert counting.ticks == 0
        stays.append(object())
        soon(lambda: counting.ticks > 0)
        stays.clear()
        soon(lambda: looks >= 30)
        assert counting.ticks % SLICE_EPOCHS == 0  # it yields at once
        seen = counting.ticks
        soon(lambda: looks >= 40)
        assert counting.ticks == seen


def test_who_may_take_long_has_slices_also_beside_brief_ones(ticker: EpochTicker, counting: Counting) -> None:
    with ticker.polling(brief=True):
        time.sleep(0.02)
        assert counting.ticks == 0
        with ticker.polling():
            soon(lambda: counting.ticks >= 5)
        time.sleep(0.02)
        seen = counting.ticks
        time.sleep(0.02)
        assert counting.ticks == seen


def test_an_endless_loop_among_brief_guests_yields(script, engines) -> None:  # type: ignore[no-untyped-def]
    ticker = EpochTicker(engines)
    ticker.start()
    states: list[State] = []

    def poll() -> None:
        fiber = Fiber(script.program)
        with ticker.polling(brief=True):
            states.extend((fiber.start(([SPIN, 0],)), fiber.resume()))
        fiber.close()

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    thread.join(60)
    assert states == [State.RUNNABLE, State.RUNNABLE]
    ticker.stop()
