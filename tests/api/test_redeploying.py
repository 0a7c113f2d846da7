"""Redeploying, over the small engine: which executions move."""

import pytest
from obelisk_tests_small_engine import FIBOA, OLD_DIGEST, WORKFLOW_DIGEST

from obelisk.api.errors import Moved, Overloaded, Stopping
from obelisk.api.redeploying import Redeployment, Stayed
from obelisk.core.batch import UpgradeRequest
from obelisk.core.ids import Digest
from obelisk.core.ports import FunctionKind
from obelisk.engine.effects import AnswerKind
from obelisk.runtime.redeploying import Replaced

REPLACED = Replaced("myworkflow", FunctionKind.WORKFLOW, OLD_DIGEST, WORKFLOW_DIGEST)


def on_old(engine, iterations=2):
    return engine.create(engine.new_execution_id(), FIBOA, b"[10,%d]" % iterations, component=OLD_DIGEST)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5])
def test_every_open_execution_on_the_replaced_component_moves(run, monkeypatch, count):
    monkeypatch.setattr("obelisk.api.redeploying._PAGE", 2)

    async def scenario(engine, service):
        opened = [on_old(engine) for _ in range(count)]
        engine.fibo_run(on_old(engine), 2)
        engine.create(engine.new_execution_id(), FIBOA, b"[10,2]")
        engine.replaced = [REPLACED, Replaced("fresh", FunctionKind.ACTIVITY, None, WORKFLOW_DIGEST)]
        found = await service.redeploying.redeploy(None)
        assert found == Redeployment(engine.replaced, opened[::-1], [])
        assert [execution_id for execution_id, _ in engine.operated] == opened[::-1]
        assert all(body == UpgradeRequest(WORKFLOW_DIGEST, 1) for _, body in engine.operated)

    run(scenario)


def test_one_that_cannot_move_stays_and_says_why(run):
    async def scenario(engine, service):
        first, second, third = (on_old(engine) for _ in range(3))
        engine.replaced = [REPLACED]
        engine.answers += [AnswerKind.DONE, AnswerKind.CONFLICT, AnswerKind.ALREADY]
        found = await service.redeploying.redeploy(None)
        assert found.moved == [third]
        assert found.stayed == [Stayed(second, "cannot upgrade: conflict")]
        assert first not in found.moved

    run(scenario)


def test_one_that_stayed_before_moves_to_a_later_component(run):
    async def scenario(engine, service):
        stayed = on_old(engine)
        between = Digest("sha256:" + "5" * 64)
        engine.replaced = [Replaced("myworkflow", FunctionKind.WORKFLOW, between, WORKFLOW_DIGEST)]
        found = await service.redeploying.redeploy(None)
        assert found == Redeployment(engine.replaced, [stayed], [])

    run(scenario)


def test_what_was_open_when_the_process_began_moves_when_it_is_asked_for(run):
    async def scenario(engine, service):
        opened = on_old(engine)
        assert await service.redeploying.redeploy(None) == Redeployment([], [], [])
        assert await service.redeploying.move() == Redeployment([], [opened], [])

    run(scenario)


def test_one_that_finishes_meanwhile_is_not_told(run):
    async def scenario(engine, service):
        first, second = (on_old(engine) for _ in range(2))
        engine.replaced = [REPLACED]
        engine.answers += [AnswerKind.FINISHED, AnswerKind.DONE]
        found = await service.redeploying.redeploy(None)
        assert second not in found.moved
        assert found == Redeployment([REPLACED], [first], [])

    run(scenario)


@pytest.mark.parametrize("error", [Moved("it went away"), Overloaded("too much is waiting")])
def test_one_that_cannot_move_right_now_keeps_no_other_one(run, monkeypatch, error):
    async def scenario(engine, service):
        first, second = (on_old(engine) for _ in range(2))
        engine.replaced = [REPLACED]
        upgrade = service.replaying.upgrade

        async def busy(execution_id, **options):
            if execution_id == second:
                raise error
            return await upgrade(execution_id, **options)

        monkeypatch.setattr(service.replaying, "upgrade", busy)
        found = await service.redeploying.redeploy(None)
        assert found == Redeployment([REPLACED], [first], [Stayed(second, str(error))])

    run(scenario)


def test_a_server_that_stops_is_not_redeployed(run):
    async def scenario(engine, service):
        engine.is_stopping = True
        with pytest.raises(Stopping):
            await service.redeploying.redeploy(None)

    run(scenario)
