"""A clean stop and a new start: what was open goes on, on the component that it began with."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from obelisk.core.batch import CancelRequest
from obelisk.core.events import Locked, Parked, kind_of
from obelisk.core.ids import Digest, ExecutionId
from obelisk.core.state import Lifecycle
from obelisk.core.values import Ok
from obelisk.runtime.driver import Driver
from obelisk.runtime.marks import Marks
from obelisk.store.sqlite.store import WAL_BYTES_MAX
from obelisk.store.sqlite.wal import Wal

FLOWS = "testing:workflow/flows."
HOUR_MS = 3_600_000


def restarted(running: Any, toml: Callable[[str], str] = lambda text: text) -> None:
    """Stops and starts `running` in place, on a configuration that `toml` made of the old one."""
    running.stop()
    again = type(running)(running.directory, toml((running.directory / "obelisk.toml").read_text()))
    running.runtime, running.failure = again.runtime, again.failure


def test_a_sleeping_workflow_goes_on_with_one_more_lock(flows: Any, clock: Any) -> None:
    budget = "exec.cpu_budget.milliseconds = 30"  # of the workflow; its lock must not expire meanwhile
    restarted(flows, lambda toml: toml.replace(budget, f"{budget}\nexec.lock_expiry.hours = 9"))

    async def begin() -> str:
        execution_id: str = await flows.submit(FLOWS + "many-sleeps", 3, HOUR_MS)
        await flows.asleep(execution_id)
        return execution_id

    execution_id = asyncio.run(begin())
    restarted(flows)
    for slept in range(1, 4):
        asyncio.run(flows.asleep(execution_id, slept))
        clock.put_forward(1, flows)
    result = asyncio.run(asyncio.wait_for(flows.result(execution_id), 60))
    assert bytes(result.outcome.value) == b"3"
    kinds = [kind_of(entry.event) for entry in flows.log(execution_id)]
    triple = ["join_set_create", "delay_request", "join_next"]
    assert [kind for kind in kinds if kind != "locked"] == ["created", *triple * 3, "finished"]
    assert kinds.count("locked") == 2


def test_an_attempt_that_a_stop_interrupts_is_unlocked_and_starts_again(flows: Any) -> None:
    restarted(flows, lambda toml: toml.replace("exec.lock_expiry.milliseconds = 300", "exec.lock_expiry.hours = 1"))

    async def locked(execution_id: str, times: int) -> None:
        while sum(isinstance(entry.event, Locked) for entry in flows.log(execution_id)) < times:
            await asyncio.sleep(0.005)

    async def begin() -> str:
        execution_id: str = await flows.submit("testing:activity/acts.spin")
        await locked(execution_id, 1)
        await asyncio.sleep(0.05)
        return execution_id

    async def end() -> None:
        await locked(execution_id, 2)
        await flows.runtime.operate(execution_id, CancelRequest())
        await flows.result(execution_id)

    execution_id = asyncio.run(begin())
    restarted(flows)
    asyncio.run(asyncio.wait_for(end(), 60))
    kinds = [kind_of(entry.event) for entry in flows.log(execution_id)]
    assert kinds[:4] == ["created", "locked", "unlocked", "locked"]
    assert flows.runtime.reader.state(execution_id).crashes == 0


@pytest.fixture
def changed_component(testing_components: Any, tmp_path: Path) -> Path:
    """The workflow component with one more custom section: another digest, the same behaviour."""
    path = tmp_path / "changed.wasm"
    path.write_bytes(testing_components.workflow.read_bytes() + b"\x00\x06\x04note!")
    return path


def test_an_open_execution_keeps_its_component(
    flows: Any, testing_components: Any, changed_component: Path, clock: Any
) -> None:
    async def begin() -> str:
        execution_id: str = await flows.submit(FLOWS + "sleeper", HOUR_MS)
        await flows.asleep(execution_id)
        return execution_id

    execution_id = asyncio.run(begin())
    before = flows.runtime.reader.state(execution_id).component
    restarted(flows, lambda toml: toml.replace(str(testing_components.workflow), str(changed_component)))
    assert [view.digest for view in flows.runtime.catalogue.components()][1] != before
    clock.put_forward(1, flows)
    result = asyncio.run(asyncio.wait_for(flows.result(execution_id), 60))
    assert kind_of(flows.log(execution_id)[-1].event) == "finished"
    assert result.outcome.value
    assert flows.runtime.reader.state(execution_id).component == before
    assert flows.run(FLOWS + "named", "new") == ("ok", "n:new")


def test_the_wit_is_that_of_the_component_that_was_loaded(
    running: Callable[[str], Any], testing_components: Any, fibo_components: Any, tmp_path: Path
) -> None:
    """Also when something else lies in its place by now."""
    file = tmp_path / "acts.wasm"
    shutil.copy(testing_components.activity, file)
    runtime = running(f'[[activity_wasm]]\nname = "acts"\nlocation = "{file}"').runtime
    (view,) = runtime.catalogue.components()
    shutil.copy(fibo_components.activity, file)
    for _ in range(2):  # made, then kept
        text = runtime.wit(view.digest)
        assert text.startswith("package root:component;")
        assert "package testing:activity {" in text
    assert runtime.wit(Digest("sha256:" + "0" * 64)) is None


def test_an_open_execution_keeps_its_component_and_its_settings_when_the_file_is_replaced(
    running: Callable[[str], Any], testing_components: Any, changed_component: Path, tmp_path: Path, clock: Any
) -> None:
    """Also when its table changes at the same time, and when its code is not compiled any more."""
    acts, flows_file = tmp_path / "acts.wasm", tmp_path / "flows.wasm"
    shutil.copy(testing_components.activity, acts)
    shutil.copy(testing_components.workflow, flows_file)
    flows = running(
        f"""
        [[activity_wasm]]
        name = "acts"
        location = "{acts}"
        [[workflow]]
        name = "flows"
        location = "{flows_file}"
        exec.cpu_budget.seconds = 7
        """
    )

    async def begin() -> str:
        execution_id: str = await flows.submit(FLOWS + "sleeper", HOUR_MS)
        await flows.asleep(execution_id)
        return execution_id

    execution_id = asyncio.run(begin())
    before = flows.runtime.catalogue.active(FLOWS + "sleeper")
    shutil.copy(changed_component, flows_file)
    shutil.rmtree(tmp_path / "code")
    restarted(flows, lambda toml: toml.replace("exec.cpu_budget.seconds = 7", "exec.cpu_budget.seconds = 8"))
    after = flows.runtime.catalogue.active(FLOWS + "sleeper")
    assert after.component != before.component
    assert (before.policy.cpu_budget_us, after.policy.cpu_budget_us) == (7_000_000, 8_000_000)
    assert flows.runtime.catalogue.pinned(before.component, FLOWS + "sleeper") == before
    clock.put_forward(1, flows)
    result = asyncio.run(asyncio.wait_for(flows.result(execution_id), 60))
    assert isinstance(result.outcome, Ok)
    assert flows.runtime.reader.state(execution_id).component == before.component


def test_without_its_component_an_execution_is_parked_and_goes_nowhere(
    flows: Any, testing_components: Any, changed_component: Path, clock: Any
) -> None:
    async def begin() -> str:
        execution_id: str = await flows.submit(FLOWS + "sleeper", HOUR_MS)
        await flows.asleep(execution_id)
        return execution_id

    execution_id = asyncio.run(begin())
    for copy in (flows.directory / "db" / "components").glob("workflow_*"):
        copy.unlink()
    restarted(flows, lambda toml: toml.replace(str(testing_components.workflow), str(changed_component)))

    async def parked() -> None:
        while flows.runtime.reader.state(execution_id).lifecycle is not Lifecycle.PARKED:
            await asyncio.sleep(0.005)

    asyncio.run(asyncio.wait_for(parked(), 60))
    clock.put_forward(1, flows)
    assert flows.run(FLOWS + "named", "x") == ("ok", "n:x")  # the delay was over before
    last = flows.log(execution_id)[-1].event
    assert isinstance(last, Parked)
    assert "is not loaded" in last.reason
    assert not any(isinstance(entry.event, Locked) for entry in flows.log(execution_id)[2:])
    assert flows.runtime.reader.result(execution_id) is None


def test_what_left_nothing_but_a_mark_runs_when_its_lock_is_durable(
    flows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workflow in a later tick than the one that locks it, an activity once nothing is under way."""
    waits: list[int] = []
    wait = Driver.wait_for_commit
    monkeypatch.setattr(Driver, "wait_for_commit", lambda driver: waits.append(1) or wait(driver))
    suspect, other = flows.runtime.new_execution_id(), flows.runtime.new_execution_id()
    flows.stop()
    with closing(Marks(flows.directory / "db" / "obelisk.running")) as marks:
        marks.set(suspect)
        marks.set(ExecutionId(f"{suspect}.o:1-fail_1"))
    again = type(flows)(flows.directory, (flows.directory / "obelisk.toml").read_text())
    flows.runtime, flows.failure = again.runtime, again.failure

    async def run(execution_id: ExecutionId) -> None:
        await flows.submit(FLOWS + "calls-fail", 3, execution_id=execution_id)
        await asyncio.wait_for(flows.result(execution_id), 60)

    ticks, waited = [], []
    for execution_id in (suspect, other):
        asyncio.run(run(execution_id))
        _, locked, first, *_ = flows.log(execution_id)
        ticks.append(locked.created_at < first.created_at)
        waited.append(len(waits))
        waits.clear()
    assert ticks == [True, False]
    assert waited[0] > 2 and waited[1] == 0  # for each poll of the guest, and for each of two attempts


def test_a_log_has_its_room_when_a_start_is_over(
    running: Callable[[str], Any], fibo_components: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Wal.make_room

    def slow(log: Wal) -> None:
        time.sleep(0.1)
        make(log)

    monkeypatch.setattr(Wal, "make_room", slow)
    directory = running(f'[[activity_wasm]]\nname = "fibo"\nlocation = "{fibo_components.activity}"').directory
    assert (directory / "db" / "obelisk.sqlite-wal").stat().st_size == WAL_BYTES_MAX
