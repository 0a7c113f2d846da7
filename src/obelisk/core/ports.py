"""Ports: what the engine needs of the rings around it, as types.

`wasm` and the simulator's Python guests implement `Guest`; `runtime` and the simulator implement `Registry`. The port of
durable memory is in `core/batch.py`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec

from obelisk.core.backtraces import Frame
from obelisk.core.calls import Call, Reply
from obelisk.core.events import RejectReason
from obelisk.core.ids import Digest, ExecutionId, RunId
from obelisk.core.instants import Instant
from obelisk.core.names import FunctionName
from obelisk.core.policy import ExecutionPolicy
from obelisk.core.values import Err, ErrForm, Failure, Json, Ok


class Called(msgspec.Struct, frozen=True):
    """The guest waits for the reply to `call`."""

    call: Call


class Yielded(msgspec.Struct, frozen=True):
    """The guest used up its slice of CPU; `resume` it."""


class Returned(msgspec.Struct, frozen=True):
    """The function returned. The guest is over: close it."""

    outcome: Ok | Err


class Trapped(msgspec.Struct, frozen=True):
    """The guest is dead: trap, out of memory, or parameters that it could not take. Close it."""

    failure: Failure


Step = Called | Yielded | Returned | Trapped


class Guest(Protocol):
    """One run of one workflow function: a coroutine with data on both sides.

    Exactly one owner at a time may use it, on any thread. After `Called` the owner sends a reply or closes; after
    `Yielded` it resumes or closes; after `Returned` or `Trapped` it closes. Handles that the guest drops are reported as
    `Called(JoinSetClose)` before its next host call of any kind, or before its return.
    """

    def start(self, params: Json) -> Step:
        """Instantiates the component and calls the function; `params` is a canonical JSON array."""
        ...

    def send(self, reply: Reply) -> Step:
        """Answers the pending call and runs on to the next step."""
        ...

    def resume(self) -> Step:
        """Runs on after `Yielded`."""
        ...

    def close(self) -> None:
        """Frees everything; in any state, also more than once. Never called from inside a step."""
        ...


class Inside(Protocol):
    """What a guest tells of where it is in its code. Not every guest can: those of the simulator have no code to speak of."""

    def look(self) -> None:
        """Before it starts: it is to look where it is, in each call."""
        ...

    def stack(self) -> tuple[Frame, ...] | None:
        """Where it is in the call that it waits in, the innermost function first; None when it waits in none."""
        ...


class FunctionKind(StrEnum):
    """What runs a function."""

    WORKFLOW = "workflow"
    ACTIVITY = "activity"
    STUB = "stub"
    """Nothing here runs it: a workflow or a client gives its result."""


class FunctionInfo(msgspec.Struct, frozen=True):
    """What the engine must know of a deployed function."""

    ffqn: FunctionName
    kind: FunctionKind
    component: Digest
    err_form: ErrForm
    policy: ExecutionPolicy = ExecutionPolicy()
    is_program: bool = False
    """Whether a program of the host runs it: nothing that matters here, but those who look at it want to know."""


class Typed(msgspec.Struct, frozen=True):
    """Parameters that fit their function, in canonical form."""

    params: Json
    info: FunctionInfo


class Rejection(msgspec.Struct, frozen=True):
    """What was given as JSON does not fit; `message` says why."""

    reason: RejectReason
    message: str = ""


class Registry(Protocol):
    """The functions that can be run. Several versions of a component may be live at once, told apart by digest."""

    def active(self, ffqn: FunctionName) -> FunctionInfo | None:
        """The function as the active deployment has it; None when no active component exports it."""
        ...

    def pinned(self, component: Digest, ffqn: FunctionName) -> FunctionInfo | None:
        """The function as component `component` has it; None when that component is not loaded."""
        ...

    def typed_params(self, ffqn: FunctionName, params: Json) -> Typed | Rejection:
        """Parameters in JSON as the active function `ffqn` takes them."""
        ...

    def typed_result(self, component: Digest, ffqn: FunctionName, result: Json) -> Ok | Err | Rejection:
        """A result in JSON, `{"ok": …}` or `{"err": …}`, as the function of that component returns it."""
        ...

    def guest(self, component: Digest, ffqn: FunctionName, execution_id: ExecutionId) -> Guest:
        """A guest that has not started yet, for a workflow function that `pinned` knows."""
        ...


class Entropy(Protocol):
    """Where new ids come from."""

    def run_id(self, now: Instant) -> RunId:
        """A fresh run id."""
        ...

    def batch_id(self) -> str:
        """A fresh id of a batch, unique over all engines of a store."""
        ...


class Budget(Protocol):
    """How long a tick may go on deciding."""

    def start(self) -> None:
        """A tick begins."""
        ...

    def spent(self) -> bool:
        """Whether the tick should end; asked between host calls."""
        ...
