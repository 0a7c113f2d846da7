"""What the host itself supplies to guests: the functions of the `obelisk:*` interfaces, as data.

Decides which interfaces and functions exist, their exact types, and which of them this version links. The same facts are
in the texts under `packages/`; a test holds the two together. Links nothing.
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
WORKFLOW_VERSION: Final = "5.1.0"
LOG_VERSION: Final = "1.0.0"

TIME: Final = InterfaceName(f"obelisk:types/time@{TYPES_VERSION}")
EXECUTION: Final = InterfaceName(f"obelisk:types/execution@{TYPES_VERSION}")
BACKTRACE: Final = InterfaceName(f"obelisk:types/backtrace@{TYPES_VERSION}")
JOIN_SETS: Final = InterfaceName(f"obelisk:types/join-set@{TYPES_VERSION}")
WORKFLOW_SUPPORT: Final = InterfaceName(f"obelisk:workflow/workflow-support@{WORKFLOW_VERSION}")
LOG: Final = InterfaceName(f"obelisk:log/log@{LOG_VERSION}")

# --- obelisk:types ---------------------------------------------------------------------------------------------------

JOIN_SET_RESOURCE: Final = f"{JOIN_SETS}.join-set"
BORROWED_JOIN_SET: Final = Borrow(JOIN_SET_RESOURCE)
OWNED_JOIN_SET: Final = Own(JOIN_SET_RESOURCE)

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
JOIN_NEXT_RESULT: Final = Result(Tuple((RESPONSE_ID, Result(None, None))), JOIN_NEXT_ERROR)
_JSON_RESULT: Final = Result(Option(Prim.STRING), Option(Prim.STRING))


class HostInterface(msgspec.Struct, frozen=True):
    """An interface that the host supplies; `linked`: the functions that this version links, the others are known only."""

    name: InterfaceName
    functions: tuple[Function, ...] = ()
    linked: frozenset[str] = frozenset()
    resources: tuple[str, ...] = ()

    def function(self, name: str) -> Function | None:
        """The function called `name`."""
        return next((function for function in self.functions if function.name == name), None)


def _function(name: str, result: Type | None = None, /, **params: Type) -> Function:
    kebab = tuple((param.replace("_", "-"), type_) for param, type_ in params.items())
    return Function(name, Signature(kebab, result))


def _join_set_methods() -> tuple[Function, ...]:
    self = BORROWED_JOIN_SET
    return (
        _function("[method]join-set.id", Prim.STRING, self=self),
        _function("[method]join-set.submit-delay", DELAY_ID, self=self, timeout=SCHEDULE_AT),
        _function("[method]join-set.join-next", JOIN_NEXT_RESULT, self=self),
    )


_WORKFLOW_LINKED: Final = (
    _function("execution-id-current", EXECUTION_ID),
    _function("random-u64", Prim.U64, min=Prim.U64, max_exclusive=Prim.U64),
    _function("random-u64-inclusive", Prim.U64, min=Prim.U64, max_inclusive=Prim.U64),
    _function("random-string", Prim.STRING, min_length=Prim.U16, max_length_exclusive=Prim.U16),
    _function("sleep", Result(DATETIME, None), schedule_at=SCHEDULE_AT),
    _function("join-set-create", OWNED_JOIN_SET),
    _function("join-set-create-named", Result(OWNED_JOIN_SET, JOIN_SET_CREATE_ERROR), name=Prim.STRING),
    _function("join-set-close", self=OWNED_JOIN_SET),
    _function("submit-delay", DELAY_ID, join_set=BORROWED_JOIN_SET, timeout=SCHEDULE_AT),
    _function("join-next", JOIN_NEXT_RESULT, join_set=BORROWED_JOIN_SET),
)


def _workflow_later() -> tuple[Function, ...]:
    bt = Option(WASM_BACKTRACE)
    config = Option(SUBMIT_CONFIG)
    string = Prim.STRING
    join_set = BORROWED_JOIN_SET
    execution_id = EXECUTION_ID
    at = SCHEDULE_AT
    fn = FUNCTION
    slept = Result(DATETIME, None)
    created = Result(OWNED_JOIN_SET, JOIN_SET_CREATE_ERROR)
    submitted = Result(EXECUTION_ID, SUBMIT_JSON_ERROR)
    got = Result(_JSON_RESULT, GET_RESULT_JSON_ERROR)
    called = Result(_JSON_RESULT, SCHEDULE_JSON_ERROR)
    scheduled = Result(None, SCHEDULE_JSON_ERROR)
    stubbed = Result(None, STUB_JSON_ERROR)
    tried = Result(Tuple((RESPONSE_ID, Result(None, None))), JOIN_NEXT_TRY_ERROR)
    numbers = Prim.U64
    lengths = Prim.U16
    return (
        _function("submit-json", submitted, join_set=join_set, function=fn, params=string, config=config),
        _function("get-result-json", got, execution_id=execution_id),
        _function("join-next-try", tried, join_set=join_set),
        _function("execution-id-generate", EXECUTION_ID, backtrace=bt),
        _function(
            "schedule-json",
            scheduled,
            execution_id=execution_id,
            schedule_at=at,
            function=fn,
            params=string,
            config=config,
            backtrace=bt,
        ),
        _function("call-json", called, function=fn, params=string, config=config, backtrace=bt),
        _function("stub-json", stubbed, execution_id=execution_id, result_json=string, backtrace=bt),
        _function("random-u64-bt", Prim.U64, min=numbers, max_exclusive=numbers, backtrace=bt),
        _function("random-u64-inclusive-bt", Prim.U64, min=numbers, max_inclusive=numbers, backtrace=bt),
        _function("random-string-bt", string, min_length=lengths, max_length_exclusive=lengths, backtrace=bt),
        _function("sleep-bt", slept, schedule_at=at, backtrace=bt),
        _function("sleep-named-bt", slept, schedule_at=at, name=Option(string), backtrace=bt),
        _function("join-set-create-bt", OWNED_JOIN_SET, backtrace=bt),
        _function("join-set-create-named-bt", created, name=string, backtrace=bt),
        _function("join-set-close-bt", self=OWNED_JOIN_SET, backtrace=bt),
        _function(
            "submit-json-bt", submitted, join_set=join_set, function=fn, params=string, config=config, backtrace=bt
        ),
        _function("get-result-json-bt", got, execution_id=execution_id, backtrace=bt),
        _function("submit-delay-bt", DELAY_ID, join_set=join_set, timeout=at, backtrace=bt),
        _function("join-next-bt", JOIN_NEXT_RESULT, join_set=join_set, backtrace=bt),
        _function("join-next-try-bt", tried, join_set=join_set, backtrace=bt),
    )


LOG_FUNCTIONS: Final = tuple(
    _function(level, message=Prim.STRING) for level in ("trace", "debug", "info", "warn", "error")
)


def _host(name: InterfaceName, linked: tuple[Function, ...], later: tuple[Function, ...] = ()) -> HostInterface:
    return HostInterface(name, linked + later, frozenset(function.name for function in linked))


HOST_INTERFACES: Final = {
    interface.name: interface
    for interface in (
        HostInterface(TIME),
        HostInterface(EXECUTION),
        HostInterface(BACKTRACE),
        msgspec.structs.replace(_host(JOIN_SETS, _join_set_methods()), resources=("join-set",)),
        _host(WORKFLOW_SUPPORT, _WORKFLOW_LINKED, _workflow_later()),
        _host(LOG, LOG_FUNCTIONS),
    )
}
"""Every interface that the host supplies, by its name with version."""


def host_interface(imported: str) -> HostInterface | None:
    """What supplies an import: the host's interface of the same name, of the same major version and not older than asked
    for. None when there is none.
    """
    path, _, wanted = imported.partition("@")
    for interface in HOST_INTERFACES.values():
        own_path, _, own = interface.name.partition("@")
        if own_path == path and _satisfies(own, wanted):
            return interface
    return None


def newest(imported: str) -> HostInterface | None:
    """The host's interface of the same name, whatever the version."""
    path = imported.partition("@")[0]
    return next((found for name, found in HOST_INTERFACES.items() if name.partition("@")[0] == path), None)


def _satisfies(own: str, wanted: str) -> bool:
    try:
        own_numbers = tuple(map(int, own.split(".")))
        wanted_numbers = tuple(map(int, wanted.split(".")))
    except ValueError:  # a pre-release: only itself would do
        return False
    return own_numbers[0] == wanted_numbers[0] and wanted_numbers <= own_numbers


def modern(signature: Signature) -> Signature:
    """The same signature with handles of older versions of the host's resources replaced by today's."""
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
    host = host_interface(interface)
    return f"{host.name}.{name}" if host is not None and name in host.resources else resource
