"""`component.toml`: what is to be built of the folder that it stands in.

Decides which keys there are, what their values must be, and where manifests are looked for. All problems of all manifests
are told at once. Reads files, builds nothing; whether a tool can make something of a source is not known here.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec

from obelisk.config.kinds import describe
from obelisk.config.problems import ConfigError, Problem
from obelisk.config.sources import Tree, read_file

FILE_NAME: Final = "component.toml"
_WORLD: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*")
_SKIPPED: Final = {"node_modules", "target", "__pycache__"}
"""Folders in which tools keep what is not the author's."""


class Language(StrEnum):
    """What a component's source is written in."""

    PYTHON = "python"
    JAVASCRIPT = "javascript"
    RUST = "rust"
    C = "c"


_WITHOUT_WASI: Final = {Language.RUST, Language.C}
"""Languages whose components have what their world imports, and nothing of their own."""
_LANGUAGES: Final = " or ".join(", ".join(f'"{each}"' for each in Language).rsplit(", ", 1))


class ManifestError(Exception):
    """Manifests that cannot be used. The author's to fix; `problems` is never empty."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        assert self.problems
        super().__init__("\n".join(map(str, self.problems)))


class Manifest(msgspec.Struct, frozen=True):
    """A component that can be built. All paths are absolute."""

    file: Path
    language: Language
    source: Path
    world: str
    wit: Path
    """The folder of WIT that has the world; its dependencies are in `deps/`."""
    output: Path
    """Where the component goes."""
    stub_wasi: bool
    """Whether it is built without WASI, where its language has some."""

    @property
    def folder(self) -> Path:
        """The folder that the manifest stands in."""
        return self.file.parent


class Key(msgspec.Struct, frozen=True):
    """A key of the file. `default`: None where it must be written."""

    name: str
    expected: str
    meaning: str
    default: str | bool | None = None


KEYS: Final = (
    Key("language", _LANGUAGES, "What the source is written in."),
    Key("source", "the path of a file beside this one or below", "The source, or the first of its files."),
    Key("world", "the name of a world", "The world that the component is of: what it imports and exports."),
    Key("output", "the path of a .wasm file", "Where the component goes. Its folder is made when it is missing."),
    Key("wit", "the path of a folder with .wit files", "Where the world is described.", default="wit"),
    Key(
        "stub_wasi",
        "true or false",
        "Whether a component in Python or JavaScript is built without WASI: where it would use some, it traps.",
        default=False,
    ),
)
"""All of them. Paths are relative to the folder of the file."""


def find_manifests(folders: Iterable[Path]) -> list[Manifest]:
    """The manifests in and below `folders`, in the order of their paths, each one once. `ManifestError`."""
    files = sorted({file.resolve() for folder in folders for file in _files(folder)}, key=lambda file: file.parent)
    manifests: list[Manifest] = []
    problems: list[Problem] = []
    for file in files:
        try:
            manifests.append(read_manifest(file))
        except ManifestError as error:
            problems += error.problems
    owners: dict[Path, Manifest] = {}
    for manifest in manifests:
        owner = owners.setdefault(manifest.output, manifest)
        if owner is not manifest:
            problems.append(
                Problem(str(manifest.file), "", "output", f"is the output of {owner.file} too: {manifest.output}")
            )
    if problems:
        raise ManifestError(problems)
    return manifests


def read_manifest(file: Path) -> Manifest:
    """The manifest in `file`. `ManifestError`."""
    file = file.resolve()
    try:
        tree = read_file(file)
    except ConfigError as error:
        raise ManifestError(error.problems) from None
    problems = list(_unknown(tree))
    texts: dict[str, str] = {}
    flags: dict[str, bool] = {}
    for key in KEYS:
        value = tree.get(key.name, key.default)
        if isinstance(key.default, bool):
            if isinstance(value, bool):
                flags[key.name] = value
                continue
        elif isinstance(value, str) and value and "\0" not in value:
            texts[key.name] = value
            continue
        if key.name in tree:
            problems.append((key.name, f"expected {key.expected}; found {describe(value)}"))
        else:
            problems.append((key.name, f"is missing; expected {key.expected}"))
    problems += _wrong(file.parent, texts)
    if flags.get("stub_wasi") and texts.get("language") in _WITHOUT_WASI:
        has = f"a component in {texts['language']} has what its world imports, and no more"
        problems.append(("stub_wasi", f"is for Python and JavaScript; {has}"))
    if problems:
        raise ManifestError(Problem(str(file), "", key, message) for key, message in problems)
    source, wit, output = (Path(os.path.normpath(file.parent / texts[key])) for key in ("source", "wit", "output"))
    return Manifest(file, Language(texts["language"]), source, texts["world"], wit, output, flags["stub_wasi"])


def _files(folder: Path) -> Iterator[Path]:
    for above, folders, files in os.walk(folder):
        if FILE_NAME in files:
            yield Path(above) / FILE_NAME
        folders[:] = [name for name in folders if not is_skipped(Path(above) / name)]


def is_skipped(folder: Path) -> bool:
    """Whether what is in the folder is not the author's: tools keep it there, or it is hidden."""
    return folder.name in _SKIPPED or folder.name.startswith(".") or (folder / "pyvenv.cfg").exists()


def _unknown(tree: Tree) -> Iterator[tuple[str, str]]:
    known = [key.name for key in KEYS]
    for name in tree:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(sorted(known))}"
            yield name, f"unknown key; {hint}"


def _wrong(folder: Path, texts: dict[str, str]) -> Iterator[tuple[str, str]]:
    """What is wrong with values that are texts."""
    expected = {key.name: key.expected for key in KEYS}

    def unfit(key: str, found: Any) -> tuple[str, str]:
        return key, f"expected {expected[key]}; found {found}"

    if "language" in texts and texts["language"] not in list(Language):
        yield unfit("language", describe(texts["language"]))
    if "world" in texts and not _WORLD.fullmatch(texts["world"]):
        yield unfit("world", describe(texts["world"]))
    if "source" in texts:
        source = Path(os.path.normpath(folder / texts["source"]))
        if not source.is_relative_to(folder):
            yield unfit("source", describe(texts["source"]))
        elif not source.is_file():
            yield unfit("source", f"{_what(source)} at {source}")
    if "wit" in texts:
        wit = folder / texts["wit"]
        if not any(wit.glob("*.wit")):
            yield unfit("wit", f"{_what(wit)}{' without one' if wit.is_dir() else ''} at {wit}")
    if "output" in texts:
        output = folder / texts["output"]
        if output.suffix != ".wasm":
            yield unfit("output", describe(texts["output"]))
        elif output.is_dir():
            yield unfit("output", f"a folder at {output}")


def _what(path: Path) -> str:
    if path.is_dir():
        return "a folder"
    return "a file" if path.exists() else "nothing"
