"""Requests over TLS: to whom a certificate belongs, and who vouches for it. `openssl` makes the certificates."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from obelisk.wasm.wasi.http.connecting import Connections
from obelisk.wasm.wasi.http.failures import Code, HttpFailure

EXTENSIONS = "subjectAltName=DNS:api.example,IP:127.0.0.1"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that vouches for itself, with its key in the same file."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=test", "-addext", EXTENSIONS, "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return both


@pytest.fixture
def web(fixture_module: Callable[[str], Any]) -> Any:
    return fixture_module("web")


class Names:
    async def resolve(self, host: str) -> list[str]:
        return ["127.0.0.1"]


async def hello(peer: Any) -> None:
    """Answers whatever it is asked, and is rude to those who do not speak HTTP."""
    while True:
        if (await peer.reader.readexactly(1)) != b"G":
            return await peer.send("what?\r\n")
        await peer.request()
        await peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


def ask(web: Any, certificate: Path | None, host: str, *, trusts: bool = True) -> tuple[bytes, int]:
    """The body of two responses, and how many connections it took. `certificate`: None: the server speaks no TLS."""
    trusted = ssl.create_default_context(cafile=str(certificate) if trusts and certificate else None)
    server_side = None
    if certificate is not None:
        server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server_side.load_cert_chain(certificate)

    async def run() -> tuple[bytes, int]:
        connections = Connections(Names(), trusted)
        entry = web.entry("https://*:*", addresses=("127.0.0.0/8",))
        client = web.Web(entry, connections=connections)
        async with web.Server(hello, server_side) as server:
            try:
                said = b""
                for _ in range(2):
                    said += await client.get(f"{host}:{server.port}", scheme="https")
                return said, server.connections
            finally:
                connections.close()
                await asyncio.sleep(0.05)

    return asyncio.run(run())


@pytest.mark.parametrize("host", ["api.example", "127.0.0.1"])
def test_a_server_is_who_it_says_it_is(web: Any, certificate: Path, host: str) -> None:
    assert ask(web, certificate, host) == (b"hellohello", 1)


@pytest.mark.parametrize(("host", "trusts"), [("other.example", True), ("api.example", False)])
def test_a_server_that_is_not_is_sent_nothing(web: Any, certificate: Path, host: str, trusts: bool) -> None:
    with pytest.raises(HttpFailure) as raised:
        ask(web, certificate, host, trusts=trusts)
    assert raised.value.code is Code.TLS_CERTIFICATE_ERROR


def test_a_server_that_speaks_no_tls(web: Any) -> None:
    with pytest.raises(HttpFailure) as raised:
        ask(web, None, "api.example")
    assert raised.value.code is Code.TLS_PROTOCOL_ERROR
