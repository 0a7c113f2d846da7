"""Rows of the table of features: spans of executions and lines of components, sent to a collector of OpenTelemetry."""

from __future__ import annotations

import time
from typing import Any

from obelisk.core.events import Finished
from obelisk.core.spans import execution_span
from obelisk.proto import obelisk_pb2 as pb

WORKS = "testing:talk-workflow/talk.works"
SAYS = "testing:talk-activity/talk.says"
GET = "testing:http/http.get"
ECHO_LATER = "testing:calls-five/acts-schedule.echo-schedule"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CLIENT = "00f067aa0ba902b7"
ERROR = 2
"""The status of a span."""


def attributes(fixture_module: Any, of: Any) -> dict[str, Any]:
    found: dict[str, Any] = fixture_module("collector").attributes(of)
    return found


def submit(served: Any, ffqn: str, params: str, traceparent: str) -> str:
    chosen: str = served.server.new_id()
    interface, _, function = ffqn.rpartition(".")
    request = pb.SubmitRequest(
        execution_id=pb.ExecutionId(id=chosen),
        function_name=pb.FunctionName(interface_name=interface, function_name=function),
    )
    request.params.value = params.encode()
    served.server.executions.Submit(request, timeout=120, metadata=(("traceparent", traceparent),))
    return chosen


def test_m33_executions_of_one_tree_are_spans_of_one_trace_and_their_lines_arrive(
    traced: Any, fixture_module: Any
) -> None:
    served, collector = traced.served, traced.collector
    execution_id, outcome = served.run(WORKS, 2, 10)
    assert outcome == ("ok", 2)
    parent = collector.until(lambda: collector.of(execution_id))
    children = [collector.until(lambda n=n: collector.of(f"{execution_id}.o:{n}-says_1")) for n in (1, 3)]
    assert (parent.name, parent.parent_span_id, parent.span_id.hex()) == (WORKS, b"", execution_span(execution_id))
    for child in children:
        assert (child.name, child.trace_id, child.parent_span_id) == (SAYS, parent.trace_id, parent.span_id)
        assert parent.start_time_unix_nano <= child.start_time_unix_nano < child.end_time_unix_nano
        assert child.end_time_unix_nano <= parent.end_time_unix_nano
        attempt = collector.of(f"{execution_id}.o:1-says_1", "attempt ")
        assert attempt.trace_id == parent.trace_id
    assert attributes(fixture_module, parent) == {
        "obelisk.execution.id": execution_id,
        "obelisk.function": WORKS,
        "obelisk.component.name": "talk_workflow",
        "obelisk.component.digest": served.state(execution_id).component,
        "obelisk.deployment.id": served.state(execution_id).deployment,
        "obelisk.result": "ok",
    }

    line = collector.until(lambda: collector.text("step 1"))
    assert (line.trace_id, line.span_id) == (parent.trace_id, parent.span_id)
    assert (line.severity_text, line.severity_number) == ("INFO", 9)
    assert attributes(fixture_module, line)["obelisk.execution.id"] == execution_id
    said = collector.until(lambda: collector.text("said 0"))
    attempt = collector.of(attributes(fixture_module, said)["obelisk.execution.id"], "attempt ")
    assert (said.trace_id, said.span_id) == (parent.trace_id, attempt.span_id)
    assert [each.body.string_value for each in collector.lines].count("step 1") == 1

    failed, _ = served.run("testing:talk-activity/talk.fails")
    span = collector.until(lambda: collector.of(failed))
    assert (span.status.code, span.trace_id == parent.trace_id) == (ERROR, False)
    assert attributes(fixture_module, span)["obelisk.result"] not in {"ok", "temporarily_failed"}
    attempts = [each for each in collector.spans.values() if each.parent_span_id == span.span_id]
    assert [each.status.code for each in attempts] == [ERROR, ERROR]


def test_m28_spans_arrive_at_a_local_collector(traced: Any, web: Any, fixture_module: Any) -> None:
    """In the trace of the client, if there is one. What a request tells its server is a span that is sent too. What is
    scheduled is a trace of its own, with a link.
    """
    served, collector = traced.served, traced.collector
    asked = submit(served, GET, f'["{web.authority}", "/open/x"]', f"00-{TRACE}-{CLIENT}-01")
    assert served.server.result(asked) == ("ok", 204)
    span = collector.until(lambda: collector.of(asked))
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, CLIENT)
    (_, headers) = web.requests[-1]
    _, trace, parent, _ = headers["traceparent"].split("-")
    request = collector.spans[parent]
    attempt = collector.of(asked, "attempt ")
    assert (request.trace_id.hex(), request.parent_span_id) == (trace, attempt.span_id)
    assert (request.name, attempt.parent_span_id) == ("GET", span.span_id)
    assert attributes(fixture_module, request) == {
        "http.request.method": "GET",
        "http.response.status_code": 204,
        "url.full": f"http://{web.authority}/open/x",
    }
    (ended,) = served.events(asked, Finished)
    assert [each.span_id for each in ended.http_traces] == [parent]

    unasked, _ = served.run(GET, web.authority, "/open/y")
    span = collector.until(lambda: collector.of(unasked))
    _, trace, parent, _ = web.requests[-1][1]["traceparent"].split("-")
    assert (trace, span.parent_span_id) == (span.trace_id.hex(), b"")
    assert collector.spans[parent].trace_id == span.trace_id

    unseen = submit(served, GET, f'["{web.authority}", "/open/z"]', f"00-{TRACE}-{CLIENT}-00")
    assert served.server.result(unseen) == ("ok", 204)
    by, (_, new) = served.run(ECHO_LATER, "now", "later")
    span = collector.until(lambda: collector.of(new["id"]))
    scheduler = collector.until(lambda: collector.of(by))
    assert [(link.trace_id, link.span_id) for link in span.links] == [(scheduler.trace_id, scheduler.span_id)]
    assert span.trace_id != scheduler.trace_id
    assert collector.of(unseen) is None
    assert collector.resources[-1]["service.name"] == "mine"


def test_m28_a_span_ends_when_its_execution_does_whatever_happens_to_the_server(traced: Any) -> None:
    """Killed in between, it is one span, which begins where it began. A server that stops sends what is left."""
    served, collector = traced.served, traced.collector
    execution_id = served.server.submit(WORKS, 2, 1_500)
    collector.until(lambda: collector.of(f"{execution_id}.o:1-says_1"))
    served.crash()
    assert served.server.result(execution_id) == ("ok", 2)
    span = collector.until(lambda: collector.of(execution_id))
    assert span.start_time_unix_nano == served.read(execution_id)[0].created_at * 1_000
    second = collector.until(lambda: collector.of(f"{execution_id}.o:3-says_1"))
    assert (second.trace_id, second.parent_span_id) == (span.trace_id, span.span_id)
    last, _ = served.run(WORKS, 1, 1)
    served.restart()
    assert collector.of(last) is not None


def test_m28_a_collector_that_is_not_there_holds_up_nothing(traced: Any) -> None:
    """It is said once, of spans and of lines."""
    served, collector = traced.served, traced.collector
    assert served.server.stop() == 0
    collector.stop()
    served.server.start(env={"OTEL_EXPORTER_OTLP_TIMEOUT": "2"})
    said = len(served.server.log.read_text())
    for _ in range(3):
        assert served.run(WORKS, 1, 1)[1] == ("ok", 1)
        time.sleep(0.7)  # more than one batch
    for what in ("spans", "lines"):
        served.until(lambda what=what: f"{what} cannot be sent to" in served.server.log.read_text()[said:])
    begun = time.monotonic()
    assert served.server.stop() == 0
    assert time.monotonic() - begun < 20
    log = served.server.log.read_text()[said:]
    assert log.count("spans cannot be sent to") == log.count("lines cannot be sent to") == 1
    assert "UNAVAILABLE" in log and "Transient error" not in log
    assert "were not sent to" in log

    collector.start()
    served.server.start()
    execution_id, _ = served.run(WORKS, 1, 1)
    collector.until(lambda: collector.of(execution_id))
