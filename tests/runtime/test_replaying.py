"""Replays beside the engine: real components on threads of their own."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from obelisk.core.calls import DONE
from obelisk.core.events import Persist
from obelisk.core.ids import Digest
from obelisk.core.names import FunctionName
from obelisk.core.ports import FunctionKind
from obelisk.core.values import Json, Ok
from obelisk.engine.effects import AnswerKind
from obelisk.runtime import replaying
from obelisk.runtime.changes import ShuttingDown
from obelisk.runtime.replaying import Replays, ReplaysBusy
from obelisk.wasm.epochs import EpochTicker
from obelisk.wasm.guest import PoolIsFull

FLOWS = "testing:workflow/flows."
HOUR_MS = 3_600_000


@pytest.fixture
def patient(running: Callable[[str], Any], testing_components: Any) -> Any:
    """A runtime whose workflows may compute for as long as they like."""
    return running(
        f"""
        [[activity_wasm]]
        name = "acts"
        location = "{testing_components.activity}"

        [[workflow]]
        name = "flows"
        location = "{testing_components.workflow}"
        exec.cpu_budget.hours = 1
        """
    )


async def born_paused(running: Any, function: str, *params: Any) -> Any:
    """The snapshot of a workflow that has done nothing."""
    runtime = running.runtime
    name = FunctionName(FLOWS + function)
    execution_id = runtime.new_execution_id()
    canonical = runtime.catalogue.check_params(name, msgspec.json.encode(params))
    assert await runtime.submit(execution_id, name, canonical, {}, None, paused=True) is AnswerKind.CREATED
    return runtime.reader.snapshot(execution_id)


async def replayed(running: Any, snapshot: Any, calls_max: int = 100) -> Any:
    return await running.runtime.replay(snapshot, snapshot.state.component, calls_max, running.runtime.now())


def test_what_has_not_begun_is_run_as_far_as_wanted(flows: Any) -> None:
    async def scenario() -> None:
        snapshot = await born_paused(flows, "random", 2)
        some = await replayed(flows, snapshot, 4)
        assert [[type(write.event) for write in step] for step in some.new] == [[Persist]] * 4
        assert some.outcome is None
        whole = await replayed(flows, snapshot)
        assert len(whole.new) == 6
        assert isinstance(whole.outcome, Ok)
        again = await replayed(flows, snapshot)
        assert again == whole
        assert flows.runtime.reader.snapshot(snapshot.state.execution_id) == snapshot, "nothing is written"

    asyncio.run(scenario())


def test_what_runs_is_replayed_without_disturbing_it(flows: Any, clock: Any) -> None:
    async def scenario() -> None:
        execution_id = await flows.submit(FLOWS + "many-sleeps", 3, HOUR_MS)
        for slept in range(1, 4):
            await flows.asleep(execution_id, slept)
            for _ in range(2):
                found = await replayed(flows, flows.runtime.reader.snapshot(execution_id))
                assert found.divergence is None
            clock.put_forward(1, flows)
        result = await asyncio.wait_for(flows.result(execution_id), 60)
        assert bytes(result.outcome.value) == b"3"

    asyncio.run(scenario())


def test_one_that_computes_for_too_long_is_given_up(flows: Any) -> None:
    async def scenario() -> None:
        found = await replayed(flows, await born_paused(flows, "spin"))
        assert (found.gave_up, found.new, found.outcome) == (True, (), None)

    asyncio.run(scenario())


def test_slices_add_up_until_the_next_host_call(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        """Uses a millisecond of CPU whenever it may."""

        start = send = resume = lambda self, *answer: None

    now_ns = itertools.count(step=1_000_000)
    monkeypatch.setattr(replaying, "time", SimpleNamespace(thread_time_ns=lambda: next(now_ns)))
    guest = replaying._Watched(Slow(), 3_000_000, ())
    guest.start(Json(b"[]"))
    for _ in range(2):
        assert guest.may_go_on()
        guest.resume()
        assert guest.may_go_on()
        guest.resume()
        assert not guest.may_go_on()
        guest.send(DONE)


def test_one_that_nobody_waits_for_any_more_makes_room(patient: Any) -> None:
    async def scenario() -> None:
        endless, short = await born_paused(patient, "spin"), await born_paused(patient, "random", 1)
        tasks = [asyncio.create_task(replayed(patient, endless)) for _ in range(replaying.THREADS + 1)]
        await asyncio.sleep(0.2)
        for task in tasks:
            task.cancel()
        assert (await asyncio.wait_for(replayed(patient, short), 60)).outcome is not None
        assert all(task.cancelled() for task in tasks)

    asyncio.run(scenario())


def test_a_stop_gives_up_what_runs(patient: Any) -> None:
    async def scenario() -> None:
        endless = await born_paused(patient, "spin")
        tasks = [asyncio.create_task(replayed(patient, endless)) for _ in range(replaying.THREADS + 1)]
        await asyncio.sleep(0.2)
        begun = time.monotonic()
        patient.runtime.refuse_new_work()
        for task in tasks:
            with pytest.raises(ShuttingDown):
                await task
        assert time.monotonic() - begun < 50
        with pytest.raises(ShuttingDown):
            await replayed(patient, endless)

    asyncio.run(scenario())


def test_too_many_at_once_are_refused(patient: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(replaying, "WAITING_MAX", 1)
        endless, short = await born_paused(patient, "spin"), await born_paused(patient, "random", 1)
        task = asyncio.create_task(replayed(patient, endless))
        await asyncio.sleep(0.05)
        with pytest.raises(ReplaysBusy, match="1 replays are waiting"):
            await replayed(patient, short)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await replayed(patient, short)).outcome is not None

    asyncio.run(scenario())


def test_a_component_that_is_not_there(flows: Any) -> None:
    async def scenario() -> None:
        snapshot = await born_paused(flows, "random", 1)
        with pytest.raises(LookupError, match=r"is not loaded, or does not export testing:workflow/flows.random"):
            await flows.runtime.replay(snapshot, Digest("sha256:" + "0" * 64), 1, flows.runtime.now())

    asyncio.run(scenario())


def test_no_room_for_an_instance_means_busy(flows: Any) -> None:
    class Full:
        def __init__(self, deployed: Any) -> None:
            self.pinned, self.typed_params = deployed.pinned, deployed.typed_params

        def traceable(self, *args: Any) -> Any:
            return self, self

        def start(self, params: Json) -> Any:
            raise PoolIsFull("no room")

        def close(self) -> None:
            pass

    async def scenario() -> None:
        snapshot = await born_paused(flows, "random", 1)
        ticker: EpochTicker = flows.runtime._replays._ticker
        replays = Replays(Full(flows.runtime.catalogue), ticker)
        with pytest.raises(ReplaysBusy, match="no room for another workflow instance"):
            await replays.run(snapshot, snapshot.state.component, 1, flows.runtime.now())
        replays.stop()

    asyncio.run(scenario())


def test_components_by_kind(flows: Any) -> None:
    catalogue = flows.runtime.catalogue
    (workflow,) = catalogue.digests_of(FunctionKind.WORKFLOW)
    assert catalogue.pinned(workflow, FunctionName(FLOWS + "random")).kind is FunctionKind.WORKFLOW
    (activity,) = catalogue.digests_of(FunctionKind.ACTIVITY)
    assert activity != workflow
    assert catalogue.digests_of(FunctionKind.STUB) == ()


def test_only_schedules_and_functions_themselves_can_be_submitted(flows: Any) -> None:
    catalogue = flows.runtime.catalogue
    submittable = {
        name: catalogue.function(FunctionName(name)).submittable
        for name in (
            "testing:activity/acts.echo",
            "testing:activity-obelisk-schedule/acts.echo-schedule",
            "testing:activity-obelisk-ext/acts.echo-submit",
            "testing:activity-obelisk-ext/acts.echo-get",
            "testing:workflow-obelisk-schedule/flows.random-schedule",
        )
    }
    assert submittable == dict(zip(submittable, (True, True, False, False, True), strict=True))
