"""Guests in C that send requests, on a real server: streams both ways, secrets, records, and a thousand that wait."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from obelisk.authoring import Toolbox
from obelisk.authoring.languages import Job
from obelisk.authoring.languages.c import C
from obelisk.authoring.manifest import read_manifest
from obelisk.wit.component import ComponentWit
from obelisk.wit.packages import WASI_PACKAGES, package_files

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

FETCH = Path(__file__).resolve().parents[1] / "fixtures" / "fetch"
MIB = 1 << 20
SECRET = "a secret that nobody sees"
IFC = "testing:fetch/fetching"


@pytest.fixture(scope="module")
def component(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fetch") / "fetch"
    shutil.copytree(FETCH, folder)
    for package in WASI_PACKAGES:
        (folder / "wit" / "deps" / package).mkdir(parents=True)
        for name, text in package_files(package).items():
            (folder / "wit" / "deps" / package / name).write_text(text)
    manifest = read_manifest(folder / "component.toml")
    C().build(Job(manifest, ComponentWit(), manifest.output, Toolbox.of(os.environ)))
    return manifest.output


@pytest.fixture
def web(fixture_module: Callable[[str], Any]) -> Any:
    return fixture_module("web")


@pytest.fixture
def fetching(server: Callable[[str], Any], component: Path) -> Callable[..., Any]:
    """A server with the component, started."""

    def start(allowed: str, more: str = "", **env: str) -> Any:
        made = server(
            f"""
            [[activity_wasm]]
            name = "fetch"
            location = "{component}"
            exec.lock_expiry.minutes = 2
            max_retries = 0
            {allowed}
            {more}
            """
        )
        made.start(env)
        return made

    return start


ANY = """
[[activity_wasm.allowed_host]]
pattern = "http://127.0.0.1:*"
methods = "*"
"""


def url(server: Any, path: str = "/") -> dict[str, str]:
    return {"authority": server.authority, "path": path}


def rss_peak_kib(pid: int) -> int:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


async def hello(peer: Any) -> None:
    while True:
        await peer.request()
        await peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


async def streams(peer: Any) -> None:
    """`GET /N` is answered by N MiB, a POST by how many bytes it had."""
    while True:
        head = await peer.head()
        if head.startswith("GET"):
            count = int(head.split()[1].removeprefix("/"))
            await peer.send(f"HTTP/1.1 200 OK\r\nContent-Length: {count * MIB}\r\n\r\n")
            for _ in range(count * 16):
                await peer.send(bytes(65536))
            continue
        got = 0
        if "Content-Length:" in head:
            left = int(head.partition("Content-Length:")[2].split()[0])
            while got < left:
                got += len(await peer.reader.read(65536))
        else:
            while size := int(await peer.reader.readline(), 16):
                await peer.reader.readexactly(size + 2)
                got += size
            await peer.reader.readline()
        await peer.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(str(got))}\r\n\r\n{got}")


def test_a_get_is_recorded_with_its_attempt(fetching: Any, web: Any) -> None:
    with web.ServerThread(hello) as there:
        server = fetching(ANY)
        done = server.submit(f"{IFC}.get", url(there, "/a?b=c"), [("X-One", "1")])
        assert server.result(done) == ("ok", "200 hello")
        [trace] = server.events(done)[-1].finished.http_client_traces
        assert (trace.method, trace.uri, trace.status) == ("GET", f"http://{there.authority}/a?b=c", 200)
        assert trace.sent_at.ToNanoseconds() <= trace.finished_at.ToNanoseconds()


def test_what_is_not_allowed_is_told_with_what_is_missing(fetching: Any, web: Any) -> None:
    with web.ServerThread(hello) as there:
        server = fetching("")
        done = server.submit(f"{IFC}.get", url(there), [])
        assert server.result(done) == ("err", "error 15")
        [trace] = server.events(done)[-1].finished.http_client_traces
        assert f'[[activity_wasm.allowed_host]]\npattern = "http://{there.authority}"\nmethods = ["GET"]' in trace.error
        assert there.connections == 0


def test_headers_that_would_be_others_are_refused(fetching: Any, web: Any) -> None:
    with web.ServerThread(hello) as there:
        server = fetching(ANY)
        for name, value, error in (
            ("X", "a\r\nY: b", 0),
            ("X\r\nY", "b", 0),
            ("X", "a\0", 0),
            ("", "a", 0),
            ("Host", "other", 1),
            ("connection", "close", 1),
            ("Transfer-Encoding", "chunked", 1),
            ("Proxy-Authorization", "x", 1),
        ):
            done = server.submit(f"{IFC}.get", url(there), [(name, value)])
            assert server.result(done) == ("err", f"header error {error}")
        assert there.connections == 0


@pytest.mark.parametrize("announced", [True, False])
def test_a_long_upload_takes_no_memory(fetching: Any, web: Any, announced: bool) -> None:
    with web.ServerThread(streams) as there:
        server = fetching(ANY)
        assert server.result(server.submit(f"{IFC}.upload", url(there), 2, announced)) == ("ok", f"200 {2 * MIB}")
        forget_peak(server.process.pid)
        before = rss_peak_kib(server.process.pid)
        done = server.submit(f"{IFC}.upload", url(there), 100, announced)
        assert server.result(done, 120) == ("ok", f"200 {100 * MIB}")
        grown = rss_peak_kib(server.process.pid) - before
        print(f"grown by {grown} KiB")
        assert grown < 16 * 1024


def test_a_long_download_takes_no_memory(fetching: Any, web: Any) -> None:
    with web.ServerThread(streams) as there:
        server = fetching(ANY)
        assert server.result(server.submit(f"{IFC}.download", url(there, "/2"))) == ("ok", 2 * MIB)
        forget_peak(server.process.pid)
        before = rss_peak_kib(server.process.pid)
        assert server.result(server.submit(f"{IFC}.download", url(there, "/100")), 120) == ("ok", 100 * MIB)
        grown = rss_peak_kib(server.process.pid) - before
        print(f"grown by {grown} KiB")
        assert grown < 16 * 1024


def everybody(count: int) -> Any:
    """Answers when so many have asked."""
    arrived = 0
    all_there: list[asyncio.Event] = []

    async def script(peer: Any) -> None:
        nonlocal arrived
        if not all_there:
            all_there.append(asyncio.Event())
        await peer.head()
        arrived += 1
        if arrived == count:
            all_there[0].set()
        await all_there[0].wait()
        await peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")

    return script


@pytest.fixture
def many_files() -> Any:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("many_files")
def test_a_thousand_activities_wait_at_once_and_need_no_threads(fetching: Any, web: Any) -> None:
    with web.ServerThread(everybody(1000)) as there:
        server = fetching(ANY)
        submitted = [server.submit(f"{IFC}.get", url(there), []) for _ in range(999)]
        while there.connections < 999:
            pass
        threads = len(os.listdir(f"/proc/{server.process.pid}/task"))
        print(f"{threads} threads")
        assert threads < 60
        submitted.append(server.submit(f"{IFC}.get", url(there), []))
        assert {server.result(one) for one in submitted} == {("ok", "200 ok")}


@pytest.mark.usefixtures("many_files")
def test_one_guest_asks_a_thousand_times_at_once(fetching: Any, web: Any) -> None:
    with web.ServerThread(everybody(1000)) as there:
        server = fetching(ANY)
        assert server.result(server.submit(f"{IFC}.many", url(there), 1000)) == ("ok", 1000)


SECRETIVE = """
[[activity_wasm.allowed_host]]
pattern = "http://127.0.0.1:*"
methods = "*"
secrets = ["KEY"]
replace_in = ["headers", "params", "body"]
[secrets]
KEY = { env = "MY_KEY" }
"""


def test_a_secret_is_sent_and_seen_nowhere(fetching: Any, web: Any) -> None:
    got = []

    async def script(peer: Any) -> None:
        head, body = await peer.request()
        got.append((head, body))
        said = head.encode() + body
        await peer.send(
            b"HTTP/1.1 200 OK\r\nX: %b\r\nContent-Length: %d\r\n\r\n%b" % (SECRET.encode(), len(said), said)
        )

    with web.ServerThread(script) as there:
        server = fetching("", SECRETIVE, MY_KEY=SECRET)
        done = server.submit(f"{IFC}.secret", url(there, "/x"), "KEY")
        kind, said = server.result(done)
        [(head, body)] = got
        assert f"X-Key: {SECRET}\r\n" in head
        assert "/x?key=a%20secret%20that%20nobody%20sees " in head
        assert body == SECRET.encode()
        assert kind == "ok"
        events = str(server.events(done))
        assert "?key={KEY}" in events
        assert server.stop() == 0
        for text in (said, events, server.log.read_text()):
            assert SECRET not in text
            assert "a%20secret" not in text
        database = sqlite3.connect(server.database)
        dump = "\n".join(database.iterdump())
        database.close()
        assert SECRET not in dump and "a%20secret" not in dump
        for file in server.directory.rglob("*"):
            assert not file.is_file() or SECRET.encode() not in file.read_bytes()


@pytest.mark.parametrize(("env", "problem"), [({}, "MY_KEY is not set"), ({"MY_KEY": "short"}, "5 bytes")])
def test_a_secret_that_is_missing_keeps_the_server_from_starting(
    fetching: Any, env: dict[str, str], problem: str
) -> None:
    with pytest.raises(AssertionError, match=problem):
        fetching("", SECRETIVE, **env)


def test_an_attempt_that_times_out_keeps_its_record_and_closes_its_socket(
    server: Callable[[str], Any], component: Path, web: Any
) -> None:
    hung_up = []

    async def script(peer: Any) -> None:
        await peer.head()
        hung_up.append(await peer.closed())

    with web.ServerThread(script) as there:
        made = server(
            f'[[activity_wasm]]\nname = "fetch"\nlocation = "{component}"\nmax_retries = 1\n'
            f"exec.lock_expiry.milliseconds = 300\n{ANY}"
        )
        made.start()
        done = made.submit(f"{IFC}.get", url(there), [])
        assert made.result(done)[:2] == ("failure", "timed_out")
        events = made.events(done)
        assert made.kinds(done) == ["created", "locked", "temporarily_timed_out", "locked", "finished"]
        for traces in (events[2].temporarily_timed_out.http_client_traces, events[4].finished.http_client_traces):
            [trace] = traces
            assert (trace.method, trace.WhichOneof("result")) == ("GET", None)
        while len(hung_up) < 2:
            pass
        assert hung_up == [True, True]


def test_a_cancelled_activity_closes_its_socket(fetching: Any, web: Any) -> None:
    from obelisk.proto import obelisk_pb2 as pb

    hung_up = []

    async def script(peer: Any) -> None:
        await peer.head()
        hung_up.append(await peer.closed())

    with web.ServerThread(script) as there:
        server = fetching(ANY)
        running = server.submit(f"{IFC}.get", url(there), [])
        while not there.connections:
            pass
        server.executions.CancelExecution(pb.CancelExecutionRequest(execution_id=pb.ExecutionId(id=running)))
        assert server.result(running)[:2] == ("failure", "cancelled")
        while not hung_up:
            pass
        assert hung_up == [True]
