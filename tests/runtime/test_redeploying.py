"""Other components take the place of the active ones while the process goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from obelisk.api.redeploying import Redeployment
from obelisk.api.service import Service
from obelisk.config import load
from obelisk.core.events import ComponentUpgraded, DelayRequested, JoinSetCreated
from obelisk.core.state import Lifecycle
from obelisk.runtime.changes import ShuttingDown
from obelisk.runtime.refusals import DeploymentRefused

FLOWS = "testing:workflow/flows."
HOUR_MS = 3_600_000
BEGINS = '"testing:workflow/flows#many-sleeps") (param $n i32) (param $ms i64) (result i32)\n    (local $slept i32)'
"""How `many-sleeps` begins in the text of the component."""


@pytest.fixture
def redeploy(flows: Any) -> Callable[[str, str], Redeployment]:
    """A function: old and new text in the configuration -> what the redeployment came to."""

    def change(old: str, new: str) -> Redeployment:
        path = flows.directory / "obelisk.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

        async def go() -> Redeployment:
            service = Service(flows.runtime)
            try:
                return await service.redeploying.redeploy(load(path, {}, flows.directory))
            finally:
                service.close()

        return asyncio.run(go())

    return change


@pytest.fixture
def noted(testing_components: Any, tmp_path: Path) -> Path:
    """The workflow component with one more custom section: another digest, the same behaviour."""
    path = tmp_path / "noted.wasm"
    path.write_bytes(testing_components.workflow.read_bytes() + b"\x00\x06\x04note!")
    return path


@pytest.fixture
def altered(fixture_module: Any, tmp_path: Path) -> Path:
    """A workflow component whose `many-sleeps` makes a join set first."""
    made = f"{BEGINS} (call $join_set_drop (call $join_set_create))"
    path: Path = fixture_module("features").variant(tmp_path / "altered", fixture_module("components"), {BEGINS: made})
    return path


def begun(flows: Any, function: str, *params: Any) -> Any:
    """The id of an execution that sleeps."""

    async def go() -> Any:
        execution_id = await flows.submit(FLOWS + function, *params)
        await flows.asleep(execution_id)
        return execution_id

    return asyncio.run(go())


def ended(flows: Any, execution_id: Any) -> Any:
    """How it ends."""
    return asyncio.run(asyncio.wait_for(flows.result(execution_id), 60)).outcome


def test_new_executions_are_on_the_new_component_and_open_ones_move_to_it(
    flows: Any, redeploy: Any, testing_components: Any, noted: Path, clock: Any
) -> None:
    waiting, done = begun(flows, "sleeper", HOUR_MS), flows.run_id(FLOWS + "named", "x")[0]
    before = flows.runtime.reader.state(waiting)
    found = redeploy(str(testing_components.workflow), str(noted))
    (replaced,) = found.replaced
    assert (replaced.name, replaced.old) == ("flows", before.component)
    assert (found.moved, found.stayed) == ([waiting], [])
    (upgraded,) = [entry.event for entry in flows.log(waiting) if isinstance(entry.event, ComponentUpgraded)]
    new, outcome = flows.run_id(FLOWS + "named", "new")
    assert outcome == ("ok", "n:new")
    after = flows.runtime.reader.state(new)
    assert (after.component, after.deployment) == (replaced.new, flows.runtime.catalogue.deployment_id)
    assert (upgraded.component, upgraded.deployment) == (after.component, after.deployment)
    assert after.deployment != before.deployment
    assert flows.runtime.reader.state(done).component == before.component
    clock.put_forward(1, flows)
    assert ended(flows, waiting).value
    assert flows.runtime.reader.state(waiting).component == replaced.new


def test_what_does_not_replay_on_the_new_component_goes_on_on_the_old_one(
    flows: Any, redeploy: Any, testing_components: Any, altered: Path, clock: Any
) -> None:
    asleep, not_begun = begun(flows, "many-sleeps", 2, HOUR_MS), begun(flows, "sleeper", HOUR_MS)
    old = flows.runtime.reader.state(asleep).component
    found = redeploy(str(testing_components.workflow), str(altered))
    assert found.moved == [not_begun]
    (stayed,) = found.stayed
    assert stayed.execution_id == asleep
    assert stayed.reason.startswith("replay failed: nondeterminism detected at version 2:")
    clock.put_forward(1, flows)
    asyncio.run(flows.asleep(asleep, 2))
    clock.put_forward(1, flows)
    assert ended(flows, asleep).value
    state = flows.runtime.reader.state(asleep)
    assert (state.component, state.lifecycle) == (old, Lifecycle.ACTIVE)
    kinds = [type(entry.event) for entry in flows.log(flows.run_id(FLOWS + "many-sleeps", 1, 1)[0])]
    assert kinds.index(JoinSetCreated) < kinds.index(DelayRequested)
    assert kinds.count(JoinSetCreated) == 2


def test_a_deployment_that_is_refused_changes_nothing(
    flows: Any, redeploy: Any, testing_components: Any, tmp_path: Path
) -> None:
    deployment, views = flows.runtime.catalogue.deployment_id, flows.runtime.catalogue.components()
    broken = tmp_path / "broken.wasm"
    broken.write_bytes(b"nothing")
    with pytest.raises(DeploymentRefused, match="workflow flows"):
        redeploy(str(testing_components.workflow), str(broken))
    assert flows.runtime.catalogue.deployment_id == deployment
    assert flows.runtime.catalogue.components() == views
    assert flows.run(FLOWS + "named", "x") == ("ok", "n:x")


def test_components_come_and_go(flows: Any, redeploy: Any, testing_components: Any) -> None:
    found = redeploy('name = "acts"', 'name = "deeds"')
    assert {(each.name, each.old is None, each.new is None) for each in found.replaced} == {
        ("acts", False, True),
        ("deeds", True, False),
    }
    assert [view.name for view in flows.runtime.catalogue.components()] == ["deeds", "flows"]
    assert redeploy('name = "deeds"', 'name = "deeds"').replaced == []


def test_settings_of_a_component_that_stays_the_same_take_effect(flows: Any, redeploy: Any) -> None:
    function = FLOWS + "named"
    assert flows.runtime.catalogue.active(function).policy.cpu_budget_us == 30_000
    assert redeploy("exec.cpu_budget.milliseconds = 30", "exec.cpu_budget.milliseconds = 31").replaced == []
    assert flows.runtime.catalogue.active(function).policy.cpu_budget_us == 31_000


def test_all_of_it_is_there_after_a_restart(
    flows: Any, redeploy: Any, testing_components: Any, noted: Path, clock: Any
) -> None:
    asleep = begun(flows, "many-sleeps", 1, HOUR_MS)
    redeploy(str(testing_components.workflow), str(noted))
    component = flows.runtime.reader.state(asleep).component
    deployment = flows.runtime.catalogue.deployment_id
    flows.stop()
    again = type(flows)(flows.directory, (flows.directory / "obelisk.toml").read_text())
    flows.runtime, flows.failure = again.runtime, again.failure
    assert flows.runtime.catalogue.deployment_id == deployment
    clock.put_forward(1, flows)
    assert ended(flows, asleep).value
    assert flows.runtime.reader.state(asleep).component == component


def test_a_stopped_runtime_is_not_redeployed(flows: Any) -> None:
    flows.runtime.refuse_new_work()
    config = load(flows.directory / "obelisk.toml", {}, flows.directory)
    with pytest.raises(ShuttingDown):
        asyncio.run(flows.runtime.redeploy(config))
