"""Submitting, over the small engine."""

import pytest
from obelisk_tests_small_engine import (
    APPROVE,
    APPROVE_STUB,
    FIBO,
    FIBO_SCHEDULE,
    FIBO_SUBMIT,
    FIBOA,
    FIBOA_CONCURRENT,
    START,
)

from obelisk.api.errors import Conflict, InvalidArgument, NotFound, Overloaded, Stopping
from obelisk.api.ports import AnswerKind, FunctionNotFound
from obelisk.api.submitting import Submitted
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import SECOND_US
from obelisk.core.names import FunctionName
from obelisk.core.state import Lifecycle


def test_a_submission_is_durable_in_canonical_form(run):
    async def scenario(engine, service):
        execution_id = service.submitting.new_id()
        answer = await service.submitting.submit(execution_id, FIBOA, b" [ 40, 1e1 ]".replace(b"1e1", b"10"))
        assert answer is Submitted.CREATED
        created = engine.store.created(execution_id)
        assert created.ffqn == FIBOA
        assert bytes(created.params) == b"[40,10]"

    run(scenario)


def test_the_same_again_exists_and_anything_else_is_a_conflict(run):
    async def scenario(engine, service):
        submit = service.submitting.submit
        execution_id = service.submitting.new_id()
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
        (
            FunctionName("template-fibo:activity-obelisk-ext/fibo-activity-ifc.fibo-submi"),
            b"[1]",
            NotFound,
            r"did you mean [^ ]*\.fibo-schedule\?$",
        ),
        (FunctionName("a:b/c.d"), b"[]", NotFound, "function not found: no deployed component exports a:b/c.d$"),
        (FIBO_SUBMIT, b"[1]", NotFound, "function not found"),
    ],
)
def test_what_does_not_fit_the_function_is_refused_and_nothing_written(run, ffqn, params, error, message):
    async def scenario(engine, service):
        execution_id = service.submitting.new_id()
        with pytest.raises(error, match=message):
            await service.submitting.submit(execution_id, ffqn, params)
        assert engine.store.state(execution_id) is None

    run(scenario)


def test_only_top_level_ids_may_be_chosen(run):
    async def scenario(engine, service):
        execution_id = service.submitting.new_id()
        with pytest.raises(InvalidArgument, match="derived"):
            await service.submitting.submit(ExecutionId(f"{execution_id}.o:1-fibo_1"), FIBO, b"[1]")

    run(scenario)


def test_a_function_that_is_gone_meanwhile_is_not_suggested_itself(run):
    async def gone(*arguments, **options):
        return AnswerKind.NOT_FOUND

    async def scenario(engine, service):
        engine.submit = gone
        with pytest.raises(NotFound, match=r"no deployed component exports \S+\.fiboa$"):
            await service.submitting.submit(service.submitting.new_id(), FIBOA, b"[1,1]")

    run(scenario)


def test_an_execution_keeps_its_metadata(run):
    async def scenario(engine, service):
        execution_id = service.submitting.new_id()
        await service.submitting.submit(execution_id, FIBO, b"[1]", metadata={"team": "blue"})
        assert engine.store.created(execution_id).metadata == {"team": "blue"}

    run(scenario)


def test_an_execution_can_be_born_paused(run):
    async def scenario(engine, service):
        execution_id = service.submitting.new_id()
        await service.submitting.submit(execution_id, FIBO, b"[1]", paused=True)
        assert engine.store.state(execution_id).lifecycle is Lifecycle.PAUSED

    run(scenario)


def test_a_full_inbox_and_a_stopping_server_mean_try_again(run):
    async def scenario(engine, service):
        engine.is_full = True
        with pytest.raises(Overloaded, match="try again later"):
            await service.submitting.submit(service.submitting.new_id(), FIBO, b"[1]")
        engine.is_stopping = True
        with pytest.raises(Stopping):
            await service.submitting.submit(service.submitting.new_id(), FIBO, b"[1]")

    run(scenario)


# --- scheduling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "us"),
    [
        ('"now"', 0),
        ('{"in":{"milliseconds":20}}', 20_000),
        ('{"in":{"seconds":5}}', 5 * SECOND_US),
        ('{"in":{"minutes":2}}', 120 * SECOND_US),
        ('{"in":{"hours":1}}', 3_600 * SECOND_US),
        ('{"in":{"days":1}}', 86_400 * SECOND_US),
        ('{"at":{"seconds":1767225601,"nanoseconds":2000}}', SECOND_US + 2),
    ],
)
def test_a_schedule_function_creates_an_execution_of_the_function_that_it_extends(run, when, us):
    async def scenario(engine, service):
        execution_id = service.submitting.new_id()
        answer = await service.submitting.submit(execution_id, FIBO_SCHEDULE, f"[{when}, 10]".encode())
        assert answer is Submitted.CREATED
        created = engine.store.created(execution_id)
        assert (created.ffqn, bytes(created.params), created.scheduled_at) == (FIBO, b"[10]", START + us)

    run(scenario)


def test_the_same_schedule_again_exists_whenever_it_comes(run):
    async def scenario(engine, service):
        execution_id = service.submitting.new_id()
        params = b'[{"in":{"seconds":5}}, 10]'
        await service.submitting.submit(execution_id, FIBO_SCHEDULE, params)
        engine.advance(SECOND_US)
        assert await service.submitting.submit(execution_id, FIBO_SCHEDULE, params) is Submitted.EXISTS
        with pytest.raises(Conflict, match="with other parameters"):
            await service.submitting.submit(execution_id, FIBO_SCHEDULE, b'["now", 11]')
        assert engine.store.created(execution_id).scheduled_at == START + 5 * SECOND_US

    run(scenario)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (b"[]", r'expected 2 parameters, got none; the first one says when: "now", '),
        (b"{}", "params: expected a JSON array"),
        (b'["now"', "params are not JSON"),
        (b'["later", 10]', r'params\[0\]: expected .*, got "later"; for example "now", '),
        (b'[{"in":{"seconds":-1}}, 10]', r"params\[0\].in.seconds: expected u64"),
        (b'[{"in":{"days":4294967295}}, 10]', r"params\[0\]: the schedule lies beyond the year 9999"),
        (b'[{"at":{"seconds":99999999999999,"nanoseconds":0}}, 10]', "beyond the year 9999"),
        (b'["now"]', r"after the first parameter, which says when: params: expected 1 parameter"),
        (b'["now", "x"]', r"after the first parameter, which says when: params\[0\]: expected u8"),
    ],
)
def test_a_schedule_that_makes_no_sense(run, params, message):
    async def scenario(engine, service):
        execution_id = service.submitting.new_id()
        with pytest.raises(InvalidArgument, match=message):
            await service.submitting.submit(execution_id, FIBO_SCHEDULE, params)
        assert engine.store.state(execution_id) is None

    run(scenario)


def test_stub_activities_are_not_submitted(run):
    async def scenario(engine, service):
        engine.catalogue.deploy_stubs()
        with pytest.raises(
            NotFound, match=r"function not found: .*approve cannot be submitted; .*created by the workflow"
        ):
            await service.submitting.submit(service.submitting.new_id(), APPROVE, b'["x"]')
        with pytest.raises(NotFound, match="can be called by workflows only"):
            await service.submitting.submit(service.submitting.new_id(), APPROVE_STUB, b'["x"]')

    run(scenario)


def test_a_function_that_is_gone_by_the_time_its_parameters_are_looked_at(run, monkeypatch):
    async def scenario(engine, service):
        def gone(ffqn, data):
            raise FunctionNotFound(ffqn)

        monkeypatch.setattr(engine.catalogue, "check_params", gone)
        with pytest.raises(NotFound, match=f"function not found: .*{FIBOA}"):
            await service.submitting.submit(service.submitting.new_id(), FIBOA, b"[40,10]")

    run(scenario)
