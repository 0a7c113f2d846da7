"""Types and signatures as WIT text, for people: listings and error messages.

Decides the spelling only. Named types are written out by their structure (`record { a: u8 }`), because types here have
no names; resources keep theirs.
"""

from __future__ import annotations

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


def type_text(type_: Type, *, qualified: bool = False) -> str:
    """`type_` as WIT. `qualified` writes resources with their interface: for telling two of one name apart."""

    def text(inner: Type) -> str:
        return type_text(inner, qualified=qualified)

    match type_:
        case Prim():
            return type_.value
        case List(element):
            return f"list<{text(element)}>"
        case Tuple(items):
            return f"tuple<{', '.join(map(text, items))}>"
        case Record(fields):
            return _braces("record", [f"{name}: {text(field)}" for name, field in fields])
        case Variant(cases):
            return _braces("variant", [name if case is None else f"{name}({text(case)})" for name, case in cases])
        case Enum(names):
            return _braces("enum", names)
        case Flags(names):
            return _braces("flags", names)
        case Option(some):
            return f"option<{text(some)}>"
        case Result(None, None):
            return "result"
        case Result(ok, None) if ok is not None:
            return f"result<{text(ok)}>"
        case Result(ok, err) if err is not None:
            return f"result<{'_' if ok is None else text(ok)}, {text(err)}>"
        case Own(resource):
            return _resource(resource, qualified)
        case Borrow(resource):
            return f"borrow<{_resource(resource, qualified)}>"
    raise AssertionError(f"not a WIT type: {type_!r}")


def signature_text(signature: Signature, *, qualified: bool = False) -> str:
    """`func(n: u8, iterations: u32) -> result<u64>`."""
    params = ", ".join(f"{name}: {type_text(type_, qualified=qualified)}" for name, type_ in signature.params)
    if signature.result is None:
        return f"func({params})"
    return f"func({params}) -> {type_text(signature.result, qualified=qualified)}"


def _braces(keyword: str, members: list[str] | tuple[str, ...]) -> str:
    return f"{keyword} {{ {', '.join(members)} }}" if members else f"{keyword} {{}}"


def _resource(full_name: str, qualified: bool) -> str:
    # The name after the last dot: versions contain dots, resource names do not.
    return full_name if qualified else full_name.rpartition(".")[2]
