"""The rpcs that change executions, and the replay before them: a real server, over the small engine."""

import grpc
import pytest
from google.protobuf.any_pb2 import Any as ProtoAny
from obelisk_tests_small_engine import APPROVE, FIBO, FIBOA, OLD_DIGEST, WORKFLOW_DIGEST

from obelisk.core.batch import AdvanceRequest, CancelDelayRequest, FailRequest, UpgradeRequest
from obelisk.core.events import Finished, Parked, Paused, Unpaused
from obelisk.core.state import Lifecycle
from obelisk.core.values import Json, Ok
from obelisk.engine.effects import Answer, AnswerKind
from obelisk.engine.inputs import GiveResult
from obelisk.proto import obelisk_pb2 as pb
from obelisk.proto import obelisk_pb2_grpc as pb_grpc

NOBODY = "E_01K42AJA8QHD7D3GTJAYMASFYZ"
GONE = "sha256:" + "f" * 64


def created(engine, ffqn=FIBOA, params=b"[10,1]", **options):
    return engine.create(engine.new_execution_id(), ffqn, params, **options)


def paused(engine):
    execution_id = created(engine)
    engine.append(execution_id, Paused())
    return execution_id


def id_of(execution_id):
    return pb.ExecutionId(id=execution_id)


async def fails(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().name, caught.value.details()


REQUESTS = {
    "Stub": pb.StubRequest,
    "CancelExecution": pb.CancelExecutionRequest,
    "PauseExecution": pb.PauseExecutionRequest,
    "UnpauseExecution": pb.UnpauseExecutionRequest,
    "ReplayExecution": pb.ReplayExecutionRequest,
    "AdvanceExecution": pb.AdvanceExecutionRequest,
    "UpgradeExecutionComponent": pb.UpgradeExecutionComponentRequest,
    "ForkExecution": pb.ForkExecutionRequest,
    "ResumeExecution": pb.ResumeExecutionRequest,
    "FailExecution": pb.FailExecutionRequest,
}
REPAIRS = {"ForkExecution", "ResumeExecution", "FailExecution"}


def rpc(channel, name):
    stub = pb_grpc.ExecutionRepairStub if name in REPAIRS else pb_grpc.ExecutionRepositoryStub
    return getattr(stub(channel), name)


@pytest.mark.parametrize("name", REQUESTS)
def test_every_rpc_wants_an_id_that_is_one_and_that_there_is(serving, name):
    async def scenario(engine, service, channel):
        call, request = rpc(channel, name), REQUESTS[name]
        extra = {"return_value": ProtoAny(value=b'{"ok":1}')} if name == "Stub" else {}
        extra |= {"expected_version": 1, "steps": 1} if name == "AdvanceExecution" else {}
        nobody = f"{NOBODY}.g:1_1" if name == "Stub" else NOBODY
        assert await fails(call(request(**extra))) == ("INVALID_ARGUMENT", "argument `execution_id` must exist")
        code, text = await fails(call(request(execution_id=id_of("nonsense"), **extra)))
        assert (code, text[:37]) == ("INVALID_ARGUMENT", "'nonsense' is not an execution id; ex")
        assert await fails(call(request(execution_id=id_of(nobody), **extra))) == (
            "NOT_FOUND",
            f"entity not found: there is no execution {nobody}",
        )

    serving(scenario)


def test_submitting_paused_and_for_later(serving):
    async def scenario(engine, service, channel):
        execution_id = engine.new_execution_id()
        schedule = pb.FunctionName(
            interface_name="template-fibo:activity-obelisk-schedule/fibo-activity-ifc", function_name="fibo-schedule"
        )
        request = pb.SubmitRequest(
            execution_id=id_of(execution_id),
            function_name=schedule,
            params=ProtoAny(value=b'[{"in":{"seconds":5}},10]'),
            paused=True,
        )
        answer = await rpc(channel, "Submit")(request)
        assert answer.outcome == pb.SubmitResponse.OUTCOME_CREATED
        state = engine.store.state(execution_id)
        assert (state.ffqn, state.lifecycle) == (FIBO, Lifecycle.PAUSED)
        assert state.first_scheduled_at - state.created_at == 5_000_000
        request.params.value = b'["soon",10]'
        code, text = await fails(rpc(channel, "Submit")(request))
        assert (code, "params[0]: expected" in text) == ("INVALID_ARGUMENT", True)

    serving(scenario)


# --- ending ----------------------------------------------------------------------------------------------------------


def test_cancelling_an_execution(serving):
    async def scenario(engine, service, channel):
        execution_id = created(engine)
        outcomes = []
        for answer in (AnswerKind.DONE, AnswerKind.ALREADY, AnswerKind.FINISHED):
            engine.answers.append(answer)
            response = await rpc(channel, "CancelExecution")(
                pb.CancelExecutionRequest(execution_id=id_of(execution_id))
            )
            outcomes.append(pb.CancelExecutionResponse.CancelExecutionOutcome.Name(response.outcome))
        assert outcomes == [
            "CANCEL_EXECUTION_OUTCOME_CANCELLATION_REQUESTED",
            "CANCEL_EXECUTION_OUTCOME_ALREADY_CANCELLING",
            "CANCEL_EXECUTION_OUTCOME_ALREADY_FINISHED",
        ]

    serving(scenario)


def test_cancelling_a_delay(serving):
    async def scenario(engine, service, channel):
        execution_id = created(engine)
        delay = pb.DelayId(id=f"Delay_{execution_id[2:]}.g:1_1")
        cancel = rpc(channel, "CancelDelay")
        response = await cancel(pb.CancelDelayRequest(delay_id=delay))
        assert response.outcome == pb.CancelDelayResponse.CANCEL_DELAY_OUTCOME_CANCELLED
        assert engine.operated == [(execution_id, CancelDelayRequest("g:1_1"))]
        engine.answers.append(AnswerKind.ALREADY)
        code, text = await fails(cancel(pb.CancelDelayRequest(delay_id=delay)))
        assert (code, text) == ("NOT_FOUND", f"entity not found: {execution_id} has no delay {delay.id}")
        assert await fails(cancel(pb.CancelDelayRequest())) == (
            "INVALID_ARGUMENT",
            "argument `delay_id` must exist",
        )
        code, text = await fails(cancel(pb.CancelDelayRequest(delay_id=pb.DelayId(id=execution_id))))
        assert (code, "is not a delay id" in text) == ("INVALID_ARGUMENT", True)

    serving(scenario)


def test_delays_cannot_be_paused_in_this_version(serving):
    async def scenario(engine, service, channel):
        delay = pb.DelayId(id=f"Delay_{NOBODY[2:]}.g:1_1")
        for call in (
            rpc(channel, "PauseDelay")(pb.PauseDelayRequest(delay_id=delay)),
            rpc(channel, "UnpauseDelay")(pb.UnpauseDelayRequest(delay_id=delay)),
        ):
            code, text = await fails(call)
            assert code == "UNIMPLEMENTED"
            assert text.startswith("delays cannot be paused in this version; pause the execution that awaits it")

    serving(scenario)


def test_what_is_refused_is_the_callers_fault(serving):
    async def scenario(engine, service, channel):
        execution_id = created(engine)
        for name in ("PauseExecution", "UnpauseExecution", "ResumeExecution", "FailExecution"):
            call, request = rpc(channel, name), REQUESTS[name](execution_id=id_of(execution_id))
            await call(request)
            engine.answers.append(Answer(0, AnswerKind.REFUSED, "cannot do that, execution is cancelling"))
            assert await fails(call(request)) == ("INVALID_ARGUMENT", "cannot do that, execution is cancelling")
            engine.answers.append(AnswerKind.OUTDATED)
            assert await fails(call(request)) == ("ABORTED", f"{execution_id} went on meanwhile; look again")

    serving(scenario)


def test_failing_with_a_reason(serving):
    async def scenario(engine, service, channel):
        execution_id = created(engine)
        engine.append(execution_id, Parked("it took the process down"))
        for fields in ({"reason": "no use"}, {}):
            await rpc(channel, "FailExecution")(pb.FailExecutionRequest(execution_id=id_of(execution_id), **fields))
        reasons = [body.failure.reason for _, body in engine.operated]
        assert reasons == ["no use", "given up: it took the process down"]
        assert {type(body) for _, body in engine.operated} == {FailRequest}

    serving(scenario)


# --- stub activities -------------------------------------------------------------------------------------------------


def test_giving_a_result(serving):
    async def scenario(engine, service, channel):
        engine.catalogue.deploy_stubs()
        top = created(engine)
        engine.lock(top)
        execution_id = engine.call(top, 1, b'["x"]', APPROVE)
        give = rpc(channel, "Stub")

        def request(**fields):
            return pb.StubRequest(execution_id=id_of(execution_id), **fields)

        await give(request(return_value=ProtoAny(value=b'{"ok": true}')))
        await give(request(execution_failed=True))
        assert [body for _, body in engine.operated] == [
            GiveResult(Ok(Json(b"true"))),
            GiveResult(engine.catalogue.typed_result("", APPROVE, Json(b'{"err":"execution-failed"}'))),
        ]
        code, text = await fails(give(request(return_value=ProtoAny(value=b'{"ok": 1}'))))
        assert (code, "expected bool, got 1" in text) == ("INVALID_ARGUMENT", True)
        assert await fails(give(request())) == ("INVALID_ARGUMENT", "argument `return_value` must exist")
        code, text = await fails(give(request(execution_failed=True, return_value=ProtoAny(value=b"1"))))
        assert (code, "exclude each other" in text) == ("INVALID_ARGUMENT", True)
        code, text = await fails(give(pb.StubRequest(execution_id=id_of(top), return_value=ProtoAny(value=b"1"))))
        assert (code, "is a top-level execution" in text) == ("INVALID_ARGUMENT", True)
        activity = engine.create(f"{top}.g:1_1", FIBO, b"[1]")
        other = pb.StubRequest(execution_id=id_of(activity), return_value=ProtoAny(value=b"1"))
        code, text = await fails(give(other))
        assert (code, text.startswith("function not found")) == ("NOT_FOUND", True)
        engine.finish(execution_id, Ok(Json(b"true")))
        await give(request(return_value=ProtoAny(value=b'{"ok": true}')))
        code, text = await fails(give(request(return_value=ProtoAny(value=b'{"ok": false}'))))
        assert (code, "with another result: ok true" in text) == ("ALREADY_EXISTS", True)

    serving(scenario)


# --- replaying and advancing -----------------------------------------------------------------------------------------


def test_every_outcome_of_a_replay(serving):
    async def scenario(engine, service, channel):
        async def replay(execution_id):
            return await rpc(channel, "ReplayExecution")(pb.ReplayExecutionRequest(execution_id=id_of(execution_id)))

        execution_id = created(engine)
        found = await replay(execution_id)
        (write,) = found.advanceable.captured_writes
        assert write.append_batch_create_new_execution.version == found.next_version == 1
        assert (found.component_id.name, found.component_id.digest.digest) == ("myworkflow", WORKFLOW_DIGEST)
        engine.lock(execution_id)
        child = engine.call(execution_id, 1)
        assert (await replay(execution_id)).WhichOneof("outcome") == "blocked"
        engine.finish(child, Ok(Json(b"55")))
        (end,) = (await replay(execution_id)).advanceable.captured_writes
        assert end.append_finished.event.value.ok.return_value.value == b"55"
        engine.append(execution_id, Finished(Ok(Json(b"55"))))
        finished = await replay(execution_id)
        assert finished.finished.result.ok.return_value.value == b"55"
        other = created(engine, component=OLD_DIGEST)
        engine.fibo_run(other, 1)
        failed = await replay(other)
        assert failed.replay_failed.error == ("nondeterminism detected at version 3:\nparams: recorded [10], now [11]")
        assert failed.component_id == pb.ComponentId(
            component_type=pb.COMPONENT_TYPE_WORKFLOW, digest=pb.ContentDigest(digest=OLD_DIGEST)
        )
        code, text = await fails(replay(created(engine, FIBO, b"[1]")))
        assert (code, text.startswith("only workflows replay")) == ("INVALID_ARGUMENT", True)

    serving(scenario)


def test_advancing_by_what_a_replay_showed(serving):
    async def scenario(engine, service, channel):
        execution_id = paused(engine)
        request = pb.ReplayExecutionRequest(execution_id=id_of(execution_id))
        shown = (await rpc(channel, "ReplayExecution")(request)).advanceable.captured_writes
        engine.advance(5_000_000)  # what is shown later has other instants
        advance = rpc(channel, "AdvanceExecution")

        def sent(writes, **fields):
            return pb.AdvanceExecutionRequest(execution_id=id_of(execution_id), captured_writes=writes, **fields)

        response = await advance(sent(shown))
        assert response.WhichOneof("result") == "success"
        assert not response.success.HasField("finished")
        shown[0].append_batch_create_new_execution.child_requests[0].paused = True
        await advance(sent(shown))
        await advance(sent([], expected_version=2, steps=1, pause_submitted_executions=True))
        assert engine.operated == [
            (execution_id, AdvanceRequest(2, 1)),
            (execution_id, AdvanceRequest(2, 1, pause_children=True)),
            (execution_id, AdvanceRequest(2, 1, pause_children=True)),
        ]

        engine.answers.append(AnswerKind.OUTDATED)
        assert (await advance(sent(shown))).error.version_mismatch.expected == 2
        shown[0].append_batch_create_new_execution.child_requests[0].params.value = b"[11]"
        assert (await advance(sent(shown))).error.WhichOneof("error") == "replay_mismatch"
        shown[0].append_batch_create_new_execution.version = 7
        assert (await advance(sent(shown))).error.version_mismatch.expected == 2
        assert (await advance(sent([], expected_version=7, steps=1))).error.version_mismatch.expected == 2
        assert len(engine.operated) == 4

        code, text = await fails(advance(sent([])))
        assert (code, text.startswith("`captured_writes` is empty")) == ("FAILED_PRECONDITION", True)
        code, text = await fails(advance(sent([], expected_version=2)))
        assert (code, text.startswith("there is nothing to advance by")) == ("FAILED_PRECONDITION", True)
        code, text = await fails(advance(sent([pb.CapturedWrite()])))
        assert (code, text) == ("INVALID_ARGUMENT", "argument `captured_writes.write` must exist")
        code, text = await fails(advance(sent([shown[0]] * 1_001)))
        assert (code, text.startswith("1001 captured writes are too many")) == ("INVALID_ARGUMENT", True)
        engine.on_operate = lambda who, body: engine.append(who, Finished(Ok(Json(b"55"))))
        response = await advance(sent([], expected_version=2, steps=9))
        assert response.success.finished.ok.return_value.value == b"55"

    serving(scenario)


def test_what_goes_on_while_it_is_looked_at_has_another_version(serving):
    async def scenario(engine, service, channel):
        execution_id = paused(engine)
        request = pb.ReplayExecutionRequest(execution_id=id_of(execution_id))
        shown = (await rpc(channel, "ReplayExecution")(request)).advanceable.captured_writes
        look = service.replaying.paused

        async def look_before_it_goes_on(execution_id):
            state = await look(execution_id)
            engine.append(execution_id, Unpaused(), Paused())
            return state

        service.replaying.paused = look_before_it_goes_on
        request = pb.AdvanceExecutionRequest(execution_id=id_of(execution_id), captured_writes=shown)
        response = await rpc(channel, "AdvanceExecution")(request)
        assert response.error.version_mismatch.expected == 4
        assert engine.operated == []

    serving(scenario)


def test_only_a_paused_execution_is_advanced(serving):
    async def scenario(engine, service, channel):
        execution_id = created(engine)
        request = pb.ReplayExecutionRequest(execution_id=id_of(execution_id))
        shown = (await rpc(channel, "ReplayExecution")(request)).advanceable.captured_writes
        for how in ({"captured_writes": shown}, {"expected_version": 1, "steps": 1}):
            request = pb.AdvanceExecutionRequest(execution_id=id_of(execution_id), **how)
            assert await fails(rpc(channel, "AdvanceExecution")(request)) == (
                "INVALID_ARGUMENT",
                "cannot advance, execution is not paused; pause it first",
            )

    serving(scenario)


# --- upgrading and forking -------------------------------------------------------------------------------------------


def test_upgrading(serving):
    async def scenario(engine, service, channel):
        upgrade = rpc(channel, "UpgradeExecutionComponent")
        execution_id = created(engine, component=OLD_DIGEST)

        def request(**fields):
            digests = {name: pb.ContentDigest(digest=value) for name, value in fields.items() if "digest" in name}
            return pb.UpgradeExecutionComponentRequest(execution_id=id_of(execution_id), **{**fields, **digests})

        await upgrade(request(expected_component_digest=OLD_DIGEST, new_component_digest=WORKFLOW_DIGEST))
        await upgrade(request())
        engine.lock(execution_id)
        engine.call(execution_id, 1, b"[11]")
        code, text = await fails(upgrade(request()))
        assert code == "INTERNAL"
        assert text == "replay failed: nondeterminism detected at version 3:\nparams: recorded [11], now [10]"
        forced = pb.UpgradeExecutionComponentRequest(execution_id=id_of(execution_id), skip_determinism_check=True)
        await upgrade(forced)
        assert [body for _, body in engine.operated] == [
            UpgradeRequest(WORKFLOW_DIGEST, 1),
            UpgradeRequest(WORKFLOW_DIGEST, 1),
            UpgradeRequest(WORKFLOW_DIGEST, None),
        ]
        code, text = await fails(upgrade(request(new_component_digest=GONE)))
        assert (code, text.startswith(f"component not found: {GONE}")) == ("NOT_FOUND", True)
        code, text = await fails(upgrade(request(expected_component_digest=GONE)))
        assert (code, f"not on {GONE}" in text) == ("INVALID_ARGUMENT", True)
        code, text = await fails(upgrade(request(new_component_digest="md5:1")))
        assert (code, "is not a digest" in text) == ("INVALID_ARGUMENT", True)
        steady = created(engine, component=OLD_DIGEST)
        engine.answers += [AnswerKind.OUTDATED] * 5
        code, text = await fails(upgrade(pb.UpgradeExecutionComponentRequest(execution_id=id_of(steady))))
        assert (code, "pause it, upgrade it" in text) == ("FAILED_PRECONDITION", True)

    serving(scenario)


def test_forking(serving):
    async def scenario(engine, service, channel):
        fork = rpc(channel, "ForkExecution")
        execution_id = created(engine)
        engine.fibo_run(execution_id, 1)
        forked = await fork(pb.ForkExecutionRequest(execution_id=id_of(execution_id)))
        assert (forked.at_version, forked.outcome) == (6, pb.ForkExecutionResponse.OUTCOME_CREATED)
        chosen = engine.new_execution_id()
        forked = await fork(
            pb.ForkExecutionRequest(
                execution_id=id_of(execution_id), at_version=3, new_execution_id=id_of(chosen), paused=True
            )
        )
        assert (forked.execution_id.id, forked.at_version) == (chosen, 3)
        assert engine.forked[1] == (chosen, execution_id, 3, WORKFLOW_DIGEST, True)
        for fields, code, text in [
            ({"at_version": 0}, "INVALID_ARGUMENT", "version 0 is no place in the log"),
            ({"at_version": 7}, "INVALID_ARGUMENT", "version 7 is no place in the log"),
            ({"new_execution_id": id_of("x")}, "INVALID_ARGUMENT", "'x' is not an execution id"),
            ({"new_execution_id": id_of(f"{chosen}.g:1_1")}, "INVALID_ARGUMENT", f"{chosen}.g:1_1 is a derived id"),
        ]:
            found, details = await fails(fork(pb.ForkExecutionRequest(execution_id=id_of(execution_id), **fields)))
            assert (found, details[: len(text)]) == (code, text)
        old = created(engine, component=OLD_DIGEST)
        engine.lock(old)
        engine.call(old, 1, b"[11]")
        code, text = await fails(fork(pb.ForkExecutionRequest(execution_id=id_of(old))))
        assert code == "INTERNAL"
        assert text.startswith("replay failed: nondeterminism detected at version 3:\nparams: recorded [11], now [10]")

    serving(scenario)
