"""The exporter: a thread that makes spans and lines of facts, and sends them.

Decides when something is said of a collector that cannot be reached (once, and when it can be again) and how long a stop
waits for it. What could not be sent is dropped, and counted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from obelisk.config.settings import Otlp
from obelisk.core.batch import Unit, UnitOutcome
from obelisk.core.calls import Log, LogLevel, LogLine
from obelisk.core.ids import Digest, ExecutionId, RunId
from obelisk.core.instants import Instant
from obelisk.core.reading import Reader
from obelisk.runtime.telemetry.facts import Began, Born, Ended, Fact, Said, facts_of
from obelisk.runtime.telemetry.history import History
from obelisk.runtime.telemetry.spans import Known, Line, Span, Telling
from obelisk.runtime.telemetry.waiting import Waiting

FLUSH_S: Final = 2.0
"""How long a stop waits for what is left to be sent."""
_ABORT_S: Final = 1.0
_OFF: Final = "off"

_log: Final = logging.getLogger(__name__)


class Sender(Protocol):
    """A connection to a collector. Each `send_…` may take seconds, and returns why it could not send all of them."""

    def send_spans(self, spans: Sequence[Span]) -> str | None:
        """Sends spans."""
        ...

    def send_lines(self, lines: Sequence[Line]) -> str | None:
        """Sends lines."""
        ...

    def close(self) -> None:
        """Ends the connection, and what is being sent; from any thread."""
        ...


def _least(level: str) -> LogLevel | None:
    """The level from which on something is wanted."""
    return None if level == _OFF else LogLevel(level)


class _Kind:
    """Spans, or lines: a collector may take only one of them. Counts those that it did not get."""

    def __init__(self, name: str, endpoint: str) -> None:
        self._name = name
        self._endpoint = endpoint
        self._lost = 0
        self._is_short = False
        self.is_failing = False

    def sent(self, count: int, why: str | None) -> None:
        """So many were sent, or were not."""
        if why is None:
            if self.is_failing:
                _log.warning("%s are sent to %s again; %d were lost", self._name, self._endpoint, self._lost)
                self.is_failing, self._lost = False, 0
            return
        self._lost += count
        if not self.is_failing:
            self.is_failing = True
            _log.warning(
                "%s cannot be sent to %s: %s. They are dropped until they can be", self._name, self._endpoint, why
            )

    def dropped(self, count: int) -> None:
        """So many found no room while they waited."""
        self._lost += count
        if count and not self._is_short and not self.is_failing:
            self._is_short = True
            _log.warning("more %s come than can be sent to %s: some are dropped", self._name, self._endpoint)

    def end(self) -> None:
        """There will be no more."""
        if self._lost:
            _log.warning("%d of the %s were not sent to %s", self._lost, self._name, self._endpoint)


class Exporter:
    """Everything that is told to one collector."""

    def __init__(self, settings: Otlp, connect: Callable[[], Sender], known: Known, reader: Reader) -> None:
        """`connect`: called once, on the thread. `reader` is used by the thread only."""
        self._endpoint = settings.endpoint
        self._connect = connect
        self._wants_spans = LogLevel.INFO.is_at_least(_least(settings.level.level_of("obelisk")))
        self._lines_from = _least(settings.level.level_of("app"))
        self._history = History(reader)
        self._telling = Telling(known, self._history)
        self._waiting = Waiting()
        self._spans = _Kind("spans", settings.endpoint)
        self._lines = _Kind("lines", settings.endpoint)
        self._sender: Sender | None = None
        self._aborted = False
        self._thread = threading.Thread(target=self._run, name="obelisk-otlp", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def committed(self, units: Sequence[Unit], outcomes: Sequence[UnitOutcome]) -> None:
        """These units are durable, unless they were refused. On the engine thread."""
        try:
            self._waiting.put(facts_of(units, outcomes))
        except Exception:  # noqa: BLE001 - whatever it is, the engine does not suffer from it
            _log.exception("spans could not be made: a bug of Obelisk, which nothing else suffers from")

    def said(self, line: LogLine, execution_id: ExecutionId, run: RunId | None, component: Digest, at: Instant) -> None:
        """A component has logged a line; that of a workflow is durable. From any thread."""
        level = line.level if isinstance(line, Log) else LogLevel.INFO
        if level.is_at_least(self._lines_from):
            self._waiting.put((Said(execution_id, run, component, at, line),))

    def stop(self) -> None:
        """Sends what is left, or gives it up; blocks for some seconds at most."""
        self._waiting.close()
        self._thread.join(FLUSH_S)
        if self._thread.is_alive():
            self._aborted = True
            if self._sender is not None:
                self._sender.close()
            self._thread.join(_ABORT_S)

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._sender = sender = self._connect()
        except Exception:  # noqa: BLE001 - whatever it is, executions do not suffer from it
            _log.exception("nothing can be sent to %s", self._endpoint)
            self._waiting.close()
            return
        while (facts := self._waiting.take()) is not None:
            try:
                self._export(facts, sender)
            except Exception:  # noqa: BLE001 - what comes next may work
                _log.exception("spans could not be made: a bug of Obelisk, which nothing else suffers from")
        self._count_dropped()
        self._spans.end()
        self._lines.end()
        sender.close()

    def _export(self, facts: list[Fact], sender: Sender) -> None:
        spans: list[Span] = []
        lines: list[Line] = []
        for fact in facts:
            match fact:
                case Ended():
                    if self._wants_spans:
                        spans += self._telling.spans_of(fact)
                    elif fact.is_finished:
                        self._history.forget(fact.execution_id)
                case Said():
                    lines.append(self._telling.line_of(fact))
                case Born() | Began():
                    self._history.add(fact)
        self._count_dropped()
        if spans:
            self._spans.sent(len(spans), self._given_up(self._spans) or sender.send_spans(spans))
        if lines:
            self._lines.sent(len(lines), self._given_up(self._lines) or sender.send_lines(lines))

    def _given_up(self, kind: _Kind) -> str | None:
        """A stop does not wait for a collector that is not there."""
        is_lost = self._aborted or (kind.is_failing and self._waiting.is_closed)
        return "the server is stopping" if is_lost else None

    def _count_dropped(self) -> None:
        spans, lines = self._waiting.dropped()
        self._spans.dropped(spans)
        self._lines.dropped(lines)
