"""The SQLite store, as the engine sees it.

Decides how batches, leases and loads become transactions on one connection, and what a failure means: after an error of
the disk or the file nothing more is promised, every later call raises `StoreFailed`, and a restart recovers (an fsync
cannot be retried). Must not decide what is written; that is the engine's business.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import msgspec

from obelisk.core.backtraces import Backtrace
from obelisk.core.batch import Delay, Meanwhile, Recovered, Snapshot, StoreFailed, Unit, UnitOutcome
from obelisk.core.ids import DeploymentId, Digest, ExecutionId, ExecutorId
from obelisk.core.instants import Instant
from obelisk.core.state import ExecutionState
from obelisk.store.sqlite import rows
from obelisk.store.sqlite.committing import Committer
from obelisk.store.sqlite.connection import (
    Connection,
    ConstraintFault,
    DatabaseFault,
    begin,
    commit,
    explain,
    give_up,
    open_reader,
    open_writer,
    pages_written,
    select,
    select_one,
    select_value,
    transaction,
)
from obelisk.store.sqlite.naming import Names
from obelisk.store.sqlite.ownership import Ownership, StoreUnusable
from obelisk.store.sqlite.queries import sql
from obelisk.store.sqlite.reader import SqliteReader
from obelisk.store.sqlite.schema import migrate
from obelisk.store.sqlite.turns import Turns
from obelisk.store.sqlite.wal import Wal
from obelisk.store.sqlite.writing import Head, Heads, Plan

WAL_BYTES_MAX: Final = 16 << 20
"""How long the write-ahead log gets before it begins anew, and how long its file is."""
_PAGE_SIZE: Final = sql("page_size")
_CHECKPOINT_PASSIVE: Final = sql("checkpoint_passive")
_CHECKPOINT_RESTART: Final = sql("checkpoint_restart")
_DEPLOYMENT_GET: Final = sql("deployment_get")
_DEPLOYMENT_ADD: Final = sql("deployment_add")
_LEASE_TAKE_ALL: Final = sql("lease_take_all")
_LEASE_FREE: Final = sql("lease_free")
_LEASE_TAKE: Final = sql("lease_take")
_LEASE_RENEW: Final = sql("lease_renew")
_CRASH_COUNT: Final = sql("crash_count")
_STATES_OPEN: Final = sql("states_open")
_DELAYS_OPEN: Final = sql("delays_open")
_NEWS: Final = sql("news")
_STACK_ADD: Final = sql("stack_add")
_BACKTRACE_ADD: Final = sql("backtrace_add")


class Checkpoint(msgspec.Struct, frozen=True):
    """What a checkpoint found and did."""

    frames: int
    """Pages in the write-ahead log."""
    moved: int
    """How many of them are in the database too; when all are, the next commit begins the log anew."""


class SqliteStore:
    """`Store` on one SQLite file, owned by this process.

    `path`: the database file, made when missing (its directory must exist). `pragmas`: over the defaults of
    `connection.WRITER_PRAGMAS`. `wal_bytes_max`: how long the write-ahead log may get before `checkpoint` makes commits
    wait for it. Raises `StoreBusy`, `StoreTooNew` or `StoreUnusable`; `ValueError` for a malformed pragma.

    All methods but `checkpoint`, `keep_backtraces` and `reader` are for one thread at a time, which need not be the one that opened.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        pragmas: Mapping[str, str] | None = None,
        wal_bytes_max: int = WAL_BYTES_MAX,
    ) -> None:
        self.commits = 0
        """How many batches were committed."""
        self._path = os.fspath(path)
        self._pragmas = dict(pragmas or {})
        self._failed: str | None = None
        self._raised_meanwhile: Exception | None = None
        """What was done while a commit was under way raised it."""
        self._writing = Turns()
        self._checkpointing = threading.Lock()
        self._checkpointer: Connection | None = None
        self._ownership = Ownership(self._path)
        try:
            self._connection = open_writer(self._path, self._pragmas)
            try:
                migrate(self._connection, self._path)
                page_bytes: int = select_value(self._connection, _PAGE_SIZE)
                self._wal = Wal(self._path, page_bytes, wal_bytes_max, self._writing)
                self._cursor = self._connection.cursor()
                self._names = Names()
                self._names.refresh(self._connection)
                self._heads = Heads(self._connection)
                self._committer = Committer(self._cursor)
            except BaseException:
                self._connection.close()
                raise
        except DatabaseFault as error:
            self._ownership.release()
            raise StoreUnusable(f"cannot open {self._path}: {explain(error)}") from error
        except BaseException:
            self._ownership.release()
            raise

    def reader(self, connections_max: int = 4) -> SqliteReader:
        """A reader of the same file, with connections of its own. Close it before the store."""
        return SqliteReader(self._path, pragmas=self._pragmas, connections_max=connections_max)

    def close(self) -> None:
        """Ends connections (the last one moves the write-ahead log into the database) and gives the file free."""
        with self._checkpointing, self._writing:
            self._failed = self._failed or f"the store {self._path} was closed"
            with suppress(DatabaseFault):
                if self._checkpointer is not None:
                    self._checkpointer.close()
            self._committer.close()
            with suppress(DatabaseFault):
                self._connection.close()
        self._ownership.release()

    # --- Store ---------------------------------------------------------------------------------------------------

    def commit(self, batch_id: str, units: list[Unit], meanwhile: Meanwhile | None = None) -> list[UnitOutcome]:
        """Applies `units`, durably. `StoreFailed`; `MalformedUnit` (then nothing is written). What `meanwhile` raises is raised
        when the commit is over; the store is of no use afterwards.
        """
        if not units:
            return []
        with self._writing:
            self._check()
            try:
                outcomes = self._carry_out(units, meanwhile)
            except (DatabaseFault, rows.Damaged, msgspec.DecodeError) as error:
                if error is self._raised_meanwhile:
                    raise
                raise self._fail(error) from error
            self._wal.grown(pages_written(self._connection))
        self.commits += 1
        return outcomes

    def _carry_out(self, units: list[Unit], meanwhile: Meanwhile | None) -> list[UnitOutcome]:
        connection, cursor, names = self._connection, self._cursor, self._names
        plan = Plan(self._heads, names)
        try:
            outcomes = plan.judge(units)
            begin(cursor)
            try:
                try:
                    plan.write(cursor)
                except ConstraintFault:
                    if not plan.assumes:
                        raise
                    give_up(connection)
                    names.forget()
                    plan = Plan(self._heads, names, looks_everything_up=True)
                    outcomes = plan.judge(units)
                    begin(cursor)
                    plan.write(cursor)
                # From here on the outcomes are what they are: what is done meanwhile follows from them.
                if meanwhile is None:
                    commit(cursor)
                else:
                    self._commit_meanwhile(outcomes, meanwhile)
            except BaseException:
                give_up(connection)
                raise
        except BaseException:
            names.forget()
            raise
        plan.settle()
        names.settle()
        return outcomes

    def _commit_meanwhile(self, outcomes: list[UnitOutcome], meanwhile: Meanwhile) -> None:
        try:
            self._committer.commit(outcomes, meanwhile)
        except DatabaseFault:
            raise
        except Exception as error:  # not the disk's: then the batch is durable, and what is in memory does not know it
            self._fail(error)
            self._raised_meanwhile = error
            raise

    def outcome_of(self, batch_id: str) -> list[UnitOutcome] | None:
        """Always `StoreFailed`: a commit to a file either returns, or the store has failed."""
        raise StoreFailed(f"a batch of {self._path} is never in doubt; restart the server to see what is there")

    def load(self, execution_id: ExecutionId) -> Snapshot | None:
        """All of the execution; delays by expiry."""
        with self._using():
            return rows.read_snapshot(self._connection, self._names, execution_id)

    def take_over(self, owner: ExecutorId, started: frozenset[ExecutionId]) -> Recovered:
        """Takes every lease of what is not finished, without an expiry, and counts the crashes."""
        with self._using():
            with self._transaction():
                crashed = [rows.key_of(self._connection, execution_id) for execution_id in sorted(started)]
                self._connection.executemany(_CRASH_COUNT, [(key,) for key in crashed if key is not None])
                self._connection.execute(_LEASE_TAKE_ALL, (self._own_key(owner),))
            states, delays = self._open()
            return Recovered([state for _, state in states], delays)

    def claim(self, owner: ExecutorId, now: Instant, lease_expires_at: Instant, count_max: int) -> Recovered:
        """Takes leases that are free or expired, by `pending_at`, then in the order of creation."""
        with self._using():
            with self._transaction():
                keys = [key for (key,) in select(self._connection, _LEASE_FREE, (now, count_max))]
                own_key = self._own_key(owner)
                self._connection.executemany(_LEASE_TAKE, [(own_key, lease_expires_at, key) for key in keys])
            states, delays = self._open()
            place = {key: index for index, key in enumerate(keys)}
            taken = sorted((place[key], state) for key, state in states if key in place)
            order = {state.execution_id: index for index, state in taken}
            delays = [delay for delay in delays if delay.execution_id in order]
            delays.sort(key=lambda delay: (delay.expires_at, order[delay.execution_id], delay.delay))
            return Recovered([state for _, state in taken], delays)

    def renew(self, owner: ExecutorId, lease_expires_at: Instant) -> None:
        """Extends the leases of `owner`; one without an expiry stays so, and none gets shorter."""
        with self._using():
            with self._transaction():
                self._connection.execute(_LEASE_RENEW, (lease_expires_at, self._own_key(owner)))
            self._heads.forget()

    def news(self, owner: ExecutorId) -> list[ExecutionId]:
        """Executions of `owner` with unknown responses or with requests, in the order of creation."""
        with self._using():
            return [ExecutionId(execution_id) for (execution_id,) in select(self._connection, _NEWS, (owner,))]

    def deployment(self, config_digest: Digest, now: Instant, new_id: DeploymentId) -> DeploymentId:
        """The id of this configuration's deployment."""
        with self._using():
            row = select_one(self._connection, _DEPLOYMENT_GET, (config_digest,))
            if row is not None:
                return DeploymentId(row[0])
            with self._transaction():
                self._connection.execute(_DEPLOYMENT_ADD, (config_digest, new_id, now))
            return new_id

    # --- backtraces ----------------------------------------------------------------------------------------------

    def keep_backtraces(self, execution_id: ExecutionId, backtraces: Sequence[Backtrace]) -> None:
        """Keeps backtraces, between two commits. Nothing is kept for an execution that does not exist. `StoreFailed`."""
        encoded = {backtrace.frames: rows.frames_encode(backtrace.frames) for backtrace in backtraces}
        digests = {frames: hashlib.sha256(text).digest() for frames, text in encoded.items()}
        with self._using():
            key = rows.key_of(self._connection, execution_id)
            if key is None:
                return
            try:
                with transaction(self._connection):
                    names = self._names.keys
                    added = [
                        (key, each.first, each.end, names[each.component], digests[each.frames]) for each in backtraces
                    ]
                    self._names.write(self._connection)
                    self._connection.executemany(
                        _STACK_ADD, ((digests[frames], text) for frames, text in encoded.items())
                    )
                    self._connection.executemany(_BACKTRACE_ADD, added)
            except BaseException:
                self._names.forget()
                raise
            self._names.settle()

    # --- upkeep --------------------------------------------------------------------------------------------------

    @property
    def wants_upkeep(self) -> threading.Event:
        """Set when `upkeep` should be called soon; `upkeep` clears it."""
        return self._wal.wanted

    def upkeep(self, *, checkpoint: bool) -> None:
        """What keeps commits fast; for another thread. Call it when it is wanted, and every second or so with a `checkpoint` if
        anything was committed since. `StoreFailed`.
        """
        self.wants_upkeep.clear()
        self._wal.make_room()
        if checkpoint or self._wal.is_long:
            self.checkpoint()

    def checkpoint(self) -> Checkpoint:
        """Moves the write-ahead log into the database.

        Commits go on meanwhile. Under a steady stream of them the log is never moved completely and would grow for
        ever; so when it is longer than `wal_bytes_max`, commits wait for the rest (milliseconds). `StoreFailed`.
        """
        with self._checkpointing:
            self._check()
            try:
                if self._checkpointer is None:
                    self._checkpointer = open_reader(self._path, {"busy_timeout": "100"})
                written = self._wal.written
                _, frames, moved = select_one(self._checkpointer, _CHECKPOINT_PASSIVE)
                self._wal.seen(frames, moved, written)
                if self._wal.is_long:
                    with self._writing:
                        _, frames, moved = select_one(self._checkpointer, _CHECKPOINT_RESTART)
                        self._wal.seen(frames, moved, self._wal.written)
            except DatabaseFault as error:
                raise self._fail(error) from error
            return Checkpoint(frames, moved)

    def _own_key(self, owner: ExecutorId) -> int:
        key = self._names.keys[owner]
        self._names.write(self._connection)
        return key

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """A transaction without a plan, which may change leases."""
        try:
            with transaction(self._connection):
                yield
        except BaseException:
            self._names.forget()
            raise
        self._names.settle()
        self._heads.forget()

    def _open(self) -> tuple[list[tuple[int, ExecutionState]], list[Delay]]:
        """What is not finished, with keys, and its delays; their heads are in memory from here on."""
        states = [(row[0], rows.state_from(row)) for row in select(self._connection, _STATES_OPEN)]
        ids = {key: state.execution_id for key, state in states}
        for key, state in states:
            self._heads.open[state.execution_id] = Head(
                key,
                state.next_version,
                state.response_count,
                state.lease_epoch,
                state.owner,
                state.lease_expires_at,
                state.component,
                state.deployment,
            )
        delays = [
            Delay(ids[key], delay, expires_at) for key, delay, expires_at in select(self._connection, _DELAYS_OPEN)
        ]
        return states, delays

    @contextmanager
    def _using(self) -> Iterator[None]:
        with self._writing:
            self._check()
            try:
                yield
            except (DatabaseFault, rows.Damaged, msgspec.DecodeError) as error:
                raise self._fail(error) from error

    def _check(self) -> None:
        if self._failed is not None:
            raise StoreFailed(self._failed)

    def _fail(self, error: Exception) -> StoreFailed:
        self._failed = f"{self._path} can no longer be trusted with new work: {explain(error)}"
        return StoreFailed(self._failed)
