"""The world of a workflow: all of it is asked of the machine."""

from __future__ import annotations

from typing import Any

import pytest

from obelisk.core import calls
from obelisk.core.calls import DONE, CurrentTime, Output, RandomSeed, Sleep, StdStream
from obelisk.core.instants import In
from obelisk.wasm.wasi.host import GuestTrap, is_later
from obelisk.wasm.wasi.tables import WORKFLOW, function_of
from obelisk.wasm.wasi.workflow import WorkflowHost

AT = "wasi:clocks/monotonic-clock@0.2.9.subscribe-instant"
AFTER = "wasi:clocks/monotonic-clock@0.2.9.subscribe-duration"
POLL = "wasi:io/poll@0.2.9.poll"


class Flow:
    """A workflow that calls functions of WASI, and the machine that answers: its clock moves by what is slept."""

    def __init__(self, seed: str = "E_1", now: int = 1_700_000_000_123_456) -> None:
        self.host = WorkflowHost()
        self.seed = seed
        self.now = now
        self.asked: list[calls.Call] = []

    def call(self, function: str, *arguments: Any) -> Any:
        interface, _, name = function.rpartition(".")
        if "[method]" in function:
            interface, _, name = function.partition(".[method]")
            name = f"[method]{name}"
        found = function_of(WORKFLOW, interface, name)
        assert found is not None, function
        answer = found(self.host, *arguments)
        if not is_later(answer):
            return answer
        reply: Any = None
        while True:
            try:
                reply = self._reply(answer.send(reply))
            except StopIteration as end:
                return end.value

    def _reply(self, call: calls.Call) -> calls.Reply:
        self.asked.append(call)
        match call:
            case CurrentTime():
                return self.now
            case RandomSeed():
                return self.seed
            case Sleep(In(duration_us)):
                self.now += duration_us
                return calls.WokenAt(self.now)  # type: ignore[arg-type]
            case Output():
                return DONE
        raise AssertionError(call)


def test_the_clocks_are_the_workflows_clock() -> None:
    flow = Flow()
    assert flow.call("wasi:clocks/wall-clock@0.2.9.now") == (1_700_000_000, 123_456_000)
    assert flow.call("wasi:clocks/monotonic-clock@0.2.9.now") == 1_700_000_000_123_456_000
    assert flow.asked == [CurrentTime()] * 2


def test_a_sleep_of_the_guests_language_is_a_durable_delay() -> None:
    flow = Flow(now=1_000)
    timer = flow.call(AFTER, 1_500_000_500)
    assert not flow.call("wasi:io/poll@0.2.9.[method]pollable.ready", timer)
    assert flow.call("wasi:io/poll@0.2.9.[method]pollable.block", timer) is None
    assert [call for call in flow.asked if isinstance(call, Sleep)] == [Sleep(In(1_500_001))]  # never too short
    assert flow.call("wasi:io/poll@0.2.9.[method]pollable.ready", timer)
    assert flow.call("wasi:io/poll@0.2.9.[method]pollable.block", timer) is None
    assert len([call for call in flow.asked if isinstance(call, Sleep)]) == 1


def test_of_several_the_earliest_is_slept_for() -> None:
    flow = Flow(now=1_000)
    late, soon, past = flow.call(AFTER, 9_000_000), flow.call(AFTER, 2_000_000), flow.call(AT, 5)
    stdout = flow.call("wasi:cli/stdout@0.2.9.get-stdout")
    always = stdout.subscribe()
    assert flow.call(POLL, [late, always, past]) == [1, 2]
    assert flow.call(POLL, [late, soon]) == [1]
    assert [call for call in flow.asked if isinstance(call, Sleep)] == [Sleep(In(2_000))]
    with pytest.raises(GuestTrap):
        flow.call(POLL, [])


def test_a_delay_that_was_cancelled_is_over() -> None:
    flow = Flow(now=1_000)
    timer = flow.call(AFTER, 9_000_000)
    replies = iter([1_000, 1_000, calls.DelayCancelled(), 1_000])
    flow._reply = lambda _call: next(replies)  # type: ignore[method-assign,assignment]
    assert flow.call(POLL, [timer]) == [0]


def test_randomness_follows_from_the_seed() -> None:
    def drawn(seed: str) -> list[Any]:
        flow = Flow(seed)
        found = [
            flow.call("wasi:random/random@0.2.9.get-random-bytes", 5),
            flow.call("wasi:random/random@0.2.9.get-random-u64"),
            flow.call("wasi:random/insecure-seed@0.2.9.insecure-seed"),
            flow.call("wasi:random/random@0.2.9.get-random-bytes", 5),
        ]
        assert flow.asked == [RandomSeed()]
        return found

    assert drawn("E_1") == drawn("E_1") != drawn("E_2")
    first, number, (low, high), last = drawn("E_1")
    assert first != last and len({number, low, high}) == 3


def test_output_is_asked_of_the_machine_line_by_line() -> None:
    flow = Flow()
    out = flow.call("wasi:cli/stdout@0.2.9.get-stdout")
    write = "wasi:io/streams@0.2.9.[method]output-stream.blocking-write-and-flush"
    assert flow.call(write, out, b"no end yet") == (True, None)
    assert flow.asked == []
    assert flow.call(write, out, b"\nx" * 2_000) == (True, None)
    assert flow.call(write, out, b"\nx" * 2_000) == (True, None)
    told = [call.data for call in flow.asked if isinstance(call, Output)]
    assert b"".join(told) == b"no end yet" + b"\nx" * 3_999 + b"\n" and len(told) == len(flow.asked) == 2
    assert flow.host.rest() == [Output(StdStream.STDOUT, b"x")]
    assert flow.host.rest() == []


def test_there_is_no_environment() -> None:
    flow = Flow()
    assert flow.call("wasi:cli/environment@0.2.9.get-environment") == []
    assert flow.call("wasi:cli/environment@0.2.9.get-arguments") == []
    stdin = flow.call("wasi:cli/stdin@0.2.9.get-stdin")
    assert flow.call("wasi:io/streams@0.2.9.[method]input-stream.blocking-read", stdin, 1) == (False, (1, None))
