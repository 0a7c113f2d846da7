"""A real CPython in an activity: its own `open`, `os` and `socket`, on our WASI, in a real server.

Needs componentize-py, which `make acceptance` installs, and a minute to build one component.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

WIT = """
package testing:python;
interface python { run: func(code: string) -> result<string, string>; }
world any { export python; }
"""
APP = """
import encodings.idna, os, shutil, socket, time  # what the code may need: it cannot be imported later
from wit_world import exports
from componentize_py_types import Err

class Python(exports.Python):
    def run(self, code: str) -> str:
        scope = dict(globals())
        try:
            exec(code, scope)
        except BaseException as error:
            raise Err(f"{type(error).__name__}: {error}")
        return str(scope.get("result"))
"""
RUN = "testing:python/python.run"


@pytest.fixture(scope="module")
def component(tmp_path_factory: pytest.TempPathFactory, componentize_py: Path) -> Path:
    folder = tmp_path_factory.mktemp("python")
    (folder / "wit").mkdir()
    (folder / "wit" / "world.wit").write_text(WIT)
    (folder / "app.py").write_text(APP)
    command = [componentize_py, "-d", "wit", "-w", "any", "componentize", "app", "-o", "app.wasm"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=600)
    return folder / "app.wasm"


@pytest.fixture
def python(server: Any, component: Path, tmp_path: Path) -> Iterator[Any]:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.txt").write_text("of the host")
    made = server(
        f"""
        activities.directories.enabled = true
        activities.directories.parent_directory = "{tmp_path}/directories"
        activities.directories.bytes_max = 1_000_000

        [[activity_wasm]]
        name = "python"
        location = "{component}"
        exec.lock_expiry.seconds = 60
        max_retries = 0
        directories.enabled = true
        allowed_tcp = ["127.0.0.1:*", "localhost:*"]
        directory = [{{ host = "{tmp_path}/data", guest = "/data" }}]
        """
    )
    made.start()
    yield made
    assert made.stop() == 0


@pytest.mark.timeout(900)
def test_a_guest_in_python(python: Any, tmp_path: Path) -> None:
    def run(code: str) -> Any:
        return python.result(python.submit(RUN, code), 120)

    def value(code: str) -> Any:
        kind, text = run(code)
        assert kind == "ok", text
        return eval(text)

    def error(code: str) -> str:
        kind, text = run(code)
        assert kind == "err"
        return str(text)

    # Files, by relative and absolute paths.
    assert value("open('a.txt', 'w').write('hello')\nresult = open('/a.txt').read(), os.listdir('.')") == (
        "hello",
        ["a.txt"],
    )
    tree = "os.makedirs('a/b')\nopen('a/b/c', 'wb').write(b'x' * 300_000)\nsize = os.path.getsize('a/b/c')\n"
    assert value(tree + "found = list(os.walk('.'))\nshutil.rmtree('a')\nresult = size, found, os.listdir()") == (
        300_000,
        [(".", ["a"], []), ("./a", ["b"], []), ("./a/b", [], ["c"])],
        [],
    )
    assert value("open('a', 'w').write('1')\nos.rename('a', 'b')\nos.symlink('b', 'c')\nresult = open('c').read()") == 1
    assert value("open('a', 'ab').write(b'1')\nopen('a', 'ab').write(b'2')\nresult = repr(open('a').read())") == "12"
    assert value("result = repr(open('/data/x.txt').read())") == "of the host"

    # Out of the directory.
    assert "PermissionError" in error("open('../../../../etc/passwd')")
    assert "PermissionError" in error("os.symlink('../../..', 'up')\nopen('up/etc/passwd')")
    assert "FileNotFoundError" in error("open('/etc/passwd')")
    assert "PermissionError" in error("os.symlink('/etc', 'etc')")
    assert "Read-only" in error("open('/data/x.txt', 'w')")
    assert (tmp_path / "data" / "x.txt").read_text() == "of the host"

    # Beyond the limits; then it goes on.
    many = "files = []\ntry:\n    while True: files.append(open(f'f{len(files)}', 'w'))\nexcept OSError: pass\n"
    assert 200 < value(many + "n = len(files)\nfiles.clear()\nopen('f0').close()\nresult = n") < 257
    full = "try:\n    open('big', 'wb').write(bytes(2_000_000))\nexcept OSError: result = os.path.getsize('big') <= 1_000_000"
    assert value(full)

    # Sockets.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=echo, args=[listening], daemon=True).start()
        port = listening.getsockname()[1]
        for host in ("127.0.0.1", "localhost"):
            talk = f"s = socket.create_connection(('{host}', {port}))\ns.sendall(b'x' * 200_000)\ns.shutdown(socket.SHUT_WR)\nn = 0\n"
            assert value(talk + "while data := s.recv(65536): n += len(data)\ns.close()\nresult = n") == 200_000
    assert "PermissionError" in error("socket.create_connection(('10.0.0.1', 80))")
    assert "PermissionError" in error("socket.create_connection(('example.com', 80))")
    assert "PermissionError" in error("socket.socket().bind(('127.0.0.1', 0))")

    log = python.log.read_text()
    for event in (
        "the path '../../../../etc/passwd' leads out of its directory: not-permitted",
        "the path 'up/etc/passwd' leads out of its directory: not-permitted",
        "/data may only be read (read_only), and 'x.txt' is in it: read-only",
        "a run may have 256 files, directories and streams of them open: insufficient-memory",
        "the directory of the execution may hold 1000000 bytes (activities.directories.bytes_max): quota",
        'no entry of allowed_tcp has 10.0.0.1:80; if one should, add "10.0.0.1:80": access-denied',
        'the name example.com may not be looked up: no entry of allowed_tcp is about it; if it should be, add "example.com:PORT"',
    ):
        assert event in log
    assert len(os.listdir(f"/proc/{python.process.pid}/fd")) < 100


def echo(listening: socket.socket) -> None:
    for _ in range(2):
        connection, _ = listening.accept()
        with connection:
            while data := connection.recv(1 << 16):
                connection.sendall(data)
