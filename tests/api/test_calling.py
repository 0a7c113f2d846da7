"""Calls: submitted and waited for, over the small engine."""

import asyncio

import pytest
from obelisk_tests_small_engine import FIBOA

from obelisk.api.errors import Conflict, InvalidArgument, Stopping
from obelisk.api.submitting import Submitted
from obelisk.core.values import Err, Json, Ok


async def until(fact):
    while not fact():
        await asyncio.sleep(0.001)


async def begun(engine, service):
    """A call whose execution is there, and its id."""
    execution_id = service.submitting.new_id()
    call = asyncio.ensure_future(service.calling.call(execution_id, FIBOA, b"[10,1]", metadata={"a": "b"}))
    await until(lambda: engine.store.created(execution_id) is not None)
    return call, execution_id


def test_a_call_returns_with_the_end_and_its_result(run):
    async def scenario(engine, service):
        call, execution_id = await begun(engine, service)
        assert engine.store.created(execution_id).metadata == {"a": "b"}
        engine.lock(execution_id)
        child = engine.call(execution_id, 1)
        engine.finish(child, Ok(Json(b"55")))
        await asyncio.sleep(0.05)
        assert not call.done(), "nothing but its own end ends it"
        engine.finish(execution_id, Err(Json(b"56")))
        submitted, execution = await call
        assert submitted is Submitted.CREATED
        assert execution.state.execution_id == execution_id and execution.is_finished
        assert execution.result.final.outcome == Err(Json(b"56"))
        assert engine.changes.watchers == 0

    run(scenario)


def test_the_same_again_waits_for_the_same_execution(run):
    async def scenario(engine, service):
        execution_id = service.submitting.new_id()
        calls = [asyncio.ensure_future(service.calling.call(execution_id, FIBOA, b"[10,1]")) for _ in range(3)]
        await until(lambda: engine.changes.watchers == 3 and engine.store.created(execution_id) is not None)
        engine.lock(execution_id)
        engine.finish(execution_id, Ok(Json(b"55")))
        calls.append(asyncio.ensure_future(service.calling.call(execution_id, FIBOA, b"[10, 1]")))  # it has finished
        answers = await asyncio.gather(*calls)
        assert [submitted for submitted, _ in answers] == [Submitted.CREATED, *[Submitted.EXISTS] * 3]
        assert all(execution.result.final.outcome == Ok(Json(b"55")) for _, execution in answers)
        with pytest.raises(Conflict):
            await service.calling.call(execution_id, FIBOA, b"[10,2]")

    run(scenario)


def test_an_end_of_which_only_the_fact_is_told_is_read(run):
    async def scenario(engine, service):
        call, execution_id = await begun(engine, service)
        engine.changes.tell = lambda change: engine.changes.publish((change.state.execution_id,), ended=True)
        engine.finish(execution_id, Ok(Json(b"55")))
        _, execution = await call
        assert execution.result.final.outcome == Ok(Json(b"55"))

    run(scenario)


def test_an_end_that_comes_before_the_answer_to_the_submission_is_not_missed(run):
    async def scenario(engine, service):
        submit = engine.submit

        async def submit_and_finish(execution_id, *others, **more):
            answer = await submit(execution_id, *others, **more)
            engine.lock(execution_id)
            engine.finish(execution_id, Ok(Json(b"55")))
            return answer

        engine.submit = submit_and_finish
        _, execution = await service.calling.call(service.submitting.new_id(), FIBOA, b"[10,1]")
        assert execution.result.final.outcome == Ok(Json(b"55"))

    run(scenario)


def test_one_who_leaves_leaves_the_execution_alone(run):
    async def scenario(engine, service):
        call, execution_id = await begun(engine, service)
        call.cancel()
        await until(lambda: engine.changes.watchers == 0)
        assert not (await service.executions.get(execution_id)).is_finished

    run(scenario)


def test_what_cannot_be_submitted_is_not_waited_for(run):
    async def scenario(engine, service):
        with pytest.raises(InvalidArgument):
            await service.calling.call(service.submitting.new_id(), FIBOA, b"[10]")
        assert engine.changes.watchers == 0

    run(scenario)


def test_when_the_server_stops_nobody_waits_on(run):
    async def scenario(engine, service):
        call, _ = await begun(engine, service)
        engine.stop()
        with pytest.raises(Stopping):
            await call
        with pytest.raises(Stopping):
            await service.calling.call(service.submitting.new_id(), FIBOA, b"[10,1]")

    run(scenario)
