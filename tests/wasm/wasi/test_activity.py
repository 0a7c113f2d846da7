"""The world of an activity: clocks, waits, randomness, environment, standard streams, and how it ends."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from obelisk.core.calls import Log, LogLevel, Output, StdStream
from obelisk.core.policy import Sandbox
from obelisk.wasm.wasi.host import GuestTrap, Subscription
from obelisk.wasm.wasi.io import POLL_MAX
from obelisk.wasm.wasi.output import LINE_MAX, PERMIT, Lines
from obelisk.wasm.wasi.random import BYTES_MAX
from obelisk.wasm.wasi.tables import ACTIVITY, WORKFLOW
from obelisk.wit import wasi

DONE = (True, None)


def test_the_clocks_are_the_real_ones(guest: Any) -> None:
    seconds, nanoseconds = guest.call("wasi:clocks/wall-clock@0.2.0.now")
    assert abs(seconds + nanoseconds / 1e9 - time.time()) < 5
    before = guest.call("wasi:clocks/monotonic-clock@0.2.0.now")
    assert before <= guest.call("wasi:clocks/monotonic-clock@0.2.0.now") <= time.monotonic_ns()
    assert guest.call("wasi:clocks/wall-clock@0.2.0.resolution") == (0, 1_000)
    assert guest.call("wasi:clocks/monotonic-clock@0.2.0.resolution") == 1_000
    assert guest.call("wasi:clocks/timezone@0.2.0.display", (0, 0)) == (0, "UTC", False)
    assert guest.call("wasi:clocks/timezone@0.2.0.utc-offset", (0, 0)) == 0


def test_a_wait_takes_its_time_and_those_that_are_ready_are_named(guest: Any) -> None:
    at = "wasi:clocks/monotonic-clock@0.2.0.subscribe-instant"
    after = "wasi:clocks/monotonic-clock@0.2.0.subscribe-duration"
    past, soon, late = guest.call(at, 0), guest.call(after, 1_000_000_000), guest.call(after, 60_000_000_000)
    assert guest.call("wasi:io/poll@0.2.0.[method]pollable.ready", past)
    assert not guest.call("wasi:io/poll@0.2.0.[method]pollable.ready", soon)
    assert guest.call("wasi:io/poll@0.2.0.poll", [late, past, soon]) == [1]
    begun = time.monotonic()
    assert guest.call("wasi:io/poll@0.2.0.poll", [late, soon]) == [1]
    assert 0.02 < time.monotonic() - begun < 30
    assert guest.call("wasi:io/poll@0.2.0.[method]pollable.block", soon) is None
    with pytest.raises(GuestTrap, match="empty list"):
        guest.call("wasi:io/poll@0.2.0.poll", [])


class _Never:
    """Counts who waits for it."""

    def __init__(self) -> None:
        self.waits = 0

    def ready(self) -> bool:
        return False

    async def wait(self) -> None:
        self.waits += 1
        await asyncio.Event().wait()


def test_what_is_polled_many_times_is_waited_for_once(guest: Any) -> None:
    after = "wasi:clocks/monotonic-clock@0.2.0.subscribe-duration"
    never, late, soon = _Never(), guest.call(after, 60_000_000_000), guest.call(after, 50_000_000)
    named = [Subscription(never) for _ in range(100)] + [never] * 100 + [late] * 1_000 + [soon] * 2
    assert guest.call("wasi:io/poll@0.2.0.poll", named) == [1_200, 1_201]
    assert never.waits == 1


def test_a_poll_has_a_limit(guest: Any) -> None:
    past = guest.call("wasi:clocks/monotonic-clock@0.2.0.subscribe-instant", 0)
    assert len(guest.call("wasi:io/poll@0.2.0.poll", [past] * POLL_MAX)) == POLL_MAX
    with pytest.raises(GuestTrap, match="10001 pollables"):
        guest.call("wasi:io/poll@0.2.0.poll", [past] * (POLL_MAX + 1))


def test_randomness_is_random(guest: Any) -> None:
    drawn = [guest.call("wasi:random/random@0.2.0.get-random-bytes", 16) for _ in range(2)]
    assert len(set(drawn)) == 2 and {len(each) for each in drawn} == {16}
    numbers = {guest.call("wasi:random/random@0.2.0.get-random-u64") for _ in range(9)}
    numbers |= {guest.call("wasi:random/insecure@0.2.0.get-insecure-random-u64") for _ in range(9)}
    numbers |= set(guest.call("wasi:random/insecure-seed@0.2.0.insecure-seed"))
    assert len(numbers) == 20 and all(0 <= number < 1 << 64 for number in numbers)
    assert len(guest.call("wasi:random/insecure@0.2.0.get-insecure-random-bytes", 3)) == 3
    with pytest.raises(GuestTrap, match="at most 1048576"):
        guest.call("wasi:random/random@0.2.0.get-random-bytes", BYTES_MAX + 1)


def test_the_environment_is_what_the_sandbox_says(guest: Any) -> None:
    environment = "wasi:cli/environment@0.2.0.get-environment"
    assert guest.call(environment) == []
    guest.host = guest.new_host(Sandbox(environment=(("KEY", "value"),)))
    assert guest.call(environment) == [("KEY", "value")]
    assert guest.call("wasi:cli/environment@0.2.0.get-arguments") == []
    assert guest.call("wasi:cli/environment@0.2.0.initial-cwd") is None
    for stream in ("stdin", "stdout", "stderr"):
        assert guest.call(f"wasi:cli/terminal-{stream}@0.2.0.get-terminal-{stream}") is None


@pytest.mark.parametrize(
    ("function", "status", "said"),
    [
        ("exit", (True, None), "exit, with success"),
        ("exit", (False, None), "exit, with failure"),
        ("exit-with-code", 3, "code 3"),
    ],
)
def test_exit_is_no_way_to_return(guest: Any, function: str, status: object, said: str) -> None:
    with pytest.raises(GuestTrap, match=said):
        guest.call(f"wasi:cli/exit@0.2.0.{function}", status)


def test_output_becomes_lines_of_the_log(guest: Any) -> None:
    out, err = guest.call("wasi:cli/stdout@0.2.0.get-stdout"), guest.call("wasi:cli/stderr@0.2.0.get-stderr")
    write = "wasi:io/streams@0.2.0.[method]output-stream.write"
    assert guest.call(write, out, b"one\ntwo") == DONE
    again = guest.call("wasi:cli/stdout@0.2.0.get-stdout")
    assert guest.call("wasi:io/streams@0.2.0.[method]output-stream.blocking-write-and-flush", err, b"oh\n") == DONE
    assert guest.call(write, again, b"!\n") == DONE
    assert guest.call("wasi:io/streams@0.2.0.[method]output-stream.blocking-flush", out) == DONE
    guest.call("obelisk:log/log@1.0.0.warn", "careful")
    guest.call(write, out, b"no end")
    stdout = [Output(StdStream.STDOUT, data) for data in (b"one\n", b"two!\n", b"no end")]
    before = [stdout[0], Output(StdStream.STDERR, b"oh\n"), stdout[1], Log(LogLevel.WARN, "careful")]
    assert guest.lines == before
    guest.host.close()
    guest.host.close()
    assert guest.lines == [*before, stdout[2]]
    with pytest.raises(GuestTrap):
        guest.call(write, out, bytes(PERMIT + 1))


def test_a_long_line_is_cut_and_nothing_is_lost() -> None:
    lines = Lines(StdStream.STDOUT)
    data = b"x" * (LINE_MAX - 1) + b"\n" + b"y" * (2 * LINE_MAX + 5) + b"\nz"
    pieces = [piece for byte in (data[:10], data[10:]) for piece in lines.take(byte)]
    assert [len(piece.data) for piece in pieces] == [LINE_MAX, LINE_MAX, LINE_MAX, 6]
    assert b"".join(piece.data for piece in pieces + lines.rest()) == data
    assert lines.rest() == []


def test_standard_input_is_at_its_end(guest: Any) -> None:
    stdin = guest.call("wasi:cli/stdin@0.2.0.get-stdin")
    assert guest.call("wasi:io/streams@0.2.0.[method]input-stream.blocking-read", stdin, 5) == (False, (1, None))


def test_what_was_started_for_a_run_ends_with_it(guest: Any) -> None:
    ended, closed = threading.Event(), threading.Event()

    async def forever() -> None:
        try:
            await asyncio.sleep(3_600)
        finally:
            ended.set()

    guest.host.spawn(forever())
    guest.host.on_close(closed.set)
    assert not ended.wait(0.02)
    guest.host.close()
    assert ended.wait(60) and closed.wait(5)
    assert guest.host.spawn(forever()).cancelled()


def test_the_tables_have_what_the_checks_let_through() -> None:
    assert {name for name in WORKFLOW if name.startswith("wasi:")} >= wasi.DETERMINISTIC
    assert {name for name in ACTIVITY if name.startswith("wasi:")} >= wasi.DETERMINISTIC
