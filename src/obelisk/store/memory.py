"""The memory store: durable memory for tests and the simulator, gone with the process.

Decides nothing of its own: it behaves as the conformance suite says, only faster. Events and responses are kept encoded,
so that what is loaded went through the durable form; state rows are copied in and out. Deterministic: every list has a
defined order. Used from one thread. Faults are the business of whoever wraps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from obelisk.core.backtraces import Backtrace
from obelisk.core.batch import (
    Applied,
    Delay,
    Meanwhile,
    Recovered,
    Request,
    Snapshot,
    Unit,
    UnitOutcome,
)
from obelisk.core.events import FORMAT, Created, Finished, LogEntry, decode_event, encode_event
from obelisk.core.ids import DelayRef, DeploymentId, Digest, ExecutionId, ExecutorId
from obelisk.core.instants import Instant
from obelisk.core.lines import LineFilter, LinePage, NewLogLine, StoredLogLine
from obelisk.core.reading import ExecutionFilter, FinalResult, Page
from obelisk.core.responses import Response
from obelisk.core.state import ExecutionState, Status
from obelisk.store.fences import check_form, refusal
from obelisk.store.selection import is_beyond, matches, page_of, wants

_encode_response: Final = msgspec.json.Encoder().encode
_decode_response: Final = msgspec.json.Decoder(Response).decode


class _Written(msgspec.Struct, frozen=True, gc=False):
    """A row of a log, as written."""

    created_at: Instant
    format: int
    event: bytes


class MemoryStore:
    """`Store` and `Reader` in memory. Several engines may share one, in one thread."""

    def __init__(self) -> None:
        self.commits = 0
        """How many batches were committed."""
        self._rows: dict[ExecutionId, ExecutionState] = {}
        self._logs: dict[ExecutionId, list[_Written]] = {}
        self._responses: dict[ExecutionId, list[bytes]] = {}
        self._delays: dict[tuple[ExecutionId, DelayRef], Delay] = {}
        self._requests: dict[int, Request] = {}
        self._request_id = 0
        self._lines: list[StoredLogLine] = []
        self._line_id = 0
        self._places: set[tuple[ExecutionId, tuple[int, int]]] = set()
        self._deployments: dict[Digest, DeploymentId] = {}
        self._outcomes: dict[str, list[UnitOutcome]] = {}
        self._backtraces: dict[ExecutionId, dict[int, Backtrace]] = {}

    # --- Store ---------------------------------------------------------------------------------------------------

    def commit(self, batch_id: str, units: list[Unit], meanwhile: Meanwhile | None = None) -> list[UnitOutcome]:
        """Applies `units`. `MalformedUnit` when one makes no sense; then nothing is applied. There is nothing to wait for, so
        `meanwhile` is left alone.
        """
        if not units:
            return []
        for index, unit in enumerate(units):
            check_form(index, unit)
        encoded = [[encode_event(new.event) for new in unit.events] for unit in units]
        outcomes: list[UnitOutcome] = []
        for unit, events in zip(units, encoded, strict=True):
            refused = refusal(unit, outcomes, self._rows.get, self._rows.__contains__)
            outcomes.append(self._apply(unit, events) if refused is None else refused)
        self._outcomes[batch_id] = outcomes
        self.commits += 1
        return list(outcomes)

    def _apply(self, unit: Unit, events: list[bytes]) -> Applied:
        for state in unit.states:
            row, before = state.copy(), self._rows.get(state.execution_id)
            row.response_count = 0 if before is None else before.response_count
            if before is not None and before.owner == row.owner:
                row.lease_expires_at = before.lease_expires_at  # only renewal moves it
            self._rows[row.execution_id] = row
        for new, data in zip(unit.events, events, strict=True):
            self._logs.setdefault(new.execution_id, []).append(_Written(new.created_at, FORMAT, data))
        for post in unit.responses:
            row = self._rows[post.execution_id].copy()
            row.response_count += 1
            self._rows[row.execution_id] = row
            numbered = msgspec.structs.replace(post.response, seq=row.response_count)
            self._responses.setdefault(post.execution_id, []).append(_encode_response(numbered))
        for delay in unit.delays:
            self._delays[delay.execution_id, delay.delay] = delay
        for key in unit.delays_done:
            self._delays.pop(key, None)
        ids = []
        for request in unit.requests:
            self._request_id += 1
            ids.append(self._request_id)
            if self._rows[request.execution_id].status is not Status.FINISHED:
                self._requests[self._request_id] = msgspec.structs.replace(request, id=self._request_id)
        over = {state.execution_id for state in unit.states if state.status is Status.FINISHED}
        done = [request_id for request_id, request in self._requests.items() if request.execution_id in over]
        for request_id in unit.requests_done + done:
            self._requests.pop(request_id, None)
        for line in unit.lines:
            self._add_line(line)
        return Applied(tuple(ids))

    def _add_line(self, new: NewLogLine) -> None:
        if new.execution_id not in self._rows:
            return
        self._line_id += 1
        if new.place is not None:
            if (new.execution_id, new.place) in self._places:
                return
            self._places.add((new.execution_id, new.place))
        self._lines.append(StoredLogLine(self._line_id, new.execution_id, new.run, new.created_at, new.line))

    def outcome_of(self, batch_id: str) -> list[UnitOutcome] | None:
        """What `commit` answered for this batch; None when it was not committed."""
        outcomes = self._outcomes.get(batch_id)
        return None if outcomes is None else list(outcomes)

    def load(self, execution_id: ExecutionId) -> Snapshot | None:
        """All of the execution; delays by expiry."""
        state = self.state(execution_id)
        if state is None:
            return None
        requests = [request for request in self._requests.values() if request.execution_id == execution_id]
        delays = [delay for delay in self._delays.values() if delay.execution_id == execution_id]
        delays.sort(key=lambda delay: (delay.expires_at, delay.delay))
        return Snapshot(state, self._log(execution_id), self._inbox(execution_id), requests, delays)

    def take_over(self, owner: ExecutorId, started: frozenset[ExecutionId]) -> Recovered:
        """Takes every lease of what is not finished, without an expiry, and counts the crashes."""
        taken = []
        for row in self._open():
            crashed = row.execution_id in started and row.status is Status.LOCKED
            taken.append(self._lease(row, owner, None, crashes=row.crashes + crashed))
        return self._recovered(taken)

    def claim(self, owner: ExecutorId, now: Instant, lease_expires_at: Instant, count_max: int) -> Recovered:
        """Takes leases that are free or expired, by `pending_at`, then in the order of creation."""
        free = [
            row
            for row in self._open()
            if row.owner is None or (row.lease_expires_at is not None and row.lease_expires_at <= now)
        ]
        free.sort(key=lambda row: row.pending_at)
        return self._recovered([self._lease(row, owner, lease_expires_at) for row in free[:count_max]])

    def _open(self) -> list[ExecutionState]:
        return [row for row in self._rows.values() if row.status is not Status.FINISHED]

    def _lease(
        self, row: ExecutionState, owner: ExecutorId, expires_at: Instant | None, crashes: int | None = None
    ) -> ExecutionState:
        row = row.copy()
        row.owner, row.lease_epoch, row.lease_expires_at = owner, row.lease_epoch + 1, expires_at
        row.crashes = row.crashes if crashes is None else crashes
        self._rows[row.execution_id] = row
        return row.copy()

    def _recovered(self, states: list[ExecutionState]) -> Recovered:
        order = {state.execution_id: index for index, state in enumerate(states)}
        delays = [delay for delay in self._delays.values() if delay.execution_id in order]
        delays.sort(key=lambda delay: (delay.expires_at, order[delay.execution_id], delay.delay))
        return Recovered(states, delays)

    def renew(self, owner: ExecutorId, lease_expires_at: Instant) -> None:
        """Extends the leases of `owner`; one without an expiry stays so, and none gets shorter."""
        for row in self._open():
            if row.owner == owner and row.lease_expires_at is not None:
                row = row.copy()
                row.lease_expires_at = max(lease_expires_at, row.lease_expires_at or lease_expires_at)
                self._rows[row.execution_id] = row

    def news(self, owner: ExecutorId) -> list[ExecutionId]:
        """Executions of `owner` with unknown responses or with requests, in the order of creation."""
        asked = {request.execution_id for request in self._requests.values()}
        return [
            row.execution_id
            for row in self._open()
            if row.owner == owner and (row.response_count > row.responses_known or row.execution_id in asked)
        ]

    def deployment(self, config_digest: Digest, now: Instant, new_id: DeploymentId) -> DeploymentId:
        """The id of this configuration's deployment."""
        return self._deployments.setdefault(config_digest, new_id)

    def keep_backtraces(self, execution_id: ExecutionId, backtraces: Sequence[Backtrace]) -> None:
        """Keeps backtraces, in place of those with the same first event; nothing for an execution that does not exist."""
        if execution_id in self._rows:
            self._backtraces.setdefault(execution_id, {}).update((each.first, each) for each in backtraces)

    # --- Reader --------------------------------------------------------------------------------------------------

    def state(self, execution_id: ExecutionId) -> ExecutionState | None:
        """The state row."""
        row = self._rows.get(execution_id)
        return None if row is None else row.copy()

    def states(self, execution_ids: list[ExecutionId]) -> list[ExecutionState]:
        """State rows of those that exist, in the order asked for."""
        return [state for execution_id in execution_ids if (state := self.state(execution_id)) is not None]

    def executions(self, where: ExecutionFilter, page: Page, now: Instant) -> list[ExecutionState]:
        """A page of state rows, newest first."""
        found = [row for row in self._rows.values() if matches(row, where, now)]
        return [row.copy() for row in page_of(found, page, self._created_at)]

    def _created_at(self, execution_id: ExecutionId) -> Instant | None:
        row = self._rows.get(execution_id)
        return None if row is None else row.created_at

    def created(self, execution_id: ExecutionId) -> Created | None:
        """Version 0 of the log."""
        for entry in self.events(execution_id, 0, 1):
            if isinstance(entry.event, Created):
                return entry.event
        return None

    def events(self, execution_id: ExecutionId, version_from: int, length: int) -> list[LogEntry]:
        """Entries from `version_from` on, ascending."""
        return self._log(execution_id, max(version_from, 0), length)

    def responses(self, execution_id: ExecutionId, seq_from: int, length: int) -> list[Response]:
        """Responses from `seq_from` on, ascending."""
        return self._inbox(execution_id, max(seq_from, 1), length)

    def snapshot(self, execution_id: ExecutionId) -> Snapshot | None:
        """All of the execution."""
        return self.load(execution_id)

    def backtrace(self, execution_id: ExecutionId, version: int) -> Backtrace | None:
        """The kept backtrace of the host call that left event `version`."""
        kept = self._backtraces.get(execution_id, {}).values()
        return next((backtrace for backtrace in kept if backtrace.first <= version < backtrace.end), None)

    def backtraces(self, execution_id: ExecutionId, version_from: int, version_to: int) -> list[tuple[int, int]]:
        """Which backtraces are kept for a part of the log."""
        kept = [(each.first, each.end) for each in self._backtraces.get(execution_id, {}).values()]
        return sorted((first, end) for first, end in kept if first < version_to and end > version_from)

    def result(self, execution_id: ExecutionId) -> FinalResult | None:
        """How it ended."""
        row = self._rows.get(execution_id)
        if row is None or row.finished_at is None:
            return None
        for entry in self._log(execution_id, row.next_version - 1, 1):
            if isinstance(entry.event, Finished):
                return FinalResult(row.created_at, row.first_scheduled_at, row.finished_at, entry.event.outcome)
        return None

    def lines(self, where: LineFilter, page: LinePage) -> list[StoredLogLine]:
        """A page of what was logged, the oldest first."""
        found = [each for each in self._lines if wants(each, where) and is_beyond(each, page)]
        length = max(page.length, 0)
        return found[max(len(found) - length, 0) :] if page.older else found[:length]

    def close(self) -> None:
        """Nothing to free."""

    def _log(self, execution_id: ExecutionId, start: int = 0, length: int | None = None) -> list[LogEntry]:
        rows = self._logs.get(execution_id, [])[start : None if length is None else start + length]
        return [
            LogEntry(version, row.created_at, decode_event(row.event, row.format))
            for version, row in enumerate(rows, start)
        ]

    def _inbox(self, execution_id: ExecutionId, start: int = 1, length: int | None = None) -> list[Response]:
        rows = self._responses.get(execution_id, [])[start - 1 : None if length is None else start - 1 + length]
        return [_decode_response(row) for row in rows]
