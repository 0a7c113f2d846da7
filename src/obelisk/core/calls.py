"""Host calls: what a workflow may ask for, and what it is answered.

Plain data on both sides: the codec of `obelisk.wasm` makes a call out of a guest's arguments and a guest's result out of
a reply; the machine reads one and gives the other. A Python generator that yields calls and is sent replies is a guest
too. Ids are absolute, since guests see them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from obelisk.core.ids import DelayId, ExecutionId, JoinSetId
from obelisk.core.instants import Instant, ScheduleAt
from obelisk.core.names import FunctionName
from obelisk.core.values import Json, Outcome


class _Data(msgspec.Struct, frozen=True, gc=False):
    """Base of calls and replies: immutable, compared by value."""


# --- calls -----------------------------------------------------------------------------------------------------------


class CallChild(_Data, frozen=True):
    """A direct call (`label` empty) or `-invoke`: one-off join set, child, await. Replies `Outcome` or `InvalidName`."""

    ffqn: FunctionName
    params: Json
    label: str | None = None


class Submit(_Data, frozen=True):
    """`-submit`: a child in a join set. Replies `ExecutionId`."""

    join_set: JoinSetId
    ffqn: FunctionName
    params: Json


class AwaitNext(_Data, frozen=True):
    """`-await-next`: the next response of the set. Replies `ChildDone`, `AllProcessed` or `FunctionMismatch`."""

    join_set: JoinSetId
    ffqn: FunctionName


class Get(_Data, frozen=True):
    """`-get`: a response that was already processed. Replies `Outcome`, `FunctionMismatch` or `NotProcessed`."""

    execution_id: str
    ffqn: FunctionName


class JoinSetCreate(_Data, frozen=True):
    """`join-set-create` (`name` None) or `join-set-create-named`. Replies `JoinSetId`, `Conflict` or `InvalidName`."""

    name: str | None = None


class JoinSetClose(_Data, frozen=True):
    """`join-set-close`, or a dropped handle (its close is queued, see `Step`). Replies `Done`."""

    join_set: JoinSetId


class JoinNext(_Data, frozen=True):
    """`join-next`: the next response of the set, whatever it is. Replies `MemberDone` or `AllProcessed`."""

    join_set: JoinSetId


class SubmitDelay(_Data, frozen=True):
    """`submit-delay`: a delay in a join set. Replies `DelayId`."""

    join_set: JoinSetId
    schedule_at: ScheduleAt


class Sleep(_Data, frozen=True):
    """`sleep`: a durable delay in a one-off join set. Replies `WokenAt`, or `DelayCancelled`."""

    schedule_at: ScheduleAt
    name: str | None = None


class CurrentExecutionId(_Data, frozen=True):
    """`execution-id-current`. Replies `ExecutionId`."""


class RandomU64(_Data, frozen=True):
    """`random-u64` and `random-u64-inclusive`, both bounds inclusive here. Replies `int`."""

    min: int
    max_inclusive: int


class RandomString(_Data, frozen=True):
    """`random-string`: length in [min_length, max_length_exclusive), over ASCII letters and digits. Replies `str`."""

    min_length: int
    max_length_exclusive: int


class LogLevel(StrEnum):
    """Levels of `obelisk:log`, most verbose first."""

    TRACE = "trace"
    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class Log(_Data, frozen=True):
    """A line of `obelisk:log`. Not an event. Replies `Done`."""

    level: LogLevel
    message: str


class Misuse(_Data, frozen=True):
    """A call that the codec could not turn into one of the others (an instant beyond the year 9999, an empty random
    range). Always ends the execution with `reason`; no reply.
    """

    reason: str


Call = (
    CallChild
    | Submit
    | AwaitNext
    | Get
    | JoinSetCreate
    | JoinSetClose
    | JoinNext
    | SubmitDelay
    | Sleep
    | CurrentExecutionId
    | RandomU64
    | RandomString
    | Log
    | Misuse
)


# --- replies ---------------------------------------------------------------------------------------------------------


class ChildDone(_Data, frozen=True):
    """A child's response was consumed. A `Failure` in `outcome` is projected by the codec."""

    execution_id: ExecutionId
    outcome: Outcome


class MemberDone(_Data, frozen=True):
    """A response of a join set was consumed; `ok` is the child's ok/err bit, or whether a delay expired."""

    member: ExecutionId | DelayId
    is_delay: bool
    ok: bool


class FunctionMismatch(_Data, frozen=True):
    """The response (consumed, if awaited) belongs to another function (`actual`), or to a delay (`actual` None)."""

    specified: FunctionName
    actual: FunctionName | None
    member: ExecutionId | DelayId
    is_delay: bool


class AllProcessed(_Data, frozen=True):
    """Every member of the set has been awaited."""


class NotProcessed(_Data, frozen=True):
    """No such response has been processed by this execution."""


class Conflict(_Data, frozen=True):
    """The name is taken."""


class InvalidName(_Data, frozen=True):
    """A label or join set name with characters other than ASCII letters, digits, `-` and `/`."""

    message: str


class WokenAt(_Data, frozen=True):
    """A sleep is over; `at` is the recorded expiry."""

    at: Instant


class DelayCancelled(_Data, frozen=True):
    """A sleep was cancelled."""


class Done(_Data, frozen=True):
    """Nothing to say."""


DONE: Final = Done()

Reply = (
    Outcome
    | ChildDone
    | MemberDone
    | FunctionMismatch
    | AllProcessed
    | NotProcessed
    | Conflict
    | InvalidName
    | WokenAt
    | DelayCancelled
    | Done
    | str  # ExecutionId, DelayId, JoinSetId, random string
    | int  # random number
)
