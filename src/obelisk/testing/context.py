"""The context of a Python workflow: the host calls, in Python values.

Decides what each method of a workflow's context asks of the host (`core/calls.py`) and what it makes of the reply: a
value that JSON can say, or an exception of `errors.py`. Who performs a call is not decided here: in a plain function it
blocks, in a generator the method returns an `Ask` that is to be yielded, and the value comes back from the `yield`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from obelisk.core import calls
from obelisk.core.calls import Call, LogLevel, Reply, StdStream
from obelisk.core.events import RejectReason
from obelisk.core.ids import DelayId, ExecutionId, JoinSetId
from obelisk.core.instants import At, In, Instant, Now, ScheduleAt
from obelisk.core.names import FunctionName
from obelisk.core.ports import Rejection, Typed
from obelisk.core.values import Err, Failure, Json, Ok, Outcome
from obelisk.testing import errors
from obelisk.testing.guests import BURN, Burn

When = float | timedelta | datetime | None
"""When something is to happen: seconds or a timedelta from now, a datetime with a time zone, None: at once."""
Typing = Callable[[FunctionName, Json], Typed | Rejection]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)


T = TypeVar("T")


@dataclass(frozen=True)
class Ask(Generic[T]):
    """A host call, and what becomes of its reply: a value, or an exception."""

    call: Call | Burn
    take: Callable[[Reply | None], T]


class Perform(Protocol):
    """Makes a host call. For a generator it gives the `Ask` back, whatever its type says."""

    def __call__(self, ask: Ask[T], /) -> T:
        """The value that the call gave."""
        ...


@dataclass(frozen=True)
class Joined:
    """A response of a join set."""

    member: ExecutionId | DelayId
    is_delay: bool
    ok: bool
    """Whether the child returned ok, or the delay expired."""
    _outcome: Outcome | None

    def result(self) -> Any:
        """What the child returned; raises as a direct call does. None for a delay."""
        return None if self._outcome is None else value_of(self._outcome, ExecutionId(self.member))


class JoinSet:
    """A join set of a workflow. What is still open when it is closed is cancelled; child workflows are awaited."""

    def __init__(self, context: Context, join_set: JoinSetId) -> None:
        self._context = context
        self.id: Final = join_set

    def submit(self, ffqn: str, *params: Any, timeout: float | timedelta | None = None) -> ExecutionId:
        """Starts a child. `timeout`: deadline of each attempt at an activity. `FunctionNotFound`, `TypeCheckError`."""
        context = self._context
        if timeout is not None:
            call: Call = calls.SubmitJson(self.id, FunctionName(ffqn), to_json(params), _us(timeout))
        else:
            call = calls.Submit(self.id, FunctionName(ffqn), context.typed(ffqn, params))
        return context.perform(Ask(call, _execution_id))

    def submit_delay(self, when: When) -> DelayId:
        """Starts a delay."""
        return self._context.perform(Ask(calls.SubmitDelay(self.id, schedule_at(when)), _delay_id))

    def await_next(self, ffqn: str) -> tuple[ExecutionId, Any]:
        """The next response, which must be of a child that runs `ffqn`: its id and what it returned. Raises as a direct
        call does, with the id; `AllProcessed`, `FunctionMismatch`.
        """
        call = calls.AwaitNext(self.id, FunctionName(ffqn))
        return self._context.perform(Ask(call, _awaited))

    def join_next(self) -> Joined:
        """The next response, whatever it is. `AllProcessed`."""
        return self._context.perform(Ask(calls.JoinNext(self.id), _joined))

    def join_next_try(self) -> Joined | None:
        """The next response if there is one; None if there is none yet. `AllProcessed`."""
        return self._context.perform(Ask(calls.JoinNextTry(self.id), _joined_or_none))

    def last_id(self) -> ExecutionId | DelayId | None:
        """Whose response was awaited last."""
        return self._context.perform(Ask(calls.LastOfSet(self.id), _member))

    def close(self) -> None:
        """Closes it. Not needed: what is open is closed when the workflow returns."""
        return self._context.perform(Ask(calls.JoinSetClose(self.id), _nothing))


class Context:
    """What a Python workflow may ask for. All values are what JSON can say."""

    def __init__(self, execution_id: ExecutionId, typing: Typing, perform: Perform) -> None:
        self.execution_id: Final = execution_id
        """Of the workflow itself."""
        self.perform: Final = perform
        self._typing: Final = typing

    def typed(self, ffqn: str, params: tuple[Any, ...]) -> Json:
        """Parameters in canonical form."""
        typed = self._typing(FunctionName(ffqn), to_json(params))
        if isinstance(typed, Rejection):
            if typed.reason is RejectReason.FUNCTION_NOT_FOUND:
                raise errors.FunctionNotFound(ffqn)
            raise errors.TypeCheckError(f"{ffqn}: {typed.message}")
        return typed.params

    # --- children ----------------------------------------------------------------------------------------------------

    def call(self, ffqn: str, *params: Any, label: str | None = None, timeout: float | timedelta | None = None) -> Any:
        """Calls a function and waits for what it returns. `label`: a name of its own for the child, as `-invoke` gives it;
        `timeout`: deadline of each attempt at an activity. `ReturnedErr`, `ExecutionFailed`; `FunctionNotFound`,
        `TypeCheckError`, `InvalidName`.
        """
        if timeout is None:
            return self.perform(Ask(calls.CallChild(FunctionName(ffqn), self.typed(ffqn, params), label), _called))
        if label is not None:
            raise TypeError("a call has a label or a timeout, not both")
        return self.perform(Ask(calls.CallJson(FunctionName(ffqn), to_json(params), _us(timeout)), _called))

    def create_join_set(self, name: str | None = None) -> JoinSet:
        """A new join set. `Conflict` when the name is taken, `InvalidName`."""

        def take(reply: Reply | None) -> JoinSet:
            return JoinSet(self, JoinSetId(_string(reply)))

        return self.perform(Ask(calls.JoinSetCreate(name), take))

    def get(self, execution_id: str, ffqn: str) -> Any:
        """What a child returned whose response was awaited before. Raises as a direct call does; `NotProcessed`,
        `FunctionMismatch`.
        """
        return self.perform(Ask(calls.Get(execution_id, FunctionName(ffqn)), _called))

    def last_direct_call(self) -> ExecutionId | None:
        """The child of the last direct call that was answered."""
        return self.perform(Ask(calls.LastDirectCall(), _child))

    def last_one_off(self) -> ExecutionId | DelayId | None:
        """The child of the last direct call, or the delay of the last sleep."""
        return self.perform(Ask(calls.LastOneOff(), _member))

    # --- other executions --------------------------------------------------------------------------------------------

    def schedule(self, ffqn: str, *params: Any, at: When = None, execution_id: str | None = None) -> ExecutionId:
        """Starts a top-level execution that this one does not wait for; returns its id. `execution_id`: one that was
        generated before; the same may be scheduled twice. `FunctionNotFound`, `TypeCheckError`.
        """
        name, when = FunctionName(ffqn), schedule_at(at)
        if execution_id is None:
            return self.perform(Ask(calls.Schedule(name, self.typed(ffqn, params), when), _execution_id))
        chosen = ExecutionId(execution_id)

        def take(reply: Reply | None) -> ExecutionId:
            _nothing(reply)
            return chosen

        return self.perform(Ask(calls.ScheduleJson(chosen, name, to_json(params), when), take))

    def generate_execution_id(self) -> ExecutionId:
        """A fresh id of a top-level execution."""
        return self.perform(Ask(calls.GenerateExecutionId(), _execution_id))

    def stub(self, execution_id: str, value: Any = None) -> None:
        """Gives the ok result of an execution of a stub activity. `ExecutionNotFound`, `TypeCheckError`, `Conflict`."""
        return self._stub(execution_id, {"ok": value})

    def stub_err(self, execution_id: str, value: Any = None) -> None:
        """Gives the err result of an execution of a stub activity; see `stub`."""
        return self._stub(execution_id, {"err": value})

    def _stub(self, execution_id: str, result: dict[str, Any]) -> None:
        return self.perform(Ask(calls.StubJson(ExecutionId(execution_id), to_json(result)), _nothing))

    # --- time, randomness, lines -------------------------------------------------------------------------------------

    def sleep(self, when: When, name: str | None = None) -> datetime:
        """Sleeps, through restarts too; returns when it was due. `DelayCancelled`."""
        return self.perform(Ask(calls.Sleep(schedule_at(when), name), _woken))

    def random_u64(self, low: int, high_inclusive: int) -> int:
        """A random number, the same in every replay."""
        call: Call = calls.RandomU64(low, high_inclusive)
        if low > high_inclusive:
            call = calls.Misuse(f"random_u64: the range from {low} to {high_inclusive} is empty")
        return self.perform(Ask(call, _number))

    def random_string(self, length_min: int, length_max_exclusive: int) -> str:
        """A random string of ASCII letters and digits, the same in every replay."""
        call: Call = calls.RandomString(length_min, length_max_exclusive)
        if length_min >= length_max_exclusive:
            call = calls.Misuse(f"random_string: no length from {length_min} up to {length_max_exclusive}")
        return self.perform(Ask(call, _string))

    def log(self, message: str, level: str = "info") -> None:
        """Writes a line. Lines are told once, however often the workflow is replayed."""
        return self.perform(Ask(calls.Log(LogLevel(level), message), _nothing))

    def print(self, text: str, *, error: bool = False) -> None:
        """Writes a line to standard output, or to standard error: told once, as `log`'s are."""
        stream = StdStream.STDERR if error else StdStream.STDOUT
        return self.perform(Ask(calls.Output(stream, f"{text}\n".encode()), _nothing))

    def clock(self) -> datetime:
        """What the workflow's clock says, as a guest's own `time` does: it stands still between two events."""
        return self.perform(Ask(calls.CurrentTime(), _moment))

    def random_seed(self) -> str:
        """What a guest's own randomness is a function of: the same in every replay, another in every execution."""
        return self.perform(Ask(calls.RandomSeed(), _string))

    def compute(self) -> None:
        """Uses up a slice of CPU, as a workflow does that computes for long."""
        return self.perform(Ask(BURN, _ignored))


# --- replies ---------------------------------------------------------------------------------------------------------


def value_of(outcome: Outcome, execution_id: ExecutionId | None = None) -> Any:
    """The value of an outcome; `ReturnedErr` or `ExecutionFailed` when it has none."""
    match outcome:
        case Ok(value):
            return from_json(value)
        case Err(value, permanent):
            raise errors.ReturnedErr(from_json(value), permanent=permanent, execution_id=execution_id)
        case Failure(kind, reason):
            raise errors.ExecutionFailed(kind, reason, execution_id)


def from_json(value: Json) -> Any:
    """A value in Python; None for one that is not there."""
    return msgspec.json.decode(value) if value else None


def to_json(value: Any) -> Json:
    """A value as JSON."""
    return Json(msgspec.json.encode(value))


def _called(reply: Reply | None) -> Any:
    match reply:
        case Ok() | Err() | Failure():
            return value_of(reply)
        case calls.JsonDone(outcome):
            return value_of(outcome)
    raise _refusal(reply)


def _awaited(reply: Reply | None) -> tuple[ExecutionId, Any]:
    if isinstance(reply, calls.ChildDone):
        return reply.execution_id, value_of(reply.outcome, reply.execution_id)
    raise _refusal(reply)


def _joined(reply: Reply | None) -> Joined:
    if isinstance(reply, calls.MemberDone):
        return Joined(reply.member, reply.is_delay, reply.ok, reply.outcome)
    raise _refusal(reply)


def _joined_or_none(reply: Reply | None) -> Joined | None:
    return None if isinstance(reply, calls.NoneYet) else _joined(reply)


def _child(reply: Reply | None) -> ExecutionId | None:
    member = _member(reply)
    return None if member is None else ExecutionId(member)


def _member(reply: Reply | None) -> ExecutionId | DelayId | None:
    match reply:
        case calls.MemberId(member):
            return member
        case calls.NoneYet():
            return None
    raise _refusal(reply)


def _woken(reply: Reply | None) -> datetime:
    if isinstance(reply, calls.WokenAt):
        return _EPOCH + reply.at * _US
    raise _refusal(reply)


def _moment(reply: Reply | None) -> datetime:
    return _EPOCH + _number(reply) * _US


def _execution_id(reply: Reply | None) -> ExecutionId:
    return ExecutionId(_string(reply))


def _delay_id(reply: Reply | None) -> DelayId:
    return DelayId(_string(reply))


def _string(reply: Reply | None) -> str:
    if isinstance(reply, str):
        return reply
    raise _refusal(reply)


def _number(reply: Reply | None) -> int:
    if isinstance(reply, int):
        return reply
    raise _refusal(reply)


def _nothing(reply: Reply | None) -> None:
    if not isinstance(reply, calls.Done):
        raise _refusal(reply)


def _ignored(reply: Reply | None) -> None:
    """A slice has no reply."""


def _refusal(reply: Reply | None) -> Exception:
    """Why the call did not give what it asked for."""
    match reply:
        case calls.AllProcessed():
            return errors.AllProcessed("every member of the join set has been awaited")
        case calls.NotProcessed():
            return errors.NotProcessed("no such response has been awaited")
        case calls.FunctionMismatch(specified, actual, member):
            return errors.FunctionMismatch(specified, actual, member)
        case calls.FunctionNotFound():
            return errors.FunctionNotFound("there is no such function")
        case calls.ExecutionNotFound():
            return errors.ExecutionNotFound("there is no such execution")
        case calls.TypeCheckError(message):
            return errors.TypeCheckError(message)
        case calls.Conflict():
            return errors.Conflict("the name is taken, or there is another result already")
        case calls.InvalidName(message):
            return errors.InvalidName(message)
        case calls.DelayCancelled():
            return errors.DelayCancelled("the sleep was cancelled")
    return AssertionError(f"a reply that the call cannot have: {reply!r:.200}")


# --- time ------------------------------------------------------------------------------------------------------------


def schedule_at(when: When) -> ScheduleAt:
    """What the host understands."""
    if when is None:
        return Now()
    if isinstance(when, datetime):
        if when.tzinfo is None:
            raise ValueError(f"{when} has no time zone")
        return At(Instant((when - _EPOCH) // _US))
    return In(_us(when))


def _us(duration: float | timedelta) -> int:
    us = duration // _US if isinstance(duration, timedelta) else round(duration * 1_000_000)
    if us < 0:
        raise ValueError(f"a duration cannot be negative: {duration}")
    return us
