"""Writing: the rows of a batch.

Decides which rows a batch of units leads to, before any is written: units are judged one after another against the heads
of their executions, as the units before left them. Heads of open executions are in memory, exact because one process
owns the file, so a batch is judged without SQL except for executions seen for the first time. Must not begin or commit.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from obelisk.core.batch import Applied, NewResponse, Request, Unit, UnitOutcome
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
from obelisk.store.sqlite.rows import request_body_encode

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
    """Where an execution stands, as the fences see it."""

    key: int
    next_version: int
    response_count: int
    lease_epoch: int
    owner: str | None
    lease_expires_at: Instant | None
    component: str
    deployment: str

    def copy(self) -> Head:
        """Another one, to be changed."""
        return self.__copy__()  # type: ignore[no-any-return, attr-defined]


class Last(msgspec.Struct, gc=False):
    """The highest numbers that were given; the next one is one more."""

    key: int
    request_id: int
    line_id: int

    def copy(self) -> Last:
        """Another one, to be raised."""
        return self.__copy__()  # type: ignore[no-any-return, attr-defined]


class Heads:
    """The heads of a database: those of open executions from memory, others from the file. What is durable: plans change copies."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.open: Final[dict[ExecutionId, Head]] = {}
        """Those in memory."""
        self.last = Last(
            key=select_value(connection, _KEY_LAST),
            request_id=select_value(connection, _REQUEST_ID_LAST),
            line_id=select_value(connection, _LINE_ID_LAST),
        )
        self.asked: set[int] = {key for (key,) in select(connection, _REQUESTS_OF)}
        """Keys of executions whose inbox may have something in it: the others need not be emptied when they finish."""

    def find(self, execution_id: ExecutionId) -> Head | None:
        """The head of an execution, for the caller to change; None when it does not exist."""
        head = self.open.get(execution_id)
        if head is not None:
            return head.copy()
        root, dot, path = execution_id.partition(".")
        if not dot:
            return self._select(0, root)
        parent = self.open.get(ExecutionId(root)) or self._select(0, root)
        return None if parent is None else self._select(parent.key, path)

    def _select(self, root: int, path: str) -> Head | None:
        row = select_one(self._connection, _HEAD, (root, path))
        return None if row is None else Head(*row)

    def forget(self) -> None:
        """Drops what is in memory, after rows were changed without a plan."""
        self.open.clear()


class _Found(dict[ExecutionId, Head | None]):
    """Heads as the units of a plan leave them: the plan's own, looked up when they are first asked for."""

    def __init__(self, heads: Heads) -> None:
        super().__init__()
        self._heads = heads

    def __missing__(self, execution_id: ExecutionId) -> Head | None:
        head = self[execution_id] = self._heads.find(execution_id)
        return head


class Plan:
    """What a batch writes. `judge` everything, `write` in a transaction, `settle` once it is durable; or throw it away."""

    def __init__(self, heads: Heads, names: Names, *, looks_everything_up: bool = False) -> None:
        """`looks_everything_up`: also whether what is about to be created is there already. It never is but for a submission that
        is repeated and a child whose id the parent chose; so without this the plan `assumes` that it is not, and `write` fails
        with a constraint if that is wrong.
        """
        self._heads = heads
        self._names = names
        self._assuming = not looks_everything_up
        self._assumed: list[ExecutionId] = []
        """By the unit that is being judged."""
        self.assumes = False
        self._found = _Found(heads)
        self._changed: dict[ExecutionId, tuple[Head, ExecutionState | None]] = {}
        """The state rows to write; None: only the number of responses."""
        self._last = heads.last.copy()
        self._events: list[tuple[Any, ...]] = []
        self._responses: list[tuple[Any, ...]] = []
        self._delays: dict[tuple[int, DelayRef], Instant] = {}
        self._delays_done: list[tuple[Any, ...]] = []
        self._requests: dict[int, tuple[Any, ...]] = {}
        self._requests_done: list[tuple[Any, ...]] = []
        self._lines: list[tuple[Any, ...]] = []

    def _key(self, execution_id: ExecutionId) -> int:
        head = self._found[execution_id]
        assert head is not None, "judged before"
        return head.key

    def judge(self, units: list[Unit]) -> list[UnitOutcome]:
        """One outcome a unit; the rows of those that are applied are in the plan. `MalformedUnit`."""
        outcomes: list[UnitOutcome] = []
        head_of, exists = self._found.__getitem__, self._exists
        for index, unit in enumerate(units):
            check_form(index, unit)
            refused = refusal(unit, outcomes, head_of, exists)
            if self._assumed:
                if refused is None and len(unit.states) == len(unit.expects):
                    self.assumes = True
                else:  # nothing will be inserted that could prove it wrong
                    self._found |= {execution_id: self._heads.find(execution_id) for execution_id in self._assumed}
                    refused = refusal(unit, outcomes, head_of, exists)
                self._assumed.clear()
            outcomes.append(self._apply(unit) if refused is None else refused)
        return outcomes

    def _exists(self, execution_id: ExecutionId) -> bool:
        """Whether an execution is there that is to be created. Where nothing is known of it without looking, it is assumed that it
        is not.
        """
        if self._assuming and execution_id not in self._found and execution_id not in self._heads.open:
            self._found[execution_id] = None
            self._assumed.append(execution_id)
        return self._found[execution_id] is not None

    def _apply(self, unit: Unit) -> Applied:
        self._apply_states(unit.states)
        if unit.events:
            found, marks, add = self._found, self._names.marks, self._events.append
            for event in unit.events:
                head = found[event.execution_id]
                assert head is not None, "its state row came with it"
                add((head.key, event.version, event.created_at, FORMAT, encode(event.event, marks)))
        for post in unit.responses:
            self._apply_response(post)
        for delay in unit.delays:
            self._delays[self._key(delay.execution_id), delay.delay] = delay.expires_at
        for execution_id, ref in unit.delays_done:
            head = self._found[execution_id]
            if head is not None:
                self._delays.pop((head.key, ref), None)
                self._delays_done.append((head.key, ref))
        asked = self._ask(unit.requests) if unit.requests else ()
        for request_id in unit.requests_done:
            self._requests.pop(request_id, None)
            self._requests_done.append((request_id,))
        for line in unit.lines:
            head = self._found[line.execution_id]
            if head is not None:
                root, dot, _ = line.execution_id.partition(".")
                self._last.line_id += 1
                root_key = self._key(ExecutionId(root)) if dot else head.key
                self._lines.append(line_row(self._last.line_id, root_key, head.key, line))
        return Applied(asked) if asked else _APPLIED

    def _ask(self, requests: list[Request]) -> tuple[int, ...]:
        ids = []
        for request in requests:
            self._last.request_id += 1
            ids.append(self._last.request_id)
            body = request_body_encode(request.body)
            self._requests[self._last.request_id] = (self._key(request.execution_id), request.created_at, body)
        return tuple(ids)

    def _apply_states(self, states: list[ExecutionState]) -> None:
        found, changed = self._found, self._changed
        for state in states:
            execution_id = state.execution_id
            head = found[execution_id]
            if head is None:
                head = found[execution_id] = self._bear(state)
            else:
                head.next_version, head.lease_epoch = state.next_version, state.lease_epoch
                if head.owner != state.owner:  # only renewal moves the expiry of a lease that stays with its owner
                    head.owner, head.lease_expires_at = state.owner, state.lease_expires_at
            changed[execution_id] = head, state

    def _bear(self, state: ExecutionState) -> Head:
        self._last.key += 1
        return Head(
            self._last.key,
            state.next_version,
            0,
            state.lease_epoch,
            state.owner,
            state.lease_expires_at,
            state.component,
            state.deployment,
        )

    def _apply_response(self, post: NewResponse) -> None:
        execution_id, response = post.execution_id, post.response
        head = self._found[execution_id]
        assert head is not None, "judged before"
        head.response_count += 1
        self._changed.setdefault(execution_id, (head, None))
        body = response.body
        if isinstance(body, ChildFinished):
            child, version, delay, ok = self._key(absolute(execution_id, body.child)), body.version, None, None
        else:
            child, version, delay, ok = None, None, body.delay, int(body.ok)
        self._responses.append((head.key, head.response_count, response.created_at, child, version, delay, ok))

    def write(self, cursor: Cursor) -> None:
        """Writes the rows, in the caller's transaction. A row that several units wrote is written once, as the last did."""
        inserts, updates, ends, moves, counts = self._state_rows()
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

    def _over(self) -> list[int]:
        """Keys of the executions that finish with this batch."""
        return [
            head.key for head, state in self._changed.values() if state is not None and state.finish_kind is not None
        ]

    def _state_rows(self) -> tuple[Rows, Rows, Rows, Rows, Rows]:
        """Rows to insert, to update, to update for the last time, that run on something else, and whose responses are counted."""
        inserts: Rows = []
        updates: Rows = []
        ends: Rows = []
        moves: Rows = []
        counts: Rows = []
        keys = self._names.keys
        key_last = self._heads.last.key
        for execution_id, (head, state) in self._changed.items():
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
                state.finished_at,
                state.finish_kind,
                head.key,
            )
            if head.key > key_last:
                root, dot, path = execution_id.partition(".")
                place = (self._key(ExecutionId(root)), path) if dot else (0, root)
                names = (keys[state.ffqn], keys[state.component], keys[state.deployment])
                created = (state.created_at, state.first_scheduled_at)
                inserts.append((*row, *place, *names, *created))
                continue
            if state.finish_kind is None:
                updates.append(row)
            else:
                ends.append(row)
            if head.component != state.component or head.deployment != state.deployment:
                head.component, head.deployment = state.component, state.deployment
                moves.append((keys[head.component], keys[head.deployment], head.key))
        return inserts, updates, ends, moves, counts

    def settle(self) -> None:
        """Lets the heads go on from here: the plan is durable."""
        heads = self._heads
        heads.last = self._last
        if self._requests:
            heads.asked.update(row[0] for row in self._requests.values())
        if heads.asked:
            heads.asked.difference_update(self._over())
        for execution_id, (head, state) in self._changed.items():
            if state is None:
                if execution_id in heads.open:
                    heads.open[execution_id] = head
            elif state.finish_kind is None:
                heads.open[execution_id] = head
            else:
                heads.open.pop(execution_id, None)


_APPLIED: Final = Applied()
