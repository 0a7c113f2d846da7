"""Which TCP connections an entry of allowed_tcp allows."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from obelisk.core.tcp import InvalidTarget, TcpTarget, may_connect, may_look_up, normal_name, parse_target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("db.example.com:5432", TcpTarget("db.example.com", 5432)),
        ("DB.Example.COM.:5432", TcpTarget("db.example.com", 5432)),
        ("*.example.com:443", TcpTarget("*.example.com", 443)),
        ("localhost:*", TcpTarget("localhost", None)),
        ("*:443", TcpTarget("*", 443)),
        ("10.1.2.3:5432", TcpTarget("10.1.2.3/32", 5432)),
        ("10.1.0.0/16:*", TcpTarget("10.1.0.0/16", None)),
        ("[::1]:80", TcpTarget("::1/128", 80)),
        ("[FD00::]/8:80", TcpTarget("fd00::/8", 80)),
    ],
)
def test_entries(text: str, target: TcpTarget) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        "db.example.com",
        "db.example.com:",
        "db.example.com:0",
        "db.example.com:65536",
        "db.example.com:x",
        "tcp://db.example.com:1",
        "a/b:1",
        "10.1.2.3/16:1",
        "10.1.0.0/33:1",
        "10.1.0:1",
        "0x7f.1:1",
        "2130706433:1",
        "::1:80",
        "[::1]/129:80",
        "[fd00::1]/8:80",
        "[1.2.3.4]:80x",
        "*.*.com:1",
        "a*.com:1",
        "*.10.1.2.3:1",
        "-a.com:1",
        "ä.example:1",
        f"{'a' * 64}.com:1",
    ],
)
def test_what_is_no_entry(text: str) -> None:
    with pytest.raises(InvalidTarget):
        parse_target(text)


def targets(*texts: str) -> list[TcpTarget]:
    return [parse_target(text) for text in texts]


def test_names_that_may_be_looked_up() -> None:
    allowed = targets("db.example.com:5432", "*.example.org:1", "10.0.0.0/8:*")
    for name, expected in (
        ("db.example.com", True),
        ("a.example.org", True),
        ("a.b.example.org", True),
        ("example.org", False),
        ("example.com", False),
        ("xdb.example.com", False),
        ("evilexample.org", False),
        ("10.0.0.1.nip.io", False),
    ):
        assert may_look_up(allowed, name) is expected
    assert not may_look_up([], "db.example.com")
    assert may_look_up(targets("*:1"), "anything")


@pytest.mark.parametrize(
    ("entries", "names", "address", "port", "allowed"),
    [
        ([], ["db.example.com"], "93.184.215.14", 443, False),
        (["db.example.com:443"], ["db.example.com"], "93.184.215.14", 443, True),
        (["db.example.com:443"], ["db.example.com"], "93.184.215.14", 80, False),
        (["db.example.com:*"], ["db.example.com"], "93.184.215.14", 80, True),
        (["db.example.com:443"], [], "93.184.215.14", 443, False),  # not looked up: who knows whose it is
        (["db.example.com:443"], ["other.example.com"], "93.184.215.14", 443, False),
        (["*:443"], [], "93.184.215.14", 443, True),
        # A name must not lead into the machine's own network …
        (["db.example.com:443"], ["db.example.com"], "10.1.2.3", 443, False),
        (["db.example.com:443"], ["db.example.com"], "127.0.0.1", 443, False),
        (["db.example.com:443"], ["db.example.com"], "169.254.169.254", 443, False),
        (["db.example.com:443"], ["db.example.com"], "::1", 443, False),
        (["db.example.com:443"], ["db.example.com"], "fd00::1", 443, False),
        (["db.example.com:443"], ["db.example.com"], "::ffff:10.1.2.3", 443, False),
        (["db.example.com:443"], ["db.example.com"], "64:ff9b::a01:203", 443, False),
        (["*:443"], [], "127.0.0.1", 443, False),
        # … unless the address is allowed too.
        (["db.example.com:443", "10.1.0.0/16:443"], ["db.example.com"], "10.1.2.3", 443, True),
        (["10.1.0.0/16:443"], [], "10.1.2.3", 443, True),
        (["10.1.0.0/16:443"], [], "10.1.2.3", 80, False),
        (["10.1.0.0/16:443"], [], "10.2.2.3", 443, False),
        (["10.1.0.0/16:443"], [], "::ffff:10.1.2.3", 443, True),
        (["[::1]:443"], [], "::1", 443, True),
        (["localhost:443"], ["localhost"], "127.0.0.1", 443, True),
        (["localhost:443"], ["localhost"], "::1", 443, True),
        (["localhost:443"], ["localhost"], "10.1.2.3", 443, False),
    ],
)
def test_connections(entries: list[str], names: list[str], address: str, port: int, *, allowed: bool) -> None:
    assert may_connect(targets(*entries), names, ip_address(address), port) is allowed


def test_names() -> None:
    assert normal_name("A.B.") == "a.b"
    for text in ("", ".", "a..b", "a b", "a/b", "x" * 64, "a." * 130):
        assert normal_name(text) is None
