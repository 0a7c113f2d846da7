"""What every store does, the same for all."""

from __future__ import annotations

import msgspec
import pytest

from obelisk.core.backtraces import Backtrace, Frame, Symbol
from obelisk.core.batch import (
    AdvanceRequest,
    Applied,
    CancelDelayRequest,
    CancelRequest,
    Delay,
    Expect,
    FailRequest,
    NewEvent,
    NewResponse,
    PauseRequest,
    Refused,
    RefusedBy,
    Request,
    ResumeRequest,
    Unit,
    UnpauseRequest,
    UpgradeRequest,
)
from obelisk.core.events import (
    CancellationRequested,
    ChildRejected,
    ChildRequested,
    ComponentUpgraded,
    DelayRequested,
    Finished,
    JoinNext,
    JoinNextTooMany,
    JoinNextTry,
    JoinSetCreated,
    Locked,
    LogEntry,
    Parked,
    Paused,
    Persist,
    PersistExecutionId,
    PersistRandomString,
    PersistRandomU64,
    RejectReason,
    Resumed,
    Scheduled,
    ScheduleRejected,
    Stubbed,
    StubResult,
    TemporarilyFailed,
    TemporarilyTimedOut,
    TryOutcome,
    Unlocked,
    Unpaused,
)
from obelisk.core.ids import ChildId, Digest, absolute, join_set_of
from obelisk.core.instants import At, In, Now
from obelisk.core.reading import ExecutionFilter, FinalResult, Page, StateFilter
from obelisk.core.responses import ChildFinished, DelayFinished, Response
from obelisk.core.state import Lifecycle, Status
from obelisk.core.values import Err, ErrForm, Failure, FailureKind, Ok
from obelisk.store.fences import MalformedUnit

APPLIED = Applied()
ALL = 1_000_000
OTHER = Digest("sha256:" + "0f" * 32)


# --- creation and loading --------------------------------------------------------------------------------------------


def test_an_unknown_execution_is_nowhere(opened, author):
    unknown = author.id(1)
    assert opened.store.load(unknown) is None
    assert opened.reader.state(unknown) is None
    assert opened.reader.states([unknown]) == []
    assert opened.reader.created(unknown) is None
    assert opened.reader.events(unknown, 0, ALL) == []
    assert opened.reader.responses(unknown, 0, ALL) == []
    assert opened.reader.result(unknown) is None
    assert opened.reader.snapshot(unknown) is None


def test_a_created_execution_is_read_back_as_it_was_written(opened, author):
    one = author.id(1)
    metadata = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "naïve": 'qu"ote #1'}
    unit = author.create(one, params=author.json('["#1",{"a":null}]'), scheduled_by=author.id(9), metadata=metadata)
    assert opened.commit(unit) == [APPLIED]
    snapshot = opened.store.load(one)
    assert snapshot.state == author.states[one]
    assert snapshot.log == [LogEntry(0, author.now, unit.events[0].event)]
    assert bytes(snapshot.log[0].event.params) == b'["#1",{"a":null}]'
    assert (snapshot.responses, snapshot.requests, snapshot.delays) == ([], [], [])
    assert opened.reader.state(one) == author.states[one]
    assert opened.reader.created(one) == unit.events[0].event


def test_every_field_of_a_state_row_is_kept(opened, author):
    one = author.id(1)
    opened.apply(author.create(one))
    state = author.states[one]
    state.component, state.deployment = author.workflow, "Dep_01K42AJA8QHD7D3GTJAYMASF00"
    state.updated_at, state.status, state.lifecycle = author.now + 1, Status.BLOCKED, Lifecycle.CANCELLING
    state.responses_known, state.pending_at = 3, author.now + 2
    state.run, state.executor = "Run_01K42AJA8QHD7D3GTJAYMASFYZ", "Exr_01K42AJA8QHD7D3GTJAYMASF11"
    state.lock_expires_at, state.blocked_on, state.closing = author.now + 3, "n:batch", True
    state.failures, state.crashes, state.priority = 4, 5, -6
    opened.apply(Unit([author.expect(one)], states=[state.copy()]))
    assert opened.reader.state(one) == state
    state.status, state.finished_at, state.finish_kind = Status.FINISHED, author.now + 4, "timed_out"
    state.owner, state.run, state.executor, state.blocked_on, state.closing = None, None, None, None, False
    opened.apply(Unit([author.expect(one)], states=[state.copy()]))
    assert opened.reader.state(one) == state
    assert opened.store.load(one).state == state


@pytest.mark.parametrize("at_once", [False, True])
def test_an_execution_moves_to_another_component_or_deployment_and_back(opened, author, at_once):
    one = author.id(1)
    opened.apply(author.create(one))
    state = author.states[one]
    component, deployment = state.component, state.deployment
    other = "Dep_01K42AJA8QHD7D3GTJAYMASF00"
    units = []
    for state.component, state.deployment in (
        (component, other),
        (author.workflow, other),
        (author.workflow, deployment),
        (component, deployment),
        (author.workflow, deployment),
    ):
        units.append(Unit([author.expect(one)], states=[state.copy()]))
        if not at_once:
            opened.apply(units.pop())
            assert opened.reader.state(one) == state
    state.status, state.finished_at, state.finish_kind = Status.FINISHED, author.now, "ok"
    state.component, state.owner = component, None
    opened.apply(*units, Unit([author.expect(one)], states=[state.copy()]))
    assert opened.reader.state(one) == opened.store.load(one).state == state


def test_what_is_loaded_is_a_copy(opened, author):
    one = author.id(1)
    unit = author.create(one)
    opened.apply(unit)
    unit.states[0].failures = 99
    opened.store.load(one).state.failures = 98
    opened.reader.state(one).failures = 97
    assert opened.reader.state(one).failures == 0


def test_every_kind_of_event_survives(opened, author):
    one, far = author.id(1), author.now + 10**9
    events = [
        Locked(author.engine, "Run_01K42AJA8QHD7D3GTJAYMASFYZ", far),
        Locked(author.engine, "Run_01K42AJA8QHD7D3GTJAYMASFYZ", far, 3, 5, author.workflow, "Dep_2"),
        Persist(PersistRandomU64(1, 2**64 - 1), author.json("18446744073709551615")),
        Persist(PersistRandomString(0, 9), author.json('"x"')),
        JoinSetCreated("n:b/1"),
        ChildRequested("n:b/1_1", author.fibo, author.json("[10]")),
        DelayRequested("n:b/1_1", Now(), far),
        DelayRequested("n:b/1_2", At(far), far),
        DelayRequested("n:b/1_3", In(5), far),
        JoinNext("n:b/1", far),
        JoinNext("n:b/1", far, author.fibo, closing=True),
        JoinNextTooMany("n:b/1"),
        JoinNextTooMany("n:b/1", author.fibo),
        Unlocked(far, "stop"),
        TemporarilyFailed(far, "trap", "wasm backtrace\n…"),
        TemporarilyTimedOut(far),
        Parked("nondeterminism", "expected …"),
        Resumed(),
        Paused(),
        Unpaused(),
        ComponentUpgraded(OTHER, "Dep_3", forced=True),
        Persist(PersistExecutionId(), author.json('"E_01K42AJA8QHD7D3GTJAYMASFYZ"')),
        ChildRequested("n:b/1_2", author.fibo, author.json("[10]"), author.json("[1e1]"), ErrForm.VARIANT, 7),
        ChildRejected("n:b/1_3", author.fibo, author.json("[]"), RejectReason.TYPE_CHECK_ERROR, "m", 7),
        JoinNextTry("n:b/1", TryOutcome.FOUND),
        Scheduled(author.id(9), author.fibo, author.json("[10]"), In(5), far, author.json("[1e1]"), 7),
        ScheduleRejected(author.id(9), author.fibo, author.json("[]"), Now(), RejectReason.FUNCTION_NOT_FOUND),
        Stubbed("n:b/1_1", "sha256:00", StubResult.CONFLICT, "m"),
        CancellationRequested(Failure(FailureKind.UNCATEGORIZED, "r", "d")),
        Finished(Failure(FailureKind.NONDETERMINISM_DETECTED, "r", "d")),
    ]
    opened.apply(author.create(one))
    state = author.states[one]
    new = [NewEvent(one, version, author.now + version, event) for version, event in enumerate(events, 1)]
    expect = author.expect(one)
    state.next_version += len(new)
    opened.apply(Unit([expect], events=new, states=[state.copy()]))
    log = opened.store.load(one).log[1:]
    assert log == [LogEntry(row.version, row.created_at, row.event) for row in new]
    assert opened.reader.events(one, 1, ALL) == log


def test_every_outcome_reaches_the_parent(opened, author):
    parent = author.id(1)
    opened.apply(author.create(parent), author.append(parent, author.locked()))
    outcomes = [
        Ok(),
        Ok(author.json("null")),
        Ok(author.json('{"a":[1,2.5]}')),
        Err(),
        Err(author.json('"no"')),
        Err(author.json('"permanent"'), permanent=True),
        Failure(FailureKind.TIMED_OUT),
        Failure(FailureKind.UNCATEGORIZED, "trap", "at 0x1"),
    ]
    for number, outcome in enumerate(outcomes, 1):
        child = f"o:{number}-fibo_1"
        opened.apply(author.call_child(parent, child))
        author.now += 7
        opened.apply(author.finish_child(parent, child, outcome))
        result = opened.reader.result(f"{parent}.{child}")
        assert result == FinalResult(author.now - 7, author.now - 7, author.now, outcome)
    responses = opened.store.load(parent).responses
    assert [response.seq for response in responses] == list(range(1, len(outcomes) + 1))
    assert [response.body.outcome for response in responses] == outcomes
    assert [response.body.version for response in responses] == [2] * len(outcomes)
    assert [response.join_set for response in responses] == [f"o:{n}-fibo" for n in range(1, len(outcomes) + 1)]
    assert opened.reader.responses(parent, 0, ALL) == responses
    assert opened.reader.responses(parent, 3, 2) == responses[2:4]
    assert opened.reader.responses(parent, 3, 0) == []
    assert opened.reader.state(parent) == author.states[parent]
    assert opened.reader.result(parent) is None


def test_grandchildren_are_found_under_their_whole_id(opened, author):
    root = author.id(1)
    child = f"{root}.n:a_1"
    opened.apply(author.create(root), author.append(root, author.locked()), author.call_child(root, "n:a_1"))
    opened.apply(author.call_child(child, "o:1-fibo_1"))
    opened.apply(author.finish_child(child, "o:1-fibo_1"))
    grandchild = opened.reader.state(f"{child}.o:1-fibo_1")
    assert grandchild.execution_id == f"{child}.o:1-fibo_1"
    assert grandchild.join_set == "o:1-fibo"
    (response,) = opened.store.load(child).responses
    assert response.body.child == "o:1-fibo_1"
    assert opened.store.load(root).responses == []


def test_reading_a_piece_of_a_log(opened, author):
    one, two = author.id(1), author.id(2)
    opened.apply(author.create(one), author.create(two))
    opened.apply(author.append(one, author.locked(), JoinSetCreated("g:1"), JoinSetCreated("g:2")))
    assert [entry.version for entry in opened.reader.events(one, 0, ALL)] == [0, 1, 2, 3]
    assert [entry.version for entry in opened.reader.events(one, 1, 2)] == [1, 2]
    assert opened.reader.events(one, 4, 5) == []
    assert opened.reader.events(one, 2**40, 5) == []
    assert opened.reader.events(one, 0, 0) == []


# --- units and fences ------------------------------------------------------------------------------------------------


def test_an_empty_batch_is_no_commit(opened):
    assert opened.commit() == []
    assert opened.store.commits == 0


def test_commits_are_counted(opened, author):
    opened.apply(author.create(author.id(1)), author.create(author.id(2)))
    opened.apply(author.create(author.id(3)))
    assert opened.store.commits == 2


def test_an_execution_is_created_once(opened, author, make_author):
    one = author.id(1)
    opened.apply(author.create(one))
    other = make_author(None)
    other.now += 5
    assert opened.commit(other.create(one)) == [Refused(RefusedBy.EXISTS, one)]
    assert opened.reader.state(one) == author.states[one]


def test_creating_twice_in_one_batch(opened, author, make_author):
    one = author.id(1)
    assert opened.commit(author.create(one), make_author(None).create(one)) == [
        APPLIED,
        Refused(RefusedBy.EXISTS, one),
    ]


def test_creating_a_child_twice_in_one_batch(opened, author, make_author):
    one, child = author.id(1), ChildId("g:1_1")
    opened.apply(author.create(one))
    born = absolute(one, child)
    again = make_author(None).create(born, join_set=join_set_of(child))
    first = author.create(born, join_set=join_set_of(child))
    assert opened.commit(first, again, author.append(born, author.locked())) == [
        APPLIED,
        Refused(RefusedBy.EXISTS, born),
        APPLIED,
    ]
    assert opened.reader.state(born) == author.states[born]
    assert len(opened.store.load(born).log) == 2


@pytest.mark.parametrize("finished", [False, True])
def test_a_child_is_created_once(opened, author, make_author, finished):
    one, two = author.id(1), author.id(2)
    child = ChildId("g:1_1")
    opened.apply(author.create(one), author.append(one, author.locked()), author.call_child(one, child))
    if finished:
        opened.apply(author.finish_child(one, child))
    before = opened.store.load(absolute(one, child))
    again = make_author(None).create(absolute(one, child), join_set=join_set_of(child))
    other = make_author(None).create(two)
    assert opened.commit(again, other) == [Refused(RefusedBy.EXISTS, absolute(one, child)), APPLIED]
    # Refused for two reasons, the first one is told; and what refused it is not forgotten.
    both = Unit([Expect(absolute(one, child), 0), Expect(two, 9)], events=again.events, states=again.states)
    turned = Unit([Expect(two, 9), Expect(absolute(one, child), 0)], events=again.events, states=again.states)
    exists = Unit([Expect(absolute(one, child), before.state.next_version)])
    assert opened.commit(both, turned, exists) == [
        Refused(RefusedBy.EXISTS, absolute(one, child)),
        Refused(RefusedBy.VERSION, two),
        APPLIED,
    ]
    assert opened.store.load(absolute(one, child)) == before


def test_that_a_child_is_not_there_can_be_expected_without_creating_it(opened, author):
    """No row is inserted then that would find the key taken."""
    one, there, missing = author.id(1), ChildId("g:1_1"), ChildId("g:1_2")
    opened.apply(author.create(one), author.append(one, author.locked()), author.call_child(one, there))
    opened.apply(author.finish_child(one, there))
    taken, free = absolute(one, there), absolute(one, missing)
    assert opened.commit(Unit([Expect(taken, 0)]), Unit([Expect(free, 0)])) == [
        Refused(RefusedBy.EXISTS, taken),
        APPLIED,
    ]
    assert opened.store.load(free) is None


@pytest.mark.parametrize("malformed", [False, True])
def test_new_names_of_what_is_not_written_are_not_those_of_what_is(opened, author, make_author, malformed):
    """A unit is refused, alone or with its whole batch: other new names come with what is written."""
    one, two, three, child = author.id(1), author.id(2), author.id(3), ChildId("g:1_1")
    opened.apply(author.create(one), author.append(one, author.locked()), author.call_child(one, child))
    opened.apply(author.finish_child(one, child))
    born = absolute(one, child)
    lost = make_author(None).create(born, join_set=join_set_of(child), ffqn="lost:a/b.c", deployment="Dep_Lost")
    if malformed:
        lost.states = []
        with pytest.raises(MalformedUnit):
            opened.commit(make_author(None).create(three, ffqn="lost:d/e.f"), lost)
        opened.apply(author.create(two, ffqn="kept:a/b.c"))
    else:
        outcomes = opened.commit(lost, author.create(two, ffqn="kept:a/b.c"))
        assert outcomes == [Refused(RefusedBy.EXISTS, born), APPLIED]
    opened.apply(author.create(three, ffqn="lost:a/b.c", deployment="Dep_Lost"))
    for each, name in ((two, "kept:a/b.c"), (three, "lost:a/b.c")):
        snapshot = opened.store.load(each)
        assert snapshot.state == opened.reader.state(each) == author.states[each]
        assert snapshot.log[0].event.ffqn == opened.reader.events(each, 0, 1)[0].event.ffqn == name


def test_a_finished_execution_still_exists(opened, author, make_author):
    one = author.id(1)
    opened.apply(author.create(one), author.append(one, Finished(Ok())))
    assert opened.commit(make_author(None).create(one)) == [Refused(RefusedBy.EXISTS, one)]
    late = Unit([Expect(one, 1)], events=[], states=[])
    assert opened.commit(late) == [Refused(RefusedBy.VERSION, one)]


def test_what_is_missing_is_refused(opened, author):
    one = author.id(1)
    response = NewResponse(one, Response(0, author.now, "g:1", DelayFinished("g:1_1", ok=True)))
    units = [
        Unit([Expect(one, 1)]),
        Unit([], responses=[response]),
        Unit([], requests=[Request(one, author.now, CancelRequest())]),
        Unit([], delays=[Delay(one, "g:1_1", author.now)]),
    ]
    assert opened.commit(*units) == [Refused(RefusedBy.MISSING, one)] * 4


def test_a_child_needs_its_root(opened, author):
    assert opened.commit(author.create(f"{author.id(1)}.g:1_1")) == [Refused(RefusedBy.MISSING, author.id(1))]


def test_a_response_needs_its_child(opened, author):
    one = author.id(1)
    opened.apply(author.create(one))
    response = NewResponse(one, Response(0, author.now, "g:1", ChildFinished("g:1_1", 2, Ok())))
    assert opened.commit(Unit([], responses=[response])) == [Refused(RefusedBy.MISSING, f"{one}.g:1_1")]


@pytest.mark.parametrize(
    ("version", "epoch", "responses", "by"),
    [
        (2, 0, None, None),
        (2, 0, 0, None),
        (1, 0, None, RefusedBy.VERSION),
        (3, 0, 0, RefusedBy.VERSION),
        (2, 1, 0, RefusedBy.LEASE),
        (1, 1, 1, RefusedBy.LEASE),
        (2, 0, 1, RefusedBy.RESPONSES),
        (1, 0, 1, RefusedBy.VERSION),
        (0, 0, None, RefusedBy.EXISTS),
    ],
)
def test_fences(opened, author, version, epoch, responses, by):
    one = author.id(1)
    opened.apply(author.create(one), author.append(one, author.locked()))
    expected = APPLIED if by is None else Refused(by, one)
    assert opened.commit(Unit([Expect(one, version, epoch, responses)])) == [expected]


def test_a_refused_unit_changes_nothing_and_the_others_are_applied(opened, author, make_author):
    one, two, three = (author.id(n) for n in (1, 2, 3))
    opened.apply(author.create(one))
    stale = Unit(
        [Expect(two, 0), Expect(one, 7)],
        events=author.create(two).events,
        states=[author.states[two].copy()],
        delays=[Delay(one, "g:1_1", author.now)],
        requests=[Request(one, author.now, CancelRequest())],
    )
    lock = author.append(one, author.locked())
    assert opened.commit(author.create(three), stale, lock) == [APPLIED, Refused(RefusedBy.VERSION, one), APPLIED]
    assert opened.store.load(two) is None
    snapshot = opened.store.load(one)
    assert (snapshot.state, snapshot.delays, snapshot.requests) == (author.states[one], [], [])
    # What was refused can be done again: nothing of it was remembered.
    again = make_author(author.owner)
    opened.apply(again.create(two), again.append(two, again.locked()))
    assert opened.reader.state(two) == again.states[two]


def test_dependents_of_a_refused_unit_are_refused(opened, author):
    one, two, three, four = (author.id(n) for n in (1, 2, 3, 4))
    opened.apply(author.create(one))
    first = Unit([Expect(one, 9)])
    second, third, fourth = author.create(two), author.create(three), author.create(four)
    second.after, third.after = [0], [1]
    assert opened.commit(first, second, third, fourth) == [
        Refused(RefusedBy.VERSION, one),
        Refused(RefusedBy.DEPENDENCY),
        Refused(RefusedBy.DEPENDENCY),
        APPLIED,
    ]
    assert opened.reader.state(three) is None


def test_units_see_those_before_them(opened, author):
    parent = author.id(1)
    units = [author.create(parent), author.append(parent, author.locked())]
    for number in range(1, 4):
        units.append(author.call_child(parent, f"o:{number}-fibo_1"))
        author.now += 1
        units.append(author.finish_child(parent, f"o:{number}-fibo_1"))
    units.append(author.append(parent, Finished(Ok())))
    assert opened.commit(*units) == [APPLIED] * len(units)
    snapshot = opened.store.load(parent)
    assert snapshot.state == author.states[parent]
    assert [entry.version for entry in snapshot.log] == list(range(12))
    assert [response.seq for response in snapshot.responses] == [1, 2, 3]


def test_a_root_and_its_child_may_be_born_in_one_unit_in_any_order(opened, author):
    root = author.create(author.id(1))
    child = author.create(f"{author.id(1)}.g:1_1")
    unit = Unit(child.expects + root.expects, events=child.events + root.events, states=child.states + root.states)
    opened.apply(unit)
    assert opened.reader.states([f"{author.id(1)}.g:1_1", author.id(2), author.id(1)]) == unit.states


@pytest.mark.parametrize("wrong", ["version", "no row", "stale row", "no expect", "twice", "after", "join set", "id"])
def test_a_malformed_unit_leaves_the_whole_batch_alone(opened, author, wrong):
    one, two = author.id(1), author.id(2)
    opened.apply(author.create(one))
    unit = author.append(one, author.locked())
    replace = msgspec.structs.replace
    match wrong:
        case "version":
            unit.events[0] = replace(unit.events[0], version=2)
        case "no row":
            unit.states = []
        case "stale row":
            unit.states[0].next_version = 1
        case "no expect":
            unit.expects = []
        case "twice":
            unit.expects *= 2
        case "after":
            unit.after = [1]
        case "join set":
            unit.responses = [NewResponse(one, Response(0, author.now, "g:2", DelayFinished("g:1_1", ok=True)))]
        case "id":
            unit.requests = [Request(one, author.now, CancelRequest(), id=1)]
    new_name = author.create(two, ffqn="a:b/c.d")
    with pytest.raises(MalformedUnit):
        opened.commit(new_name, unit)
    assert opened.store.load(two) is None
    assert opened.store.load(one).state.next_version == 1
    assert opened.commit(new_name) == [APPLIED]
    assert opened.reader.state(two) == author.states[two]


# --- responses -------------------------------------------------------------------------------------------------------


def post(author, execution_id, delay, *, ok=True):
    """A response from somebody who does not hold the execution."""
    body = DelayFinished(delay, ok)
    return Unit([], responses=[NewResponse(execution_id, Response(0, author.now, delay.rpartition("_")[0], body))])


def test_a_posted_response_gets_the_next_number_and_changes_only_the_count(opened, author):
    one = author.id(1)
    opened.apply(author.create(one), author.append(one, author.locked()))
    author.now += 10
    opened.apply(post(author, one, "g:1_1"), post(author, one, "g:1_2", ok=False))
    state = author.states[one].copy()
    state.response_count = 2
    assert opened.reader.state(one) == state
    assert opened.store.load(one).responses == [
        Response(1, author.now, "g:1", DelayFinished("g:1_1", ok=True)),
        Response(2, author.now, "g:1", DelayFinished("g:1_2", ok=False)),
    ]


def test_the_holder_is_fenced_by_a_response_that_it_did_not_see(opened, author):
    one = author.id(1)
    opened.apply(author.create(one), author.append(one, author.locked()))
    unit = author.append(one, JoinSetCreated("g:1"))
    assert opened.commit(post(author, one, "g:9_1"), unit) == [APPLIED, Refused(RefusedBy.RESPONSES, one)]
    assert opened.reader.state(one).next_version == 2


def test_a_number_out_of_turn_is_refused(opened, author):
    one = author.id(1)
    opened.apply(author.create(one), post(author, one, "g:1_1"))
    response = Response(1, author.now, "g:1", DelayFinished("g:1_2", ok=True))
    assert opened.commit(Unit([], responses=[NewResponse(one, response)])) == [Refused(RefusedBy.RESPONSES, one)]


def test_a_row_without_that_fence_keeps_the_count(opened, author):
    one = author.id(1)
    opened.apply(author.create(one), post(author, one, "g:1_1"))
    state = author.states[one]
    state.failures = 3
    opened.apply(Unit([author.expect(one, responses=False)], states=[state.copy()]))
    stored = opened.reader.state(one)
    assert (stored.failures, stored.response_count, stored.responses_known) == (3, 1, 0)
    assert opened.commit(Unit([Expect(one, 1, 0, 1)])) == [APPLIED]


# --- delays and requests ---------------------------------------------------------------------------------------------


def test_delays(opened, author):
    one, two = author.id(1), author.id(2)
    opened.apply(author.create(one), author.create(two))
    delays = [Delay(one, "g:1_1", author.now + 20), Delay(one, "g:1_2", author.now + 10)]
    other = Delay(two, "g:1_1", author.now + 5)
    opened.apply(Unit([], delays=[*delays, other]))
    assert opened.store.load(one).delays == delays[::-1]
    opened.apply(Unit([], delays_done=[(one, "g:1_2"), (one, "g:7_7"), (author.id(3), "g:1_1")]))
    assert opened.store.load(one).delays == delays[:1]
    assert opened.store.load(two).delays == [other]


def test_requests_get_rising_ids(opened, author):
    one, two = author.id(1), author.id(2)
    opened.apply(author.create(one), author.create(two))
    ask = [Request(one, author.now, CancelRequest()), Request(two, author.now + 1, CancelRequest())]
    (first,) = opened.commit(Unit([], requests=ask))
    assert first == Applied((1, 2))
    opened.apply(Unit([], requests_done=[1, 2, 77]))
    assert opened.store.load(one).requests == []
    (second,) = opened.commit(Unit([], requests=ask[:1]))
    assert second == Applied((3,))
    assert opened.store.load(one).requests == [msgspec.structs.replace(ask[0], id=3)]


def test_the_inbox_goes_with_the_end_of_its_execution(opened, author):
    one, two = author.id(1), author.id(2)
    opened.apply(author.create(one), author.create(two))
    ask = [Request(one, author.now, CancelRequest()), Request(two, author.now, PauseRequest())]
    opened.commit(Unit([], requests=ask))
    opened.apply(author.append(one, Finished(Ok())))
    assert opened.store.load(one).requests == []
    assert [request.body for request in opened.store.load(two).requests] == [PauseRequest()]


def test_what_is_asked_of_a_finished_execution_is_dropped(opened, author):
    one, two, three = author.id(1), author.id(2), author.id(3)
    opened.apply(author.create(one), author.create(two), author.create(three))
    opened.apply(author.append(one, Finished(Ok())))

    def asking(execution_id):
        return Unit([], requests=[Request(execution_id, author.now, CancelRequest())])

    end_of_two, end_of_three = author.append(two, Finished(Ok())), author.append(three, Finished(Ok()))
    assert opened.commit(asking(one), end_of_two, asking(two), asking(three), end_of_three) == [
        Applied((1,)), Applied(), Applied((2,)), Applied((3,)), Applied(),
    ]  # fmt: skip
    assert [opened.store.load(execution_id).requests for execution_id in (one, two, three)] == [[], [], []]
    assert opened.store.news(author.owner) == []


@pytest.mark.parametrize(
    "body",
    [
        CancelRequest(),
        CancelDelayRequest("g:1_1"),
        PauseRequest(),
        UnpauseRequest(),
        ResumeRequest(),
        FailRequest(Failure(FailureKind.UNCATEGORIZED, "r", "d")),
        UpgradeRequest(OTHER, 7),
        UpgradeRequest(OTHER, None),
        AdvanceRequest(3, 2, pause_children=True),
    ],
)
def test_every_kind_of_request_is_read_as_it_was_written(opened, author, body):
    one = author.id(1)
    opened.apply(author.create(one))
    opened.commit(Unit([], requests=[Request(one, author.now, body)]))
    assert opened.store.load(one).requests == [Request(one, author.now, body, 1)]


def test_a_snapshot_is_what_is_loaded(opened, author):
    parent = author.id(1)
    opened.apply(author.create(parent, ffqn=author.fiboa), author.append(parent, author.locked()))
    opened.apply(author.call_child(parent, "g:1_1"))
    opened.apply(Unit([], delays=[Delay(parent, "g:1_1", author.now)], requests=[Request(parent, 5, CancelRequest())]))
    opened.apply(author.finish_child(parent, "g:1_1"))
    snapshot = opened.reader.snapshot(parent)
    assert snapshot == opened.store.load(parent)
    assert (len(snapshot.log), len(snapshot.responses), len(snapshot.delays), len(snapshot.requests)) == (5, 1, 1, 1)
    assert opened.reader.snapshot(f"{parent}.g:1_1") == opened.store.load(f"{parent}.g:1_1")


# --- leases ----------------------------------------------------------------------------------------------------------


def test_take_over(opened, author):
    locked, waiting, done, other = (author.id(n) for n in (1, 2, 3, 4))
    for one in (locked, waiting, done, other):
        opened.apply(author.create(one))
    opened.apply(author.append(locked, author.locked()), author.append(other, author.locked()))
    opened.apply(author.append(done, Finished(Ok())))
    delays = [Delay(locked, "g:1_1", author.now + 9), Delay(waiting, "g:1_1", author.now + 8)]
    opened.apply(Unit([], delays=[*delays, Delay(done, "g:1_1", author.now)]))
    heir = "Exr_heir"
    recovered = opened.store.take_over(heir, frozenset({locked, waiting, done, author.id(99)}))
    expected = []
    for one in (locked, waiting, other):
        state = author.states[one].copy()
        state.owner, state.lease_epoch, state.crashes = heir, 1, int(one == locked)
        expected.append(state)
    assert recovered.states == expected
    assert recovered.delays == delays[::-1]
    assert opened.reader.states([locked, waiting, other]) == expected
    assert opened.reader.state(done) == author.states[done]
    # The one before is fenced out, the heir is not.
    assert opened.commit(author.append(locked, JoinSetCreated("g:1"))) == [Refused(RefusedBy.LEASE, locked)]
    author.states = {state.execution_id: state for state in recovered.states}
    opened.apply(author.append(locked, JoinSetCreated("g:1")))
    assert opened.store.load(locked).state.crashes == 0
    again = opened.store.take_over("Exr_third", frozenset())
    assert [state.lease_epoch for state in again.states] == [2, 2, 2]


def leased(author, opened, number, *, owner, expires_at, pending_at=0):
    author.owner = owner
    unit = author.create(author.id(number), scheduled_at=author.now + pending_at)
    unit.states[0].lease_expires_at = author.states[author.id(number)].lease_expires_at = expires_at
    opened.apply(unit)
    return author.id(number)


def test_claim_takes_what_is_free_or_expired_the_longest_due_first(opened, author):
    now = author.now
    free = leased(author, opened, 1, owner=None, expires_at=None, pending_at=30)
    expired = leased(author, opened, 2, owner="Exr_a", expires_at=now, pending_at=10)
    leased(author, opened, 3, owner="Exr_a", expires_at=now + 1)
    leased(author, opened, 4, owner="Exr_a", expires_at=None)
    tie = leased(author, opened, 5, owner=None, expires_at=None, pending_at=10)
    opened.apply(Unit([], delays=[Delay(one, "g:1_1", now + 1) for one in (author.id(3), free, tie, expired)]))
    done = leased(author, opened, 6, owner=None, expires_at=None)
    opened.apply(author.append(done, Finished(Ok())))
    first = opened.store.claim("Exr_b", now, now + 100, 2)
    assert [state.execution_id for state in first.states] == [expired, tie]
    assert [(state.owner, state.lease_epoch, state.lease_expires_at) for state in first.states] == [
        ("Exr_b", 1, now + 100)
    ] * 2
    assert [delay.execution_id for delay in first.delays] == [expired, tie]
    assert opened.reader.states([expired, tie]) == first.states
    second = opened.store.claim("Exr_b", now, now + 100, 9)
    assert [state.execution_id for state in second.states] == [free]
    assert opened.store.claim("Exr_b", now, now + 100, 9).states == []


def test_only_renewal_moves_the_expiry_of_a_lease(opened, author):
    now = author.now
    one = leased(author, opened, 1, owner="Exr_a", expires_at=now + 10)
    other = leased(author, opened, 2, owner="Exr_b", expires_at=now + 10)
    forever = leased(author, opened, 3, owner="Exr_a", expires_at=None)
    opened.store.renew("Exr_a", now + 50)
    opened.store.renew("Exr_a", now + 40)
    assert [state.lease_expires_at for state in opened.reader.states([one, other, forever])] == [
        now + 50,
        now + 10,
        None,
    ]
    author.owner = "Exr_a"
    opened.apply(author.append(one, author.locked()))  # by a holder that does not know of the renewal
    assert opened.reader.state(one).lease_expires_at == now + 50
    state = author.states[one]
    state.owner, state.lease_expires_at = None, None
    opened.apply(Unit([author.expect(one)], states=[state.copy()]))
    assert opened.reader.state(one) == state


def test_news(opened, author):
    answered, asked, quiet, foreign = (author.id(n) for n in (1, 2, 3, 4))
    for one in (quiet, answered, asked):
        opened.apply(author.create(one))
    author.owner = "Exr_other"
    opened.apply(author.create(foreign))
    assert opened.store.news(author.engine) == []
    (applied,) = opened.commit(Unit([], requests=[Request(one, 5, CancelRequest()) for one in (asked, foreign)]))
    opened.apply(post(author, answered, "g:1_1"))
    assert opened.store.news(author.engine) == [answered, asked]
    assert opened.store.news("Exr_other") == [foreign]
    assert opened.store.news("Exr_nobody") == []
    state = opened.reader.state(answered)
    state.responses_known = 1
    done = Unit([Expect(answered, 1, 0, 1)], states=[state], requests_done=list(applied.request_ids))
    opened.apply(done)
    assert opened.store.news(author.engine) == []


def test_a_deployment_keeps_its_first_id(opened, author):
    store = opened.store
    assert store.deployment(author.activity, author.now, "Dep_1") == "Dep_1"
    assert store.deployment(author.activity, author.now + 1, "Dep_2") == "Dep_1"
    assert store.deployment(author.workflow, author.now + 1, "Dep_3") == "Dep_3"


# --- lists -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def populated(opened, author):
    """Six roots, three of them created at one instant; the second has a tree. Returns ids, oldest first."""
    roots = [author.id(n) for n in (5, 1, 3, 2, 4, 6)]
    for position, root in enumerate(roots):
        author.now = author.start + (10 if position in {1, 2, 3} else 20 * position)
        opened.apply(author.create(root, ffqn=author.fiboa, component=author.workflow))
    author.now = author.start + 15
    opened.apply(author.append(roots[1], author.locked()))
    opened.apply(author.call_child(roots[1], "g:1_1"))
    child = f"{roots[1]}.g:1_1"
    opened.apply(author.call_child(child, "g:1_10"), author.create(f"{child}.g:1_1", deployment="Dep_2"))
    return [roots[0], author.id(1), author.id(2), author.id(3), roots[4], roots[5]]


def listed(opened, page=None, now=None, **where):
    found = opened.reader.executions(ExecutionFilter(**where), page or Page(), now or 1_763_854_000_000_050)
    return [state.execution_id for state in found]


def test_lists_are_newest_first_with_ties_by_id(opened, populated, author):
    assert listed(opened) == populated[::-1]
    states = opened.reader.executions(ExecutionFilter(), Page(), author.now)
    assert states == [author.states[one] for one in populated[::-1]]


@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize("length", [1, 2, 4, 10])
def test_pages_cover_the_list_in_both_directions(opened, populated, newer, length):
    seen, cursor = [], None
    for _ in range(7):
        page = listed(opened, Page(length=length, cursor=cursor, newer=newer))
        if not page:
            break
        assert len(page) <= length
        seen = page + seen if newer else seen + page
        cursor = page[0] if newer else page[-1]
    assert seen == populated[::-1]


def test_cursors(opened, populated, author):
    a, b, c, d, e, f = populated
    tie = author.start + 10
    assert listed(opened, Page(cursor=c)) == [b, a]
    assert listed(opened, Page(cursor=c, including_cursor=True)) == [c, b, a]
    assert listed(opened, Page(cursor=c, newer=True)) == [f, e, d]
    assert listed(opened, Page(cursor=c, newer=True, including_cursor=True)) == [f, e, d, c]
    assert listed(opened, Page(length=2, cursor=c, newer=True)) == [e, d]
    assert listed(opened, Page(cursor=(tie, None))) == [a]
    assert listed(opened, Page(cursor=(tie, None), including_cursor=True)) == [d, c, b, a]
    assert listed(opened, Page(cursor=(tie, None), newer=True)) == [f, e]
    assert listed(opened, Page(cursor=(tie, None), newer=True, including_cursor=True)) == [f, e, d, c, b]
    assert listed(opened, Page(cursor=(tie, c))) == [b, a]
    assert listed(opened, Page(cursor=(tie + 1, c))) == [d, c, b, a]
    assert listed(opened, Page(cursor=(tie, author.id(0)), newer=True, including_cursor=True)) == [f, e, d, c, b]
    assert listed(opened, Page(length=2, newer=True)) == [b, a]
    assert listed(opened, Page(length=0)) == []
    assert listed(opened, Page(cursor=author.id(77))) == []
    assert listed(opened, Page(cursor=f"{b}.g:1_1")) == [d, c, b, a], "a cursor need not be in the list"


def test_filters(opened, populated, author):
    _, b, *_ = populated
    child, young, old = f"{b}.g:1_1", f"{b}.g:1_1.g:1_1", f"{b}.g:1_1.g:1_10"
    tree = [old, young, child, b]
    everything = [*populated[:3:-1], *tree[:3], *populated[3::-1]]
    assert listed(opened, top_level_only=False) == everything
    assert listed(opened, top_level_only=False, root=b) == tree
    assert listed(opened, root=b) == [b]
    assert listed(opened, top_level_only=False, root=child) == [old, young, child]
    assert listed(opened, top_level_only=False, root=young) == [young]
    assert listed(opened, top_level_only=False, root=author.id(77)) == []
    assert listed(opened, top_level_only=False, root=f"{b}.g:1_7") == []
    assert listed(opened, id_prefix="E_") == populated[::-1]
    assert listed(opened, id_prefix="") == populated[::-1]
    assert listed(opened, id_prefix="e_") == []
    assert listed(opened, id_prefix=b) == [b]
    assert listed(opened, id_prefix=b[:-1]) == populated[::-1]
    assert listed(opened, top_level_only=False, id_prefix=b[:-1]) == everything
    assert listed(opened, top_level_only=False, id_prefix=b) == tree
    assert listed(opened, top_level_only=False, id_prefix=f"{b}.g:1_1.") == [old, young]
    assert listed(opened, top_level_only=False, id_prefix="%") == []
    assert listed(opened, top_level_only=False, ffqn=author.fibo) == [old, young, child]
    assert listed(opened, ffqn=author.fibo) == []
    assert listed(opened, top_level_only=False, ffqn_prefix="template-fibo:w") == populated[::-1]
    assert listed(opened, top_level_only=False, ffqn_prefix="template-fibo:activity/fibo-activity-ifc.") == tree[:3]
    assert listed(opened, ffqn_prefix="template_fibo") == []
    assert listed(opened, top_level_only=False, components=(author.activity,)) == [old, young, child]
    both = (author.activity, author.workflow)
    assert listed(opened, top_level_only=False, components=both) == everything
    assert listed(opened, top_level_only=False, components=("sha256:" + "00" * 32,)) == []
    assert listed(opened, top_level_only=False, deployment="Dep_2") == [young]
    assert listed(opened, top_level_only=False, deployment="Dep_3") == []
    assert listed(opened, Page(length=2, cursor=young), top_level_only=False, root=b) == [child, b]


def test_filters_by_state(opened, author):
    states_are = StateFilter
    names = {}

    def add(name, status, *, lifecycle=Lifecycle.ACTIVE, pending_at=0, kind=None):
        one = author.id(len(names) + 1)
        names[one] = name
        opened.apply(author.create(one))
        state = author.states[one]
        state.status, state.lifecycle, state.pending_at = status, lifecycle, author.now + pending_at
        state.finish_kind, state.finished_at = kind, None if kind is None else author.now
        opened.apply(Unit([author.expect(one)], states=[state.copy()]))

    add("due", Status.PENDING)
    add("later", Status.PENDING, pending_at=1)
    add("locked", Status.LOCKED)
    add("blocked", Status.BLOCKED)
    add("paused", Status.PENDING, lifecycle=Lifecycle.PAUSED)
    add("cancelling", Status.LOCKED, lifecycle=Lifecycle.CANCELLING)
    add("parked", Status.BLOCKED, lifecycle=Lifecycle.PARKED)
    add("ok", Status.FINISHED, kind="ok")
    add("err", Status.FINISHED, kind="err")
    add("failed", Status.FINISHED, kind="timed_out")

    def shown(*states, later=0, **where):
        found = listed(opened, now=author.now + later, states=states, **where)
        return {names[one] for one in found}

    assert shown(states_are.PENDING) == {"due"}
    assert shown(states_are.PENDING, later=1) == {"due", "later"}
    assert shown(states_are.SCHEDULED) == {"later"}
    assert shown(states_are.SCHEDULED, later=1) == set()
    assert shown(states_are.LOCKED) == {"locked"}
    assert shown(states_are.BLOCKED) == {"blocked"}
    assert shown(states_are.PAUSED) == {"paused"}
    assert shown(states_are.CANCELLING) == {"cancelling"}
    assert shown(states_are.PARKED) == {"parked"}
    assert shown(states_are.FINISHED) == {"ok", "err", "failed"}
    assert shown(states_are.FINISHED_OK) == {"ok"}
    assert shown(states_are.FINISHED_ERR) == {"err"}
    assert shown(states_are.FINISHED_FAILURE) == {"failed"}
    assert shown(states_are.LOCKED, states_are.FINISHED_ERR, states_are.PAUSED) == {"locked", "err", "paused"}
    assert shown(hide_finished=True) == set(names.values()) - {"ok", "err", "failed"}
    assert shown(states_are.FINISHED, hide_finished=True) == set()


# --- backtraces ------------------------------------------------------------------------------------------------------

FRAMES = (
    Frame("<unknown>", "fiboa", (Symbol("fibo", "workflow.h", 784, 3), Symbol("fiboa", "fiboa.c", 10))),
    Frame("naïve.wasm", 'ma"in'),
)


def test_backtraces_are_found_by_any_event_of_their_call(opened, author):
    one, other = author.id(1), author.id(2)
    opened.apply(author.create(one))
    opened.apply(author.create(other))
    early, late = Backtrace(2, 5, OTHER, FRAMES), Backtrace(7, 8, author.workflow, FRAMES)
    opened.store.keep_backtraces(one, [late])
    opened.store.keep_backtraces(one, [early])
    opened.store.keep_backtraces(other, [Backtrace(3, 4, OTHER, ())])
    found = [opened.reader.backtrace(one, version) for version in range(9)]
    assert found == [None, None, early, early, early, None, None, late, None]
    assert opened.reader.backtrace(other, 3) == Backtrace(3, 4, OTHER, ())
    opened.store.keep_backtraces(author.id(3), [early])
    assert opened.reader.backtrace(author.id(3), 3) is None


def test_which_events_have_backtraces(opened, author):
    one, other = author.id(1), author.id(2)
    for each in (one, other):
        opened.apply(author.create(each))
    for first, end in ((7, 8), (2, 5)):
        opened.store.keep_backtraces(one, [Backtrace(first, end, OTHER, FRAMES)])
    opened.store.keep_backtraces(other, [Backtrace(3, 4, OTHER, ())])
    assert opened.reader.backtraces(one, 0, 100) == [(2, 5), (7, 8)]
    assert opened.reader.backtraces(one, 4, 7) == [(2, 5)]
    assert opened.reader.backtraces(one, 5, 8) == [(7, 8)]
    assert opened.reader.backtraces(one, 5, 7) == opened.reader.backtraces(one, 0, 2) == []
    assert opened.reader.backtraces(author.id(3), 0, 100) == []


def test_a_call_that_left_more_events_since_has_one_backtrace(opened, author):
    one = author.id(1)
    opened.apply(author.create(one))
    opened.store.keep_backtraces(one, [Backtrace(2, 3, OTHER, FRAMES)])
    longer = Backtrace(2, 6, OTHER, FRAMES[1:])
    opened.store.keep_backtraces(one, [longer])
    assert [opened.reader.backtrace(one, version) for version in (2, 5, 6)] == [longer, longer, None]


def test_commits_go_on_around_a_backtrace(opened, author):
    one = author.id(1)
    opened.apply(author.create(one))
    opened.store.keep_backtraces(one, [Backtrace(1, 2, Digest("sha256:" + "77" * 32), FRAMES)])
    opened.apply(author.append(one, author.locked()))
    assert opened.reader.state(one) == author.states[one]
    assert opened.reader.backtrace(one, 1).component == "sha256:" + "77" * 32
