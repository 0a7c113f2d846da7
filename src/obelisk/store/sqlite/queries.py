"""Queries: the texts in `sql/*.sql`, by name.

Decides how a file of SQL is split: a query begins with `-- name: NAME`, `-- description: WHY` follows (it may go on in
further comment lines), the rest is its text. Must not run anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

_NAME: Final = "-- name: "
_DESCRIPTION: Final = "-- description: "


class Query(msgspec.Struct, frozen=True):
    """One named text."""

    name: str
    description: str
    text: str


def parse(source: str) -> list[Query]:
    """The queries of one file; `ValueError` when one has no description or no text."""
    queries = []
    for block in f"\n{source}".split(f"\n{_NAME}")[1:]:
        name, *lines = block.strip().splitlines()
        comments = [line for line in lines if line.startswith("--")]
        text = "\n".join(line for line in lines if not line.startswith("--"))
        description = " ".join(line.removeprefix(_DESCRIPTION).removeprefix("--").strip() for line in comments)
        if not comments or not comments[0].startswith(_DESCRIPTION) or not description or not text.strip():
            raise ValueError(f"query {name!r} needs a description and a text")
        queries.append(Query(name, description, text.strip()))
    return queries


def load() -> dict[str, Query]:
    """All queries of this package."""
    queries: dict[str, Query] = {}
    for file in sorted(Path(__file__).with_name("sql").iterdir()):
        for query in parse(file.read_text("utf-8")):
            if query.name in queries:
                raise ValueError(f"two queries are called {query.name!r}")
            queries[query.name] = query
    return queries


_QUERIES: Final = load()


def sql(name: str) -> str:
    """The text of the query `name`."""
    return _QUERIES[name].text
