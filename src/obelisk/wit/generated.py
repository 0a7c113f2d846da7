"""The WIT packages that come with every deployed function, as text: what a workflow that calls it is written against.

Decides how `obelisk.wit.extensions` reads in WIT: which types are `use`d, and under which names when one is taken. The types
of the extended interface are all `use`d, so that they have the same names on both sides.
"""

from __future__ import annotations

from string import ascii_lowercase
from typing import Final

from obelisk.core.names import InterfaceName
from obelisk.core.ports import FunctionKind
from obelisk.wit.component import Function, read_interface
from obelisk.wit.document import Document
from obelisk.wit.extensions import SUFFIXES, ExtensionKind, extension_function, suffixes
from obelisk.wit.host import (
    BORROWED_JOIN_SET,
    BORROWED_JOIN_SET_5,
    EXECUTION,
    EXECUTION_5,
    JOIN_SETS,
    JOIN_SETS_5,
    TIME,
    TIME_5,
    TYPES_VERSION,
    TYPES_VERSION_5,
)
from obelisk.wit.outcomes import err_form
from obelisk.wit.printer import InterfaceText, Printer, escaped
from obelisk.wit.types import Borrow

TYPES_VERSIONS: Final = (TYPES_VERSION, TYPES_VERSION_5)
"""The versions of `obelisk:types` that texts can be generated for."""

_USED: Final = {
    ExtensionKind.SUBMIT: ("execution-id", "join-set"),
    ExtensionKind.AWAIT_NEXT: ("execution-id", "join-set", "await-next-extension-error"),
    ExtensionKind.GET: ("execution-id", "get-extension-error"),
    ExtensionKind.INVOKE: ("invoke-extension-error",),
    ExtensionKind.SCHEDULE: ("execution-id", "schedule-at"),
    ExtensionKind.STUB: ("execution-id", "stub-error"),
}
"""The types of the host that each kind of function speaks of."""


class _Generation:
    """What a version of `obelisk:types` calls its interfaces, and which functions it has words for."""

    def __init__(self, version: str) -> None:
        later = version == TYPES_VERSION_5
        self.join_set: Borrow = BORROWED_JOIN_SET_5 if later else BORROWED_JOIN_SET
        self.join_sets = JOIN_SETS_5 if later else JOIN_SETS
        self.time = TIME_5 if later else TIME
        self.execution = EXECUTION_5 if later else EXECUTION
        self.awaits_id = not later
        self.without = {ExtensionKind.INVOKE} if later else set()

    def home(self, type_: str) -> InterfaceName:
        """The interface that defines a type of the host."""
        return {"join-set": self.join_sets, "schedule-at": self.time}.get(type_, self.execution)


def extension_texts(
    document: Document, interface: int, kind: FunctionKind, types_version: str = TYPES_VERSION
) -> tuple[InterfaceText, ...]:
    """What is generated for the interface with that index, which a component of that kind exports: one text for each suffix
    that its package gets. Functions that cannot be executions have no extensions; nothing when none is left.
    """
    generation = _Generation(types_version)
    found = _Extended(document, interface, generation)
    if not found.functions:
        return ()
    return tuple(found.text(suffix) for suffix in suffixes(kind))


class _Extended:
    """One interface with those of its functions that can be executions."""

    def __init__(self, document: Document, index: int, generation: _Generation) -> None:
        interface = read_interface(document, index)
        self._item = document.interfaces[index]
        self._name = interface.name
        self._printer = Printer(document)
        self._generation = generation
        self.functions = [function for function in interface.functions if err_form(function.signature) is not None]

    def text(self, suffix: str) -> InterfaceText:
        """Its interface in the package with that suffix."""
        kinds = [kind for kind in SUFFIXES[suffix] if kind not in self._generation.without]
        package, slash, rest = self._name.partition("/")
        uses = {name: f"{self._name}.{name}" for name in self._item.types}
        taken = {*uses, *(f"{function.name}-{kind}" for function in self.functions for kind in kinds)}
        local: dict[str, str] = {}
        for type_ in dict.fromkeys(name for kind in kinds for name in _used(kind, self._generation)):
            free = (type_, *(f"{type_}-{letter}" for letter in ascii_lowercase))
            local[type_] = next(name for name in free if name not in taken)
            uses[local[type_]] = f"{self._generation.home(type_)}.{type_}"
        functions = {
            f"{function.name}-{kind}": self._function(function, kind, local)
            for function in self.functions
            for kind in kinds
        }
        name = InterfaceName(f"{package}{suffix}{slash}{rest}")
        return InterfaceText(name, uses=dict(sorted(uses.items(), key=_host_last)), functions=functions)

    def _function(self, function: Function, kind: ExtensionKind, local: dict[str, str]) -> str:
        extension = extension_function(function, kind, join_set=self._generation.join_set)
        item = self._item.functions[function.name]
        own = self._printer.params(item.params)
        assert item.result is not None, "it can be an execution"
        returned = self._printer.reference(item.result)
        names = {name: escaped(as_) for name, as_ in local.items()}
        first = escaped(extension.signature.params[0][0])  # renamed when the function has a parameter of that name
        match kind:
            case ExtensionKind.SUBMIT:
                params, result = _joined(f"{first}: borrow<{names['join-set']}>", own), names["execution-id"]
            case ExtensionKind.AWAIT_NEXT:
                awaited = f"tuple<{names['execution-id']}, {returned}>" if self._generation.awaits_id else returned
                params = f"{first}: borrow<{names['join-set']}>"
                result = f"result<{awaited}, {names['await-next-extension-error']}>"
            case ExtensionKind.GET:
                params = f"{first}: {names['execution-id']}"
                result = f"result<{returned}, {names['get-extension-error']}>"
            case ExtensionKind.INVOKE:
                params = _joined(f"{first}: string", own)
                result = f"result<{returned}, {names['invoke-extension-error']}>"
            case ExtensionKind.SCHEDULE:
                params, result = _joined(f"{first}: {names['schedule-at']}", own), names["execution-id"]
            case ExtensionKind.STUB:
                params = f"{first}: {names['execution-id']}, execution-result: {returned}"
                result = f"result<_, {names['stub-error']}>"
        return f"  {escaped(extension.name)}: func({params}) -> {result};\n"


def _used(kind: ExtensionKind, generation: _Generation) -> tuple[str, ...]:
    names = _USED[kind]
    if kind is ExtensionKind.AWAIT_NEXT and not generation.awaits_id:
        return names[1:]
    return names


def _joined(first: str, rest: str) -> str:
    return f"{first}, {rest}" if rest else first


def _host_last(use: tuple[str, str]) -> bool:
    return use[1].startswith("obelisk:")
