"""Directories of executions: what an attempt finds, when they are removed, and whose they must be."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from obelisk.config.settings import ExecutionDirectories
from obelisk.core.ids import ExecutionId
from obelisk.core.policy import DirectoryPolicy, MappedDirectory
from obelisk.runtime.directories import (
    NAME_MAX,
    Directories,
    ParentUnusable,
    directory_name,
    execution_of,
    preopens,
    remove_tree,
)

ROOT = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYZ")
OTHER = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYY")
CHILD = ExecutionId(f"{ROOT}.n:a/b-c_1.o:1-fibo_2")
LONG = ExecutionId(f"{ROOT}.n:{'x' * 300}_1")
SECOND = 1_000_000


class Clock:
    """Far in the future, so that directories which were just made are old."""

    now = 4_000_000_000 * SECOND

    def __call__(self) -> Any:
        return self.now


class Store:
    def __init__(self) -> None:
        self.finished: dict[str, int | None] = {}

    def state(self, execution_id: ExecutionId) -> Any:
        if execution_id not in self.finished:
            return None
        return SimpleNamespace(finished_at=self.finished[execution_id])


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    return tmp_path / "parent"


@pytest.fixture
def make(parent: Path) -> Iterator[Callable[..., Directories]]:
    made: list[Directories] = []

    def make(**changes: Any) -> Directories:
        config = {
            "enabled": True,
            "parent_directory": parent,
            "bytes_max": 10,
            "entries_max": 20,
            "cleanup_enabled": True,
            "cleanup_run_every_us": 3_600 * SECOND,
            "cleanup_older_than_us": 300 * SECOND,
        }
        made.append(Directories(ExecutionDirectories(**{**config, **changes}), Clock()))
        made[-1]._reader = Store()  # type: ignore[assignment]
        return made[-1]

    yield make
    for each in made:
        each.stop()


# --- what an attempt finds -------------------------------------------------------------------------------------------


def test_the_first_attempt_finds_an_empty_directory(make: Any, parent: Path) -> None:
    given = make().preopen(CHILD, reuse=False)
    assert given.host == parent / f"{ROOT}.n:a+b-c_1.o:1-fibo_2"
    assert (given.guest, given.read_only, given.bytes_max, given.entries_max) == (".", False, 10, 20)
    assert not given.is_used
    assert list(given.host.iterdir()) == []
    assert given.host.stat().st_mode & 0o777 == parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("reuse", [False, True])
def test_a_retry_finds_what_it_is_to_find(make: Any, reuse: bool) -> None:
    directories = make()
    directories.preopen(ROOT, reuse=reuse).host.joinpath("a").write_text("left")
    again = directories.preopen(ROOT, reuse=reuse)
    assert again.is_used is reuse
    assert [path.name for path in again.host.iterdir()] == (["a"] if reuse else [])


def test_what_was_there_before_is_removed_later(make: Any, parent: Path) -> None:
    directories = make()
    directories.preopen(ROOT, reuse=False).host.joinpath("a").write_text("left")
    directories.preopen(ROOT, reuse=False)
    aside, kept = sorted(parent.iterdir())
    assert (aside / "a").exists()
    directories.clean()
    assert list(parent.iterdir()) == [kept]


def test_what_is_in_the_place_of_a_directory_is_no_way_out(make: Any, parent: Path, tmp_path: Path) -> None:
    directories = make()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").touch()
    for reuse in (False, True):
        (parent / ROOT).symlink_to(outside)
        assert not directories.preopen(ROOT, reuse=reuse).host.is_symlink()
        (parent / ROOT).rmdir()


def test_a_component_is_given_what_its_policy_says(make: Any, tmp_path: Path) -> None:
    directories = make()
    mapped = MappedDirectory(str(tmp_path), "/data")
    assert preopens(directories, DirectoryPolicy(), ROOT) == ()
    assert preopens(None, DirectoryPolicy(mapped=(mapped,)), ROOT)[0].read_only
    own, data = preopens(directories, DirectoryPolicy(own=True, mapped=(mapped,)), ROOT)
    assert (own.guest, data.guest, data.host, data.bytes_max) == (".", "/data", tmp_path, None)


# --- names -----------------------------------------------------------------------------------------------------------


def test_names_are_file_names_and_differ() -> None:
    ids = [ROOT, CHILD, LONG, ExecutionId(LONG + "1"), ExecutionId(f"{ROOT}.n:a-b-c_1.o:1-fibo_2")]
    names = [directory_name(each) for each in ids]
    assert len(set(names)) == len(names)
    for name in names:
        assert "/" not in name
        assert len(name.encode()) <= NAME_MAX
    assert [execution_of(name) for name in names] == [ROOT, CHILD, ROOT, ROOT, ids[4]]
    assert execution_of("something-else") is None
    assert execution_of(".removed-0a") is None


# --- removing --------------------------------------------------------------------------------------------------------


def test_only_what_has_been_over_for_long_enough_is_removed(make: Any, parent: Path) -> None:
    directories = make()
    store = directories._reader
    before = Clock.now - 300 * SECOND
    running, fresh, over, long = (ExecutionId(ROOT[:-1] + letter) for letter in "ABCD")
    store.finished = {running: None, fresh: before + 1, over: before, long: before}
    for execution_id in (running, fresh, over, ExecutionId(f"{long}.n:{'x' * 300}_1"), OTHER):
        directories.preopen(execution_id, reuse=True).host.joinpath("a").touch()
    (parent / "something-else").mkdir()
    directories.clean()
    assert {path.name for path in parent.iterdir()} == {running, fresh, OTHER, "something-else"}


def test_a_directory_that_was_just_written_in_stays(make: Any, parent: Path) -> None:
    directories = make()
    directories._reader.finished = {ROOT: 1}
    given = directories.preopen(ROOT, reuse=True)
    future = (Clock.now - 299 * SECOND) * 1_000
    os.utime(given.host, ns=(future, future))
    directories.clean()
    assert given.host.exists()


def test_without_cleanup_everything_stays(make: Any, parent: Path) -> None:
    directories = make(cleanup_enabled=False)
    directories._reader.finished = {ROOT: 1}
    directories.preopen(ROOT, reuse=False)
    directories.preopen(ROOT, reuse=False)
    directories.clean()
    assert [path.name for path in parent.iterdir()] == [ROOT]


def test_the_thread_removes_at_once_what_a_retry_does_not_want(make: Any, parent: Path) -> None:
    directories = make()
    directories.start(Store())
    directories.preopen(ROOT, reuse=False)
    directories.preopen(ROOT, reuse=False)
    wait_until(lambda: [path.name for path in parent.iterdir()] == [ROOT])


def wait_until(holds: Callable[[], bool]) -> None:
    import time

    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_hostile_tree_is_removed(tmp_path: Path) -> None:
    """Deeper than Python recurses, than there are descriptors, and than a path can be long."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "a").touch()
    (tmp_path / "tree").mkdir()
    here = os.open(tmp_path / "tree", os.O_RDONLY)
    for _ in range(1_500):
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.symlink("../kept", "link", dir_fd=here)
        os.symlink(tmp_path / "kept", "absolute", dir_fd=here)
        os.mkdir("empty", dir_fd=here)
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    parent = os.open(tmp_path, os.O_RDONLY)
    remove_tree(parent, "tree")
    os.close(parent)
    assert [path.name for path in tmp_path.rglob("*")] == ["kept", "a"]


def test_what_cannot_be_removed_keeps_nothing_else(
    make: Any, parent: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    directories = make()
    for name in (".removed-1", ".removed-2"):
        (parent / name).mkdir()

    def busy(name: str, *, dir_fd: int) -> None:
        if name == ".removed-1":
            raise OSError(16, "Device or resource busy")
        really(name, dir_fd=dir_fd)

    really = os.rmdir
    monkeypatch.setattr(os, "rmdir", busy)
    directories.clean()
    assert [path.name for path in parent.iterdir()] == [".removed-1"]
    assert ".removed-1 cannot be removed" in caplog.text


# --- the parent ------------------------------------------------------------------------------------------------------


def test_a_parent_in_which_others_may_write_is_refused(make: Any, parent: Path) -> None:
    parent.mkdir()
    parent.chmod(0o777)
    with pytest.raises(ParentUnusable, match=re.escape("(activities.directories): others may write in it")):
        make()


def test_a_parent_of_another_user_is_refused(make: Any, parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ParentUnusable, match="belongs to another user"):
        make()


def test_the_parent_is_made(make: Any, parent: Path) -> None:
    make(parent_directory=parent / "deep" / "er")
    assert (parent / "deep" / "er").is_dir()
