"""What each import of a workflow means: a `Call` made of its arguments, and its result made of a `Reply`.

Decides the correspondence between WIT values and the vocabulary of `obelisk.core.calls`, in both directions, and which
mistakes of a guest are answered without asking anyone: those that follow from the arguments alone. Must not know how a
call is carried out, nor anything of wasmtime: a meaning is compiled once from the import's signature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from obelisk.core.backtraces import Frame
from obelisk.core.calls import (
    AllProcessed,
    AwaitNext,
    Call,
    CallChild,
    CallJson,
    ChildDone,
    Conflict,
    CurrentExecutionId,
    DelayCancelled,
    Done,
    ExecutionNotFound,
    FunctionMismatch,
    FunctionNotFound,
    GenerateExecutionId,
    Get,
    GetJson,
    InvalidName,
    JoinNext,
    JoinNextTry,
    JoinSetClose,
    JoinSetCreate,
    JsonDone,
    LastDirectCall,
    LastOfSet,
    LastOneOff,
    Log,
    LogLevel,
    MemberDone,
    MemberId,
    Misuse,
    NoneYet,
    NotProcessed,
    RandomString,
    RandomU64,
    Reply,
    Schedule,
    ScheduleJson,
    Sleep,
    Stub,
    StubJson,
    Submit,
    SubmitDelay,
    SubmitJson,
    TypeCheckError,
    WokenAt,
)
from obelisk.core.ids import ExecutionId, InvalidId, is_top_level, parse_execution_id
from obelisk.core.instants import INSTANT_MAX, SECOND_US, At, In, ScheduleAt
from obelisk.core.names import FunctionName, function_name, function_of, interface_of
from obelisk.core.names import InvalidName as InvalidFunctionName
from obelisk.core.values import Err, ErrForm, Failure, Json, Ok
from obelisk.wasm.frames import told_frames
from obelisk.wit.codec import ParamsCodec, normal_params, normal_result
from obelisk.wit.component import Function, Interface
from obelisk.wit.extensions import ExtensionKind, classify, package_suffix
from obelisk.wit.host import (
    EXECUTION_FAILURE_KIND,
    JOIN_SETS,
    JOIN_SETS_5,
    LOG,
    WORKFLOW_SUPPORT,
    WORKFLOW_SUPPORT_6,
    WORKFLOW_SUPPORT_BACKTRACE_6,
    host_interface,
)
from obelisk.wit.outcomes import err_form_of, json_result, outcome_codec
from obelisk.wit.reader import InvalidJson, ValueMismatch
from obelisk.wit.schedules import duration_us, schedule_at
from obelisk.wit.types import Result, Signature, Tuple, Type, Value
from obelisk.wit.writer import json_name


class UnknownImport(ValueError):
    """A component imports what nothing here supplies. The operator's to fix; checks before linking say it better."""


class ReplyMismatch(TypeError):
    """A reply of a kind that the call cannot have. Ours to fix."""


class Immediate(NamedTuple):
    """What the guest is answered on the spot: nobody has to be asked, and no event is left."""

    value: Value


class Meaning(NamedTuple):
    """An import: `call` makes the `Call` of its arguments, `result` makes its result of the reply. `told`: the frames that its
    arguments give, where they may give some.
    """

    call: Callable[[tuple[Value, ...]], Call | Immediate]
    result: Callable[[Reply], Value]
    told: Callable[[tuple[Value, ...]], tuple[Frame, ...] | None] | None = None


def meaning_of(interface: Interface, function: Function, imports: Sequence[Interface] = ()) -> Meaning:
    """What a workflow's import means; `imports`: all of the component's. `UnknownImport` when nothing supplies it."""
    name = interface.name
    if not name.startswith("obelisk:"):
        if package_suffix(name) is None:
            return _direct_call(interface.ffqn(function), function.signature)
        return _extension(interface, function, imports)
    host = host_interface(name)
    known = None if host is None else _HOST_FUNCTIONS.get(f"{host.name}.{function.name}")
    if known is None:
        raise UnknownImport(f"{name}.{function.name} is not supplied to workflows in this version")
    return known


# --- mistakes that the arguments show --------------------------------------------------------------------------------


class _Mistake(Exception):
    """The guest's: it is answered with case number `case` of the error of its import, and `message`."""

    def __init__(self, case: int, message: str) -> None:
        self.case = case
        self.message = message


def _checked(call: Callable[[tuple[Value, ...]], Call]) -> Callable[[tuple[Value, ...]], Call | Immediate]:
    def checked(arguments: tuple[Value, ...]) -> Call | Immediate:
        try:
            return call(arguments)
        except _Mistake as mistake:
            return Immediate((False, (mistake.case, mistake.message)))

    return checked


def _execution_id(text: str, case: int) -> ExecutionId:
    try:
        return parse_execution_id(text)
    except InvalidId as error:
        raise _Mistake(case, str(error)) from None


def _derived_id(text: str, case: int) -> ExecutionId:
    """The id of an execution that can be given its result."""
    execution_id = _execution_id(text, case)
    if is_top_level(execution_id):
        raise _Mistake(case, f"{text} is a top-level execution; only a child can be given its result")
    return execution_id


# --- deployed functions ----------------------------------------------------------------------------------------------


def _direct_call(ffqn: FunctionName, signature: Signature) -> Meaning:
    encode = ParamsCodec(signature).encode
    outcomes = outcome_codec(signature.result)
    outcome = outcomes.value
    form = outcomes.form

    def call(arguments: tuple[Value, ...]) -> Call:
        return CallChild(ffqn, Json(encode(arguments)), form=form)

    def result(reply: Reply) -> Value:
        if isinstance(reply, (Ok, Err, Failure)):
            return outcome(reply)
        raise _unexpected(CallChild, reply)

    return Meaning(call, result)


def _extension(interface: Interface, function: Function, imports: Sequence[Interface]) -> Meaning:
    known = classify(interface.name, function.name)
    if known is None:
        raise UnknownImport(f"{interface.name}.{function.name} is not supplied to workflows in this version")
    ffqn, kind = known
    if kind is ExtensionKind.SUBMIT:
        return _submit(ffqn, function.signature, _form_in((interface, *imports), ffqn))
    return _EXTENSIONS[kind](ffqn, function.signature)


def _form_in(imports: Sequence[Interface], ffqn: FunctionName) -> ErrForm | None:
    """How a submitted function declares errors, which its -submit does not say: out of what else the component imports of
    it. None when that is nothing.
    """
    for interface in imports:
        for function in interface.functions:
            form = err_form_of(_returned(interface, function, ffqn))
            if form is not None:
                return form
    return None


def _returned(interface: Interface, function: Function, ffqn: FunctionName) -> Type | None:
    """What `ffqn` returns, if this import of it, or of an extension of it, says so."""
    if interface.ffqn(function) == ffqn:
        return function.signature.result
    match classify(interface.name, function.name):
        case (extended, ExtensionKind.GET | ExtensionKind.INVOKE) if extended == ffqn:
            return _ok_type(function.signature)
        case (extended, ExtensionKind.AWAIT_NEXT) if extended == ffqn:
            return _awaited(function.signature)
    return None


def _submit(ffqn: FunctionName, signature: Signature, form: ErrForm | None) -> Meaning:
    encode = _rest(signature).encode

    def call(arguments: tuple[Value, ...]) -> Call:
        return Submit(arguments[0], ffqn, Json(encode(arguments[1:])), form)

    return Meaning(call, _id)


def _await_next(ffqn: FunctionName, signature: Signature) -> Meaning:
    with_id = isinstance(_ok_type(signature), Tuple)
    outcome = outcome_codec(_awaited(signature)).value

    def call(arguments: tuple[Value, ...]) -> Call:
        return AwaitNext(arguments[0], ffqn)

    def result(reply: Reply) -> Value:
        match reply:
            case ChildDone(execution_id, child):
                return True, ((execution_id,), outcome(child)) if with_id else outcome(child)
            case AllProcessed():
                return False, (0, None)
            case FunctionMismatch():
                return False, (1, _mismatch(reply))
        raise _unexpected(AwaitNext, reply)

    return Meaning(call, result)


def _awaited(signature: Signature) -> Type | None:
    """The result in an `-await-next`: beside the id in `obelisk:types@4.2.0`, alone in 5.0.0."""
    ok = _ok_type(signature)
    return ok.items[1] if isinstance(ok, Tuple) and len(ok.items) == 2 else ok


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
    outcomes = outcome_codec(_ok_type(signature))
    outcome = outcomes.value
    form = outcomes.form

    def call(arguments: tuple[Value, ...]) -> Call:
        return CallChild(ffqn, Json(encode(arguments[1:])), arguments[0], form)

    def result(reply: Reply) -> Value:
        match reply:
            case Ok() | Err() | Failure():
                return True, outcome(reply)
            case InvalidName(message):
                return False, (0, message)
        raise _unexpected(CallChild, reply)

    return Meaning(call, result)


def _schedule_child(ffqn: FunctionName, signature: Signature) -> Meaning:
    encode = _rest(signature).encode

    def call(arguments: tuple[Value, ...]) -> Call:
        schedule = _schedule(arguments[0])
        if isinstance(schedule, Misuse):
            return schedule
        return Schedule(ffqn, Json(encode(arguments[1:])), schedule)

    return Meaning(call, _id)


def _stub(ffqn: FunctionName, signature: Signature) -> Meaning:
    outcome = outcome_codec(signature.params[-1][1]).outcome

    @_checked
    def call(arguments: tuple[Value, ...]) -> Call:
        (text,), result = arguments
        return Stub(_derived_id(text, 1), ffqn, outcome(result))

    def result(reply: Reply) -> Value:
        match reply:
            case Done():
                return True, None
            case ExecutionNotFound():
                return False, (0, None)
            case TypeCheckError(message):
                return False, (1, message)
            case Conflict():
                return False, (2, None)
        raise _unexpected(Stub, reply)

    return Meaning(call, result)


_EXTENSIONS: Final = {
    ExtensionKind.AWAIT_NEXT: _await_next,
    ExtensionKind.GET: _get,
    ExtensionKind.INVOKE: _invoke,
    ExtensionKind.SCHEDULE: _schedule_child,
    ExtensionKind.STUB: _stub,
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


def _member_id(reply: Reply) -> Value:
    match reply:
        case MemberId(member, is_delay):
            return (_response_id(member, is_delay),)
        case NoneYet():
            return None
    raise _unexpected(LastOfSet, reply)


def _child_id(reply: Reply) -> Value:
    match reply:
        case MemberId(member, False):
            return ((member,),)
        case NoneYet():
            return None
    raise _unexpected(LastDirectCall, reply)


def _mismatch(reply: FunctionMismatch) -> Value:
    actual = None if reply.actual is None else (_function(reply.actual),)
    return (_function(reply.specified), actual, _response_id(reply.member, reply.is_delay))


# --- time ------------------------------------------------------------------------------------------------------------

_TOO_LATE: Final = Misuse("the schedule lies beyond the year 9999")


def _schedule(value: Value) -> ScheduleAt | Misuse:
    schedule = schedule_at(value)
    match schedule:
        case At(us) | In(us) if us > INSTANT_MAX:
            return _TOO_LATE
    return schedule


def _sleep(arguments: tuple[Value, ...]) -> Call:
    schedule = _schedule(arguments[0])
    return schedule if isinstance(schedule, Misuse) else Sleep(schedule)


def _sleep_named(arguments: tuple[Value, ...]) -> Call:
    at, name = arguments
    schedule = _schedule(at)
    return schedule if isinstance(schedule, Misuse) else Sleep(schedule, None if name is None else name[0])


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


def _tried(reply: Reply) -> Value:
    match reply:
        case MemberDone(member, is_delay, ok):
            return True, (_response_id(member, is_delay), (ok, None))
        case AllProcessed():
            return False, (0, None)
        case NoneYet():
            return False, (1, None)
    raise _unexpected(JoinNextTry, reply)


def _joined_json(reply: Reply) -> Value:
    match reply:
        case MemberDone():
            return True, _member_json(reply)
        case AllProcessed():
            return False, (0, None)
    raise _unexpected(JoinNext, reply)


def _tried_json(reply: Reply) -> Value:
    match reply:
        case MemberDone():
            return True, _member_json(reply)
        case AllProcessed():
            return False, (0, None)
        case NoneYet():
            return False, (1, None)
    raise _unexpected(JoinNextTry, reply)


def _member_json(reply: MemberDone) -> Value:
    """A delay has no payload on either side."""
    return (reply.ok, None) if reply.outcome is None else json_result(reply.outcome, reply.form)


# --- calls in JSON ---------------------------------------------------------------------------------------------------

_TIMEOUT_MAX_US: Final = 100 * 366 * 24 * 3_600 * SECOND_US
"""As for the deadlines that the configuration sets."""


def _target(function: Value, params: str) -> tuple[FunctionName, Json]:
    """What a call in JSON names. The cases of submit-json-error and schedule-json-error are the same."""
    interface, name = function
    try:
        return function_name(interface, name), Json(normal_params(params))
    except InvalidFunctionName as error:
        raise _Mistake(0, str(error)) from None
    except (InvalidJson, ValueMismatch) as error:
        raise _Mistake(2, str(error)) from None


def _timeout_us(config: Sequence[Value]) -> int | None:
    """The timeout in an `option<submit-config>`, which `obelisk:workflow@6.0.0` does not have any more."""
    if not config or config[0] is None:
        return None
    ((timeout,),) = config[0]
    if timeout is None:
        return None
    us = duration_us(timeout[0])
    if not 0 < us <= _TIMEOUT_MAX_US:
        raise _Mistake(2, f"timeout: expected more than nothing and at most 100 years, got {us / SECOND_US:.15g} s")
    return us


@_checked
def _call_json(arguments: tuple[Value, ...]) -> Call:
    function, params, *config = arguments
    return CallJson(*_target(function, params), _timeout_us(config))


@_checked
def _submit_json(arguments: tuple[Value, ...]) -> Call:
    join_set, function, params, *config = arguments
    return SubmitJson(join_set, *_target(function, params), _timeout_us(config))


@_checked
def _schedule_json(arguments: tuple[Value, ...]) -> Call:
    (text,), at, function, params, *config = arguments
    execution_id = _execution_id(text, 2)
    if not is_top_level(execution_id):
        raise _Mistake(2, f"{text} is the id of a child; expected E_ and a ULID, as execution-id-generate returns it")
    ffqn, given = _target(function, params)
    timeout_us = _timeout_us(config)
    schedule = _schedule(at)
    if isinstance(schedule, Misuse):
        return schedule
    return ScheduleJson(execution_id, ffqn, given, schedule, timeout_us)


@_checked
def _stub_json(arguments: tuple[Value, ...]) -> Call:
    (text,), result = arguments
    execution_id = _derived_id(text, 0)
    try:
        return StubJson(execution_id, Json(normal_result(result)))
    except (InvalidJson, ValueMismatch) as error:
        raise _Mistake(2, str(error)) from None


@_checked
def _get_json(arguments: tuple[Value, ...]) -> Call:
    ((text,),) = arguments
    return GetJson(_execution_id(text, 0))


def _called_json(reply: Reply) -> Value:
    match reply:
        case JsonDone(outcome, form):
            return True, json_result(outcome, form)
        case FunctionNotFound():
            return False, (1, None)
        case TypeCheckError(message):
            return False, (2, message)
    raise _unexpected(CallJson, reply)


def _submitted_json(reply: Reply) -> Value:
    match reply:
        case str():
            return True, (reply,)
        case FunctionNotFound():
            return False, (1, None)
        case TypeCheckError(message):
            return False, (2, message)
    raise _unexpected(SubmitJson, reply)


def _scheduled_json(reply: Reply) -> Value:
    match reply:
        case Done():
            return True, None
        case FunctionNotFound():
            return False, (1, None)
        case TypeCheckError(message):
            return False, (2, message)
    raise _unexpected(ScheduleJson, reply)


def _stubbed_json(reply: Reply) -> Value:
    match reply:
        case Done():
            return True, None
        case ExecutionNotFound():
            return False, (1, None)
        case TypeCheckError(message):
            return False, (2, message)
        case Conflict():
            return False, (3, None)
    raise _unexpected(StubJson, reply)


def _got_json(reply: Reply) -> Value:
    match reply:
        case JsonDone(outcome, form):
            return True, json_result(outcome, form)
        case NotProcessed():
            return False, (1, None)
    raise _unexpected(GetJson, reply)


_KIND_CASES: Final = {kind: index for index, kind in enumerate(map(json_name, EXECUTION_FAILURE_KIND.names))}


def _failure_kind(reply: Reply) -> Value:
    match reply:
        case JsonDone(Failure(kind)):
            return True, (_KIND_CASES[kind],)
        case JsonDone():
            return True, None
        case NotProcessed():
            return False, (1, None)
    raise _unexpected(GetJson, reply)


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


def _without_backtrace(meaning: Meaning) -> Meaning:
    """The twin for interpreters: the last argument, where the guest is, changes nothing."""
    return Meaning(lambda arguments: meaning.call(arguments[:-1]), meaning.result, _told)


def _told(arguments: tuple[Value, ...]) -> tuple[Frame, ...] | None:
    return told_frames(arguments[-1])


def _with_backtraces(meanings: dict[str, Meaning], suffix: str = "") -> dict[str, Meaning]:
    return {name + suffix: _without_backtrace(meaning) for name, meaning in meanings.items()}


_ID_OF_SET: Final = Meaning(lambda arguments: Immediate(str(arguments[0])), _nothing)
_CURRENT_ID: Final = Meaning(lambda _: CurrentExecutionId(), _id)
_GENERATE_ID: Final = Meaning(lambda _: GenerateExecutionId(), _id)
_SLEEP_NAMED: Final = Meaning(_sleep_named, _slept)
_SUBMIT_DELAY: Final = Meaning(_submit_delay, _id)
_JOIN_NEXT: Final = Meaning(lambda arguments: JoinNext(arguments[0]), _joined)
_GET_JSON: Final = Meaning(_get_json, _got_json)

_SHARED: Final = {
    "random-u64": Meaning(_random_u64, _number),
    "random-u64-inclusive": Meaning(_random_u64_inclusive, _number),
    "random-string": Meaning(_random_string, _string),
    "join-set-create": Meaning(lambda _: JoinSetCreate(), _created),
    "join-set-create-named": Meaning(lambda arguments: JoinSetCreate(arguments[0]), _created_named),
    "join-set-close": Meaning(lambda arguments: JoinSetClose(arguments[0]), _nothing),
    "submit-json": Meaning(_submit_json, _submitted_json),
    "submit-delay": _SUBMIT_DELAY,
}
"""What has a twin with a backtrace in both generations."""
_JSON_CALLS: Final = {
    "execution-id-generate": _GENERATE_ID,
    "schedule-json": Meaning(_schedule_json, _scheduled_json),
    "call-json": Meaning(_call_json, _called_json),
    "stub-json": Meaning(_stub_json, _stubbed_json),
}
"""What takes a backtrace always in 5.1.0, and has a twin in 6.0.0."""
_TWINNED_5: Final = {
    **_SHARED,
    "sleep": Meaning(_sleep, _slept),
    "get-result-json": _GET_JSON,
    "join-next": _JOIN_NEXT,
    "join-next-try": Meaning(lambda arguments: JoinNextTry(arguments[0]), _tried),
}
_WRITING_6: Final = {
    **_SHARED,
    **_JSON_CALLS,
    "sleep": _SLEEP_NAMED,
    "join-next": Meaning(lambda arguments: JoinNext(arguments[0]), _joined_json),
    "join-next-try": Meaning(lambda arguments: JoinNextTry(arguments[0]), _tried_json),
}
_BY_INTERFACE: Final = {
    JOIN_SETS: {
        "[method]join-set.id": _ID_OF_SET,
        "[method]join-set.submit-delay": _SUBMIT_DELAY,
        "[method]join-set.join-next": _JOIN_NEXT,
    },
    JOIN_SETS_5: {
        "[method]join-set.id": _ID_OF_SET,
        "[method]join-set.last-id": Meaning(lambda arguments: LastOfSet(arguments[0]), _member_id),
    },
    WORKFLOW_SUPPORT: {
        "execution-id-current": _CURRENT_ID,
        **_TWINNED_5,
        **_with_backtraces(_JSON_CALLS),
        **_with_backtraces(_TWINNED_5, "-bt"),
        "sleep-named-bt": _without_backtrace(_SLEEP_NAMED),
    },
    WORKFLOW_SUPPORT_6: {
        "execution-id-current": _CURRENT_ID,
        **_WRITING_6,
        "get-result-json": _GET_JSON,
        "get-execution-failure-kind": Meaning(_get_json, _failure_kind),
        "last-direct-call-id": Meaning(lambda _: LastDirectCall(), _child_id),
        "last-oneoff-id": Meaning(lambda _: LastOneOff(), _member_id),
    },
    WORKFLOW_SUPPORT_BACKTRACE_6: _with_backtraces(_WRITING_6),
    LOG: {str(level): _log(level) for level in LogLevel},
}
_HOST_FUNCTIONS: Final = {
    f"{interface}.{name}": meaning
    for interface, meanings in _BY_INTERFACE.items()
    for name, meaning in meanings.items()
}


def _unexpected(call: type[Call], reply: Reply) -> ReplyMismatch:
    return ReplyMismatch(f"{call.__name__} was answered {reply!r:.200}")
