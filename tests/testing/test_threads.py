"""Guests that are plain functions: the turn is handed over strictly, and nothing is left behind."""

from __future__ import annotations

import threading
from datetime import datetime

import pytest

from obelisk.core import calls
from obelisk.core.ids import ExecutionId, JoinSetId
from obelisk.core.ports import Called, Returned, Trapped, Yielded
from obelisk.core.values import Failure, FailureKind, Json, Ok
from obelisk.testing.context import Ask, Context
from obelisk.testing.guests import BURN, PortMisused, StrictGuest, Trap
from obelisk.testing.threads import GuestClosed, ThreadGuest

ROOT = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYZ")
CREATE, NONE = calls.JoinSetCreate(), Json(b"[]")


def create(perform):
    return perform(Ask(CREATE, lambda reply: reply))


def guest_of(body, live=None):
    return ThreadGuest(ROOT, body, live)


@pytest.fixture(autouse=True)
def nothing_is_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


def test_a_function_calls_yields_and_returns():
    def body(perform, params):
        first = create(perform)
        perform(Ask(BURN, lambda reply: reply))
        return Ok(Json(f'"{first} {bytes(params).decode()}"'.encode()))

    live: set[StrictGuest] = set()
    guest = guest_of(body, live)
    assert guest.start(NONE) == Called(CREATE)
    assert live == {guest}
    assert guest.send("g:1") == Yielded()
    assert guest.resume() == Returned(Ok(Json(b'"g:1 []"')))
    guest.close()
    guest.close()
    assert live == set()


def test_a_function_dies():
    def body(perform, params):
        create(perform)
        raise Trap("zero", FailureKind.OUT_OF_FUEL)

    guest = guest_of(body)
    guest.start(NONE)
    assert guest.send("g:1") == Trapped(Failure(FailureKind.OUT_OF_FUEL, "workflow trap: zero"))
    guest.close()


def test_only_one_runs_at_a_time():
    trace = []

    def body(perform, params):
        for number in range(3):
            trace.append(f"guest {number}")
            create(perform)
        return Ok()

    guest = guest_of(body)
    guest.start(NONE)
    for number in range(3):
        trace.append(f"owner {number}")
        guest.send("g:1")
    guest.close()
    assert trace == ["guest 0", "owner 0", "guest 1", "owner 1", "guest 2", "owner 2"]


@pytest.mark.parametrize("calls_before", [0, 1, 2])
def test_closing_ends_the_function_where_it_waits(calls_before):
    ended = []

    def body(perform, params):
        try:
            for _ in range(3):
                create(perform)
        except GuestClosed:
            ended.append("closed")
            raise
        finally:
            with pytest.raises(GuestClosed):
                create(perform)  # a host call in a `finally` clause
        return Ok()

    guest = guest_of(body)
    guest.start(NONE)
    for _ in range(calls_before):
        guest.send("g:1")
    guest.close()
    assert ended == ["closed"]


def test_a_guest_that_never_began_is_closed():
    guest = guest_of(lambda perform, params: Ok())
    guest.close()
    with pytest.raises(PortMisused, match="is closed, not new"):
        guest.start(NONE)


def test_a_guest_that_was_not_answered_is_misused():
    guest = guest_of(lambda perform, params: create(perform))
    with pytest.raises(PortMisused, match="is new, not called"):
        guest.send("x")
    guest.start(NONE)
    with pytest.raises(PortMisused, match="is called, not yielded"):
        guest.resume()
    guest.close()


def test_an_error_of_the_host_is_the_owners():
    def body(perform, params):
        raise AssertionError("a bug of ours")

    guest = guest_of(body)
    with pytest.raises(AssertionError, match="a bug of ours"):
        guest.start(NONE)
    guest.close()


def test_a_host_call_on_another_thread_is_refused():
    refused = []

    def body(perform, params):
        def other():
            try:
                create(perform)
            except RuntimeError as error:
                refused.append(str(error))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        return Ok()

    guest = guest_of(body)
    assert guest.start(NONE) == Returned(Ok())
    guest.close()
    assert refused == ["host calls are made on the workflow's own thread only"]


def test_an_owner_that_was_interrupted_while_the_function_ran_does_not_wait_for_it(monkeypatch):
    runs, go_on = threading.Event(), threading.Event()

    def body(perform, params):
        runs.set()
        go_on.wait()
        return create(perform)

    guest = guest_of(body)

    def interrupted():
        runs.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(guest._owners_turn, "acquire", interrupted)
    with pytest.raises(KeyboardInterrupt):
        guest.start(NONE)
    guest.close()
    go_on.set()
    guest._thread.join(10)
    assert not guest._thread.is_alive()


def test_a_context_in_a_generator_gives_its_calls_back():
    context = Context(ROOT, lambda ffqn, params: pytest.fail("nothing is typed"), lambda ask: ask)
    asked = context.create_join_set("x")
    assert asked.call == calls.JoinSetCreate("x")
    join_set = asked.take("n:x")
    assert join_set.id == "n:x"
    assert join_set.close().call == calls.JoinSetClose(JoinSetId("n:x"))
    with pytest.raises(AssertionError, match="a reply that the call cannot have"):
        asked.take(calls.DONE)


@pytest.mark.parametrize("when", [-1, "naive"])
def test_instants_that_mean_nothing_are_refused(when):
    context = Context(ROOT, lambda ffqn, params: pytest.fail("nothing is typed"), lambda ask: ask)
    with pytest.raises(ValueError, match=r"negative|no time zone"):
        context.sleep(datetime(2030, 1, 1) if when == "naive" else when)


@pytest.mark.parametrize(("call", "reason"), [
    (lambda context: context.random_u64(5, 4), "the range from 5 to 4 is empty"),
    (lambda context: context.random_string(3, 3), "no length from 3 up to 3"),
])  # fmt: skip
def test_ranges_that_are_empty_end_the_workflow(call, reason):
    context = Context(ROOT, lambda ffqn, params: pytest.fail("nothing is typed"), lambda ask: ask)
    asked = call(context).call
    assert isinstance(asked, calls.Misuse) and reason in asked.reason
