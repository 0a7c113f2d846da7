"""OTLP: spans and lines in the form of OpenTelemetry's SDK, given to its exporters.

The only place that knows OpenTelemetry, whose packages are an extra: nothing of it is imported before somebody connects.
Spans have ids of ours and are over before they are made, so nothing of the SDK is used but its records and its exporters.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from typing import Any, Final

from obelisk import __version__
from obelisk.config.settings import Otlp
from obelisk.core.calls import LogLevel
from obelisk.core.ids import ExecutorId
from obelisk.core.instants import Instant
from obelisk.core.spans import Trace
from obelisk.runtime.telemetry.spans import Line, Span

_NEEDED: Final = "opentelemetry.exporter.otlp.proto.grpc"
_EXPORTER_LOG: Final = "opentelemetry.exporter.otlp.proto.grpc.exporter"
_SEVERITIES: Final = {
    LogLevel.TRACE: 1,
    LogLevel.DEBUG: 5,
    LogLevel.INFO: 9,
    LogLevel.WARN: 13,
    LogLevel.ERROR: 17,
}


def missing() -> str | None:
    """What is wrong with the installation, and what to do; None: nothing."""
    try:
        found = importlib.util.find_spec(_NEEDED)
    except ModuleNotFoundError:
        found = None
    if found is not None:
        return None
    return (
        "otlp.enabled is true, but OpenTelemetry is not installed; run `pip install 'obelisk[otel]'`, or set otlp.enabled"
        " to false"
    )


class _Why(logging.Filter):
    """Keeps the last thing that the library's exporter had to say, and has nobody else hear it."""

    def __init__(self) -> None:
        super().__init__()
        self.text = "it gave no reason"

    def filter(self, record: logging.LogRecord) -> bool:
        self.text = record.getMessage()
        return False


class OtlpSender:
    """A connection to a collector. It is opened when something is sent first."""

    def __init__(self, settings: Otlp, executor: ExecutorId) -> None:
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._resource = Resource(
            {
                "service.name": settings.service_name,
                "service.version": __version__,
                "service.instance.id": executor,
            }
        )
        self._scope = InstrumentationScope("obelisk", __version__)
        self._why = _Why()
        logging.getLogger(_EXPORTER_LOG).addFilter(self._why)
        self._spans = OTLPSpanExporter(endpoint=settings.endpoint)
        self._lines = OTLPLogExporter(endpoint=settings.endpoint)

    def send_spans(self, spans: Sequence[Span]) -> str | None:
        """Sends spans; may take as long as the exporter's time-out, 10 s unless the environment says otherwise. Returns why it
        could not.
        """
        result = self._spans.export([self._span(span) for span in spans])
        return None if result.name == "SUCCESS" else self._why.text

    def send_lines(self, lines: Sequence[Line]) -> str | None:
        """Sends lines; the rest is as for spans."""
        result = self._lines.export([self._line(line) for line in lines])
        return None if result.name == "SUCCESS" else self._why.text

    def close(self) -> None:
        """Ends the connection, and what is being sent; from any thread, also more than once."""
        self._spans.shutdown()
        self._lines.shutdown()

    def _span(self, span: Span) -> Any:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import Link, SpanKind, Status, StatusCode

        return ReadableSpan(
            name=span.name,
            context=_context(span.trace, span.span_id),
            parent=None if span.parent is None else _context(span.trace, span.parent, is_remote=True),
            resource=self._resource,
            attributes=span.attributes,
            links=[Link(_context(Trace(trace_id, None), span_id, is_remote=True)) for trace_id, span_id in span.links],
            kind=SpanKind.CLIENT if span.is_client else SpanKind.INTERNAL,
            status=Status(StatusCode.UNSET) if span.error is None else Status(StatusCode.ERROR, span.error),
            start_time=_nanoseconds(span.begin),
            end_time=_nanoseconds(max(span.begin, span.end)),
            instrumentation_scope=self._scope,
        )

    def _line(self, line: Line) -> Any:
        from opentelemetry._logs import LogRecord, SeverityNumber
        from opentelemetry.sdk._logs import ReadableLogRecord
        from opentelemetry.trace import NonRecordingSpan, set_span_in_context

        return ReadableLogRecord(
            LogRecord(
                timestamp=_nanoseconds(line.at),
                observed_timestamp=_nanoseconds(line.at),
                context=set_span_in_context(NonRecordingSpan(_context(line.trace, line.span_id))),
                severity_number=SeverityNumber(_SEVERITIES[line.level]),
                severity_text=line.level.upper(),
                body=line.text,
                attributes=line.attributes,
            ),
            self._resource,
            self._scope,
        )


def _context(trace: Trace, span_id: str, *, is_remote: bool = False) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags, TraceState

    state = TraceState.from_header([trace.state]) if trace.state else None
    return SpanContext(int(trace.trace_id, 16), int(span_id, 16), is_remote, TraceFlags(trace.flags), state)


def _nanoseconds(instant: Instant) -> int:
    return instant * 1_000
