"""The write-ahead log: how long it gets, its file, and who looks after it."""

from __future__ import annotations

import os
import threading
import time
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from obelisk.core.batch import Applied, StoreFailed
from obelisk.runtime.upkeep import Upkeep
from obelisk.store.sqlite import SqliteStore
from obelisk.store.sqlite.wal import Wal

BOUND = 1 << 20
PATIENCE_S = 60


@pytest.fixture
def path(tmp_path):
    return tmp_path / "obelisk.sqlite"


@pytest.fixture
def wal(path):
    return Path(f"{path}-wal")


@pytest.fixture
def create(author):
    """Commits executions of some 20 kB, by number."""
    padding = author.json('"' + "x" * 20_000 + '"')

    def commit(store, *numbers):
        for number in numbers:
            made = author.create(author.id(number), params=padding)
            assert store.commit(f"create {number}", [made]) == [Applied()]

    return commit


def waited_for(fact):
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return True


def test_its_file_is_as_long_as_it_gets_before_anything_is_committed(path, wal, create):
    with closing(SqliteStore(path, wal_bytes_max=BOUND)) as store:
        assert wal.stat().st_size < BOUND
        assert store.wants_upkeep.is_set()
        store.upkeep(checkpoint=False)
        assert not store.wants_upkeep.is_set()
        lengths = set()
        for number in range(1, 300):
            create(store, number)
            lengths.add(wal.stat().st_size)
            if store.wants_upkeep.is_set():
                store.upkeep(checkpoint=False)
        assert max(lengths) < BOUND + 50_000, "six times what fits in was written, and it began anew each time"
        assert min(lengths) == BOUND
    assert not wal.exists(), "all of it was moved"


def test_room_is_made_behind_what_was_committed(path, wal, create):
    """Also while commits go on, and although a process dies with it."""
    store = SqliteStore(path, wal_bytes_max=8 * BOUND)
    create(store, *range(10))
    made = threading.Thread(target=store.upkeep, kwargs={"checkpoint": False})
    made.start()
    create(store, *range(10, 40))
    made.join()
    assert wal.stat().st_size == 8 * BOUND
    create(store, *range(40, 50))
    left = path.with_name("left.sqlite")
    left.write_bytes(path.read_bytes())
    Path(f"{left}-wal").write_bytes(wal.read_bytes())
    store.close()
    with closing(apsw.Connection(str(left))) as found:
        assert found.execute("SELECT count(*) FROM executions").fetchone() == (50,)
        assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_no_room_is_made_while_somebody_writes(path, wal):
    with closing(SqliteStore(path, wal_bytes_max=BOUND)) as store:
        before = wal.stat().st_size
        made = threading.Thread(target=store.upkeep, kwargs={"checkpoint": False})
        with store._writing:
            made.start()
            time.sleep(0.2)
            assert wal.stat().st_size == before
        made.join()
        assert wal.stat().st_size == BOUND


def test_what_is_committed_during_a_checkpoint_keeps_the_log_from_beginning_anew(path):
    log = Wal(str(path), 1_000, 102_400, threading.Lock())  # 100 pages
    log.wanted.clear()
    log.grown(90)
    log.seen(pages=90, moved=90, written=90)
    log.grown(180)
    assert not log.wanted.is_set() and not log.is_long, "it began anew at 90"
    log.seen(pages=90, moved=90, written=150)  # a commit came between the checkpoint and this
    assert log.is_long, "it did not: 120 pages are in it"


def test_a_disk_that_has_no_room_for_it_does_not_matter(path, wal, create, monkeypatch):
    def write(file, zeros):
        asked.append(len(zeros))
        raise OSError(28, "No space left on device")

    asked = []
    with closing(SqliteStore(path, wal_bytes_max=BOUND)) as store:
        monkeypatch.setattr(os, "write", write)
        for number in range(10):
            store.upkeep(checkpoint=True)
            create(store, number)
        assert len(asked) == 1, "nor is it tried again"
        assert 0 < wal.stat().st_size < BOUND


def test_a_reader_who_keeps_it_from_beginning_anew_is_not_waited_for_with_every_commit(path, create):
    with closing(SqliteStore(path, wal_bytes_max=BOUND)) as store:
        store.upkeep(checkpoint=False)
        create(store, 0)
        reader = apsw.Connection(str(path))
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM executions").fetchone() == (1,)
        asked = []
        for number in range(1, 201):
            create(store, number)
            if store.wants_upkeep.is_set():
                asked.append(number)
                store.upkeep(checkpoint=False)
        assert 4 <= len(asked) <= 10, "each time that it has grown by what it is to be"
        reader.execute("COMMIT")
        reader.close()
        store.upkeep(checkpoint=True)
        create(store, *range(201, 215))
        assert not store.wants_upkeep.is_set(), "it began anew"


def test_a_thread_looks_after_it(path, wal, create):
    with closing(SqliteStore(path, wal_bytes_max=BOUND)) as store:
        failures = []
        upkeep = Upkeep(store, failures.append)
        upkeep.start()
        waited_for(lambda: wal.stat().st_size == BOUND)
        before = path.stat().st_size
        create(store, 1)
        waited_for(lambda: path.stat().st_size > before)  # a second later
        begun = time.monotonic()
        upkeep.stop()
        assert time.monotonic() - begun < PATIENCE_S / 2
        assert failures == []
        store.wants_upkeep.clear()
        create(store, *range(2, 100))
        assert store.wants_upkeep.is_set(), "nobody does it now"


def test_a_failure_of_the_store_is_told_by_the_thread_that_looks_after_it(path, create):
    with closing(SqliteStore(path, pragmas={"max_page_count": "100"}, wal_bytes_max=BOUND)) as store:
        failures = []
        upkeep = Upkeep(store, failures.append)
        upkeep.start()
        with pytest.raises(StoreFailed, match="SQLITE_FULL"):
            create(store, *range(1, 100))
        waited_for(lambda: failures)
        upkeep.stop()
        assert [type(each) for each in failures] == [StoreFailed]


def test_room_is_made_in_few_turns(path, wal):
    """Commits follow each other closely, and a turn may be as long in coming as one of them takes."""
    taken = []

    class Counted:
        def __enter__(self):
            taken.append(wal.stat().st_size)

        def __exit__(self, *_):
            pass

    with closing(SqliteStore(path, wal_bytes_max=BOUND)):
        Wal(str(path), 2048, BOUND, Counted()).make_room()
        assert wal.stat().st_size == BOUND
    assert 1 < len(taken) <= 5


def test_room_is_on_the_disk_and_is_made_once(path, wal, monkeypatch):
    synced, sync = [], os.fdatasync

    def counted(file):
        synced.append(os.fstat(file).st_size)
        sync(file)

    with closing(SqliteStore(path, wal_bytes_max=BOUND)) as store:
        monkeypatch.setattr(os, "fdatasync", counted)
        for _ in range(2):
            store.upkeep(checkpoint=False)
    assert synced == [BOUND]


def test_a_start_waits_for_room_but_not_for_ever(path, wal, monkeypatch):
    with closing(SqliteStore(path, wal_bytes_max=BOUND)) as store:
        go, make = threading.Event(), store._wal.make_room

        def slow():
            assert go.wait(PATIENCE_S)
            make()

        monkeypatch.setattr(store._wal, "make_room", slow)
        upkeep = Upkeep(store, pytest.fail)
        upkeep.start()
        upkeep.wait_for_room()
        assert wal.stat().st_size < BOUND
        monkeypatch.setattr("obelisk.runtime.upkeep._ROOM_WAIT_S", PATIENCE_S)
        threading.Timer(0.1, go.set).start()
        begun = time.monotonic()
        upkeep.wait_for_room()
        assert wal.stat().st_size == BOUND
        assert time.monotonic() - begun < PATIENCE_S / 2, "it is told when there is room"
        upkeep.stop()
