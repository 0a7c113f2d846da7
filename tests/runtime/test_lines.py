"""The buffer of lines that wait to be stored, and where the lines of an attempt go."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import msgspec
import pytest

from obelisk.core.calls import Log, LogLevel, LogLine, Output, StdStream
from obelisk.core.lines import LineFilter, LinePage, NewLogLine
from obelisk.core.policy import ExecutionPolicy, Forward, Limits, LogPolicy
from obelisk.core.ports import FunctionInfo, FunctionKind
from obelisk.core.values import ErrForm, Json
from obelisk.engine.effects import StartAttempt
from obelisk.runtime.lines import BATCH_LINES_MAX, ComponentLines, LineBuffer

START = StartAttempt("E_1", "Run_1", "sha256:0", "a:b/c.d", Json(b"[]"), 1_000)  # type: ignore[arg-type]
OUT = Output(StdStream.STDOUT, b"out\n")
ERR = Output(StdStream.STDERR, b"err\n")


def line(text: str, execution_id: str = "E_1", run: str = "Run_1") -> NewLogLine:
    return NewLogLine(execution_id, 7, Log(LogLevel.INFO, text), run)  # type: ignore[arg-type]


def buffer(**limits: int) -> tuple[LineBuffer, list[int]]:
    woken: list[int] = []
    return LineBuffer(msgspec.structs.replace(Limits(), **limits), lambda: woken.append(1)), woken


def test_the_first_line_wakes_and_waits_a_little() -> None:
    waiting, woken = buffer()
    assert waiting.due_in_s is None
    assert not waiting
    waiting.put(line("a"))
    waiting.put(line("b"))
    assert len(woken) == 1
    assert waiting
    due = waiting.due_in_s
    assert due is not None and 0 <= due <= 0.02
    time.sleep(due)
    assert waiting.due_in_s == 0
    assert waiting.take() == [line("a"), line("b")]
    assert waiting.due_in_s is None


def test_a_batch_has_so_many_lines() -> None:
    waiting, _ = buffer()
    for number in range(BATCH_LINES_MAX + 1):
        waiting.put(line(str(number)))
    assert waiting.due_in_s == 0
    assert len(waiting.take()) == BATCH_LINES_MAX
    assert waiting.take() == [line(str(BATCH_LINES_MAX))]


def test_a_batch_has_so_many_bytes() -> None:
    waiting, _ = buffer()
    for _ in range(10):
        waiting.put(line("x" * 200_000))
    assert [len(waiting.take()) for _ in range(4)] == [3, 3, 3, 1]


@pytest.mark.parametrize("limits", [{"log_buffer_lines_max": 2}, {"log_buffer_bytes_max": 410}])
def test_lines_that_find_no_room_are_counted_by_run(limits: dict[str, int]) -> None:
    waiting, woken = buffer(**limits)
    for number in range(5):
        waiting.put(line(str(number)))
    waiting.put(line("other", "E_2", "Run_2"))
    assert len(woken) == 1
    kept, more, first, second = waiting.take()
    assert [kept, more] == [line("0"), line("1")]
    text = "[obelisk] {} lines were not stored: more was logged than could be written"
    assert [first.execution_id, first.run, second.execution_id] == ["E_1", "Run_1", "E_2"]
    assert first.line == Log(LogLevel.WARN, text.format(3))
    assert second.line == Log(LogLevel.WARN, text.format(1))
    waiting.put(line("again"))
    assert waiting.take() == [line("again")]


def test_what_was_not_stored_after_all_comes_first_again() -> None:
    waiting, _ = buffer()
    waiting.put(line("a"))
    taken = waiting.take()
    waiting.put(line("b"))
    waiting.give_back(taken)
    assert waiting.take() == [line("a"), line("b")]


class World:
    """One component with a policy; what is told where."""

    def __init__(self, policy: LogPolicy, **limits: int) -> None:
        self.policy = policy
        self.written: list[tuple[str, bytes, bool]] = []
        changed = msgspec.structs.replace(Limits(), **limits)
        self.buffer = LineBuffer(changed, lambda: None)
        self.lines = ComponentLines(self, changed, self.buffer, self, lambda: 9)  # type: ignore[arg-type]

    def pinned(self, component: Any, ffqn: Any) -> FunctionInfo:
        return FunctionInfo(ffqn, FunctionKind.ACTIVITY, component, ErrForm.NONE, ExecutionPolicy(logs=self.policy))

    def name_of(self, component: str) -> str:
        return "acts"

    def write(self, prefix: str, data: bytes, *, is_error: bool) -> None:
        self.written.append((prefix, data, is_error))

    def stored(self) -> list[LogLine]:
        return [new.line for new in self.buffer.take()]


def test_lines_of_an_attempt_go_to_the_store_and_the_log_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "app")
    world = World(LogPolicy(LogLevel.INFO))
    attempt = world.lines.of_attempt(START)
    said = [Log(LogLevel.DEBUG, "low"), Log(LogLevel.INFO, "high"), OUT, ERR]
    for each in said:
        attempt(each)
    attempt.close()
    assert [(record.message, record.execution_id, record.run_id) for record in caplog.records] == [
        ("low", "E_1", "Run_1"),
        ("high", "E_1", "Run_1"),
    ]
    stored = world.buffer.take()
    assert stored == [NewLogLine("E_1", 9, each, "Run_1") for each in said[1:]]  # type: ignore[arg-type]
    assert world.written == []


def test_streams_go_where_they_are_sent() -> None:
    world = World(LogPolicy(None, stdout=Forward.STDERR, stderr=Forward.STDOUT))
    attempt = world.lines.of_attempt(START)
    attempt(OUT)
    attempt(ERR)
    assert world.written == [("[acts E_1 stdout] ", b"out\n", True), ("[acts E_1 stderr] ", b"err\n", False)]
    assert world.stored() == []

    silent = World(LogPolicy(stdout=Forward.NONE, stderr=Forward.NONE))
    attempt = silent.lines.of_attempt(START)
    attempt(OUT)
    attempt(ERR)
    assert (silent.stored(), silent.written) == ([], [])


def test_an_attempt_may_log_so_much() -> None:
    world = World(LogPolicy(), log_run_lines_max=2)
    attempt = world.lines.of_attempt(START)
    for _ in range(5):
        attempt(OUT)
    attempt.close()
    attempt.close()
    *kept, full, count = world.stored()
    assert kept == [OUT, OUT]
    assert isinstance(full, Log) and "as much as one may" in full.message
    assert isinstance(count, Log) and count.message == "[obelisk] 3 lines of this run were not stored"
    again = world.lines.of_attempt(START)
    again(OUT)
    assert world.stored() == [OUT]  # each attempt has its own


@pytest.fixture
def talking(running: Any, feature_components: Any) -> Any:
    return running(
        f"""
        [[activity_wasm]]
        name = "talk_activity"
        location = "{feature_components.talk_activity}"
        exec.lock_expiry.minutes = 1
        [[workflow]]
        name = "talk_workflow"
        location = "{feature_components.talk_workflow}"
        """
    )


def read(talking: Any, execution_id: str) -> list[str]:
    where = LineFilter(execution_id, derived=True)  # type: ignore[arg-type]
    return [each.line.message for each in talking.runtime.reader.lines(where, LinePage(1_000))]


def test_what_an_activity_logged_comes_before_what_follows_from_it(talking: Any) -> None:
    execution_id, outcome = talking.run_id("testing:talk-workflow/talk.works", 20, 0)
    assert outcome == ("ok", 20)
    assert read(talking, execution_id) == [text for index in range(20) for text in (f"step {index}", "said 0")]


def test_lines_of_an_activity_that_goes_on_are_stored_soon(talking: Any) -> None:
    """Nothing else is committed; and whoever must see all does."""

    async def scenario() -> None:
        runtime = talking.runtime
        execution_id = await talking.submit("testing:talk-activity/talk.says", 5_000)
        async with runtime.watch_lines(execution_id) as changes:
            assert execution_id in await changes.changed()
        await asyncio.wait_for(talking.result(execution_id), 60)
        await runtime.lines_stored()
        where = LineFilter(execution_id)
        assert len(runtime.reader.lines(where, LinePage(10_000))) == 5_000

    asyncio.run(scenario())
