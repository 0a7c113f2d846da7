"""Followers and change streams, over the small engine."""

import asyncio
from contextlib import aclosing

import pytest
from obelisk_tests_small_engine import FIBOA, SmallEngine

from obelisk.api import following as following_module
from obelisk.api.errors import NotFound, Stopping
from obelisk.api.following import STATUS_WAIT_MAX_S, STATUS_WAIT_S, TREE_PAGE
from obelisk.api.pace import Pace
from obelisk.api.service import Service
from obelisk.core.events import Parked
from obelisk.core.ids import ExecutionId
from obelisk.core.state import Status
from obelisk.core.values import FailureKind, Json, Ok


def run(scenario):
    async def main():
        engine = SmallEngine()
        service = Service(engine)
        try:
            return await asyncio.wait_for(scenario(engine, service), 60)
        finally:
            service.close()

    return asyncio.run(main())


def started(engine, iterations=1):
    return engine.create(engine.new_execution_id(), FIBOA, b"[10,%d]" % iterations)


def test_a_follower_is_told_each_state_and_then_the_end():
    async def scenario(engine, service):
        execution_id = started(engine)
        seen = []
        async for shown in service.following.follow(execution_id):
            seen.append((shown.state.status, shown.state.blocked_on))
            match len(seen):
                case 1:
                    engine.lock(execution_id)
                case 2:
                    child = engine.call(execution_id, 1)
                case 3:
                    engine.finish(child, Ok(Json(b"55")))
                case 4:
                    engine.finish(execution_id, Ok(Json(b"55")))
        assert seen == [
            (Status.PENDING, None),
            (Status.LOCKED, None),
            (Status.BLOCKED, "o:1-fibo"),
            (Status.LOCKED, None),
            (Status.FINISHED, None),
        ]

    run(scenario)


def test_following_what_has_finished_tells_only_that():
    async def scenario(engine, service):
        execution_id = started(engine)
        engine.fibo_run(execution_id, 1)
        assert [shown.state.status async for shown in service.following.follow(execution_id)] == [Status.FINISHED]

    run(scenario)


def test_a_child_can_be_followed_too():
    async def scenario(engine, service):
        execution_id = started(engine)
        engine.lock(execution_id)
        child = engine.call(execution_id, 1)
        seen = []
        async for shown in service.following.follow(child):
            seen.append(shown.state.status)
            if len(seen) == 1:
                engine.finish(child, Ok(Json(b"55")))
        assert seen == [Status.LOCKED, Status.FINISHED]

    run(scenario)


def test_a_busy_execution_is_told_in_steps_but_its_end_is_never_lost():
    calls = 200

    async def scenario(engine, service):
        execution_id = started(engine, calls)
        engine.lock(execution_id)

        async def work():
            for index in range(1, calls + 1):
                engine.finish(engine.call(execution_id, index), Ok(Json(b"55")))
                await asyncio.sleep(0.001)
            engine.finish(execution_id, Ok(Json(b"55")))

        working = asyncio.ensure_future(work())
        seen = [shown async for shown in service.following.follow(execution_id)]
        await working
        assert seen[-1].is_finished
        assert len(seen) < calls  # each call makes two states

    run(scenario)


def test_many_followers_are_told_less_often_and_an_end_at_once(monkeypatch):
    """Here a change waits for 200 s."""
    followers = 200
    monkeypatch.setattr(following_module, "STATUSES_PER_S", 1)

    async def scenario(engine, service):
        execution_id = started(engine)
        seen = []

        async def follow():
            async for shown in service.following.follow(execution_id):
                seen.append(shown.state.status)  # noqa: PERF401 - it is looked at meanwhile

        following = [asyncio.ensure_future(follow()) for _ in range(followers)]
        while len(seen) < followers:
            await asyncio.sleep(0.01)
        engine.lock(execution_id)
        await asyncio.sleep(0.25)
        assert len(seen) == followers
        engine.finish(execution_id, Ok(Json(b"55")))
        await asyncio.wait_for(asyncio.gather(*following), 50)
        assert seen[followers:] == [Status.FINISHED] * followers

    run(scenario)


def looks_at(service, monkeypatch):
    """Which executions are looked up in the store from now on."""
    looks = []
    get = service.executions.get

    async def counted(one, **options):
        looks.append(one)
        return await get(one, **options)

    monkeypatch.setattr(service.executions, "get", counted)
    return looks


@pytest.mark.parametrize("how", ["told", "hinted"])
def test_what_was_committed_is_told_without_a_look_and_a_mere_hint_is_looked_up(monkeypatch, how):
    async def scenario(engine, service):
        execution_id = started(engine)
        get = service.executions.get
        looks = looks_at(service, monkeypatch)
        if how == "hinted":
            tell = lambda change: engine.changes.publish(  # noqa: E731
                (change.state.execution_id,), ended=change.state.status is Status.FINISHED
            )
            monkeypatch.setattr(engine.changes, "tell", tell)
        async with aclosing(service.following.follow(execution_id, with_result=True)) as states:
            assert (await anext(states)).state.status is Status.PENDING
            engine.lock(execution_id)
            shown = await anext(states)
            assert shown.state == engine.store.state(execution_id)
            assert shown == await get(execution_id, with_result=True)
            engine.finish(execution_id, Ok(Json(b"55")))
            shown = await anext(states)
            assert shown.result.final.outcome == Ok(Json(b"55"))
            assert shown == await get(execution_id, with_result=True)
        assert len(looks) == (1 if how == "told" else 3)

    run(scenario)


def test_why_an_execution_is_parked_is_looked_up(monkeypatch):
    """On a thread of its own, as all that must be read."""

    async def scenario(engine, service):
        execution_id = started(engine)
        looks = looks_at(service, monkeypatch)
        async with aclosing(service.following.follow(execution_id)) as states:
            await anext(states)
            engine.append(execution_id, Parked("because", "of this", FailureKind.NONDETERMINISM_DETECTED))
            shown = await anext(states)
            assert (shown.parked_reason, shown.parked_detail) == ("because", "of this")
            assert looks == [execution_id] * 2

    run(scenario)


def test_a_change_waits_for_others():
    async def scenario(engine, service):
        loop = asyncio.get_running_loop()
        execution_id = started(engine)
        async with aclosing(service.following.follow(execution_id)) as states:
            await anext(states)
            began = loop.time()
            engine.lock(execution_id)
            assert (await anext(states)).state.status is Status.LOCKED
            assert loop.time() - began > STATUS_WAIT_S * 0.9

    run(scenario)


def test_each_change_waits_longer_than_the_one_before_but_an_end_does_not(monkeypatch):
    async def scenario(engine, service):
        loop = asyncio.get_running_loop()
        execution_id = started(engine)
        engine.lock(execution_id)
        waits = []
        async with aclosing(service.following.follow(execution_id)) as states:
            await anext(states)
            for number in range(1, 6):
                child = engine.call(execution_id, number)
                await anext(states)
                began = loop.time()
                engine.finish(child, Ok(Json(b"55")))
                assert (await anext(states)).state.status is Status.LOCKED
                waits.append(loop.time() - began)
            assert waits[0] > STATUS_WAIT_S * 1.9
            assert waits[-1] > STATUS_WAIT_MAX_S * 0.9
            monkeypatch.setattr(following_module, "STATUS_WAIT_S", 50)
            monkeypatch.setattr(following_module, "STATUS_WAIT_MAX_S", 50)
            began = loop.time()
            engine.finish(execution_id, Ok(Json(b"55")))
            assert (await anext(states)).is_finished
            assert loop.time() - began < 40

    run(scenario)


def test_a_change_of_nothing_visible_is_not_told():
    async def scenario(engine, service):
        execution_id = started(engine)
        async with aclosing(service.following.follow(execution_id)) as states:
            await anext(states)
            waiting = asyncio.ensure_future(anext(states))
            await asyncio.sleep(0)
            engine.changes.publish((execution_id,))
            await asyncio.sleep(5 * STATUS_WAIT_S)
            assert not waiting.done()
            engine.lock(execution_id)
            assert (await waiting).state.status is Status.LOCKED

    run(scenario)


def test_those_that_left_slow_nobody_down(monkeypatch):
    """With them, a change would wait for 200 s."""
    followers = 200
    monkeypatch.setattr(following_module, "STATUSES_PER_S", 1)

    async def scenario(engine, service):
        loop = asyncio.get_running_loop()
        execution_id = started(engine)
        for _ in range(followers):
            async with aclosing(service.following.follow(execution_id)) as states:
                await anext(states)
        async with aclosing(service.following.follow(execution_id)) as states:
            await anext(states)
            began = loop.time()
            engine.lock(execution_id)
            await anext(states)
            assert loop.time() - began < 50

    run(scenario)


def test_a_follower_does_not_look_again_for_what_others_of_the_tree_do(monkeypatch):
    async def scenario(engine, service):
        execution_id = started(engine)
        engine.lock(execution_id)
        child = engine.call(execution_id, 1)
        looks = looks_at(service, monkeypatch)
        async with aclosing(service.following.follow(execution_id)) as states:
            await anext(states)
            waiting = asyncio.ensure_future(anext(states))
            engine.finish(engine.call(child, 1), Ok(Json(b"55")))
            await asyncio.sleep(10 * STATUS_WAIT_S)
            assert looks == [execution_id] and not waiting.done()
            engine.finish(child, Ok(Json(b"55")))
            await waiting
            assert looks == [execution_id]

    run(scenario)


def test_streams_of_what_is_not_there_are_not_found():
    async def scenario(engine, service):
        nobody = engine.new_execution_id()
        for stream in (service.following.follow(nobody), service.following.watch(nobody)):
            with pytest.raises(NotFound):
                await anext(stream)

    run(scenario)


def test_a_stopping_server_ends_open_streams():
    async def scenario(engine, service):
        execution_id = started(engine)
        async with (
            aclosing(service.following.follow(execution_id)) as states,
            aclosing(service.following.watch(execution_id)) as tree,
        ):
            await anext(states)
            await anext(tree)
            engine.stop()
            for stream in (states, tree):
                with pytest.raises(Stopping, match="server is shutting down"):
                    await anext(stream)

    run(scenario)


def test_a_follower_that_leaves_is_forgotten():
    async def scenario(engine, service):
        execution_id = started(engine)
        async with aclosing(service.following.follow(execution_id)) as states:
            await anext(states)
            assert engine.changes.watchers
        assert not engine.changes.watchers

    run(scenario)


# --- trees -----------------------------------------------------------------------------------------------------------


def test_a_tree_is_told_whole_and_then_what_changes():
    async def scenario(engine, service):
        execution_id = started(engine)
        engine.lock(execution_id)
        engine.advance(5_000)
        first = engine.call(execution_id, 1)
        latest, snapshots, messages = {}, 0, 0
        async for change in service.following.watch(execution_id):
            messages += 1
            snapshots += change.snapshot_complete
            for progress in change.progress:
                latest[progress.execution.state.execution_id] = progress
            if messages == 1:
                assert change.snapshot_complete
                assert list(latest) == [execution_id, first]
                assert latest[first].first_started_at == engine.now()
                engine.advance(10_000)
                engine.finish(first, Ok(Json(b"55")))
                engine.finish(engine.call(execution_id, 2), Ok(Json(b"55")))
                engine.finish(execution_id, Ok(Json(b"55")))
        assert snapshots == 1
        assert messages == 2
        assert len(latest) == 3
        assert all(progress.execution.is_finished for progress in latest.values())

    run(scenario)


def test_the_end_of_a_tree_is_told_although_its_hints_came_early():
    async def scenario(engine, service):
        execution_id = started(engine)
        engine.lock(execution_id)
        child = engine.call(execution_id, 1)
        latest = {}
        async for change in service.following.watch(execution_id):
            for progress in change.progress:
                latest[progress.execution.state.execution_id] = progress.execution.is_finished
            if change.snapshot_complete:
                watchers, engine.changes._of_trees = engine.changes._of_trees, {}
                engine.finish(child, Ok(Json(b"55")))  # this hint is lost
                engine.changes._of_trees = watchers
                engine.finish(execution_id, Ok(Json(b"55")))
        assert latest == {execution_id: True, child: True}

    run(scenario)


def test_a_big_snapshot_comes_in_pieces_and_a_subtree_holds_only_itself():
    async def scenario(engine, service):
        execution_id = started(engine)
        engine.lock(execution_id)
        others = TREE_PAGE + 20
        for index in range(1, others + 1):
            engine.finish(engine.call(execution_id, index), Ok(Json(b"55")))
        engine.finish(execution_id, Ok(Json(b"55")))
        changes = [change async for change in service.following.watch(execution_id)]
        assert [len(change.progress) for change in changes] == [TREE_PAGE, 21]
        assert [change.snapshot_complete for change in changes] == [False, True]
        child = ExecutionId(f"{execution_id}.o:1-fibo_1")
        (only,) = [change async for change in service.following.watch(child)]
        assert [progress.execution.state.execution_id for progress in only.progress] == [child]

    run(scenario)


def test_the_first_turns_are_free_and_the_rest_have_a_pace():
    async def scenario():
        loop = asyncio.get_running_loop()
        pace = Pace(3, 1)
        begun = loop.time()
        for _ in range(3):
            await pace.turn()
        assert loop.time() - begun < 0.9
        await pace.turn()
        assert 0.9 <= loop.time() - begun < 30

    asyncio.run(scenario())
