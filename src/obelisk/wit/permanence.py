"""`@permanent`: what authors say in comments of WIT of the errors that are not to be retried, and how a component keeps it.

Comments of WIT do not get into components. What they say here is embedded as a section of ours when a component is built, and put
back as comments into the description of the component when it is read; from there on it is the same as of WIT in text.

Decides what such a comment means, of what it means something, and what the section's content is. Bytes of WASM, and files, are
for others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from obelisk.wit.document import Document, FunctionItem, TypeItem, TypeRef, World, read_document

SECTION: Final = "obelisk:annotations"
"""The name of the custom section of a component."""
PERMANENT: Final = "@permanent"
VERSION: Final = 1
_SAID: Final = re.compile(rf"(?<![\w@`-]){PERMANENT}(?![\w-])")
"""Not as a part of another word, nor where it is only mentioned, in backticks."""


class InvalidAnnotations(ValueError):
    """A section is not what `encode` writes, or does not fit its component; the text says why."""


class Annotations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is said of the types of a component: names of interfaces (`ns:pkg/ifc@ver`) to names of their variants to those cases
    that are permanent.
    """

    permanent: dict[str, dict[str, tuple[str, ...]]]
    version: int = VERSION

    def __bool__(self) -> bool:
        return bool(self.permanent)


class Stray(msgspec.Struct, frozen=True):
    """An annotation that means nothing. `name`: of the item that it stands at; `what`: the item, in words."""

    name: str
    what: str


class _Versioned(msgspec.Struct):
    version: int


_version: Final = msgspec.json.Decoder(_Versioned)
_decoder: Final = msgspec.json.Decoder(Annotations)


def says_permanent(comment: str | None) -> bool:
    """Whether a comment has the annotation."""
    return comment is not None and _SAID.search(comment) is not None


def permanent_cases(document: Document, function: FunctionItem) -> tuple[str, ...]:
    """The cases of the error of a function that are annotated as permanent, one by one or all at once."""
    index = _error(document, function)
    return () if index is None else _annotated(document.types[index])


# --- the section -----------------------------------------------------------------------------------------------------


def annotations_for(component: Document, source: Document) -> Annotations:
    """What the WIT that a component was made of says of the errors of the functions that it exports."""
    said = _types(source)
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    (world,) = component.worlds
    for item in world.exports.values():
        functions = {} if item.interface is None else component.interfaces[item.interface.id].functions
        for function in functions.values():
            index = _error(component, function)
            key = None if index is None else _key(component, component.types[index])
            if index is None or key is None or key not in said:
                continue
            there = {case["name"] for case in _cases(component.types[index]) or ()}
            cases = tuple(case for case in _annotated(source.types[said[key]]) if case in there)
            if cases:
                found.setdefault(key[0], {})[key[1]] = cases
    return Annotations(found)


def encode(annotations: Annotations) -> bytes:
    """The content of the section; the same for the same annotations."""
    return msgspec.json.encode(annotations, order="sorted")


def decode(content: bytes) -> Annotations:
    """What the section says. `InvalidAnnotations`."""
    try:
        version = _version.decode(content).version
        if version != VERSION:
            raise InvalidAnnotations(
                f"it is of version {version}, and this Obelisk reads version {VERSION}: build the component with this one, or"
                " use a newer one"
            )
        return _decoder.decode(content)
    except msgspec.MsgspecError as error:
        raise InvalidAnnotations(f"it is not what obelisk build writes: {error}") from None


# --- as comments again -----------------------------------------------------------------------------------------------


def annotated(text: bytes, annotations: Annotations) -> bytes:
    """wasm-tools' document of a component, with the annotations as comments. `InvalidAnnotations`, `UnreadableWit`."""
    types = _types(read_document(text))
    plain = msgspec.json.decode(text)
    for interface, variants in annotations.permanent.items():
        for name, cases in variants.items():
            where = f"{interface}.{name}"
            if (interface, name) not in types:
                raise InvalidAnnotations(f"it speaks of {where}, which the component does not have")
            kind = plain["types"][types[interface, name]]["kind"]
            if not isinstance(kind, dict) or "variant" not in kind:
                raise InvalidAnnotations(f"it speaks of {where}, which is no variant")
            there = {case["name"]: case for case in kind["variant"]["cases"]}
            for case in cases:
                if case not in there:
                    raise InvalidAnnotations(
                        f"it speaks of the case {case} of {where}, which has only {', '.join(there)}"
                    )
                there[case]["docs"] = {"contents": PERMANENT}
    return msgspec.json.encode(plain)


_PACKAGE: Final = re.compile(r"package (\S+) \{")
_INTERFACE: Final = re.compile(r"  interface (\S+) \{")
_VARIANT: Final = re.compile(r"    variant (\S+) \{")
_CASE: Final = re.compile(r"      ([^\s(,]+)[(,]")


def annotated_text(text: str, annotations: Annotations) -> str:
    """The WIT of a component as wasm-tools prints it, with the annotations as comments."""
    lines: list[str] = []
    package = interface = variant = ""
    for line in text.splitlines(keepends=True):
        bare = line.replace("%", "")
        if found := _PACKAGE.match(bare):
            package = found[1]
        elif found := _INTERFACE.match(bare):
            name, at, version = package.partition("@")
            interface = f"{name}/{found[1]}{at}{version}"
        elif found := _VARIANT.match(bare):
            variant = found[1]
        elif bare.startswith("    }"):
            variant = ""
        elif bare.startswith("  }"):
            interface = ""
        elif (found := _CASE.match(bare)) and found[1] in annotations.permanent.get(interface, {}).get(variant, ()):
            lines.append(f"      /// {PERMANENT}\n")
        lines.append(line)
    return "".join(lines)


# --- annotations that mean nothing -----------------------------------------------------------------------------------


def strays(document: Document) -> Iterator[Stray]:
    """The annotations in WIT as text that stand at something else than an error of a function, or a case of one."""
    for package in document.packages:
        if says_permanent(package.docs.contents):
            yield Stray(package.name, f"the package {package.name}")
    for world in document.worlds:
        yield from _strays_of_world(world)
    for index, interface in enumerate(document.interfaces):
        if interface.name is None:
            continue
        where = document.interface_name(index)
        if says_permanent(interface.docs.contents):
            yield Stray(interface.name, f"the interface {where}")
        for function in interface.functions.values():
            if says_permanent(function.docs.contents):
                yield Stray(function.name.rpartition(".")[2], f"the function {where}.{function.name}")
    errors = {_error(document, function) for each in document.interfaces for function in each.functions.values()}
    for index, item in enumerate(document.types):
        if index not in errors and item.name is not None:
            yield from _strays_of_type(item, item.name, _key(document, item))


def _strays_of_world(world: World) -> Iterator[Stray]:
    if says_permanent(world.docs.contents):
        yield Stray(world.name, f"the world {world.name}")
    for direction, items in (("import", world.imports), ("export", world.exports)):
        for name, item in items.items():
            if item.interface is not None and says_permanent(item.interface.docs.contents):
                yield Stray(direction, f"an {direction} of the world {world.name}")
            elif says_permanent(_contents(item.function)):
                yield Stray(name, f"the function {name} of the world {world.name}")


_MEMBERS: Final = {
    "record": ("fields", "field"),
    "variant": ("cases", "case"),
    "enum": ("cases", "case"),
    "flags": ("flags", "flag"),
}


def _strays_of_type(item: TypeItem, name: str, key: tuple[str, str] | None) -> Iterator[Stray]:
    kind = item.kind if isinstance(item.kind, str) else next(iter(item.kind))
    word = kind if kind in (*_MEMBERS, "resource") else "type"
    what = f"{word} {name if key is None else '.'.join(key)}"
    if kind == "variant":
        what += ", which no function returns as its error"
    if says_permanent(item.docs.contents):
        yield Stray(name, f"the {what}")
    if kind in _MEMBERS and isinstance(item.kind, dict):
        plural, singular = _MEMBERS[kind]
        for member in item.kind[kind][plural]:
            if says_permanent(_contents(member)):
                yield Stray(member["name"], f"the {singular} {member['name']} of the {what}")


# --- the document ----------------------------------------------------------------------------------------------------


def _error(document: Document, function: FunctionItem) -> int | None:
    """The index of the variant that is the error of the function's result, perhaps under other names."""
    result = _defined(document, function.result)
    kind = None if result is None else document.types[result].kind
    if not isinstance(kind, dict) or "result" not in kind:
        return None
    error = _defined(document, kind["result"]["err"])
    return None if error is None or _cases(document.types[error]) is None else error


def _defined(document: Document, reference: TypeRef | None) -> int | None:
    """The index of the type that a reference comes down to; None for a primitive one."""
    while isinstance(reference, int):
        kind = document.types[reference].kind
        if not isinstance(kind, dict) or "type" not in kind:
            return reference
        reference = kind["type"]
    return None


def _cases(item: TypeItem) -> list[Any] | None:
    """The cases of a variant; None when it is none."""
    match item.kind:
        case {"variant": {"cases": cases}}:
            return list(cases)
    return None


def _annotated(item: TypeItem) -> tuple[str, ...]:
    whole = says_permanent(item.docs.contents)
    return tuple(case["name"] for case in _cases(item) or () if whole or says_permanent(_contents(case)))


def _contents(member: Mapping[str, Any] | None) -> str | None:
    """The comment of what is not decoded."""
    contents: str | None = (member or {}).get("docs", {}).get("contents")
    return contents


def _key(document: Document, item: TypeItem) -> tuple[str, str] | None:
    """The names of the interface that defines a type, and of the type."""
    owner = None if item.owner is None else item.owner.interface
    if owner is None or item.name is None or document.interfaces[owner].name is None:
        return None
    return document.interface_name(owner), item.name


def _types(document: Document) -> dict[tuple[str, str], int]:
    keys = ((_key(document, item), index) for index, item in enumerate(document.types))
    return {key: index for key, index in keys if key is not None}
