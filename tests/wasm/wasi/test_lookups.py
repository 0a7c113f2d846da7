"""Looking names up while the system's resolver does not answer."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

from obelisk.wasm.wasi.lookups import THREADS_MAX, Lookups


def test_names_are_looked_up() -> None:
    lookups = Lookups()
    assert "127.0.0.1" in lookups.ask("127.0.0.1").result(60)
    with pytest.raises(UnicodeError):
        lookups.ask("a" * 64 + ".test").result(60)


def test_an_error_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(socket.gaierror, match="no such name"):
        Lookups().ask("some.test").result(60)


def test_so_many_at_once_and_not_those_that_nobody_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    full, go = threading.Event(), threading.Event()

    def slow(name: str, *_: Any, **__: Any) -> Any:
        asked.append(name)
        if len(asked) == THREADS_MAX:
            full.set()
        assert go.wait(30)
        return [(2, 1, 6, "", ("127.0.0.1", 0))] * 2

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    lookups = Lookups()
    futures = [lookups.ask(str(number)) for number in range(THREADS_MAX + 2)]
    assert full.wait(30)
    assert futures[THREADS_MAX].cancel()
    go.set()
    assert futures[-1].result(30) == ("127.0.0.1",)
    assert str(THREADS_MAX) not in asked
    assert len(asked) == THREADS_MAX + 1


def test_a_name_is_looked_up_once_for_all_who_ask_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    begun, go = threading.Event(), threading.Event()

    def slow(name: str, *_: Any, **__: Any) -> Any:
        asked.append(name)
        begun.set()
        assert go.wait(30)
        return [(2, 1, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    lookups = Lookups()
    futures = [lookups.ask("one.test")]
    assert begun.wait(30)
    futures += [lookups.ask("one.test") for _ in range(3 * THREADS_MAX)]
    assert futures[1].cancel()
    go.set()
    assert {future.result(30) for future in futures if not future.cancelled()} == {("127.0.0.1",)}
    assert asked == ["one.test"]
    lookups.ask("one.test").result(30)
    assert asked == ["one.test"] * 2


STUCK = """
import asyncio, socket, threading, time
from obelisk.wasm.wasi.http.connecting import SystemResolver
from obelisk.wasm.wasi.sockets.network import _resolve
begun = threading.Semaphore(0)
def stuck(*_, **__):
    begun.release()
    time.sleep(600)
socket.getaddrinfo = stuck
loop = asyncio.new_event_loop()
tasks = [loop.create_task(SystemResolver().resolve("a.test")), loop.create_task(_resolve("b.test"))]
loop.run_until_complete(asyncio.sleep(0.05))
assert begun.acquire(timeout=10) and begun.acquire(timeout=10)
"""


def test_a_name_that_is_never_answered_does_not_keep_the_process() -> None:
    subprocess.run([sys.executable, "-c", STUCK], check=True, timeout=120, capture_output=True)
