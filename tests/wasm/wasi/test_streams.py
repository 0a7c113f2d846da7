"""Streams between a guest's thread and the I/O loop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from obelisk.wasm.wasi.host import GuestTrap
from obelisk.wasm.wasi.io import CLOSED, FUNCTIONS, READ_MAX, IoError, StreamFailed
from obelisk.wasm.wasi.streams import AHEAD_MAX, EmptyInput, InputStream, OutputStream

STREAMS = FUNCTIONS["wasi:io/streams"]
DONE = (True, None)


class Chunks:
    """A source that gives what it is given, and notes how much was asked for."""

    def __init__(self, *chunks: bytes | Exception) -> None:
        self.chunks = list(chunks)
        self.fetched = 0
        self.may = asyncio.Event()
        self.may.set()

    async def fetch(self, limit: int) -> bytes:
        await self.may.wait()
        self.fetched += 1
        if not self.chunks:
            return b""
        chunk = self.chunks.pop(0)
        if isinstance(chunk, Exception):
            raise chunk
        assert len(chunk) <= limit
        return chunk


class Bucket:
    """A sink that takes what it gets once it may."""

    def __init__(self, error: Exception | None = None) -> None:
        self.got: list[bytes] = []
        self.flushes = 0
        self.error = error
        self.may = asyncio.Event()
        self.may.set()

    async def drain(self, data: bytes) -> None:
        await self.may.wait()
        if self.error is not None:
            raise self.error
        self.got.append(data)

    async def flush(self) -> None:
        self.flushes += 1


def test_a_stream_is_read_to_its_end(guest: Any) -> None:
    stream = InputStream(Chunks(b"hello", b"!"), guest.spawn)
    read = "wasi:io/streams@0.2.3.[method]input-stream.blocking-read"
    assert [guest.call(read, stream, size) for size in (2, 3, 3, 3)] == [
        (True, b"he"),
        (True, b"llo"),
        (True, b"!"),
        CLOSED,
    ]
    assert guest.call(read, stream, 3) == CLOSED
    assert guest.call("wasi:io/streams@0.2.3.[method]input-stream.read", stream, 3) == CLOSED


def test_no_more_than_one_chunk_is_read_ahead(guest: Any) -> None:
    source = Chunks(*[b"x" * READ_MAX] * 5)
    stream = InputStream(source, guest.spawn)
    guest.value(stream.wait())
    for _ in range(3):
        guest.value(stream.wait())
    assert source.fetched == 1
    assert guest.call("wasi:io/streams@0.2.3.[method]input-stream.read", stream, 1 << 30) == (True, b"x" * READ_MAX)


def test_a_read_that_finds_nothing_starts_to_fetch(guest: Any) -> None:
    source = Chunks(b"late")
    source.may.clear()
    stream = InputStream(source, guest.spawn)
    assert guest.call("wasi:io/streams@0.2.3.[method]input-stream.read", stream, 9) == (True, b"")
    assert guest.call("wasi:io/streams@0.2.3.[method]input-stream.read", stream, 9) == (True, b"")
    guest.loop.call_soon_threadsafe(source.may.set)
    guest.value(stream.wait())
    assert source.fetched == 1
    assert guest.call("wasi:io/streams@0.2.3.[method]input-stream.read", stream, 9) == (True, b"late")


def test_a_wait_that_is_given_up_loses_nothing(guest: Any) -> None:
    source = Chunks(b"kept")
    source.may.clear()
    stream = InputStream(source, guest.spawn)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream.wait(), 0.01)

    guest.value(give_up())
    guest.loop.call_soon_threadsafe(source.may.set)
    assert guest.call("wasi:io/streams@0.2.3.[method]input-stream.blocking-read", stream, 9) == (True, b"kept")
    assert source.fetched == 1


def test_a_failure_is_told_once_and_then_the_stream_is_closed(guest: Any) -> None:
    error = IoError("reset")
    stream = InputStream(Chunks(b"a", StreamFailed(error)), guest.spawn)
    blocking = "wasi:io/streams@0.2.3.[method]input-stream.blocking-read"
    assert [guest.call(blocking, stream, 9) for _ in range(3)] == [(True, b"a"), (False, (0, error)), CLOSED]
    assert FUNCTIONS["wasi:io/error"]["[method]error.to-debug-string"](None, error) == "reset"


def test_skipping_counts(guest: Any) -> None:
    stream = InputStream(Chunks(b"hello"), guest.spawn)
    assert guest.call("wasi:io/streams@0.2.3.[method]input-stream.blocking-skip", stream, 2) == (True, 2)
    assert guest.call("wasi:io/streams@0.2.3.[method]input-stream.skip", stream, 9) == (True, 3)
    assert guest.call("wasi:io/streams@0.2.3.[method]input-stream.blocking-skip", stream, 9) == CLOSED


def test_an_empty_input_is_closed_and_ready(guest: Any) -> None:
    stream = EmptyInput()
    assert [
        guest.call(f"wasi:io/streams@0.2.3.[method]input-stream.{name}", stream, 1)
        for name in ("read", "blocking-read", "skip")
    ] == [CLOSED] * 3
    assert stream.subscribe().ready()


def test_what_is_written_arrives_in_order(guest: Any) -> None:
    sink = Bucket()
    stream = OutputStream(sink, guest.spawn)
    for letter in (b"a", b"b", b"c"):
        assert guest.call("wasi:io/streams@0.2.3.[method]output-stream.write", stream, letter) == DONE
    assert guest.call("wasi:io/streams@0.2.3.[method]output-stream.blocking-flush", stream) == DONE
    assert b"".join(sink.got) == b"abc" and sink.flushes == 1
    assert guest.call("wasi:io/streams@0.2.3.[method]output-stream.blocking-write-and-flush", stream, b"d") == DONE
    assert b"".join(sink.got) == b"abcd" and sink.flushes == 2
    assert guest.call("wasi:io/streams@0.2.3.[method]output-stream.blocking-write-zeroes-and-flush", stream, 3) == DONE
    assert guest.call("wasi:io/streams@0.2.3.[method]output-stream.write-zeroes", stream, 2) == DONE
    assert guest.call("wasi:io/streams@0.2.3.[method]output-stream.blocking-flush", stream) == DONE
    assert b"".join(sink.got) == b"abcd" + bytes(5)


def test_a_guest_cannot_write_further_ahead_than_it_may(guest: Any) -> None:
    sink = Bucket()
    sink.may.clear()
    stream = OutputStream(sink, guest.spawn)
    assert guest.call("wasi:io/streams@0.2.3.[method]output-stream.check-write", stream) == (True, AHEAD_MAX)
    assert guest.call("wasi:io/streams@0.2.3.[method]output-stream.write", stream, bytes(AHEAD_MAX)) == DONE
    assert guest.call("wasi:io/streams@0.2.3.[method]output-stream.check-write", stream) == (True, 0)
    assert not stream.ready()
    with pytest.raises(GuestTrap, match="1 bytes were written where 0 were permitted"):
        stream.write(b"x")
    with pytest.raises(GuestTrap, match="zeroes"):
        STREAMS["[method]output-stream.write-zeroes"](None, stream, 1)
    guest.loop.call_soon_threadsafe(sink.may.set)
    guest.value(stream.wait())
    assert guest.call("wasi:io/streams@0.2.3.[method]output-stream.check-write", stream) == (True, AHEAD_MAX)


def test_nothing_may_be_written_while_a_flush_is_under_way(guest: Any) -> None:
    sink = Bucket()
    sink.may.clear()
    stream = OutputStream(sink, guest.spawn)
    stream.write(b"x")
    assert guest.call("wasi:io/streams@0.2.3.[method]output-stream.flush", stream) == DONE
    assert guest.call("wasi:io/streams@0.2.3.[method]output-stream.check-write", stream) == (True, 0)
    guest.loop.call_soon_threadsafe(sink.may.set)
    guest.value(stream.wait())
    assert guest.call("wasi:io/streams@0.2.3.[method]output-stream.check-write", stream) == (True, AHEAD_MAX)
    assert sink.flushes == 1


def test_a_sink_that_fails_is_told_once(guest: Any) -> None:
    error = IoError("gone")
    stream = OutputStream(Bucket(StreamFailed(error)), guest.spawn)
    failed = (False, (0, error))
    assert guest.call("wasi:io/streams@0.2.3.[method]output-stream.blocking-write-and-flush", stream, b"x") == failed
    for name in ("check-write", "flush", "blocking-flush"):
        assert guest.call(f"wasi:io/streams@0.2.3.[method]output-stream.{name}", stream) == CLOSED
    assert guest.call("wasi:io/streams@0.2.3.[method]output-stream.write", stream, b"x") == CLOSED
    assert stream.ready()


def test_a_stream_that_is_dropped_still_sends_what_was_written(guest: Any) -> None:
    sink = Bucket()
    sink.may.clear()
    closed = threading.Event()

    async def close() -> None:
        closed.set()

    stream = OutputStream(sink, guest.spawn, close)
    stream.write(b"last")
    stream.close()
    assert not closed.wait(0.05)
    guest.loop.call_soon_threadsafe(sink.may.set)
    assert closed.wait(60)
    assert sink.got == [b"last"]


def test_a_blocking_write_has_a_limit() -> None:
    with pytest.raises(GuestTrap, match="at most 4096 bytes; it had 4097"):
        STREAMS["[method]output-stream.blocking-write-and-flush"](None, OutputStream(Bucket(), None), bytes(4097))  # type: ignore[arg-type]
    with pytest.raises(GuestTrap, match="at most 4096"):
        STREAMS["[method]output-stream.blocking-write-zeroes-and-flush"](
            None,
            OutputStream(Bucket(), None),  # type: ignore[arg-type]
            1 << 60,
        )


def test_one_stream_is_spliced_into_another(guest: Any) -> None:
    sink = Bucket()
    source, target = InputStream(Chunks(b"hello", b"!"), guest.spawn), OutputStream(sink, guest.spawn)
    assert guest.call("wasi:io/streams@0.2.3.[method]output-stream.splice", target, source, 9) == (True, 0)
    assert guest.call("wasi:io/streams@0.2.3.[method]output-stream.blocking-splice", target, source, 3) == (True, 3)
    assert guest.call("wasi:io/streams@0.2.3.[method]output-stream.blocking-splice", target, source, 9) == (True, 2)
    assert guest.call("wasi:io/streams@0.2.3.[method]output-stream.blocking-splice", target, source, 9) == (True, 1)
    assert guest.call("wasi:io/streams@0.2.3.[method]output-stream.blocking-splice", target, source, 9) == CLOSED
    assert guest.call("wasi:io/streams@0.2.3.[method]output-stream.blocking-flush", target) == DONE
    assert b"".join(sink.got) == b"hello!"


def test_a_fast_writer_and_a_slow_sink_meet_without_losing_a_byte(guest: Any) -> None:
    """The guest's thread and the loop's at once, many times."""
    sink = Bucket()
    stream = OutputStream(sink, guest.spawn)
    written = b""
    for number in range(3_000):
        data = b"%d " % number
        while not (permit := stream.check_write())[1] >= len(data):
            guest.value(stream.wait())
        assert permit[0]
        stream.write(data)
        written += data
    assert guest.call("wasi:io/streams@0.2.3.[method]output-stream.blocking-flush", stream) == DONE
    assert b"".join(sink.got) == written


def test_who_drops_what_it_waited_with_keeps_the_stream(guest: Any) -> None:
    closed = []

    async def on_close() -> None:
        closed.append(True)

    output = OutputStream(Bucket(), guest.spawn, on_close)
    for stream in (output, InputStream(Chunks(b"x"), guest.spawn)):
        pollable = stream.subscribe()
        guest.value(pollable.wait())
        assert pollable.ready()
        # What a run does with a handle that the guest drops.
        assert not hasattr(pollable, "close")
    assert not closed
