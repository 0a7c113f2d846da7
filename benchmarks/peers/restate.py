"""Restate: its server, a service in Python, and a client over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import Figures, percentile
from benchmarks.machine import at_rest
from benchmarks.peers.crash import crash
from benchmarks.peers.places import RESTATE, ROOT, command, missing_package, missing_restate
from benchmarks.peers.work import FIBO_10, marks
from benchmarks.work import LATENCIES, STEPS, STEPS_EACH, WARM_UP, WORKFLOWS

_CLIENTS: Final = WORKFLOWS
_STARTING_S: Final = 60.0


class _Node:
    """One server and one service, on ports of their own and a folder that stays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = _free_ports(4)
        self._ingress, self._admin, _, _ = self._ports
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def pid(self) -> int:
        """Of the server."""
        return self._processes[0].pid

    def start_server(self) -> None:
        """Until it answers."""
        ingress, admin, node, _ = (f"127.0.0.1:{port}" for port in self._ports)
        environment = {
            **os.environ,
            "RESTATE_INGRESS__BIND_ADDRESS": ingress,
            "RESTATE_ADMIN__BIND_ADDRESS": admin,
            "RESTATE_BIND_ADDRESS": node,
            "RESTATE_ADVERTISED_ADDRESS": f"http://{node}",
            "RESTATE_LISTEN_MODE": "tcp",
            "RESTATE_LOG_FILTER": "error",
            "RESTATE_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "1",
        }
        with (self._folder / "server.log").open("ab") as log:
            server = subprocess.Popen(
                [RESTATE, "--base-dir", self._folder / "data", "--node-name", "bench"],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._processes = [server]
        self._await(f"http://{admin}/health", f"http://{ingress}/restate/health")

    def start_service(self, *mark_file: str) -> None:
        """Without waiting for it."""
        arguments = (str(self._ports[3]), *mark_file)
        self._processes.append(
            subprocess.Popen(command("restate_service", *arguments), cwd=ROOT, stderr=subprocess.DEVNULL)
        )

    def register(self) -> None:
        """Tells the server where the service is."""
        ends = time.monotonic() + _STARTING_S
        while True:
            with suppress(OSError, urllib.error.URLError):
                uri = f"http://127.0.0.1:{self._ports[3]}"
                _post(f"http://127.0.0.1:{self._admin}/deployments", {"uri": uri, "force": True})
                return
            if time.monotonic() > ends:
                raise TimeoutError("the service cannot be registered")
            time.sleep(0.05)

    def call(self, handler: str, argument: int) -> Any:
        """Invokes a handler and waits for its result."""
        return _post(f"http://127.0.0.1:{self._ingress}/bench/{handler}", argument)

    def client(self) -> http.client.HTTPConnection:
        """A connection that is kept."""
        return http.client.HTTPConnection("127.0.0.1", self._ingress, timeout=120)

    def send(self, handler: str, argument: int) -> None:
        """Invokes a handler and does not wait."""
        _post(f"http://127.0.0.1:{self._ingress}/bench/{handler}/send", argument)

    def is_done(self, handler: str) -> bool:
        """Whether all invocations of a handler have completed."""
        query = f"SELECT status FROM sys_invocation WHERE target_handler_name = '{handler}'"
        with suppress(OSError, urllib.error.URLError):
            rows = _post(f"http://127.0.0.1:{self._admin}/query", {"query": query})["rows"]
            return bool(rows) and all(row["status"] == "completed" for row in rows)
        return False

    def kill(self) -> None:
        """SIGKILL to both."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()

    def stop_server(self) -> None:
        """A clean stop."""
        self._processes[0].terminate()
        self._processes[0].wait()

    def _await(self, *urls: str) -> None:
        ends = time.monotonic() + _STARTING_S
        for url in urls:
            while True:
                with suppress(OSError, urllib.error.URLError):
                    urllib.request.urlopen(url, timeout=1).close()
                    break
                if time.monotonic() > ends or self._processes[0].poll() is not None:
                    raise TimeoutError((self._folder / "server.log").read_text(errors="replace")[-500:])
                time.sleep(0.01)


class Restate:
    """With its own storage, RocksDB."""

    name = "Restate"
    note = "a server process asked over HTTP/1.1, which calls a Python service over HTTP/2; its own storage, default settings"

    @staticmethod
    def missing() -> str | None:
        """Why it cannot take part."""
        return missing_restate() or missing_package("restate")

    def measure(self, case: str) -> Figures | None:
        """Runs a case once."""
        match case:
            case "series":
                with _node() as node:
                    return _series(node)
            case "at-once":
                with _node() as node:
                    return {
                        "child_per_s": _rate(node, "children_at_once"),
                        "plain_per_s": _rate(node, "plain_at_once"),
                    }
            case "many":
                with _node() as node:
                    return {"child_per_s": _many(node, "children"), "plain_per_s": _many(node, "plain")}
            case "latency":
                with _node() as node:
                    return _latency(node)
            case "idle":
                return _idle()
            case "recovery":
                return _recovery()
        return None

    def close(self) -> None:
        """Nothing is kept."""


@contextmanager
def _node() -> Iterator[_Node]:
    """Both running, warm."""
    with tempfile.TemporaryDirectory(prefix="obelisk-bench-") as folder:
        node = _Node(Path(folder))
        try:
            node.start_server()
            node.start_service()
            node.register()
            for handler in ("plain", "children", "plain_at_once", "children_at_once"):
                node.call(handler, 10)
            yield node
        finally:
            node.kill()


def _series(node: _Node) -> Figures:
    begun = time.perf_counter()
    ends = node.call("children", STEPS)
    child = STEPS / (time.perf_counter() - begun)
    gaps = [1_000 * (after - before) for before, after in pairwise(ends)]
    return {
        "child_per_s": child,
        "child_p50_ms": percentile(gaps, 0.5),
        "child_p99_ms": percentile(gaps, 0.99),
        "plain_per_s": _rate(node, "plain"),
    }


def _rate(node: _Node, handler: str) -> float:
    begun = time.perf_counter()
    assert node.call(handler, STEPS) == STEPS * FIBO_10
    return STEPS / (time.perf_counter() - begun)


def _many(node: _Node, handler: str) -> float:
    with ThreadPoolExecutor(_CLIENTS) as pool:
        begun = time.perf_counter()
        found = list(pool.map(lambda _: node.call(handler, STEPS_EACH), range(WORKFLOWS)))
        taken = time.perf_counter() - begun
    assert all(each == STEPS_EACH * FIBO_10 or len(each) == STEPS_EACH for each in found)
    return WORKFLOWS * STEPS_EACH / taken


def _latency(node: _Node) -> Figures:
    client, taken = node.client(), []
    for number in range(WARM_UP + LATENCIES):
        begun = time.perf_counter()
        client.request("POST", "/bench/plain", b"1", {"content-type": "application/json"})
        assert json.loads(client.getresponse().read()) == FIBO_10
        if number >= WARM_UP:
            taken.append(1_000 * (time.perf_counter() - begun))
    client.close()
    return {"p50_ms": percentile(taken, 0.5), "p99_ms": percentile(taken, 0.99)}


def _idle() -> Figures:
    """The server's memory, without that of its service."""
    with tempfile.TemporaryDirectory(prefix="obelisk-bench-") as folder:
        node = _Node(Path(folder))
        try:
            node.start_server()
            node.stop_server()
            begun = time.monotonic()
            node.start_server()
            ready = time.monotonic() - begun
            return {"ready_s": ready, **at_rest(node.pid)}
        finally:
            node.kill()


def _recovery() -> Figures:
    with tempfile.TemporaryDirectory(prefix="obelisk-bench-") as folder:
        node, steps = _Node(Path(folder)), Path(folder) / "steps"
        begun: list[bool] = []

        def start() -> None:
            node.start_server()
            node.start_service(str(steps))
            if not begun:
                node.register()
                node.send("plain", STEPS)
                begun.append(True)

        try:
            return crash(start, node.kill, lambda: marks(steps) >= STEPS and node.is_done("plain"), steps)
        finally:
            node.kill()


def _post(url: str, body: Any) -> Any:
    headers = {"content-type": "application/json", "accept": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.loads(response.read() or b"null")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
