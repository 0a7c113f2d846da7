"""What each import of a workflow means: a `Call` made of its arguments, and its result made of a `Reply`.

Decides the correspondence between WIT values and the vocabulary of `obelisk.core.calls`, in both directions. Must not know
how a call is carried out, nor anything of wasmtime: a meaning is compiled once from the import's signature.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from obelisk.core.calls import (
    AllProcessed,
    AwaitNext,
    Call,
    CallChild,
    ChildDone,
    Conflict,
    CurrentExecutionId,
    DelayCancelled,
    FunctionMismatch,
    Get,
    InvalidName,
    JoinNext,
    JoinSetClose,
    JoinSetCreate,
    Log,
    LogLevel,
    MemberDone,
    Misuse,
    NotProcessed,
    RandomString,
    RandomU64,
    Reply,
    Sleep,
    Submit,
    SubmitDelay,
    WokenAt,
)
from obelisk.core.instants import INSTANT_MAX, SECOND_US, At, In, Instant, Now, ScheduleAt
from obelisk.core.names import FunctionName, function_of, interface_of
from obelisk.core.values import Err, Failure, Json, Ok
from obelisk.wit.codec import ParamsCodec
from obelisk.wit.component import Function, Interface
from obelisk.wit.extensions import ExtensionKind, classify, package_suffix
from obelisk.wit.outcomes import outcome_codec
from obelisk.wit.types import Result, Signature, Tuple, Type, Value


class UnknownImport(ValueError):
    """A component imports what nothing here supplies. The operator's to fix; checks before linking say it better."""


class ReplyMismatch(TypeError):
    """A reply of a kind that the call cannot have. Ours to fix."""


class Meaning(NamedTuple):
    """An import: `call` makes the `Call` of its arguments, `result` makes its result of the reply."""

    call: Callable[[tuple[Value, ...]], Call]
    result: Callable[[Reply], Value]


class Local(NamedTuple):
    """An import that is answered on the spot: the guest has what it needs."""

    result: Callable[[tuple[Value, ...]], Value]


def meaning_of(interface: Interface, function: Function) -> Meaning | Local:
    """What a workflow's import means. `UnknownImport` when nothing supplies it."""
    name = interface.name
    if not name.startswith("obelisk:"):
        if package_suffix(name) is None:
            return _direct_call(interface.ffqn(function), function.signature)
        return _extension(interface, function)
    known = _HOST_FUNCTIONS.get(f"{name.partition('@')[0]}.{function.name}")
    if known is None:
        raise UnknownImport(f"{name}.{function.name} is not supplied to workflows in this version")
    return known


# --- deployed functions ----------------------------------------------------------------------------------------------


def _direct_call(ffqn: FunctionName, signature: Signature) -> Meaning:
    encode = ParamsCodec(signature).encode
    outcome = outcome_codec(signature.result).value

    def call(arguments: tuple[Value, ...]) -> Call:
        return CallChild(ffqn, Json(encode(arguments)))

    def result(reply: Reply) -> Value:
        if isinstance(reply, (Ok, Err, Failure)):
            return outcome(reply)
        raise _unexpected(CallChild, reply)

    return Meaning(call, result)


def _extension(interface: Interface, function: Function) -> Meaning:
    known = classify(interface.name, function.name)
    compiled = None if known is None else _EXTENSIONS.get(known[1])
    if known is None or compiled is None:
        raise UnknownImport(f"{interface.name}.{function.name} is not supplied to workflows in this version")
    return compiled(known[0], function.signature)


def _submit(ffqn: FunctionName, signature: Signature) -> Meaning:
    encode = _rest(signature).encode

    def call(arguments: tuple[Value, ...]) -> Call:
        return Submit(arguments[0], ffqn, Json(encode(arguments[1:])))

    return Meaning(call, _id)


def _await_next(ffqn: FunctionName, signature: Signature) -> Meaning:
    pair = _ok_type(signature)
    if not isinstance(pair, Tuple) or len(pair.items) != 2:
        raise UnknownImport(f"the -await-next of {ffqn} does not return an execution id and a result")
    outcome = outcome_codec(pair.items[1]).value

    def call(arguments: tuple[Value, ...]) -> Call:
        return AwaitNext(arguments[0], ffqn)

    def result(reply: Reply) -> Value:
        match reply:
            case ChildDone(execution_id, child):
                return True, ((execution_id,), outcome(child))
            case AllProcessed():
                return False, (0, None)
            case FunctionMismatch():
                return False, (1, _mismatch(reply))
        raise _unexpected(AwaitNext, reply)

    return Meaning(call, result)


def _get(ffqn: FunctionName, signature: Signature) -> Meaning:
    outcome = outcome_codec(_ok_type(signature)).value

    def call(arguments: tuple[Value, ...]) -> Call:
        return Get(arguments[0][0], ffqn)

    def result(reply: Reply) -> Value:
        match reply:
            case Ok() | Err() | Failure():
                return True, outcome(reply)
            case FunctionMismatch():
                return False, (0, _mismatch(reply))
            case NotProcessed():
                return False, (1, None)
        raise _unexpected(Get, reply)

    return Meaning(call, result)


def _invoke(ffqn: FunctionName, signature: Signature) -> Meaning:
    encode = _rest(signature).encode
    outcome = outcome_codec(_ok_type(signature)).value

    def call(arguments: tuple[Value, ...]) -> Call:
        return CallChild(ffqn, Json(encode(arguments[1:])), label=arguments[0])

    def result(reply: Reply) -> Value:
        match reply:
            case Ok() | Err() | Failure():
                return True, outcome(reply)
            case InvalidName(message):
                return False, (0, message)
        raise _unexpected(CallChild, reply)

    return Meaning(call, result)


_EXTENSIONS: Final = {
    ExtensionKind.SUBMIT: _submit,
    ExtensionKind.AWAIT_NEXT: _await_next,
    ExtensionKind.GET: _get,
    ExtensionKind.INVOKE: _invoke,
}


def _rest(signature: Signature) -> ParamsCodec:
    """The function's own parameters: without the one that the extension injects."""
    return ParamsCodec(Signature(signature.params[1:], None))


def _ok_type(signature: Signature) -> Type | None:
    returned = signature.result
    return returned.ok if isinstance(returned, Result) else None


# --- ids -------------------------------------------------------------------------------------------------------------


def _id(reply: Reply) -> Value:
    if isinstance(reply, str):
        return (reply,)
    raise _unexpected(Submit, reply)


def _response_id(member: str, is_delay: bool) -> Value:
    return (1 if is_delay else 0, (member,))


def _function(ffqn: FunctionName) -> Value:
    return (str(interface_of(ffqn)), function_of(ffqn))


def _mismatch(reply: FunctionMismatch) -> Value:
    actual = None if reply.actual is None else (_function(reply.actual),)
    return (_function(reply.specified), actual, _response_id(reply.member, reply.is_delay))


# --- time ------------------------------------------------------------------------------------------------------------

_UNITS_US: Final = (1_000, SECOND_US, 60 * SECOND_US, 3_600 * SECOND_US, 86_400 * SECOND_US)
"""milliseconds, seconds, minutes, hours, days: the cases of `duration`."""


def _schedule(value: Value) -> ScheduleAt | Misuse:
    case, payload = value
    if case == 0:
        return Now()
    if case == 1:
        seconds, nanoseconds = payload
        at = seconds * SECOND_US + nanoseconds // 1_000
        return At(Instant(at)) if at <= INSTANT_MAX else _TOO_LATE
    unit, count = payload
    us = count * _UNITS_US[unit]
    return In(us) if us <= INSTANT_MAX else _TOO_LATE


_TOO_LATE: Final = Misuse("the schedule lies beyond the year 9999")


def _sleep(arguments: tuple[Value, ...]) -> Call:
    schedule = _schedule(arguments[0])
    return schedule if isinstance(schedule, Misuse) else Sleep(schedule)


def _slept(reply: Reply) -> Value:
    match reply:
        case WokenAt(at):
            seconds, us = divmod(at, SECOND_US)
            return True, (seconds, us * 1_000)
        case DelayCancelled():
            return False, None
    raise _unexpected(Sleep, reply)


def _submit_delay(arguments: tuple[Value, ...]) -> Call:
    join_set, at = arguments
    schedule = _schedule(at)
    return schedule if isinstance(schedule, Misuse) else SubmitDelay(join_set, schedule)


# --- join sets -------------------------------------------------------------------------------------------------------


def _created(reply: Reply) -> Value:
    if isinstance(reply, str):
        return reply
    raise _unexpected(JoinSetCreate, reply)


def _created_named(reply: Reply) -> Value:
    match reply:
        case str():
            return True, reply
        case Conflict():
            return False, (0, None)
        case InvalidName(message):
            return False, (1, message)
    raise _unexpected(JoinSetCreate, reply)


def _joined(reply: Reply) -> Value:
    match reply:
        case MemberDone(member, is_delay, ok):
            return True, (_response_id(member, is_delay), (ok, None))
        case AllProcessed():
            return False, (0, None)
    raise _unexpected(JoinNext, reply)


# --- random values ---------------------------------------------------------------------------------------------------


def _random_u64(arguments: tuple[Value, ...]) -> Call:
    low, high = arguments
    if low >= high:
        return Misuse(f"random-u64: the range from {low} up to but not including {high} is empty")
    return RandomU64(low, high - 1)


def _random_u64_inclusive(arguments: tuple[Value, ...]) -> Call:
    low, high = arguments
    if low > high:
        return Misuse(f"random-u64-inclusive: the range from {low} to {high} is empty")
    return RandomU64(low, high)


def _random_string(arguments: tuple[Value, ...]) -> Call:
    low, high = arguments
    if low >= high:
        return Misuse(f"random-string: there is no length from {low} up to but not including {high}")
    return RandomString(low, high)


def _number(reply: Reply) -> Value:
    if type(reply) is int:
        return reply
    raise _unexpected(RandomU64, reply)


def _string(reply: Reply) -> Value:
    if isinstance(reply, str):
        return reply
    raise _unexpected(RandomString, reply)


def _nothing(_reply: Reply) -> Value:
    return None


# --- the host's own functions ----------------------------------------------------------------------------------------


def _log(level: LogLevel) -> Meaning:
    return Meaning(lambda arguments: Log(level, arguments[0]), _nothing)


_WORKFLOW: Final = "obelisk:workflow/workflow-support"
_JOIN_SET: Final = "obelisk:types/join-set.[method]join-set"
_JOIN_NEXT: Final = Meaning(lambda arguments: JoinNext(arguments[0]), _joined)
_SUBMIT_DELAY: Final = Meaning(_submit_delay, _id)
_HOST_FUNCTIONS: Final[dict[str, Meaning | Local]] = {
    f"{_WORKFLOW}.execution-id-current": Meaning(lambda _: CurrentExecutionId(), _id),
    f"{_WORKFLOW}.random-u64": Meaning(_random_u64, _number),
    f"{_WORKFLOW}.random-u64-inclusive": Meaning(_random_u64_inclusive, _number),
    f"{_WORKFLOW}.random-string": Meaning(_random_string, _string),
    f"{_WORKFLOW}.sleep": Meaning(_sleep, _slept),
    f"{_WORKFLOW}.join-set-create": Meaning(lambda _: JoinSetCreate(), _created),
    f"{_WORKFLOW}.join-set-create-named": Meaning(lambda arguments: JoinSetCreate(arguments[0]), _created_named),
    f"{_WORKFLOW}.join-set-close": Meaning(lambda arguments: JoinSetClose(arguments[0]), _nothing),
    f"{_WORKFLOW}.submit-delay": _SUBMIT_DELAY,
    f"{_WORKFLOW}.join-next": _JOIN_NEXT,
    f"{_JOIN_SET}.id": Local(lambda arguments: str(arguments[0])),
    f"{_JOIN_SET}.submit-delay": _SUBMIT_DELAY,
    f"{_JOIN_SET}.join-next": _JOIN_NEXT,
    **{f"obelisk:log/log.{level}": _log(level) for level in LogLevel},
}


def _unexpected(call: type[Call], reply: Reply) -> ReplyMismatch:
    return ReplyMismatch(f"{call.__name__} was answered {reply!r:.200}")
