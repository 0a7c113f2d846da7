"""Filling: databases with many executions, in seconds.

A server does some real work; then all its rows are copied with other keys, ids and times, doubling what there is until it is
enough. The rows are what a server would have left, logs included. What is rare stays rare and is the oldest of all, which is the
worst place for a list that shows the newest first.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from serving import Server

from benchmarks.servers import FIBO, FLOWS, fibo_toml, flows_toml, run_s
from obelisk.proto import obelisk_pb2 as pb

YEARS_MS: Final = 10 * 365 * 86_400_000
_TREES: Final = 10
_CHILDREN: Final = 9

_COPY: Final = (
    """
    INSERT INTO executions
    SELECT key + :by, CASE root WHEN 0 THEN 0 ELSE root + :by END,
        CASE root WHEN 0 THEN substr(path, 1, 16) || printf('%012d', key + :by) ELSE path END,
        ffqn, component, deployment, created_at + :later, first_scheduled_at + :later, updated_at + :later,
        status, lifecycle, next_version, response_count, responses_known, pending_at + :later, run, executor,
        lock_expires_at + :later, blocked_on, closing, failures, crashes, finished_at + :later, finish_kind, priority,
        owner, lease_epoch, lease_expires_at
    FROM executions WHERE key > :rare AND key <= :last ORDER BY key
    """,
    """
    INSERT INTO log
    SELECT place + (:by << 32), created_at + :later, format, event
    FROM log WHERE place >= (:rare + 1) << 32 AND place < (:last + 1) << 32 ORDER BY place
    """,
    """
    INSERT INTO responses
    SELECT execution + :by, seq, created_at + :later, child + :by, version, delay, ok
    FROM responses WHERE execution > :rare AND execution <= :last ORDER BY execution, seq
    """,
)


@dataclass(frozen=True)
class Filled:
    """A database with rows, and what to ask it for."""

    path: Path
    count: int
    rare: Mapping[str, str]
    """Ids of the oldest executions, of which there is one each, by what they are."""
    common: str
    """A top-level execution with children, from the middle."""


def fill(directory: Path, count: int, *, rare: bool = True) -> Filled:
    """Makes `directory/obelisk.sqlite` with about `count` executions. `rare`: among them are some that are like no other."""
    directory.mkdir(parents=True, exist_ok=True)
    server_directory = directory / "server"
    server_directory.mkdir()
    ids: dict[str, str] = {}
    if rare:
        server = Server(server_directory, fibo_toml() + flows_toml())
        server.start()
        ids = _rare(server)
        server.stop()
    # Without the others' components: another configuration is another deployment.
    server = Server(server_directory, fibo_toml())
    server.start()
    for _ in range(max(1, min(_TREES, count // (1 + _CHILDREN)))):
        run_s(server, FIBO + "fiboa", 10, min(_CHILDREN, count - 1))
    server.stop()
    path = directory / "obelisk.sqlite"
    shutil.move(server.database, path)
    shutil.rmtree(server_directory)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA cache_size = -262144")
        common = _copy(database, count, len(ids))
        (total,) = database.execute("SELECT count(*) FROM executions").fetchone()
        database.execute("PRAGMA wal_checkpoint (TRUNCATE)")
    return Filled(path, total, ids, common)


def _rare(server: Server) -> dict[str, str]:
    found = {
        "blocked": server.submit(FLOWS + "sleeper", YEARS_MS),
        "paused": server.submit(FLOWS + "sleeper", YEARS_MS),
        "err": server.submit(FLOWS + "returns-err"),
        "failure": server.submit(FLOWS + "trap"),
        "ok": server.submit(FLOWS + "current-id"),
    }
    for name in ("err", "failure", "ok"):
        server.finished(found[name])
    server.executions.PauseExecution(pb.PauseExecutionRequest(execution_id=pb.ExecutionId(id=found["paused"])))
    return found


def _copy(database: sqlite3.Connection, count: int, rare: int) -> str:
    while True:
        first, last, begins, ends = database.execute(
            "SELECT min(key), max(key), min(created_at), max(updated_at) FROM executions WHERE key > ?", (rare,)
        ).fetchone()
        there = last - first + 1
        if there >= count:
            break
        taken = min(there, count - there)
        # Whole trees: the last root that begins within what is to be copied begins what is not.
        (end,) = database.execute(
            "SELECT max(key) FROM executions WHERE root = 0 AND key <= ?", (rare + taken + 1,)
        ).fetchone()
        until = last if taken == there else end - 1
        if until <= rare:
            break
        database.execute("BEGIN")
        for statement in _COPY:
            database.execute(
                statement, {"by": last - rare, "later": ends - begins + 1_000, "rare": rare, "last": until}
            )
        database.execute("COMMIT")
    (common,) = database.execute(
        "SELECT path FROM executions WHERE root = 0 AND key <= ? ORDER BY key DESC LIMIT 1", (rare + there // 2 + 1,)
    ).fetchone()
    return str(common)
