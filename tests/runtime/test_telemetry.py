"""What is told to a collector: made of what was committed, bounded, and never in the way."""

from __future__ import annotations

import importlib.util
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from obelisk.config.settings import LogFilter, Otlp
from obelisk.core import transitions
from obelisk.core.batch import Applied, Expect, NewEvent, Refused, RefusedBy, Unit, UnitOutcome
from obelisk.core.calls import Log, LogLevel, Output, StdStream
from obelisk.core.events import (
    CancellationRequested,
    Created,
    Event,
    Finished,
    Locked,
    Origin,
    TemporarilyFailed,
    Unlocked,
)
from obelisk.core.http_traces import HttpTrace
from obelisk.core.policy import ExecutionPolicy
from obelisk.core.ports import FunctionInfo, FunctionKind
from obelisk.core.spans import attempt_span, execution_span, request_span, trace_of
from obelisk.core.values import CANCELLED, ErrForm, Failure, FailureKind, Json, Ok
from obelisk.runtime.telemetry import exporter, history, otlp, waiting
from obelisk.runtime.telemetry.exporter import Exporter
from obelisk.runtime.telemetry.facts import Born, Ended, Said, facts_of
from obelisk.runtime.telemetry.history import History
from obelisk.runtime.telemetry.spans import Line, Span, Telling
from obelisk.runtime.telemetry.waiting import Waiting
from obelisk.store.memory import MemoryStore

FLOW = "E_01K42AJA8QHD7D3GTJAYMASFYZ"
ACT = f"{FLOW}.o:1-act_1"
RUN, RUN_2 = "Run_01K42AJA8QHD7D3GTJAYMASFYZ", "Run_01K42AJA8QHD7D3GTJAYMASF22"
DIGEST: Any = "sha256:" + "0f" * 32
CREATED: Any = Created("a:b/c.act", Json(b"[]"), DIGEST, "Dep_1", 0, "o:1-act")  # type: ignore[arg-type]
FLOW_CREATED: Any = Created("a:b/c.flow", Json(b"[]"), DIGEST, "Dep_1", 0)  # type: ignore[arg-type]
LOCKED: Any = Locked("Exr_1", RUN, 99)  # type: ignore[arg-type]
AGAIN: Any = Locked("Exr_1", RUN_2, 99)  # type: ignore[arg-type]
OK: Any = Finished(Ok(Json(b'"so long a result that nobody wants to have it twice"')))


class Known:
    """Functions whose names end with `act` are activities, the others workflows."""

    def pinned(self, component: Any, ffqn: Any) -> FunctionInfo:
        kind = FunctionKind.ACTIVITY if ffqn.endswith("act") else FunctionKind.WORKFLOW
        return FunctionInfo(ffqn, kind, component, ErrForm.NONE, ExecutionPolicy())

    def name_of(self, component: Any) -> str:
        return "mine"


class Writer:
    """Commits events, one a unit, at instants 10, 20, …"""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.now = 0
        self.states: dict[str, Any] = {}

    def unit(self, execution_id: Any, event: Event) -> Unit:
        self.now += 10
        at: Any = self.now
        if isinstance(event, Created):
            self.states[execution_id] = transitions.create(execution_id, event, at, None)
            version = 0
        else:
            version = transitions.append(self.states[execution_id], event, at)
        expect = Expect(execution_id, version)
        return Unit([expect], [], [NewEvent(execution_id, version, at, event)], [], [self.states[execution_id].copy()])

    def committed(self, execution_id: str, *events: Event) -> list[Unit]:
        if execution_id.startswith(f"{FLOW}.") and FLOW not in self.states:
            self.now -= 10
            self.committed(FLOW, FLOW_CREATED)
        units = [self.unit(execution_id, event) for event in events]
        assert set(self.store.commit(f"b{self.now}", units)) == {Applied()}
        return units


def applied(units: list[Unit]) -> list[UnitOutcome]:
    return [Applied() for _ in units]


def spans(writer: Writer, units: list[Unit], memory: History | None = None) -> list[Span]:
    memory = memory or History(writer.store)
    telling = Telling(Known(), memory)
    found: list[Span] = []
    for fact in facts_of(units, applied(units)):
        if isinstance(fact, Ended):
            found += telling.spans_of(fact)
        elif not isinstance(fact, Said):
            memory.add(fact)
    return found


# --- facts -----------------------------------------------------------------------------------------------------------


def test_of_a_refused_unit_nothing_is_told() -> None:
    units = [Writer().unit(ACT, CREATED), Writer().unit(ACT, CREATED)]
    outcomes: list[UnitOutcome] = [Refused(RefusedBy.VERSION), Applied()]
    assert len(list(facts_of(units, outcomes))) == 1


def test_facts_are_small() -> None:
    writer = Writer()
    units = writer.committed(ACT, CREATED, LOCKED, OK)
    assert all(b"nobody wants" not in repr(fact).encode() for fact in facts_of(units, applied(units)))


# --- spans -----------------------------------------------------------------------------------------------------------


def test_attempts_are_below_their_execution_and_requests_below_their_attempt() -> None:
    writer = Writer()
    request = HttpTrace("GET", "http://a/", 21, 25, 503, None, "00000000000000aa")  # type: ignore[arg-type]
    other = HttpTrace("PUT", "http://b/", 22, None, None, None)  # type: ignore[arg-type]
    failed: Any = TemporarilyFailed(99, "it trapped", "", (request, other))  # type: ignore[arg-type]
    units = writer.committed(ACT, CREATED, LOCKED, failed, AGAIN, OK)
    get, put, first, second, whole = spans(writer, units)
    trace = trace_of(ACT, {})  # type: ignore[arg-type]
    assert {span.trace for span in (get, put, first, second, whole)} == {trace}
    assert (whole.span_id, whole.parent) == (execution_span(ACT), execution_span(FLOW))  # type: ignore[arg-type]
    assert (whole.begin, whole.end, whole.error) == (10, 50, None)
    assert [first.parent, second.parent] == [whole.span_id] * 2
    assert [first.span_id, second.span_id] == [attempt_span(ACT, RUN), attempt_span(ACT, RUN_2)]  # type: ignore[arg-type]
    assert [(first.begin, first.end), (second.begin, second.end)] == [(20, 30), (40, 50)]
    assert (first.error, first.attributes["obelisk.result"]) == ("it trapped", "temporarily_failed")
    assert (get.span_id, get.parent, get.begin, get.end) == ("00000000000000aa", first.span_id, 21, 25)
    assert (put.span_id, put.end) == (request_span(ACT, RUN, 1), 30)  # type: ignore[arg-type]
    assert (get.error, put.error, get.is_client) == ("status 503", None, True)


def test_what_began_before_the_process_did_is_read_from_the_store() -> None:
    writer = Writer()
    units = writer.committed(ACT, CREATED, LOCKED, AGAIN, OK)
    attempt, whole = spans(writer, units[-1:])
    assert (attempt.begin, attempt.attributes["obelisk.run.id"]) == (30, RUN_2)
    assert (whole.begin, whole.end) == (10, 40)


def test_who_ends_while_it_waits_has_no_attempt_that_ends() -> None:
    writer = Writer()
    unlocked: Any = Unlocked(0, "stopping")  # type: ignore[arg-type]
    units = writer.committed(ACT, CREATED, LOCKED, unlocked, CancellationRequested(), Finished(CANCELLED))
    for some in (units, units[-1:]):
        made = spans(writer, some)
        assert made[-1].error == CANCELLED.reason
        assert len(made) == 1 + (some is units)


def test_workflows_have_no_attempts() -> None:
    writer = Writer()
    failure = Finished(Failure(FailureKind.UNCATEGORIZED, "x" * 5_000))
    (whole,) = spans(writer, writer.committed(FLOW, FLOW_CREATED, LOCKED, failure))
    assert (whole.parent, whole.attributes["obelisk.result"]) == (None, "uncategorized")
    assert len(whole.error or "") == 1_000


def test_what_came_along_with_a_fork_did_not_run() -> None:
    writer = Writer()
    copied = Created("a:b/c.act", Json(b"[]"), DIGEST, "Dep_1", 0, "o:1-act", forked_from=Origin(FLOW, 2, 0))  # type: ignore[arg-type]
    assert spans(writer, writer.committed(ACT, copied, OK)) == []


def test_a_fork_has_a_link_to_its_origin() -> None:
    writer = Writer()
    writer.committed(FLOW, FLOW_CREATED)
    fork = FLOW[:-1] + "0"
    forked: Any = Created("a:b/c.flow", Json(b"[]"), DIGEST, "Dep_1", 0, forked_from=Origin(FLOW, 1, 0))  # type: ignore[arg-type]
    (whole,) = spans(writer, writer.committed(fork, forked, LOCKED, OK))
    assert whole.links == ((trace_of(FLOW, {}).trace_id, execution_span(FLOW)),)  # type: ignore[arg-type]


def test_so_much_is_remembered_and_the_rest_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KNOWN_MAX", 2)
    writer, ids = Writer(), [f"{FLOW}.g:1_{number}" for number in (1, 2, 3, 4)]
    memory = History(writer.store)
    begun = [unit for one in ids for unit in writer.committed(one, CREATED, LOCKED)]
    assert spans(writer, begun, memory) == []
    assert (len(memory._born), len(memory._began)) == (2, 2)
    for number, one in enumerate(ids):
        attempt, whole = spans(writer, writer.committed(one, OK), memory)
        assert (whole.begin, attempt.begin) == (10 + 20 * number, 20 + 20 * number)
    assert (len(memory._born), len(memory._began)) == (0, 0)


# --- what waits ------------------------------------------------------------------------------------------------------


def said(text: str = "x", level: LogLevel = LogLevel.INFO) -> Said:
    return Said(ACT, RUN, DIGEST, 5, Log(level, text))  # type: ignore[arg-type]


def ended() -> Ended:
    writer = Writer()
    *_, last = facts_of(units := writer.committed(ACT, CREATED, LOCKED, OK), applied(units))
    assert isinstance(last, Ended)
    return last


def test_what_finds_no_room_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FACTS_MAX", 3)
    queue = Waiting()
    queue.put([said(), ended(), Born(ACT, "a:b/c.act", 1, {}), ended(), said(), said(), Born(ACT, "a:b/c.act", 1, {})])  # type: ignore[arg-type]
    assert queue.dropped() == (1, 2)
    assert queue.dropped() == (0, 0)
    assert len(queue.take() or ()) == 3


def test_lines_take_the_room_that_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "BYTES_MAX", 10_000)
    queue = Waiting()
    queue.put([said("x" * 9_000), said("x" * 9_000)])
    assert queue.dropped() == (0, 1)
    queue.take()
    queue.put([said("x" * 9_000)])
    assert queue.dropped() == (0, 0)


def test_facts_wait_for_others_and_a_stop_for_none() -> None:
    queue = Waiting()
    begun = time.monotonic()
    queue.put([said("a")])
    queue.put([said("b")])
    assert len(queue.take() or ()) == 2
    assert time.monotonic() - begun > 0.4
    queue.put([said("c")])
    queue.close()
    assert [fact.line.message for fact in queue.take() or ()] == ["c"]  # type: ignore[union-attr]
    assert queue.take() is None
    queue.put([said("d")])
    assert (queue.take(), queue.dropped()) == (None, (0, 1))


# --- the exporter ----------------------------------------------------------------------------------------------------


class Sent:
    """Stands for a connection. `fails`: of what, and why."""

    def __init__(self, **fails: str) -> None:
        self.fails = fails
        self.spans: list[Span] = []
        self.lines: list[Line] = []
        self.blocks: threading.Event | None = None
        self.closed = 0

    def send_spans(self, spans: Sequence[Span]) -> str | None:
        if self.blocks is not None:
            self.blocks.wait()
        if "spans" not in self.fails:
            self.spans += spans
        return self.fails.get("spans")

    def send_lines(self, lines: Sequence[Line]) -> str | None:
        if "lines" not in self.fails:
            self.lines += lines
        return self.fails.get("lines")

    def close(self) -> None:
        self.closed += 1
        if self.blocks is not None:
            self.blocks.set()


def settings(level: str = "info", **targets: str) -> Otlp:
    return Otlp(enabled=True, level=LogFilter(level, targets), service_name="mine", endpoint="http://there:1")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Exporter]:
    monkeypatch.setattr(waiting, "WAIT_S", 0.01)

    def start(sent: Any, configured: Otlp | None = None, writer: Writer | None = None) -> Exporter:
        made = Exporter(configured or settings(), lambda: sent, Known(), (writer or Writer()).store)
        made.start()
        return made

    return start


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def say(to: Exporter, text: str = "x", level: LogLevel = LogLevel.INFO) -> None:
    to.said(Log(level, text), ACT, RUN, DIGEST, 5)  # type: ignore[arg-type]


def finish(to: Exporter, writer: Writer, number: int) -> None:
    units = writer.committed(f"{FLOW}.g:1_{number}", CREATED, LOCKED, OK)
    to.committed(units, applied(units))
    while to._waiting._facts:
        time.sleep(0.001)


def test_lines_are_in_the_span_of_their_attempt(started: Any) -> None:
    writer, sent = Writer(), Sent()
    one = started(sent, writer=writer)
    units = writer.committed(ACT, CREATED, LOCKED)
    one.committed(units, applied(units))
    say(one, "hello", LogLevel.WARN)
    one.said(Output(StdStream.STDERR, b"oh \xff\n"), ACT, RUN, DIGEST, 6)
    one.said(Output(StdStream.STDOUT, b"flow\n"), FLOW, None, DIGEST, 7)
    one.stop()
    hello, error, flow = sent.lines
    assert (hello.text, hello.level, hello.at, hello.span_id) == ("hello", "warn", 5, attempt_span(ACT, RUN))  # type: ignore[arg-type]
    assert (error.text, error.level, error.attributes["log.iostream"]) == ("oh \ufffd", "info", "stderr")
    assert (flow.span_id, flow.trace.trace_id) == (execution_span(FLOW), hello.trace.trace_id)  # type: ignore[arg-type]
    assert sent.closed == 1


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        (settings("info", app="trace"), ["trace", "info", "output", "span"]),
        (settings("debug"), ["info", "output", "span"]),
        (settings("warn", app="info"), ["info", "output"]),
        (settings("off", obelisk="info"), ["span"]),
        (settings("off"), []),
    ],
)
def test_levels_choose_what_is_sent(started: Any, configured: Otlp, expected: list[str]) -> None:
    writer, sent = Writer(), Sent()
    one = started(sent, configured, writer)
    say(one, "trace", LogLevel.TRACE)
    say(one, "info")
    one.said(Output(StdStream.STDOUT, b"output\n"), ACT, RUN, DIGEST, 6)
    finish(one, writer, 1)
    one.stop()
    assert [line.text for line in sent.lines] + ["span" for span in sent.spans[1:]] == expected


def test_a_collector_that_takes_no_lines_gets_spans(started: Any, caplog: pytest.LogCaptureFixture) -> None:
    writer, sent = Writer(), Sent(lines="it takes none")
    one = started(sent, writer=writer)
    for number in range(1, 4):
        say(one)
        finish(one, writer, number)
        time.sleep(0.05)
    one.stop()
    assert len(sent.spans) == 6
    assert told(caplog) == [
        "lines cannot be sent to http://there:1: it takes none. They are dropped until they can be",
        "3 of the lines were not sent to http://there:1",
    ]


def test_it_is_said_when_it_goes_on(started: Any, caplog: pytest.LogCaptureFixture) -> None:
    sent = Sent(lines="gone")
    one = started(sent)
    say(one)
    while not caplog.records:
        time.sleep(0.001)
    sent.fails = {}
    say(one)
    while not sent.lines:
        time.sleep(0.001)
    one.stop()
    assert told(caplog)[1:] == ["lines are sent to http://there:1 again; 1 were lost"]


def test_what_is_dropped_is_said_once(started: Any, caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    monkeypatch.setattr(waiting, "FACTS_MAX", 1)
    writer, sent = Writer(), Sent()
    sent.blocks = threading.Event()
    one = started(sent, writer=writer)
    units = writer.committed(ACT, CREATED, LOCKED, OK)
    one.committed(units[-1:], applied(units[-1:]))
    for _ in range(5):
        time.sleep(0.02)
        say(one)
        say(one)
    sent.blocks.set()
    one.stop()
    assert [text for text in told(caplog) if "more" in text] == [
        "more lines come than can be sent to http://there:1: some are dropped"
    ]
    assert told(caplog)[-1].endswith("of the lines were not sent to http://there:1")


def test_a_stop_waits_for_nobody_for_long(started: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "FLUSH_S", 0.05)
    writer, sent = Writer(), Sent()
    sent.blocks = threading.Event()
    one = started(sent, writer=writer)
    units = writer.committed(ACT, CREATED, LOCKED, OK)
    one.committed(units, applied(units))
    begun = time.monotonic()
    one.stop()
    assert time.monotonic() - begun < 30
    assert not one._thread.is_alive()
    assert sent.closed >= 1


def test_what_goes_wrong_is_told_and_the_engine_goes_on(started: Any, caplog: pytest.LogCaptureFixture) -> None:
    one = started(Sent())
    broken: Any = Unit([], [], [NewEvent(ACT, 3, 10, OK)], [], [])  # type: ignore[arg-type]
    one.committed([broken], [Applied()])
    one.stop()
    assert "spans could not be made" in told(caplog)[0]


def test_a_connection_that_cannot_be_made_is_told(caplog: pytest.LogCaptureFixture) -> None:
    def connect() -> Any:
        raise RuntimeError("the library is another one")

    one = Exporter(settings(), connect, Known(), MemoryStore())
    one.start()
    one._thread.join()
    say(one)
    one.stop()
    assert told(caplog) == ["nothing can be sent to http://there:1"]


# --- the library -----------------------------------------------------------------------------------------------------


def test_a_server_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    assert "pip install 'obelisk[otel]'" in (otlp.missing() or "")


def test_what_the_library_says_of_itself_is_a_reason_and_no_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="the extra `otel` is missing: pip install -e '.[dev]'")
    assert otlp.missing() is None
    why = otlp._Why()
    logger = logging.getLogger("tests.of.a.library")
    logger.addFilter(why)
    logger.warning("failed with %s", "this")
    assert (why.text, told(caplog)) == ("failed with this", [])
