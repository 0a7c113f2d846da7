"""Spans and lines as a collector gets them: what each is called, what it is below, and what is told of it.

Decides which spans there are: one for each execution that ended, one for each attempt at an activity, one for each HTTP
request of an attempt. What a client does not want to see (its trace is not sampled) is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

import msgspec

from obelisk.core.calls import Log, LogLevel
from obelisk.core.http_traces import HttpTrace
from obelisk.core.ids import Digest, RunId, is_top_level
from obelisk.core.instants import Instant
from obelisk.core.names import FunctionName
from obelisk.core.ports import FunctionInfo, FunctionKind
from obelisk.core.spans import Trace, attempt_span, execution_span, request_span, trace_of
from obelisk.runtime.telemetry.facts import Born, Ended, Said
from obelisk.runtime.telemetry.history import History

_HTTP_ERROR: Final = 400
"""Statuses from here on are errors of a request."""


class Span(msgspec.Struct, frozen=True, gc=False):
    """One span. Ids are hexadecimal digits."""

    name: str
    trace: Trace
    span_id: str
    parent: str | None
    begin: Instant
    end: Instant
    attributes: dict[str, str | int]
    error: str | None = None
    """Why it failed; None: it did not."""
    links: tuple[tuple[str, str], ...] = ()
    """Trace and span of what it follows from, without being below it."""
    is_client: bool = False
    """Whether it is a request to somebody else."""


class Line(msgspec.Struct, frozen=True, gc=False):
    """One line of a component."""

    at: Instant
    level: LogLevel
    text: str
    trace: Trace
    span_id: str
    attributes: dict[str, str | int]


class Known(Protocol):
    """What is known of components."""

    def pinned(self, component: Digest, ffqn: FunctionName) -> FunctionInfo | None:
        """The function as component `component` has it."""
        ...

    def name_of(self, component: Digest) -> str:
        """What a component is called."""
        ...


class Telling:
    """Makes spans and lines out of facts. Used by the exporter's thread only; what it must know of executions it may read from
    the store.
    """

    def __init__(self, known: Known, history: History) -> None:
        self._known = known
        self._history = history

    def spans_of(self, end: Ended) -> Iterator[Span]:
        """The spans that ended with it."""
        state, execution_id = end.state, end.execution_id
        born = self._history.born(execution_id)
        if born is None or _is_copy(born):
            return
        trace = trace_of(execution_id, born.trace_context)
        attributes: dict[str, str | int] = {
            "obelisk.execution.id": execution_id,
            "obelisk.function": state.ffqn,
            "obelisk.component.name": self._known.name_of(state.component),
            "obelisk.component.digest": state.component,
            "obelisk.result": end.result,
        }
        if trace.is_sampled and self._is_activity(state.component, state.ffqn):
            run = self._history.run(execution_id, end.version)
            if run is not None:
                yield from self._attempt(end, trace, *run, attributes)
        if end.is_finished:
            if trace.is_sampled:
                yield Span(
                    state.ffqn,
                    trace,
                    execution_span(execution_id),
                    trace.parent,
                    state.created_at,
                    end.at,
                    attributes | {"obelisk.deployment.id": state.deployment},
                    end.error,
                    tuple(self._links(born)),
                )
            self._history.forget(execution_id)

    def line_of(self, said: Said) -> Line:
        """A line, in the span of what has said it."""
        born = self._history.born(said.execution_id)
        trace = trace_of(said.execution_id, {} if born is None else born.trace_context)
        attributes: dict[str, str | int] = {
            "obelisk.execution.id": said.execution_id,
            "obelisk.component.name": self._known.name_of(said.component),
        }
        span_id = execution_span(said.execution_id)
        if born is not None:
            attributes["obelisk.function"] = born.ffqn
        if said.run is not None:
            attributes["obelisk.run.id"] = said.run
            if born is not None and self._is_activity(said.component, born.ffqn):
                span_id = attempt_span(said.execution_id, said.run)
        if isinstance(said.line, Log):
            return Line(said.at, said.line.level, said.line.message, trace, span_id, attributes)
        attributes["log.iostream"] = str(said.line.stream)
        text = said.line.data.decode("utf-8", "replace").removesuffix("\n")
        return Line(said.at, LogLevel.INFO, text, trace, span_id, attributes)

    def _is_activity(self, component: Digest, ffqn: FunctionName) -> bool:
        info = self._known.pinned(component, ffqn)
        return info is not None and info.kind is FunctionKind.ACTIVITY

    def _attempt(
        self, end: Ended, trace: Trace, run: RunId, began: Instant, attributes: dict[str, str | int]
    ) -> Iterator[Span]:
        span_id = attempt_span(end.execution_id, run)
        for index, request in enumerate(end.http_traces):
            own = request.span_id or request_span(end.execution_id, run, index)
            yield _request(request, trace, own, span_id, end.at)
        yield Span(
            f"attempt {end.state.ffqn}",
            trace,
            span_id,
            execution_span(end.execution_id),
            began,
            end.at,
            attributes | {"obelisk.run.id": run},
            end.error,
        )

    def _links(self, born: Born) -> Iterator[tuple[str, str]]:
        """What it comes from without being its child: whoever scheduled it, and what it was forked from."""
        for execution_id in (born.scheduled_by, born.forked_from):
            if execution_id is not None:
                other = self._history.born(execution_id)
                context = {} if other is None else other.trace_context
                yield trace_of(execution_id, context).trace_id, execution_span(execution_id)


def _is_copy(born: Born) -> bool:
    """A child of a fork that had ended in its origin: it never ran."""
    return born.forked_from is not None and not is_top_level(born.execution_id)


def _request(request: HttpTrace, trace: Trace, span_id: str, parent: str, end: Instant) -> Span:
    attributes: dict[str, str | int] = {"http.request.method": request.method, "url.full": request.uri}
    error = request.error
    if request.status is not None:
        attributes["http.response.status_code"] = request.status
        if request.status >= _HTTP_ERROR and error is None:
            error = f"status {request.status}"
    ended = request.finished_at or end
    return Span(request.method, trace, span_id, parent, request.sent_at, ended, attributes, error, is_client=True)
