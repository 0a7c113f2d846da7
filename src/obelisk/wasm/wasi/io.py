"""wasi:io: errors, polling, and the functions of streams.

Decides what a guest may ask of a stream and which of its mistakes trap. What comes out of a stream, or where it goes, is the
stream's: `streams` has those of activities, `output` those that end in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from obelisk.wasm.wasi.host import Answer, GuestTrap, Host, WasiFunction, is_later, method, then, value_of
from obelisk.wit.types import Value

READ_MAX: Final = 64 << 10
"""Bytes that one read gives; a guest may ask for more, and reads again."""
BLOCKING_WRITE_MAX: Final = 4096
"""Bytes that one blocking write may have: the interface says so."""
POLL_MAX: Final = 10_000
"""Pollables that one `poll` may name: each is looked at on a thread that others use too."""
CLOSED: Final[Value] = (False, (1, None))
"""`stream-error.closed`."""


class IoError:
    """`wasi:io/error`: why a stream failed. `cause`: what other interfaces know of it (an HTTP error code)."""

    def __init__(self, text: str, cause: object = None) -> None:
        self.text = text
        self.cause = cause

    def to_debug_string(self) -> str:
        """Its text."""
        return self.text


def failed(error: IoError) -> Value:
    """`stream-error.last-operation-failed`."""
    return False, (0, error)


class StreamFailed(Exception):
    """A source or sink cannot go on; the guest is told `error`."""

    def __init__(self, error: IoError) -> None:
        super().__init__(error.text)
        self.error = error


class Ready:
    """A pollable that is always ready."""

    def ready(self) -> bool:
        """Always."""
        return True

    async def wait(self) -> None:
        """Returns at once."""


# --- poll ------------------------------------------------------------------------------------------------------------


def _poll(host: Host, pollables: list[Any]) -> Answer:
    if not pollables:
        raise GuestTrap("wasi:io/poll.poll was called with an empty list")
    if len(pollables) > POLL_MAX:
        raise GuestTrap(
            f"wasi:io/poll.poll was called with {len(pollables)} pollables; at most {POLL_MAX} are looked at"
        )
    return host.poll(pollables)


def _pollable_ready(host: Host, pollable: Any) -> Answer:
    return pollable.ready()


def _pollable_block(host: Host, pollable: Any) -> Answer:
    return then(host.poll([pollable]), lambda _ready: None)


# --- output ----------------------------------------------------------------------------------------------------------


def _blocking_write_and_flush(host: Host, stream: Any, data: bytes) -> Answer:
    if len(data) > BLOCKING_WRITE_MAX:
        raise GuestTrap(f"a blocking write may have at most {BLOCKING_WRITE_MAX} bytes; it had {len(data)}")
    return stream.blocking_write(data)


def _blocking_write_zeroes(host: Host, stream: Any, length: int) -> Answer:
    return _blocking_write_and_flush(host, stream, bytes(min(length, BLOCKING_WRITE_MAX + 1)))


def _write_zeroes(host: Host, stream: Any, length: int) -> Answer:
    permit = stream.check_write()
    if permit[0] and length > permit[1]:
        raise GuestTrap(f"{length} zeroes were written where {permit[1]} bytes were permitted")
    return stream.write(bytes(length)) if permit[0] else permit


def _splice(host: Host, stream: Any, source: Any, length: int) -> Answer:
    permit = stream.check_write()
    if not permit[0]:
        return permit
    read = source.read(min(length, permit[1]))
    return _passed_on(stream, read) if not is_later(read) else _splice_later(stream, read)


def _passed_on(stream: Any, read: Value) -> Answer:
    if not read[0]:
        return read
    written = stream.write(read[1])
    if is_later(written):
        return _count_later(written, len(read[1]))
    return (True, len(read[1])) if written[0] else written


async def _count_later(written: Answer, count: int) -> Value:
    result = await value_of(written)
    return (True, count) if result[0] else result


async def _splice_later(stream: Any, read: Answer) -> Value:
    return await value_of(_passed_on(stream, await value_of(read)))


async def _blocking_splice(host: Host, stream: Any, source: Any, length: int) -> Value:
    for end in (stream, source):
        await value_of(_pollable_block(host, end.subscribe()))
    return await value_of(_splice(host, stream, source, length))


def _limited(name: str) -> WasiFunction:
    def call(_host: Host, stream: Any, length: int) -> Answer:
        return getattr(stream, name)(min(length, READ_MAX))

    return call


FUNCTIONS: Final[Mapping[str, Mapping[str, WasiFunction]]] = {
    "wasi:io/error": {"[method]error.to-debug-string": method("to_debug_string")},
    "wasi:io/poll": {
        "poll": _poll,
        "[method]pollable.ready": _pollable_ready,
        "[method]pollable.block": _pollable_block,
    },
    "wasi:io/streams": {
        "[method]input-stream.read": _limited("read"),
        "[method]input-stream.blocking-read": _limited("blocking_read"),
        "[method]input-stream.skip": _limited("skip"),
        "[method]input-stream.blocking-skip": _limited("blocking_skip"),
        "[method]input-stream.subscribe": method("subscribe"),
        "[method]output-stream.check-write": method("check_write"),
        "[method]output-stream.write": method("write"),
        "[method]output-stream.blocking-write-and-flush": _blocking_write_and_flush,
        "[method]output-stream.flush": method("flush"),
        "[method]output-stream.blocking-flush": method("blocking_flush"),
        "[method]output-stream.subscribe": method("subscribe"),
        "[method]output-stream.write-zeroes": _write_zeroes,
        "[method]output-stream.blocking-write-zeroes-and-flush": _blocking_write_zeroes,
        "[method]output-stream.splice": _splice,
        "[method]output-stream.blocking-splice": _blocking_splice,
    },
}
