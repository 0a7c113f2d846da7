"""Stub activities in a runtime: what waits for a result, is given one, and survives a restart on another description."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from obelisk.core.events import kind_of
from obelisk.core.ids import ExecutionId
from obelisk.core.ports import FunctionKind, Rejection
from obelisk.core.values import Json, Ok
from obelisk.engine.effects import AnswerKind
from obelisk.engine.inputs import GiveResult

DECIDE = "testing:stubs/stubs.decide"
CALL = "testing:calls-five/support.call-json"
FUNCTION = {"interface_name": "testing:stubs/stubs", "function_name": "decide"}
CHILD = ".o:1-decide_1"
WIT = "package testing:stubs; interface stubs { decide: func(question: string) -> result<bool, string>; }"


@pytest.fixture
def wit(tmp_path: Path) -> Path:
    path = tmp_path / "stubs.wit"
    path.write_text(WIT)
    return path


@pytest.fixture
def asking(running: Callable[[str], Any], testing_components: Any, calling_components: Any, wit: Path) -> Any:
    """A runtime with a stub that is described in a file, and a workflow that calls it."""
    return running(
        f"""
        [[activity_wasm]]
        name = "acts"
        location = "{testing_components.activity}"

        [[activity_external]]
        name = "asks"
        location = "{wit}"

        [[workflow]]
        name = "calls"
        location = "{calling_components.five}"
        """
    )


def begun(running: Any) -> ExecutionId:
    """A workflow that waits for the stub; its id."""

    async def begin() -> ExecutionId:
        execution_id: ExecutionId = await running.submit(CALL, FUNCTION, '["?"]', None, None)
        while running.runtime.reader.state(execution_id + CHILD) is None:
            await asyncio.sleep(0.005)
        return execution_id

    return asyncio.run(asyncio.wait_for(begin(), 60))


def given(running: Any, child: ExecutionId, text: str) -> AnswerKind | Rejection:
    """What a door does with a result in JSON."""
    state = running.runtime.reader.state(child)
    outcome = running.runtime.catalogue.typed_result(state.component, state.ffqn, Json(text.encode()))
    if isinstance(outcome, Rejection):
        return outcome
    kind: AnswerKind = asyncio.run(asyncio.wait_for(running.runtime.operate(child, GiveResult(outcome)), 60)).kind
    return kind


def result(running: Any, execution_id: ExecutionId) -> Any:
    found = asyncio.run(asyncio.wait_for(running.result(execution_id), 60))
    assert isinstance(found.outcome, Ok), found
    return json.loads(bytes(found.outcome.value))


def restarted(running: Any) -> None:
    running.stop()
    again = type(running)(running.directory, (running.directory / "obelisk.toml").read_text())
    running.runtime, running.failure = again.runtime, again.failure


def test_a_stub_waits_until_it_is_given_its_result(asking: Any) -> None:
    execution_id = begun(asking)
    child = ExecutionId(execution_id + CHILD)
    assert [kind_of(entry.event) for entry in asking.log(child)] == ["created"]
    assert isinstance(given(asking, child, '{"ok": "yes"}'), Rejection)
    assert given(asking, child, '{"ok": true}') is AnswerKind.DONE
    assert result(asking, execution_id) == {"ok": {"ok": "true"}}
    assert [kind_of(entry.event) for entry in asking.log(child)] == ["created", "finished"]


def test_a_stub_is_no_execution_of_its_own(asking: Any) -> None:
    catalogue = asking.runtime.catalogue
    view = catalogue.components()[1]
    assert (view.name, view.kind, view.imports) == ("asks", FunctionKind.STUB, ())
    assert [(function.ffqn, function.submittable) for function in view.exports] == [
        (DECIDE, False),
        *(
            (f"testing:stubs-obelisk-ext/stubs.decide-{extension}", False)
            for extension in ("submit", "await-next", "get", "invoke")
        ),
        ("testing:stubs-obelisk-stub/stubs.decide-stub", False),
    ]
    assert catalogue.function(DECIDE).submittable is False


def test_an_open_stub_keeps_its_type_when_its_file_is_replaced(asking: Any, wit: Path, tmp_path: Path) -> None:
    execution_id = begun(asking)
    child = ExecutionId(execution_id + CHILD)
    before = asking.runtime.catalogue.active(DECIDE)
    wit.write_text(f"{WIT} // changed")
    restarted(asking)
    after = asking.runtime.catalogue.active(DECIDE)
    assert after.component != before.component
    assert asking.runtime.catalogue.pinned(before.component, DECIDE) == before
    assert asking.runtime.reader.state(child).component == before.component
    copies = {path.name for path in (asking.directory / "db" / "components").glob("stub_*")}
    stems = [f"stub_{digest.replace(':', '_')}" for digest in (before.component, after.component)]
    assert copies == {f"{stem}.{suffix}" for stem in stems for suffix in ("wit", "json")}
    assert given(asking, child, '{"err": "no"}') is AnswerKind.DONE
    assert result(asking, execution_id) == {"ok": {"err": '"no"'}}
    restarted(asking)
    copies = {path.name for path in (asking.directory / "db" / "components").glob("stub_*")}
    assert copies == {f"{stems[1]}.{suffix}" for suffix in ("wit", "json")}, "nothing refers to the older one"
    assert asking.runtime.catalogue.pinned(before.component, DECIDE) is None
