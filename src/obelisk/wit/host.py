"""What the host itself supplies to guests: the functions of the `obelisk:*` interfaces, as data.

Decides which interfaces and functions exist, in which versions, and their exact types. The same facts are in the texts
under `packages/`; a test holds the two together. Links nothing.

Two generations stand side by side: `obelisk:types@4.2.0` with `obelisk:workflow@5.1.0`, which the generated interfaces
are written against, and `obelisk:types@5.0.0` with `obelisk:workflow@6.0.0`. Names of the later one end in its number.
"""

from __future__ import annotations

from typing import Final

import msgspec

from obelisk.core.names import InterfaceName
from obelisk.wit.component import Function
from obelisk.wit.types import (
    Borrow,
    Enum,
    Flags,
    List,
    Option,
    Own,
    Prim,
    Record,
    Result,
    Signature,
    Tuple,
    Type,
    Variant,
)

TYPES_VERSION: Final = "4.2.0"
TYPES_VERSION_5: Final = "5.0.0"
WORKFLOW_VERSION: Final = "5.1.0"
WORKFLOW_VERSION_6: Final = "6.0.0"
LOG_VERSION: Final = "1.0.0"

TIME: Final = InterfaceName(f"obelisk:types/time@{TYPES_VERSION}")
EXECUTION: Final = InterfaceName(f"obelisk:types/execution@{TYPES_VERSION}")
BACKTRACE: Final = InterfaceName(f"obelisk:types/backtrace@{TYPES_VERSION}")
JOIN_SETS: Final = InterfaceName(f"obelisk:types/join-set@{TYPES_VERSION}")
WORKFLOW_SUPPORT: Final = InterfaceName(f"obelisk:workflow/workflow-support@{WORKFLOW_VERSION}")

TIME_5: Final = InterfaceName(f"obelisk:types/time@{TYPES_VERSION_5}")
EXECUTION_5: Final = InterfaceName(f"obelisk:types/execution@{TYPES_VERSION_5}")
BACKTRACE_5: Final = InterfaceName(f"obelisk:types/backtrace@{TYPES_VERSION_5}")
JOIN_SETS_5: Final = InterfaceName(f"obelisk:types/join-set@{TYPES_VERSION_5}")
WORKFLOW_SUPPORT_6: Final = InterfaceName(f"obelisk:workflow/workflow-support@{WORKFLOW_VERSION_6}")
WORKFLOW_SUPPORT_BACKTRACE_6: Final = InterfaceName(f"obelisk:workflow/workflow-support-backtrace@{WORKFLOW_VERSION_6}")

LOG: Final = InterfaceName(f"obelisk:log/log@{LOG_VERSION}")
PROCESS: Final = InterfaceName("obelisk:activity/process@1.0.0")

_WASI_VERSION: Final = "0.2.12"

# --- obelisk:types ---------------------------------------------------------------------------------------------------

BORROWED_JOIN_SET: Final = Borrow(f"{JOIN_SETS}.join-set")
BORROWED_JOIN_SET_5: Final = Borrow(f"{JOIN_SETS_5}.join-set")

DURATION: Final = Variant(
    (
        ("milliseconds", Prim.U64),
        ("seconds", Prim.U64),
        ("minutes", Prim.U32),
        ("hours", Prim.U32),
        ("days", Prim.U32),
    )
)
DATETIME: Final = Record((("seconds", Prim.U64), ("nanoseconds", Prim.U32)))
SCHEDULE_AT: Final = Variant((("now", None), ("at", DATETIME), ("in", DURATION)))

EXECUTION_ID: Final = Record((("id", Prim.STRING),))
DELAY_ID: Final = Record((("id", Prim.STRING),))
FUNCTION: Final = Record((("interface-name", Prim.STRING), ("function-name", Prim.STRING)))
RESPONSE_ID: Final = Variant((("execution-id", EXECUTION_ID), ("delay-id", DELAY_ID)))
FUNCTION_MISMATCH: Final = Record(
    (
        ("specified-function", FUNCTION),
        ("actual-function", Option(FUNCTION)),
        ("actual-id", RESPONSE_ID),
    )
)
AWAIT_NEXT_EXTENSION_ERROR: Final = Variant((("all-processed", None), ("function-mismatch", FUNCTION_MISMATCH)))
GET_EXTENSION_ERROR: Final = Variant(
    (("function-mismatch", FUNCTION_MISMATCH), ("not-found-in-processed-responses", None))
)
INVOKE_EXTENSION_ERROR: Final = Variant((("invalid-name", Prim.STRING),))
STUB_ERROR: Final = Variant((("execution-not-found", None), ("type-check-error", Prim.STRING), ("conflict", None)))
SUBMIT_CONFIG: Final = Record((("timeout", Option(DURATION)),))
SCHEDULE_JSON_ERROR: Final = Variant(
    (("ffqn-parsing-error", Prim.STRING), ("function-not-found", None), ("type-check-error", Prim.STRING))
)
EXECUTION_FAILURE_KIND: Final = Enum(
    ("timed-out", "nondeterminism-detected", "out-of-fuel", "cancelled", "uncategorized")
)

FRAME_SYMBOL: Final = Record(
    (
        ("func-name", Option(Prim.STRING)),
        ("file", Option(Prim.STRING)),
        ("line", Option(Prim.U32)),
        ("col", Option(Prim.U32)),
    )
)
FRAME_INFO: Final = Record((("module", Prim.STRING), ("func-name", Prim.STRING), ("symbols", List(FRAME_SYMBOL))))
WASM_BACKTRACE: Final = Record((("frames", List(FRAME_INFO)),))

# --- obelisk:workflow ------------------------------------------------------------------------------------------------

JOIN_SET_CREATE_ERROR: Final = Variant((("conflict", None), ("invalid-name", Prim.STRING)))
GET_RESULT_JSON_ERROR: Final = Variant(
    (("execution-id-parsing-error", Prim.STRING), ("not-found-in-processed-responses", None))
)
SUBMIT_JSON_ERROR: Final = SCHEDULE_JSON_ERROR
JOIN_NEXT_ERROR: Final = Variant((("all-processed", None),))
JOIN_NEXT_TRY_ERROR: Final = Variant((("all-processed", None), ("pending", None)))
STUB_JSON_ERROR: Final = Variant(
    (
        ("execution-id-parsing-error", Prim.STRING),
        ("execution-not-found", None),
        ("type-check-error", Prim.STRING),
        ("conflict", None),
    )
)
_JSON_RESULT: Final = Result(Option(Prim.STRING), Option(Prim.STRING))


# --- obelisk:activity ------------------------------------------------------------------------------------------------

STDIO: Final = Enum(("discard", "piped", "inherit"))
SPAWN_OPTIONS: Final = Record(
    (
        ("args", List(Prim.STRING)),
        ("environment", List(Tuple((Prim.STRING, Prim.STRING)))),
        ("current-working-directory", Option(Prim.STRING)),
        ("stdin", STDIO),
        ("stdout", STDIO),
        ("stderr", STDIO),
    )
)
SPAWN_ERROR: Final = Variant(
    (("not-permitted", Prim.STRING), ("not-found", Prim.STRING), ("invalid", Prim.STRING), ("failed", Prim.STRING))
)
WAIT_ERROR: Final = Variant((("lost", Prim.STRING),))
_INPUT_STREAM: Final = Own(f"wasi:io/streams@{_WASI_VERSION}.input-stream")
_OUTPUT_STREAM: Final = Own(f"wasi:io/streams@{_WASI_VERSION}.output-stream")
_POLLABLE: Final = Own(f"wasi:io/poll@{_WASI_VERSION}.pollable")


class HostInterface(msgspec.Struct, frozen=True):
    """An interface that the host supplies."""

    name: InterfaceName
    functions: tuple[Function, ...] = ()
    resources: tuple[str, ...] = ()

    def function(self, name: str) -> Function | None:
        """The function called `name`."""
        return next((function for function in self.functions if function.name == name), None)


def _function(name: str, result: Type | None = None, /, **params: Type) -> Function:
    kebab = tuple((param.replace("_", "-"), type_) for param, type_ in params.items())
    return Function(name, Signature(kebab, result))


def _with_backtrace(function: Function, suffix: str = "") -> Function:
    """The same function for interpreters, which know the source lines of their callers."""
    params = (*function.signature.params, ("backtrace", Option(WASM_BACKTRACE)))
    return Function(function.name + suffix, Signature(params, function.signature.result))


_CREATED: Final = Result(Own(BORROWED_JOIN_SET.resource), JOIN_SET_CREATE_ERROR)
_CREATED_5: Final = Result(Own(BORROWED_JOIN_SET_5.resource), JOIN_SET_CREATE_ERROR)
_SLEPT: Final = Result(DATETIME, None)
_SUBMITTED: Final = Result(EXECUTION_ID, SUBMIT_JSON_ERROR)
_GOT: Final = Result(_JSON_RESULT, GET_RESULT_JSON_ERROR)
_CALLED: Final = Result(_JSON_RESULT, SCHEDULE_JSON_ERROR)
_SCHEDULED: Final = Result(None, SCHEDULE_JSON_ERROR)
_STUBBED: Final = Result(None, STUB_JSON_ERROR)
_MEMBER: Final = Tuple((RESPONSE_ID, Result(None, None)))

_JOIN_SET_METHODS: Final = (
    _function("[method]join-set.id", Prim.STRING, self=BORROWED_JOIN_SET),
    _function("[method]join-set.submit-delay", DELAY_ID, self=BORROWED_JOIN_SET, timeout=SCHEDULE_AT),
    _function("[method]join-set.join-next", Result(_MEMBER, JOIN_NEXT_ERROR), self=BORROWED_JOIN_SET),
)
_JOIN_SET_METHODS_5: Final = (
    _function("[method]join-set.id", Prim.STRING, self=BORROWED_JOIN_SET_5),
    _function("[method]join-set.last-id", Option(RESPONSE_ID), self=BORROWED_JOIN_SET_5),
)

_CURRENT_ID: Final = _function("execution-id-current", EXECUTION_ID)
_GET_RESULT: Final = _function("get-result-json", _GOT, execution_id=EXECUTION_ID)
_GENERATE_ID: Final = _function("execution-id-generate", EXECUTION_ID)
_RANDOM: Final = (
    _function("random-u64", Prim.U64, min=Prim.U64, max_exclusive=Prim.U64),
    _function("random-u64-inclusive", Prim.U64, min=Prim.U64, max_inclusive=Prim.U64),
    _function("random-string", Prim.STRING, min_length=Prim.U16, max_length_exclusive=Prim.U16),
)
_STUB: Final = _function("stub-json", _STUBBED, execution_id=EXECUTION_ID, result_json=Prim.STRING)
_SLEEP_NAMED: Final = _function("sleep", _SLEPT, schedule_at=SCHEDULE_AT, name=Option(Prim.STRING))


def _workflow_5() -> tuple[Function, ...]:
    join_set = BORROWED_JOIN_SET
    string = Prim.STRING
    config = Option(SUBMIT_CONFIG)
    twinned = (
        *_RANDOM,
        _function("sleep", _SLEPT, schedule_at=SCHEDULE_AT),
        _function("join-set-create", _CREATED.ok),
        _function("join-set-create-named", _CREATED, name=string),
        _function("join-set-close", self=Own(join_set.resource)),
        _function("submit-json", _SUBMITTED, join_set=join_set, function=FUNCTION, params=string, config=config),
        _GET_RESULT,
        _function("submit-delay", DELAY_ID, join_set=join_set, timeout=SCHEDULE_AT),
        _function("join-next", Result(_MEMBER, JOIN_NEXT_ERROR), join_set=join_set),
        _function("join-next-try", Result(_MEMBER, JOIN_NEXT_TRY_ERROR), join_set=join_set),
    )
    with_backtrace = (
        _GENERATE_ID,
        _function(
            "schedule-json",
            _SCHEDULED,
            execution_id=EXECUTION_ID,
            schedule_at=SCHEDULE_AT,
            function=FUNCTION,
            params=string,
            config=config,
        ),
        _function("call-json", _CALLED, function=FUNCTION, params=string, config=config),
        _STUB,
    )
    sleep_named = _with_backtrace(_SLEEP_NAMED, "-named-bt")
    twins = tuple(_with_backtrace(function, "-bt") for function in twinned)
    return (_CURRENT_ID, *twinned, *map(_with_backtrace, with_backtrace), *twins, sleep_named)


def _workflow_6_writing() -> tuple[Function, ...]:
    """Those that leave an event, and so have a twin that is told where the guest was."""
    join_set = BORROWED_JOIN_SET_5
    string = Prim.STRING
    at = SCHEDULE_AT
    return (
        *_RANDOM,
        _SLEEP_NAMED,
        _function("join-set-create", _CREATED_5.ok),
        _function("join-set-create-named", _CREATED_5, name=string),
        _function("join-set-close", self=Own(join_set.resource)),
        _function("submit-json", _SUBMITTED, join_set=join_set, function=FUNCTION, params=string),
        _function("submit-delay", DELAY_ID, join_set=join_set, timeout=at),
        _function("join-next", Result(_JSON_RESULT, JOIN_NEXT_ERROR), join_set=join_set),
        _function("join-next-try", Result(_JSON_RESULT, JOIN_NEXT_TRY_ERROR), join_set=join_set),
        _GENERATE_ID,
        _function(
            "schedule-json", _SCHEDULED, execution_id=EXECUTION_ID, schedule_at=at, function=FUNCTION, params=string
        ),
        _function("call-json", _CALLED, function=FUNCTION, params=string),
        _STUB,
    )


_WORKFLOW_6_READING: Final = (
    _CURRENT_ID,
    _GET_RESULT,
    _function(
        "get-execution-failure-kind",
        Result(Option(EXECUTION_FAILURE_KIND), GET_RESULT_JSON_ERROR),
        execution_id=EXECUTION_ID,
    ),
    _function("last-direct-call-id", Option(EXECUTION_ID)),
    _function("last-oneoff-id", Option(RESPONSE_ID)),
)

_CHILD: Final = Borrow(f"{PROCESS}.child-process")
_PROCESS: Final = (
    _function("spawn", Result(Own(_CHILD.resource), SPAWN_ERROR), command=Prim.STRING, options=SPAWN_OPTIONS),
    _function("[method]child-process.id", Prim.U64, self=_CHILD),
    _function("[method]child-process.take-stdin", Option(_OUTPUT_STREAM), self=_CHILD),
    _function("[method]child-process.take-stdout", Option(_INPUT_STREAM), self=_CHILD),
    _function("[method]child-process.take-stderr", Option(_INPUT_STREAM), self=_CHILD),
    _function("[method]child-process.subscribe-wait", _POLLABLE, self=_CHILD),
    _function("[method]child-process.wait", Result(Option(Prim.S32), WAIT_ERROR), self=_CHILD),
    _function("[method]child-process.kill", self=_CHILD),
)

LOG_FUNCTIONS: Final = tuple(
    _function(level, message=Prim.STRING) for level in ("trace", "debug", "info", "warn", "error")
)

HOST_INTERFACES: Final = {
    interface.name: interface
    for interface in (
        HostInterface(TIME),
        HostInterface(EXECUTION),
        HostInterface(BACKTRACE),
        HostInterface(JOIN_SETS, _JOIN_SET_METHODS, resources=("join-set",)),
        HostInterface(WORKFLOW_SUPPORT, _workflow_5()),
        HostInterface(TIME_5),
        HostInterface(EXECUTION_5),
        HostInterface(BACKTRACE_5),
        HostInterface(JOIN_SETS_5, _JOIN_SET_METHODS_5, resources=("join-set",)),
        HostInterface(WORKFLOW_SUPPORT_6, _WORKFLOW_6_READING + _workflow_6_writing()),
        HostInterface(WORKFLOW_SUPPORT_BACKTRACE_6, tuple(map(_with_backtrace, _workflow_6_writing()))),
        HostInterface(LOG, LOG_FUNCTIONS),
    )
}
"""Every interface that the host supplies to workflows, by its name with version."""
PROCESSES: Final = HostInterface(PROCESS, _PROCESS, resources=("child-process",))
"""What it supplies to activities only."""


def host_interface(imported: str) -> HostInterface | None:
    """What supplies an import: the host's interface of the same name, of the same major version and not older than asked
    for. None when there is none.
    """
    wanted = imported.partition("@")[2]
    for interface in versions(imported):
        if _satisfies(interface.name.partition("@")[2], wanted):
            return interface
    return None


def versions(imported: str) -> tuple[HostInterface, ...]:
    """The host's interfaces of the same name, whatever the version; oldest first."""
    path = imported.partition("@")[0]
    return tuple(
        found for name, found in (*HOST_INTERFACES.items(), (PROCESS, PROCESSES)) if name.partition("@")[0] == path
    )


def _satisfies(own: str, wanted: str) -> bool:
    try:
        own_numbers = tuple(map(int, own.split(".")))
        wanted_numbers = tuple(map(int, wanted.split(".")))
    except ValueError:  # a pre-release: only itself would do
        return False
    return own_numbers[0] == wanted_numbers[0] and wanted_numbers <= own_numbers


def modern(signature: Signature) -> Signature:
    """The same signature with handles of the host's resources in the versions that the host has: 4.0.0 means 4.2.0."""
    return Signature(
        tuple((name, _modern(type_)) for name, type_ in signature.params),
        None if signature.result is None else _modern(signature.result),
    )


def _modern(type_: Type) -> Type:
    match type_:
        case Prim() | Enum() | Flags():
            return type_
        case List(inner):
            return List(_modern(inner))
        case Option(inner):
            return Option(_modern(inner))
        case Tuple(items):
            return Tuple(tuple(map(_modern, items)))
        case Record(fields):
            return Record(tuple((name, _modern(field)) for name, field in fields))
        case Variant(cases):
            return Variant(tuple((name, None if case is None else _modern(case)) for name, case in cases))
        case Result(ok, err):
            return Result(None if ok is None else _modern(ok), None if err is None else _modern(err))
        case Own(resource):
            return Own(_modern_resource(resource))
        case Borrow(resource):
            return Borrow(_modern_resource(resource))
    raise AssertionError(f"not a WIT type: {type_!r}")


def _modern_resource(resource: str) -> str:
    interface, _, name = resource.rpartition(".")
    if interface.startswith("wasi:") and "@0.2." in interface:
        return f"{interface.partition('@')[0]}@{_WASI_VERSION}.{name}"
    host = host_interface(interface)
    return f"{host.name}.{name}" if host is not None and name in host.resources else resource
