"""Forks: what a copy of a prefix has, what runs again, and how it goes on."""

from __future__ import annotations

import msgspec
import pytest

from obelisk.core import calls
from obelisk.core.batch import CancelRequest, UnpauseRequest
from obelisk.core.events import ChildRequested, Created, DelayRequested, Origin
from obelisk.core.ids import Digest, ExecutionId, JoinSetId
from obelisk.core.instants import In
from obelisk.core.names import FunctionName
from obelisk.core.values import Err, Failure, Json, Ok
from obelisk.engine.effects import Answer, AnswerKind
from obelisk.engine.inputs import Fork
from obelisk.testing import invariants
from obelisk.testing.deployment import COMPONENT, SimulatedRegistry, json_array
from obelisk.testing.driver import ROOT, Driver, of_kind
from obelisk.testing.guests import Flow

MS = 1_000
ACT, MAIN = FunctionName("t:acts/acts.act"), FunctionName("t:flows/flows.main")
STUB = FunctionName("t:stubs/stubs.stub")
FORK = ExecutionId("E_01K42AJA8QHD7D3GTJAYF0RK00")
OTHER = Digest("sha256:" + "0f" * 32)


def main(execution_id: ExecutionId, params: Json) -> Flow:
    """Everything that a prefix can have: draws, children that were awaited and not, delays, tries, a direct call."""
    number = yield calls.RandomU64(0, 1 << 60)
    yield calls.Log(calls.LogLevel.INFO, "said")
    join_set = yield calls.JoinSetCreate()
    assert isinstance(join_set, str)
    js = JoinSetId(join_set)
    for index in range(3):
        yield calls.Submit(js, ACT, json_array(index))
    yield calls.SubmitDelay(js, In(100 * MS))
    first = yield calls.JoinNext(js)
    tried = yield calls.JoinNextTry(js)
    direct = yield calls.CallChild(ACT, json_array("direct"))
    rest = []
    for _ in range(3 if isinstance(tried, calls.NoneYet) else 2):
        rest += [(yield calls.JoinNext(js))]
    return Ok(json_array(number, shown(first), shown(tried), shown(direct), sorted(map(shown, rest))))


def shown(reply: calls.Reply | None) -> str:
    match reply:
        case calls.MemberDone(is_delay=True, ok=ok):
            return f"delay {ok}"
        case calls.MemberDone(outcome=Ok(value)) | Ok(value):
            return bytes(value).decode()
        case Err() | Failure():
            return "failed"
    return type(reply).__name__


def deployed() -> SimulatedRegistry:
    registry = SimulatedRegistry()
    registry.add_activity(ACT)
    registry.add_workflow(MAIN, main)
    return registry


def origin() -> Driver:
    """One that has ended, in an order that is not that of submission."""
    driver = Driver(deployed())
    driver.submit(MAIN)
    starts = {start.execution_id.rpartition(".")[2]: start for start in driver.starts()}
    driver.now += MS
    driver.finish(starts["g:1_2"], Ok(Json(b'"two"')))
    (direct,) = [start for start in driver.starts() if "o:1" in start.execution_id]
    driver.now += MS
    driver.finish(starts["g:1_1"], Ok(Json(b'"one"')))
    driver.now += MS
    driver.finish(direct, Ok(Json(b'"direct"')))
    driver.now += MS
    driver.finish(starts["g:1_3"], Ok(Json(b'"three"')))
    driver.sleep(100 * MS)
    assert isinstance(driver.outcome(), Ok)
    return driver


def fork(driver: Driver, version: int, *, component: Digest = COMPONENT, paused: bool = False) -> None:
    snapshot = invariants.snapshot_of(driver.store, ROOT)
    effects = driver.run(Fork(9, FORK, snapshot, version, component, paused))
    assert [answer.kind for answer in of_kind(effects, Answer)] == [AnswerKind.CREATED]


def finish_the_rest(driver: Driver) -> None:
    values = {"g:1_1": b'"one"', "g:1_2": b'"two"', "g:1_3": b'"three"', "o:1-act_1": b'"direct"'}
    done: set[ExecutionId] = set()
    while True:
        left = [s for s in driver.starts() if s.execution_id.startswith(FORK) and s.execution_id not in done]
        if not left:
            break
        for start in left:
            done.add(start.execution_id)
            driver.finish(start, Ok(Json(values[start.execution_id.rpartition(".")[2]])))
    driver.sleep(200 * MS)


def sound(driver: Driver) -> None:
    for execution_id in invariants.everything(driver.store):
        snapshot = invariants.snapshot_of(driver.store, execution_id)
        invariants.log_is_whole(snapshot)
        invariants.state_follows(snapshot)
        invariants.awaits_match(snapshot)
        invariants.family_agrees(driver.store, snapshot)
        invariants.end_is_the_end(driver.store, snapshot)
        if snapshot.state.ffqn == MAIN:
            invariants.replays(snapshot, driver.registry.guest(snapshot.state.component, MAIN, execution_id))
    assert driver.registry.guests == set()


def test_two_clients_of_a_refused_fork_are_both_answered_once_it_is_durable() -> None:
    driver = origin()
    snapshot = invariants.snapshot_of(driver.store, ROOT)
    driver.effects.clear()
    both = [Fork(token, FORK, snapshot, 3, COMPONENT) for token in (1, 2)]
    driver.tick(*both, refuse=lambda unit: True)
    assert of_kind(driver.effects, Answer) == []
    driver.run()
    assert of_kind(driver.effects, Answer) == [Answer(1, AnswerKind.CREATED), Answer(2, AnswerKind.EXISTS)]


def test_what_waits_for_a_child_that_is_not_deployed_any_more_is_not_forked() -> None:
    driver = Driver(deployed())
    driver.submit(MAIN)
    driver.registry.remove(ACT)
    snapshot = invariants.snapshot_of(driver.store, ROOT)
    at = next(entry.version for entry in snapshot.log if isinstance(entry.event, ChildRequested))
    (answer,) = of_kind(driver.run(Fork(1, FORK, snapshot, at + 1, COMPONENT)), Answer)
    assert (answer.kind, ACT in answer.message) == (AnswerKind.REFUSED, True)
    fork(driver, at)  # before that it can be
    assert driver.store.load(FORK) is not None


def test_nor_is_what_was_closing_a_join_set_with_such_a_child() -> None:
    """Had it been a workflow, the fork would have to wait for it."""

    def closes(execution_id: ExecutionId, params: Json) -> Flow:
        join_set = yield calls.JoinSetCreate()
        assert isinstance(join_set, str)
        yield calls.Submit(JoinSetId(join_set), ACT, json_array())
        yield calls.JoinSetClose(JoinSetId(join_set))
        return Ok()

    registry = deployed()
    registry.add_workflow(MAIN, closes)
    driver = Driver(registry)
    driver.submit(MAIN)
    assert driver.tags()[-1] == "join_next"
    registry.remove(ACT)
    snapshot = invariants.snapshot_of(driver.store, ROOT)
    (answer,) = of_kind(driver.run(Fork(1, FORK, snapshot, len(snapshot.log), COMPONENT)), Answer)
    assert (answer.kind, ACT in answer.message) == (AnswerKind.REFUSED, True)


VERSIONS = len(invariants.snapshot_of(origin().store, ROOT).log)


@pytest.mark.parametrize("version", range(1, VERSIONS + 1))
def test_a_fork_at_every_version_comes_to_a_like_end(version: int) -> None:
    driver = origin()
    before = len(driver.starts())
    ended = {
        response.body.child
        for response in invariants.snapshot_of(driver.store, ROOT).responses
        if response.created_at <= invariants.snapshot_of(driver.store, ROOT).log[version - 1].created_at
        and hasattr(response.body, "child")
    }
    fork(driver, version)
    finish_the_rest(driver)
    sound(driver)
    again = {start.execution_id.removeprefix(f"{FORK}.") for start in driver.starts()[before:]}
    assert again & ended == set()  # what had ended does not run again
    one, two = (msgspec.json.decode(driver.outcome(each).value) for each in (ROOT, FORK))
    assert isinstance(two[0], int)
    if version >= 3:  # beyond the draw
        assert one[0] == two[0]
    assert sorted([*one[1:4], *one[4]]) == sorted([*two[1:4], *two[4]]) or "NoneYet" in {one[2], two[2]}


@pytest.mark.parametrize("version", range(1, VERSIONS + 1))
def test_a_fork_survives_a_crash(version: int) -> None:
    driver = origin()
    snapshot = invariants.snapshot_of(driver.store, ROOT)
    driver.tick(Fork(9, FORK, snapshot, version, COMPONENT))
    driver.crash()
    finish_the_rest(driver)
    assert isinstance(driver.outcome(FORK), Ok)
    sound(driver)


def test_what_a_fork_says_of_itself() -> None:
    driver = origin()
    fork(driver, 9, paused=True)
    snapshot = invariants.snapshot_of(driver.store, FORK)
    created, began = snapshot.log[0].event, invariants.snapshot_of(driver.store, ROOT).log[0]
    assert isinstance(created, Created)
    assert created.forked_from == Origin(ROOT, 9, began.created_at)
    assert driver.tags(FORK)[1] == "paused"
    assert "unpaused" not in driver.tags(FORK)
    history = [entry for entry in invariants.snapshot_of(driver.store, ROOT).log[:9] if entry.event.history]
    copied = [entry for entry in snapshot.log if entry.event.history]
    assert [(entry.created_at, entry.event) for entry in copied] == [(e.created_at, e.event) for e in history]
    driver.operate(UnpauseRequest(), FORK)
    finish_the_rest(driver)
    sound(driver)


def test_a_delay_that_is_still_open_keeps_its_instant() -> None:
    driver = Driver(deployed())
    driver.submit(MAIN)
    driver.now += 30 * MS
    fork(driver, 9)
    (delay,) = invariants.snapshot_of(driver.store, FORK).delays
    requested = [e.event for e in invariants.snapshot_of(driver.store, ROOT).log if isinstance(e.event, DelayRequested)]
    assert delay.expires_at == requested[0].expires_at == driver.now + 70 * MS


def test_a_fork_of_a_fork_begins_where_the_first_began() -> None:
    driver = origin()
    began_at = invariants.snapshot_of(driver.store, ROOT).log[0].created_at
    fork(driver, 9)
    finish_the_rest(driver)
    second = ExecutionId(FORK[:-1] + "1")
    snapshot = invariants.snapshot_of(driver.store, FORK)
    driver.run(Fork(9, second, snapshot, len(snapshot.log), COMPONENT))
    created = driver.store.created(second)
    assert created is not None
    assert created.forked_from == Origin(FORK, len(snapshot.log), began_at, ROOT)
    assert driver.outcome(second) == driver.outcome(FORK)
    sound(driver)


def test_a_cancelled_execution_is_forked_as_it_was_before() -> None:
    driver = Driver(deployed())
    driver.submit(MAIN)
    driver.operate(CancelRequest())
    for start in driver.starts():
        driver.run(driver.killed(start))
    assert isinstance(driver.outcome(), Failure)
    fork(driver, len(driver.tags()))
    finish_the_rest(driver)
    assert isinstance(driver.outcome(FORK), Ok)
    sound(driver)


def test_members_of_a_join_set_that_was_being_closed_are_cancelled_in_the_fork() -> None:
    def closes(execution_id: ExecutionId, params: Json) -> Flow:
        join_set = yield calls.JoinSetCreate()
        assert isinstance(join_set, str)
        for index in range(2):
            yield calls.Submit(JoinSetId(join_set), ACT, json_array(index))
        yield calls.Submit(JoinSetId(join_set), STUB, json_array())
        yield calls.SubmitDelay(JoinSetId(join_set), In(3_600_000 * MS))
        yield calls.JoinSetClose(JoinSetId(join_set))
        return Ok()

    registry = deployed()
    registry.add_stub(STUB)
    registry.add_workflow(MAIN, closes)
    driver = Driver(registry)
    driver.submit(MAIN)
    versions = len(driver.tags())
    assert driver.tags()[-1] == "join_next"  # closing, and the attempts are still being killed
    for version in range(1, versions + 1):
        fork_id = ExecutionId(f"{FORK[:-2]}{version:02}")
        snapshot = invariants.snapshot_of(driver.store, ROOT)
        driver.run(Fork(9, fork_id, snapshot, version, COMPONENT))
        for start in driver.starts():
            if start.execution_id.startswith(fork_id):
                driver.run(driver.killed(start))
        assert driver.outcome(fork_id) == Ok(), version
    for start in driver.starts():
        driver.run(driver.killed(start))
    sound(driver)


def test_a_fork_goes_on_on_the_component_that_it_is_given() -> None:
    def fixed(execution_id: ExecutionId, params: Json) -> Flow:
        yield calls.RandomU64(0, 1 << 60)
        return Ok(json_array("fixed"))

    driver = origin()
    driver.registry.add_workflow(MAIN, fixed, component=OTHER)
    fork(driver, 3, component=OTHER)
    assert driver.outcome(FORK) == Ok(json_array("fixed"))
    state = driver.store.state(FORK)
    assert state is not None
    assert state.component == OTHER


def test_an_id_that_is_taken_is_not_forked_to() -> None:
    driver = origin()
    fork(driver, 3)
    snapshot = invariants.snapshot_of(driver.store, ROOT)
    effects = driver.run(Fork(9, FORK, snapshot, 3, COMPONENT))
    assert [answer.kind for answer in of_kind(effects, Answer)] == [AnswerKind.EXISTS]
    effects = driver.run(Fork(9, ROOT, snapshot, 3, COMPONENT))
    assert [answer.kind for answer in of_kind(effects, Answer)] == [AnswerKind.EXISTS]
    effects = driver.run(Fork(9, ExecutionId(FORK[:-1] + "1"), snapshot, 3, OTHER))
    assert [answer.kind for answer in of_kind(effects, Answer)] == [AnswerKind.FUNCTION_NOT_FOUND]
