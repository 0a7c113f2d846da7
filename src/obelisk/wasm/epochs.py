"""Epochs: the clock that interrupts guests.

Decides how long a slice is. A guest yields when the epoch has advanced `fiber.SLICE_EPOCHS` times since its step began. Where guests
may take long, in the lane and in replays, the epoch advances at a fixed period. The engine thread polls thousands of guests a second for some
microseconds each; a thread that interrupts it 500 times a second then costs more than the guests do. There it is only looked, and
less often, whether a guest has been at it all the time; that one yields at once.

Must not know what guests are for, nor touch one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from obelisk.wasm.engine import Engines
from obelisk.wasm.fiber import SLICE_EPOCHS, Fiber, being_polled

EPOCH_PERIOD_S: Final = 0.002
"""How often the epoch advances while guests run that may take long; see `fiber.SLICE_EPOCHS` for what that makes of a slice."""
WATCH_PERIOD_S: Final = 0.008
"""How often it is looked whether a guest has been polled all the time, where they are polled briefly."""
_LINGER_S: Final = 0.5
"""How long nobody must have polled before the thread sleeps: to wake it costs whoever polls next."""


class EpochTicker:
    """A thread that advances the epoch while at least one thread polls guests, and sleeps otherwise.

    Without it a guest in an endless loop never yields. Start it before the first `polling`, stop it after the last.
    """

    def __init__(
        self, engines: Engines, period_s: float = EPOCH_PERIOD_S, watch_period_s: float = WATCH_PERIOD_S
    ) -> None:
        self._engines = engines
        self._period_s = period_s
        self._watch_period_s = watch_period_s
        self._changed = threading.Condition()
        self._pollers = 0
        self._brief = 0
        """Those of them that poll briefly."""
        self._asleep = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="obelisk-epoch", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stops the thread and waits for it."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    @property
    def pollers(self) -> int:
        """How many threads are inside `polling`."""
        return self._pollers

    @contextmanager
    def polling(self, *, brief: bool = False) -> Iterator[None]:
        """Put this around a batch of steps of guests (not around each: it takes two locks). `brief`: hardly any of them takes
        longer than some microseconds, and one that does may have up to two watch periods.
        """
        with self._changed:
            self._pollers += 1
            self._brief += brief
            if self._asleep:
                self._asleep = False  # also for whoever is gone again before the thread is awake
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._pollers -= 1
                self._brief -= brief

    def _run(self) -> None:
        before: set[Fiber] = set()
        last_polled = time.monotonic()
        while True:
            with self._changed:
                if self._pollers:
                    last_polled = time.monotonic()
                elif time.monotonic() - last_polled >= _LINGER_S:
                    before.clear()
                    self._rest()
                    last_polled = time.monotonic()
                if self._stopping:
                    return
                watches = self._pollers == self._brief
            if watches:
                time.sleep(self._watch_period_s)
                polled = being_polled()
                if not before.isdisjoint(polled):
                    for _ in range(SLICE_EPOCHS):
                        self._engines.increment_epoch()
                before = polled
            else:
                time.sleep(self._period_s)
                self._engines.increment_epoch()
                before.clear()

    def _rest(self) -> None:
        """Until somebody polls; with the lock."""
        self._asleep = True
        while self._asleep and not self._stopping:
            self._changed.wait()
