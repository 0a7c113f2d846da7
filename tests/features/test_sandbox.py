"""Rows of the table of features: what a workflow cannot reach, and HTTP from activities."""

from __future__ import annotations

from typing import Any

from obelisk.core.events import DelayRequested, Finished, Unlocked
from obelisk.proto import obelisk_pb2 as pb

FLOW = "testing:wasi-workflow/wasi."
GET = "testing:http/http.get"
DENIED = 1_000 + 15
"""`HTTP-request-denied` is case 15 of the error code."""
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_w04_a_workflow_has_no_clock_no_chance_and_no_network_of_its_own(
    serve: Any, wasi_components: Any, refused: list[str]
) -> None:
    """What would reach out is refused at start. Clock and randomness of its language are the execution's: killed in the
    middle, it goes on with the same.
    """
    assert [line for line in refused if "workflow busybody imports wasi:http" in line]
    assert [line for line in refused if "workflow busybody imports wasi:sockets" in line]
    served = serve(f'[[workflow]]\nname = "flow"\nlocation = "{wasi_components.workflow}"')
    served.server.start()
    execution_id = served.server.submit(FLOW + "waits", 1_500)
    served.until(lambda: served.events(execution_id, DelayRequested))
    served.crash()
    kind, waited = served.server.result(execution_id)
    assert kind == "ok" and waited >= 1_500
    drawn, outcome = served.run(FLOW + "draws")
    for replayed, (_, value) in ((execution_id, (kind, waited)), (drawn, outcome)):
        for _ in range(3):
            assert served.done("execution", "replay", replayed) == f"outcome: finished\nresult: OK: {value}"


def test_r12_an_activity_sends_http_requests(fetching: Any, web: Any) -> None:
    execution_id, outcome = fetching.run(GET, web.authority, "/open/door?x=1")
    assert outcome == ("ok", 204)
    assert [path for path, _ in web.requests] == ["/open/door?x=1"]
    (ended,) = fetching.events(execution_id, Finished)
    (trace,) = ended.http_traces
    assert (trace.method, trace.uri) == ("GET", f"http://{web.authority}/open/door?x=1")


def test_r12_requests_are_recorded_whatever_ends_the_attempt(fetching: Any, web: Any) -> None:
    """Also when the execution is cancelled, and when the server stops, after which it is run again."""
    cancelled, given_up = [fetching.server.submit(GET, web.authority, f"/open/slow{number}") for number in (1, 2)]
    fetching.until(lambda: len(web.requests) == 2)
    fetching.done("execution", "cancel", cancelled)
    assert fetching.server.result(cancelled)[:2] == ("failure", "cancelled")
    (ended,) = fetching.events(cancelled, Finished)
    assert [(trace.uri, trace.status) for trace in ended.http_traces] == [(f"http://{web.authority}/open/slow1", None)]
    assert f"GET http://{web.authority}/open/slow1" in fetching.done("execution", "events", cancelled)

    fetching.restart()
    fetching.until(lambda: len(web.requests) == 3)
    (unlocked,) = fetching.events(given_up, Unlocked)
    assert [(trace.uri, trace.status) for trace in unlocked.http_traces] == [
        (f"http://{web.authority}/open/slow2", None)
    ]
    assert f"GET http://{web.authority}/open/slow2" in fetching.done("execution", "events", given_up)
    fetching.done("execution", "cancel", given_up)


def test_m39_only_requests_that_the_operator_allows_go_out(fetching: Any, web: Any) -> None:
    """Another path, another port, another host; what is missing is told in the log of the execution."""
    for authority, path in ((web.authority, "/shut"), ("127.0.0.1:1", "/open/"), ("other.example", "/open/")):
        execution_id, outcome = fetching.run(GET, authority, path)
        assert outcome == ("ok", DENIED)
        assert f"http://{authority}{path}" in fetching.done("execution", "logs", execution_id)
    assert "[[activity_wasm.allowed_host]]" in fetching.done("execution", "logs", execution_id)
    assert web.requests == []


def test_f23_the_trace_of_whoever_submits_goes_along(fetching: Any, web: Any) -> None:
    chosen = fetching.server.new_id()
    interface, _, function = GET.rpartition(".")
    request = pb.SubmitRequest(
        execution_id=pb.ExecutionId(id=chosen),
        function_name=pb.FunctionName(interface_name=interface, function_name=function),
    )
    request.params.value = f'["{web.authority}", "/open/"]'.encode()
    fetching.server.executions.Submit(
        request, timeout=120, metadata=(("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01"),)
    )
    assert fetching.server.result(chosen) == ("ok", 204)
    ((_, headers),) = web.requests
    version, trace, span, flags = headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "01") and span != "00f067aa0ba902b7"
