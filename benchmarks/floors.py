"""K: what the disk and SQLite allow: rates that an engine cannot pass, measured in the same run.

The rows of case A are taken from a database in which the engine left them, and written again to an empty one with the same
schema: what was written in one tick in one transaction, and nothing but that.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import Figures
from benchmarks.servers import FIBO, fibo_toml, run_s, serving
from obelisk.store.sqlite import SqliteStore

COUNT: Final = 500
_PAGE: Final = 4096

Rows = list[tuple[Any, ...]]


def floors() -> Figures:
    """500 of each."""
    with tempfile.TemporaryDirectory(prefix="obelisk-bench-") as folder:
        directory = Path(folder)
        return {
            "fdatasync_per_s": _fdatasync_per_s(directory / "page"),
            "commits_per_s": commits_per_s(directory / "commits.sqlite"),
            "same_rows_per_s": _same_rows_per_s(directory),
        }


def _fdatasync_per_s(path: Path) -> float:
    """Pages that are overwritten in place: the file does not grow."""
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        os.pwrite(fd, bytes(_PAGE * COUNT), 0)
        os.fsync(fd)
        begun = time.perf_counter()
        for number in range(COUNT):
            os.pwrite(fd, b"x" * _PAGE, _PAGE * number)
            os.fdatasync(fd)
        return COUNT / (time.perf_counter() - begun)
    finally:
        os.close(fd)


def commits_per_s(path: Path) -> float:
    """Transactions of one row of 100 bytes, each durable before the next."""
    with closing(_open(path)) as database:
        database.execute("CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY, b TEXT)")
        begun = time.perf_counter()
        for _ in range(COUNT):
            database.execute("BEGIN IMMEDIATE")
            database.execute("INSERT INTO t (b) VALUES (?)", ("x" * 100,))
            database.execute("COMMIT")
        return COUNT / (time.perf_counter() - begun)


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA wal_autocheckpoint = 0")
    return database


def _same_rows_per_s(directory: Path) -> float:
    with serving(fibo_toml()) as server:
        run_s(server, FIBO + "fiboa", 10, COUNT)
        server.stop()
        with closing(sqlite3.connect(server.database)) as database:
            executions = {row[0]: row for row in database.execute("SELECT * FROM executions")}
            log = database.execute("SELECT * FROM log ORDER BY created_at, place").fetchall()
            responses: Rows = database.execute("SELECT * FROM responses ORDER BY execution, seq").fetchall()
    SqliteStore(directory / "same.sqlite").close()  # makes the tables
    answered: dict[int, Rows] = {}
    for row in responses:
        answered.setdefault(row[2], []).append(row)
    ticks = [(at, list(rows)) for at, rows in groupby(log, key=lambda row: int(row[1]))]
    with closing(_open(directory / "same.sqlite")) as database:
        marks = ", ".join("?" * len(next(iter(executions.values()))))
        insert = f"INSERT INTO executions VALUES ({marks})"
        update = "UPDATE executions SET updated_at = ?, status = ?, next_version = ?, lock_expires_at = ? WHERE key = ?"
        born: set[int] = set()
        begun = time.perf_counter()
        for at, rows in ticks:
            touched = {row[0] >> 32 for row in rows}
            new = touched - born
            database.execute("BEGIN IMMEDIATE")
            database.executemany(insert, [executions[key] for key in new])
            database.executemany(update, [(at, "locked", 1, at, key) for key in touched - new])
            database.executemany("INSERT INTO log VALUES (?, ?, ?, ?)", rows)
            database.executemany("INSERT INTO responses VALUES (?, ?, ?, ?, ?, ?, ?)", answered.get(at, []))
            database.execute("COMMIT")
            born |= new
        return COUNT / (time.perf_counter() - begun)
