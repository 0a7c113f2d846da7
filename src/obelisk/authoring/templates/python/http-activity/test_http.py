"""Runs the component that was built in a server, against a small one that answers it: `obelisk build`, then `pytest`."""

import json
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

FETCH = "template-http:activity/http-activity-ifc.fetch"
HERE = Path(__file__).parent


class Answers(BaseHTTPRequestHandler):
    """What the activity talks to."""

    def do_GET(self):
        status, body = {"/": (200, "hello"), "/large": (200, "x" * 100_000)}.get(self.path, (404, "not here"))
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def pages():
    """The address of a server of this test."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def fetch(tmp_path_factory):
    """A function: what an execution of the activity comes to, in a server with the configuration of this project."""
    own = {
        "OBELISK__API__LISTENING_ADDR": "127.0.0.1:0",
        "OBELISK__SQLITE__DIRECTORY": str(tmp_path_factory.mktemp("db")),
    }
    command = ["obelisk", "server", "run", "--config", HERE / "obelisk.toml"]
    with subprocess.Popen(command, env=os.environ | own, stdout=subprocess.PIPE, text=True) as server:
        line = next(each for each in server.stdout if "Serving gRPC requests at " in each)
        threading.Thread(target=server.stdout.read).start()
        api = os.environ | {"OBELISK_API_URL": f"http://{line.split()[-1]}"}

        def run(url):
            submit = ["obelisk", "execution", "submit", "--json", "--follow", FETCH, json.dumps([url])]
            return json.loads(subprocess.run(submit, env=api, stdout=subprocess.PIPE).stdout)

        yield run
        server.terminate()


def test_a_page(fetch, pages):
    assert fetch(f"{pages}/") == {"ok": {"status": 200, "body": "hello"}}


def test_a_status_is_no_error(fetch, pages):
    assert fetch(f"{pages}/nowhere?x=1") == {"ok": {"status": 404, "body": "not here"}}


def test_a_long_body_is_cut(fetch, pages):
    assert fetch(f"{pages}/large")["ok"]["body"] == "x" * 65_536


def test_what_obelisk_toml_does_not_allow_is_denied(fetch):
    assert "HTTP-request-denied" in fetch("http://192.0.2.1/")["err"]


def test_what_is_no_address_is_an_error(fetch):
    assert "nowhere" in fetch("nowhere")["err"]
