"""The operator's secrets: from the environment of the process, once, and out of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from obelisk.config import load
from obelisk.config.settings import Config
from obelisk.core.events import TRACING
from obelisk.core.ids import ExecutionId
from obelisk.runtime.clock import Clock
from obelisk.runtime.io_loop import IoLoop
from obelisk.runtime.outgoing import Outgoing, Secrets

VALUE = "a long enough secret"
ID = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYZ")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "a.wasm").touch()
    (tmp_path / "obelisk.toml").write_text("""
        [[activity_wasm]]
        name = "a"
        location = "a.wasm"
        [[activity_wasm.allowed_host]]
        pattern = "a.example"
        secrets = ["KEY"]
        [[activity_wasm.allowed_host]]
        pattern = "b.example"
        secrets.OTHER.env = "OTHER_KEY"
        [secrets]
        KEY = { env = "MY_KEY" }
        UNUSED = { env = "NOT_SET" }
    """)
    return load(tmp_path / "obelisk.toml", {}, tmp_path)


def test_values_are_taken_out_of_the_environment(config: Config) -> None:
    environ = {"MY_KEY": VALUE, "OTHER_KEY": VALUE + "2", "HOME": "/"}
    secrets = Secrets(environ)
    assert secrets.take(config) == []
    assert environ == {"HOME": "/"}
    policy = config.components[0].sandbox.http
    assert secrets.of(policy) == {"KEY": VALUE.encode(), "OTHER": (VALUE + "2").encode()}
    assert secrets.take(config) == [], "a redeployment finds those that were taken"
    environ["MY_KEY"] = VALUE + "3"
    assert secrets.take(config) == []
    assert secrets.of(policy)["KEY"] == (VALUE + "3").encode()


def test_what_is_wrong_is_told_of_the_component_and_without_the_value(config: Config) -> None:
    assert Secrets({"MY_KEY": "short"}).take(config) == [
        "activity a: secret KEY: the value of the environment variable MY_KEY cannot be one: it has 5 bytes; expected 8 or more",
        (
            "activity a: secret OTHER: the environment variable OTHER_KEY is not set; set it, or take the secret out of the"
            " configuration"
        ),
    ]


def test_values_are_in_no_configuration(config: Config) -> None:
    Secrets({"MY_KEY": VALUE, "OTHER_KEY": VALUE}).take(config)
    assert VALUE not in repr(config)


def test_a_client_has_what_its_policy_names(config: Config) -> None:
    io = IoLoop()
    secrets = Secrets({"MY_KEY": VALUE, "OTHER_KEY": VALUE})
    secrets.take(config)
    outgoing = Outgoing(io, Clock(), secrets)
    one = outgoing.client(config.components[0].sandbox.http, ID, {TRACING + "traceparent": "00-1"})
    other = outgoing.client(config.components[0].sandbox.http, ID, {})
    assert set(one.environment) == {"KEY", "OTHER"}
    assert one.environment["KEY"] != other.environment["KEY"], "placeholders are made for each attempt"
    outgoing.stop()
    io.stop()
