"""Attempts: where their slices run, and how they end."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from obelisk.core.batch import StoreFailed
from obelisk.core.policy import DirectoryPolicy, MappedDirectory, Sandbox
from obelisk.core.ports import Yielded
from obelisk.core.values import Failure, FailureKind, Json, Ok
from obelisk.engine.effects import KillAttempt, StartAttempt
from obelisk.engine.inputs import AttemptFinished, AttemptKilled, AttemptSliced, AttemptStopped
from obelisk.runtime import attempts
from obelisk.runtime.attempts import Attempts
from obelisk.runtime.clock import Clock
from obelisk.runtime.io_loop import IoLoop
from obelisk.runtime.lane import Turn
from obelisk.runtime.marks import Marks
from obelisk.runtime.outgoing import Outgoing, Secrets
from obelisk.wasm.activity import Finished, Waiting
from obelisk.wasm.guest import PoolIsFull


def never() -> bool:
    return False


class Run:
    """An attempt that takes `slices` slices of `ms` each."""

    def __init__(self, slices: int, ms: float, full: int = 0) -> None:
        self.left = slices
        self.ms = ms
        self.full = full
        self.closed = False

    def start(self, params: Json, hold: Any = None) -> Any:
        if self.full:
            raise PoolIsFull
        self.hold = hold
        return self.resume()

    def resume(self) -> Any:
        ends = time.thread_time() + self.ms / 1_000
        while time.thread_time() < ends:
            pass
        self.left -= 1
        return Yielded() if self.left else Finished(Ok())

    def close(self) -> None:
        self.closed = True


class Lane:
    """Keeps what is submitted; the test runs it."""

    is_full = False

    def __init__(self) -> None:
        self.jobs: list[Any] = []
        self.adopted = 0
        self.woken = threading.Event()
        self.stopped = False

    def submit(self, job: Any) -> None:
        self.jobs.append(job)

    def adopt(self) -> None:
        self.adopted += 1

    def wake(self, job: Any) -> None:
        if self.stopped:
            job.abandon()
        else:
            self.jobs.append(job)
        self.woken.set()


class Waits(Run):
    """An attempt that waits for a coroutine, then ends."""

    def __init__(self, what: Any) -> None:
        super().__init__(1, 0)
        self.what = what
        self.came: list[Any] = []

    def start(self, params: Json, hold: Any = None) -> Any:
        return Waiting(self.what())

    def answer(self, value: Any) -> Any:
        self.came.append(value)
        return Finished(Ok())

    def fail(self, error: Exception) -> Any:
        self.came.append(error)
        return Finished(Failure(FailureKind.UNCATEGORIZED, str(error)))


class Lines:
    def __init__(self, effect: StartAttempt) -> None:
        self.effect = effect
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class World:
    def __init__(self, folder: Path) -> None:
        self.allowed = Sandbox()
        self.runs: list[Run] = []
        self.reports: list[Any] = []
        self.lane = Lane()
        self.io = IoLoop()
        self.marks = Marks(folder / "marks")
        outgoing = Outgoing(self.io, Clock(), Secrets({}))
        self.lines: list[Any] = []
        self.attempts = Attempts(self, self.lane, self.io, outgoing, self.marks, self, self.reports.append)  # type: ignore[arg-type]
        self.started = 0

    def of_attempt(self, effect: StartAttempt) -> Any:
        self.lines.append(Lines(effect))
        return self.lines[-1]

    def sandbox(self, component: Any, ffqn: Any) -> Sandbox:
        return self.allowed

    def attempt(self, component: Any, ffqn: Any, host: Any) -> Any:
        self.started += 1
        return self.runs[self.started - 1]

    def effect(self, number: int = 1, deadline_us: int = 1_000_000) -> StartAttempt:
        return StartAttempt(f"E_{number}", f"Run_{number}", "sha256:0", "a:b/c.d", Json(b"[]"), deadline_us)  # type: ignore[arg-type]

    def queue(self, run: Run, number: int = 1, deadline_us: int = 1_000_000) -> None:
        self.runs.append(run)
        self.attempts.start(self.effect(number, deadline_us))

    def start(self, run: Run, number: int = 1, deadline_us: int = 1_000_000) -> None:
        self.queue(run, number, deadline_us)
        self.attempts.run_queued(never)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(
        attempts, "_LONG_NS", 60_000_000_000
    )  # by the clock on the wall, on machines that do other things too
    made = World(tmp_path)
    yield made
    made.io.stop()
    made.marks.close()


def test_a_short_one_ends_at_once(world: World) -> None:
    world.start(Run(1, 0))
    assert world.reports == [AttemptFinished("E_1", "Run_1", Ok())]
    assert not world.lane.jobs
    assert world.runs[0].closed
    assert not world.marks.left_over()


def test_a_long_one_goes_to_the_lane(world: World) -> None:
    world.start(Run(3, 1))
    assert world.reports == [AttemptSliced("E_1", "Run_1")]
    assert world.marks.left_over() == {"E_1"}
    (first,) = world.lane.jobs
    assert first.slice() is Turn.MORE
    assert first.slice() is Turn.OVER
    assert world.reports[1:] == [AttemptFinished("E_1", "Run_1", Ok())]
    assert not world.marks.left_over()


def test_after_two_long_ones_their_like_go_to_the_lane_until_one_is_short(world: World) -> None:
    for number in (1, 2):
        world.start(Run(2, 2), number)
        assert world.lane.jobs[-1].slice() is Turn.OVER
    world.reports.clear()
    world.start(Run(1, 0), 3)
    assert not world.reports
    assert world.lane.jobs[2].slice() is Turn.OVER  # begun and over on the lane
    assert world.reports == [AttemptFinished("E_3", "Run_3", Ok())]
    world.start(Run(1, 0), 4)
    assert world.reports[1:] == [AttemptFinished("E_4", "Run_4", Ok())]


def test_those_that_keep_the_engine_thread_for_milliseconds_go_to_the_lane_although_nothing_interrupts_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ticker looks every 8 ms whether a guest has been at it since; hundreds that take 6 ms each may be due."""
    monkeypatch.setattr(attempts, "_LONG_NS", 4_000_000)
    for number in (1, 2, 3):
        world.start(Run(1, 6), number)
    assert world.started == 2 and len(world.lane.jobs) == 1


def test_of_two_that_took_long_with_one_between_that_did_not_nothing_follows(world: World) -> None:
    for number, run in enumerate((Run(2, 0), Run(1, 2.2), Run(2, 0), Run(1, 0)), 1):
        world.start(run, number)
    assert world.started == 4


def test_one_that_had_bad_luck_sends_nobody_to_the_lane(world: World) -> None:
    """It took hardly any time itself: the processor was taken away, or the pool was full."""
    for number, run in enumerate((Run(2, 0), Run(1, 0), Run(1, 0, full=1), Run(1, 0)), 1):
        world.start(run, number)
    assert [report.execution_id for report in world.reports if isinstance(report, AttemptFinished)] == ["E_2", "E_4"]
    assert len(world.lane.jobs) == 2


def test_the_deadline_counts_time_that_it_runs(world: World) -> None:
    # Large against what a collection of garbage in between may cost.
    world.start(Run(100, 20), deadline_us=250_000)
    (job,) = world.lane.jobs
    time.sleep(0.3)  # in the queue: longer than the deadline
    assert job.slice() is Turn.MORE
    slices = 2
    while job.slice() is Turn.MORE:
        slices += 1
    assert slices < 20
    result = world.reports[-1].result
    assert isinstance(result, Failure)
    assert result.kind is FailureKind.TIMED_OUT
    assert "exec.lock_expiry" in result.reason
    assert world.runs[0].closed


def test_a_killed_one_reports_that_it_does_nothing_any_more(world: World) -> None:
    world.start(Run(10, 0.1))
    world.attempts.kill(KillAttempt("E_1", "Run_0"))  # a past run: not this one
    (job,) = world.lane.jobs
    assert job.slice() is Turn.MORE
    world.attempts.kill(KillAttempt("E_1", "Run_1"))
    assert job.slice() is Turn.OVER
    assert world.reports == [
        AttemptSliced("E_1", "Run_1"),
        AttemptKilled("E_1", "Run_0"),
        AttemptKilled("E_1", "Run_1"),
    ]
    assert world.runs[0].closed


def test_without_room_it_asks_again(world: World) -> None:
    world.start(Run(1, 0, full=1))
    assert not world.reports
    (job,) = world.lane.jobs
    world.runs.append(Run(1, 0))
    assert job.slice() is Turn.OVER
    assert world.reports == [AttemptFinished("E_1", "Run_1", Ok())]


def test_a_stop_gives_up_what_runs_and_what_comes(world: World) -> None:
    world.start(Run(10, 0.1))
    world.lane.jobs[0].abandon()
    world.attempts.stop()
    world.start(Run(1, 0), 2)
    assert [type(report) for report in world.reports] == [AttemptSliced, AttemptStopped, AttemptStopped]
    assert not world.marks.left_over()
    assert world.attempts.count == 0


def test_an_error_of_the_host_fails_the_attempt_only(world: World, caplog: Any) -> None:
    broken = Run(1, 0)
    broken.start = lambda params: 1 / 0  # type: ignore[method-assign, assignment]
    world.start(broken)
    (report,) = world.reports
    assert report.result.reason.startswith("internal error")
    assert "failed in the host" in caplog.text


# --- what is queued --------------------------------------------------------------------------------------------------


def test_what_is_queued_runs_until_that_is_enough(world: World) -> None:
    for number in range(1, 5):
        world.queue(Run(1, 0), number)
    assert world.attempts.count == 4
    world.attempts.run_queued(lambda: len(world.reports) == 3)
    assert [report.execution_id for report in world.reports] == ["E_1", "E_2", "E_3"]
    world.attempts.run_queued(never)
    assert len(world.reports) == 4


def test_one_that_is_killed_before_it_began_does_not_begin(world: World) -> None:
    world.queue(Run(1, 0))
    world.attempts.kill(KillAttempt("E_1", "Run_0"))  # a past run: not this one
    assert world.attempts.queued == world.attempts.count == 1
    world.attempts.kill(KillAttempt("E_1", "Run_1"))
    world.attempts.run_queued(never)
    assert world.reports == [AttemptKilled("E_1", "Run_0"), AttemptKilled("E_1", "Run_1")]
    assert world.started == 0 and world.attempts.count == 0


def test_a_stop_gives_up_what_is_queued(world: World) -> None:
    world.queue(Run(1, 0))
    world.attempts.stop()
    assert [type(report) for report in world.reports] == [AttemptStopped]
    assert world.started == 0 and world.attempts.count == 0


def test_what_is_started_after_a_stop_is_given_up_at_once(world: World) -> None:
    world.attempts.stop()
    world.queue(Run(1, 0))
    assert [type(report) for report in world.reports] == [AttemptStopped]
    assert world.started == 0 and world.attempts.queued == world.attempts.count == 0


def test_what_is_queued_goes_to_the_lane_once_its_function_was_seen_to_be_long(world: World) -> None:
    for number in range(1, 5):
        world.queue(Run(2, 0), number)
    world.attempts.run_queued(never)
    assert world.started == 2 and len(world.lane.jobs) == 4
    assert world.attempts.queued == 0 and world.attempts.count == 4


# --- what goes ahead of its lock -------------------------------------------------------------------------------------


class Lock:
    """The commit of a lock: `hold` notes that somebody has asked for it."""

    def __init__(self, fails: bool = False) -> None:
        self.asked = 0
        self.fails = fails

    def hold(self) -> None:
        self.asked += 1
        if self.fails:
            raise StoreFailed("the disk is full")


def ahead(world: World, run: Run, number: int = 1) -> None:
    world.runs.append(run)
    assert world.attempts.go_ahead(world.effect(number))


def test_one_whose_lock_is_not_durable_runs_only_where_it_can_be_held(world: World) -> None:
    lock = Lock()
    ahead(world, Run(1, 0), 1)
    world.attempts.run_queued(never)
    assert world.started == 0
    world.queue(Run(1, 0), 2)
    world.attempts.run_queued(never, lock.hold)
    # That which is durable goes first.
    assert [report.execution_id for report in world.reports] == ["E_2", "E_1"]
    assert world.runs[0].hold is None
    assert lock.asked == 0
    world.runs[1].hold()
    assert lock.asked == 1
    world.attempts.landed()
    assert world.attempts.count == 0 and not world.lane.jobs


def test_one_that_did_not_get_its_turn_is_queued_once_its_lock_is_durable(world: World) -> None:
    ahead(world, Run(1, 0))
    world.attempts.run_queued(lambda: True, Lock().hold)
    world.attempts.landed()
    assert world.attempts.queued == 1
    world.attempts.run_queued(never)
    assert world.reports == [AttemptFinished("E_1", "Run_1", Ok())] and world.runs[0].hold is None


def test_what_went_ahead_of_one_commit_is_not_started_again_with_the_next_one(world: World) -> None:
    """Neither what was queued when it was durable, nor what went to the lane then."""
    ahead(world, Run(1, 0), 1)
    world.attempts.run_queued(lambda: True, Lock().hold)
    world.attempts.landed()
    ahead(world, Run(2, 0), 2)
    world.attempts.run_queued(never, Lock().hold)
    for _ in range(2):
        world.attempts.landed()
        world.attempts.run_queued(never)
        assert world.started == 2 and len(world.lane.jobs) == 1


def test_one_that_takes_longer_goes_to_the_lane_once_its_lock_is_durable(world: World) -> None:
    runs = [Run(2, 0), Run(2, 0), Run(1, 0)]
    for number, run in enumerate(runs, 1):
        ahead(world, run, number)
    world.attempts.run_queued(never, Lock().hold)
    assert world.started == 2 and not world.lane.jobs and world.attempts.count == 3
    world.attempts.landed()
    assert [job.hold for job in world.lane.jobs] == [None] * 3  # nor do they keep what was decided with the lock
    assert [job.slice() for job in world.lane.jobs] == [Turn.OVER] * 3
    assert all(run.closed for run in runs) and world.attempts.count == 0


def test_one_that_is_not_for_this_thread_does_not_go_ahead(world: World) -> None:
    world.lane.is_full = True
    assert not world.attempts.go_ahead(world.effect())
    world.lane.is_full = False
    world.allowed = Sandbox(directories=DirectoryPolicy(own=True))
    assert not world.attempts.go_ahead(world.effect())
    world.allowed = Sandbox()
    world.attempts.stop()
    assert not world.attempts.go_ahead(world.effect())
    assert world.attempts.count == 0


def test_one_that_waits_for_something_waits_for_its_lock_first(world: World) -> None:
    lock = Lock()
    run = Waits(moment)
    ahead(world, run)
    world.attempts.run_queued(never, lock.hold)
    assert lock.asked == 1 and world.lane.adopted == 1
    assert until_it_waits_or_ends(world) is Turn.OVER
    assert run.came == [None] and lock.asked == 1


@pytest.mark.parametrize("waits", [True, False])
def test_where_the_lock_is_lost_nothing_is_left(world: World, waits: bool) -> None:
    lock = Lock(fails=True)
    run: Run = Waits(moment) if waits else Run(2, 0)
    ahead(world, run)
    ahead(world, Run(1, 0), 2)
    with pytest.raises(StoreFailed) if waits else nullcontext():
        world.attempts.run_queued(lambda: world.started == 1, lock.hold)
    world.attempts.lost()
    assert run.closed and not world.lane.jobs and world.lane.adopted == 0
    assert not [report for report in world.reports if isinstance(report, AttemptFinished)]
    world.attempts.run_queued(never, lock.hold)
    assert world.started == 1


class AsksThenComputes(Run):
    """An attempt that asks its host for something in its first slice, and needs another one."""

    def start(self, params: Json, hold: Any = None) -> Any:
        if hold is not None:
            hold()
        return self.resume()


def test_to_wait_for_ones_lock_does_not_count_for_the_deadline(world: World) -> None:
    """However long the disk takes: the attempt cannot do anything about it."""
    world.runs.append(AsksThenComputes(2, 0))
    assert world.attempts.go_ahead(world.effect(deadline_us=100_000))
    world.attempts.run_queued(never, lambda: time.sleep(0.2))
    assert not [report for report in world.reports if isinstance(report, AttemptFinished)]
    world.attempts.landed()
    (job,) = world.lane.jobs
    assert job.slice() is Turn.OVER
    assert world.reports[-1] == AttemptFinished("E_1", "Run_1", Ok())


def test_one_that_asks_for_something_while_its_lock_is_lost_ends_the_engine_and_not_itself(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    class Asks(Run):
        def start(self, params: Json, hold: Any = None) -> Any:
            hold()

    run = Asks(1, 0)
    ahead(world, run)
    with pytest.raises(StoreFailed):
        world.attempts.run_queued(never, Lock(fails=True).hold)
    assert run.closed and not world.reports and not caplog.records


# --- waiting ---------------------------------------------------------------------------------------------------------


def test_one_that_waits_holds_nothing_and_goes_back_to_the_lane(world: World) -> None:
    seen = threading.Event()

    async def wait() -> str:
        await asyncio.to_thread(seen.wait, 60)
        return "come"

    run = Waits(wait)
    world.start(run)
    assert world.reports == [AttemptSliced("E_1", "Run_1")]
    assert world.lane.adopted == 1 and not world.lane.jobs
    assert not world.marks.left_over()
    seen.set()
    assert world.lane.woken.wait(60)
    (job,) = world.lane.jobs
    assert job.slice() is Turn.OVER
    assert run.came == ["come"] and run.closed
    assert world.reports[1:] == [AttemptFinished("E_1", "Run_1", Ok())]
    assert not world.marks.left_over()


def test_what_a_wait_ends_in_is_told_to_the_run(world: World) -> None:
    async def fail() -> None:
        raise ValueError("gone")

    run = Waits(fail)
    world.start(run)
    assert world.lane.woken.wait(60)
    assert world.lane.jobs[0].slice() is Turn.OVER
    assert [str(each) for each in run.came] == ["gone"]


async def forever() -> None:
    await asyncio.sleep(3_600)


def test_a_wait_counts_for_the_deadline(world: World) -> None:
    world.start(Waits(forever), deadline_us=30_000)
    assert world.lane.woken.wait(60)
    assert world.lane.jobs[0].slice() is Turn.OVER
    (report,) = world.reports[1:]
    assert report.result.kind is FailureKind.TIMED_OUT
    assert world.runs[0].closed


def test_a_kill_ends_a_wait(world: World) -> None:
    world.start(Waits(forever))
    world.attempts.kill(KillAttempt("E_1", "Run_1"))
    assert world.lane.woken.wait(60)
    assert world.lane.jobs[0].slice() is Turn.OVER
    assert world.reports[1:] == [AttemptKilled("E_1", "Run_1")]


def test_a_stop_gives_up_what_waits(world: World) -> None:
    for number in range(1, 6):
        world.start(Waits(forever), number)
    world.lane.stopped = True
    world.attempts.stop()
    assert [type(report) for report in world.reports[5:]] == [AttemptStopped] * 5
    assert world.attempts.count == 0 and all(run.closed for run in world.runs)


def test_when_the_lane_is_full_nothing_begins_here(world: World) -> None:
    world.lane.is_full = True
    world.start(Run(1, 0))
    assert world.started == 0 and len(world.lane.jobs) == 1


def test_one_with_files_does_not_begin_on_the_engine_thread(world: World, tmp_path: Path) -> None:
    """It may wait for a disk, in which no CPU time passes."""
    world.allowed = Sandbox(directories=DirectoryPolicy(mapped=(MappedDirectory(str(tmp_path), "/data"),)))
    for number in (1, 2):
        world.start(Run(1, 0), number)
        assert len(world.lane.jobs) == number
    assert world.started == 0 and not world.reports
    assert world.lane.jobs[0].slice() is Turn.OVER
    assert world.reports == [AttemptFinished("E_1", "Run_1", Ok())]


def test_one_whose_directory_cannot_be_made_fails_and_may_be_tried_again(world: World) -> None:
    world.allowed = Sandbox(directories=DirectoryPolicy(own=True))
    world.start(Run(1, 0))
    assert world.lane.jobs[0].slice() is Turn.OVER
    (report,) = world.reports
    assert "its directory cannot be made: " in report.result.reason and not report.final
    assert world.started == 0 and not world.marks.left_over()


class WaitsAgain(Waits):
    """Waits `times` times, and notes who is marked whenever it runs."""

    def __init__(self, what: Any, times: int, marks: Marks) -> None:
        super().__init__(what)
        self.times = times
        self.marks = marks
        self.marked: list[Any] = []

    def answer(self, value: Any) -> Any:
        self.marked.append(set(self.marks.left_over()))
        self.times -= 1
        return Waiting(self.what()) if self.times else super().answer(value)


def until_it_waits_or_ends(world: World) -> Turn:
    assert world.lane.woken.wait(60)
    world.lane.woken.clear()
    turn: Turn = world.lane.jobs.pop().slice()
    return turn


async def moment() -> None:
    await asyncio.sleep(0.02)


def test_after_a_wait_it_is_marked_again(world: World) -> None:
    run = WaitsAgain(moment, 2, world.marks)
    world.start(run)
    assert [until_it_waits_or_ends(world) for _ in range(2)] == [Turn.WAITS, Turn.OVER]
    assert run.marked == [{"E_1"}] * 2
    assert not world.marks.left_over()


def test_waits_add_up_for_the_deadline(world: World) -> None:
    world.start(WaitsAgain(moment, 1_000, world.marks), deadline_us=110_000)
    turns = 1
    while until_it_waits_or_ends(world) is Turn.WAITS:
        turns += 1
    assert turns <= 6
    assert world.reports[-1].result.kind is FailureKind.TIMED_OUT
