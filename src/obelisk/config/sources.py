"""Where a configuration comes from: a file, and variables of the environment. Both become trees of tables.

Reads one file and writes nothing. What keys there are, and what their values must be, is not known here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from obelisk.config.places import Places
from obelisk.config.problems import ConfigError, Problem

ENVIRONMENT: Final = "environment"
PREFIX: Final = "OBELISK__"

Tree = dict[str, Any]


class Variable(msgspec.Struct, frozen=True):
    """The value of an environment variable: as text, and as the TOML value that it can be read as (else the text)."""

    text: str
    value: Any


def find_file(path: Path | None, places: Places) -> Path | None:
    """The file to read: `path`, or the first of the usual ones that exists, or None."""
    if path is not None:
        return places.cwd / path
    return next((candidate for candidate in places.candidates() if candidate.is_file()), None)


def read_file(path: Path) -> Tree:
    """The file as a tree. `ConfigError` when it cannot be read or is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin a file with a mark
    except OSError as error:
        raise ConfigError([Problem(str(path), "", "", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), "", "", f"is not UTF-8 at byte {error.start}")]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(str(path), "", "", f"is not TOML: {error}")]) from None
    except RecursionError:
        raise ConfigError([Problem(str(path), "", "", "is nested too deeply")]) from None


def read_environment(environ: Mapping[str, str]) -> tuple[Tree, list[Problem]]:
    """The variables `OBELISK__SECTION__KEY` as a tree with `Variable`s as leaves. Case does not matter."""
    tree: Tree = {}
    problems: list[Problem] = []
    for name in sorted(environ):
        if not name.upper().startswith(PREFIX):
            continue
        *tables, key = name[len(PREFIX) :].lower().split("__")
        if not all([*tables, key]):
            problems.append(Problem(ENVIRONMENT, "", name, f"expected {PREFIX}SECTION__KEY"))
            continue
        branch: Any = tree
        for table in tables:
            branch = branch.setdefault(table, {}) if isinstance(branch, dict) else None
        if not isinstance(branch, dict) or key in branch:
            problems.append(Problem(ENVIRONMENT, "", name, "sets what another variable sets too; keep one of them"))
            continue
        branch[key] = Variable(environ[name], _toml_value(environ[name]))
    return tree, problems


def _toml_value(text: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return table["value"] if len(table) == 1 else text


def as_values(tree: Any) -> Any:
    """A (part of a) tree with each variable read as a TOML value."""
    if isinstance(tree, Variable):
        return tree.value
    return {key: as_values(value) for key, value in tree.items()} if isinstance(tree, dict) else tree


def as_texts(tree: Any) -> Any:
    """A (part of a) tree with each variable taken as text."""
    if isinstance(tree, Variable):
        return tree.text
    return {key: as_texts(value) for key, value in tree.items()} if isinstance(tree, dict) else tree
