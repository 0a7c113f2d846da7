"""The extension functions that come with every deployed function: `-submit`, `-await-next` and the others.

Decides their names and signatures. For an interface `ns:pkg/ifc@1.0.0`, `-submit`, `-await-next`, `-get` and `-invoke` live
in `ns:pkg-obelisk-ext/ifc@1.0.0`, `-schedule` in `ns:pkg-obelisk-schedule/…` and `-stub` in `ns:pkg-obelisk-stub/…`. What a
call of one does is the machine's business.

The signatures are those of `obelisk:types@4.2.0`. A guest that is written against 5.0.0 has its own join sets, and
`-await-next` without the id; nothing else differs.
"""

from __future__ import annotations

from enum import StrEnum
from string import ascii_lowercase
from typing import Final

from obelisk.core.names import EXT_SUFFIX, SCHEDULE_SUFFIX, STUB_SUFFIX, FunctionName, InterfaceName
from obelisk.core.ports import FunctionKind
from obelisk.wit.component import Function, Interface
from obelisk.wit.host import (
    AWAIT_NEXT_EXTENSION_ERROR,
    BORROWED_JOIN_SET,
    BORROWED_JOIN_SET_5,
    EXECUTION_ID,
    GET_EXTENSION_ERROR,
    INVOKE_EXTENSION_ERROR,
    SCHEDULE_AT,
    STUB_ERROR,
)
from obelisk.wit.outcomes import err_form
from obelisk.wit.types import Borrow, Prim, Result, Signature, Tuple, Type


class ExtensionKind(StrEnum):
    """What an extension function does; the value is the last part of its name."""

    SUBMIT = "submit"
    AWAIT_NEXT = "await-next"
    GET = "get"
    INVOKE = "invoke"
    SCHEDULE = "schedule"
    STUB = "stub"


SUFFIXES: Final = {
    EXT_SUFFIX: (ExtensionKind.SUBMIT, ExtensionKind.AWAIT_NEXT, ExtensionKind.GET, ExtensionKind.INVOKE),
    SCHEDULE_SUFFIX: (ExtensionKind.SCHEDULE,),
    STUB_SUFFIX: (ExtensionKind.STUB,),
}
"""The kinds of functions in the packages of each suffix."""


def suffixes(kind: FunctionKind) -> tuple[str, ...]:
    """Which of `SUFFIXES` a component of that kind gets: what nothing runs cannot be scheduled, only given a result."""
    return (EXT_SUFFIX, STUB_SUFFIX) if kind is FunctionKind.STUB else (EXT_SUFFIX, SCHEDULE_SUFFIX)


def package_suffix(interface: str) -> str | None:
    """Which of `SUFFIXES` the package of `interface` ends in; None for an ordinary package."""
    package = interface.partition("/")[0]
    return next((suffix for suffix in SUFFIXES if package.endswith(suffix)), None)


def classify(interface: str, function: str) -> tuple[FunctionName, ExtensionKind] | None:
    """The function that `interface.function` extends and how; None when it is no extension function by its name."""
    suffix = package_suffix(interface)
    if suffix is None:
        return None
    package, _, rest = interface.partition("/")
    for kind in SUFFIXES[suffix]:
        base = function.removesuffix(f"-{kind}")
        if base and base != function:
            return FunctionName(f"{package.removesuffix(suffix)}/{rest}.{base}"), kind
    return None


def extension_function(function: Function, kind: ExtensionKind, *, join_set: Borrow = BORROWED_JOIN_SET) -> Function:
    """The extension of `function`; `join_set`: the join sets of the version of `obelisk:types` that it is wanted for.
    `ValueError` when the function cannot be an execution (see `obelisk.wit.outcomes.err_form`).
    """
    params = function.signature.params
    returned = function.signature.result
    if returned is None or err_form(function.signature) is None:
        raise ValueError(f"{function.name}: {function.text} cannot be an execution and has no extensions")
    taken = {name for name, _ in params}

    def injected(name: str, type_: Type) -> tuple[tuple[str, Type], ...]:
        """One parameter more, before those of the function."""
        names = (name, *(f"{name}-{letter}" for letter in ascii_lowercase))
        return ((next(free for free in names if free not in taken), type_), *params)

    match kind:
        case ExtensionKind.SUBMIT:
            signature = Signature(injected("join-set", join_set), EXECUTION_ID)
        case ExtensionKind.AWAIT_NEXT:
            awaited = returned if join_set == BORROWED_JOIN_SET_5 else Tuple((EXECUTION_ID, returned))
            signature = Signature((("join-set", join_set),), Result(awaited, AWAIT_NEXT_EXTENSION_ERROR))
        case ExtensionKind.GET:
            signature = Signature((("execution-id", EXECUTION_ID),), Result(returned, GET_EXTENSION_ERROR))
        case ExtensionKind.INVOKE:
            signature = Signature(injected("label", Prim.STRING), Result(returned, INVOKE_EXTENSION_ERROR))
        case ExtensionKind.SCHEDULE:
            signature = Signature(injected("schedule-at", SCHEDULE_AT), EXECUTION_ID)
        case ExtensionKind.STUB:
            result = ("execution-result", returned)
            signature = Signature((("execution-id", EXECUTION_ID), result), Result(None, STUB_ERROR))
    return Function(f"{function.name}-{kind}", signature)


def extension_interfaces(exported: Interface, kind: FunctionKind) -> tuple[Interface, ...]:
    """What is generated for an interface that a component of that kind exports. Functions that cannot be executions have
    no extensions.
    """
    functions = [function for function in exported.functions if err_form(function.signature) is not None]
    if not functions:
        return ()
    package, slash, rest = exported.name.partition("/")
    return tuple(
        Interface(
            InterfaceName(f"{package}{suffix}{slash}{rest}"),
            tuple(extension_function(function, kind) for function in functions for kind in SUFFIXES[suffix]),
        )
        for suffix in suffixes(kind)
    )
