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
from obelisk.core.values import Err, ErrForm, Json, Ok, Outcome


class _Data(msgspec.Struct, frozen=True, gc=False):
    """Base of calls and replies: immutable, compared by value."""


# --- calls -----------------------------------------------------------------------------------------------------------


class CallChild(_Data, frozen=True):
    """A direct call (`label` None) or `-invoke`: one-off join set, child, await. Replies `Outcome` or `InvalidName`."""

    ffqn: FunctionName
    params: Json
    label: str | None = None
    form: ErrForm = ErrForm.NONE
    """How the callee declares errors: for `GetJson`, should it be asked."""


class Submit(_Data, frozen=True):
    """`-submit`: a child in a join set. Replies `ExecutionId`."""

    join_set: JoinSetId
    ffqn: FunctionName
    params: Json
    form: ErrForm | None = ErrForm.NONE
    """None: the guest does not know it, since it imports nothing else of the function; found out, and kept in the log."""


class CallJson(_Data, frozen=True):
    """`call-json`: a direct call whose types are known to the host only. `params`: any JSON array, as the guest wrote it;
    `timeout_us`: deadline of each attempt at an activity. Replies `JsonDone`, `FunctionNotFound` or `TypeCheckError`.
    """

    ffqn: FunctionName
    params: Json
    timeout_us: int | None = None


class SubmitJson(_Data, frozen=True):
    """`submit-json`, see `CallJson`. Replies `ExecutionId`, `FunctionNotFound` or `TypeCheckError`."""

    join_set: JoinSetId
    ffqn: FunctionName
    params: Json
    timeout_us: int | None = None


class AwaitNext(_Data, frozen=True):
    """`-await-next`: the next response of the set. Replies `ChildDone`, `AllProcessed` or `FunctionMismatch`."""

    join_set: JoinSetId
    ffqn: FunctionName


class Get(_Data, frozen=True):
    """`-get`: a response that was already processed. Replies `Outcome`, `FunctionMismatch` or `NotProcessed`."""

    execution_id: str
    ffqn: FunctionName


class GetJson(_Data, frozen=True):
    """`get-result-json`, `get-execution-failure-kind`: a response that was already processed. Replies `JsonDone` or
    `NotProcessed`.
    """

    execution_id: str


class JoinSetCreate(_Data, frozen=True):
    """`join-set-create` (`name` None) or `join-set-create-named`. Replies `JoinSetId`, `Conflict` or `InvalidName`."""

    name: str | None = None


class JoinSetClose(_Data, frozen=True):
    """`join-set-close`, or a dropped handle (its close is queued, see `Step`). Replies `Done`."""

    join_set: JoinSetId


class JoinNext(_Data, frozen=True):
    """`join-next`: the next response of the set, whatever it is. Replies `MemberDone` or `AllProcessed`."""

    join_set: JoinSetId


class JoinNextTry(_Data, frozen=True):
    """`join-next-try`: as `JoinNext`, but never blocks. Replies `MemberDone`, `AllProcessed` or `NoneYet`."""

    join_set: JoinSetId


class LastOfSet(_Data, frozen=True):
    """`join-set.last-id`: whose response the set consumed last. Replies `MemberId` or `NoneYet`."""

    join_set: JoinSetId


class LastDirectCall(_Data, frozen=True):
    """`last-direct-call-id`: the child of the last direct call that was answered. Replies `MemberId` or `NoneYet`."""


class LastOneOff(_Data, frozen=True):
    """`last-oneoff-id`: the member of the one-off join set that was answered last. Replies `MemberId` or `NoneYet`."""


class SubmitDelay(_Data, frozen=True):
    """`submit-delay`: a delay in a join set. Replies `DelayId`."""

    join_set: JoinSetId
    schedule_at: ScheduleAt


class Sleep(_Data, frozen=True):
    """`sleep`: a durable delay in a one-off join set. Replies `WokenAt`, or `DelayCancelled`."""

    schedule_at: ScheduleAt
    name: str | None = None


class Schedule(_Data, frozen=True):
    """`-schedule`: a new top-level execution under a fresh id. Replies `ExecutionId`."""

    ffqn: FunctionName
    params: Json
    schedule_at: ScheduleAt


class ScheduleJson(_Data, frozen=True):
    """`schedule-json`: a new top-level execution under an id that the guest chose; see `CallJson`. Replies `Done`,
    `FunctionNotFound` or `TypeCheckError`.
    """

    execution_id: ExecutionId
    ffqn: FunctionName
    params: Json
    schedule_at: ScheduleAt
    timeout_us: int | None = None


class Stub(_Data, frozen=True):
    """`-stub`: the result of an execution of a stub activity; `execution_id` is a derived id. Replies `Done`,
    `ExecutionNotFound`, `TypeCheckError` or `Conflict`.
    """

    execution_id: ExecutionId
    ffqn: FunctionName
    outcome: Ok | Err


class StubJson(_Data, frozen=True):
    """`stub-json`: as `Stub`; `result` is `{"ok": …}` or `{"err": …}` as the guest wrote it."""

    execution_id: ExecutionId
    result: Json


class GenerateExecutionId(_Data, frozen=True):
    """`execution-id-generate`: a fresh top-level id. Replies `ExecutionId`."""


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

    def is_at_least(self, least: LogLevel | None) -> bool:
        """Whether a line of this level is among those from `least` on; None: nothing is."""
        return least is not None and _RANKS[self] >= _RANKS[least]


_RANKS: Final = {level: rank for rank, level in enumerate(LogLevel)}


class Log(_Data, frozen=True):
    """A line of `obelisk:log`. Not an event. Replies `Done`."""

    level: LogLevel
    message: str


class StdStream(StrEnum):
    """What a guest writes to without being asked."""

    STDOUT = "stdout"
    STDERR = "stderr"


class Output(_Data, frozen=True):
    """What the guest wrote to one of its streams: whole lines where there are any. Not an event. Replies `Done`."""

    stream: StdStream
    data: bytes


LogLine = Log | Output
"""What goes to the log of an execution."""


class CurrentTime(_Data, frozen=True):
    """The workflow's clock. Not an event: it stands still between two events. Replies `int`, an `Instant`."""


class RandomSeed(_Data, frozen=True):
    """What the guest's own randomness is a function of. Not an event: the same in every replay, and in every fork. Replies
    `str`.
    """


class Misuse(_Data, frozen=True):
    """A call that the codec could not turn into one of the others (an instant beyond the year 9999, an empty random
    range). Always ends the execution with `reason`; no reply.
    """

    reason: str


Call = (
    CallChild
    | Submit
    | CallJson
    | SubmitJson
    | AwaitNext
    | Get
    | GetJson
    | JoinSetCreate
    | JoinSetClose
    | JoinNext
    | JoinNextTry
    | LastOfSet
    | LastDirectCall
    | LastOneOff
    | SubmitDelay
    | Sleep
    | Schedule
    | ScheduleJson
    | Stub
    | StubJson
    | GenerateExecutionId
    | CurrentExecutionId
    | RandomU64
    | RandomString
    | Log
    | Output
    | CurrentTime
    | RandomSeed
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
    outcome: Outcome | None = None
    """Of a child; a `Failure` in it is shown as `form` says."""
    form: ErrForm = ErrForm.NONE


class JsonDone(_Data, frozen=True):
    """A child's response, to be given as JSON; a `Failure` in `outcome` is shown as `form` says."""

    outcome: Outcome
    form: ErrForm


class MemberId(_Data, frozen=True):
    """A member of a join set."""

    member: ExecutionId | DelayId
    is_delay: bool


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


class NoneYet(_Data, frozen=True):
    """There is no such response yet."""


class FunctionNotFound(_Data, frozen=True):
    """No active component exports the function."""


class ExecutionNotFound(_Data, frozen=True):
    """There is no such execution."""


class TypeCheckError(_Data, frozen=True):
    """A value does not fit the function's type."""

    message: str


class Conflict(_Data, frozen=True):
    """The name is taken; or the execution has finished with another result."""


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
    | JsonDone
    | MemberId
    | FunctionMismatch
    | AllProcessed
    | NotProcessed
    | NoneYet
    | FunctionNotFound
    | ExecutionNotFound
    | TypeCheckError
    | Conflict
    | InvalidName
    | WokenAt
    | DelayCancelled
    | Done
    | str  # ExecutionId, DelayId, JoinSetId, random string, seed
    | int  # random number, instant
)
