"""Reading and following what executions log, over the small engine."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from obelisk_tests_small_engine import FIBOA

from obelisk.api.errors import NotFound, Stopping
from obelisk.api.lines import PAGE_MAX
from obelisk.core.calls import Log, LogLevel
from obelisk.core.ids import ExecutionId
from obelisk.core.lines import LineFilter, LinePage, NewLogLine
from obelisk.core.values import Json, Ok

OK = Ok(Json(b"55"))


def started(engine):
    return engine.create(engine.new_execution_id(), FIBOA, b"[10,1]")


def line(engine, execution_id, text, level=LogLevel.INFO):
    return NewLogLine(execution_id, engine.now(), Log(level, text))


def texts(found):
    return [each.line.message for each in found]


def test_a_page(run):
    async def scenario(engine, service):
        execution_id = started(engine)
        assert await service.lines.page(LineFilter(execution_id), LinePage()) == []
        engine.log(line(engine, execution_id, "a"), line(engine, execution_id, "b"))
        assert texts(await service.lines.page(LineFilter(execution_id), LinePage())) == ["a", "b"]
        with pytest.raises(NotFound):
            await service.lines.page(LineFilter(engine.new_execution_id()), LinePage())

    run(scenario)


def test_following_tells_what_there_is_what_comes_and_what_was_late(run):
    async def scenario(engine, service):
        execution_id = started(engine)
        engine.log(line(engine, execution_id, "before"))
        seen = []
        async for found in service.lines.follow(LineFilter(execution_id), None):
            seen.append(texts(found))
            match len(seen):
                case 1:
                    engine.log(line(engine, execution_id, "meanwhile"), line(engine, execution_id, "and more"))
                case 2:
                    engine.late_lines.append(line(engine, execution_id, "late"))
                    engine.finish(execution_id, OK)
        assert seen == [["before"], ["meanwhile", "and more"], ["late"]]

    run(scenario)


def test_following_what_has_finished_tells_all_and_ends(run):
    async def scenario(engine, service):
        execution_id = started(engine)
        engine.log(*[line(engine, execution_id, str(index)) for index in range(PAGE_MAX + 1)])
        engine.finish(execution_id, OK)
        found = [each async for each in service.lines.follow(LineFilter(execution_id), None)]
        assert [len(each) for each in found] == [PAGE_MAX, 1]
        rest = [each async for each in service.lines.follow(LineFilter(execution_id), found[0][-2].cursor)]
        assert [texts(each) for each in rest] == [["199", "200"]]

    run(scenario)


def test_who_follows_one_execution_is_not_woken_by_others_of_its_tree(run):
    async def scenario(engine, service):
        parent = started(engine)
        engine.lock(parent)
        child = engine.call(parent, 1)
        reads = []
        read = engine.store.lines
        engine.store.lines = lambda *args: reads.append(args) or read(*args)
        engine.reader = engine.store
        seen = []

        async def follow(where):
            async for found in service.lines.follow(where, None):
                seen.extend(texts(found))

        async def until(expected):
            while seen != expected:
                await asyncio.sleep(0.001)

        only = asyncio.ensure_future(follow(LineFilter(parent)))
        while not reads:  # what there is already
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        before = len(reads)
        engine.log(line(engine, child, "of the child"))
        await asyncio.sleep(0.05)
        assert len(reads) == before
        engine.log(line(engine, parent, "of the parent"))
        await until(["of the parent"])
        both = asyncio.ensure_future(follow(LineFilter(parent, derived=True)))
        await until(["of the parent", "of the child", "of the parent"])
        engine.finish(child, OK)
        engine.finish(parent, OK)
        await asyncio.gather(only, both)

    run(scenario)


def test_following_nobody_and_a_server_that_stops(run):
    async def scenario(engine, service):
        with pytest.raises(NotFound):
            async for _ in service.lines.follow(LineFilter(ExecutionId(engine.new_execution_id())), None):
                pass
        execution_id = started(engine)
        engine.log(line(engine, execution_id, "a"))
        async with aclosing(service.lines.follow(LineFilter(execution_id), None)) as found:
            assert texts(await anext(found)) == ["a"]
            engine.stop()
            with pytest.raises(Stopping):
                await anext(found)
        with pytest.raises(Stopping):
            async for _ in service.lines.follow(LineFilter(execution_id), None):
                pass

    run(scenario)
