"""Backtraces of real components, through the use cases of a whole runtime."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from obelisk.api.errors import InvalidArgument, NotFound
from obelisk.api.service import Service
from obelisk.api.views import Persisting
from obelisk.core.backtraces import Backtrace, Frame, Symbol
from obelisk.core.ids import ExecutionId
from obelisk.core.state import Status
from obelisk.core.tracing import FIRST, LAST

FLOWS = "testing:workflow/flows."


def seen(running: Any, execution_id: ExecutionId, version: int) -> Backtrace:
    """As a client gets it."""

    async def ask() -> Backtrace:
        service = Service(running.runtime)
        try:
            return (await service.backtraces.get(execution_id, version)).backtrace
        finally:
            service.close()

    return asyncio.run(ask())


def functions(backtrace: Backtrace) -> list[str]:
    return [frame.func_name for frame in backtrace.frames]


def test_each_event_leads_to_the_place_of_its_call(flows: Any) -> None:
    """Version 2 creates the join set, 3 and 4 submit, 5 is join-next, and 6 the drop, which closes. Drops have a place too."""
    execution_id, _ = flows.run_id(FLOWS + "timeout-pattern", 1)
    outer = "<wasm function 45>"
    expected = [
        ["timeout_set", outer],
        [outer],
        ["first_within", outer],
        ["first_within", outer],
        ["first_within", outer],
    ]
    found = [seen(flows, execution_id, version) for version in range(2, 7)]
    assert [functions(backtrace) for backtrace in found] == expected
    assert [(backtrace.first, backtrace.end) for backtrace in found] == [(each, each + 1) for each in range(2, 7)]
    component = flows.runtime.reader.state(execution_id).component
    assert {backtrace.component for backtrace in found} == {component}
    assert seen(flows, execution_id, FIRST) == found[0]
    assert seen(flows, execution_id, LAST) == found[-1]


@pytest.mark.parametrize(("function", "params"), [("sleeper", (1,)), ("calls-fail", (3,)), ("parent", (1,))])
def test_a_call_that_left_three_events_has_one_backtrace(flows: Any, function: str, params: tuple[Any, ...]) -> None:
    execution_id, _ = flows.run_id(FLOWS + function, *params)
    found = seen(flows, execution_id, 3)
    assert (found.first, found.end) == (2, 5)
    assert len(found.frames) == 1, "without the trampolines of the component's tools"
    assert found == seen(flows, execution_id, 2) == seen(flows, execution_id, 4)


def test_calls_in_a_loop_are_told_apart_and_share_a_stack(flows: Any) -> None:
    execution_id, _ = flows.run_id(FLOWS + "many-sleeps", 3, 1)
    versions = [entry.version for entry in flows.log(execution_id) if type(entry.event).__name__ == "DelayRequested"]
    found = [seen(flows, execution_id, version) for version in versions]
    assert len({backtrace.first for backtrace in found}) == 3
    assert len({backtrace.frames for backtrace in found}) == 1


def test_what_closes_after_the_function_has_returned_has_no_stack(flows: Any) -> None:
    execution_id, _ = flows.run_id(FLOWS + "submit-many", 2)
    closing = flows.log(execution_id)[-2]
    with pytest.raises(NotFound, match=r"closes a join set after the function has returned.*last one .* is version 4"):
        seen(flows, execution_id, closing.version)
    assert seen(flows, execution_id, LAST).first == 4


def test_where_one_waits(flows: Any) -> None:
    async def scenario() -> None:
        runtime = flows.runtime
        execution_id = await flows.submit(FLOWS + "sleeper", 600_000)
        service = Service(runtime)
        async with runtime.watch(execution_id) as changes:
            while runtime.reader.state(execution_id).status is not Status.BLOCKED:
                await changes.changed()
        found = (await service.backtraces.get(execution_id, LAST)).backtrace
        assert (found.first, found.end) == (2, 5)
        service.close()

    asyncio.run(scenario())


def test_a_second_look_comes_from_the_store(flows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    execution_id, _ = flows.run_id(FLOWS + "timeout-pattern", 1)
    found = seen(flows, execution_id, 4)
    assert flows.runtime.reader.backtrace(execution_id, 4) == found

    async def trace(*_: Any) -> None:
        raise AssertionError("it was replayed again")

    monkeypatch.setattr(flows.runtime._replays, "trace", trace)
    assert seen(flows, execution_id, 4) == found


def persisted(running: Any, execution_id: ExecutionId) -> int:
    async def ask() -> int:
        service = Service(running.runtime)
        try:
            return await service.backtraces.persist(execution_id)
        finally:
            service.close()

    return asyncio.run(ask())


def test_all_of_an_execution_can_be_kept_at_once(flows: Any) -> None:
    execution_id, _ = flows.run_id(FLOWS + "timeout-pattern", 1)
    one = seen(flows, execution_id, 4)
    assert persisted(flows, execution_id) == 4
    kept = [flows.runtime.reader.backtrace(execution_id, version) for version in range(2, 7)]
    assert one in kept
    assert [seen(flows, execution_id, version) for version in range(2, 7)] == kept
    assert flows.runtime.reader.backtraces(execution_id, 0, 100) == [(each, each + 1) for each in range(2, 7)]
    assert persisted(flows, execution_id) == 0


def test_all_of_an_execution_take_one_replay(flows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    execution_id, _ = flows.run_id(FLOWS + "many-sleeps", 50, 1)
    functions = flows.runtime._replays._functions
    guests: list[Any] = []
    traceable = functions.traceable
    monkeypatch.setattr(functions, "traceable", lambda *args: guests.append(args) or traceable(*args))
    monkeypatch.setattr("obelisk.runtime.replaying.KEPT_AT_ONCE", 20)

    async def ask() -> list[Persisting]:
        service = Service(flows.runtime)
        try:
            return [piece async for piece in service.backtraces.persisting(execution_id)]
        finally:
            service.close()

    pieces = asyncio.run(ask())
    end = len(flows.log(execution_id))
    assert len(guests) == 1
    assert [piece.count for piece in pieces] == [20, 40, 50, 50]
    versions = [piece.version for piece in pieces]
    assert versions == sorted(versions) and {piece.end for piece in pieces} == {end} == {versions[-1]}
    kept = flows.runtime.reader.backtraces(execution_id, 0, end)
    assert pieces[-1] == Persisting(len(kept), end, end)
    assert [version for first, after in kept for version in range(first, after)] == [
        entry.version for entry in flows.log(execution_id) if entry.event.history
    ]


def test_what_was_made_before_somebody_left_is_kept(flows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    execution_id, _ = flows.run_id(FLOWS + "many-sleeps", 50, 1)
    monkeypatch.setattr("obelisk.runtime.replaying.KEPT_AT_ONCE", 1)

    async def leave() -> None:
        service = Service(flows.runtime)
        pieces = service.backtraces.persisting(execution_id)
        await anext(pieces)
        await pieces.aclose()
        service.close()

    asyncio.run(leave())
    before = len(flows.runtime.reader.backtraces(execution_id, 0, 1_000))
    assert before
    more = persisted(flows, execution_id)
    assert persisted(flows, execution_id) == 0
    assert len(flows.runtime.reader.backtraces(execution_id, 0, 1_000)) >= before + more


def test_what_has_no_stack_is_not_counted(flows: Any) -> None:
    execution_id, _ = flows.run_id(FLOWS + "submit-many", 2)
    assert persisted(flows, execution_id) == 3
    assert flows.runtime.reader.backtraces(execution_id, 5, 100) == []
    with pytest.raises(InvalidArgument, match="only workflows have backtraces"):
        persisted(flows, flows.run_id("testing:activity/acts.echo", "hello")[0])


def test_the_operator_may_want_none_kept(running: Any, testing_components: Any) -> None:
    flows = running(
        f"""
        workflows.backtrace.persist = false
        [[activity_wasm]]
        name = "acts"
        location = "{testing_components.activity}"
        [[workflow]]
        name = "flows"
        location = "{testing_components.workflow}"
        """
    )
    execution_id, _ = flows.run_id(FLOWS + "random", 1)
    assert functions(seen(flows, execution_id, 2)) == ["<wasm function 39>"]
    assert flows.runtime.reader.backtrace(execution_id, 2) is None
    assert persisted(flows, execution_id) == 0


def test_activities_have_none(flows: Any) -> None:
    execution_id, _ = flows.run_id("testing:activity/acts.echo", "hello")
    with pytest.raises(
        InvalidArgument, match=f"only workflows have backtraces; {execution_id} is an execution of an act"
    ):
        seen(flows, execution_id, LAST)


def test_commits_go_on_while_backtraces_are_made(flows: Any) -> None:
    """The store has one writer; a backtrace is written between two commits."""

    async def scenario() -> None:
        service = Service(flows.runtime)
        ran = await flows.submit(FLOWS + "many-sleeps", 50, 1)
        await flows.result(ran)
        more = [await flows.submit(FLOWS + "many-sleeps", 50, 1) for _ in range(4)]
        versions = range(2, 50, 4)
        made = await asyncio.gather(*(service.backtraces.get(ran, version) for version in versions))
        assert {one.backtrace.frames for one in made} == {made[0].backtrace.frames}
        for execution_id in more:
            await asyncio.wait_for(flows.result(execution_id), 60)
        service.close()

    asyncio.run(scenario())


def test_a_wait_through_wasi(running: Any, wasi_components: Any) -> None:
    flows = running(f'[[workflow]]\nname = "workflow"\nlocation = "{wasi_components.workflow}"')
    execution_id, _ = flows.run_id("testing:wasi-workflow/wasi.waits", 1)
    found = seen(flows, execution_id, 3)
    assert (found.first, found.end) == (2, 5)
    assert len(found.frames) == 1


# --- frames that the guest gives itself ------------------------------------------------------------------------------


def test_frames_that_a_guest_gives_are_shown(running: Any, testing_components: Any, calling_components: Any) -> None:
    five, six = calling_components.without_stubs
    both = running(
        f"""
        [[activity_wasm]]
        name = "acts"
        location = "{testing_components.activity}"
        [[workflow]]
        name = "five"
        location = "{five}"
        [[workflow]]
        name = "six"
        location = "{six}"
        """
    )
    symbol = {"func_name": None, "file": "flow.py", "line": 7, "col": None}
    trace = {"frames": [{"module": "flow", "func_name": "run", "symbols": [symbol]}]}
    for function in ("five/support.random-u64-bt", "six/traced.random-u64"):
        given, _ = both.run_id(f"testing:calls-{function}", 3, 4, trace)
        assert seen(both, given, 2).frames == (Frame("flow", "run", (Symbol(None, "flow.py", 7),)),)
        none_given, _ = both.run_id(f"testing:calls-{function}", 3, 4, None)
        assert functions(seen(both, none_given, 2)) != ["run"]


# --- sources ---------------------------------------------------------------------------------------------------------


def test_sources_are_those_of_when_the_component_was_deployed(
    running: Any, testing_components: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    main, long = tmp_path / "main.c", tmp_path / "long.c"
    main.write_text("int main;\n")
    long.write_text("x" * (2 << 20))
    toml = f"""
        [[workflow]]
        name = "flows"
        location = "{testing_components.workflow}"
        [workflow.backtrace.sources]
        "/build/main.c" = "{main}"
        ".../src/main.c" = "{main}"
        ".../c/src/main.c" = "{main}"
        ".../lib.h" = "{main}"
        "/build/gone.c" = "{tmp_path}/gone.c"
        "/build/long.c" = "{long}"
        [[activity_wasm]]
        name = "acts"
        location = "{testing_components.activity}"
        """
    with caplog.at_level(logging.WARNING):
        runtime = running(toml).runtime
    warned = [record.getMessage() for record in caplog.records]
    assert [text.rpartition("left out: ")[2] for text in warned if "backtrace.sources" in text] == [
        "No such file or directory",
        "it has more than 1048576 bytes",
    ]
    digest = next(view.digest for view in runtime.catalogue.components() if view.name == "flows")
    main.write_text("int changed;\n")
    for file in ("/build/main.c", "/x/src/main.c", "src/main.c", "lib.h", "/usr/lib.h"):
        assert runtime.source(digest, file) == "int main;\n", file
    for file in ("/x/c/src/main.c", "main.c", "/x/other-lib.h", "/build/gone.c", "/build/long.c", "", "lib.h/"):
        assert runtime.source(digest, file) is None, file
    assert runtime.source("sha256:" + "0" * 64, "/build/main.c") is None
