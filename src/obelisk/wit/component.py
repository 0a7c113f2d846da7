"""Imports and exports of a component, or of a package of WIT, as data, out of what `wasm-tools component wit --json` prints.

Decides how the tool's document is flattened into `Signature`s: aliases followed, named types replaced by their structure,
resources named by the interface that defines them. Runs no tool; the text is given.

Functions and instances at the root of a component (names without `namespace:package/`) are no interfaces: exported ones
are left overs of language tools and are skipped, imported ones are listed apart, since nothing can supply them.
"""

from __future__ import annotations

import msgspec

from obelisk.core.names import FunctionName, InterfaceName
from obelisk.wit.document import Document, FunctionItem, Id, Item, TypeRef, UnreadableWit, World, read_document
from obelisk.wit.permanence import permanent_cases
from obelisk.wit.text import signature_text
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


class NoOneWorld(ValueError):
    """A package has several worlds, and nobody said which one is meant: its author's to fix."""


class Function(msgspec.Struct, frozen=True):
    """A function of an interface; `name` is bare (`fibo`), or that of a method (`[method]join-set.id`).

    `permanent`: the cases of its error that its WIT says are permanent, whatever their names are.
    """

    name: str
    signature: Signature
    permanent: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The signature as WIT: `func(n: u8) -> result<u64>`."""
        return signature_text(self.signature)


class Interface(msgspec.Struct, frozen=True):
    """An interface, imported or exported: `ns:pkg/ifc` or `ns:pkg/ifc@1.2.3`.

    `resources`: names of the resources that it defines itself. `unsupported`: functions whose types have no form here
    (futures, streams, …), each with the reason.
    """

    name: InterfaceName
    functions: tuple[Function, ...] = ()
    resources: tuple[str, ...] = ()
    unsupported: tuple[tuple[str, str], ...] = ()

    def function(self, name: str) -> Function | None:
        """The function called `name`."""
        return next((function for function in self.functions if function.name == name), None)

    def ffqn(self, function: Function) -> FunctionName:
        """The fully qualified name of one of its functions."""
        return FunctionName(f"{self.name}.{function.name}")


class ComponentWit(msgspec.Struct, frozen=True):
    """What a component imports and exports, in its own order. `root_imports`: imported names that are no interfaces."""

    exports: tuple[Interface, ...] = ()
    imports: tuple[Interface, ...] = ()
    root_imports: tuple[str, ...] = ()


class _Unsupported(Exception):
    """A type or kind of function that `obelisk.wit.types` has no form for; its text is the reason."""


def read_component_wit(text: str | bytes) -> ComponentWit:
    """The component that `wasm-tools component wit --json` described as `text`. `UnreadableWit` for anything else."""
    document = read_document(text)
    if len(document.worlds) != 1:
        raise UnreadableWit(f"wasm-tools described {len(document.worlds)} worlds; expected that of one component")
    return _component(document, document.worlds[0])


def read_package_wit(text: str | bytes, package: str, wanted: str | None = None) -> ComponentWit:
    """The package of that name (`ns:pkg` or `ns:pkg@1.2.3`) as if a component had been made of it: of its world (`wanted`:
    of the world of that name), or, when it has none, of all its interfaces. `NoOneWorld` when it has several, or not the
    wanted one, `UnreadableWit` when it is not in `text`.
    """
    document = read_document(text)
    number = document.package_index(package)
    worlds = [world for world in document.worlds if world.package == number]
    names = ", ".join(world.name for world in worlds) or "none"
    if wanted is not None:
        worlds = [world for world in worlds if world.name == wanted]
        if not worlds:
            raise NoOneWorld(f"the package {package} has no world {wanted}; it has: {names}")
    if len(worlds) > 1:
        raise NoOneWorld(f"the package {package} has {len(worlds)} worlds ({names}); expected one, or none")
    interfaces = {
        str(index): Item(interface=Id(index))
        for index, interface in enumerate(document.interfaces)
        if interface.package == number
    }
    return _component(document, worlds[0] if worlds else World("", {}, interfaces, number))


def read_interface(document: Document, index: int) -> Interface:
    """The interface with that index; it has a name. `UnreadableWit`."""
    try:
        return _Reader(document).interface(index)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise _unknown_form(error) from error


def _component(document: Document, world: World) -> ComponentWit:
    try:
        reader = _Reader(document)
        return ComponentWit(
            exports=tuple(reader.interfaces(world.exports)),
            imports=tuple(reader.interfaces(world.imports)),
            root_imports=tuple(key for key, item in world.imports.items() if reader.at_root(item)),
        )
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise _unknown_form(error) from error


def _unknown_form(error: Exception) -> UnreadableWit:
    return UnreadableWit(f"wasm-tools described the component in a form that is not known: {error!r}")


class _Reader:
    """Resolves the indices of one document; each type is resolved once."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._types: dict[int, Type] = {}

    def interfaces(self, items: dict[str, Item]) -> list[Interface]:
        indices = [item.interface.id for item in items.values() if item.interface is not None]
        return [self.interface(index) for index in indices if self._document.interfaces[index].name is not None]

    def at_root(self, item: Item) -> bool:
        """Whether an import of the world is a function, or an interface without a name of its own."""
        if item.interface is None:
            return item.function is not None
        return self._document.interfaces[item.interface.id].name is None

    def interface(self, index: int) -> Interface:
        """The interface with that index."""
        interface = self._document.interfaces[index]
        functions: list[Function] = []
        unsupported: list[tuple[str, str]] = []
        for name, function in interface.functions.items():
            try:
                cases = permanent_cases(self._document, function)
                functions.append(Function(name, self._signature(function), cases))
            except _Unsupported as reason:
                unsupported.append((name, str(reason)))
        return Interface(
            name=self._document.interface_name(index),
            functions=tuple(functions),
            resources=tuple(name for name, type_ in interface.types.items() if self._is_resource(type_)),
            unsupported=tuple(unsupported),
        )

    def _signature(self, function: FunctionItem) -> Signature:
        kind = function.kind if isinstance(function.kind, str) else next(iter(function.kind))
        if kind.startswith("async"):
            raise _Unsupported("it is an async function")
        return Signature(
            params=tuple((param.name, self._resolve(param.type)) for param in function.params),
            result=None if function.result is None else self._resolve(function.result),
        )

    def _is_resource(self, index: int) -> bool:
        return bool(self._document.types[index].kind == "resource")

    def _resource_name(self, index: int) -> str:
        """`ns:pkg/ifc@ver.name` of the resource that `index` stands for, perhaps under another name."""
        type_ = self._document.types[index]
        while isinstance(type_.kind, dict):
            type_ = self._document.types[type_.kind["type"]]
        if type_.owner is None or type_.owner.interface is None:
            raise _Unsupported(f"the resource {type_.name} belongs to no interface")
        return f"{self._document.interface_name(type_.owner.interface)}.{type_.name}"

    def _optional(self, reference: TypeRef | None) -> Type | None:
        return None if reference is None else self._resolve(reference)

    def _resolve(self, reference: TypeRef) -> Type:
        if isinstance(reference, str):
            try:
                return Prim(reference)
            except ValueError:
                raise _Unsupported(f"it uses {reference}") from None
        known = self._types.get(reference)
        if known is None:
            known = self._types[reference] = self._structure(reference)
        return known

    def _structure(self, index: int) -> Type:
        match self._document.types[index].kind:
            case {"type": reference}:
                return self._resolve(reference)
            case {"list": element}:
                return List(self._resolve(element))
            case {"tuple": {"types": items}}:
                return Tuple(tuple(self._resolve(item) for item in items))
            case {"record": {"fields": fields}}:
                return Record(tuple((field["name"], self._resolve(field["type"])) for field in fields))
            case {"variant": {"cases": cases}}:
                return Variant(tuple((case["name"], self._optional(case["type"])) for case in cases))
            case {"enum": {"cases": cases}}:
                return Enum(tuple(case["name"] for case in cases))
            case {"flags": {"flags": flags}}:
                return Flags(tuple(flag["name"] for flag in flags))
            case {"option": some}:
                return Option(self._resolve(some))
            case {"result": {"ok": ok, "err": err}}:
                return Result(self._optional(ok), self._optional(err))
            case {"handle": {"own": resource}}:
                return Own(self._resource_name(resource))
            case {"handle": {"borrow": resource}}:
                return Borrow(self._resource_name(resource))
            case kind:
                raise _Unsupported(f"it uses a {kind if isinstance(kind, str) else next(iter(kind))}")
