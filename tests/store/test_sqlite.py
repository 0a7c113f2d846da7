"""What only the SQLite store does: files, ownership, failures, crashes."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import apsw
import msgspec
import pytest

from obelisk.core.backtraces import Backtrace
from obelisk.core.batch import Applied, CancelRequest, Delay, Refused, RefusedBy, Request, StoreFailed, Unit
from obelisk.core.calls import Log, LogLevel
from obelisk.core.events import ChildRejected, Finished, JoinSetCreated, RejectReason, ScheduleRejected, Unlocked
from obelisk.core.ids import ChildId, absolute, join_set_of
from obelisk.core.instants import Instant, Now
from obelisk.core.lines import LineFilter, LinePage, NewLogLine
from obelisk.core.reading import ExecutionFilter, Page, StateFilter
from obelisk.core.state import ExecutionState
from obelisk.core.values import Ok
from obelisk.store.sqlite import SqliteReader, SqliteStore, StoreBusy, StoreTooNew, StoreUnusable
from obelisk.store.sqlite import __file__ as package_file
from obelisk.store.sqlite.queries import load, parse
from obelisk.store.sqlite.schema import migrate, migrations


@pytest.fixture
def path(tmp_path):
    return tmp_path / "obelisk.sqlite"


def raw(path, query, *parameters):
    connection = apsw.Connection(str(path))
    try:
        return connection.execute(query, parameters).fetchall()
    finally:
        connection.close()


# --- SQL and schema --------------------------------------------------------------------------------------------------


def test_every_query_is_described_and_used():
    used = set()
    for file in Path(package_file).parent.glob("*.py"):
        used |= set(re.findall(r'\bsql\("(\w+)"\)', file.read_text("utf-8")))
    queries = load()
    assert used == queries.keys()
    assert all(query.description and query.text for query in queries.values())


@pytest.mark.parametrize("source", ["-- name: x\nSELECT 1", "-- name: x\n-- description: no text\n"])
def test_a_query_without_description_or_text_is_refused(source):
    with pytest.raises(ValueError, match="'x' needs a description and a text"):
        parse(source)


def test_migrations_are_numbered_from_one():
    assert [migration.number for migration in migrations()] == list(range(1, len(migrations()) + 1))


def test_a_file_of_the_first_release_is_brought_up_to_date(path, author, monkeypatch):
    first = [migration for migration in migrations() if migration.number == 1]
    connection = apsw.Connection(str(path))
    monkeypatch.setattr("obelisk.store.sqlite.schema.migrations", lambda: first)
    migrate(connection, str(path))
    connection.close()
    monkeypatch.undo()
    with closing(SqliteStore(path)) as store:
        unit = author.create(author.id(1))
        unit.lines = [NewLogLine(author.id(1), author.now, Log(LogLevel.INFO, "new"))]
        store.commit("b", [unit])
        with closing(store.reader()) as reader:
            assert len(reader.lines(LineFilter(author.id(1)), LinePage())) == 1


def test_lines_can_be_read_in_a_shell(path, author):
    with closing(SqliteStore(path)) as store:
        unit = author.create(author.id(1))
        unit.lines = [NewLogLine(author.id(1), author.now, Log(LogLevel.INFO, "new"), "Run_1")]
        store.commit("b", [unit])
    with closing(apsw.Connection(str(path))) as connection:
        rows = connection.execute("SELECT execution_id, run, kind, payload FROM logged").fetchall()
    assert rows == [(author.id(1), "Run_1", 3, "new")]


def test_the_view_of_states_has_the_fields_of_a_state_in_their_order(path):
    SqliteStore(path).close()
    columns = [row[1] for row in raw(path, "PRAGMA table_info(states)")]
    fields = [field for field in ExecutionState.__struct_fields__ if field != "join_set"]
    assert columns == ["key", "root", "path", *fields, "ffqn_key", "component_key", "deployment_key"]


def test_a_child_that_runs_well_is_in_at_most_two_secondary_indexes(path):
    SqliteStore(path).close()
    indexes = raw(
        path, "SELECT name, sql FROM sqlite_master WHERE tbl_name = 'executions' AND type = 'index' AND sql IS NOT NULL"
    )
    others = [name for name, text in indexes if not text.endswith(("WHERE NOT root", "WHERE finish_kind <> 'ok'"))]
    assert sorted(others) == ["executions_by_creation", "executions_open"]


def test_people_can_read_logs_with_a_shell(path, author, make_opened):
    store = SqliteStore(path)
    store.commit("b", [author.create(author.id(1)), author.append(author.id(1), author.locked())])
    store.close()
    rows = raw(path, "SELECT execution_id, version, json_extract(event, '$.event') FROM events ORDER BY version")
    assert rows == [(author.id(1), 0, "created"), (author.id(1), 1, "locked")]


@pytest.mark.parametrize(
    ("where", "index"),
    [
        (ExecutionFilter(), "executions_top"),
        (ExecutionFilter(top_level_only=False), "executions_by_creation"),
        (ExecutionFilter(top_level_only=False, hide_finished=True), "executions_open"),
        (ExecutionFilter(states=(StateFilter.FINISHED_ERR,)), "executions_failed"),
    ],
)
def test_lists_follow_an_index_instead_of_sorting_everything(path, author, where, index):
    store = SqliteStore(path)
    reader = store.reader()
    statements = []
    reader.executions(where, Page(), author.now)
    (connection,) = reader._idle
    connection.exec_trace = lambda cursor, *statement: statements.append(statement) or True
    reader.executions(where, Page(cursor=(author.now, None)), author.now)
    connection.exec_trace = None
    ((statement, parameters),) = statements
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    reader.close()
    store.close()
    assert any(f"USING INDEX {index}" in step for step in plan), plan
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan


# --- opening ---------------------------------------------------------------------------------------------------------


def test_everything_is_there_after_reopening(path, author):
    store = SqliteStore(path)
    parent, asked, done = author.id(1), author.id(2), author.id(3)
    units = [author.create(one) for one in (parent, asked, done)]
    units += [author.append(parent, author.locked()), author.call_child(parent, "o:1-fibo_1")]
    units += [author.finish_child(parent, "o:1-fibo_1"), author.call_child(parent, "o:2-fibo_1")]
    units += [author.append(done, author.locked(), Finished(Ok(author.json("1"))))]
    units += [Unit([], delays=[Delay(parent, "g:1_1", author.now)], requests=[Request(asked, 1, CancelRequest())])]
    assert all(isinstance(outcome, Applied) for outcome in store.commit("b", units))
    store.commit("c", [Unit([], requests_done=[1])])
    deployment = store.deployment(author.workflow, author.now, author.deployment)
    ids = [parent, asked, done, f"{parent}.o:1-fibo_1", f"{parent}.o:2-fibo_1"]
    before = [store.load(one) for one in ids]
    store.close()

    store = SqliteStore(path)
    assert [store.load(one) for one in ids] == before
    assert store.deployment(author.workflow, author.now, "Dep_other") == deployment
    recovered = store.take_over("Exr_next", frozenset())
    assert [state.execution_id for state in recovered.states] == [parent, asked, ids[4]]
    (outcome,) = store.commit("d", [Unit([], requests=[Request(asked, 1, CancelRequest())])])
    assert outcome == Applied((2,)), "ids of requests are never given twice"
    author.states |= {state.execution_id: state for state in recovered.states}
    assert store.commit("e", [author.create(author.id(9)), author.finish_child(parent, "o:2-fibo_1")]) == [
        Applied(),
        Applied(),
    ]
    store.close()


def test_a_second_opener_is_told_who_owns_the_file(path):
    store = SqliteStore(path)
    with pytest.raises(StoreBusy, match=rf"{path} is in use by process {os.getpid()}; "):
        SqliteStore(path)
    store.close()
    SqliteStore(path).close()


def test_a_program_that_the_owner_starts_does_not_keep_the_file(path):
    store = SqliteStore(path)
    with subprocess.Popen(["sleep", "30"], close_fds=False) as child:
        store.close()
        try:
            SqliteStore(path).close()
        finally:
            child.kill()


def test_a_file_of_a_newer_release_is_refused(path):
    SqliteStore(path).close()
    connection = apsw.Connection(str(path))
    connection.execute("INSERT INTO migrations VALUES (9001, 'later')")
    connection.close()
    with pytest.raises(
        StoreTooNew, match=r"written by a newer release: its schema is 9001, this release knows up to \d+"
    ):
        SqliteStore(path)
    with pytest.raises(StoreTooNew):
        SqliteStore(path)  # not busy: the lock was released


def test_somebody_elses_database_is_left_alone(path):
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(StoreUnusable, match="not one of Obelisk"):
        SqliteStore(path)
    assert raw(path, "SELECT name FROM sqlite_master") == [("theirs",)]


def test_a_file_that_is_no_database(path):
    path.write_bytes(b"not a database, but long enough to be looked at as one. " * 40)
    with pytest.raises(StoreUnusable, match="SQLITE_NOTADB"):
        SqliteStore(path)


def test_a_directory_that_is_missing(tmp_path):
    with pytest.raises(StoreUnusable, match=r"no/obelisk.sqlite.lock: No such file or directory"):
        SqliteStore(tmp_path / "no" / "obelisk.sqlite")


def test_pragmas(path):
    store = SqliteStore(path, pragmas={"page_size": "8192", "cache_size": "-1000"})
    settings = {}
    for name in ("page_size", "cache_size", "journal_mode", "synchronous", "wal_autocheckpoint"):
        (settings[name],) = store._connection.execute(f"PRAGMA {name}").fetchone()
    store.close()
    assert settings == {
        "page_size": 8192,
        "cache_size": -1000,
        "journal_mode": "wal",
        "synchronous": 2,
        "wal_autocheckpoint": 0,
    }


@pytest.mark.parametrize(("name", "value"), [("cache_size; DROP", "1"), ("cache_size", "1; DROP TABLE x"), ("", "1")])
def test_a_malformed_pragma_is_refused(path, name, value):
    with pytest.raises(ValueError, match="pragma"):
        SqliteStore(path, pragmas={name: value})
    SqliteStore(path).close()


# --- failures --------------------------------------------------------------------------------------------------------


def test_disk_full_stops_the_store_and_loses_nothing(path, author):
    store = SqliteStore(path, pragmas={"max_page_count": "40"})
    reader = store.reader()
    big = author.json('"' + "x" * 5_000 + '"')
    committed = []
    with pytest.raises(
        StoreFailed, match=r"SQLITE_FULL\): the disk is full: free some space, then start again"
    ) as failed:
        for number in range(100):
            assert store.commit(str(number), [author.create(author.id(number), params=big)]) == [Applied()]
            committed.append(author.id(number))
    assert committed
    for call in (
        lambda: store.commit("again", [author.create(author.id(500))]),
        lambda: store.load(committed[0]),
        lambda: store.news(author.engine),
        lambda: store.renew(author.engine, author.now),
        store.checkpoint,
    ):
        with pytest.raises(StoreFailed, match="SQLITE_FULL") as later:
            call()
        assert str(later.value) == str(failed.value)
    assert len(reader.states(committed)) == len(committed), "doors may still read"
    reader.close()
    store.close()

    store = SqliteStore(path)
    states = store.take_over("Exr_next", frozenset()).states
    assert [state.execution_id for state in states] == committed
    assert store.commit("more", [author.create(author.id(len(committed)), params=big)]) == [Applied()]
    store.close()


def test_a_value_that_cannot_be_stored_is_the_callers_fault_and_changes_nothing(path, author):
    store = SqliteStore(path)
    one, two = author.id(1), author.id(2)
    huge = author.create(two, ffqn="new:name/of.it", scheduled_at=2**70)
    with pytest.raises(OverflowError):
        store.commit("a", [author.create(one), huge])
    assert store.load(one) is None
    assert store.commit("b", [author.create(one), author.create(two, ffqn="new:name/of.it")]) == [Applied(), Applied()]
    assert store.load(two).state == author.states[two]
    store.close()
    assert raw(path, "SELECT count(*) FROM names WHERE name = 'new:name/of.it'") == [(1,)]


def test_names_of_functions_that_nobody_has_are_not_kept_for_ever(path, author):
    store = SqliteStore(path)
    one, params, reason = author.id(1), author.json("[]"), RejectReason.FUNCTION_NOT_FOUND
    events = [
        ChildRejected("n:b/1_1", "made:up/by.guest", params, reason),
        ScheduleRejected(author.id(9), "made:up/by.guest", params, Now(), reason),
    ]
    store.commit("a", [author.create(one), author.append(one, author.locked(), *events)])
    assert [entry.event for entry in store.load(one).log[2:]] == events
    store.close()
    assert raw(path, "SELECT count(*) FROM names WHERE name = 'made:up/by.guest'") == [(0,)]


def test_a_damaged_log_is_noticed(path, author):
    store = SqliteStore(path)
    store.commit("a", [author.create(author.id(1))])
    reader = store.reader()
    connection = apsw.Connection(str(path))
    connection.execute('UPDATE log SET event = CAST(\'{"event":"cre\' AS BLOB)')
    connection.close()
    with pytest.raises(StoreFailed, match="truncated"):
        reader.events(author.id(1), 0, 10)
    with pytest.raises(StoreFailed, match="truncated"):
        store.load(author.id(1))
    reader.close()
    store.close()


def test_a_closed_store_and_reader_say_so(path, author):
    store = SqliteStore(path)
    reader = store.reader()
    reader.state(author.id(1))
    reader.close()
    store.close()
    with pytest.raises(StoreFailed, match="was closed"):
        store.load(author.id(1))
    with pytest.raises(StoreFailed, match="was closed"):
        reader.state(author.id(1))
    with pytest.raises(StoreFailed, match="never in doubt"):
        store.outcome_of("batch")


# --- readers and checkpoints -----------------------------------------------------------------------------------------


def test_a_reader_sees_only_what_is_committed(path, author):
    store = SqliteStore(path)
    reader = store.reader()
    store.commit("a", [author.create(author.id(1))])
    store._connection.execute("BEGIN IMMEDIATE")
    store._connection.execute("UPDATE executions SET failures = 7")
    assert reader.state(author.id(1)).failures == 0
    store._connection.execute("ROLLBACK")
    store.commit("b", [author.append(author.id(1), author.locked())])
    assert reader.state(author.id(1)) == author.states[author.id(1)]
    reader.close()
    store.close()


def test_a_snapshot_is_of_one_moment(path, author):
    store = SqliteStore(path)
    reader = store.reader()
    root = author.id(1)
    store.commit("a", [author.create(root)])
    done, wrong = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            snapshot = reader.snapshot(root)
            if len(snapshot.log) != snapshot.state.next_version:
                wrong.append(snapshot)

    thread = threading.Thread(target=read)
    thread.start()
    store.commit("b", [author.append(root, author.locked())])
    for number in range(100):
        store.commit(str(number), [author.append(root, JoinSetCreated(f"g:{number + 1}"))])
    done.set()
    thread.join()
    assert not wrong
    (connection,) = reader._idle
    assert not connection.in_transaction
    reader.close()
    store.close()


def test_a_reader_serves_many_threads_while_the_writer_writes(path, author):
    store = SqliteStore(path)
    reader = SqliteReader(str(path), connections_max=2)
    root = author.id(1)
    store.commit("a", [author.create(root), author.append(root, author.locked())])
    done, wrong = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            state = reader.state(root)
            versions = [entry.version for entry in reader.events(root, 0, 10_000)]
            if versions != list(range(len(versions))) or len(versions) < state.next_version:
                wrong.append((state.next_version, versions))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(60):
        store.commit(str(number), [author.append(root, JoinSetCreated(f"g:{number + 1}"))])
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(reader._idle) <= 2
    reader.close()
    store.close()


def test_the_write_ahead_log_is_bounded_by_checkpoints(path, author):
    bound = 1 << 20
    store = SqliteStore(path, pragmas={"journal_size_limit": str(bound)}, wal_bytes_max=bound)
    wal = Path(f"{path}-wal")
    padding = author.json('"' + "x" * 20_000 + '"')
    for number in range(300):
        store.commit(str(number), [author.create(author.id(number), params=padding)])
        if number % 10 == 9:
            checkpoint = store.checkpoint()
            assert checkpoint.moved == checkpoint.frames
    assert wal.stat().st_size <= bound
    store.close()
    assert not wal.exists()
    assert path.stat().st_size > 6_000_000


def test_the_write_ahead_log_is_bounded_while_commits_go_on(path, author):
    bound = 1 << 20
    pragmas = {"journal_size_limit": str(bound), "synchronous": "OFF"}
    store = SqliteStore(path, pragmas=pragmas, wal_bytes_max=bound)
    wal = Path(f"{path}-wal")
    padding = author.json('"' + "x" * 20_000 + '"')
    stopping = threading.Event()

    def commit():
        for number in itertools.count():
            if stopping.is_set():
                return
            store.commit(str(number), [author.create(author.id(number), params=padding)])

    committing = threading.Thread(target=commit)
    committing.start()
    sizes = []
    while len(sizes) < 10 or store.commits < 2_000:
        time.sleep(0.02)
        store.checkpoint()
        sizes.append(wal.stat().st_size)
    stopping.set()
    committing.join()
    restarts = sum(after < before for before, after in pairwise(sizes))
    assert restarts >= 3, "it does not grow with each commit"
    store.close()


def test_a_log_that_commits_never_let_end_is_ended_when_it_is_too_long(path, author):
    store = SqliteStore(path, wal_bytes_max=200_000)
    reader = apsw.Connection(str(path))
    store.commit("a", [author.create(author.id(1))])
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM executions").fetchone() == (1,)
    for number in range(2, 30):
        store.commit(str(number), [author.create(author.id(number), params=author.json('"' + "x" * 9000 + '"'))])
    checkpoint = store.checkpoint()
    assert checkpoint.moved < checkpoint.frames, "the reader still needs what is in the database"
    assert store.commit("b", [author.create(author.id(99))]) == [Applied()], "and the writer goes on"
    reader.execute("COMMIT")
    reader.close()
    checkpoint = store.checkpoint()
    assert checkpoint.moved == checkpoint.frames
    store.close()


def test_a_child_execution_costs_less_than_a_kilobyte(path, author):
    store = SqliteStore(path, pragmas={"synchronous": "OFF"})
    store.checkpoint()
    empty, children, parent = path.stat().st_size, 1_000, author.id(1)
    store.commit("0", [author.create(parent), author.append(parent, author.locked())])
    store.commit("1", [author.call_child(parent, "o:1-fibo_1")])
    for number in range(2, children + 1):
        finished = author.finish_child(parent, f"o:{number - 1}-fibo_1")
        store.commit(str(number), [finished, author.call_child(parent, f"o:{number}-fibo_1")])
    store.close()
    assert (path.stat().st_size - empty) / children < 1_000


# --- crashes ---------------------------------------------------------------------------------------------------------

_WRITER = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("shared", sys.argv[1])
shared = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shared)
store = shared.SqliteStore(sys.argv[2])
author = shared.Author()
parent = author.id(1)
store.commit("0", [author.create(parent), author.append(parent, author.locked())])
for number in range(1, 100_000):
    if number > 1:
        units = [author.finish_child(parent, f"o:{number - 1}-fibo_1")]
    else:
        units = []
    units.append(author.call_child(parent, f"o:{number}-fibo_1"))
    units[-1].after = list(range(len(units) - 1))
    store.commit(str(number), units)
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
    if number % 50 == 0:
        store.checkpoint()
"""


@pytest.mark.parametrize("kill_after", [1, 77, 210])
def test_a_killed_writer_loses_nothing_that_it_acknowledged(path, author, kill_after):
    conftest = Path(__file__).with_name("conftest.py")
    command = [sys.executable, "-c", _WRITER, str(conftest), str(path)]
    acknowledged = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as writer:
        for line in writer.stdout:
            acknowledged = int(line)
            if acknowledged == kill_after:
                writer.send_signal(signal.SIGKILL)
    assert writer.returncode == -signal.SIGKILL
    store = SqliteStore(path)
    parent = author.id(1)
    snapshot = store.load(parent)
    assert [entry.version for entry in snapshot.log] == list(range(snapshot.state.next_version))
    assert [response.seq for response in snapshot.responses] == list(range(1, snapshot.state.response_count + 1))
    requested = (snapshot.state.next_version - 2) // 3
    assert acknowledged <= requested <= acknowledged + 1
    assert snapshot.state.response_count == requested - 1
    recovered = store.take_over("Exr_next", frozenset())
    assert [state.execution_id for state in recovered.states] == [parent, f"{parent}.o:{requested}-fibo_1"]
    for number in range(1, requested + 1):
        child = store.load(f"{parent}.o:{number}-fibo_1")
        assert [entry.version for entry in child.log] == list(range(child.state.next_version))
        assert isinstance(child.log[-1].event, Finished) == (number < requested)
    store.close()


def test_what_is_to_be_done_meanwhile_is_done_while_the_commit_is_under_way(path, author):
    with closing(SqliteStore(path)) as store:
        seen = []

        def meanwhile(underway):
            assert underway.outcomes == [Applied()]
            deadline = time.monotonic() + 60
            while not underway.is_over() and time.monotonic() < deadline:
                time.sleep(0.0001)
            seen.append((threading.current_thread(), store._connection.in_transaction))

        for number in range(1, 4):
            assert store.commit(f"batch {number}", [author.create(author.id(number))], meanwhile) == [Applied()]
        assert seen == [(threading.current_thread(), False)] * 3
        assert store.load(author.id(3)) is not None
        # A commit that fails is told as ever, after the work.
        store._connection.execute("PRAGMA max_page_count = 1")
        with pytest.raises(StoreFailed, match="the disk is full"):
            for number in range(4, 400):
                store.commit(f"batch {number}", [author.create(author.id(number))], lambda underway: None)
    assert "obelisk-commit" not in {thread.name for thread in threading.enumerate()}


def test_what_goes_wrong_meanwhile_is_not_told_as_a_fault_of_the_store(path, author):
    """Whatever it is: the engine decodes values of guests then."""
    with closing(SqliteStore(path)) as store:
        with pytest.raises(msgspec.DecodeError, match="truncated"):
            store.commit("b", [author.create(author.id(1))], lambda _: msgspec.json.decode(b"{"))
        with pytest.raises(StoreFailed):  # nor is it used again: it was left in the middle of something
            store.commit("c", [author.create(author.id(2))])
    with closing(SqliteStore(path)) as store:
        assert store.load(author.id(1)) is not None


def test_who_waits_for_a_commit_comes_before_the_next_one(path, author):
    """However closely commits follow each other: otherwise backtraces and room for the log would wait for an idle moment."""
    one, kept = author.id(1), Backtrace(1, 2, author.workflow, ())
    with closing(SqliteStore(path)) as store, closing(store.reader()) as reader:
        store.commit("b", [author.create(one)])
        other = threading.Thread(target=store.keep_backtraces, args=(one, [kept]))

        def waits(underway):
            other.start()
            deadline = time.monotonic() + 10
            while not store._writing._next.locked():
                assert time.monotonic() < deadline
                time.sleep(0.000_1)

        found = []
        store.commit("b", [author.create(author.id(2))], waits)
        store.commit("b", [author.create(author.id(3))], lambda _: found.append(reader.backtrace(one, 1)))
        other.join()
        assert found == [kept]


def test_a_step_costs_no_look_ups_and_leaves_the_indexes_of_what_goes_on_alone(path, author, make_author):
    """Its end is in indexes, and so is what it runs on: neither is written before it changes."""
    with closing(SqliteStore(path)) as store:
        one, child, other = author.id(1), ChildId("g:1_1"), author.id(2)
        born = absolute(one, child)
        store.commit("b", [author.create(one), author.append(one, author.locked()), author.create(other)])
        statements = []
        store._connection.exec_trace = lambda cursor, statement, _: statements.append(statement) or True
        store.commit("b", [author.call_child(one, child)])
        store.commit("b", [author.append(born, Unlocked(Instant(author.now + 1), "a pause"))])
        updates = [each for each in statements if each.startswith("UPDATE")]
        assert updates and not [each for each in updates if "finish_kind" in each or "component" in each]
        assert not [each for each in statements if each.startswith("SELECT")]
        # Nor does one that is known to be there begin a transaction in vain.
        again = make_author(None).create(born, join_set=join_set_of(child))
        statements.clear()
        outcomes = store.commit("b", [again, author.append(other, author.locked())])
        assert outcomes == [Refused(RefusedBy.EXISTS, born), Applied()]
        assert not [each for each in statements if each.startswith(("ROLLBACK", "SELECT"))]
        statements.clear()
        store.commit("b", [author.finish_child(one, child)])
        assert len([each for each in statements if each.startswith("UPDATE") and "finish_kind" in each]) == 1
        # Nor is a submission looked up, unless it turns out to be there: what is done meanwhile follows from the second look.
        statements.clear()
        store.commit("b", [author.create(author.id(3))])
        assert not [each for each in statements if each.startswith("SELECT")]
        told = []
        repeated = make_author(None).create(born, join_set=join_set_of(child))
        outcomes = store.commit("b", [repeated, author.create(author.id(4))], told.append)
        assert outcomes == [Refused(RefusedBy.EXISTS, born), Applied()]
        assert [underway.outcomes for underway in told] == [outcomes]
        assert store.load(author.id(4)) is not None


def test_pages_are_small_in_a_new_file_and_as_they_were_in_an_old_one(path, author):
    SqliteStore(path).close()
    assert raw(path, "PRAGMA page_size") == [(2048,)]
    path.unlink()
    SqliteStore(path, pragmas={"page_size": "4096"}).close()
    with closing(SqliteStore(path)) as store:
        assert store.commit("b", [author.create(author.id(1))]) == [Applied()]
    assert raw(path, "PRAGMA page_size") == [(4096,)]


def test_a_store_whose_commit_was_left_in_the_middle_is_of_no_use(path, author):
    """The batch is durable, but heads and names in memory are those from before."""

    def fails(is_over):
        raise ArithmeticError("a bug")

    with closing(SqliteStore(path)) as store:
        with pytest.raises(ArithmeticError):
            store.commit("batch 1", [author.create(author.id(1))], fails)
        with pytest.raises(StoreFailed, match="can no longer be trusted"):
            store.load(author.id(1))  # before anything else could find it out
        with pytest.raises(StoreFailed, match="can no longer be trusted"):
            store.commit("batch 2", [author.create(author.id(2))])
    with closing(SqliteStore(path)) as store:
        assert store.load(author.id(1)) is not None and store.load(author.id(2)) is None
