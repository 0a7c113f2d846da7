"""What is told of `@permanent` in WIT where it does not do what its author wants: at the wrong thing, or in the wrong place.

Decides which file and line that is: wasm-tools does not say where a comment stands, so the text is looked at again. What an
annotation means, `obelisk.wit.permanence` decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from obelisk.wasm.description import LoadedWit
from obelisk.wasm.source import read_source, wit_files
from obelisk.wit.document import read_document
from obelisk.wit.permanence import PERMANENT, says_permanent
from obelisk.wit.strays import Stray, strays

_COMMENT: Final = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_NAME: Final = re.compile(r"[A-Za-z][\w:@/.-]*")
_KEYWORDS: Final = {"enum", "flags", "interface", "package", "record", "resource", "type", "variant", "world"}
_FOR: Final = "it is for the cases of a variant that a function returns as its error, and for such a variant as a whole"


@dataclass(frozen=True)
class Warned:
    """Something in WIT that its author should look at. `path`: the file, or the folder when it is not known which one."""

    path: Path
    line: int | None
    text: str

    @property
    def rest(self) -> str:
        """All but the path."""
        return f"{'' if self.line is None else f':{self.line}'}: {self.text}"

    def __str__(self) -> str:
        return f"{self.path}{self.rest}"


@dataclass(frozen=True)
class _Remark:
    """A comment that says `@permanent`."""

    path: Path
    line: int
    trails: bool
    """Whether it ends a line on which something stands that it could be meant for."""
    dangles: bool
    """Whether nothing comes after it that it could belong to."""
    name: str
    """What comes after it."""


def warnings(source: LoadedWit) -> tuple[Warned, ...]:
    """What is to be told of the annotations in a file or folder of WIT."""
    path = source.source
    assert isinstance(path, Path), "components are not built of WIT that is in no file"
    remarks = [
        remark
        for name, text in sorted(wit_files(path, read_source(path)).items())
        for remark in _remarks(path / name if path.is_dir() else path, text)
    ]
    found = [_placed(path, stray, remarks) for stray in strays(read_document(source.document))]
    for remark in remarks:
        if remark.trails:
            text = f"a comment belongs to what comes after it; write {PERMANENT} above the case that it is for"
            found.append(Warned(remark.path, remark.line, text))
        elif remark.dangles:
            found.append(Warned(remark.path, remark.line, f"there is nothing below that {PERMANENT} could belong to"))
    return tuple(sorted(found, key=lambda warned: (warned.path, warned.line or 0)))


def _placed(folder: Path, stray: Stray, remarks: list[_Remark]) -> Warned:
    places = [remark for remark in remarks if remark.name == stray.name]
    path, line = (places[0].path, places[0].line) if len(places) == 1 else (folder, None)
    return Warned(path, line, f"{PERMANENT} means nothing for {stray.what}; {_FOR}")


def _remarks(path: Path, text: str) -> Iterator[_Remark]:
    code = _COMMENT.sub(lambda comment: re.sub(r"[^\n]", " ", comment[0]), text)
    for comment in _COMMENT.finditer(text):
        if not says_permanent(comment[0]):
            continue
        begin, end = comment.span()
        before = code[code.rfind("\n", 0, begin) + 1 : begin].rstrip()
        after = code[end:]
        yield _Remark(
            path,
            text.count("\n", 0, begin) + 1,
            trails=before[-1:] not in ("", "{") and not after.partition("\n")[0].strip(),
            dangles=after.lstrip()[:1] in ("", "}"),
            name=_named(after),
        )


def _named(code: str) -> str:
    """The item that comes first."""
    words = [match[0].rstrip(":") for match, _ in zip(_NAME.finditer(code), range(2), strict=False)]
    return words[-1] if words and words[0] in _KEYWORDS else "".join(words[:1])
