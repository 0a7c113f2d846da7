"""Python guests are strict about the port, so that tests with them find an engine that is not."""

from __future__ import annotations

import pytest

from obelisk.core import calls
from obelisk.core.ids import ExecutionId
from obelisk.core.ports import Called, Returned, Trapped, Yielded
from obelisk.core.values import Failure, FailureKind, Json, Ok
from obelisk.testing.guests import BURN, Flow, PortMisused, PythonGuest, Trap

ROOT = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYZ")
SET = calls.JoinSetCreate()


def flow(execution_id: ExecutionId, params: Json) -> Flow:
    join_set = yield SET
    yield BURN
    if params == Json(b"[0]"):
        raise Trap("zero", FailureKind.OUT_OF_FUEL)
    return Ok(Json(f'"{join_set}"'.encode()))


def test_a_guest_calls_yields_and_returns() -> None:
    live: set[PythonGuest] = set()
    guest = PythonGuest(ROOT, flow, live)
    assert guest.start(Json(b"[1]")) == Called(SET)
    assert live == {guest}
    assert guest.send("g:1") == Yielded()
    assert guest.resume() == Returned(Ok(Json(b'"g:1"')))
    guest.close()
    guest.close()
    assert live == set()


def test_a_guest_traps() -> None:
    guest = PythonGuest(ROOT, flow)
    guest.start(Json(b"[0]"))
    guest.send("g:1")
    assert guest.resume() == Trapped(Failure(FailureKind.OUT_OF_FUEL, "workflow trap: zero"))


def test_misuses_of_the_port_are_refused() -> None:
    guest = PythonGuest(ROOT, flow)
    for misuse in (lambda: guest.send("x"), guest.resume):
        with pytest.raises(PortMisused, match="is new, not"):
            misuse()
    guest.start(Json(b"[1]"))
    with pytest.raises(PortMisused, match="is called, not new"):
        guest.start(Json(b"[1]"))
    with pytest.raises(PortMisused, match="is called, not yielded"):
        guest.resume()
    guest.send("g:1")
    with pytest.raises(PortMisused, match="is yielded, not called"):
        guest.send("g:1")
    guest.close()
    with pytest.raises(PortMisused, match="is closed, not yielded"):
        guest.resume()
