"""Each rpc of a real server, over the small engine."""

import asyncio
import json

import grpc
import pytest
from google.protobuf.any_pb2 import Any as ProtoAny
from obelisk_tests_small_engine import DEPLOYMENT, FIBO, FIBOA, GREET, WORKFLOW_DIGEST

from obelisk.core.events import Parked
from obelisk.core.ids import ExecutionId
from obelisk.core.values import Err, Failure, FailureKind, Json, Ok
from obelisk.proto import obelisk_pb2 as pb
from obelisk.proto import obelisk_pb2_grpc as pb_grpc
from obelisk.server.answers import fitting

FIBOA_NAME = pb.FunctionName(interface_name="template-fibo:workflow/fibo-workflow-ifc", function_name="fiboa")


def submit_request(execution_id, params=b"[10,2]", name=FIBOA_NAME):
    return pb.SubmitRequest(
        execution_id=pb.ExecutionId(id=execution_id), function_name=name, params=ProtoAny(value=params)
    )


async def fails(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


def test_generate_and_submit_and_submit_again(serving):
    async def scenario(engine, service, channel):
        stub = pb_grpc.ExecutionRepositoryStub(channel)
        execution_id = (await stub.GenerateExecutionId(pb.GenerateExecutionIdRequest())).execution_id.id
        assert execution_id.startswith("E_")
        first = await stub.Submit(submit_request(execution_id), metadata=(("traceparent", "00-abc-def-01"),))
        assert first.outcome == pb.SubmitResponse.OUTCOME_CREATED
        assert engine.store.created(execution_id).metadata == {"tracing:traceparent": "00-abc-def-01"}
        again = await stub.Submit(submit_request(execution_id))
        assert again.outcome == pb.SubmitResponse.OUTCOME_EXISTS_WITH_SAME_PARAMETERS
        code, text = await fails(stub.Submit(submit_request(execution_id, b"[10,3]")))
        assert code is grpc.StatusCode.ALREADY_EXISTS
        assert "with other parameters" in text

    serving(scenario)


@pytest.mark.parametrize(
    ("request_of", "code", "text"),
    [
        (lambda own: pb.SubmitRequest(), "INVALID_ARGUMENT", "argument `execution_id` must exist"),
        (
            lambda own: pb.SubmitRequest(execution_id=pb.ExecutionId(id=own)),
            "INVALID_ARGUMENT",
            "argument `function_name` must exist",
        ),
        (
            lambda own: pb.SubmitRequest(execution_id=pb.ExecutionId(id=own), function_name=FIBOA_NAME),
            "INVALID_ARGUMENT",
            "argument `params` must exist",
        ),
        (lambda own: submit_request("nonsense"), "INVALID_ARGUMENT", "'nonsense' is not an execution id"),
        (lambda own: submit_request(f"{own}.o:1-x_1"), "INVALID_ARGUMENT", "derived"),
        (lambda own: submit_request(own, b"[10]"), "INVALID_ARGUMENT", "2 parameters"),
        (lambda own: submit_request(own, b"\xff"), "INVALID_ARGUMENT", "params are not JSON"),
        (lambda own: submit_request(own, b"{}"), "INVALID_ARGUMENT", "array"),
        (
            lambda own: submit_request(own, name=pb.FunctionName(interface_name="x", function_name="y")),
            "INVALID_ARGUMENT",
            "x.y is not a function name",
        ),
        (
            lambda own: submit_request(own, name=pb.FunctionName(interface_name="a:b/c", function_name="d")),
            "NOT_FOUND",
            "function not found",
        ),
    ],
)
def test_a_bad_submission_is_told_what_is_wrong(serving, request_of, code, text):
    async def scenario(engine, service, channel):
        stub = pb_grpc.ExecutionRepositoryStub(channel)
        found, details = await fails(stub.Submit(request_of(engine.new_execution_id())))
        assert found.name == code
        assert text in details

    serving(scenario)


@pytest.mark.parametrize("long", ["x" * 100_000, "ü" * 100_000, "%" * 100_000])
def test_an_error_about_something_long_reaches_the_client(serving, long):
    """A text that gRPC refuses to carry would come as RESOURCE_EXHAUSTED: "Stream removed"."""

    async def scenario(engine, service, channel):
        stub = pb_grpc.ExecutionRepositoryStub(channel)
        for _ in range(5):  # near the limit, gRPC refuses some and not others
            code, text = await fails(stub.Submit(submit_request(long)))
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert text.startswith(f"'{long[:1_000]}")
            assert text.endswith("…")

    serving(scenario)


def test_a_full_inbox_is_resource_exhausted_and_a_stopping_server_unavailable(serving):
    async def scenario(engine, service, channel):
        stub = pb_grpc.ExecutionRepositoryStub(channel)
        engine.is_full = True
        code, text = await fails(stub.Submit(submit_request(engine.new_execution_id())))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "try again later" in text
        engine.is_stopping = True
        code, text = await fails(stub.Submit(submit_request(engine.new_execution_id())))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert text == "server is shutting down"

    serving(scenario)


def test_what_clients_do_wrong_is_no_error_of_the_server(serving, caplog):
    async def scenario(engine, service, channel):
        garbage = channel.unary_unary(
            "/obelisk.ExecutionRepository/Submit", request_serializer=bytes, response_deserializer=bytes
        )
        code, _ = await fails(garbage(b"\xff\xff\xff"))
        assert code is grpc.StatusCode.UNKNOWN
        stub = pb_grpc.ExecutionRepositoryStub(channel)
        execution_id = engine.create(engine.new_execution_id(), FIBOA, b"[10,1]")
        engine.fibo_run(execution_id, 1)
        request = pb.GetStatusRequest(execution_id=pb.ExecutionId(id=execution_id), send_finished_status=True)
        for _ in range(300):  # a client that leaves before the status comes, now and then
            async for message in (call := stub.GetStatus(request)):
                if message.HasField("finished_status"):
                    call.cancel()
                    break

    serving(scenario)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def test_what_fails_inside_is_not_told_outside(serving, caplog):
    async def scenario(engine, service, channel):
        engine.reader = None
        stub = pb_grpc.ExecutionRepositoryStub(channel)
        request = pb.ListExecutionEventsRequest(execution_id=pb.ExecutionId(id=engine.new_execution_id()), length=1)
        code, text = await fails(stub.ListExecutionEvents(request))
        assert code is grpc.StatusCode.INTERNAL
        assert text == "internal error of the server; its log says more"
        assert "NoneType" in caplog.text

    serving(scenario)


def test_grpc_has_one_open_request_for_all_methods(serving):
    """It looks at all that are open whenever a call comes."""

    async def scenario(engine, service, channel):
        await pb_grpc.ExecutionRepositoryStub(channel).GenerateExecutionId(pb.GenerateExecutionIdRequest())
        names = [getattr(task.get_coro(), "__name__", "") for task in asyncio.all_tasks()]
        assert [name for name in names if "request" in name] == ["_request_call"]

    serving(scenario)


# --- SubmitAndWait ---------------------------------------------------------------------------------------------------


def test_a_call_is_answered_at_its_end(serving):
    async def scenario(engine, service, channel):
        stub = pb_grpc.ExecutionCallsStub(channel)
        execution_id = engine.new_execution_id()
        request = pb.SubmitRequest(execution_id=pb.ExecutionId(id=execution_id), function_name=FIBOA_NAME)
        request.params.value = b"[10,1]"
        call = stub.SubmitAndWait(request, metadata=[("traceparent", "00-1-2-3")])
        while engine.store.created(execution_id) is None:
            await asyncio.sleep(0.001)
        assert engine.store.created(execution_id).metadata == {"tracing:traceparent": "00-1-2-3"}
        engine.lock(execution_id)
        engine.finish(execution_id, Ok(Json(b"55")))
        answer = await call
        assert answer.outcome == pb.SubmitResponse.OUTCOME_CREATED
        assert answer.finished_status.value.ok.return_value.value == b"55"
        assert answer.finished_status.value.wit_type_inline == "u64"
        again = await stub.SubmitAndWait(request)
        assert again.outcome == pb.SubmitResponse.OUTCOME_EXISTS_WITH_SAME_PARAMETERS
        assert again.finished_status == answer.finished_status
        assert await fails(stub.SubmitAndWait(pb.SubmitRequest())) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "argument `execution_id` must exist",
        )

    serving(scenario)


def test_a_call_ends_with_the_server_or_its_deadline_and_the_execution_goes_on(serving):
    async def scenario(engine, service, channel):
        stub = pb_grpc.ExecutionCallsStub(channel)
        execution_id = engine.new_execution_id()
        request = pb.SubmitRequest(execution_id=pb.ExecutionId(id=execution_id), function_name=FIBOA_NAME)
        request.params.value = b"[10,1]"
        code, _ = await fails(stub.SubmitAndWait(request, timeout=0.3))
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        while engine.changes.watchers:
            await asyncio.sleep(0.001)
        assert engine.store.created(execution_id) is not None
        call = stub.SubmitAndWait(request)
        while not engine.changes.watchers:
            await asyncio.sleep(0.001)
        engine.stop()
        assert await fails(call) == (grpc.StatusCode.UNAVAILABLE, "server is shutting down")

    serving(scenario)


# --- GetStatus -------------------------------------------------------------------------------------------------------


def status_request(execution_id, **flags):
    return pb.GetStatusRequest(execution_id=pb.ExecutionId(id=execution_id), **flags)


def kinds(messages):
    return [
        message.WhichOneof("message")
        if message.WhichOneof("message") != "current_status"
        else message.current_status.WhichOneof("status")
        for message in messages
    ]


def test_status_begins_with_a_complete_summary(serving):
    async def scenario(engine, service, channel):
        stub = pb_grpc.ExecutionRepositoryStub(channel)
        execution_id = engine.create(engine.new_execution_id(), FIBOA, b"[10,2]")
        (only,) = [message async for message in stub.GetStatus(status_request(execution_id))]
        summary = only.summary
        assert {field.name for field, _ in summary.ListFields()} == {
            "execution_id", "function_name", "current_status", "created_at", "first_scheduled_at", "component_digest",
            "deployment_id", "component_type",
        }  # fmt: skip
        assert summary.execution_id.id == execution_id
        assert summary.function_name == FIBOA_NAME
        assert summary.component_digest.digest == WORKFLOW_DIGEST
        assert summary.deployment_id.id == DEPLOYMENT
        assert summary.component_type == pb.COMPONENT_TYPE_WORKFLOW
        assert summary.created_at.ToJsonString() == "2026-01-01T00:00:00Z"
        assert summary.current_status.pending_at.scheduled_at == summary.created_at

    serving(scenario)


def test_status_of_what_has_finished(serving):
    async def scenario(engine, service, channel):
        stub = pb_grpc.ExecutionRepositoryStub(channel)
        execution_id = engine.create(engine.new_execution_id(), FIBOA, b"[10,2]")
        engine.fibo_run(execution_id)
        for follow in (False, True):
            messages = [m async for m in stub.GetStatus(status_request(execution_id, follow=follow))]
            assert kinds(messages) == ["summary"]
            request = status_request(execution_id, follow=follow, send_finished_status=True)
            messages = [m async for m in stub.GetStatus(request)]
            assert kinds(messages) == ["summary", "finished_status"]
        finished = messages[1].finished_status
        assert finished.value.ok.return_value.value == b"55"
        assert finished.value.wit_type_inline == "u64"
        assert finished.finished_at.ToMicroseconds() - finished.created_at.ToMicroseconds() == 20_000

    serving(scenario)


def test_following_the_status_to_the_end(serving):
    async def scenario(engine, service, channel):
        stub = pb_grpc.ExecutionRepositoryStub(channel)
        execution_id = engine.create(engine.new_execution_id(), FIBOA, b"[10,1]")
        messages = []
        async for message in stub.GetStatus(status_request(execution_id, follow=True, send_finished_status=True)):
            messages.append(message)
            match len(messages):
                case 1:
                    engine.lock(execution_id)
                case 2:
                    child = engine.call(execution_id, 1)
                case 3:
                    engine.finish(child, Ok(Json(b"55")))
                    engine.finish(execution_id, Ok(Json(b"55")))
        assert kinds(messages) == ["summary", "locked", "blocked_by_join_set", "finished", "finished_status"]
        blocked = messages[2].current_status.blocked_by_join_set
        assert blocked.join_set_id == pb.JoinSetId(kind=pb.JoinSetId.JOIN_SET_KIND_ONE_OFF, name="1-fibo")
        assert messages[3].current_status.finished.result_kind.WhichOneof("value") == "ok"

    serving(scenario)


def test_an_open_stream_of_a_stopping_server_is_aborted(serving):
    async def scenario(engine, service, channel):
        execution_id = engine.create(engine.new_execution_id(), FIBOA, b"[10,1]")
        call = pb_grpc.ExecutionRepositoryStub(channel).GetStatus(status_request(execution_id, follow=True))
        watch = pb_grpc.ExecutionChangesStub(channel).WatchExecutions(
            pb.WatchExecutionsRequest(execution_id=pb.ExecutionId(id=execution_id))
        )
        for stream in (call, watch):
            await stream.read()
        engine.stop()
        for stream in (call, watch):
            assert await fails(stream.read()) == (grpc.StatusCode.ABORTED, "server is shutting down")

    serving(scenario)


def test_a_client_that_leaves_a_stream_is_forgotten(serving):
    async def scenario(engine, service, channel):
        execution_id = engine.create(engine.new_execution_id(), FIBOA, b"[10,1]")
        call = pb_grpc.ExecutionRepositoryStub(channel).GetStatus(status_request(execution_id, follow=True))
        await call.read()
        assert engine.changes.watchers
        call.cancel()
        while engine.changes.watchers:
            await asyncio.sleep(0.001)

    serving(scenario)


def test_the_status_of_nobody_is_not_found(serving):
    async def scenario(engine, service, channel):
        stub = pb_grpc.ExecutionRepositoryStub(channel)
        for follow in (False, True):
            call = stub.GetStatus(status_request(engine.new_execution_id(), follow=follow))
            code, text = await fails(call.read())
            assert code is grpc.StatusCode.NOT_FOUND
            assert text.startswith("entity not found")

    serving(scenario)


@pytest.mark.parametrize(
    ("outcome", "kind", "value"),
    [
        (Ok(Json(b'"hi"')), "ok", {"ok": '"hi"', "type": "string"}),
        (Err(Json(b'"no"')), "error", {"error": '"no"', "type": "string"}),
        (Err(), "error", {"error": None, "type": ""}),
        (
            Failure(FailureKind.TIMED_OUT, "too slow", "by far"),
            "execution_failure_kind",
            {"kind": pb.EXECUTION_FAILURE_KIND_TIMED_OUT, "reason": "too slow", "detail": "by far"},
        ),
    ],
)
def test_every_way_to_end(serving, outcome, kind, value):
    async def scenario(engine, service, channel):
        execution_id = engine.create(engine.new_execution_id(), GREET, b'["x"]')
        engine.lock(execution_id)
        engine.finish(execution_id, outcome)
        stub = pb_grpc.ExecutionRepositoryStub(channel)
        summary, finished = [m async for m in stub.GetStatus(status_request(execution_id, send_finished_status=True))]
        assert summary.summary.current_status.finished.result_kind.WhichOneof("value") == kind
        result = finished.finished_status.value
        side = getattr(result, result.WhichOneof("value"))
        if isinstance(outcome, Failure):
            assert {"kind": side.kind, "reason": side.reason, "detail": side.detail} == value
        else:
            payload = side.return_value.value.decode() if side.HasField("return_value") else None
            assert {result.WhichOneof("value"): payload, "type": result.wit_type_inline} == value
            assert result.HasField("wit_type_inline") is side.HasField("return_value")

    serving(scenario)


def test_a_parked_execution_is_shown_as_parked(serving):
    async def scenario(engine, service, channel):
        execution_id = engine.create(engine.new_execution_id(), FIBOA, b"[1,1]")
        engine.append(execution_id, Parked("no match", "version 3"))
        stub = pb_grpc.ExecutionRepositoryStub(channel)
        message = await stub.GetStatus(status_request(execution_id)).read()
        assert message.summary.current_status.parked.reason == "no match"
        assert message.summary.current_status.parked.detail == "version 3"
        found = await stub.ListExecutionEvents(
            pb.ListExecutionEventsRequest(execution_id=pb.ExecutionId(id=execution_id), length=10)
        )
        assert found.events[1].parked.detail == "version 3"

    serving(scenario)


# --- lists -----------------------------------------------------------------------------------------------------------


def test_executions_newest_first_in_pages(serving):
    async def scenario(engine, service, channel):
        stub = pb_grpc.ExecutionRepositoryStub(channel)
        ids = []
        for _ in range(4):
            ids.append(engine.create(engine.new_execution_id(), FIBO, b"[1]"))
            engine.advance(1_000)

        async def listed(**request):
            return [
                e.execution_id.id for e in (await stub.ListExecutions(pb.ListExecutionsRequest(**request))).executions
            ]

        older, newer, cursor = (
            pb.ListExecutionsRequest.OlderThan,
            pb.ListExecutionsRequest.NewerThan,
            pb.ListExecutionsRequest.Cursor,
        )
        assert await listed() == ids[::-1]
        assert await listed(older_than=older(length=2)) == [ids[3], ids[2]]
        at_2 = cursor(execution_id=pb.ExecutionId(id=ids[2]))
        assert await listed(older_than=older(length=2, cursor=at_2)) == [ids[1], ids[0]]
        assert await listed(older_than=older(length=2, cursor=at_2, including_cursor=True)) == [ids[2], ids[1]]
        assert await listed(newer_than=newer(length=9, cursor=at_2)) == [ids[3]]
        from google.protobuf.timestamp_pb2 import Timestamp

        then = Timestamp()
        then.FromMicroseconds(engine.store.state(ids[1]).created_at)
        assert await listed(older_than=older(length=9, cursor=cursor(created_at=then))) == [ids[0]]
        code, _ = await fails(stub.ListExecutions(pb.ListExecutionsRequest(older_than=older(length=70_000))))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        for seconds, nanos in ((2**62, 0), (-(2**62), 0), (253_402_300_800, 0), (0, -1), (0, 1_000_000_000)):
            never = older(length=9, cursor=cursor(created_at=Timestamp(seconds=seconds, nanos=nanos)))
            code, details = await fails(stub.ListExecutions(pb.ListExecutionsRequest(older_than=never)))
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert "not a timestamp" in details
        for seconds, found in ((253_402_300_799, ids[::-1]), (-62_135_596_800, [])):
            edge = older(length=9, cursor=cursor(created_at=Timestamp(seconds=seconds)))
            assert await listed(older_than=edge) == found

    serving(scenario)


def test_executions_by_every_filter(serving):
    async def scenario(engine, service, channel):
        stub = pb_grpc.ExecutionRepositoryStub(channel)
        request, scope = pb.ListExecutionsRequest, pb.ListExecutionsRequest.ExecutionFunctionFilter
        done = engine.create(engine.new_execution_id(), FIBOA, b"[10,1]")
        engine.fibo_run(done, 1)
        child = ExecutionId(f"{done}.o:1-fibo_1")
        engine.advance(1_000)
        waiting = engine.create(engine.new_execution_id(), GREET, b'["x"]')
        later = engine.create(engine.new_execution_id(), FIBO, b"[1]", scheduled_at=engine.now() + 1_000_000)

        async def listed(**fields):
            found = await stub.ListExecutions(request(**{"top_level_only": True, **fields}))
            return {e.execution_id.id for e in found.executions}

        assert await listed() == {done, waiting, later}
        assert await listed(top_level_only=False) == {done, child, waiting, later}
        assert await listed(hide_finished=True) == {waiting, later}
        assert await listed(execution_id_prefix=waiting) == {waiting}
        assert await listed(component_digest=pb.ContentDigest(digest=WORKFLOW_DIGEST)) == {done}
        assert await listed(deployment_id=pb.DeploymentId(id=DEPLOYMENT)) == {done, waiting, later}
        assert await listed(function_name_prefix="testing:") == {waiting}
        assert await listed(function_filter=scope(package_name="testing:activity")) == {waiting}
        assert await listed(function_filter=scope(interface_name="testing:activity/greet@1.2.0")) == {waiting}
        assert await listed(function_filter=scope(function_name=FIBOA), function_name_prefix="no") == {done}
        assert await listed(state_filters=[request.EXECUTION_STATE_FILTER_PENDING]) == {waiting}
        assert await listed(state_filters=[request.EXECUTION_STATE_FILTER_SCHEDULED]) == {later}
        assert await listed(
            state_filters=[request.EXECUTION_STATE_FILTER_FINISHED_OK, request.EXECUTION_STATE_FILTER_UNSPECIFIED]
        ) == {done}
        workflow, stub_type = pb.COMPONENT_TYPE_WORKFLOW, pb.COMPONENT_TYPE_ACTIVITY_STUB
        assert await listed(component_type_filters=[workflow]) == {done}
        assert await listed(component_type_filters=[workflow, pb.COMPONENT_TYPE_ACTIVITY, workflow]) == {
            done, waiting, later,
        }  # fmt: skip
        assert await listed(component_type_filters=[stub_type]) == set()
        for bad in (
            {"component_type_filters": [pb.COMPONENT_TYPE_CRON]},
            {"component_type_filters": [77]},
            {"function_filter": scope()},
            {"component_digest": pb.ContentDigest(digest="md5:1")},
            {"deployment_id": pb.DeploymentId(id="x")},
        ):
            code, _ = await fails(stub.ListExecutions(request(**bad)))
            assert code is grpc.StatusCode.INVALID_ARGUMENT

    serving(scenario)


def test_events_of_the_seeds_run_in_their_order(serving):
    async def scenario(engine, service, channel):
        stub = pb_grpc.ExecutionRepositoryStub(channel)
        execution_id = engine.create(engine.new_execution_id(), FIBOA, b"[10,2]")
        engine.fibo_run(execution_id)

        async def listed(of, start, length):
            return await stub.ListExecutionEvents(
                pb.ListExecutionEventsRequest(execution_id=pb.ExecutionId(id=of), version_from=start, length=length)
            )

        found = await listed(execution_id, 0, 100)
        assert found.max_version == 8
        assert [event.version for event in found.events] == list(range(9))

        def kind(event):
            of = event.WhichOneof("event")
            return event.history_variant.WhichOneof("event") if of == "history_variant" else of

        call = ["join_set_created", "join_set_request", "join_next"]
        assert [kind(event) for event in found.events] == ["created", "locked", *call, *call, "finished"]
        created, locked = found.events[0].created, found.events[1].locked
        assert json.loads(created.params.value) == [10, 2]
        assert created.params.type_url == f"urn:obelisk:json:params:{FIBOA}"
        assert created.component_id.name == "myworkflow"
        assert not created.HasField("parent_execution_id")
        assert locked.component_id == created.component_id
        assert locked.deployment_id.id == DEPLOYMENT
        assert locked.retry_config.max_retries == 5
        request = found.events[3].history_variant.join_set_request.child_execution_request
        assert request.child_execution_id.id == f"{execution_id}.o:1-fibo_1"
        assert request.WhichOneof("result") == "ok"

        part = await listed(execution_id, 2, 3)
        assert [event.version for event in part.events] == [2, 3, 4]
        child = (await listed(f"{execution_id}.o:1-fibo_1", 0, 1)).events[0].created
        assert child.parent_execution_id.id == execution_id
        assert child.parent_join_set_id.name == "1-fibo"
        code, _ = await fails(listed(engine.new_execution_id(), 0, 1))
        assert code is grpc.StatusCode.NOT_FOUND

    serving(scenario)


def test_responses_from_a_cursor(serving):
    async def scenario(engine, service, channel):
        stub = pb_grpc.ExecutionRepositoryStub(channel)
        execution_id = engine.create(engine.new_execution_id(), FIBOA, b"[10,3]")
        engine.fibo_run(execution_id, 3)

        async def listed(**fields):
            return await stub.ListResponses(
                pb.ListResponsesRequest(**{"execution_id": pb.ExecutionId(id=execution_id), "length": 9, **fields})
            )

        found = await listed()
        assert [response.cursor for response in found.responses] == [1, 2, 3]
        assert found.max_cursor == 3
        first = found.responses[0].event
        assert first.child_execution_finished.child_execution_id.id == f"{execution_id}.o:1-fibo_1"
        assert first.child_execution_finished.value.ok.return_value.value == b"55"
        assert first.child_execution_finished.value.wit_type_inline == "u64"
        assert [r.cursor for r in (await listed(cursor_from=2)).responses] == [3]
        assert [r.cursor for r in (await listed(cursor_from=2, including_cursor=True, length=1)).responses] == [2]
        nobody = await listed(execution_id=pb.ExecutionId(id=engine.new_execution_id()))
        assert (list(nobody.responses), nobody.max_cursor) == ([], 0)

        both = await stub.ListExecutionEventsAndResponses(
            pb.ListExecutionEventsAndResponsesRequest(
                execution_id=pb.ExecutionId(id=execution_id), events_length=2, responses_length=2
            )
        )
        assert [event.version for event in both.events] == [0, 1]
        assert [response.cursor for response in both.responses] == [1, 2]
        assert both.current_status.WhichOneof("status") == "finished"
        assert (both.max_version, both.max_cursor) == (11, 3)

    serving(scenario)


def test_a_list_stays_below_the_size_of_a_message():
    items = [pb.ExecutionId(id="x" * 100) for _ in range(10)]
    assert len(fitting(items, 350)) == 3
    assert len(fitting(items, 1)) == 1
    assert fitting([], 1) == []


# --- components, changes, infrastructure -----------------------------------------------------------------------------


def test_components_with_signatures(serving):
    async def scenario(engine, service, channel):
        stub = pb_grpc.FunctionRepositoryStub(channel)
        found = (await stub.ListComponents(pb.ListComponentsRequest())).components
        assert [(c.component_id.component_type, c.component_id.name) for c in found] == [
            (pb.COMPONENT_TYPE_WORKFLOW, "myworkflow"),
            (pb.COMPONENT_TYPE_ACTIVITY, "activity_myfibo"),
        ]
        fiboa = found[0].exports[0]
        assert fiboa.function_name == FIBOA_NAME
        assert [(p.name, p.type.wit_type) for p in fiboa.params] == [("n", "u8"), ("iterations", "u32")]
        assert fiboa.return_type.wit_type_inline == "result<u64>"
        assert fiboa.submittable
        assert [f.function_name.function_name for f in found[0].imports] == ["fibo"]
        wide = (await stub.ListComponents(pb.ListComponentsRequest(extensions=True))).components
        extension = wide[1].exports[-1]
        assert extension.extension == pb.FUNCTION_EXTENSION_SUBMIT
        assert not extension.submittable
        code, _ = await fails(
            stub.ListComponents(pb.ListComponentsRequest(component_digest=pb.ContentDigest(digest="x")))
        )
        assert code is grpc.StatusCode.INVALID_ARGUMENT

    serving(scenario)


def test_the_wit_of_a_component(serving):
    async def scenario(engine, service, channel):
        stub = pb_grpc.FunctionRepositoryStub(channel)

        def wit(digest):
            return stub.GetWit(pb.GetWitRequest(component_digest=pb.ContentDigest(digest=digest)))

        assert (await wit(WORKFLOW_DIGEST)).content == f"package of:{WORKFLOW_DIGEST[7:11]};"
        for digest, expected in (
            ("sha256:" + "0" * 64, grpc.StatusCode.NOT_FOUND),
            ("", grpc.StatusCode.INVALID_ARGUMENT),
        ):
            code, _ = await fails(wit(digest))
            assert code is expected

    serving(scenario)


def test_watching_a_tree(serving):
    async def scenario(engine, service, channel):
        stub = pb_grpc.ExecutionChangesStub(channel)
        execution_id = engine.create(engine.new_execution_id(), FIBOA, b"[10,1]")
        engine.advance(2_000)
        engine.lock(execution_id)
        request = pb.WatchExecutionsRequest(execution_id=pb.ExecutionId(id=execution_id))
        messages = []
        async for message in stub.WatchExecutions(request):
            messages.append(message)
            if len(messages) == 1:
                child = engine.call(execution_id, 1)
                engine.advance(10_000)
                engine.finish(child, Ok(Json(b"55")))
                engine.finish(execution_id, Ok(Json(b"55")))
        assert [message.snapshot_complete for message in messages] == [True, False]
        (top,) = messages[0].executions
        assert messages[0].sent_at.ToMicroseconds() == top.first_started_at.ToMicroseconds()
        assert top.first_started_at.ToMicroseconds() - top.summary.created_at.ToMicroseconds() == 2_000
        assert not top.HasField("finished_at")
        assert [p.summary.execution_id.id for p in messages[1].executions] == [execution_id, child]
        assert all(p.HasField("finished_at") for p in messages[1].executions)

    serving(scenario)


def test_health_and_both_reflections(serving):
    async def scenario(engine, service, channel):
        from grpc_health.v1 import health_pb2, health_pb2_grpc
        from grpc_reflection.v1alpha import reflection_pb2

        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        for version in ("v1", "v1alpha"):
            call = channel.stream_stream(
                f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
                response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
            )(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
            names = {one.name for one in (await call.read()).list_services_response.service}
            services = {
                "ExecutionRepository",
                "FunctionRepository",
                "ExecutionCalls",
                "ExecutionChanges",
                "ExecutionRepair",
            }
            assert {f"obelisk.{service}" for service in services} <= names
            assert "grpc.reflection.v1.ServerReflection" in names

    serving(scenario)


def test_events_name_the_backtrace_of_their_call_once_it_is_kept(serving):
    async def scenario(engine, service, channel):
        stub = pb_grpc.ExecutionRepositoryStub(channel)
        execution_id = engine.create(engine.new_execution_id(), FIBOA, b"[10,2]")
        engine.fibo_run(execution_id)
        own = pb.ExecutionId(id=execution_id)

        async def ids(asked=True, start=0):
            one = await stub.ListExecutionEvents(
                pb.ListExecutionEventsRequest(
                    execution_id=own, version_from=start, length=20, include_backtrace_id=asked
                )
            )
            both = await stub.ListExecutionEventsAndResponses(
                pb.ListExecutionEventsAndResponsesRequest(
                    execution_id=own, version_from=start, events_length=20, include_backtrace_id=asked
                )
            )
            assert one.events == both.events
            return [each.backtrace_id if each.HasField("backtrace_id") else None for each in one.events]

        assert await ids() == [None] * 9
        request = pb.GetBacktraceRequest(execution_id=own)
        request.specific.version = 6
        await stub.GetBacktrace(request)
        assert await ids() == [None] * 5 + [5, 5, 5, None]
        answer = await stub.PersistExecutionBacktraces(pb.PersistExecutionBacktracesRequest(execution_id=own))
        assert answer.persisted_backtrace_count == 1
        assert await ids() == [None, None, 2, 2, 2, 5, 5, 5, None]
        assert await ids(start=4) == [2, 5, 5, 5, None]
        assert await ids(asked=False) == [None] * 9

    serving(scenario)


def test_an_rpc_of_a_later_version_is_unimplemented(serving):
    async def scenario(engine, service, channel):
        call = channel.unary_unary("/obelisk.ExecutionRepository/DreamOfExecution")
        code, _ = await fails(call(b""))
        assert code is grpc.StatusCode.UNIMPLEMENTED

    serving(scenario)


def test_a_port_in_use_is_named_with_the_reason(loop):
    from obelisk.server.grpc import GrpcDoor, PortUnavailable

    async def main():
        one, other = GrpcDoor(), GrpcDoor()
        port = one.bind("127.0.0.1", 0)
        with pytest.raises(PortUnavailable, match=f"cannot listen on 127.0.0.1:{port}: address already in use; stop"):
            other.bind("127.0.0.1", port)
        with pytest.raises(PortUnavailable, match=r"nowhere\.invalid:1"):
            other.bind("nowhere.invalid", 1)
        await one._server.stop(None)
        await other._server.stop(None)

    loop.run(main())
