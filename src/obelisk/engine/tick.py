"""A tick in the making, and a tick made: the units of one transaction and what follows from each.

Decides how units are put together: what each expects, on which others it depends, and which inputs it came from. It does
not decide what the units are for.
"""

from __future__ import annotations

import msgspec

from obelisk.core import transitions
from obelisk.core.batch import Delay, Expect, NewEvent, NewResponse, Request, Unit
from obelisk.core.events import Event, LogEntry
from obelisk.core.ids import DelayRef, ExecutionId, join_set_of
from obelisk.core.instants import Instant
from obelisk.core.policy import Limits
from obelisk.core.responses import DelayFinished, Response
from obelisk.engine.effects import Effect
from obelisk.engine.held import Held
from obelisk.engine.inputs import Input
from obelisk.engine.timers import TimerKind


class UnitNotes(msgspec.Struct):
    """What the engine must know of a unit once its outcome is known."""

    touched: list[Held]
    inputs: list[Input]
    """Offered again when the unit is refused."""
    effects: list[Effect] = []
    """Released when it is applied."""
    timers: list[tuple[Instant, TimerKind, ExecutionId, str]] = []
    """Armed when it is applied."""


class Tick(msgspec.Struct):
    """One turn of the engine. `units` go to the store; then `settle` takes their outcomes."""

    batch_id: str
    now: Instant
    units: list[Unit]
    notes: list[UnitNotes]
    effects: list[Effect]
    """Effects that follow from facts that were durable before this tick."""
    starts: int = 0
    """Attempts that start when it is durable, if nothing is refused."""


class Draft(msgspec.Struct):
    """The tick being decided."""

    now: Instant
    limits: Limits
    units: list[Unit] = []
    notes: list[UnitNotes] = []
    effects: list[Effect] = []
    rows: int = 0
    bytes: int = 0
    starts: int = 0

    @property
    def is_full(self) -> bool:
        """Whether a named limit of the tick is reached."""
        limits = self.limits
        return (
            len(self.units) >= limits.tick_units_max
            or self.rows >= limits.tick_rows_max
            or self.bytes >= limits.tick_bytes_max
        )

    def effects_on(self, held: Held) -> list[Effect]:
        """Where an effect goes that comes with no row of its own: to the unit of this tick that it was decided on top of, if
        there is one.
        """
        return self.notes[held.last_unit].effects if held.last_unit >= 0 else self.effects

    def unit(self, touched: list[Held], inputs: list[Input]) -> OpenUnit:
        """Begins a unit that will change the executions `touched`; each must be trusted."""
        unit, notes = Unit(expects=[]), UnitNotes(touched=[], inputs=inputs)
        index = len(self.units)
        self.units.append(unit)
        self.notes.append(notes)
        opened = OpenUnit(self, index, unit, notes)
        for held in touched:
            opened.touch(held)
        return opened

    def on_top(self, held: Held) -> OpenUnit:
        """A unit for what changes nothing but `held` and executions that it creates.

        Where a unit of this tick has changed `held` already, that one is opened again: what is decided on top of it could be applied
        only with it, and cannot be refused if it is not. Every unit costs judging, settling and rows of its own.
        """
        index = held.last_unit
        if index < 0:
            return self.unit([held], [])
        unit = self.units[index]
        self.rows -= len(unit.states) + len(unit.events)  # counted again when it is closed
        return OpenUnit(self, index, unit, self.notes[index], held)


class OpenUnit:
    """A unit being filled: the `index`-th of `draft`. `close` must be called; nothing else of the draft may change between."""

    def __init__(self, draft: Draft, index: int, unit: Unit, notes: UnitNotes, again: Held | None = None) -> None:
        """`again`: the execution for which it is opened again."""
        self.draft = draft
        self.index = index
        self.unit = unit
        self.notes = notes
        self.again = again

    def touch(self, held: Held) -> None:
        """Adds an execution that exists, if it is not there yet."""
        if held.last_unit == self.index:
            return
        assert held.is_trusted, held.execution_id
        state = held.state
        self.unit.expects.append(
            Expect(state.execution_id, state.next_version, state.lease_epoch, state.response_count)
        )
        if held.last_unit >= 0:
            self.rest_on(held.last_unit)
        held.last_unit = self.index
        self.notes.touched.append(held)

    def rest_on(self, index: int) -> None:
        """This unit was decided on top of another one of the tick, an earlier one."""
        assert index < self.index, (index, self.index)
        if index not in self.unit.after:
            self.unit.after.append(index)

    def create(self, held: Held, event: Event) -> None:
        """Adds an execution that this unit creates with `event`."""
        self.unit.expects.append(Expect(held.execution_id, 0))
        self.unit.events.append(NewEvent(held.execution_id, 0, self.draft.now, event))
        self.draft.rows += 1  # beside its event and its state row, which is new in the indexes too
        held.last_unit = self.index
        self.notes.touched.append(held)

    def append(self, held: Held, event: Event, *, answered: bool = False) -> int:
        """Appends an event to the log of an execution of this unit; returns its version."""
        now = self.draft.now
        version = transitions.append(held.state, event, now, answered=answered)
        self.unit.events.append(NewEvent(held.execution_id, version, now, event))
        return version

    def copy(self, held: Held, entry: LogEntry, *, answered: bool) -> None:
        """Appends an event of another log, as of when it happened there."""
        version = transitions.append(held.state, entry.event, entry.created_at, answered=answered)
        self.unit.events.append(NewEvent(held.execution_id, version, entry.created_at, entry.event))

    def respond(self, held: Held, response: Response) -> Response:
        """Writes a response of an execution of this unit; returns it with its `seq`."""
        seq = transitions.respond(held.state, response.join_set, self.draft.now)
        numbered = Response(seq, response.created_at, response.join_set, response.body)
        self.unit.responses.append(NewResponse(held.execution_id, numbered))
        self.draft.rows += 1
        return numbered

    def post(self, execution_id: ExecutionId, response: Response) -> None:
        """Writes a response of an execution that somebody else holds."""
        self.unit.responses.append(NewResponse(execution_id, response))
        self.draft.rows += 1

    def request(self, request: Request) -> None:
        """Puts a request into somebody's inbox."""
        self.unit.requests.append(request)
        self.draft.rows += 1

    def add_delay(self, held: Held, delay: Delay) -> None:
        """A new delay of an execution of this unit."""
        held.delays[delay.delay] = delay.expires_at
        self.unit.delays.append(delay)
        self.notes.timers.append((delay.expires_at, TimerKind.DELAY, delay.execution_id, delay.delay))
        self.draft.rows += 1

    def resolve(self, held: Held, delay: DelayRef, *, ok: bool) -> Response:
        """A delay of an execution of this unit has expired (`ok`) or was cancelled; returns its response."""
        if held.delays.pop(delay, None) is not None:
            self.unit.delays_done.append((held.execution_id, delay))
        return self.respond(held, Response(0, self.draft.now, join_set_of(delay), DelayFinished(delay, ok)))

    def effect(self, effect: Effect) -> None:
        """Released when the unit is durable."""
        self.notes.effects.append(effect)

    def close(self) -> None:
        """Takes the state rows as they are now; they and the events are counted."""
        states, touched = self.unit.states, self.notes.touched
        if states:  # opened again: others of it may have been changed by later units
            assert self.again is not None
            states[touched.index(self.again)] = self.again.state.copy()
            touched = touched[len(states) :]
        states += [held.state.copy() for held in touched]
        self.draft.rows += len(states) + len(self.unit.events)
