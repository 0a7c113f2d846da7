"""A tree against the keys: which values it sets, and everything that is wrong with it.

Pure but for the existence of components' files, which their kind looks at. Goes on after each problem, so that an
operator sees all of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from obelisk.config.keys import ComponentTable, Key, Later
from obelisk.config.kinds import NOT_YET, Unfit, describe
from obelisk.config.places import Places
from obelisk.config.problems import Problem
from obelisk.config.sources import ENVIRONMENT, Tree, as_texts, as_values

Entry = Key | ComponentTable | Later
Schema = dict[str, Any]
"""Key names to entries, or to the `Schema` of a table."""


def schema_of(entries: Iterable[Entry]) -> Schema:
    """The entries by their paths and other spellings, as nested tables."""
    schema: Schema = {}
    for entry in entries:
        for path in (entry.path, *(() if isinstance(entry, Later) else entry.aliases)):
            *tables, name = path.split(".")
            branch = schema
            for table in tables:
                branch = branch.setdefault(table, {})
            assert name not in branch, f"{path} is listed twice"
            branch[name] = entry
    return schema


class Component(msgspec.Struct, frozen=True):
    """One table of an array of components, not looked at yet. `number` counts from 1 within its array."""

    table: ComponentTable
    spelling: str
    number: int
    tree: Any


class Reading(msgspec.Struct):
    """What reading one source gave."""

    source: str
    """Path of the file, or `environment`."""
    places: Places
    table: str = ""
    values: dict[str, Any] = {}
    """What is set, by the key's path (whatever its spelling)."""
    spellings: dict[str, str] = {}
    components: list[Component] = []
    problems: list[Problem] = []

    def read(self, tree: Tree, schema: Schema) -> None:
        """Adds what `tree` sets and what is wrong with it."""
        self._table(tree, schema, schema, ())

    def problem(self, key: str, message: str) -> None:
        """Notes a problem in the table that is read."""
        self.problems.append(Problem(self.source, self.table, key, message))

    def _table(self, tree: Tree, schema: Schema, root: Schema, above: tuple[str, ...]) -> None:
        for name, value in tree.items():
            path = ".".join((*above, name))
            match schema.get(name):
                case Key() as key:
                    self._key(key, path, value)
                case ComponentTable() as components:
                    self._components(components, path, value)
                case Later():
                    self.problem(path, NOT_YET)
                case None:
                    self.problem(path, f"unknown key; {nearest(path, name, schema, root)}")
                case branch if isinstance(value, dict):
                    self._table(value, branch, root, (*above, name))
                case branch:
                    self.problem(path, f"expected a table with {_listed(branch)}; found {describe(as_values(value))}")

    def _key(self, key: Key, path: str, value: Any) -> None:
        if key.path in self.spellings:
            self.problem(path, f"is another spelling of {self.spellings[key.path]}, which is set too; keep one of them")
            return
        self.spellings[key.path] = path
        try:
            self.values[key.path] = key.kind.read(as_values(value), self.places)
        except Unfit as unfit:
            try:  # A variable that looks like a number may be meant as text.
                self.values[key.path] = key.kind.read(as_texts(value), self.places)
            except Unfit:
                self.problem(path + unfit.at, str(unfit))

    def _components(self, table: ComponentTable, path: str, value: Any) -> None:
        if self.source == ENVIRONMENT:
            self.problem(path, "components cannot be set by the environment")
        elif not isinstance(value, list):
            self.problem(path, f"expected an array of tables, written [[{path}]]; found {describe(value)}")
        else:
            self.components += [Component(table, path, number, tree) for number, tree in enumerate(value, 1)]


def nearest(path: str, name: str, schema: Schema, root: Schema) -> str:
    """A hint at the key that was probably meant."""
    above = path.removesuffix(name)
    everywhere = [known for known, entry in _leaves(root) if not isinstance(entry, Later)]
    guesses = (
        [above + longer for longer in _usable(schema) if longer.startswith(f"{name}_")]
        or [above + close for close in difflib.get_close_matches(name, _usable(schema), n=1)]
        or [known for known in everywhere if known.rpartition(".")[2] == name]
        or [above + close for close in difflib.get_close_matches(name, schema, n=1)]
        or difflib.get_close_matches(path, everywhere, n=1)
    )
    if guesses:
        return f"did you mean {guesses[0]}?"
    return f"known here: {_listed(schema)}"


def _leaves(schema: Schema, above: str = "") -> Iterator[tuple[str, Entry]]:
    for name, entry in schema.items():
        if isinstance(entry, dict):
            yield from _leaves(entry, f"{above}{name}.")
        else:
            yield f"{above}{name}", entry


def _listed(schema: Schema) -> str:
    return ", ".join(sorted(_usable(schema) or schema))


def _usable(schema: Schema) -> list[str]:
    """The names under which this version has something."""
    return [
        name
        for name, entry in schema.items()
        if (_usable(entry) if isinstance(entry, dict) else not isinstance(entry, Later))
    ]
