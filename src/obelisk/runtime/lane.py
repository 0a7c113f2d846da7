"""The CPU lane: a few threads that run guests which want more than their first slice.

Decides who gets a CPU slot next. Jobs take turns, a slice each; one that has not begun, or that has waited for something
outside, goes before those that used up their slice, since most need little, but no more than `AHEAD_MAX` times in a row. At
most `begun_max` jobs have begun at once, those that wait outside included, since each of them holds an instance; the others
wait for room. A job runs on one thread at a time, and never knows on which.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import suppress
from enum import Enum
from typing import Final, Protocol

from obelisk.wasm.epochs import EpochTicker

_NICENESS: Final = 10
BEGUN_MAX: Final = 1_500
"""Jobs that have begun at once."""
AHEAD_MAX: Final = 4
"""Slices in a row of those that go ahead, while others wait for their next one."""


class Turn(Enum):
    """How a slice has ended."""

    OVER = "over"
    MORE = "more"
    """The job wants another slice."""
    WAITS = "waits"
    """The job waits for something outside; it is woken once that has come."""


class Job(Protocol):
    """Something to be run in slices."""

    @property
    def has_begun(self) -> bool:
        """Whether it had a slice already, here or elsewhere."""
        ...

    def slice(self) -> Turn:
        """Runs the next slice. Must not raise."""
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
        self._new: deque[Job] = deque()
        """Jobs that go ahead: those that have not begun, for which there is room, and those that were woken."""
        self._waiting: deque[Job] = deque()
        """Jobs that have not begun, for which there is none."""
        self._ahead = 0
        """Slices of those that go ahead since the last other one."""
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
                if job.has_begun:
                    self._begun += 1
                    self._queue.append(job)
                elif self._begun < self._begun_max:
                    self._begun += 1
                    self._new.append(job)
                else:
                    self._waiting.append(job)
                self._changed.notify()
                return
        job.abandon()

    @property
    def is_full(self) -> bool:
        """Whether no more jobs should begin now."""
        return self._begun >= self._begun_max

    def adopt(self) -> None:
        """A job that began elsewhere waits for something outside."""
        with self._changed:
            self._begun += 1

    def wake(self, job: Job) -> None:
        """What the job waited for has come; from any thread. After `stop` it is abandoned at once."""
        with self._changed:
            if not self._stopping:
                self._new.append(job)
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
        for queue in (self._queue, self._new, self._waiting):
            for job in queue:
                job.abandon()
            queue.clear()

    def _run(self) -> None:
        give_way()
        while True:
            with self._changed:
                while not (self._queue or self._new or self._stopping):
                    self._changed.wait()
                if self._stopping:
                    return
            with self._ticker.polling():
                self._work()

    def _work(self) -> None:
        """Runs slices until there is nothing to do."""
        while (job := self._next()) is not None:
            turn = job.slice()
            if turn is Turn.WAITS:
                continue
            with self._changed:
                if turn is Turn.MORE:
                    self._queue.append(job)
                    continue
                self._begun -= 1
                if self._waiting and self._begun < self._begun_max:
                    self._begun += 1
                    self._new.append(self._waiting.popleft())

    def _next(self) -> Job | None:
        """Whose turn it is; None: nobody's."""
        with self._changed:
            if self._stopping:
                return None
            if self._new and (self._ahead < AHEAD_MAX or not self._queue):
                self._ahead += 1
                return self._new.popleft()
            self._ahead = 0
            return self._queue.popleft() if self._queue else None


def give_way() -> None:
    """Lets the thread that calls compute only when the engine and the doors do not want to."""
    with suppress(OSError):  # a courtesy only
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
