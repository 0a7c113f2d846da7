"""The transition table, exhaustively; and the picture of it in the documentation."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

import pytest

from obelisk.core import transitions
from obelisk.core.events import (
    CancellationRequested,
    ChildRejected,
    ChildRequested,
    ComponentUpgraded,
    Created,
    DelayRequested,
    Event,
    Finished,
    JoinNext,
    JoinNextTooMany,
    JoinNextTry,
    JoinSetCreated,
    Locked,
    Parked,
    Paused,
    Persist,
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
    kind_of,
)
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Instant, Now
from obelisk.core.state import ExecutionState, Lifecycle, Status
from obelisk.core.transitions import ANSWERED, RESPONSE, TRANSITIONS, IllegalTransition
from obelisk.core.values import Err, Failure, FailureKind, Json, Ok

ROOT = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYZ")
CREATED = Created("a:b/c.d", Json(b"[]"), "sha256:" + "0" * 64, "Dep_1", Instant(5))
EVENTS: list[Event] = [
    CREATED,
    Locked("Exr_1", "Run_1", Instant(50)),
    Unlocked(Instant(60), "stop"),
    TemporarilyFailed(Instant(60), "trap"),
    TemporarilyTimedOut(Instant(60)),
    Finished(Ok()),
    Parked("because"),
    Resumed(),
    Persist(PersistRandomU64(0, 1), Json(b"1")),
    JoinSetCreated("g:1"),
    ChildRequested("g:1_1", "a:b/c.d", Json(b"[]")),
    DelayRequested("g:1_1", Now(), Instant(5)),
    JoinNext("g:1", Instant(50)),
    JoinNextTooMany("g:1"),
    ChildRejected("g:1_1", "a:b/c.d", Json(b"[]"), RejectReason.FUNCTION_NOT_FOUND),
    JoinNextTry("g:1", TryOutcome.PENDING),
    Scheduled(ROOT, "a:b/c.d", Json(b"[]"), Now(), Instant(5)),
    ScheduleRejected(ROOT, "a:b/c.d", Json(b"[]"), Now(), RejectReason.FUNCTION_NOT_FOUND),
    Stubbed("g:1_1", "sha256:00", StubResult.OK),
    Paused(),
    Unpaused(),
    CancellationRequested(),
    ComponentUpgraded("sha256:" + "1" * 64, "Dep_2"),
]
CASES = list(product(Status, Lifecycle, [(event, False) for event in EVENTS] + [(JoinNext("g:1", Instant(50)), True)]))


def state_in(status: Status, lifecycle: Lifecycle) -> ExecutionState:
    state = transitions.create(ROOT, CREATED, Instant(5), None)
    state.status, state.lifecycle = status, lifecycle
    state.blocked_on = "g:1" if status is Status.BLOCKED else None
    return state


@pytest.mark.parametrize(("status", "lifecycle", "case"), CASES)
def test_every_event_in_every_state_is_in_the_table_or_illegal(
    status: Status, lifecycle: Lifecycle, case: tuple[Event, bool]
) -> None:
    event, answered = case
    state = state_in(status, lifecycle)
    target = TRANSITIONS.get((status, lifecycle, ANSWERED if answered else kind_of(event)))
    if target is None:
        before = state.copy()
        with pytest.raises(IllegalTransition) as caught:
            transitions.append(state, event, Instant(10), answered=answered)
        assert str(caught.value) == f"{kind_of(event)} is not allowed for {ROOT}, which is {status} and {lifecycle}"
        assert state == before
    else:
        assert transitions.append(state, event, Instant(10), answered=answered) == 1
        assert (state.status, state.lifecycle) == target
        assert (state.next_version, state.updated_at) == (2, 10)


def test_the_table_speaks_of_known_events_only_and_nothing_follows_finished() -> None:
    known = {kind_of(event) for event in EVENTS} | {RESPONSE, ANSWERED}
    assert {event for _, _, event in TRANSITIONS} <= known
    assert not [key for key in TRANSITIONS if key[0] is Status.FINISHED]


def test_what_is_not_active_is_never_locked_by_a_run() -> None:
    for (before, lifecycle, event), (status, _) in TRANSITIONS.items():
        if lifecycle is not Lifecycle.ACTIVE:
            assert event != "locked"
            assert status is not Status.LOCKED or before is Status.LOCKED


def test_what_is_parked_does_nothing() -> None:
    events = {event for _, lifecycle, event in TRANSITIONS if lifecycle is Lifecycle.PARKED}
    assert events == {"resumed", "component_upgrade_finished", "cancellation_requested", RESPONSE}


def test_whatever_has_not_finished_can_be_cancelled_once() -> None:
    for status, lifecycle in {(status, lifecycle) for status, lifecycle, _ in TRANSITIONS}:
        cancelled = TRANSITIONS.get((status, lifecycle, "cancellation_requested"))
        assert cancelled == (None if lifecycle is Lifecycle.CANCELLING else (status, Lifecycle.CANCELLING))


def test_an_upgrade_changes_the_component() -> None:
    state = state_in(Status.PENDING, Lifecycle.PARKED)
    transitions.append(state, ComponentUpgraded("sha256:" + "1" * 64, "Dep_2"), Instant(10))
    assert (state.component, state.deployment) == ("sha256:" + "1" * 64, "Dep_2")


def test_creating() -> None:
    state = transitions.create(ROOT, CREATED, Instant(3), "Exr_1")
    assert (state.status, state.lifecycle, state.next_version) == (Status.PENDING, Lifecycle.ACTIVE, 1)
    assert (state.created_at, state.first_scheduled_at, state.pending_at) == (3, 5, 5)
    assert (state.owner, state.lease_epoch, state.response_count, state.crashes) == ("Exr_1", 0, 0, 0)


def test_a_response_wakes_a_run_whose_lock_stands() -> None:
    state = state_in(Status.LOCKED, Lifecycle.ACTIVE)
    state.lock_expires_at = Instant(50)
    transitions.append(state, JoinNext("g:1", Instant(50), closing=True), Instant(10))
    assert (state.status, state.blocked_on, state.closing) == (Status.BLOCKED, "g:1", True)
    assert transitions.respond(state, "g:2", Instant(20)) == 1
    assert state.status is Status.BLOCKED
    assert transitions.respond(state, "g:1", Instant(49)) == 2
    assert (state.status, state.blocked_on, state.closing) == (Status.LOCKED, None, False)
    assert (state.response_count, state.responses_known) == (2, 2)


def test_a_response_after_the_lock_leaves_it_pending() -> None:
    state = state_in(Status.LOCKED, Lifecycle.ACTIVE)
    state.lock_expires_at = Instant(50)
    transitions.append(state, JoinNext("g:1", Instant(50)), Instant(10))
    transitions.respond(state, "g:1", Instant(50))
    assert (state.status, state.pending_at) == (Status.PENDING, 50)


def test_a_run_that_may_not_stay_hot_has_no_lock_to_wake_up_with() -> None:
    state = state_in(Status.LOCKED, Lifecycle.ACTIVE)
    state.lock_expires_at = Instant(50)
    transitions.append(state, JoinNext("g:1", run_expires_at=Instant(10)), Instant(10))
    transitions.respond(state, "g:1", Instant(11))
    assert state.status is Status.PENDING


def test_a_response_for_a_parked_execution_is_kept_and_wakes_nobody() -> None:
    state = state_in(Status.BLOCKED, Lifecycle.PARKED)
    transitions.respond(state, "g:1", Instant(10))
    assert (state.status, state.lifecycle) == (Status.PENDING, Lifecycle.PARKED)


def test_what_was_parked_while_it_was_blocked_is_blocked_again_and_wakes_by_its_response() -> None:
    state = state_in(Status.BLOCKED, Lifecycle.PARKED)
    transitions.append(state, Resumed(), Instant(10))
    assert (state.status, state.lifecycle, state.blocked_on) == (Status.BLOCKED, Lifecycle.ACTIVE, "g:1")
    transitions.respond(state, "g:1", Instant(11))
    assert state.status is Status.PENDING


def test_failures_are_counted_and_progress_resets_crashes() -> None:
    state = state_in(Status.LOCKED, Lifecycle.ACTIVE)
    state.crashes = 2
    transitions.append(state, TemporarilyFailed(Instant(60), "trap"), Instant(10))
    assert (state.failures, state.crashes, state.pending_at) == (1, 0, 60)
    state.crashes = 2
    transitions.append(state, Locked("Exr_1", "Run_2", Instant(70)), Instant(60))
    assert (state.failures, state.crashes, state.run, state.lock_expires_at) == (1, 2, "Run_2", 70)


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Ok(), "ok"),
        (Err(), "err"),
        (Failure(FailureKind.CANCELLED), "cancelled"),
        (Failure(FailureKind.TIMED_OUT), "timed_out"),
    ],
)
def test_finishing_says_how_and_frees_the_lease(outcome: Ok | Err | Failure, kind: str) -> None:
    state = state_in(Status.LOCKED, Lifecycle.ACTIVE)
    state.owner, state.lease_expires_at = "Exr_1", Instant(99)
    transitions.append(state, Finished(outcome), Instant(10))
    assert (state.finish_kind, state.finished_at) == (kind, 10)
    assert (state.owner, state.lease_expires_at, state.blocked_on) == (None, None, None)


def test_a_copy_is_a_copy() -> None:
    state = state_in(Status.PENDING, Lifecycle.ACTIVE)
    copy = state.copy()
    transitions.append(state, Locked("Exr_1", "Run_1", Instant(50)), Instant(10))
    assert copy == state_in(Status.PENDING, Lifecycle.ACTIVE)


# --- the picture -----------------------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[2] / "docs" / "internals" / "states.md"
HEAD = """\
# States of an execution

Drawn from `TRANSITIONS` in `src/obelisk/core/transitions.py` by `tests/core/test_transitions.py`, which fails when this
page does not show that table; run it with `OBELISK_WRITE_DOCS=1` to write the page anew. The essay above the table says
what the states mean. `<response>` is the arrival of the response that a blocked execution awaits, `<answered>` a
`join_next` whose response is already there. What is not shown is illegal.
"""


def name_of(status: Status, lifecycle: Lifecycle) -> str:
    return str(status) if lifecycle is Lifecycle.ACTIVE or status is Status.FINISHED else f"{status}, {lifecycle}"


def page() -> str:
    rows: dict[tuple[str, str], list[str]] = {}
    for (status, lifecycle, event), target in TRANSITIONS.items():
        rows.setdefault((name_of(status, lifecycle), name_of(*target)), []).append(f"`{event}`")
    names = sorted({name for row in rows for name in row}, key=[name_of(s, c) for c in Lifecycle for s in Status].index)
    lines = [HEAD, "```text"]
    for name in names:
        lines.append(name)
        for (source, target), events in rows.items():
            if source == name:
                lines.append(f"  ── {', '.join(events).replace('`', '')} ──▶ {target}")
    lines += ["```", "", "| from | event | to |", "|---|---|---|"]
    lines += [f"| {source} | {', '.join(events)} | {target} |" for (source, target), events in rows.items()]
    return "\n".join(lines) + "\n"


def test_the_documentation_shows_the_table() -> None:
    if os.environ.get("OBELISK_WRITE_DOCS"):
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page()
