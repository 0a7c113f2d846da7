"""Replaying, advancing and upgrading, over the small engine, whose workflows are Python."""

import msgspec
import pytest
from obelisk_tests_small_engine import APPROVE, FIBO, FIBOA, OLD_DIGEST, START, WORKFLOW_DIGEST

from obelisk.api.errors import InvalidArgument, NotFound, NotReady, Overloaded, ReplayFailed, Stopping
from obelisk.api.ports import ReplaysBusy
from obelisk.api.replaying import LOOKS_MAX, STEPS_MAX
from obelisk.api.views import Advanced, Mismatch
from obelisk.core import calls
from obelisk.core.batch import AdvanceRequest, UpgradeRequest
from obelisk.core.events import (
    CancellationRequested,
    ChildRequested,
    DelayRequested,
    Finished,
    JoinNext,
    JoinSetCreated,
    Parked,
    Paused,
    Persist,
    PersistRandomU64,
    Stubbed,
    Unlocked,
)
from obelisk.core.ids import Digest, ExecutionId
from obelisk.core.instants import In
from obelisk.core.ports import FunctionKind
from obelisk.core.replay import Replayed
from obelisk.core.values import Err, Failure, FailureKind, Json, Ok
from obelisk.engine.effects import Answer, AnswerKind

NOBODY = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYZ")
GONE = Digest("sha256:" + "f" * 64)


def created(engine, iterations=2, **options):
    return engine.create(engine.new_execution_id(), FIBOA, b"[10,%d]" % iterations, **options)


def paused(engine, iterations=2):
    execution_id = created(engine, iterations)
    engine.append(execution_id, Paused())
    return execution_id


def finished(engine, iterations=2, **options):
    execution_id = created(engine, iterations, **options)
    engine.fibo_run(execution_id, iterations)
    return execution_id


# --- replay ----------------------------------------------------------------------------------------------------------


def test_what_has_not_begun_shows_what_it_would_do(run):
    async def scenario(engine, service):
        replay = await service.replaying.replay(created(engine))
        (step,) = replay.steps
        assert [type(write.event) for write in step] == [JoinSetCreated, ChildRequested, JoinNext]
        assert (replay.end, replay.problem, replay.stub, replay.is_finished) == (None, "", None, False)
        assert (replay.component, replay.next_version, replay.at) == (WORKFLOW_DIGEST, 1, START)

    run(scenario)


def test_a_replay_is_made_as_if_it_were_another_time(run):
    def sleeps(execution_id, params):
        yield calls.Sleep(In(3))

    async def scenario(engine, service):
        engine.flows[WORKFLOW_DIGEST, FIBOA] = sleeps
        execution_id = created(engine)

        async def ends(**options):
            replay = await service.replaying.replay(execution_id, **options)
            (delay,) = [
                write.event for step in replay.steps for write in step if isinstance(write.event, DelayRequested)
            ]
            return replay.at, delay.expires_at

        assert await ends(at=START + 5) == (START + 5, START + 8)
        engine.advance(7)
        assert await ends(at=START + 5) == (START + 5, START + 8)
        assert await ends() == (START + 7, START + 10)

    run(scenario)


def test_what_waits_shows_nothing(run):
    async def scenario(engine, service):
        execution_id = created(engine)
        engine.lock(execution_id)
        engine.call(execution_id, 1)
        replay = await service.replaying.replay(execution_id)
        assert (replay.steps, replay.end, replay.problem) == ((), None, "")

    run(scenario)


def test_what_is_about_to_end_shows_its_end(run):
    async def scenario(engine, service):
        execution_id = created(engine, 1)
        engine.lock(execution_id)
        engine.finish(engine.call(execution_id, 1), Ok(Json(b"55")))
        replay = await service.replaying.replay(execution_id)
        assert (replay.steps, replay.end, replay.is_finished) == ((), Ok(Json(b"55")), False)

    run(scenario)


def test_what_has_finished_replays_to_its_end(run):
    async def scenario(engine, service):
        replay = await service.replaying.replay(finished(engine))
        assert (replay.steps, replay.end, replay.problem) == ((), Ok(Json(b"55")), "")
        assert replay.is_finished

    run(scenario)


def test_a_replay_goes_on_for_as_many_steps_as_wanted(run):
    def restless(execution_id, params):
        while True:
            yield calls.RandomU64(1, 6)

    async def scenario(engine, service):
        engine.flows[WORKFLOW_DIGEST, FIBOA] = restless
        execution_id = created(engine)
        replay = await service.replaying.replay(execution_id, steps_max=3)
        assert [[type(write.event) for write in step] for step in replay.steps] == [[Persist]] * 3
        assert len((await service.replaying.replay(execution_id)).steps) == STEPS_MAX

    run(scenario)


def test_a_log_that_does_not_replay_is_told_field_by_field(run):
    async def scenario(engine, service):
        replay = await service.replaying.replay(finished(engine, component=OLD_DIGEST))
        assert replay.problem == "nondeterminism detected at version 3:\nparams: recorded [10], now [11]"
        assert replay.component == OLD_DIGEST

    run(scenario)


def ends(outcome):
    def flow(execution_id, params):
        yield calls.CallChild(FIBO, Json(b"[10]"))
        return outcome

    return flow


def goes_on(execution_id, params):
    for _ in range(2):
        yield calls.CallChild(FIBO, Json(b"[10]"))
    return Ok()


@pytest.mark.parametrize(
    ("flow", "recorded", "problem"),
    [
        (ends(Ok(Json(b"55"))), Ok(Json(b"55")), ""),
        (ends(Ok(Json(b"56"))), Ok(Json(b"55")), "the log ends here: recorded ok 55, now ok 56"),
        (ends(Err()), Ok(Json(b"55")), "the log ends here: recorded ok 55, now err"),
        (
            ends(Ok(Json(b"55"))),
            Failure(FailureKind.UNCATEGORIZED, "trap"),
            "the log ends here: recorded failure (uncategorized), now ok 55",
        ),
        (goes_on, Ok(Json(b"55")), "the log ends here, now the workflow goes on with join_set_create"),
    ],
)
def test_another_end_than_the_recorded_one_is_a_problem_too(run, flow, recorded, problem):
    async def scenario(engine, service):
        engine.flows[WORKFLOW_DIGEST, FIBOA] = flow
        execution_id = created(engine, 1)
        engine.lock(execution_id)
        engine.finish(engine.call(execution_id, 1), Ok(Json(b"55")))
        engine.append(execution_id, Finished(recorded))
        replay = await service.replaying.replay(execution_id)
        assert replay.problem == (problem and f"nondeterminism detected at version 5:\n{problem}")
        assert (replay.end, replay.steps) == (recorded, ())

    run(scenario)


def test_what_was_cancelled_replays_as_far_as_it_went_by_itself(run):
    async def scenario(engine, service):
        execution_id = created(engine, 1)
        engine.lock(execution_id)
        child = engine.call(execution_id, 1)
        engine.append(execution_id, CancellationRequested())
        engine.finish(child, Failure(FailureKind.CANCELLED))
        engine.append(execution_id, Finished(Failure(FailureKind.CANCELLED)))
        replay = await service.replaying.replay(execution_id)
        assert (replay.end, replay.problem) == (Failure(FailureKind.CANCELLED), "")

    run(scenario)


def test_a_workflow_that_computes_for_too_long(run):
    async def scenario(engine, service):
        async def gave_up(*args):
            return Replayed(gave_up=True)

        engine.replay = gave_up
        replay = await service.replaying.replay(created(engine))
        assert replay.problem == (
            "the workflow computed for more than 10000 ms between two host calls (exec.cpu_budget), or called"
            " the host again and again without leaving a trace"
        )
        ended_so = created(engine)
        engine.append(ended_so, Finished(Failure(FailureKind.OUT_OF_FUEL)))
        assert (await service.replaying.replay(ended_so)).problem == ""
        ended_else = created(engine)
        engine.append(ended_else, Finished(Failure(FailureKind.CANCELLED)))
        assert "computed for more than" in (await service.replaying.replay(ended_else)).problem

    run(scenario)


def test_what_ran_on_a_component_that_is_gone_replays_on_what_is_deployed(run):
    async def scenario(engine, service):
        execution_id = finished(engine, component=GONE)
        replay = await service.replaying.replay(execution_id)
        assert (replay.component, replay.problem) == (WORKFLOW_DIGEST, "")
        engine.catalogue.undeploy(FIBOA)
        with pytest.raises(NotFound, match=f"function not found: no deployed component exports {FIBOA}"):
            await service.replaying.replay(execution_id)

    run(scenario)


def test_too_many_replays_mean_try_again(run):
    async def busy(*arguments):
        raise ReplaysBusy("3 replays are waiting")

    async def scenario(engine, service):
        engine.replay = busy
        with pytest.raises(Overloaded, match=r"^3 replays are waiting; try again later$"):
            await service.replaying.replay(created(engine))

    run(scenario)


def test_only_workflows_that_there_are_replay(run):
    async def scenario(engine, service):
        with pytest.raises(NotFound, match=f"there is no execution {NOBODY}"):
            await service.replaying.replay(NOBODY)
        activity = engine.create(engine.new_execution_id(), FIBO, b"[1]")
        with pytest.raises(InvalidArgument, match=f"only workflows replay; {activity} is an execution of an activity"):
            await service.replaying.replay(activity)
        engine.is_full = True
        with pytest.raises(Overloaded):
            await service.replaying.replay(created(engine))
        engine.is_stopping = True
        with pytest.raises(Stopping):
            await service.replaying.replay(created(engine))

    run(scenario)


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_step_that_gives_a_result_says_which_and_to_whom(run, as_json, ended):
    async def scenario(engine, service):
        engine.catalogue.deploy_stubs()
        execution_id = created(engine)
        engine.lock(execution_id)
        stub = engine.call(execution_id, 1, b'["x"]', APPROVE)
        if ended:
            engine.finish(stub, Ok(Json(b"false")))

        def gives(own_id, params):
            if as_json:
                yield calls.StubJson(stub, Json(b'{"ok":true}'))
            yield calls.Stub(stub, APPROVE, Ok(Json(b"true")))

        engine.flows[WORKFLOW_DIGEST, FIBOA] = gives
        replay = await service.replaying.replay(created(engine))
        ((write,),) = replay.steps
        assert isinstance(write.event, Stubbed)
        assert (replay.stub.outcome, replay.stub.version) == (Ok(Json(b"true")), 1)
        assert replay.stub.function.ok_type == "bool"

    run(scenario)


@pytest.mark.parametrize("result", [b'{"ok":1}', b"{"])
def test_a_step_that_gives_what_nobody_takes(run, result):
    async def scenario(engine, service):
        engine.catalogue.deploy_stubs()
        top = created(engine)
        engine.lock(top)
        stub = engine.call(top, 1, b'["x"]', APPROVE)

        def gives(execution_id, params):
            yield calls.StubJson(stub, Json(result))

        engine.flows[WORKFLOW_DIGEST, FIBOA] = gives
        assert (await service.replaying.replay(created(engine))).stub is None
        stub = f"{top}.g:7_1"
        assert (await service.replaying.replay(created(engine))).stub is None

    run(scenario)


# --- advance ---------------------------------------------------------------------------------------------------------


def test_advancing_asks_the_engine_and_tells_where_it_stands_then(run):
    async def scenario(engine, service):
        execution_id = paused(engine)
        engine.on_operate = lambda who, body: engine.append(who, Persist(PersistRandomU64(1, 6), Json(b"4")))
        advanced = await service.replaying.advance(execution_id, 2, 3, pause_children=True)
        assert isinstance(advanced, Advanced)
        assert (advanced.execution.state.next_version, advanced.execution.result) == (3, None)
        assert engine.operated == [(execution_id, AdvanceRequest(2, 3, pause_children=True))]

    run(scenario)


def test_advancing_to_the_end_tells_the_result(run):
    async def scenario(engine, service):
        execution_id = paused(engine)
        engine.on_operate = lambda who, body: engine.append(who, Finished(Ok(Json(b"55"))))
        advanced = await service.replaying.advance(execution_id, 2, 1)
        assert advanced.execution.result.final.outcome == Ok(Json(b"55"))

    run(scenario)


def test_advancing_what_went_on_since_it_was_looked_at(run):
    async def scenario(engine, service):
        execution_id = paused(engine)
        assert await service.replaying.advance(execution_id, 1, 1) == Mismatch(2)
        assert engine.operated == []
        engine.answers.append(AnswerKind.OUTDATED)
        assert await service.replaying.advance(execution_id, 2, 1) == Mismatch(2)

    run(scenario)


def test_as_many_steps_as_a_replay_shows_can_be_advanced_at_once(run):
    async def scenario(engine, service):
        execution_id = paused(engine)
        assert isinstance(await service.replaying.advance(execution_id, 2, STEPS_MAX), Advanced)
        assert engine.operated == [(execution_id, AdvanceRequest(2, STEPS_MAX))]

    run(scenario)


def test_what_cannot_be_advanced(run):
    async def scenario(engine, service):
        advance = service.replaying.advance
        execution_id = paused(engine)
        with pytest.raises(NotReady, match="nothing to advance by"):
            await advance(execution_id, 2, 0)
        with pytest.raises(InvalidArgument, match=f"{STEPS_MAX + 1} steps are too many at once"):
            await advance(execution_id, 2, STEPS_MAX + 1)
        with pytest.raises(InvalidArgument, match="cannot advance, execution is not paused; pause it first"):
            await advance(created(engine), 1, 1)
        with pytest.raises(InvalidArgument, match="cannot advance, execution has finished"):
            await advance(finished(engine), 9, 1)
        with pytest.raises(NotFound):
            await advance(NOBODY, 1, 1)
        assert engine.operated == []
        for answer, error, message in [
            (Answer(0, AnswerKind.REFUSED, "cannot advance, it waits"), InvalidArgument, "cannot advance, it waits"),
            (AnswerKind.FINISHED, InvalidArgument, "execution has finished"),
            (AnswerKind.NOT_FOUND, NotFound, "there is no execution"),
        ]:
            engine.answers.append(answer)
            with pytest.raises(error, match=message):
                await advance(execution_id, 2, 1)

    run(scenario)


# --- upgrade ---------------------------------------------------------------------------------------------------------


def on_old(engine, n=b"[11]"):
    """Waits for its first child, on the older component, which calls with one more than the newer one."""
    execution_id = created(engine, 1, component=OLD_DIGEST)
    engine.lock(execution_id)
    engine.call(execution_id, 1, n)
    return execution_id


def test_an_upgrade_replays_first_and_says_how_far_it_looked(run):
    async def scenario(engine, service):
        execution_id = on_old(engine, b"[10]")
        assert await service.replaying.upgrade(execution_id)
        assert engine.operated == [(execution_id, UpgradeRequest(WORKFLOW_DIGEST, 5))]

    run(scenario)


def test_an_upgrade_to_where_it_does_not_replay_is_refused_unless_it_is_forced(run):
    async def scenario(engine, service):
        execution_id = on_old(engine)
        with pytest.raises(ReplayFailed) as caught:
            await service.replaying.upgrade(execution_id)
        assert str(caught.value) == (
            "replay failed: nondeterminism detected at version 3:\nparams: recorded [11], now [10]"
        )
        assert engine.operated == []
        assert await service.replaying.upgrade(execution_id, skip_check=True)
        assert engine.operated == [(execution_id, UpgradeRequest(WORKFLOW_DIGEST, None))]

    run(scenario)


def test_an_upgrade_to_a_component_of_the_clients_choice(run):
    async def scenario(engine, service):
        execution_id = created(engine)
        assert await service.replaying.upgrade(execution_id, expected=WORKFLOW_DIGEST, target=OLD_DIGEST)
        assert engine.operated == [(execution_id, UpgradeRequest(OLD_DIGEST, 1))]
        assert not await service.replaying.upgrade(execution_id, target=WORKFLOW_DIGEST)
        assert not await service.replaying.upgrade(execution_id, expected=OLD_DIGEST, target=WORKFLOW_DIGEST)
        engine.answers.append(AnswerKind.ALREADY)
        assert not await service.replaying.upgrade(execution_id, target=OLD_DIGEST)

    run(scenario)


def test_an_execution_that_goes_on_meanwhile_is_looked_at_again(run):
    async def scenario(engine, service):
        execution_id = on_old(engine, b"[10]")
        engine.on_operate = lambda who, body: engine.append(who, Parked("x")) if len(engine.operated) == 1 else None
        engine.answers += [AnswerKind.OUTDATED]
        assert await service.replaying.upgrade(execution_id)
        assert [body.checked for _, body in engine.operated] == [5, 6]

    run(scenario)


def test_one_that_never_stands_still_must_be_paused_first(run):
    async def scenario(engine, service):
        execution_id = on_old(engine, b"[10]")
        engine.answers += [AnswerKind.OUTDATED] * LOOKS_MAX
        with pytest.raises(NotReady, match=f"{execution_id} went on each of the 5 times .*: pause it, upgrade it"):
            await service.replaying.upgrade(execution_id)
        assert len(engine.operated) == LOOKS_MAX

    run(scenario)


def test_an_activity_is_upgraded_without_a_replay(run):
    async def scenario(engine, service):
        execution_id = engine.create(engine.new_execution_id(), FIBO, b"[1]", component=GONE)
        assert await service.replaying.upgrade(execution_id)
        (_, body) = engine.operated[0]
        assert (body.component, body.checked) == (engine.catalogue.active(FIBO).component, 1)
        assert engine.catalogue.active(FIBO).kind is FunctionKind.ACTIVITY

    run(scenario)


def test_what_cannot_be_upgraded(run):
    async def scenario(engine, service):
        upgrade = service.replaying.upgrade
        execution_id = on_old(engine, b"[10]")
        with pytest.raises(NotFound, match=f"component not found: {GONE} is not loaded, or does not export {FIBOA}"):
            await upgrade(execution_id, target=GONE, skip_check=True)
        with pytest.raises(InvalidArgument, match=f"execution runs on {OLD_DIGEST}, not on {GONE}"):
            await upgrade(execution_id, expected=GONE)
        with pytest.raises(InvalidArgument, match="cannot upgrade, execution has finished; fork it"):
            await upgrade(finished(engine, component=OLD_DIGEST))
        with pytest.raises(NotFound, match="there is no execution"):
            await upgrade(NOBODY)
        assert engine.operated == []
        for answer, error, message in [
            (Answer(0, AnswerKind.REFUSED, "cannot upgrade, it runs"), InvalidArgument, "cannot upgrade, it runs"),
            (AnswerKind.FINISHED, InvalidArgument, "execution has finished"),
            (AnswerKind.NOT_FOUND, NotFound, "there is no execution"),
        ]:
            engine.answers.append(answer)
            with pytest.raises(error, match=message):
                await upgrade(execution_id)
        engine.catalogue.undeploy(FIBOA)
        with pytest.raises(NotFound, match="function not found"):
            await upgrade(execution_id)

    run(scenario)


def test_upgrading_what_was_unlocked_compares_history_only(run):
    async def scenario(engine, service):
        execution_id = created(engine, component=OLD_DIGEST)
        engine.lock(execution_id)
        engine.append(execution_id, Unlocked(engine.now(), "stopped"))
        assert await service.replaying.upgrade(execution_id)
        assert msgspec.structs.asdict(engine.operated[0][1])["checked"] == 3

    run(scenario)
