"""Stub activities as the command line shows them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DECIDE = "shop:orders/approval@1.0.0.decide"


def obelisk(server: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line."""
    command = [sys.executable, "-m", "obelisk", *arguments, "--api-url", f"http://{server.address}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def shop(server: Callable[[str], Any]) -> Any:
    """A running server with nothing but a stub."""
    made = server(
        f"""
        [[activity_stub]]
        name = "approval"
        ffqn = "{DECIDE}"
        params = [{{ name = "order", type = "u64" }}, {{ name = "reasons", type = "list<string>" }}]
        return_type = "result<bool, string>"
        """
    )
    made.start()
    return made


def test_a_stub_is_listed_with_its_extensions(shop: Any) -> None:
    done = obelisk(shop, "component", "list", "--extensions", "--imports")
    params, returned = "order: u64, reasons: list<string>", "result<bool, string>"
    extension, stub = "shop:orders-obelisk-ext/approval@1.0.0.decide", "shop:orders-obelisk-stub/approval@1.0.0.decide"
    errors = "function-mismatch(record { "
    lines = done.stdout.splitlines()
    assert lines[:4] == [
        "approval\tactivity_stub:approval",
        "Exports:",
        f"\t{DECIDE} : func({params}) -> {returned}",
        f"\t{extension}-submit : func(join-set: borrow<join-set>, {params}) -> record {{ id: string }}",
    ]
    assert [line.partition(" : ")[0] for line in lines[4:]] == [
        f"\t{extension}-await-next",
        f"\t{extension}-get",
        f"\t{extension}-invoke",
        f"\t{stub}-stub",
        "Imports:",
    ]
    assert errors in lines[4]
    assert f"execution-result: {returned}) -> result<_, variant {{ " in lines[7]
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stub_is_told_apart_in_json(shop: Any) -> None:
    (found,) = json.loads(obelisk(shop, "component", "list", "--json").stdout)
    assert found["component_id"]["component_type"] == "activity_stub"
    assert [function["submittable"] for function in found["exports"]] == [False]


def test_a_stub_cannot_be_submitted(shop: Any) -> None:
    for name in (DECIDE, ".../approval.decide"):
        done = obelisk(shop, "execution", "submit", name, '[1, ["x"]]')
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("Error: ")
        assert name in done.stderr
    assert obelisk(shop, "execution", "list").stdout == ""


def test_a_stub_that_cannot_be_deployed_is_refused(server: Callable[[str], Any], tmp_path: Path) -> None:
    made = server('[[activity_stub]]\nname = "approval"\nffqn = "a:b/c.d"\nreturn_type = "result<u9>"')
    done = subprocess.run(made.command(), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert (
        'stub approval: return_type: it is not valid WIT: name `u9` does not exist; found "result<u9>"' in done.stderr
    )
    assert not made.database.exists()
