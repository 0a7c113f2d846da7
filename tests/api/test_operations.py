"""What operators do, and results of stub activities, over the small engine: what it is asked, what its answers mean."""

import pytest
from obelisk_tests_small_engine import APPROVE, FIBO, FIBOA, NOTICE, STUB_DIGEST

from obelisk.api.errors import Conflict, InvalidArgument, Moved, NotFound, Overloaded, Stopping
from obelisk.api.operations import Cancelled, DelayCancelled
from obelisk.core.batch import (
    CancelDelayRequest,
    CancelRequest,
    FailRequest,
    PauseRequest,
    ResumeRequest,
    UnpauseRequest,
)
from obelisk.core.events import DelayRequested, JoinSetCreated, Parked
from obelisk.core.ids import DelayId, ExecutionId
from obelisk.core.instants import In
from obelisk.core.ports import FunctionKind
from obelisk.core.responses import DelayFinished
from obelisk.core.values import Err, Failure, FailureKind, Json, Ok
from obelisk.engine.effects import Answer, AnswerKind
from obelisk.engine.inputs import GiveResult

NOBODY = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYZ")


def waiting(engine):
    return engine.create(engine.new_execution_id(), FIBOA, b"[10,2]")


def finished(engine):
    execution_id = waiting(engine)
    engine.fibo_run(execution_id)
    return execution_id


OPERATIONS = {
    "cancel": lambda operations, execution_id: operations.cancel(execution_id),
    "pause": lambda operations, execution_id: operations.pause(execution_id),
    "unpause": lambda operations, execution_id: operations.unpause(execution_id),
    "resume": lambda operations, execution_id: operations.resume(execution_id),
    "fail": lambda operations, execution_id: operations.fail(execution_id),
}
every_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


@every_operation
def test_nobody_is_not_found_and_the_engine_is_not_asked(run, operation):
    async def scenario(engine, service):
        with pytest.raises(NotFound, match=f"entity not found: there is no execution {NOBODY}"):
            await operation(service.operations, NOBODY)
        assert engine.operated == []

    run(scenario)


@every_operation
def test_what_the_engine_does_not_know_any_more_is_not_found(run, operation):
    async def scenario(engine, service):
        engine.answers.append(AnswerKind.NOT_FOUND)
        with pytest.raises(NotFound):
            await operation(service.operations, waiting(engine))

    run(scenario)


@every_operation
def test_a_refusal_says_why(run, operation):
    async def scenario(engine, service):
        engine.answers.append(Answer(0, AnswerKind.REFUSED, "cannot do that, execution is locked"))
        with pytest.raises(InvalidArgument, match=r"^cannot do that, execution is locked$"):
            await operation(service.operations, waiting(engine))

    run(scenario)


@every_operation
def test_what_went_on_meanwhile_may_be_tried_again(run, operation):
    async def scenario(engine, service):
        engine.answers.append(AnswerKind.OUTDATED)
        with pytest.raises(Moved, match="went on meanwhile"):
            await operation(service.operations, waiting(engine))

    run(scenario)


@every_operation
def test_a_full_inbox_and_a_stopping_server_mean_try_again(run, operation):
    async def scenario(engine, service):
        execution_id = waiting(engine)
        engine.is_full = True
        with pytest.raises(Overloaded, match="try again later"):
            await operation(service.operations, execution_id)
        engine.is_stopping = True
        with pytest.raises(Stopping):
            await operation(service.operations, execution_id)

    run(scenario)


# --- cancelling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (AnswerKind.DONE, Cancelled.REQUESTED),
        (AnswerKind.REQUESTED, Cancelled.REQUESTED),
        (AnswerKind.ALREADY, Cancelled.CANCELLING),
        (AnswerKind.FINISHED, Cancelled.FINISHED),
    ],
)
def test_cancelling(run, answer, outcome):
    async def scenario(engine, service):
        execution_id = waiting(engine)
        engine.answers.append(answer)
        assert await service.operations.cancel(execution_id) is outcome
        assert engine.operated == [(execution_id, CancelRequest())]

    run(scenario)


def test_what_has_ended_is_answered_from_the_store(run):
    async def scenario(engine, service):
        assert await service.operations.cancel(finished(engine)) is Cancelled.FINISHED
        assert engine.operated == []

    run(scenario)


def with_delay(engine):
    execution_id = waiting(engine)
    engine.lock(execution_id)
    engine.append(execution_id, JoinSetCreated("g:1"), DelayRequested("g:1_1", In(5), engine.now()))
    return execution_id, DelayId(f"Delay_{execution_id[2:]}.g:1_1")


@pytest.mark.parametrize("answer", [AnswerKind.DONE, AnswerKind.REQUESTED])
def test_cancelling_a_delay(run, answer):
    async def scenario(engine, service):
        execution_id, delay_id = with_delay(engine)
        engine.answers.append(answer)
        assert await service.operations.cancel_delay(delay_id) is DelayCancelled.CANCELLED
        assert engine.operated == [(execution_id, CancelDelayRequest("g:1_1"))]

    run(scenario)


@pytest.mark.parametrize(("ok", "outcome"), [(True, DelayCancelled.FINISHED), (False, DelayCancelled.CANCELLED)])
def test_a_delay_that_is_over_is_told_as_how_it_ended(run, ok, outcome):
    async def scenario(engine, service):
        execution_id, delay_id = with_delay(engine)
        engine.respond(execution_id, DelayFinished("g:1_1", ok))
        engine.answers.append(AnswerKind.ALREADY)
        assert await service.operations.cancel_delay(delay_id) is outcome

    run(scenario)


@pytest.mark.parametrize("page", [1, 2, 3])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_delay_is_found_however_many_others_there_are(run, monkeypatch, number, page):
    monkeypatch.setattr("obelisk.api.operations._PAGE", page)

    async def scenario(engine, service):
        execution_id = waiting(engine)
        engine.lock(execution_id)
        delays = [f"g:1_{index}" for index in (1, 2, 3, 4)]
        engine.append(execution_id, JoinSetCreated("g:1"), *(DelayRequested(each, In(5), 0) for each in delays))
        delay_id = DelayId(f"Delay_{execution_id[2:]}.g:1_{number}")
        engine.answers += [AnswerKind.ALREADY, AnswerKind.ALREADY]
        with pytest.raises(Moved, match="is about to end"):  # it is in the log
            await service.operations.cancel_delay(delay_id)
        for each in delays:
            engine.respond(execution_id, DelayFinished(each, each == f"g:1_{number}"))
        assert await service.operations.cancel_delay(delay_id) is DelayCancelled.FINISHED  # it is among the responses

    run(scenario)


def test_a_delay_that_there_is_not(run):
    async def scenario(engine, service):
        execution_id, delay_id = with_delay(engine)
        engine.answers += [AnswerKind.ALREADY, AnswerKind.ALREADY]
        with pytest.raises(NotFound, match=f"entity not found: {execution_id} has no delay {delay_id[:-1]}2"):
            await service.operations.cancel_delay(DelayId(f"{delay_id[:-1]}2"))
        with pytest.raises(Moved, match="is about to end"):  # recorded, without a response yet
            await service.operations.cancel_delay(delay_id)
        with pytest.raises(NotFound, match=f"there is no execution {NOBODY}"):
            await service.operations.cancel_delay(DelayId(f"Delay_{NOBODY[2:]}.g:1_1"))

    run(scenario)


# --- standing still --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "body", "already"),
    [
        ("pause", PauseRequest(), "cannot pause, execution is already paused"),
        ("unpause", UnpauseRequest(), "cannot unpause, execution is not paused"),
        ("resume", ResumeRequest(), "cannot resume, execution is not parked"),
    ],
)
def test_standing_still_and_going_on(run, name, body, already):
    async def scenario(engine, service):
        execution_id = waiting(engine)
        await OPERATIONS[name](service.operations, execution_id)
        engine.answers.append(AnswerKind.REQUESTED)
        await OPERATIONS[name](service.operations, execution_id)
        assert engine.operated == [(execution_id, body)] * 2
        engine.answers.append(AnswerKind.ALREADY)
        with pytest.raises(InvalidArgument, match=f"^{already}$"):
            await OPERATIONS[name](service.operations, execution_id)
        engine.answers.append(AnswerKind.FINISHED)
        with pytest.raises(InvalidArgument, match=f"^cannot {name}, execution has finished$"):
            await OPERATIONS[name](service.operations, execution_id)
        with pytest.raises(InvalidArgument, match=f"^cannot {name}, execution has finished$"):
            await OPERATIONS[name](service.operations, finished(engine))

    run(scenario)


@pytest.mark.parametrize(
    ("parked", "reason", "failure"),
    [
        (
            Parked(
                "nondeterminism detected at version 3",
                "params: recorded [1], now [2]",
                FailureKind.NONDETERMINISM_DETECTED,
            ),
            None,
            Failure(
                FailureKind.NONDETERMINISM_DETECTED,
                "given up: nondeterminism detected at version 3",
                "params: recorded [1], now [2]",
            ),
        ),
        (
            Parked("it took the process down 3 times"),
            None,
            Failure(FailureKind.UNCATEGORIZED, "given up: it took the process down 3 times"),
        ),
        (Parked("it took the process down 3 times"), "no use", Failure(FailureKind.UNCATEGORIZED, "no use")),
    ],
)
def test_failing_what_is_parked(run, parked, reason, failure):
    async def scenario(engine, service):
        execution_id = waiting(engine)
        engine.append(execution_id, parked)
        await service.operations.fail(execution_id, reason)
        assert engine.operated == [(execution_id, FailRequest(failure))]

    run(scenario)


# --- stub activities -------------------------------------------------------------------------------------------------


def stub(engine, ffqn=APPROVE):
    engine.catalogue.deploy_stubs()
    top = waiting(engine)
    engine.lock(top)
    return engine.call(top, 1, b'["x"]' if ffqn == APPROVE else b"[]", ffqn)


@pytest.mark.parametrize(
    ("ffqn", "result", "outcome"),
    [
        (APPROVE, b'{ "ok": true }', Ok(Json(b"true"))),
        (APPROVE, b'{"err":"no"}', Err(Json(b'"no"'))),
        (NOTICE, b'{"ok":null}', Ok()),
        (NOTICE, b'{"err":null}', Err()),
    ],
)
def test_a_result_is_given_in_canonical_form(run, ffqn, result, outcome):
    async def scenario(engine, service):
        execution_id = stub(engine, ffqn)
        await service.operations.give_result(execution_id, result)
        assert engine.operated == [(execution_id, GiveResult(outcome))]

    run(scenario)


@pytest.mark.parametrize(
    ("ffqn", "outcome"), [(APPROVE, Err(Json(b'"execution-failed"'))), (NOTICE, Err())], ids=["string", "none"]
)
def test_the_error_of_an_execution_that_failed_has_the_form_of_the_function(run, ffqn, outcome):
    async def scenario(engine, service):
        execution_id = stub(engine, ffqn)
        await service.operations.give_failure(execution_id)
        assert engine.operated == [(execution_id, GiveResult(outcome))]

    run(scenario)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (b'{"ok":1}', r"the result does not fit: .*expected bool, got 1; .*approve returns result<bool, string>"),
        (b'{"no":1}', "the result does not fit"),
        (b"true", "the result does not fit"),
        (b'{"ok":', "the result does not fit"),
        (b"\xff", "the result does not fit"),
    ],
)
def test_a_result_that_does_not_fit_is_told_what_fits(run, result, message):
    async def scenario(engine, service):
        execution_id = stub(engine)
        with pytest.raises(InvalidArgument, match=message) as caught:
            await service.operations.give_result(execution_id, result)
        assert 'write {"ok": …} or {"err": …}' in str(caught.value)
        assert engine.operated == []

    run(scenario)


def test_the_same_result_again_is_fine_and_another_one_a_conflict(run):
    async def scenario(engine, service):
        execution_id = stub(engine)
        engine.finish(execution_id, Ok(Json(b"true")))
        await service.operations.give_result(execution_id, b'{"ok":true}')
        with pytest.raises(Conflict, match=f"{execution_id} has ended already, with another result: ok true"):
            await service.operations.give_result(execution_id, b'{"ok":false}')
        with pytest.raises(Conflict):
            await service.operations.give_result(execution_id, b'{"err":"true"}')
        assert engine.operated == []

    run(scenario)


@pytest.mark.parametrize(("ended", "other"), [(Ok(), b'{"err":null}'), (Err(), b'{"ok":null}')])
def test_ok_and_err_without_a_value_are_not_the_same(run, ended, other):
    async def scenario(engine, service):
        execution_id = stub(engine, NOTICE)
        engine.finish(execution_id, ended)
        with pytest.raises(Conflict, match="has ended already, with another result"):
            await service.operations.give_result(execution_id, other)

    run(scenario)


def test_a_result_for_what_was_cancelled_is_a_conflict(run):
    async def scenario(engine, service):
        execution_id = stub(engine, NOTICE)
        engine.finish(execution_id, Failure(FailureKind.CANCELLED, "by its parent"))
        with pytest.raises(Conflict, match="with another result: cancelled: by its parent"):
            await service.operations.give_result(execution_id, b'{"err":null}')

    run(scenario)


@pytest.mark.parametrize("answer", [AnswerKind.FINISHED, AnswerKind.CONFLICT])
def test_a_result_that_came_second_by_a_moment(run, answer):
    async def scenario(engine, service):
        execution_id = stub(engine)
        engine.on_operate = lambda who, body: engine.finish(who, Ok(Json(b"true")))
        engine.answers.append(answer)
        with pytest.raises(Conflict):
            await service.operations.give_result(execution_id, b'{"ok":false}')

    run(scenario)


def test_results_are_for_stub_activities_that_a_workflow_called(run):
    async def scenario(engine, service):
        top = waiting(engine)
        engine.lock(top)
        activity = engine.call(top, 1)
        with pytest.raises(InvalidArgument, match=f"{top} is a top-level execution; results are given to those"):
            await service.operations.give_result(top, b'{"ok":1}')
        with pytest.raises(NotFound, match=f"function not found: {FIBO} is no stub activity"):
            await service.operations.give_result(activity, b'{"ok":1}')
        with pytest.raises(NotFound, match="there is no execution"):
            await service.operations.give_result(ExecutionId(f"{top}.g:1_1"), b'{"ok":1}')
        assert engine.operated == []

    run(scenario)


def test_a_stub_activity_whose_component_is_not_loaded_any_more(run):
    async def scenario(engine, service):
        execution_id = stub(engine)
        assert engine.store.state(execution_id).component == STUB_DIGEST
        engine.catalogue.undeploy(APPROVE)
        with pytest.raises(NotFound, match="is no stub activity that is deployed"):
            await service.operations.give_result(execution_id, b'{"ok":true}')

    run(scenario)


def test_a_stub_activity_of_an_older_component_takes_its_result_on_that(run):
    async def scenario(engine, service):
        execution_id = stub(engine)
        engine.catalogue.undeploy(APPROVE)
        engine.catalogue.older[STUB_DIGEST] = (FunctionKind.STUB, (APPROVE,))
        await service.operations.give_result(execution_id, b'{"ok":true}')
        assert engine.operated == [(execution_id, GiveResult(Ok(Json(b"true"))))]

    run(scenario)
