"""`@permanent`: what authors say in comments of WIT of the errors that are not to be retried.

Decides what such a comment means, and of what it means something: a variant that a function returns as its error, or a case of one.
How it gets into a component is the business of `annotations`; where it means nothing, that of `strays`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from obelisk.wit.document import Document, FunctionItem, TypeItem, TypeRef

PERMANENT: Final = "@permanent"
_SAID: Final = re.compile(rf"(?<![\w@`-]){PERMANENT}(?![\w-])")
"""Not as a part of another word, nor where it is only mentioned, in backticks."""


def says_permanent(comment: str | None) -> bool:
    """Whether a comment has the annotation."""
    return comment is not None and _SAID.search(comment) is not None


def permanent_cases(document: Document, function: FunctionItem) -> tuple[str, ...]:
    """The cases of the error of a function that are annotated as permanent, one by one or all at once."""
    index = error_of(document, function)
    return () if index is None else permanent_cases_of(document.types[index])


def error_of(document: Document, function: FunctionItem) -> int | None:
    """The index of the variant that is the error of the function's result, perhaps under other names."""
    result = _defined(document, function.result)
    kind = None if result is None else document.types[result].kind
    if not isinstance(kind, dict) or "result" not in kind:
        return None
    error = _defined(document, kind["result"]["err"])
    return None if error is None or cases_of(document.types[error]) is None else error


def _defined(document: Document, reference: TypeRef | None) -> int | None:
    """The index of the type that a reference comes down to; None for a primitive one."""
    while isinstance(reference, int):
        kind = document.types[reference].kind
        if not isinstance(kind, dict) or "type" not in kind:
            return reference
        reference = kind["type"]
    return None


def cases_of(item: TypeItem) -> list[Any] | None:
    """The cases of a variant; None when it is none."""
    match item.kind:
        case {"variant": {"cases": cases}}:
            return list(cases)
    return None


def permanent_cases_of(item: TypeItem) -> tuple[str, ...]:
    """The cases of a variant that are annotated, one by one or all at once."""
    whole = says_permanent(item.docs.contents)
    return tuple(case["name"] for case in cases_of(item) or () if whole or says_permanent(comment_of(case)))


def comment_of(member: Mapping[str, Any] | None) -> str | None:
    """The comment of what is not decoded."""
    contents: str | None = (member or {}).get("docs", {}).get("contents")
    return contents


def key_of(document: Document, item: TypeItem) -> tuple[str, str] | None:
    """The names of the interface that defines a type, and of the type."""
    owner = None if item.owner is None else item.owner.interface
    if owner is None or item.name is None or document.interfaces[owner].name is None:
        return None
    return document.interface_name(owner), item.name


def types_of(document: Document) -> dict[tuple[str, str], int]:
    """The types that have a name, by it (`key_of`); their indexes."""
    keys = ((key_of(document, item), index) for index, item in enumerate(document.types))
    return {key: index for key, index in keys if key is not None}
