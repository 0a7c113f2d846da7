"""The CPU lane: a few threads that run guests which want more than their first slice.

Decides who gets a CPU slot next: jobs take turns, a slice each, in the order in which they came. At most `begun_max` of
them have begun, since each that has holds an instance; the others wait. A job runs on one thread at a time, and never
knows on which.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import Final, Protocol

from obelisk.wasm.engine import EpochTicker

_NICENESS: Final = 5
"""Of lane threads: they give way to the engine and the doors."""
BEGUN_MAX: Final = 500
"""Jobs that take turns at once."""


class Job(Protocol):
    """Something to be run in slices."""

    @property
    def has_begun(self) -> bool:
        """Whether it had a slice already, here or elsewhere."""
        ...

    def slice(self) -> bool:
        """Runs the next slice; whether there is another one. Must not raise."""
        ...

    def abandon(self) -> None:
        """The lane stops: free what there is, report what must be reported."""
        ...


class CpuLane:
    """`slots` threads, and the jobs that wait for them."""

    def __init__(self, slots: int, ticker: EpochTicker, begun_max: int = BEGUN_MAX) -> None:
        self._ticker = ticker
        self._begun_max = begun_max
        self._queue: deque[Job] = deque()
        """Jobs that take turns."""
        self._waiting: deque[Job] = deque()
        """Jobs that have not begun, for which there is no room."""
        self._begun = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"obelisk-cpu-{number}", daemon=True) for number in range(slots)
        ]

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        """Queues a job; from any thread. After `stop` it is abandoned at once."""
        with self._changed:
            if not self._stopping:
                if job.has_begun or self._begun < self._begun_max:
                    self._begun += 1
                    self._queue.append(job)
                else:
                    self._waiting.append(job)
                self._changed.notify()
                return
        job.abandon()

    def stop(self) -> None:
        """Stops the threads after their current slice, then abandons all jobs that are left."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for job in (*self._queue, *self._waiting):
            job.abandon()
        self._queue.clear()
        self._waiting.clear()

    def _run(self) -> None:
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        except OSError:  # a courtesy only
            pass
        while True:
            with self._changed:
                while not self._queue and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    return
            with self._ticker.polling():
                self._work()

    def _work(self) -> None:
        """Runs slices until there is nothing to do."""
        while not self._stopping:
            try:
                job = self._queue.popleft()
            except IndexError:
                return
            more = job.slice()
            with self._changed:
                if more:
                    self._queue.append(job)
                    continue
                self._begun -= 1
                if self._waiting and self._begun < self._begun_max:
                    self._begun += 1
                    self._queue.append(self._waiting.popleft())
