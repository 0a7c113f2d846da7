"""The change stream: who is told of which executions, and what wakes who waits for an end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.reading import Change
from obelisk.core.state import ExecutionState, Status
from obelisk.core.values import Json, Ok
from obelisk.runtime.changes import Changes, ShuttingDown, Subscription

ROOT, CHILD, OTHER = map(ExecutionId, ("E_1", "E_1.g:1_1", "E_2"))
LONG_S = 30.0
NOW = Instant(1)


def row(status: Status, execution_id: ExecutionId = ROOT) -> Change:
    state = ExecutionState(execution_id, "a:b/c.d", "sha256:", "Dep_1", NOW, NOW, None, NOW, status)  # type: ignore[arg-type]
    return Change(state, Ok(Json(b"1")) if status is Status.FINISHED else None)


def run(scenario: Callable[[Changes], Awaitable[Any]]) -> None:
    async def main() -> None:
        await asyncio.wait_for(scenario(Changes()), 60)

    asyncio.run(main())


async def heard(subscription: Subscription) -> frozenset[ExecutionId]:
    """What it is told within a moment."""
    try:
        return await asyncio.wait_for(subscription.changed(), 0.05)
    except TimeoutError:
        return frozenset()


@pytest.mark.parametrize(
    ("watch", "told"),
    [
        (lambda changes: changes.watch(ROOT), {ROOT, CHILD}),
        (lambda changes: changes.watch_one(ROOT), {ROOT}),
        (lambda changes: changes.watch_one(CHILD), {CHILD}),
        (lambda changes: changes.watch_one(ExecutionId("E_3")), set()),
    ],
)
def test_a_watcher_is_told_of_what_it_watches(watch: Any, told: set[ExecutionId]) -> None:
    async def scenario(changes: Changes) -> None:
        assert not changes.is_watched and changes.watchers == 0
        async with watch(changes) as subscription:
            assert changes.is_watched and changes.watchers == 1
            changes.publish((ROOT, CHILD, OTHER))
            assert await heard(subscription) == told
        assert not changes.is_watched and changes.watchers == 0

    run(scenario)


@pytest.mark.parametrize("name", ["watch", "watch_one"])
def test_one_that_leaves_takes_nobody_with_it(name: str) -> None:
    async def scenario(changes: Changes) -> None:
        watch = getattr(changes, name)
        async with watch(ROOT) as stays:
            async with watch(ROOT):
                assert changes.watchers == 2
            assert changes.is_watched and changes.watchers == 1
            changes.publish((ROOT,))
            assert await heard(stays) == {ROOT}

    run(scenario)


def test_an_end_ends_the_wait_for_it_and_a_change_does_not() -> None:
    async def scenario(changes: Changes) -> None:
        async with changes.watch_one(ROOT) as subscription:
            changes.publish((ROOT,))
            waiting = asyncio.ensure_future(subscription.ended(LONG_S))
            changes.publish((CHILD, OTHER), ended=True)
            await asyncio.sleep(0.05)
            assert not waiting.done()
            await subscription.ended(0.01)  # this long, and no longer
            changes.publish((ROOT,), ended=True)
            await waiting
            await subscription.ended(LONG_S)  # it stays so
            assert await heard(subscription) == {ROOT}

    run(scenario)


def test_who_watches_one_is_given_its_row_as_it_was_committed_last() -> None:
    async def scenario(changes: Changes) -> None:
        async with changes.watch_one(ROOT) as one, changes.watch(ROOT) as tree:
            assert one.latest() is None
            for change in (row(Status.PENDING), row(Status.LOCKED), row(Status.FINISHED, CHILD)):
                changes.tell(change)
            assert one.latest() == row(Status.LOCKED)
            assert await heard(one) == {ROOT} and await heard(tree) == {ROOT, CHILD}
            changes.publish((ROOT,))  # something of it changed that nobody says: it must be read
            assert one.latest() is None
            waiting = asyncio.ensure_future(one.ended(LONG_S))
            changes.tell(row(Status.FINISHED))
            await asyncio.wait_for(waiting, LONG_S / 2)
            assert one.latest() == row(Status.FINISHED)

    run(scenario)


def test_who_waits_for_an_end_is_told_of_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(changes: Changes) -> None:
        woken: list[Any] = []
        loop = asyncio.get_running_loop()
        async with changes.watch_end(ROOT) as first, changes.watch_end(ROOT) as second:
            assert changes.is_watched and changes.watchers == 2
            waiting = [asyncio.ensure_future(each.wait()) for each in (first, second)]
            await asyncio.sleep(0)
            wake = loop.call_soon_threadsafe
            monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *call: woken.append(call) or wake(*call))  # type: ignore[func-returns-value]
            changes.tell(row(Status.LOCKED))
            changes.tell(row(Status.FINISHED, CHILD))
            changes.publish((ROOT,))
            changes.publish((CHILD, OTHER), ended=True)
            assert woken == [] and not waiting[0].done()
            waiting[1].cancel()  # one that leaves takes nobody with it
            changes.tell(row(Status.FINISHED))
            assert await waiting[0] == row(Status.FINISHED)
            changes.publish((ROOT,), ended=True)
            assert await second.wait() == row(Status.FINISHED), "it stays so"
        assert not changes.is_watched and changes.watchers == 0
        async with changes.watch_end(ROOT) as third:
            changes.publish((ROOT,), ended=True)
            assert await third.wait() is None, "it must be read"

    run(scenario)


def test_ends_that_come_together_wake_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(changes: Changes) -> None:
        woken: list[Any] = []
        loop = asyncio.get_running_loop()
        wake = loop.call_soon_threadsafe
        monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *call: woken.append(call) or wake(*call))  # type: ignore[func-returns-value]
        for round_ in (1, 2):
            async with changes.watch_end(ROOT) as one, changes.watch_end(CHILD) as other:
                waiting = [asyncio.ensure_future(each.wait()) for each in (one, other)]
                changes.tell(row(Status.FINISHED))
                changes.tell(row(Status.FINISHED, CHILD))
                assert await asyncio.gather(*waiting) == [row(Status.FINISHED), row(Status.FINISHED, CHILD)]
                assert len(woken) == round_

    run(scenario)


def test_what_is_to_be_called_at_an_end_is_called_once_and_also_when_it_comes_late() -> None:
    async def scenario(changes: Changes) -> None:
        called: list[str] = []
        async with changes.watch_end(ROOT) as one, changes.watch_end(CHILD) as other:
            one.then(lambda: called.append("one"))
            other.then(lambda: called.append("other"))
            changes.tell(row(Status.FINISHED))
            assert called == []
            assert await one.wait() == row(Status.FINISHED)
            assert called == [], "the wait took the place of the call"
            one.then(lambda: called.append("late"))
            assert called == ["late"]
            changes.close()
            assert called == ["late", "other"]
            with pytest.raises(ShuttingDown):
                await other.wait()

    run(scenario)


def test_when_the_server_stops_nobody_waits_for_an_end() -> None:
    async def scenario(changes: Changes) -> None:
        async with changes.watch_end(ROOT) as one, changes.watch_end(CHILD) as over:
            waiting = asyncio.ensure_future(one.wait())
            changes.tell(row(Status.FINISHED, CHILD))
            await over.wait()
            changes.close()
            with pytest.raises(ShuttingDown):
                await waiting
            assert await over.wait() == row(Status.FINISHED, CHILD)
        with pytest.raises(ShuttingDown):
            async with changes.watch_end(ROOT):
                pass

    run(scenario)


@pytest.mark.parametrize("name", ["watch", "watch_one"])
def test_when_the_server_stops_nobody_waits_on(name: str) -> None:
    async def scenario(changes: Changes) -> None:
        async with AsyncExitStack() as stack:
            subscription = await stack.enter_async_context(getattr(changes, name)(ROOT))
            waiting = asyncio.ensure_future(subscription.ended(LONG_S))
            await asyncio.sleep(0)
            changes.close()
            await waiting
            with pytest.raises(ShuttingDown):
                await subscription.changed()
        with pytest.raises(ShuttingDown):
            await stack.enter_async_context(getattr(changes, name)(ROOT))

    run(scenario)
