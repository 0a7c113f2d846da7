"""Ids of traces and spans."""

from __future__ import annotations

import pytest

from obelisk.core.ids import ExecutionId, RunId, absolute
from obelisk.core.spans import (
    Traceparent,
    attempt_span,
    execution_span,
    parse_traceparent,
    request_span,
    trace_of,
)

ROOT = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYZ")
CHILD = absolute(ROOT, "o:1-fibo_1")
RUN = RunId("Run_01K42AJA8QHD7D3GTJAYMASFYZ")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CLIENT = "00f067aa0ba902b7"
GIVEN = {"tracing:traceparent": f"00-{TRACE}-{CLIENT}-01", "tracing:tracestate": "a=b", "mine": "x"}


def test_ids_stay_as_they_are():
    """Other servers, and other systems, have heard of them."""
    assert trace_of(ROOT, {}).trace_id == "b294bba679980f0f82e774d2f0b61e45"
    assert execution_span(ROOT) == "1d711db1a830b1dc"
    assert attempt_span(ROOT, RUN) == "5e22414c9ab021ef"
    assert request_span(ROOT, RUN, 0) == "19cf8eee45607169"


def test_a_tree_is_a_trace_and_a_child_is_below_its_parent():
    root, child = trace_of(ROOT, {}), trace_of(CHILD, {})
    assert root.trace_id == child.trace_id
    assert (root.parent, child.parent) == (None, execution_span(ROOT))
    assert trace_of(absolute(CHILD, "g:1_1"), {}).parent == execution_span(CHILD)


def test_a_client_s_trace_goes_on():
    root, child = trace_of(ROOT, GIVEN), trace_of(CHILD, GIVEN)
    assert (root.trace_id, root.parent, root.state, root.is_sampled) == (TRACE, CLIENT, "a=b", True)
    assert (child.trace_id, child.parent) == (TRACE, execution_span(ROOT))
    assert not trace_of(ROOT, {"tracing:traceparent": f"00-{TRACE}-{CLIENT}-02"}).is_sampled


@pytest.mark.parametrize(
    "text",
    [
        "",
        "junk",
        f"00-{TRACE}-{CLIENT}",
        f"01-{TRACE}-{CLIENT}-01",
        f"00-{TRACE.upper()}-{CLIENT}-01",
        f"00-{'0' * 32}-{CLIENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{CLIENT}-01\n",
    ],
)
def test_what_is_no_traceparent_is_none(text: str):
    assert parse_traceparent(text) is None
    assert trace_of(ROOT, {"tracing:traceparent": text, "tracing:tracestate": "a=b"}) == trace_of(ROOT, {})


def test_a_traceparent_is_written_as_it_was_read():
    text = f"00-{TRACE}-{CLIENT}-03"
    assert parse_traceparent(text) == Traceparent(TRACE, CLIENT, 3)
    assert str(parse_traceparent(text)) == text
