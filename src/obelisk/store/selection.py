"""Selection: which executions a list shows, in plain Python.

Decides what the filters and pages of `core/reading.py` mean. The memory store lists with it; the conformance suite holds
the SQL of the other stores to it. Must not read anything but its arguments.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from obelisk.core.ids import ExecutionId, is_top_level
from obelisk.core.instants import Instant
from obelisk.core.lines import LineFilter, LinePage, StoredLogLine
from obelisk.core.reading import ExecutionFilter, Page, StateFilter
from obelisk.core.state import ExecutionState, Lifecycle, Status

_LAST_ID = ExecutionId("\U0010ffff")
"""Sorts after every id."""


def matches(state: ExecutionState, where: ExecutionFilter, now: Instant) -> bool:
    """Whether `state` is in the list that `where` asks for at `now`."""
    execution_id = state.execution_id
    return not (
        (where.top_level_only and not is_top_level(execution_id))
        or (where.root is not None and execution_id != where.root and not execution_id.startswith(f"{where.root}."))
        or (where.id_prefix is not None and not execution_id.startswith(where.id_prefix))
        or (where.ffqn_prefix is not None and not state.ffqn.startswith(where.ffqn_prefix))
        or (where.ffqn is not None and state.ffqn != where.ffqn)
        or (where.hide_finished and state.status is Status.FINISHED)
        or (where.components and state.component not in where.components)
        or (where.deployment is not None and state.deployment != where.deployment)
        or (where.states and not classify(state, now).intersection(where.states))
    )


def classify(state: ExecutionState, now: Instant) -> set[StateFilter]:
    """The filters that `state` passes at `now`. One that may not go on (paused, cancelling, parked) is shown as that."""
    if state.status is Status.FINISHED:
        kind = {"ok": StateFilter.FINISHED_OK, "err": StateFilter.FINISHED_ERR}.get(state.finish_kind or "")
        return {StateFilter.FINISHED, kind or StateFilter.FINISHED_FAILURE}
    if state.lifecycle is not Lifecycle.ACTIVE:
        return {StateFilter(state.lifecycle.value)}
    if state.status is Status.PENDING and state.pending_at > now:
        return {StateFilter.SCHEDULED}
    return {StateFilter(state.status.value)}


class Place(msgspec.Struct, frozen=True):
    """A place in the order (created_at, id), from which a page goes on."""

    at: Instant
    execution_id: ExecutionId
    inclusive: bool
    """Whether an execution at exactly this place belongs to the page."""


def place_of(page: Page, created_at_of: Callable[[ExecutionId], Instant | None]) -> Place | None:
    """Where `page`, which has a cursor, goes on; None when its cursor names an execution that does not exist.

    An instant without an id stands for all executions that were created at it.
    """
    cursor = page.cursor
    if cursor is None:
        return None
    if isinstance(cursor, str):
        at = created_at_of(cursor)
        return None if at is None else Place(at, cursor, page.including_cursor)
    at, execution_id = cursor
    if execution_id is not None:
        return Place(at, execution_id, page.including_cursor)
    before_all = page.including_cursor is page.newer
    return Place(at, ExecutionId("") if before_all else _LAST_ID, inclusive=False)


def page_of(
    states: list[ExecutionState], page: Page, created_at_of: Callable[[ExecutionId], Instant | None]
) -> list[ExecutionState]:
    """The page of `states`, newest first. A cursor that names an execution that does not exist gives an empty page."""
    found = sorted(states, key=_position, reverse=True)
    if page.cursor is not None:
        place = place_of(page, created_at_of)
        if place is None:
            return []
        found = [state for state in found if _beyond(state, place, newer=page.newer)]
    length = max(page.length, 0)
    return found[max(len(found) - length, 0) :] if page.newer else found[:length]


def wants(line: StoredLogLine, where: LineFilter) -> bool:
    """Whether `line` is among those that `where` asks for."""
    is_of = line.execution_id == where.execution_id or (
        where.derived and line.execution_id.startswith(f"{where.execution_id}.")
    )
    return is_of and where.takes(line.line) and (where.after is None or line.created_at > where.after)


def is_beyond(line: StoredLogLine, page: LinePage) -> bool:
    """Whether `line` is on the side of the page's cursor that the page is on."""
    if page.cursor is None:
        return True
    return line.cursor < page.cursor if page.older else line.cursor > page.cursor


def _beyond(state: ExecutionState, place: Place, *, newer: bool) -> bool:
    here, there = _position(state), (place.at, place.execution_id)
    return (here == there and place.inclusive) or (here > there if newer else here < there)


def _position(state: ExecutionState) -> tuple[Instant, ExecutionId]:
    return state.created_at, state.execution_id
