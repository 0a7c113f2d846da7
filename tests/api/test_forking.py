"""Forking, over the small engine, whose workflows are Python."""

import pytest
from obelisk_tests_small_engine import FIBO, FIBOA, OLD_DIGEST, START, WORKFLOW_DIGEST

from obelisk.api.errors import Conflict, InvalidArgument, NotFound, Overloaded, ReplayFailed
from obelisk.api.forking import Forked
from obelisk.core import calls
from obelisk.core.events import (
    CancellationRequested,
    Created,
    DelayRequested,
    Finished,
    JoinNext,
    JoinNextTry,
    JoinSetCreated,
    Origin,
    Parked,
    TryOutcome,
)
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import In
from obelisk.core.responses import DelayFinished
from obelisk.core.values import Failure, FailureKind, Json, Ok
from obelisk.engine.effects import Answer, AnswerKind

NOBODY = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYZ")
NEW = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFY0")


def finished(engine, **options):
    execution_id = engine.create(engine.new_execution_id(), FIBOA, b"[10,2]", **options)
    engine.fibo_run(execution_id)
    return execution_id


@pytest.mark.parametrize(("version", "effective"), [(None, 9), (9, 9), (8, 8), (5, 5), (3, 3), (1, 1)])
def test_a_fork_takes_over_what_is_wanted(run, version, effective):
    async def scenario(engine, service):
        origin = finished(engine)
        forked = await service.forking.fork(origin, version, NEW, paused=True)
        assert forked == Forked(NEW, effective, created=True)
        assert engine.forked == [(NEW, origin, effective, WORKFLOW_DIGEST, True)]

    run(scenario)


def test_a_fork_gets_a_fresh_id(run):
    async def scenario(engine, service):
        forked = await service.forking.fork(finished(engine))
        assert forked.execution_id.startswith("E_")
        assert engine.forked[0][0] == forked.execution_id

    run(scenario)


def test_a_derived_workflow_can_be_forked(run):
    async def scenario(engine, service):
        top = engine.create(engine.new_execution_id(), FIBOA, b"[10,1]")
        derived = engine.create(f"{top}.g:1_1", FIBOA, b"[10,1]")
        assert (await service.forking.fork(derived)).version == 1

    run(scenario)


def test_a_fork_runs_on_what_is_deployed_now_if_its_log_replays_there(run):
    async def scenario(engine, service):
        same = finished(engine, component=OLD_DIGEST)  # its calls are those of the new one
        await service.forking.fork(same)
        assert engine.forked[0][3] == WORKFLOW_DIGEST
        other = engine.create(engine.new_execution_id(), FIBOA, b"[10,2]", component=OLD_DIGEST)
        engine.lock(other)
        engine.call(other, 1, b"[11]")
        with pytest.raises(ReplayFailed) as caught:
            await service.forking.fork(other)
        assert str(caught.value) == (
            "replay failed: nondeterminism detected at version 3:\nparams: recorded [11], now [10]\n"
            f"{other} does not replay on {WORKFLOW_DIGEST} up to version 5: fork it at the version that is named above"
            " or an earlier one, or deploy a component that it replays on"
        )
        assert len(engine.forked) == 1
        assert (await service.forking.fork(other, 3)).version == 3

    run(scenario)


def test_how_the_origin_ended_does_not_matter(run):
    async def scenario(engine, service):
        origin = engine.create(engine.new_execution_id(), FIBOA, b"[10,1]")
        engine.lock(origin)
        engine.finish(engine.call(origin, 1), Ok(Json(b"55")))
        engine.append(origin, Finished(Failure(FailureKind.UNCATEGORIZED, "trap")))
        assert (await service.forking.fork(origin)).created
        parked = engine.create(engine.new_execution_id(), FIBOA, b"[10,1]")
        engine.append(parked, Parked("it took the process down"))
        assert (await service.forking.fork(parked)).version == 2

    run(scenario)


def test_what_the_platform_did_after_a_cancellation_is_not_forked(run):
    async def scenario(engine, service):
        origin = engine.create(engine.new_execution_id(), FIBOA, b"[10,1]")
        engine.lock(origin)
        child = engine.call(origin, 1)
        engine.append(origin, CancellationRequested())
        engine.finish(child, Failure(FailureKind.CANCELLED))
        engine.append(origin, Finished(Failure(FailureKind.CANCELLED)))
        assert (await service.forking.fork(origin)).version == 5
        with pytest.raises(InvalidArgument, match=r"version 6 of .* lies after .*, at version 5; .* one from 1 to 5"):
            await service.forking.fork(origin, 6)

    run(scenario)


@pytest.mark.parametrize("version", [0, -1, 10, 99])
def test_a_version_that_is_not_there(run, version):
    async def scenario(engine, service):
        origin = finished(engine)
        message = f"version {version} is no place in the log of {origin}, whose events have the versions 0 to 8: choose"
        with pytest.raises(InvalidArgument, match=message):
            await service.forking.fork(origin, version)
        assert engine.forked == []

    run(scenario)


def test_the_same_fork_again_is_fine_and_anything_else_under_its_id_a_conflict(run):
    async def scenario(engine, service):
        origin = finished(engine)
        engine.answers += [AnswerKind.EXISTS] * 3

        def exists(as_what):
            reader = engine.reader

            class Reader:
                def __getattr__(self, name):
                    return (lambda one: as_what) if name == "created" else getattr(reader, name)

            engine.reader = Reader()
            return reader

        state = engine.store.created(origin)
        fork = Created(state.ffqn, state.params, state.component, state.deployment, 0, forked_from=Origin(origin, 5, 0))
        reader = exists(fork)
        assert await service.forking.fork(origin, 5, NEW) == Forked(NEW, 5, created=False)
        with pytest.raises(Conflict, match=f"{NEW} exists already, and is a fork of {origin} at version 5"):
            await service.forking.fork(origin, 3, NEW)
        engine.reader = reader
        exists(state)
        with pytest.raises(Conflict, match=f"{NEW} exists already, and is no fork"):
            await service.forking.fork(origin, 5, NEW)

    run(scenario)


def tries_then_waits(execution_id, params):
    """A workflow that looks for a response before there can be one."""
    join_set = yield calls.JoinSetCreate()
    yield calls.JoinNextTry(join_set)
    yield calls.SubmitDelay(join_set, In(5))
    yield calls.JoinNext(join_set)
    return Ok(Json(b"1"))


@pytest.mark.parametrize("version", [2, 3, 4, 5, 6, 7])
def test_a_response_to_what_comes_after_the_cut_is_not_there_yet(run, version):
    async def scenario(engine, service):
        engine.flows[WORKFLOW_DIGEST, FIBOA] = tries_then_waits
        origin = engine.create(engine.new_execution_id(), FIBOA, b"[10,2]")
        engine.lock(origin)
        engine.append(
            origin,
            JoinSetCreated("g:1"),
            JoinNextTry("g:1", TryOutcome.ALL_PROCESSED),
            DelayRequested("g:1_1", In(5), START + 5),
            JoinNext("g:1", START),
        )
        engine.respond(origin, DelayFinished("g:1_1", ok=True))
        engine.finish(origin, Ok(Json(b"1")))
        assert (await service.forking.fork(origin, version)).version == version

    run(scenario)


def test_what_cannot_be_forked(run):
    async def scenario(engine, service):
        fork = service.forking.fork
        origin = finished(engine)
        activity = engine.create(engine.new_execution_id(), FIBO, b"[1]")
        with pytest.raises(NotFound, match=f"there is no execution {NOBODY}"):
            await fork(NOBODY)
        with pytest.raises(InvalidArgument, match=r"derived id; a fork is a top-level execution"):
            await fork(origin, None, ExecutionId(f"{NEW}.g:1_1"))
        with pytest.raises(InvalidArgument, match=r"only workflows can be forked; .* of an activity, submit it anew"):
            await fork(activity)
        engine.answers.append(Answer(0, AnswerKind.REFUSED, "it is elsewhere"))
        with pytest.raises(InvalidArgument, match=r"^it is elsewhere$"):
            await fork(origin)
        engine.is_full = True
        with pytest.raises(Overloaded):
            await fork(origin)
        engine.catalogue.undeploy(FIBOA)
        with pytest.raises(NotFound, match="function not found"):
            await fork(origin)

    run(scenario)
