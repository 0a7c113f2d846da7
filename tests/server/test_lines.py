"""ListLogs and FollowLogs over a real channel."""

from __future__ import annotations

import base64

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from obelisk_tests_small_engine import FIBOA

from obelisk.core.calls import Log, LogLevel, Output, StdStream
from obelisk.core.instants import SECOND_US
from obelisk.core.lines import NewLogLine
from obelisk.core.values import Json, Ok
from obelisk.proto import obelisk_pb2 as pb
from obelisk.proto import obelisk_pb2_grpc as pb_grpc


def started(engine):
    return engine.create(engine.new_execution_id(), FIBOA, b"[10,1]")


def say(engine, execution_id, text, level=LogLevel.INFO):
    return NewLogLine(execution_id, engine.now(), Log(level, text), "Run_1")


def out(engine, execution_id, data, stream=StdStream.STDOUT):
    return NewLogLine(execution_id, engine.now(), Output(stream, data))


def asked(execution_id, **fields):
    fields = {"show_logs": True, "show_streams": True} | fields
    return pb.ListLogsRequest(execution_id=pb.ExecutionId(id=execution_id), **fields)


def texts(page):
    return [each.log.message if each.HasField("log") else each.stream.payload for each in page.logs]


def test_a_line_as_it_is_sent(serving):
    async def scenario(engine, service, channel):
        stub = pb_grpc.ExecutionRepositoryStub(channel)
        one = started(engine)
        engine.log(say(engine, one, "a", LogLevel.WARN), out(engine, one, b"\xffraw\n", StdStream.STDERR))
        log, stream = (await stub.ListLogs(asked(one))).logs
        at = Timestamp(seconds=engine.now() // SECOND_US, nanos=engine.now() % SECOND_US * 1_000)
        assert (log.created_at, log.execution_id.id, log.run_id.id) == (at, one, "Run_1")
        assert (log.log.level, log.log.message) == (pb.LOG_LEVEL_WARN, "a")
        assert (stream.stream.stream_type, stream.stream.payload) == (pb.LOG_STREAM_TYPE_STDERR, b"\xffraw\n")
        assert not stream.HasField("run_id")

    serving(scenario)


def test_pages_and_their_tokens(serving):
    async def scenario(engine, service, channel):
        stub = pb_grpc.ExecutionRepositoryStub(channel)
        one = started(engine)
        first = await stub.ListLogs(asked(one))
        assert (texts(first), first.HasField("prev_page_token")) == ([], False)
        engine.log(*[say(engine, one, str(index)) for index in range(25)])
        assert texts(await stub.ListLogs(asked(one, page_token=first.next_page_token)))[:2] == ["0", "1"]
        for size in (0, -1, 201, 20):
            assert len((await stub.ListLogs(asked(one, page_size=size))).logs) == 20
        assert len((await stub.ListLogs(asked(one, page_size=200))).logs) == 25
        page = await stub.ListLogs(asked(one, page_size=10))
        assert base64.b64decode(page.next_page_token) == b'{"NewerThan":{"cursor":10}}'
        second = await stub.ListLogs(asked(one, page_size=10, page_token=page.next_page_token))
        assert texts(second) == [str(index) for index in range(10, 20)]
        assert base64.b64decode(second.prev_page_token) == b'{"OlderThan":{"cursor":11}}'
        back = await stub.ListLogs(asked(one, page_size=10, page_token=second.prev_page_token))
        assert texts(back) == texts(page)
        end = await stub.ListLogs(asked(one, page_size=10, page_token=back.prev_page_token))
        assert texts(end) == []
        assert texts(await stub.ListLogs(asked(one, page_size=10, page_token=end.next_page_token))) == texts(page)
        for token in ("", "nonsense", "bm9uZQ==", base64.b64encode(b'{"NewerThan":{"cursor":-1}}').decode()):
            assert texts(await stub.ListLogs(asked(one, page_size=10, page_token=token))) == texts(page)

    serving(scenario)


def test_filters(serving):
    async def scenario(engine, service, channel):
        stub = pb_grpc.ExecutionRepositoryStub(channel)
        one = started(engine)
        engine.lock(one)
        child = engine.call(one, 1)
        engine.log(say(engine, one, "info"), say(engine, one, "error", LogLevel.ERROR), out(engine, one, b"out"))
        before = engine.now()
        engine.advance(SECOND_US)
        engine.log(out(engine, one, b"err", StdStream.STDERR), say(engine, child, "child"))

        async def found(**fields):
            return texts(await stub.ListLogs(asked(one, **fields)))

        assert await found() == ["info", "error", b"out", b"err"]
        assert await found(show_streams=False) == ["info", "error"]
        assert await found(show_logs=False, levels=[pb.LOG_LEVEL_INFO]) == [b"out", b"err"]
        assert await found(levels=[pb.LOG_LEVEL_ERROR], stream_types=[pb.LOG_STREAM_TYPE_STDERR]) == ["error", b"err"]
        assert await found(show_derived=True, show_streams=False) == ["info", "error", "child"]
        assert await found(after=Timestamp(seconds=before // SECOND_US, nanos=before % SECOND_US * 1_000)) == [b"err"]

    serving(scenario)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"show_logs": False, "show_streams": False}, "one of `show_logs` and `show_streams` must be set"),
        ({"levels": [0]}, "0 is no level of a line"),
        ({"stream_types": [9]}, "9 is no level of a line, or no type of a stream"),
        ({"execution_id": pb.ExecutionId(id="x")}, "x"),
    ],
)
def test_what_makes_no_sense_is_refused(serving, fields, text):
    async def scenario(engine, service, channel):
        request = asked(started(engine))
        request = pb.ListLogsRequest(execution_id=fields.get("execution_id", request.execution_id))
        rest = {"show_logs": True, "show_streams": True} | {k: v for k, v in fields.items() if k != "execution_id"}
        request.MergeFrom(pb.ListLogsRequest(**rest))
        for call in (
            pb_grpc.ExecutionRepositoryStub(channel).ListLogs(request),
            pb_grpc.ExecutionChangesStub(channel).FollowLogs(request).read(),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert text in caught.value.details()

    serving(scenario)


def test_nobody_is_not_found(serving):
    async def scenario(engine, service, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await pb_grpc.ExecutionRepositoryStub(channel).ListLogs(asked(engine.new_execution_id()))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND

    serving(scenario)


def test_lists_are_cut_off_below_what_clients_take(serving):
    async def scenario(engine, service, channel):
        stub = pb_grpc.ExecutionRepositoryStub(channel)
        one = started(engine)
        engine.log(*[say(engine, one, f"{index}" + "x" * (1 << 20)) for index in range(5)])
        sizes, token, read = [], "", []
        while page := (await stub.ListLogs(asked(one, page_token=token))).logs and (
            await stub.ListLogs(asked(one, page_token=token))
        ):
            sizes.append(len(page.logs))
            read += [text[0] for text in texts(page)]
            token = page.next_page_token
        assert (sizes, read) == ([2, 2, 1], ["0", "1", "2", "3", "4"])
        older = base64.b64encode(b'{"OlderThan":{"cursor":6}}').decode()
        assert [text[0] for text in texts(await stub.ListLogs(asked(one, page_token=older)))] == ["3", "4"]

    serving(scenario)


def test_following_and_taking_it_up_again(serving):
    async def scenario(engine, service, channel):
        changes = pb_grpc.ExecutionChangesStub(channel)
        one = started(engine)
        engine.log(say(engine, one, "a"))
        call = changes.FollowLogs(asked(one))
        first = await call.read()
        assert texts(first) == ["a"]
        engine.log(say(engine, one, "b"))
        second = await call.read()
        assert texts(second) == ["b"]
        call.cancel()
        engine.log(say(engine, one, "c"))
        engine.finish(one, Ok(Json(b"55")))
        again = [message async for message in changes.FollowLogs(asked(one, page_token=first.next_page_token))]
        assert [texts(message) for message in again] == [["b", "c"]]

    serving(scenario)
