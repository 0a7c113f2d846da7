"""Spans: where executions are in distributed traces.

Decides the ids of traces and spans, in the form of W3C trace context. Nothing of them is stored but what a client sent
along: the id of a span follows from the id of what it is about, so that every process, and the same one after a crash, says
the same, and a child knows its parent's without asking. It does not decide which spans there are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from obelisk.core.events import TRACING
from obelisk.core.ids import ExecutionId, RunId, parent_of, root_of

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED: Final = 0x01


class Traceparent(msgspec.Struct, frozen=True):
    """The header of that name: a span of a trace. Ids are lower-case hexadecimal digits, 32 and 16 of them."""

    trace_id: str
    span_id: str
    flags: int = _SAMPLED

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


class Trace(msgspec.Struct, frozen=True):
    """The trace that an execution belongs to."""

    trace_id: str
    parent: str | None
    """The span that its own span is below; None: its own is the first of the trace."""
    flags: int = _SAMPLED
    state: str = ""
    """The client's `tracestate`, to be passed on."""

    @property
    def is_sampled(self) -> bool:
        """Whether whoever began the trace wants to see it."""
        return bool(self.flags & _SAMPLED)


def parse_traceparent(text: str) -> Traceparent | None:
    """The header's value; None when it is none that has to be understood."""
    found = _TRACEPARENT.fullmatch(text)
    return None if found is None else Traceparent(found[1], found[2], int(found[3], 16))


def trace_of(execution_id: ExecutionId, context: Mapping[str, str]) -> Trace:
    """The trace of an execution with this trace context (`Created.trace_context`). Where no client said which, a tree of
    executions is a trace of its own.
    """
    given = parse_traceparent(context.get(f"{TRACING}traceparent", ""))
    parent = parent_of(execution_id)
    above = None if parent is None else execution_span(parent)
    if given is None:
        return Trace(_digits(32, "trace", root_of(execution_id)), above)
    return Trace(given.trace_id, above or given.span_id, given.flags, context.get(f"{TRACING}tracestate", ""))


def execution_span(execution_id: ExecutionId) -> str:
    """The id of the span of an execution."""
    return _digits(16, "execution", execution_id)


def attempt_span(execution_id: ExecutionId, run: RunId) -> str:
    """The id of the span of an attempt at an activity."""
    return _digits(16, "attempt", execution_id, run)


def request_span(execution_id: ExecutionId, run: RunId, index: int) -> str:
    """The id of the span of an attempt's HTTP request that was sent without one: the `index`-th that is recorded."""
    return _digits(16, "request", execution_id, run, str(index))


def _digits(count: int, *of: str) -> str:
    return hashlib.sha256("\n".join(("obelisk", *of)).encode()).hexdigest()[:count]
