"""Contenders: who does the work of a case. Obelisk, what is below it, and its peers if `make bench-peers` has installed them."""

from __future__ import annotations

from typing import Protocol

from benchmarks.cases import OBELISK
from benchmarks.figures import Figures
from benchmarks.floors import floors
from benchmarks.peers import installed


class Contender(Protocol):
    """One engine, ready to do any case any number of times."""

    name: str
    note: str
    """What a reader must know to compare: what is durable when, where the client is."""

    def measure(self, case: str) -> Figures | None:
        """Runs a case once, on an empty database; None: it does not take part."""
        ...

    def close(self) -> None:
        """Frees what it keeps from case to case."""
        ...


class Obelisk:
    """This engine."""

    name = "Obelisk"
    note = "a server process asked over gRPC; WASM components; SQLite with WAL and synchronous=FULL"

    def measure(self, case: str) -> Figures | None:
        run = OBELISK.get(case)
        return None if run is None else run()

    def close(self) -> None:
        """Nothing is kept."""


class Floor:
    """The disk, and SQLite without an engine."""

    name = "floor"
    note = "no engine: Python's sqlite3, WAL and synchronous=FULL"

    def measure(self, case: str) -> Figures | None:
        return floors() if case == "floors" else None

    def close(self) -> None:
        """Nothing is kept."""


def contenders(*, peers: bool) -> tuple[list[Contender], dict[str, str]]:
    """Those that take part, and why others do not."""
    found: list[Contender] = [Floor(), Obelisk()]
    if not peers:
        return found, {}
    there, absent = installed()
    return [*found, *there], absent
