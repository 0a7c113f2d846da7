"""Who closes and cancels does it as promised, and who does not is noticed."""

from __future__ import annotations

import msgspec
import pytest

from obelisk.core import events
from obelisk.core.batch import CancelRequest, UpgradeRequest
from obelisk.core.ids import Digest, ExecutionId, JoinSetId
from obelisk.core.machine import Machine
from obelisk.core.policy import ExecutionPolicy, Limits
from obelisk.core.ports import Guest
from obelisk.core.values import CANCELLED, Json, Ok
from obelisk.testing import invariants
from obelisk.testing.clients import operation
from obelisk.testing.deployment import COMPONENT
from obelisk.testing.invariants import Violation
from obelisk.testing.node import MS
from obelisk.testing.programs import (
    RUN,
    SHORTER,
    STEADY,
    Callee,
    Create,
    Draw,
    JoinNext,
    Program,
    Programs,
    Sleep,
    Submit,
    SubmitDelay,
)
from obelisk.testing.world import Setting, World, outcomes_of

ROOT = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYZ")
STEADILY = Callee(STEADY)
TWO_SETS = (Create(0), Submit(0, STEADILY), SubmitDelay(0, 60_000 * MS), Create(1), Submit(1, STEADILY))


def world_of(*statements: object, nodes: int = 1, callees: tuple[Program, ...] = ()) -> World:
    """A world of one program, which may call others by their index."""
    programs = [*callees, Program(statements, sensitive=True)]
    return World(0, Programs(programs, [(ROOT, len(callees), 0)], ExecutionPolicy()), Setting(nodes, Limits()))


def test_what_is_left_open_is_cancelled() -> None:
    world = world_of(*TWO_SETS)
    world.run()
    assert world.now < 60_000 * MS, "nobody waits for the delay"


@pytest.mark.parametrize("nodes", [1, 2])
def test_what_is_cancelled_takes_its_workflows_with_it(nodes: int) -> None:
    sleeps, calls_it = Program((Sleep(60_000 * MS),)), Program((Create(0), Submit(0, Callee(RUN, 0)), JoinNext(0)))
    both = (Create(0), Submit(0, Callee(RUN, 1)), Submit(0, Callee(RUN, 0)), JoinNext(0))
    world = world_of(*both, nodes=nodes, callees=(sleeps, calls_it))
    world.add_client(operation(ROOT, CancelRequest()), after_us=20 * MS)
    world.run()
    assert len(outcomes_of(world)) == 4
    assert set(outcomes_of(world).values()) == {CANCELLED}
    assert world.now < 60_000 * MS


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        ((Create(0), SubmitDelay(0, 5 * MS)), r"closes g:1, but waits for its delay g:1_1"),
        ((Create(0), Submit(0, STEADILY)), r"closes g:1, but E_\w+\.g:1_1 was not cancelled"),
    ],
)
def test_a_close_that_tells_nobody_is_noticed(
    monkeypatch: pytest.MonkeyPatch, statements: tuple[object, ...], message: str
) -> None:
    monkeypatch.setattr(Machine, "_cancel_members", lambda machine, join: None)
    with pytest.raises(Violation, match=message):
        world_of(*statements).run()


def test_a_cancellation_that_spares_workflows_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "_cancel_members", lambda machine, join: None)
    sleeps = Program((Sleep(60_000 * MS),))
    world = world_of(Create(0), Submit(0, Callee(RUN, 0)), Sleep(100 * MS), callees=(sleeps,))
    world.add_client(operation(ROOT, CancelRequest()), after_us=20 * MS)
    with pytest.raises(Violation, match=r"closes g:1, but E_\w+\.g:1_1 was not cancelled"):
        world.run()


def test_the_order_of_closing_is_looked_at() -> None:
    world = world_of(*TWO_SETS, Sleep(10_000 * MS))
    world.add_client(operation(ROOT, CancelRequest()), after_us=10 * MS)
    world.run()
    snapshot = invariants.snapshot_of(world.store, ROOT)
    closed = [entry.event.join_set for entry in snapshot.log if isinstance(entry.event, events.JoinNext)]
    assert closed[-3:] == ["g:2", "g:1", "g:1"]
    invariants.cancelled_closes_newest_first(snapshot)

    def swapped(entry: events.LogEntry) -> events.LogEntry:
        other = {"g:1": "g:2", "g:2": "g:1"}
        if not isinstance(entry.event, events.JoinNext) or entry.event.join_set not in other:
            return entry
        event = msgspec.structs.replace(entry.event, join_set=JoinSetId(other[entry.event.join_set]))
        return msgspec.structs.replace(entry, event=event)

    damaged = msgspec.structs.replace(snapshot, log=[swapped(entry) for entry in snapshot.log])
    with pytest.raises(Violation, match="not closed newest first"):
        invariants.cancelled_closes_newest_first(damaged)


def test_a_random_value_that_is_not_the_logged_one_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    persist = Machine._persist

    def other(self, kind, draw, now):
        persist(self, kind, draw, now)
        return Json(b"7" if isinstance(draw(), int) else b'"7"')

    monkeypatch.setattr(Machine, "_persist", other)
    with pytest.raises(Violation, match="but was answered otherwise"):
        world_of(Draw(5)).run()
    monkeypatch.undo()
    world = world_of(Draw(5))
    world.run()
    log = invariants.snapshot_of(world.store, ROOT).log
    assert sum(isinstance(entry.event, events.Persist) for entry in log) == 2


def test_a_workflow_that_returns_although_its_log_goes_on_is_parked_until_that_is_mended() -> None:
    world = world_of(Draw(5), Draw(5), Draw(5), Sleep(50 * MS))
    world.add_client(operation(ROOT, UpgradeRequest(SHORTER, None)), after_us=20 * MS)
    world.add_client(operation(ROOT, UpgradeRequest(COMPONENT, None)), after_us=200 * MS)
    world.run()
    snapshot = invariants.snapshot_of(world.store, ROOT)
    (parked,) = [entry for entry in snapshot.log if isinstance(entry.event, events.Parked)]
    assert parked.event.detail.startswith("the log goes on with persist")
    assert isinstance(invariants.outcome_of(snapshot), Ok)
    invariants.needs_its_whole_log(snapshot, guest_of(world, COMPONENT))
    with pytest.raises(Violation, match=r"ends without version \d of its log"):
        invariants.needs_its_whole_log(without_draws(snapshot), guest_of(world_of(), COMPONENT))


def guest_of(world: World, component: Digest) -> Guest:
    return world.subject.deployment().guest(component, RUN, ROOT)


def without_draws(snapshot: invariants.Snapshot) -> invariants.Snapshot:
    """Of a workflow whose only history event is one that it does not cause."""
    created, (drawn, *_), last = snapshot.log[0], [e for e in snapshot.log if e.event.history], snapshot.log[-1]
    return msgspec.structs.replace(snapshot, log=[created, drawn, last])
