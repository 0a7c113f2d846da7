"""Writing: the rows of a batch.

Decides which rows a batch of units leads to, before any is written: units are judged one after another against the heads
of their executions, as the units before left them. Heads of open executions are in memory, exact because one process
owns the file, so a batch is judged without SQL except for executions seen for the first time. Must not begin or commit.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from obelisk.core.batch import Applied, Expect, NewResponse, Request, Unit, UnitOutcome
from obelisk.core.events import FORMAT
from obelisk.core.ids import DelayRef, ExecutionId, absolute
from obelisk.core.instants import Instant
from obelisk.core.responses import ChildFinished
from obelisk.core.state import ExecutionState
from obelisk.store.fences import check_form, refusal
from obelisk.store.sqlite.connection import Connection, Cursor, select, select_one, select_value
from obelisk.store.sqlite.lines import line_row
from obelisk.store.sqlite.naming import Names, encode
from obelisk.store.sqlite.queries import sql
from obelisk.store.sqlite.rows import place_of_event, request_body_encode

_HEAD: Final = sql("head")
_KEY_LAST: Final = sql("key_last")
_REQUEST_ID_LAST: Final = sql("request_id_last")
_STATE_INSERT: Final = sql("state_insert")
_STATE_UPDATE: Final = sql("state_update")
_STATE_END: Final = sql("state_end")
_STATE_MOVE: Final = sql("state_move")
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


Rows = list[tuple[Any, ...]]


class Head(msgspec.Struct, gc=False):
    """Where an execution stands, as the fences see it. Replaced, never changed."""

    key: int
    next_version: int
    response_count: int
    lease_epoch: int
    owner: str | None
    lease_expires_at: Instant | None
    component: str
    deployment: str


class Heads:
    """The heads of a database: those of open executions from memory, others from the file."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._open: dict[ExecutionId, Head] = {}
        self.key_last: int = select_value(connection, _KEY_LAST)
        self.request_id_last: int = select_value(connection, _REQUEST_ID_LAST)
        self.line_id_last: int = select_value(connection, _LINE_ID_LAST)
        self.asked: set[int] = {key for (key,) in select(connection, _REQUESTS_OF)}
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
        row = select_one(self._connection, _HEAD, (root, path))
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

    def __init__(self, heads: Heads, names: Names, *, looks_everything_up: bool = False) -> None:
        """`looks_everything_up`: also whether a child is there already that is about to be created. It never is but for one
        whose id the parent chose; so without this the plan `assumes` it, and `write` fails with a constraint if it is wrong.
        """
        self._heads = heads
        self._names = names
        self._assuming = not looks_everything_up
        self.assumes = False
        self._found: dict[ExecutionId, Head | None] = {}
        """Heads as the units so far leave them."""
        self._changed: dict[ExecutionId, ExecutionState | None] = {}
        """The state rows to write; None: only the number of responses."""
        self._born: set[ExecutionId] = set()
        self._moved: set[ExecutionId] = set()
        """Those that are on another component or deployment than their rows."""
        self._key_last = heads.key_last
        self._request_id_last = heads.request_id_last
        self._line_id_last = heads.line_id_last
        self._events: list[tuple[Any, ...]] = []
        self._responses: list[tuple[Any, ...]] = []
        self._delays: dict[tuple[int, DelayRef], Instant] = {}
        self._delays_done: list[tuple[Any, ...]] = []
        self._requests: dict[int, tuple[Any, ...]] = {}
        self._requests_done: list[tuple[Any, ...]] = []
        self._lines: list[tuple[Any, ...]] = []

    def _find(self, execution_id: ExecutionId) -> Head | None:
        try:
            return self._found[execution_id]
        except KeyError:
            head = self._found[execution_id] = self._heads.find(execution_id)
            return head

    def _key(self, execution_id: ExecutionId) -> int:
        head = self._find(execution_id)
        assert head is not None, "judged before"
        return head.key

    def judge(self, units: list[Unit]) -> list[UnitOutcome]:
        """One outcome a unit; the rows of those that are applied are in the plan. `MalformedUnit`."""
        outcomes: list[UnitOutcome] = []
        for index, unit in enumerate(units):
            check_form(index, unit)
            assumed = self._assume_births(unit) if self._assuming else ()
            refused = refusal(unit, outcomes, self._find)
            if assumed and refused is not None:  # nothing will be inserted that could prove it wrong
                for execution_id in assumed:
                    del self._found[execution_id]
                refused = refusal(unit, outcomes, self._find)
            self.assumes = self.assumes or bool(assumed)
            outcomes.append(self._apply(unit) if refused is None else refused)
        return outcomes

    def _assume_births(self, unit: Unit) -> list[ExecutionId]:
        """The children that the unit creates, and which are not there as far as is known without looking."""
        assumed = []
        for state in unit.states:
            execution_id = state.execution_id
            if "." not in execution_id or execution_id in self._found or self._heads.holds(execution_id):
                continue
            if Expect(execution_id, 0) in unit.expects:
                self._found[execution_id] = None
                assumed.append(execution_id)
        return assumed

    def _apply(self, unit: Unit) -> Applied:
        for state in unit.states:
            self._apply_state(state)
        if unit.events:
            found, names, add = self._found, self._names, self._events.append
            for event in unit.events:
                head = found[event.execution_id]
                assert head is not None, "its state row came with it"
                add((place_of_event(head.key, event.version), event.created_at, FORMAT, encode(event.event, names)))
        for post in unit.responses:
            self._apply_response(post)
        for delay in unit.delays:
            self._delays[self._key(delay.execution_id), delay.delay] = delay.expires_at
        for execution_id, ref in unit.delays_done:
            head = self._find(execution_id)
            if head is not None:
                self._delays.pop((head.key, ref), None)
                self._delays_done.append((head.key, ref))
        asked = self._ask(unit.requests) if unit.requests else ()
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
        return Applied(asked) if asked else _APPLIED

    def _ask(self, requests: list[Request]) -> tuple[int, ...]:
        ids = []
        for request in requests:
            self._request_id_last += 1
            ids.append(self._request_id_last)
            body = request_body_encode(request.body)
            self._requests[self._request_id_last] = (self._key(request.execution_id), request.created_at, body)
        return tuple(ids)

    def _apply_state(self, state: ExecutionState) -> None:
        execution_id = state.execution_id
        head = self._found[execution_id]
        if head is None:
            self._key_last = key = self._key_last + 1
            self._born.add(execution_id)
            count, expires_at = 0, state.lease_expires_at
        else:
            key, count = head.key, head.response_count
            # Only renewal moves the expiry of a lease that stays with its owner.
            expires_at = head.lease_expires_at if head.owner == state.owner else state.lease_expires_at
            if head.component != state.component or head.deployment != state.deployment:
                self._moved.add(execution_id)
        self._found[execution_id] = Head(
            key,
            state.next_version,
            count,
            state.lease_epoch,
            state.owner,
            expires_at,
            state.component,
            state.deployment,
        )
        self._changed[execution_id] = state

    def _apply_response(self, post: NewResponse) -> None:
        execution_id, response = post.execution_id, post.response
        head = self._find(execution_id)
        assert head is not None, "judged before"
        seq = head.response_count + 1
        self._found[execution_id] = Head(
            head.key,
            head.next_version,
            seq,
            head.lease_epoch,
            head.owner,
            head.lease_expires_at,
            head.component,
            head.deployment,
        )
        self._changed.setdefault(execution_id, None)
        body = response.body
        if isinstance(body, ChildFinished):
            child = self._key(absolute(execution_id, body.child))
            self._responses.append((head.key, seq, response.created_at, child, body.version, None, None))
        else:
            self._responses.append((head.key, seq, response.created_at, None, None, body.delay, int(body.ok)))

    def write(self, cursor: Cursor) -> None:
        """Writes the rows, in the caller's transaction. A row that several units wrote is written once, as the last did."""
        inserts, updates, ends, counts = self._state_rows()
        moves = [self._move(execution_id) for execution_id in self._moved - self._born] if self._moved else []
        self._names.write(cursor)
        many = cursor.executemany
        if inserts:
            many(_STATE_INSERT, inserts)
        if updates:
            many(_STATE_UPDATE, updates)
        if ends:
            many(_STATE_END, ends)
        if moves:
            many(_STATE_MOVE, moves)
        if counts:
            many(_STATE_COUNT_RESPONSES, counts)
        if self._events:
            many(_EVENT_APPEND, self._events)
        if self._responses:
            many(_RESPONSE_APPEND, self._responses)
        # What is removed goes first: a row that a later unit removes again is not among those to add.
        if self._delays_done:
            many(_DELAY_REMOVE, self._delays_done)
        if self._delays:
            many(_DELAY_ADD, [(*place, expires_at) for place, expires_at in self._delays.items()])
        if self._requests_done:
            many(_REQUEST_REMOVE, self._requests_done)
        if self._heads.asked and ends:
            many(_REQUESTS_REMOVE, [(key,) for key in self._over() if key in self._heads.asked])
        if self._requests:
            many(_REQUEST_ADD, [(request_id, *row, row[0]) for request_id, row in self._requests.items()])
        if self._lines:
            many(_LINE_APPEND, self._lines)

    def _move(self, execution_id: ExecutionId) -> tuple[int, int, int]:
        head, keys = self._found[execution_id], self._names.keys
        assert head is not None, "applied"
        return keys[head.component], keys[head.deployment], head.key

    def _over(self) -> list[int]:
        """Keys of the executions that finish with this batch."""
        return [
            self._key(execution_id)
            for execution_id, state in self._changed.items()
            if state is not None and state.finish_kind is not None
        ]

    def _state_rows(self) -> tuple[Rows, Rows, Rows, Rows]:
        """Rows to insert, to update, to update for the last time, and whose responses are counted."""
        inserts: Rows = []
        updates: Rows = []
        ends: Rows = []
        counts: Rows = []
        keys = self._names.keys
        for execution_id, state in self._changed.items():
            head = self._found[execution_id]
            assert head is not None, "applied"
            if state is None:
                counts.append((head.response_count, head.key))
                continue
            executor, owner = state.executor, state.owner
            # The driver looks for an adapter of each value that is not of one of SQLite's own types: hence the conversions.
            row = (
                state.updated_at,
                state.status._value_,
                state.lifecycle._value_,
                state.next_version,
                head.response_count,
                state.responses_known,
                state.pending_at,
                state.run,
                None if executor is None else keys[executor],
                state.lock_expires_at,
                state.blocked_on,
                int(state.closing),
                state.failures,
                state.crashes,
                state.priority,
                None if owner is None else keys[owner],
                state.lease_epoch,
                head.lease_expires_at,
            )
            if execution_id in self._born:
                root, dot, path = execution_id.partition(".")
                place = (self._key(ExecutionId(root)), path) if dot else (0, root)
                names = (keys[state.ffqn], keys[state.component], keys[state.deployment])
                created = (state.created_at, state.first_scheduled_at)
                inserts.append((*row, state.finished_at, state.finish_kind, head.key, *place, *names, *created))
            elif state.finish_kind is None:
                updates.append((*row, head.key))
            else:
                ends.append((*row, state.finished_at, state.finish_kind, head.key))
        return inserts, updates, ends, counts

    def settle(self) -> None:
        """Lets the heads go on from here: the plan is durable."""
        heads = self._heads
        heads.key_last, heads.request_id_last = self._key_last, self._request_id_last
        heads.line_id_last = self._line_id_last
        heads.asked.update(row[0] for row in self._requests.values())
        if heads.asked:
            heads.asked.difference_update(self._over())
        for execution_id, state in self._changed.items():
            head = self._found[execution_id]
            assert head is not None, "applied"
            if state is not None:
                heads.keep(execution_id, head, is_open=state.finish_kind is None)
            elif heads.holds(execution_id):
                heads.keep(execution_id, head, is_open=True)


_APPLIED: Final = Applied()
