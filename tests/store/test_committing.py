"""Commits on a thread of their own: what runs meanwhile, and what is raised."""

from __future__ import annotations

import sys
import threading
import time

import apsw
import pytest

from obelisk.core.batch import Applied, StoreFailed
from obelisk.store.sqlite.committing import Committer


class Disk:
    """A connection whose commits last until `go` is set, and then fail with `error`, if any."""

    def __init__(self):
        self.go = threading.Event()
        self.error = None
        self.commits = []

    def execute(self, statement):
        assert self.go.wait(10)
        self.commits.append((statement, threading.current_thread()))
        if self.error is not None:
            raise self.error


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def committer(disk):
    made = Committer(disk)
    yield made
    made.close()
    assert "obelisk-commit" not in {thread.name for thread in threading.enumerate()}


def test_work_is_done_while_the_commit_waits_and_is_told_when_that_is_over(committer, disk):
    def meanwhile(underway):
        assert threading.current_thread() is here
        assert underway.outcomes is outcomes
        seen.append((len(disk.commits), underway.is_over()))
        disk.go.set()
        deadline = time.monotonic() + 60
        while not underway.is_over() and time.monotonic() < deadline:
            time.sleep(0.0001)
        seen.append((len(disk.commits), underway.is_over()))
        underway.wait()
        ended.append(underway)

    here = threading.current_thread()
    outcomes, ended = [Applied()], []
    for number in range(3):
        seen = []
        disk.go.clear()
        committer.commit(outcomes, meanwhile)
        assert seen == [(number, False), (number + 1, True)]
        for underway in ended:  # also those before this one
            underway.wait()
    statements, threads = zip(*disk.commits, strict=True)
    assert set(statements) == {"COMMIT"}
    assert len(set(threads)) == 1 and threads[0] is not here


def test_it_is_not_over_before_the_commit_is(committer, disk):
    threading.Timer(0.1, disk.go.set).start()
    committer.commit([], lambda underway: None)
    assert len(disk.commits) == 1


def test_who_waits_for_it_waits_until_it_is_durable(committer, disk):
    def waits(underway):
        assert not underway.is_over()
        underway.wait()
        assert underway.is_over() and len(disk.commits) == 1

    threading.Timer(0.1, disk.go.set).start()
    committer.commit([], waits)


def test_it_is_under_way_before_anything_is_done_meanwhile(committer, disk):
    """The thread does not have to wait for the interpreter."""
    began = []

    def execute(statement):
        began.append(statement)
        assert disk.go.wait(60)

    def meanwhile(underway):
        held = time.thread_time()
        while time.thread_time() < held + 0.000_2:  # less than the interpreter is kept from others
            pass
        seen.append(list(began))
        disk.go.set()

    disk.execute = execute
    seen = []
    before = sys.getswitchinterval()
    sys.setswitchinterval(10)
    try:
        committer.commit([], meanwhile)
    finally:
        sys.setswitchinterval(before)
    assert seen == [["COMMIT"]]


def test_what_the_commit_raises_is_raised_once_the_work_is_done_and_only_once(committer, disk):
    worked = []
    disk.go.set()
    disk.error = apsw.IOError("disk I/O error")
    with pytest.raises(apsw.IOError, match="disk I/O error"):
        committer.commit([], lambda underway: worked.append(1))
    disk.error = None
    committer.commit([], lambda underway: worked.append(2))
    assert worked == [1, 2]


def test_what_the_work_raises_is_raised_when_the_commit_is_over_unless_that_failed_too(committer, disk):
    def fails(underway):
        raise LookupError

    def waits(underway):
        with pytest.raises(StoreFailed, match="disk I/O error"):
            underway.wait()
        told.append(underway)

    threading.Timer(0.1, disk.go.set).start()
    with pytest.raises(LookupError):
        committer.commit([], fails)
    assert len(disk.commits) == 1
    disk.error = apsw.IOError("disk I/O error")
    with pytest.raises(apsw.IOError):
        committer.commit([], fails)
    told = []
    with pytest.raises(apsw.IOError):
        committer.commit([], waits)
    assert len(told) == 1


def test_without_room_for_a_thread_there_is_none_to_end(committer, disk, monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    told = []
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start"):
        committer.commit([], told.append)
    committer.close()
    assert not told and not disk.commits
