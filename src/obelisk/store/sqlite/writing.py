"""Writing: the rows of a batch.

Decides which rows a batch of units leads to, before any is written: units are judged one after another against the heads
of their executions, as the units before left them. Heads of open executions are in memory, exact because one process
owns the file, so a batch is judged without SQL except for executions seen for the first time. Must not begin or commit.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from obelisk.core.batch import Applied, NewResponse, Unit, UnitOutcome
from obelisk.core.events import FORMAT
from obelisk.core.ids import DelayRef, ExecutionId, absolute
from obelisk.core.instants import Instant
from obelisk.core.responses import ChildFinished
from obelisk.core.transitions import ExecutionState, Status
from obelisk.store.fences import check_form, refusal
from obelisk.store.sqlite.connection import Connection
from obelisk.store.sqlite.lines import line_row
from obelisk.store.sqlite.naming import Names, encode
from obelisk.store.sqlite.queries import sql
from obelisk.store.sqlite.rows import place_of_event, request_body_encode

_HEAD: Final = sql("head")
_KEY_LAST: Final = sql("key_last")
_REQUEST_ID_LAST: Final = sql("request_id_last")
_STATE_INSERT: Final = sql("state_insert")
_STATE_UPDATE: Final = sql("state_update")
_STATE_COUNT_RESPONSES: Final = sql("state_count_responses")
_EVENT_APPEND: Final = sql("event_append")
_RESPONSE_APPEND: Final = sql("response_append")
_DELAY_ADD: Final = sql("delay_add")
_DELAY_REMOVE: Final = sql("delay_remove")
_REQUEST_ADD: Final = sql("request_add")
_REQUEST_REMOVE: Final = sql("request_remove")
_REQUESTS_REMOVE: Final = sql("requests_remove")
_REQUESTS_OF: Final = sql("requests_of")
_LINE_ID_LAST: Final = sql("line_id_last")
_LINE_APPEND: Final = sql("line_append")


class Head(msgspec.Struct, gc=False):
    """Where an execution stands, as the fences see it. Replaced, never changed."""

    key: int
    next_version: int
    response_count: int
    lease_epoch: int
    owner: str | None
    lease_expires_at: Instant | None


class Heads:
    """The heads of a database: those of open executions from memory, others from the file."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._open: dict[ExecutionId, Head] = {}
        self.key_last: int = connection.execute(_KEY_LAST).fetchone()[0]
        self.request_id_last: int = connection.execute(_REQUEST_ID_LAST).fetchone()[0]
        self.line_id_last: int = connection.execute(_LINE_ID_LAST).fetchone()[0]
        self.asked: set[int] = {key for (key,) in connection.execute(_REQUESTS_OF).fetchall()}
        """Keys of executions whose inbox may have something in it: the others need not be emptied when they finish."""

    def find(self, execution_id: ExecutionId) -> Head | None:
        """The head of an execution; None when it does not exist."""
        head = self._open.get(execution_id)
        if head is not None:
            return head
        root, dot, path = execution_id.partition(".")
        if not dot:
            return self._select(0, root)
        parent = self._open.get(ExecutionId(root)) or self._select(0, root)
        return None if parent is None else self._select(parent.key, path)

    def _select(self, root: int, path: str) -> Head | None:
        row = self._connection.execute(_HEAD, (root, path)).fetchone()
        return None if row is None else Head(*row)

    def keep(self, execution_id: ExecutionId, head: Head, *, is_open: bool) -> None:
        """Remembers a head that is durable."""
        if is_open:
            self._open[execution_id] = head
        else:
            self._open.pop(execution_id, None)

    def holds(self, execution_id: ExecutionId) -> bool:
        """Whether the head is in memory."""
        return execution_id in self._open

    def forget(self) -> None:
        """Drops what is in memory, after rows were changed without a plan."""
        self._open.clear()


class Plan:
    """What a batch writes. `judge` everything, `write` in a transaction, `settle` once it is durable; or throw it away."""

    def __init__(self, heads: Heads, names: Names) -> None:
        self._heads = heads
        self._names = names
        self._changed: dict[ExecutionId, Head] = {}
        self._key_last = heads.key_last
        self._request_id_last = heads.request_id_last
        self._line_id_last = heads.line_id_last
        self._born: set[ExecutionId] = set()
        self._states: dict[ExecutionId, ExecutionState] = {}
        self._events: list[tuple[Any, ...]] = []
        self._responses: list[tuple[Any, ...]] = []
        self._delays: dict[tuple[int, DelayRef], Instant] = {}
        self._delays_done: list[tuple[Any, ...]] = []
        self._requests: dict[int, tuple[Any, ...]] = {}
        self._requests_done: list[tuple[Any, ...]] = []
        self._lines: list[tuple[Any, ...]] = []

    def _find(self, execution_id: ExecutionId) -> Head | None:
        return self._changed.get(execution_id) or self._heads.find(execution_id)

    def _key(self, execution_id: ExecutionId) -> int:
        head = self._find(execution_id)
        assert head is not None, "judged before"
        return head.key

    def judge(self, units: list[Unit]) -> list[UnitOutcome]:
        """One outcome a unit; the rows of those that are applied are in the plan. `MalformedUnit`."""
        outcomes: list[UnitOutcome] = []
        for index, unit in enumerate(units):
            check_form(index, unit)
            refused = refusal(unit, outcomes, self._find)
            outcomes.append(self._apply(unit) if refused is None else refused)
        return outcomes

    def _apply(self, unit: Unit) -> Applied:
        for state in unit.states:
            self._apply_state(state)
        names = self._names
        for event in unit.events:
            place = place_of_event(self._key(event.execution_id), event.version)
            self._events.append((place, event.created_at, FORMAT, encode(event.event, names)))
        for post in unit.responses:
            self._apply_response(post)
        for delay in unit.delays:
            self._delays[self._key(delay.execution_id), delay.delay] = delay.expires_at
        for execution_id, ref in unit.delays_done:
            head = self._find(execution_id)
            if head is not None:
                self._delays.pop((head.key, ref), None)
                self._delays_done.append((head.key, ref))
        ids = []
        for request in unit.requests:
            self._request_id_last += 1
            ids.append(self._request_id_last)
            body = request_body_encode(request.body)
            self._requests[self._request_id_last] = (self._key(request.execution_id), request.created_at, body)
        for request_id in unit.requests_done:
            self._requests.pop(request_id, None)
            self._requests_done.append((request_id,))
        for line in unit.lines:
            head = self._find(line.execution_id)
            if head is not None:
                root, dot, _ = line.execution_id.partition(".")
                self._line_id_last += 1
                root_key = self._key(ExecutionId(root)) if dot else head.key
                self._lines.append(line_row(self._line_id_last, root_key, head.key, line))
        return Applied(tuple(ids)) if ids else _APPLIED

    def _apply_state(self, state: ExecutionState) -> None:
        execution_id = state.execution_id
        head = self._find(execution_id)
        if head is None:
            self._key_last = key = self._key_last + 1
            self._born.add(execution_id)
            count, expires_at = 0, state.lease_expires_at
        else:
            key, count = head.key, head.response_count
            # Only renewal moves the expiry of a lease that stays with its owner.
            expires_at = head.lease_expires_at if head.owner == state.owner else state.lease_expires_at
        self._changed[execution_id] = Head(key, state.next_version, count, state.lease_epoch, state.owner, expires_at)
        self._states[execution_id] = state

    def _apply_response(self, post: NewResponse) -> None:
        execution_id, response = post.execution_id, post.response
        head = self._find(execution_id)
        assert head is not None, "judged before"
        seq = head.response_count + 1
        self._changed[execution_id] = Head(
            head.key, head.next_version, seq, head.lease_epoch, head.owner, head.lease_expires_at
        )
        body = response.body
        if isinstance(body, ChildFinished):
            child = self._key(absolute(execution_id, body.child))
            self._responses.append((head.key, seq, response.created_at, child, body.version, None, None))
        else:
            self._responses.append((head.key, seq, response.created_at, None, None, body.delay, body.ok))

    def write(self, connection: Connection) -> None:
        """Writes the rows, in the caller's transaction. A row that several units wrote is written once, as the last did."""
        inserts, updates, counts = self._state_rows()
        self._names.write(connection)
        for statement, rows in (
            (_STATE_INSERT, inserts),
            (_STATE_UPDATE, updates),
            (_STATE_COUNT_RESPONSES, counts),
            (_EVENT_APPEND, self._events),
            (_RESPONSE_APPEND, self._responses),
            # What is removed goes first: a row that a later unit removes again is not among those to add.
            (_DELAY_REMOVE, self._delays_done),
            (_DELAY_ADD, [(*place, expires_at) for place, expires_at in self._delays.items()]),
            (_REQUEST_REMOVE, self._requests_done),
            (_REQUESTS_REMOVE, [(key,) for key in self._over() if key in self._heads.asked]),
            (_REQUEST_ADD, [(request_id, *row, row[0]) for request_id, row in self._requests.items()]),
            (_LINE_APPEND, self._lines),
        ):
            if rows:
                connection.executemany(statement, rows)

    def _over(self) -> list[int]:
        """Keys of the executions that finish with this batch."""
        return [self._key(state.execution_id) for state in self._states.values() if state.status is Status.FINISHED]

    def _state_rows(self) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        inserts, updates, counts = [], [], []
        for execution_id, head in self._changed.items():
            state = self._states.get(execution_id)
            if state is None:
                counts.append((head.response_count, head.key))
            elif execution_id in self._born:
                root, dot, path = execution_id.partition(".")
                place = (self._key(ExecutionId(root)), path) if dot else (0, root)
                created = (self._names.key(state.ffqn), state.created_at, state.first_scheduled_at)
                inserts.append((*self._state_row(state, head), *place, *created))
            else:
                updates.append(self._state_row(state, head))
        return inserts, updates, counts

    def _state_row(self, state: ExecutionState, head: Head) -> tuple[Any, ...]:
        names = self._names
        return (
            names.key(state.component),
            names.key(state.deployment),
            state.updated_at,
            state.status,
            state.lifecycle,
            state.next_version,
            head.response_count,
            state.responses_known,
            state.pending_at,
            state.run,
            names.key_or_none(state.executor),
            state.lock_expires_at,
            state.blocked_on,
            state.closing,
            state.failures,
            state.crashes,
            state.finished_at,
            state.finish_kind,
            state.priority,
            names.key_or_none(state.owner),
            state.lease_epoch,
            head.lease_expires_at,
            head.key,
        )

    def settle(self) -> None:
        """Lets the heads go on from here: the plan is durable."""
        heads = self._heads
        heads.key_last, heads.request_id_last = self._key_last, self._request_id_last
        heads.line_id_last = self._line_id_last
        heads.asked.update(row[0] for row in self._requests.values())
        if heads.asked:
            heads.asked.difference_update(self._over())
        for execution_id, head in self._changed.items():
            state = self._states.get(execution_id)
            if state is not None:
                heads.keep(execution_id, head, is_open=state.status is not Status.FINISHED)
            elif heads.holds(execution_id):
                heads.keep(execution_id, head, is_open=True)


_APPLIED: Final = Applied()
