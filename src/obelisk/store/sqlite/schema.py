"""Schema: bringing a database file to the form that this release knows.

Decides which of the numbered `migrations/*.sql` are applied when a file is opened. A migration that was released is never
changed; a new form is a new number. Must not open or close the connection.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from obelisk.store.sqlite.connection import Connection, run_script, transaction
from obelisk.store.sqlite.ownership import StoreUnusable
from obelisk.store.sqlite.queries import sql


class StoreTooNew(StoreUnusable):
    """The file was written by a newer release."""


class Migration(msgspec.Struct, frozen=True):
    """One step: its number, its name and its statements."""

    number: int
    name: str
    script: str


def migrations() -> list[Migration]:
    """All steps that this release knows, in order."""
    found = []
    for file in Path(__file__).with_name("migrations").iterdir():
        stem, dot, suffix = file.name.rpartition(".")
        if dot and suffix == "sql":
            number, _, name = stem.partition("_")
            found.append(Migration(int(number), name, file.read_text("utf-8")))
    return sorted(found, key=lambda migration: migration.number)


_TABLES: Final = sql("tables")
_CREATE: Final = sql("migrations_create")
_APPLIED: Final = sql("migrations_applied")
_RECORD: Final = sql("migration_record")


def migrate(connection: Connection, path: str) -> None:
    """Applies what is missing, each step in a transaction. `StoreTooNew`, `StoreUnusable` for somebody else's file."""
    tables = {name for (name,) in connection.execute(_TABLES)}
    if "migrations" not in tables:
        if tables:
            raise StoreUnusable(
                f"{path} is a SQLite database, but not one of Obelisk; give the server another directory"
            )
        with transaction(connection):
            connection.execute(_CREATE)
    known = migrations()
    applied = {number for (number,) in connection.execute(_APPLIED)}
    newest = max(applied, default=0)
    if newest > known[-1].number:
        raise StoreTooNew(
            f"{path} was written by a newer release: its schema is {newest}, this release knows up to {known[-1].number};"
            " start that release, or restore a backup from before the upgrade"
        )
    for migration in known:
        if migration.number not in applied:
            with transaction(connection):
                run_script(connection, migration.script)
                connection.execute(_RECORD, (migration.number, migration.name))
