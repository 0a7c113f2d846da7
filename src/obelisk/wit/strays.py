"""Annotations in WIT that mean nothing, for somebody who builds a component to be told.

Decides which do: whatever stands at something else than an error of a function, or a case of one (`permanence`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from obelisk.wit.document import Document, TypeItem, World
from obelisk.wit.permanence import comment_of, error_of, key_of, says_permanent


class Stray(msgspec.Struct, frozen=True):
    """An annotation that means nothing. `name`: of the item that it stands at; `what`: the item, in words."""

    name: str
    what: str


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
    errors = {error_of(document, function) for each in document.interfaces for function in each.functions.values()}
    for index, item in enumerate(document.types):
        if index not in errors and item.name is not None:
            yield from _strays_of_type(item, item.name, key_of(document, item))


def _strays_of_world(world: World) -> Iterator[Stray]:
    if says_permanent(world.docs.contents):
        yield Stray(world.name, f"the world {world.name}")
    for direction, items in (("import", world.imports), ("export", world.exports)):
        for name, item in items.items():
            if item.interface is not None and says_permanent(item.interface.docs.contents):
                yield Stray(direction, f"an {direction} of the world {world.name}")
            elif says_permanent(comment_of(item.function)):
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
            if says_permanent(comment_of(member)):
                yield Stray(member["name"], f"the {singular} {member['name']} of the {what}")
