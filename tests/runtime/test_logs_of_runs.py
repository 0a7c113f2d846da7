"""The event log of real runs: kinds, order and ids, as users of the example see them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from obelisk.core.events import ChildRequested, Created, JoinNext, JoinSetCreated, Locked, kind_of
from obelisk.core.ids import ExecutionId

FIBO = "template-fibo:workflow/fibo-workflow-ifc."
TRIPLE = ["join_set_create", "child_request", "join_next"]


def fibo_toml(components: Any, workflow_keys: str = "") -> str:
    return f"""
    [[activity_wasm]]
    name = "activity_myfibo"
    location = "{components.activity}"
    exec.lock_expiry.seconds = 60

    [[workflow]]
    name = "myworkflow"
    location = "{components.workflow}"
    exec.lock_expiry.seconds = 60
    {workflow_keys}
    """


@pytest.fixture
def fibo(running: Callable[[str], Any], fibo_components: Any) -> Any:
    return running(fibo_toml(fibo_components))


def kinds(running: Any, execution_id: str) -> list[str]:
    return [kind_of(entry.event) for entry in running.log(ExecutionId(execution_id))]


def test_in_series(fibo: Any) -> None:
    execution_id, outcome = fibo.run_id(FIBO + "fiboa", 10, 2)
    assert outcome == ("ok", 55)
    assert kinds(fibo, execution_id) == ["created", "locked", *TRIPLE, *TRIPLE, "finished"]
    log = fibo.log(execution_id)
    assert [entry.version for entry in log] == list(range(9))
    assert [entry.event.join_set for entry in log if isinstance(entry.event, JoinSetCreated)] == [
        "o:1-fibo",
        "o:2-fibo",
    ]
    requests = [entry.event for entry in log if isinstance(entry.event, ChildRequested)]
    assert [request.child for request in requests] == ["o:1-fibo_1", "o:2-fibo_1"]
    assert [bytes(request.params) for request in requests] == [b"[10]", b"[10]"]
    awaits = [entry.event for entry in log if isinstance(entry.event, JoinNext)]
    assert [(event.ffqn, event.closing) for event in awaits] == [(requests[0].ffqn, False)] * 2
    child = f"{execution_id}.o:1-fibo_1"
    assert kinds(fibo, child) == ["created", "locked", "finished"]
    created = fibo.log(ExecutionId(child))[0].event
    assert isinstance(created, Created)
    assert created.join_set == "o:1-fibo"
    responses = fibo.runtime.reader.responses(execution_id, 0, 10)
    assert [(each.seq, each.join_set) for each in responses] == [(1, "o:1-fibo"), (2, "o:2-fibo")]


def test_at_once(fibo: Any) -> None:
    execution_id, outcome = fibo.run_id(FIBO + "fiboa-concurrent", 10, 3)
    assert outcome == ("ok", 55)
    assert kinds(fibo, execution_id) == [
        "created",
        "locked",
        "join_set_create",
        *["child_request"] * 3,
        *["join_next"] * 3,
        "finished",
    ]
    children = [entry.event.child for entry in fibo.log(execution_id) if isinstance(entry.event, ChildRequested)]
    assert children == ["g:1_1", "g:1_2", "g:1_3"]


def test_interrupt_locks_anew_at_every_wake_up(running: Callable[[str], Any], fibo_components: Any) -> None:
    fibo = running(fibo_toml(fibo_components, 'blocking_strategy = "interrupt"'))
    execution_id, outcome = fibo.run_id(FIBO + "fiboa", 10, 3)
    assert outcome == ("ok", 55)
    assert kinds(fibo, execution_id) == ["created", *["locked", *TRIPLE] * 3, "locked", "finished"]
    runs = [entry.event.run for entry in fibo.log(execution_id) if isinstance(entry.event, Locked)]
    assert len(set(runs)) == 4


def test_equal_submissions_are_one_execution(fibo: Any) -> None:
    runtime = fibo.runtime
    execution_id = runtime.new_execution_id()

    async def submit() -> list[str]:
        params = runtime.catalogue.check_params(FIBO + "fiboa", b"[10, 1]")
        answers = [runtime.submit(execution_id, FIBO + "fiboa", params, {}, None) for _ in range(3)]
        return [str(answer) for answer in await asyncio.gather(*answers)]

    assert sorted(asyncio.run(submit())) == ["created", "exists", "exists"]
    fibo.stop()
    again = type(fibo)(fibo.directory, (fibo.directory / "obelisk.toml").read_text())
    runtime = again.runtime
    try:
        assert asyncio.run(submit()) == ["exists"] * 3
    finally:
        fibo.runtime, fibo.failure = again.runtime, again.failure


def test_parameters_are_checked_before_anything_is_written(fibo: Any) -> None:
    for params, message in [(b"[10]", "2 parameters"), (b'["x", 1]', "params[0]"), (b"[300, 1]", "params[0]")]:
        with pytest.raises(ValueError, match=msgspec.json.encode(message).decode()[1:-1].replace("[", r"\[")):
            fibo.runtime.catalogue.check_params(FIBO + "fiboa", params)
