"""Rows of the table of features: what a workflow cannot reach, and HTTP from activities."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from obelisk.core.events import DelayRequested, Finished
from obelisk.proto import obelisk_pb2 as pb

FLOW = "testing:wasi-workflow/wasi."
GET = "testing:http/http.get"
DENIED = 1_000 + 15
"""`HTTP-request-denied` is case 15 of the error code."""
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Web:
    """A server on the loopback interface; it answers 204 and keeps the headers of each request."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.authority = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web()
    yield made
    made.stop()


@pytest.fixture
def fetching(serve: Any, web: Web, fixture_module: Any, tmp_path: Any) -> Any:
    folder = tmp_path / "http"
    folder.mkdir()
    component = fixture_module("http_get").build(folder, fixture_module("components"))
    served = serve(f"""
        [[activity_wasm]]
        name = "http"
        location = "{component}"
        max_retries = 0
        [[activity_wasm.allowed_host]]
        pattern = "http://{web.authority}"
        methods = ["GET"]
        request_url_regex = "http://[^/]*/open/.*"
    """)
    served.server.start()
    return served


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


def test_r12_an_activity_sends_http_requests(fetching: Any, web: Web) -> None:
    execution_id, outcome = fetching.run(GET, web.authority, "/open/door?x=1")
    assert outcome == ("ok", 204)
    assert [path for path, _ in web.requests] == ["/open/door?x=1"]
    (ended,) = fetching.events(execution_id, Finished)
    (trace,) = ended.http_traces
    assert (trace.method, trace.uri) == ("GET", f"http://{web.authority}/open/door?x=1")


def test_m39_only_requests_that_the_operator_allows_go_out(fetching: Any, web: Web) -> None:
    """Another path, another port, another host; what is missing is told in the log of the execution."""
    for authority, path in ((web.authority, "/shut"), ("127.0.0.1:1", "/open/"), ("other.example", "/open/")):
        execution_id, outcome = fetching.run(GET, authority, path)
        assert outcome == ("ok", DENIED)
        assert f"http://{authority}{path}" in fetching.done("execution", "logs", execution_id)
    assert "[[activity_wasm.allowed_host]]" in fetching.done("execution", "logs", execution_id)
    assert web.requests == []


def test_f23_the_trace_of_whoever_submits_goes_along(fetching: Any, web: Web) -> None:
    chosen = fetching.server.new_id()
    interface, _, function = GET.rpartition(".")
    request = pb.SubmitRequest(
        execution_id=pb.ExecutionId(id=chosen),
        function_name=pb.FunctionName(interface_name=interface, function_name=function),
    )
    request.params.value = f'["{web.authority}", "/open/"]'.encode()
    fetching.server.executions.Submit(
        request, timeout=20, metadata=(("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01"),)
    )
    assert fetching.server.result(chosen) == ("ok", 204)
    ((_, headers),) = web.requests
    version, trace, span, flags = headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "01") and span != "00f067aa0ba902b7"
