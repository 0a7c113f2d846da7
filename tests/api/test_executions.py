"""Submitting and reading, over the small engine."""

import asyncio

import pytest
from obelisk_tests_small_engine import FIBO, FIBO_SUBMIT, FIBOA, FIBOA_CONCURRENT, SmallEngine

from obelisk.api.errors import Conflict, InvalidArgument, NotAvailable, NotFound, Overloaded, Stopping
from obelisk.api.executions import Submitted
from obelisk.api.service import Service
from obelisk.core.events import Created, Finished, Parked
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.names import FunctionName
from obelisk.core.ports import FunctionKind
from obelisk.core.reading import ExecutionFilter, Page
from obelisk.core.values import Json, Ok


def run(scenario):
    """Runs an async function of (engine, service)."""

    async def main():
        engine = SmallEngine()
        service = Service(engine)
        try:
            return await asyncio.wait_for(scenario(engine, service), 10)
        finally:
            service.close()

    return asyncio.run(main())


def test_a_submission_is_durable_in_canonical_form():
    async def scenario(engine, service):
        execution_id = service.executions.new_id()
        answer = await service.executions.submit(execution_id, FIBOA, b" [ 40, 1e1 ]".replace(b"1e1", b"10"))
        assert answer is Submitted.CREATED
        created = engine.store.created(execution_id)
        assert created.ffqn == FIBOA
        assert bytes(created.params) == b"[40,10]"

    run(scenario)


def test_the_same_again_exists_and_anything_else_is_a_conflict():
    async def scenario(engine, service):
        submit = service.executions.submit
        execution_id = service.executions.new_id()
        await submit(execution_id, FIBOA, b"[40,10]")
        assert await submit(execution_id, FIBOA, b"[40, 10]") is Submitted.EXISTS
        with pytest.raises(Conflict, match="with other parameters"):
            await submit(execution_id, FIBOA, b"[40,11]")
        with pytest.raises(Conflict, match="of another function"):
            await submit(execution_id, FIBOA_CONCURRENT, b"[40,10]")
        assert len(engine.store.events(execution_id, 0, 10)) == 1

    run(scenario)


@pytest.mark.parametrize(
    ("ffqn", "params", "error", "message"),
    [
        (FIBOA, b"[40]", InvalidArgument, r"2 parameters \(n: u8, iterations: u32\).*fiboa is func\(n: u8"),
        (FIBOA, b'[40,"x"]', InvalidArgument, r"params\[1\]: expected u32"),
        (FIBOA, b"{}", InvalidArgument, "array"),
        (FIBOA, b"[40,", InvalidArgument, "params are not JSON"),
        (FunctionName("template-fibo:workflow/fibo-workflow-ifc.fibob"), b"[]", NotFound, "did you mean .*fiboa"),
        (FunctionName("a:b/c.d"), b"[]", NotFound, "function not found: no deployed component exports a:b/c.d$"),
        (FIBO_SUBMIT, b"[1]", NotFound, "function not found"),
    ],
)
def test_what_does_not_fit_the_function_is_refused_and_nothing_written(ffqn, params, error, message):
    async def scenario(engine, service):
        execution_id = service.executions.new_id()
        with pytest.raises(error, match=message):
            await service.executions.submit(execution_id, ffqn, params)
        assert engine.store.state(execution_id) is None

    run(scenario)


def test_only_top_level_ids_may_be_chosen_and_nothing_is_created_paused():
    async def scenario(engine, service):
        execution_id = service.executions.new_id()
        with pytest.raises(InvalidArgument, match="derived"):
            await service.executions.submit(ExecutionId(f"{execution_id}.o:1-fibo_1"), FIBO, b"[1]")
        with pytest.raises(NotAvailable):
            await service.executions.submit(execution_id, FIBO, b"[1]", paused=True)

    run(scenario)


def test_a_full_inbox_and_a_stopping_server_mean_try_again():
    async def scenario(engine, service):
        engine.is_full = True
        with pytest.raises(Overloaded, match="try again later"):
            await service.executions.submit(service.executions.new_id(), FIBO, b"[1]")
        engine.is_stopping = True
        with pytest.raises(Stopping):
            await service.executions.submit(service.executions.new_id(), FIBO, b"[1]")

    run(scenario)


def test_reading_an_execution_its_log_responses_and_result():
    async def scenario(engine, service):
        executions = service.executions
        execution_id = executions.new_id()
        await executions.submit(execution_id, FIBOA, b"[10,2]")
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


def test_what_is_not_there_is_not_found():
    async def scenario(engine, service):
        nobody = service.executions.new_id()
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


def test_a_list_has_pages_and_a_longest_length():
    async def scenario(engine, service):
        ids = [engine.create(engine.new_execution_id(), FIBO, b"[1]") for _ in range(3)]
        page = await service.executions.page(ExecutionFilter(), Page(length=2))
        assert [shown.state.execution_id for shown in page] == [ids[2], ids[1]]
        with pytest.raises(InvalidArgument, match="65535"):
            await service.executions.page(ExecutionFilter(), Page(length=65_536))

    run(scenario)


def test_a_parked_execution_says_why():
    async def scenario(engine, service):
        execution_id = engine.create(engine.new_execution_id(), FIBOA, b"[1,1]")
        engine.lock(execution_id)
        engine.append(execution_id, Parked("its log does not replay"))
        shown = await service.executions.get(execution_id)
        assert shown.parked_reason == "its log does not replay"
        assert shown.visible == ("parked", "its log does not replay")

    run(scenario)


def test_a_component_that_is_deployed_no_more_is_shown_as_what_exports_the_function_now():
    async def scenario(engine, service):
        execution_id = engine.create(engine.new_execution_id(), FIBO, b"[1]")
        state = engine.store.state(execution_id)
        state.component = "sha256:" + "c" * 64
        assert service.executions.shown(state).kind is FunctionKind.ACTIVITY
        state.ffqn = FunctionName("gone:gone/gone.gone")
        assert service.executions.shown(state).kind is None
        assert Instant(0) < state.created_at

    run(scenario)
