"""Births: how an execution comes to be: submitted, called, scheduled, or forked.

Decides what it is born with: the active component of its function, and whether it is locked at once (an activity, while
the start window is open), waits for its turn, or stands still.
"""

from __future__ import annotations

from obelisk.core import ids, transitions
from obelisk.core.events import ChildRequested, Created, Paused, Scheduled, Unpaused
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.ports import FunctionInfo, FunctionKind
from obelisk.engine import forking
from obelisk.engine.attempts import Attempts
from obelisk.engine.books import Books
from obelisk.engine.effects import Answer, AnswerKind
from obelisk.engine.held import Held
from obelisk.engine.inputs import Fork, Submit
from obelisk.engine.tick import Draft, OpenUnit
from obelisk.engine.timers import TimerKind


class Births:
    """Creates executions, each in a unit."""

    def __init__(self, books: Books, attempts: Attempts) -> None:
        self._books = books
        self._attempts = attempts

    def on_submit(self, item: Submit, draft: Draft) -> None:
        """A client wants a new execution."""
        info = self._books.registry.active(item.ffqn)
        if info is None:
            draft.effects.append(Answer(item.token, AnswerKind.FUNCTION_NOT_FOUND))
            return
        if self._is_there(item, draft):
            return
        created = Created(
            ffqn=item.ffqn,
            params=item.params,
            component=info.component,
            deployment=self._books.deployment,
            scheduled_at=draft.now if item.scheduled_at is None else item.scheduled_at,
            metadata=item.metadata,
        )
        unit = draft.unit([], [item])
        self._create(item.execution_id, created, info, unit, paused=item.paused)
        if not item.until_end:
            unit.effect(Answer(item.token, AnswerKind.CREATED))
        unit.close()

    def _is_there(self, item: Submit | Fork, draft: Draft) -> bool:
        """Whether the execution is held already; the client is then told once that is durable."""
        existing = self._books.held.get(item.execution_id)
        if existing is None:
            return False
        if not self._books.trusted(existing, item):
            return True  # its creation may be what was refused
        answer = Answer(item.token, AnswerKind.EXISTS)
        draft.effects_on(existing).append(answer)
        if existing.last_unit >= 0:  # perhaps created in this very tick, so not durable yet
            draft.notes[existing.last_unit].inputs.append(item)
        return True

    def _create(
        self,
        execution_id: ExecutionId,
        created: Created,
        info: FunctionInfo,
        unit: OpenUnit,
        *,
        paused: bool = False,
    ) -> None:
        """Adds an execution to `unit`, locked at once if it is an activity that may start."""
        now = unit.draft.now
        state = transitions.create(execution_id, created, now, self._books.executor)
        if self._books.shared:
            state.lease_expires_at = Instant(now + self._books.limits.lease_us)
        held = Held(state, execution_id, info.kind)
        held.begin_as(created)
        unit.create(held, created)
        unit.draft.bytes += len(created.params)
        self._books.held[execution_id] = held
        if info.kind is FunctionKind.STUB:
            return
        if paused:
            unit.append(held, Paused())
        elif state.pending_at > now:
            unit.notes.timers.append((state.pending_at, TimerKind.PENDING, execution_id, ""))
        elif info.kind is FunctionKind.WORKFLOW:
            self._books.make_runnable(held)
        elif self._books.window.is_open:
            self._attempts.lock_and_start(held, info, unit)
        elif self._books.shared:
            state.owner, state.lease_expires_at = None, None  # whoever has room takes it
        else:
            self._books.window.wait(held)

    def create_child(self, parent: Held, request: ChildRequested, unit: OpenUnit) -> None:
        """Creates the child that `parent` requested, in the same unit."""
        info = self._books.registry.active(request.ffqn)
        assert info is not None, "whoever calls what is not deployed is parked, or not forked"
        created = Created(
            ffqn=request.ffqn,
            params=request.params,
            component=info.component,
            deployment=self._books.deployment,
            scheduled_at=unit.draft.now,
            join_set=ids.join_set_of(request.child),
            metadata=dict(parent.trace_context),
            timeout_us=request.timeout_us,
        )
        child = ids.absolute(parent.execution_id, request.child)
        self._create(child, created, info, unit, paused=_pauses_what_it_creates(parent))

    def create_scheduled(self, by: Held, event: Scheduled, unit: OpenUnit) -> None:
        """Creates the top-level execution that `by` scheduled, in the same unit."""
        info = self._books.registry.active(event.ffqn)
        assert info is not None, "the stepper parks a workflow that calls what is not deployed"
        created = Created(
            ffqn=event.ffqn,
            params=event.params,
            component=info.component,
            deployment=self._books.deployment,
            scheduled_at=event.scheduled_at,
            scheduled_by=by.execution_id,
            timeout_us=event.timeout_us,
        )
        self._create(event.execution_id, created, info, unit, paused=_pauses_what_it_creates(by))

    def on_fork(self, item: Fork, draft: Draft) -> None:
        """A client wants a copy of an execution, from before one of its versions."""
        registry = self._books.registry
        info = registry.pinned(item.component, item.origin.state.ffqn)
        if info is None:
            draft.effects.append(Answer(item.token, AnswerKind.FUNCTION_NOT_FOUND))
            return
        if self._is_there(item, draft):
            return
        prefix = forking.prefix_of(item.origin, item.version)
        born = prefix.open_now(registry)
        missing = next((request for request in born if registry.active(request.ffqn) is None), None)
        if missing is not None:
            message = (
                f"cannot fork, no active component exports {missing.ffqn}, of which {missing.child} is open at version"
                f" {item.version}: deploy one, or fork at an earlier version"
            )
            draft.effects.append(Answer(item.token, AnswerKind.REFUSED, message))
            return
        created = forking.forked(prefix, info, self._books.deployment, draft.now)
        state = transitions.create(item.execution_id, created, draft.now, self._books.executor)
        if self._books.shared:
            state.lease_expires_at = Instant(draft.now + self._books.limits.lease_us)
        held = Held(state, item.execution_id, info.kind)
        held.begin_as(created)
        unit = draft.unit([], [item])
        unit.create(held, created)
        unit.draft.bytes += len(created.params)
        self._books.held[item.execution_id] = held
        forking.fill(held, prefix, unit, registry)
        for request in born:
            self.create_child(held, request, unit)
        if not item.paused:
            unit.append(held, Unpaused())
        unit.effect(Answer(item.token, AnswerKind.CREATED))
        unit.close()
        self._books.take_up(held, draft)


def _pauses_what_it_creates(held: Held) -> bool:
    return held.advance is not None and held.advance.pause_children
