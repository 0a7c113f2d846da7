"""Reading executions, over the small engine."""

import pytest
from obelisk_tests_small_engine import APPROVE, DEPLOYMENT, FIBO, FIBOA, OLD_DIGEST

from obelisk.api.errors import InvalidArgument, NotFound
from obelisk.core.events import ComponentUpgraded, Created, Finished, Parked
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.names import FunctionName
from obelisk.core.ports import FunctionKind
from obelisk.core.reading import ExecutionFilter, Page
from obelisk.core.values import Json, Ok


def test_reading_an_execution_its_log_responses_and_result(run):
    async def scenario(engine, service):
        executions = service.executions
        execution_id = service.submitting.new_id()
        await service.submitting.submit(execution_id, FIBOA, b"[10,2]")
        assert (await executions.get(execution_id, with_result=True)).result is None
        engine.fibo_run(execution_id)

        shown = await executions.get(execution_id)
        assert shown.is_finished
        assert shown.kind is FunctionKind.WORKFLOW
        assert shown.result is None
        result = (await executions.get(execution_id, with_result=True)).result
        assert result.final.outcome == Ok(Json(b"55"))
        assert result.function.ok_type == "u64"

        log = await executions.log(execution_id, 3, 2)
        assert [entry.version for entry in log.entries] == [3, 4]
        assert isinstance(log.created, Created)
        assert log.max_version == 8
        whole = await executions.log(execution_id, 0, 100)
        assert isinstance(whole.entries[-1].event, Finished)

        responses = await executions.responses(execution_id, 2, 10)
        assert [response.seq for response in responses.responses] == [2]
        assert responses.max_seq == 2
        assert responses.functions[ExecutionId(f"{execution_id}.o:2-fibo_1")].ffqn == FIBO

    run(scenario)


def test_what_is_not_there_is_not_found(run):
    async def scenario(engine, service):
        nobody = service.submitting.new_id()
        for read in (
            service.executions.get(nobody),
            service.executions.get(nobody, with_result=True),
            service.executions.log(nobody, 0, 1),
        ):
            with pytest.raises(NotFound, match=f"there is no execution {nobody}"):
                await read
        none = await service.executions.responses(nobody, 1, 10)
        assert (none.responses, none.max_seq) == ([], 0)

    run(scenario)


def test_a_list_has_pages_and_a_longest_length(run):
    async def scenario(engine, service):
        ids = [engine.create(engine.new_execution_id(), FIBO, b"[1]") for _ in range(3)]
        page = await service.executions.page(ExecutionFilter(), Page(length=2))
        assert [shown.state.execution_id for shown in page] == [ids[2], ids[1]]
        with pytest.raises(InvalidArgument, match="65535"):
            await service.executions.page(ExecutionFilter(), Page(length=65_536))

    run(scenario)


def test_what_is_longer_than_may_be_given_comes_in_parts(run, monkeypatch):
    monkeypatch.setattr("obelisk.api.executions.ROWS_MAX", 2)

    async def scenario(engine, service):
        executions = service.executions
        execution_id = engine.create(engine.new_execution_id(), FIBOA, b"[10,3]")
        engine.fibo_run(execution_id, 3)
        assert len(await executions.page(ExecutionFilter(top_level_only=False), Page(length=3))) == 2
        assert [entry.version for entry in (await executions.log(execution_id, 1, 3)).entries] == [1, 2]
        assert [response.seq for response in (await executions.responses(execution_id, 1, 3)).responses] == [1, 2]

    run(scenario)


def test_a_parked_execution_says_why(run):
    async def scenario(engine, service):
        execution_id = engine.create(engine.new_execution_id(), FIBOA, b"[1,1]")
        engine.lock(execution_id)
        engine.append(execution_id, Parked("its log does not replay", "params: recorded [1], now [2]"))
        shown = await service.executions.get(execution_id)
        assert (shown.parked_reason, shown.parked_detail) == (
            "its log does not replay",
            "params: recorded [1], now [2]",
        )
        assert shown.visible == ("parked", "its log does not replay", "params: recorded [1], now [2]")
        engine.append(
            execution_id, ComponentUpgraded(OLD_DIGEST, DEPLOYMENT)
        )  # it stays parked, as far as the log says
        assert (await service.executions.get(execution_id)).visible == shown.visible

    run(scenario)


def test_a_component_that_is_deployed_no_more_is_shown_as_what_exports_the_function_now(run):
    async def scenario(engine, service):
        execution_id = engine.create(engine.new_execution_id(), FIBO, b"[1]")
        state = engine.store.state(execution_id)
        state.component = "sha256:" + "c" * 64
        assert service.executions.shown(state).kind is FunctionKind.ACTIVITY
        state.ffqn = FunctionName("gone:gone/gone.gone")
        assert service.executions.shown(state).kind is None
        assert Instant(0) < state.created_at

    run(scenario)


def test_a_list_of_kinds(run):
    async def scenario(engine, service):
        engine.catalogue.deploy_stubs()
        top = engine.create(engine.new_execution_id(), FIBOA, b"[1,1]")
        engine.lock(top)
        stub = engine.call(top, 1, b'["x"]', APPROVE)
        old = engine.create(engine.new_execution_id(), FIBOA, b"[1,1]", component=OLD_DIGEST)

        async def listed(*kinds, **where):
            page = await service.executions.page(ExecutionFilter(top_level_only=False, **where), Page(), kinds)
            return {shown.state.execution_id for shown in page}

        assert await listed(FunctionKind.STUB) == {stub}
        assert await listed(FunctionKind.WORKFLOW) == {top, old}
        assert await listed(FunctionKind.WORKFLOW, FunctionKind.STUB) == {top, old, stub}
        assert await listed(FunctionKind.WORKFLOW, components=(OLD_DIGEST,)) == {old}
        assert await listed(FunctionKind.STUB, components=(OLD_DIGEST,)) == set()
        assert await listed(FunctionKind.ACTIVITY) == set()

    run(scenario)
