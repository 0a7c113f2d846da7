"""Fences: whether a unit of a batch may be applied.

Decides what every store answers to a unit, from the unit, the outcomes before it and the heads of the executions that it
touches; so that all stores refuse the same units for the same reason. Must not write, and knows no store.

Two kinds of no: a unit that lost a race is **refused** (`Refused`, an everyday outcome), a unit that makes no sense is
**malformed** (`MalformedUnit`, a bug of the engine; the whole batch is then left alone).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from obelisk.core.batch import Delay, Refused, RefusedBy, Request, Unit, UnitOutcome
from obelisk.core.ids import ExecutionId, absolute, join_set_of, root_of
from obelisk.core.responses import ChildFinished


class MalformedUnit(ValueError):
    """The engine built a unit that contradicts itself: a bug. Nothing of its batch was written."""


class Head(Protocol):
    """What a fence compares: where an execution stands. A state row is one."""

    @property
    def next_version(self) -> int: ...  # noqa: D102
    @property
    def response_count(self) -> int: ...  # noqa: D102
    @property
    def lease_epoch(self) -> int: ...  # noqa: D102


def check_form(index: int, unit: Unit) -> None:
    """`MalformedUnit` unless `unit`, the `index`-th of its batch, is consistent in itself.

    Events of an execution have the versions from the expected one on, without a gap, and come with the state row that
    was derived from them; whoever writes a state row says what it expects.
    """
    versions = {expect.execution_id: expect.next_version for expect in unit.expects}
    if len(versions) != len(unit.expects):
        raise MalformedUnit(f"unit {index} expects two things of one execution")
    for new in unit.events:
        if versions.get(new.execution_id) != new.version:
            raise MalformedUnit(
                f"unit {index} appends version {new.version} to {new.execution_id}, but expects"
                f" {versions.get(new.execution_id, 'nothing')}"
            )
        versions[new.execution_id] = new.version + 1
    for state in unit.states:
        if versions.pop(state.execution_id, None) != state.next_version:
            raise MalformedUnit(
                f"unit {index} has a state row of {state.execution_id} that is given twice, is not expected, or does not"
                f" follow from its events (next version {state.next_version})"
            )
    if versions:  # without a state row
        for expect in unit.expects:
            if versions.get(expect.execution_id, expect.next_version) != expect.next_version:
                raise MalformedUnit(f"unit {index} appends to {expect.execution_id} without its state row")
    for post in unit.responses:
        body = post.response.body
        if post.response.join_set != join_set_of(body.child if isinstance(body, ChildFinished) else body.delay):
            raise MalformedUnit(f"unit {index} answers a join set of {post.execution_id} that {body} is not in")
    for request in unit.requests:
        if request.id:
            raise MalformedUnit(f"unit {index} numbers a request itself; the store does")
    for other in unit.after:
        if not 0 <= other < index:
            raise MalformedUnit(f"unit {index} depends on {unit.after}; only lower indexes are possible")


def refusal(
    unit: Unit,
    before: Sequence[UnitOutcome],
    head_of: Callable[[ExecutionId], Head | None],
    exists: Callable[[ExecutionId], bool],
) -> Refused | None:
    """Why `unit` is refused, None when it is applied.

    `before`: outcomes of the units before it. `head_of`: heads as those left them. `exists`: whether there is one of an execution
    that is to be created. A lost lease is named before a version that differs, because it is the cause.
    """
    for index in unit.after:
        if isinstance(before[index], Refused):
            return Refused(RefusedBy.DEPENDENCY)
    born: set[ExecutionId] = set()
    for expect in unit.expects:
        if expect.next_version == 0:
            if exists(expect.execution_id):
                return Refused(RefusedBy.EXISTS, expect.execution_id)
            born.add(expect.execution_id)
            continue
        head = head_of(expect.execution_id)
        if head is None:
            return Refused(RefusedBy.MISSING, expect.execution_id)
        if head.lease_epoch != expect.lease_epoch:
            return Refused(RefusedBy.LEASE, expect.execution_id)
        if head.next_version != expect.next_version:
            return Refused(RefusedBy.VERSION, expect.execution_id)
        if expect.response_count is not None and head.response_count != expect.response_count:
            return Refused(RefusedBy.RESPONSES, expect.execution_id)
    if unit.responses:
        refused = _response_refusal(unit, born, head_of)
        if refused is not None:
            return refused
    if unit.delays or unit.requests:
        rows: list[Delay | Request] = [*unit.delays, *unit.requests]
        for row in rows:
            if row.execution_id not in born and head_of(row.execution_id) is None:
                return Refused(RefusedBy.MISSING, row.execution_id)
    for execution_id in born:
        root = root_of(execution_id)
        if root not in born and head_of(root) is None:
            return Refused(RefusedBy.MISSING, root)
    return None


def _response_refusal(
    unit: Unit, born: set[ExecutionId], head_of: Callable[[ExecutionId], Head | None]
) -> Refused | None:
    counts: dict[ExecutionId, int] = {}
    for new in unit.responses:
        execution_id, response = new.execution_id, new.response
        head, body = head_of(execution_id), response.body
        if head is None and execution_id not in born:
            return Refused(RefusedBy.MISSING, execution_id)
        if isinstance(body, ChildFinished):
            child = absolute(execution_id, body.child)
            if child not in born and head_of(child) is None:
                return Refused(RefusedBy.MISSING, child)
        count = counts.get(execution_id, 0 if head is None else head.response_count) + 1
        if response.seq not in (0, count):
            return Refused(RefusedBy.RESPONSES, execution_id)
        counts[execution_id] = count
    return None
