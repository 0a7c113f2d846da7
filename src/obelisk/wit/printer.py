"""Interfaces as WIT text again, out of the tool's document: with their names, `use`s and comments.

Decides the layout of the packages that are laid into a project's `wit/deps/`. An interface is kept as parts, each with its
text, because components carry only those types of a foreign interface that they use: two of them together may say more than
either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from obelisk.core.names import InterfaceName
from obelisk.wit.document import Docs, Document, FunctionItem, Param, TypeItem, TypeRef, UnreadableWit

_KEYWORDS: Final = frozenset(
    (
        *(
            "as",
            "async",
            "bool",
            "borrow",
            "char",
            "constructor",
            "enum",
            "error-context",
            "export",
            "f32",
            "f64",
            "flags",
        ),
        *(
            "from",
            "func",
            "future",
            "import",
            "include",
            "interface",
            "list",
            "map",
            "option",
            "own",
            "package",
            "record",
        ),
        *("resource", "result", "s16", "s32", "s64", "s8", "static", "stream", "string", "tuple", "type", "u16", "u32"),
        *("u64", "u8", "use", "variant", "with", "world"),
    )
)


class ConflictingParts(ValueError):
    """Two texts of one interface say different things about one name."""

    def __init__(self, name: str, one: str, other: str) -> None:
        super().__init__(name, one, other)
        self.name = name
        self.one = one
        self.other = other

    def __str__(self) -> str:
        return f"{self.name} is described in two ways:\n  {self.one}\n  {self.other}"


class InterfaceText(msgspec.Struct, frozen=True):
    """The text of an interface, in parts."""

    name: InterfaceName
    docs: Docs = Docs()
    uses: Mapping[str, str] = {}
    """Local name of a type to where it comes from: `ns:pkg/ifc@ver.name`."""
    types: Mapping[str, str] = {}
    """Name of a type to its definition."""
    functions: Mapping[str, str] = {}
    """Name of a function to its declaration."""

    @property
    def package(self) -> str:
        """`ns:pkg@ver`."""
        path, _, version = self.name.partition("@")
        return path.partition("/")[0] + (f"@{version}" if version else "")

    def needs(self) -> set[InterfaceName]:
        """The interfaces that it uses types of."""
        return {InterfaceName(source.rpartition(".")[0]) for source in self.uses.values()}

    def merged(self, other: InterfaceText) -> InterfaceText:
        """All that either says. `ConflictingParts`."""
        parts = []
        for one, two in ((self.uses, other.uses), (self.types, other.types), (self.functions, other.functions)):
            for name in one.keys() & two.keys():
                if _bare(one[name]) != _bare(two[name]):
                    raise ConflictingParts(f"{self.name}.{name}", _bare(one[name]), _bare(two[name]))
            parts.append({**two, **one})
        return InterfaceText(self.name, self.docs if self.docs.contents else other.docs, *parts)


def escaped(name: str) -> str:
    """A name as it is written in WIT: words of the language are marked."""
    return f"%{name}" if name in _KEYWORDS else name


def package_text(interfaces: Sequence[InterfaceText], docs: Docs = Docs()) -> str:  # noqa: B008 - it is frozen
    """The text of a package: its interfaces, all of one package, in this order."""
    package = interfaces[0].package
    blocks = [f"{_comment(docs, '')}package {_package(package)};\n", *(_interface(each) for each in interfaces)]
    return "\n".join(blocks)


class Printer:
    """Makes text of what is in one document."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def interface(self, index: int) -> InterfaceText:
        """The interface with that index; it has a name."""
        item = self._document.interfaces[index]
        uses: dict[str, str] = {}
        types: dict[str, str] = {}
        for name, number in item.types.items():
            source = self._used(number)
            if source is None:
                types[name] = self._definition(name, number, item.functions.values())
            else:
                uses[name] = source
        functions = {
            name: f"{_comment(function.docs, '  ')}  {escaped(name)}: {self.function(function)};\n"
            for name, function in item.functions.items()
            if not name.startswith("[")
        }
        return InterfaceText(self._document.interface_name(index), item.docs, uses, types, functions)

    def function(self, function: FunctionItem) -> str:
        """`func(n: u8) -> result<u64>`."""
        kind = function.kind if isinstance(function.kind, str) else next(iter(function.kind))
        word = "async func" if kind.startswith("async") else "func"
        return f"{word}({self.params(function.params)}){self._returned(function)}"

    def params(self, params: Iterable[Param]) -> str:
        """`n: u8, iterations: u32`."""
        return ", ".join(f"{escaped(param.name)}: {self.reference(param.type)}" for param in params)

    def reference(self, reference: TypeRef) -> str:
        """A type where it is used: by its name, or written out when it has none."""
        if isinstance(reference, str):
            return reference
        item = self._document.types[reference]
        return self._written(item.kind) if item.name is None else escaped(item.name)

    def _returned(self, function: FunctionItem) -> str:
        return "" if function.result is None else f" -> {self.reference(function.result)}"

    def _used(self, number: int) -> str | None:
        """Where the type comes from, if it is one of another interface."""
        item = self._document.types[number]
        target = item.kind.get("type") if isinstance(item.kind, dict) else None
        if not isinstance(target, int):
            return None
        aliased = self._document.types[target]
        if aliased.owner is None or aliased.owner.interface is None or aliased.owner == item.owner:
            return None
        return f"{self._document.interface_name(aliased.owner.interface)}.{aliased.name}"

    # --- definitions -------------------------------------------------------------------------------------------------

    def _definition(self, name: str, number: int, functions: Iterable[FunctionItem]) -> str:
        item = self._document.types[number]
        return f"{_comment(item.docs, '  ')}{self._defined(escaped(name), number, item, functions)}"

    def _defined(self, name: str, number: int, item: TypeItem, functions: Iterable[FunctionItem]) -> str:
        match item.kind:
            case "resource":
                return self._resource(name, number, functions)
            case {"record": {"fields": fields}}:
                return _braces(f"record {name}", fields, lambda field: f": {self.reference(field['type'])}")
            case {"variant": {"cases": cases}}:
                return _braces(f"variant {name}", cases, self._payload)
            case {"enum": {"cases": cases}}:
                return _braces(f"enum {name}", cases)
            case {"flags": {"flags": flags}}:
                return _braces(f"flags {name}", flags)
            case {"handle": {"own": resource}}:  # without the word it would be another name for the resource
                return f"  type {name} = own<{self.reference(resource)}>;\n"
            case kind:
                return f"  type {name} = {self._written(kind)};\n"

    def _payload(self, case: dict[str, Any]) -> str:
        return "" if case["type"] is None else f"({self.reference(case['type'])})"

    def _resource(self, name: str, number: int, functions: Iterable[FunctionItem]) -> str:
        lines = []
        for function in functions:
            if isinstance(function.kind, str) or number not in function.kind.values():
                continue
            (kind,) = function.kind
            bare = escaped(function.name.rpartition(".")[2])
            word = "async func" if kind.startswith("async") else "func"
            if kind == "constructor":
                text = f"constructor({self.params(function.params)})"
            elif kind.endswith("static"):
                text = f"{bare}: static {word}({self.params(function.params)}){self._returned(function)}"
            else:
                text = f"{bare}: {word}({self.params(function.params[1:])}){self._returned(function)}"
            lines.append(f"{_comment(function.docs, '    ')}    {text};\n")
        return f"  resource {name} {{\n{''.join(lines)}  }}\n" if lines else f"  resource {name};\n"

    def _written(self, kind: Any) -> str:
        """A type that is written out."""
        match kind:
            case {"type": reference}:
                return self.reference(reference)
            case {"list": element}:
                return f"list<{self.reference(element)}>"
            case {"fixed-length-list": [element, length]}:
                return f"list<{self.reference(element)}, {length}>"
            case {"tuple": {"types": items}}:
                return f"tuple<{', '.join(map(self.reference, items))}>"
            case {"option": some}:
                return f"option<{self.reference(some)}>"
            case {"result": {"ok": None, "err": None}}:
                return "result"
            case {"result": {"ok": ok, "err": None}}:
                return f"result<{self.reference(ok)}>"
            case {"result": {"ok": ok, "err": err}}:
                return f"result<{'_' if ok is None else self.reference(ok)}, {self.reference(err)}>"
            case {"handle": {"own": resource}}:
                return self.reference(resource)
            case {"handle": {"borrow": resource}}:
                return f"borrow<{self.reference(resource)}>"
            case {"future": None} | {"stream": None}:
                return str(next(iter(kind)))
            case {"future": inner} | {"stream": inner}:
                return f"{next(iter(kind))}<{self.reference(inner)}>"
            case other:
                raise UnreadableWit(f"wasm-tools described a type in a form that is not known: {other!r}")


def _interface(interface: InterfaceText) -> str:
    sources: dict[str, list[str]] = {}
    for name, source in interface.uses.items():
        path, _, original = source.rpartition(".")
        item = escaped(original) if original == name else f"{escaped(original)} as {escaped(name)}"
        sources.setdefault(_path(path, interface.package), []).append(item)
    uses = "".join(f"  use {path}.{{{', '.join(items)}}};\n" for path, items in sources.items())
    parts = [*([uses] if uses else []), *interface.types.values(), *interface.functions.values()]
    name = escaped(interface.name.partition("@")[0].rpartition("/")[2])
    return f"{_comment(interface.docs, '')}interface {name} {{\n{chr(10).join(parts)}}}\n"


def _package(package: str) -> str:
    path, at, version = package.partition("@")
    namespace, _, name = path.partition(":")
    return f"{escaped(namespace)}:{escaped(name)}{at}{version}"


def _path(interface: str, package: str) -> str:
    """How an interface is called in a package."""
    path, at, version = interface.partition("@")
    own, _, name = path.partition("/")
    if f"{own}{at}{version}" == package:
        return escaped(name)
    return f"{_package(own)}/{escaped(name)}{at}{version}"


def _braces(head: str, members: list[dict[str, Any]], rest: Any = lambda _member: "") -> str:
    lines = [f"{_comment(_docs(member), '    ')}    {escaped(member['name'])}{rest(member)},\n" for member in members]
    return f"  {head} {{\n{''.join(lines)}  }}\n"


def _docs(member: dict[str, Any]) -> Docs:
    return Docs(member.get("docs", {}).get("contents"))


def _comment(docs: Docs, indent: str) -> str:
    if not docs.contents:
        return ""
    return "".join(f"{indent}/// {line}".rstrip() + "\n" for line in docs.contents.splitlines())


def _bare(text: str) -> str:
    """A definition without comments and line breaks: for comparing and for messages."""
    lines = (line.strip() for line in text.splitlines())
    return " ".join(line for line in lines if not line.startswith("///"))
