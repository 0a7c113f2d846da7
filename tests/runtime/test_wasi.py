"""Guests that use WASI, in a whole runtime: what they wait for, what they see again in a replay, and how they are stopped."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from obelisk.core.batch import CancelRequest
from obelisk.core.calls import LogLine, Output, StdStream
from obelisk.core.events import kind_of
from obelisk.core.ids import ExecutionId
from obelisk.core.lines import LineFilter, LinePage
from obelisk.core.reading import FinalResult
from obelisk.engine.effects import AnswerKind

ACTIVITY = "testing:wasi-activity/wasi."
WORKFLOW = "testing:wasi-workflow/wasi."


@pytest.fixture
def world(running: Any, wasi_components: Any) -> Any:
    return made(running, wasi_components, lock_expiry_s=60)


def made(running: Any, wasi_components: Any, lock_expiry_s: int) -> Any:
    return running(f"""
        [[activity_wasm]]
        name = "activity"
        location = "{wasi_components.activity}"
        exec.lock_expiry.seconds = {lock_expiry_s}
        max_retries = 0
        [[workflow]]
        name = "workflow"
        location = "{wasi_components.workflow}"
    """)


def kinds(world: Any, execution_id: Any) -> list[str]:
    return [str(kind_of(entry.event)) for entry in world.log(execution_id)]


async def waiting(world: Any) -> Any:
    """The id of an activity that waits for most of a minute."""
    execution_id = await world.submit(ACTIVITY + "waits", 55_000)
    while kinds(world, execution_id)[-1] != "locked":
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.2)  # it is locked before it runs
    return execution_id


def test_an_activity_waits_without_a_thread(world: Any) -> None:
    async def go() -> list[FinalResult]:
        ids = [await world.submit(ACTIVITY + "waits", 300) for _ in range(200)]
        return [await asyncio.wait_for(world.result(each), 60) for each in ids]

    before = threading.active_count()
    begun = time.monotonic()
    results = asyncio.run(go())
    assert time.monotonic() - begun < 50  # one after another they would take a minute
    assert all(300 <= int(result.outcome.value) < 50_000 for result in results)  # type: ignore[union-attr]
    assert threading.active_count() <= before + 2  # the I/O loop, and that of asyncio.run's own helpers


def test_a_wait_counts_for_the_deadline(running: Any, wasi_components: Any) -> None:
    world = made(running, wasi_components, lock_expiry_s=2)
    begun = time.monotonic()
    execution_id, (kind, name, reason) = world.run_id(ACTIVITY + "waits", 60_000)
    assert (kind, name) == ("failure", "timed_out") and "exec.lock_expiry" in reason
    assert 1.5 < time.monotonic() - begun < 40
    assert kinds(world, execution_id)[-1] == "finished"


def test_a_cancellation_ends_a_wait_at_once(world: Any) -> None:
    async def go() -> tuple[float, FinalResult]:
        execution_id = await waiting(world)
        begun = time.monotonic()
        answer = await world.runtime.operate(execution_id, CancelRequest())
        assert answer.kind is AnswerKind.DONE
        result = await asyncio.wait_for(world.result(execution_id), 60)
        return time.monotonic() - begun, result

    took, result = asyncio.run(go())
    assert took < 30
    assert result.outcome.kind == "cancelled"  # type: ignore[union-attr]


def test_a_stop_ends_waits_without_counting_them(world: Any, running: Any) -> None:
    execution_id = asyncio.run(waiting(world))
    begun = time.monotonic()
    world.runtime.refuse_new_work()
    store = world.runtime.reader
    world.runtime._driver.stop()
    assert time.monotonic() - begun < 30
    assert [str(kind_of(entry.event)) for entry in store.events(execution_id, 0, 100)][-1] == "unlocked"


def test_a_workflow_sleeps_durably_and_draws_the_same_again(world: Any) -> None:
    execution_id, (kind, waited) = world.run_id(WORKFLOW + "waits", 250)
    assert kind == "ok" and 250 <= waited < 10_000
    assert "delay_request" in kinds(world, execution_id)
    first, second = (world.run_id(WORKFLOW + "draws") for _ in range(2))
    assert first[1][0] == second[1][0] == "ok" and first[1] != second[1]
    assert kinds(world, first[0]) == ["created", "locked", "finished"]


@pytest.mark.parametrize("package", [ACTIVITY, WORKFLOW])
def test_output_is_logged_also_when_the_guest_traps(world: Any, package: str) -> None:
    def lines(execution_id: ExecutionId) -> list[LogLine]:
        asyncio.run(world.runtime.lines_stored())
        return [each.line for each in world.runtime.reader.lines(LineFilter(execution_id), LinePage())]

    execution_id, outcome = world.run_id(package + "says", "one\ntwo\nthree")
    assert outcome == ("ok", None)
    assert lines(execution_id) == [Output(StdStream.STDOUT, text) for text in (b"one\n", b"two\n", b"three")]
    execution_id, (kind, _, reason) = world.run_id(package + "says-and-traps", "last words")
    assert kind == "failure" and "unreachable" in reason
    assert lines(execution_id) == [Output(StdStream.STDOUT, b"last words")]


@pytest.mark.parametrize("package", [ACTIVITY, WORKFLOW])
def test_a_guest_holds_a_bounded_number_of_handles(world: Any, package: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("obelisk.wasm.fiber.HANDLES_MAX", 100)
    assert world.run(package + "hoards", 100) == ("ok", 0)
    kind, _, reason = world.run(package + "hoards", 101)
    assert kind == "failure" and "trap: the guest holds" in reason and "drop some" in reason


@pytest.mark.parametrize("package", [ACTIVITY, WORKFLOW])
def test_what_an_interface_forbids_traps(world: Any, package: str) -> None:
    kind, _, reason = world.run(package + "writes-too-much")
    assert kind == "failure" and "trap: a blocking write may have at most 4096 bytes; it had 5000" in reason
