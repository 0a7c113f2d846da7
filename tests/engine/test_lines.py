"""What workflows log: stored once, with the event that follows, and no more than they may."""

from __future__ import annotations

import msgspec
import pytest

from obelisk.core import calls
from obelisk.core.batch import PauseRequest, ResumeRequest, UnpauseRequest
from obelisk.core.calls import Log, LogLevel, LogLine, Output, StdStream
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import In
from obelisk.core.lines import LineFilter, LinePage, StoredLogLine
from obelisk.core.names import FunctionName
from obelisk.core.policy import Blocking, ExecutionPolicy, Forward, Limits, LogPolicy, OnTrap
from obelisk.core.values import Json, Ok
from obelisk.engine.effects import EmitLog, RunGuest
from obelisk.engine.inputs import Stepped, Submit
from obelisk.testing.deployment import SimulatedRegistry, json_array
from obelisk.testing.driver import ROOT, Driver, of_kind
from obelisk.testing.guests import BURN, Flow, FlowFunction, Trap

FLOW = FunctionName("t:flows/flows.flow")
MS = 1_000
OUT = Output(StdStream.STDOUT, b"out\n")
ERR = Output(StdStream.STDERR, b"one\ntwo")


def say(text: str, level: LogLevel = LogLevel.INFO) -> Log:
    return Log(level, text)


def deployed(flow: FlowFunction, limits: Limits | None = None, **policy: object) -> Driver:
    registry = SimulatedRegistry()
    registry.add_workflow(FLOW, flow, msgspec.structs.replace(ExecutionPolicy(), **policy))
    return Driver(registry, limits)


def stored(driver: Driver) -> list[StoredLogLine]:
    return driver.store.lines(LineFilter(ROOT), LinePage(1_000))


def texts(driver: Driver) -> list[object]:
    return [text_of(each.line) for each in stored(driver)]


def text_of(line: LogLine) -> object:
    return line.message if isinstance(line, Log) else line.data


def two_naps(execution_id: ExecutionId, params: Json) -> Flow:
    yield say("begins")
    yield calls.Sleep(In(10 * MS))
    yield say("awake")
    yield say("tired")
    yield calls.Sleep(In(10 * MS))
    yield say("ends")
    return Ok()


def test_lines_are_there_when_the_workflow_blocks_and_once_however_often_it_is_replayed() -> None:
    driver = deployed(two_naps)
    driver.submit(FLOW)
    assert texts(driver) == ["begins"]
    driver.crash()
    driver.sleep(10 * MS)
    driver.crash()
    assert texts(driver) == ["begins", "awake", "tired"]
    driver.operate(PauseRequest())
    driver.sleep(10 * MS)
    driver.operate(UnpauseRequest())
    assert driver.outcome() == Ok()
    assert texts(driver) == ["begins", "awake", "tired", "ends"]
    assert [each.run for each in stored(driver)][::3] == [driver.runs(ROOT)[0], driver.runs(ROOT)[-1]]


def flood(execution_id: ExecutionId, params: Json) -> Flow:
    """Lines that no event follows for long."""
    yield calls.Sleep(In(10 * MS))
    for index in range(10):
        yield say(f"line {index}")
        if index % 4 == 3:
            yield BURN
    return Ok()


def test_lines_that_no_event_follows_leave_too_and_are_not_stored_again_after_a_crash() -> None:
    driver = deployed(flood)
    driver.submit(FLOW)
    driver.sleep(10 * MS)
    assert texts(driver) == [f"line {index}" for index in range(4)]  # it has gone to compute
    assert driver.tags()[-1] == "join_next"
    driver.crash(ROOT)  # says the same again, after one more `locked`
    assert driver.tags()[-1] == "locked"
    assert texts(driver) == [f"line {index}" for index in range(4)]
    while driver.outcome() is None:
        run = of_kind(driver.effects, RunGuest)[-1]
        driver.run(_back(run))
    assert texts(driver) == [f"line {index}" for index in range(10)]


def _back(run: RunGuest) -> Stepped:
    return Stepped(run.execution_id, run.generation, run.guest, run.guest.resume())


def test_a_flood_leaves_in_pieces() -> None:
    def many(execution_id: ExecutionId, params: Json) -> Flow:
        for index in range(7):
            yield say(str(index))
        return Ok()

    driver = deployed(many, Limits(tick_events_per_execution_max=3))
    driver.submit(FLOW)
    assert texts(driver) == [str(index) for index in range(7)]
    places = [(each.version, each.ordinal) for each in of_kind(driver.effects, EmitLog)]
    assert places == [(1, index) for index in range(7)]
    assert driver.ticks >= 3


def test_what_was_said_before_it_is_parked_is_there_and_is_said_again_when_it_goes_on() -> None:
    def faulty(execution_id: ExecutionId, params: Json) -> Flow:
        yield calls.Sleep(In(10 * MS))
        yield say("about to trap")
        raise Trap("on purpose")

    driver = deployed(faulty, on_trap=OnTrap.PARK)
    driver.submit(FLOW)
    driver.sleep(10 * MS)
    assert driver.tags()[-1] == "parked"
    assert texts(driver) == ["about to trap"]
    driver.operate(ResumeRequest())
    assert texts(driver) == ["about to trap"] * 2


def talks(execution_id: ExecutionId, params: Json) -> Flow:
    for level in LogLevel:
        yield say(level.value, level)
    yield OUT
    yield ERR
    return Ok()


@pytest.mark.parametrize(
    ("policy", "kept", "told"),
    [
        (LogPolicy(), ["debug", "info", "warn", "error", b"out\n", b"one\n", b"two"], 8),
        (LogPolicy(LogLevel.ERROR, stdout=Forward.NONE), ["error", b"one\n", b"two"], 7),
        (LogPolicy(None, Forward.STDERR, Forward.STDOUT), [], 8),
        (LogPolicy(LogLevel.TRACE, Forward.NONE, Forward.NONE), ["trace", "debug", "info", "warn", "error"], 5),
    ],
)
def test_the_policy_of_the_component_says_what_is_stored(policy: LogPolicy, kept: list[object], told: int) -> None:
    driver = deployed(talks, logs=policy)
    driver.submit(FLOW)
    assert texts(driver) == kept
    emitted = of_kind(driver.effects, EmitLog)
    assert len(emitted) == told  # those of `obelisk:log` are for the server's log in any case
    assert {each.forward for each in emitted if each.line == OUT} <= {policy.stdout}
    assert {each.run for each in emitted} == {driver.runs(ROOT)[0]}


def test_a_run_may_log_so_much_and_the_log_says_what_is_missing() -> None:
    driver = deployed(talks, Limits(log_run_lines_max=4))
    driver.submit(FLOW)
    *first, full, count = texts(driver)
    assert first == ["debug", "info", "warn"]  # "trace" counts too, since the server's log has it
    assert full == "[obelisk] this run has logged as much as one may: what it logs from here on is not stored"
    assert count == "[obelisk] 4 lines of this run were not stored"
    assert driver.outcome() == Ok()


@pytest.mark.parametrize("blocking", Blocking)
@pytest.mark.parametrize("dies", [False, True])
def test_what_a_workflow_may_log_does_not_begin_anew_when_it_is_replayed(blocking: Blocking, dies: bool) -> None:
    def naps(execution_id: ExecutionId, params: Json) -> Flow:
        for index in range(4):
            yield say(str(index))
            yield ERR
            yield calls.Sleep(In(10 * MS))
        return Ok()

    driver = deployed(naps, Limits(log_run_lines_max=5), blocking=blocking)
    driver.submit(FLOW)
    for _ in range(4):
        if dies:
            driver.crash()
        driver.sleep(10 * MS)
    assert driver.outcome() == Ok()
    assert texts(driver) == [
        *["0", b"one\n", b"two", "1", b"one\n"],
        "[obelisk] this run has logged as much as one may: what it logs from here on is not stored",
        "[obelisk] 7 lines of this run were not stored",
    ]


def test_a_line_that_is_much_too_long_is_cut() -> None:
    def long(execution_id: ExecutionId, params: Json) -> Flow:
        yield say("x" * 1_000)
        return Ok()

    driver = deployed(long, Limits(log_line_bytes_max=10))
    driver.submit(FLOW)
    assert texts(driver) == ["xxxxxxxxxx … [obelisk] 990 more bytes were cut"]


def test_lines_of_a_refused_unit_are_stored_with_the_one_that_follows() -> None:
    driver = deployed(two_naps)
    driver.run(Submit(0, ROOT, FLOW, json_array()))
    driver.now += 10 * MS  # type: ignore[assignment]
    driver.tick(refuse=lambda unit: bool(unit.lines))
    assert texts(driver) == ["begins"]
    driver.run()
    assert texts(driver) == ["begins", "awake", "tired"]
