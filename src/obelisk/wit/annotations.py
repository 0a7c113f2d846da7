"""Annotations of a component: what comments of its WIT said of permanence, in a section of ours.

Comments of WIT do not get into components. What they say is embedded when a component is built, and put back as comments into the
description of the component when it is read; from there on it is the same as of WIT in text.

Decides what the section's content is, and that it fits its component. Bytes of WASM, and files, are for others.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from obelisk.wit.document import Document, read_document
from obelisk.wit.permanence import PERMANENT, cases_of, error_of, key_of, permanent_cases_of, types_of

SECTION: Final = "obelisk:annotations"
"""The name of the custom section of a component."""
VERSION: Final = 1


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


class _Versioned(msgspec.Struct):
    version: int


_version: Final = msgspec.json.Decoder(_Versioned)
_decoder: Final = msgspec.json.Decoder(Annotations)


def annotations_for(component: Document, source: Document) -> Annotations:
    """What the WIT that a component was made of says of the errors of the functions that it exports."""
    said = types_of(source)
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    (world,) = component.worlds
    for item in world.exports.values():
        functions = {} if item.interface is None else component.interfaces[item.interface.id].functions
        for function in functions.values():
            index = error_of(component, function)
            key = None if index is None else key_of(component, component.types[index])
            if index is None or key is None or key not in said:
                continue
            there = {case["name"] for case in cases_of(component.types[index]) or ()}
            cases = tuple(case for case in permanent_cases_of(source.types[said[key]]) if case in there)
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
    types = types_of(read_document(text))
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
