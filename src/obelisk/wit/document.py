"""What `wasm-tools component wit --json` prints, as data.

Decides nothing: worlds, interfaces, types and packages refer to each other by their indices, as in the tool's own document.
`obelisk.wit.component` reads signatures out of it, `obelisk.wit.printer` makes text of it again. Since when an item is
stable is not read: what is described is there.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from obelisk.core.names import InterfaceName


class UnreadableWit(ValueError):
    """The text is not a description of a component as wasm-tools prints it: the tool's fault, or ours."""


class Docs(msgspec.Struct, frozen=True):
    """A comment, without its slashes."""

    contents: str | None = None


class Id(msgspec.Struct):
    """An index, of an interface. `docs`: of the import or export."""

    id: int
    docs: Docs = Docs()


class Item(msgspec.Struct):
    """An import or export of the world: an interface, a function, or a mere name for a type."""

    interface: Id | None = None
    function: Any = None


class World(msgspec.Struct):
    """What a component imports and exports. `package`: its index."""

    name: str
    imports: dict[str, Item]
    exports: dict[str, Item]
    package: int
    docs: Docs = Docs()


TypeRef = str | int
"""The name of a primitive, or an index into the types."""


class Param(msgspec.Struct):
    """A parameter."""

    name: str
    type: TypeRef


class FunctionItem(msgspec.Struct):
    """A function. `kind`: `"freestanding"`, or an object with one key (`"method"`, `"static"`, …) that names its resource."""

    name: str
    kind: str | dict[str, int]
    params: list[Param]
    result: TypeRef | None = None
    docs: Docs = Docs()


class InterfaceItem(msgspec.Struct):
    """An interface; without a name when a world defines it in place."""

    name: str | None
    types: dict[str, int]
    functions: dict[str, FunctionItem]
    package: int
    docs: Docs = Docs()


class Owner(msgspec.Struct):
    """Where a type is defined."""

    interface: int | None = None
    world: int | None = None


class TypeItem(msgspec.Struct):
    """A type; without a name when it is written out where it is used."""

    name: str | None
    kind: Any
    """`"resource"`, or an object with one key that says what the type is built from."""
    owner: Owner | None
    docs: Docs = Docs()


class Package(msgspec.Struct):
    """A package: `ns:pkg` or `ns:pkg@1.2.3`."""

    name: str
    docs: Docs = Docs()


class Document(msgspec.Struct):
    """All that a component, or a folder of WIT, describes."""

    worlds: list[World]
    interfaces: list[InterfaceItem]
    types: list[TypeItem]
    packages: list[Package]

    def interface_name(self, index: int) -> InterfaceName:
        """`ns:pkg/ifc@ver` of the interface with that index; it has a name."""
        interface = self.interfaces[index]
        package, at, version = self.packages[interface.package].name.partition("@")
        return InterfaceName(f"{package}/{interface.name}{at}{version}")

    def package_index(self, name: str) -> int:
        """The index of the package of that name. `UnreadableWit` when it is not there."""
        found = next((index for index, each in enumerate(self.packages) if each.name == name), None)
        if found is None:
            raise UnreadableWit(f"wasm-tools did not describe the package {name}")
        return found


_decoder: Final = msgspec.json.Decoder(Document)
"""Made on import: components are loaded by several threads, and msgspec crashes when two of them are the first to use a
type.
"""


def read_document(text: str | bytes) -> Document:
    """The tool's document. `UnreadableWit` for anything else."""
    try:
        return _decoder.decode(text)
    except msgspec.MsgspecError as error:
        raise UnreadableWit(f"wasm-tools described the component in a form that is not known: {error}") from None
