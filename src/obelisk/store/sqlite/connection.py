"""Connections: the only module that names the SQLite driver.

Decides with which pragmas a connection is opened, how a transaction is bracketed and how the driver's errors are told.
Must not know a table.

A transaction that begins as a read and then writes fails at once when somebody else wrote. So every write transaction here
is an explicit BEGIN IMMEDIATE. Everybody here reads a result to its end or drops it: one that is kept half read keeps its
read transaction, too.

The driver brings its own SQLite. A program must not have the same file open through another copy of SQLite in the same
process: closing it there takes the locks away that are held here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import apsw

from obelisk.store.sqlite.queries import sql

Connection = apsw.Connection
Cursor = apsw.Cursor
"""Runs statements one after another. A connection makes one for each statement that it is asked to run; who runs many keeps one."""
Parameters = Sequence[Any] | Mapping[str, Any]
DatabaseFault = apsw.Error
"""Any error that the driver raises, except for values that it cannot bind."""
ConstraintFault = apsw.ConstraintError
"""A row that is there already, or not as its table wants it."""

WRITER_PRAGMAS: Final[Mapping[str, str]] = {
    "page_size": "2048",
    "journal_mode": "WAL",
    "synchronous": "FULL",
    "busy_timeout": "5000",
    "cache_size": "-16384",
    "temp_store": "MEMORY",
    "journal_size_limit": "67108864",
    "wal_autocheckpoint": "0",
}
"""What the writer opens with, in this order; configuration may override and add. A commit of small rows touches eleven pages, and
writes them whole: with pages of 2 KiB that is half of what SQLite's own 4 KiB make of it, and a seventh less time. Values of
100 kB and more are as fast to write, and take a third more time to read. A file keeps the pages that it was made with.
"""
_READER_PRAGMAS: Final[Mapping[str, str]] = {
    "busy_timeout": "5000",
    "cache_size": "-2048",
    "temp_store": "MEMORY",
    "query_only": "1",
}
_READER_OVERRIDES: Final = frozenset({"busy_timeout", "cache_size", "temp_store", "mmap_size"})
_NAME: Final = re.compile(r"[a-z_]+")
_VALUE: Final = re.compile(r"-?[A-Za-z0-9_]+")

_STATEMENTS_KEPT: Final = 256
"""More than there are."""
_BEGIN: Final = sql("begin")
_BEGIN_READ: Final = sql("begin_read")
_COMMIT: Final = sql("commit")
_ROLLBACK: Final = sql("rollback")
_PRAGMA: Final = sql("pragma")

_ADVICE: Final = {
    "SQLITE_FULL": "the disk is full: free some space, then start again",
    "SQLITE_IOERR": "the disk failed to read or write: check it, then start again",
    "SQLITE_CORRUPT": "the file is damaged: restore it from a backup",
    "SQLITE_NOTADB": "the file is not a SQLite database, or it is damaged: restore it from a backup",
    "SQLITE_BUSY": "another program keeps the file locked: stop it, then start again",
    "SQLITE_LOCKED": "another program keeps the file locked: stop it, then start again",
    "SQLITE_READONLY": "the file cannot be written: check its permissions and those of its directory, then start again",
    "SQLITE_CANTOPEN": "the file cannot be opened: check that its directory exists and may be written",
    "SQLITE_CONSTRAINT": "what was to be written contradicts what is there, which is a bug of Obelisk: please report it",
}


def open_writer(path: str, pragmas: Mapping[str, str]) -> Connection:
    """The connection that writes. `ValueError` for a pragma that is not a word and a word or number."""
    connection = _connect(path)
    _set(connection, {**WRITER_PRAGMAS, **pragmas})
    return connection


def open_reader(path: str, pragmas: Mapping[str, str]) -> Connection:
    """A connection that only reads; of `pragmas` it takes those that concern reading."""
    connection = _connect(path)
    own = {name: value for name, value in pragmas.items() if name in _READER_OVERRIDES}
    _set(connection, {**_READER_PRAGMAS, **own})
    return connection


def _connect(path: str) -> Connection:
    # One thread at a time uses a connection, which whoever has it sees to; so SQLite need not lock it for each call.
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_NOMUTEX
    return Connection(path, flags, statementcachesize=_STATEMENTS_KEPT)


def _set(connection: Connection, pragmas: Mapping[str, str]) -> None:
    try:
        for name, value in pragmas.items():
            if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
                raise ValueError(f"pragma {name!r} = {value!r} is not a word and a word or number")
            connection.execute(_PRAGMA.format(name=name, value=value)).close()
    except BaseException:
        connection.close()
        raise


def select(connection: Connection, statement: str, parameters: Parameters = ()) -> list[Any]:
    """All rows, each a tuple."""
    return connection.execute(statement, parameters).fetchall()


def select_one(connection: Connection, statement: str, parameters: Parameters = ()) -> Any:
    """The first row, a tuple; None when there is none."""
    return connection.execute(statement, parameters).fetchone()


def select_value(connection: Connection, statement: str, parameters: Parameters = ()) -> Any:
    """The first column of the only row."""
    ((value, *_),) = connection.execute(statement, parameters)
    return value


def begin(runs: Connection | Cursor) -> None:
    """Begins a write transaction: then `commit`, or `give_up` when anything fails, the commit included."""
    runs.execute(_BEGIN)


def commit(runs: Connection | Cursor) -> None:
    """Makes a transaction durable."""
    runs.execute(_COMMIT)


def give_up(connection: Connection) -> None:
    """Takes back a transaction."""
    with suppress(DatabaseFault):  # SQLite may have rolled back by itself; the first error is the one to tell
        if connection.in_transaction:
            connection.execute(_ROLLBACK)


def pages_written(connection: Connection) -> int:
    """How many pages it has written since it was opened."""
    written, _ = connection.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE)
    return written


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """A durable write transaction; given up when its body or the commit fails."""
    begin(connection)
    try:
        yield
        commit(connection)
    except BaseException:
        give_up(connection)
        raise


@contextmanager
def reading(connection: Connection) -> Iterator[None]:
    """Several reads of one state of the database."""
    connection.execute(_BEGIN_READ)
    try:
        yield
    finally:
        give_up(connection)


def run_script(connection: Connection, script: str) -> None:
    """Runs several statements in the transaction that is open."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if apsw.complete(statement):
            connection.execute(statement)
            statement = ""


def explain(error: Exception) -> str:
    """What went wrong and what to do about it, in one line."""
    number = getattr(error, "extendedresult", 0)
    name = str(apsw.mapping_extended_result_codes.get(number) or apsw.mapping_result_codes.get(number) or "")
    primary = "_".join(name.split("_")[:2])
    advice = _ADVICE.get(primary, "start again; if it happens again, please report it")
    return f"{error} ({name or type(error).__name__}): {advice}"
