"""Turns: nobody who waits is overtaken by who has just had his turn."""

from __future__ import annotations

import threading
import time

from obelisk.store.sqlite.turns import Turns


def test_who_waits_is_next():
    turns, taken, order = Turns(), threading.Event(), []

    def other():
        taken.set()
        with turns:
            order.append("other")

    thread = threading.Thread(target=other)
    with turns:
        thread.start()
        assert taken.wait(60)
        deadline = time.monotonic() + 10
        while not turns._next.locked():
            assert time.monotonic() < deadline
            time.sleep(0.000_1)
    with turns:  # at once, while the other one has not even woken up
        order.append("again")
    thread.join()
    assert order == ["other", "again"]


def test_a_turn_ends_with_whatever_is_raised():
    turns = Turns()
    for _ in range(2):
        try:
            with turns:
                raise LookupError
        except LookupError:
            pass
    with turns:
        pass
