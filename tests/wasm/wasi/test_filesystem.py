"""wasi:filesystem as its functions are called: what they return, and with which code they refuse."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from obelisk.wasm.wasi.filesystem import FUNCTIONS, ErrorCode, Files, Preopen
from obelisk.wasm.wasi.filesystem.metadata import DescriptorType

TYPES = FUNCTIONS["wasi:filesystem/types"]
READ, WRITE, MUTATE = 1, 2, 32
CREATE, DIRECTORY, EXCLUSIVE, TRUNCATE = 1, 2, 4, 8
FOLLOW = 1


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    directory = tmp_path / "inside"
    directory.mkdir()
    return directory


@pytest.fixture
def guest(calls: Any, inside: Path) -> Iterator[Any]:
    made = calls.Guest(Preopen(inside, "."))
    yield made
    made.files.close()
    assert made.files.room.count == 0


@pytest.fixture
def reader(calls: Any, inside: Path) -> Iterator[Any]:
    made = calls.Guest(Preopen(inside, "/data", read_only=True))
    yield made
    made.files.close()


# --- without directories ---------------------------------------------------------------------------------------------


def test_a_run_without_directories_has_none() -> None:
    get = FUNCTIONS["wasi:filesystem/preopens"]["get-directories"]
    assert get(SimpleNamespace()) == []
    assert get(SimpleNamespace(files=Files((), print, time.time_ns))) == []


def test_every_function_of_the_interface_is_there() -> None:
    assert len(TYPES) == 27 + 1 + 1


# --- opening ---------------------------------------------------------------------------------------------------------


def test_what_is_written_is_on_the_disk_and_read_back(guest: Any, inside: Path) -> None:
    guest.write("a.txt", b"hello")
    assert (inside / "a.txt").read_bytes() == b"hello"
    assert guest.read("a.txt") == b"hello"
    assert guest.read("./a.txt") == b"hello"


def test_opening_what_is_not_there(calls: Any, guest: Any) -> None:
    for path in ("a", "a/b", "", "./a"):
        with calls.refuses(ErrorCode.NO_ENTRY):
            guest.open(path)


def test_create_exclusive_and_truncate(calls: Any, guest: Any, inside: Path) -> None:
    guest.open("a", CREATE | EXCLUSIVE, WRITE)
    with calls.refuses(ErrorCode.EXIST):
        guest.open("a", CREATE | EXCLUSIVE, WRITE)
    (inside / "a").write_bytes(b"old")
    assert guest("stat", guest.open("a", CREATE, WRITE))[2] == 3
    assert guest("stat", guest.open("a", TRUNCATE, WRITE))[2] == 0
    with calls.refuses(ErrorCode.INVALID):
        guest.open("a", TRUNCATE, READ)
    with calls.refuses(ErrorCode.INVALID):
        guest.open("b", CREATE | DIRECTORY, READ)
    with calls.refuses(ErrorCode.IS_DIRECTORY):
        guest.open("b/", CREATE, WRITE)


def test_directories_are_opened_and_opened_in(calls: Any, guest: Any, inside: Path) -> None:
    guest("create-directory-at", guest.root, "sub/")
    with calls.refuses(ErrorCode.NOT_DIRECTORY):
        guest.write("a")
        guest.open("a", DIRECTORY)
    with calls.refuses(ErrorCode.NOT_DIRECTORY):
        guest.open("a/")
    with calls.refuses(ErrorCode.NOT_DIRECTORY):
        guest.open("a/b")
    with calls.refuses(ErrorCode.IS_DIRECTORY):
        guest.open("sub", 0, WRITE)
    # As guests do: opened to read, and then written in.
    sub = guest.open("sub", DIRECTORY, READ)
    assert guest("get-flags", sub) == READ | MUTATE
    assert guest("get-type", sub) == DescriptorType.DIRECTORY
    guest.write("b", b"deep", at=sub)
    assert (inside / "sub/b").read_bytes() == b"deep"
    for path in ("sub/b", "sub//b", "./sub/./b", "sub/../sub/b"):
        assert guest.read(path) == b"deep"
    with calls.refuses(ErrorCode.NOT_DIRECTORY):
        guest.open("x", at=guest.open("a"))


def test_rights_are_those_asked_for(calls: Any, guest: Any) -> None:
    guest.write("a", b"1")
    read, write, neither = guest.open("a"), guest.open("a", 0, WRITE), guest.open("a", 0, 0)
    assert (guest("get-flags", read), guest("get-flags", write)) == (READ, WRITE)
    for file, method, *arguments in (
        (read, "write", b"x", 0),
        (read, "set-size", 0),
        (read, "write-via-stream", 0),
        (read, "append-via-stream"),
        (write, "read", 1, 0),
        (write, "read-via-stream", 0),
        (neither, "read", 1, 0),
        (neither, "write", b"x", 0),
        (guest.root, "read", 1, 0),
    ):
        with calls.refuses(ErrorCode.BAD_DESCRIPTOR):
            guest(method, file, *arguments)
    with calls.refuses(ErrorCode.IS_DIRECTORY):
        guest("write", guest.root, b"x", 0)
    assert guest.read("a") == b"1"


def test_a_read_only_directory_is_not_changed(calls: Any, reader: Any, inside: Path) -> None:
    (inside / "a").write_bytes(b"kept")
    (inside / "d").mkdir()
    root = reader.root
    assert reader.names == ["/data"]
    assert reader("get-flags", root) == READ
    assert reader.read("a") == b"kept"
    sub = reader.open("d")
    assert reader("get-flags", sub) == READ
    now = (1, None)
    for method, *arguments in (
        ("open-at", root, 0, "a", 0, WRITE),
        ("open-at", root, 0, "a", 0, MUTATE),
        ("open-at", root, 0, "b", CREATE, READ),
        ("open-at", root, 0, "a", TRUNCATE, WRITE),
        ("open-at", sub, 0, "b", CREATE, WRITE),
        ("create-directory-at", root, "e"),
        ("remove-directory-at", root, "d"),
        ("unlink-file-at", root, "a"),
        ("rename-at", root, "a", root, "b"),
        ("link-at", root, 0, "a", root, "b"),
        ("symlink-at", root, "a", "b"),
        ("set-times-at", root, 0, "a", now, now),
    ):
        with calls.refuses(ErrorCode.READ_ONLY):
            reader(method, *arguments)
    with calls.refuses(ErrorCode.NOT_PERMITTED):
        reader("set-times", root, now, now)
    with calls.refuses(ErrorCode.BAD_DESCRIPTOR):
        reader("set-size", reader.open("a"), 0)
    assert sorted(path.name for path in inside.rglob("*")) == ["a", "d"]
    assert "/data may only be read" in reader.events[0]


# --- reading and writing ---------------------------------------------------------------------------------------------


def test_reads_and_writes_at_offsets(calls: Any, guest: Any) -> None:
    guest.write("a", b"abcdef")
    file = guest.open("a", 0, READ | WRITE)
    assert guest("read", file, 3, 1) == (b"bcd", False)
    assert guest("read", file, 3, 6) == (b"", True)
    assert guest("read", file, 0, 6) == (b"", False)
    assert guest("write", file, b"XY", 8) == 2
    assert guest("read", file, 100, 0) == (b"abcdef\0\0XY", False)
    guest("set-size", file, 3)
    guest("set-size", file, 5)
    assert guest("read", file, 100, 0) == (b"abc\0\0", False)
    with calls.refuses(ErrorCode.INVALID):
        guest("read", file, 1, 2**63)
    with calls.refuses(ErrorCode.FILE_TOO_LARGE):
        guest("write", file, b"x", 2**63 - 1)
    with calls.refuses(ErrorCode.FILE_TOO_LARGE):
        guest("set-size", file, 2**63)


def test_one_call_moves_a_chunk_at_most(guest: Any) -> None:
    file = guest.open("a", CREATE, READ | WRITE)
    assert guest("write", file, bytes(100_000), 0) == 1 << 16
    guest("set-size", file, 1 << 20)
    assert len(guest("read", file, 1 << 30, 0)[0]) == 1 << 16


def test_streams(guest: Any) -> None:
    file = guest.open("a", CREATE, READ | WRITE)
    out = guest("write-via-stream", file, 2)
    assert guest.value(out.check_write()) == 1 << 16
    assert out.write(b"cd") == (True, None)
    assert out.blocking_write(b"ef") == (True, None)
    assert out.flush() == out.blocking_flush() == (True, None)
    end = guest("append-via-stream", file)
    end.write(b"gh")
    out.write(b"GHI")
    end.write(b"j")
    assert guest.read("a") == b"\0\0cdefGHIj"
    one, other = guest("read-via-stream", file, 0), guest("read-via-stream", file, 6)
    file.close()
    out.close()
    assert one.skip(2) == (True, 2)
    assert one.read(2) == (True, b"cd")
    assert other.blocking_read(100) == (True, b"GHIj")
    assert other.read(0) == (True, b"")
    assert other.read(1) == other.read(0) == (False, (1, None))
    assert one.blocking_skip(100) == (True, 6)
    assert one.subscribe().ready()


def test_a_stream_tells_why_it_failed_and_has_ended(calls: Any, inside: Path) -> None:
    guest = calls.Guest(Preopen(inside, ".", bytes_max=10))
    out = guest("append-via-stream", guest.open("a", CREATE, WRITE))
    assert out.write(b"0123456789") == (True, None)
    failed, (case, error) = out.write(b"0")
    assert (failed, case) == (False, 0)
    assert "bytes_max" in error.text
    assert TYPES["filesystem-error-code"](guest.host, error) == (ErrorCode.QUOTA,)
    assert out.write(b"0") == out.check_write() == out.flush() == (False, (1, None))
    assert TYPES["filesystem-error-code"](guest.host, SimpleNamespace(cause="else")) is None
    guest.files.close()


def test_advice_and_sync(calls: Any, guest: Any) -> None:
    file = guest.open("a", CREATE, READ | WRITE)
    for advice in range(6):
        guest("advise", file, 0, 100, advice)
    with calls.refuses(ErrorCode.INVALID):
        guest("advise", file, 2**63, 0, 0)
    with calls.refuses(ErrorCode.BAD_DESCRIPTOR):
        guest("advise", guest.root, 0, 0, 0)
    guest("sync", file)
    guest("sync-data", file)
    guest("sync", guest.root)
    file.close()
    with calls.refuses(ErrorCode.BAD_DESCRIPTOR):
        guest("sync", file)


# --- metadata --------------------------------------------------------------------------------------------------------


def test_stat(guest: Any, inside: Path) -> None:
    guest.write("a", b"12345")
    os.utime(inside / "a", ns=(1_500_000_000, 2_000_000_003))
    kind, links, size, access, modified, changed = guest("stat", guest.open("a"))
    assert (kind, links, size) == (DescriptorType.REGULAR_FILE, 1, 5)
    assert (access, modified) == (((1, 500_000_000),), ((2, 3),))
    assert changed[0][0] <= time.time()
    assert guest("stat-at", guest.root, 0, "a")[:3] == (kind, links, size)
    guest("symlink-at", guest.root, "a", "l")
    assert guest("stat-at", guest.root, 0, "l")[0] == DescriptorType.SYMBOLIC_LINK
    assert guest("stat-at", guest.root, FOLLOW, "l")[0] == DescriptorType.REGULAR_FILE
    assert guest("stat-at", guest.root, 0, ".")[0] == DescriptorType.DIRECTORY
    os.utime(inside / "a", ns=(-1, 0))
    assert guest("stat-at", guest.root, 0, "a")[3:5] == (None, ((0, 0),))


def test_times_are_set(calls: Any, guest: Any, inside: Path) -> None:
    guest.write("a")
    guest("symlink-at", guest.root, "a", "l")
    keep, now = (0, None), (1, None)
    file = guest.open("a", 0, WRITE)
    guest("set-times", file, (2, (7, 1)), (2, (8, 2)))
    guest("set-times", file, keep, (2, (9, 3)))
    found = (inside / "a").stat()
    assert (found.st_atime_ns, found.st_mtime_ns) == (7_000_000_001, 9_000_000_003)
    guest("set-times-at", guest.root, FOLLOW, "l", (2, (5, 0)), keep)
    assert (inside / "a").stat().st_atime == 5
    guest("set-times-at", guest.root, 0, "l", (2, (4, 0)), now)
    assert (inside / "a").stat().st_atime == 5
    assert (inside / "l").lstat().st_mtime > time.time() - 60
    for wrong in ((2, (2**63, 0)), (2, (0, 1_000_000_000))):
        with calls.refuses(ErrorCode.INVALID):
            guest("set-times", file, wrong, keep)
    with calls.refuses(ErrorCode.NOT_PERMITTED):
        guest("set-times", guest.open("a"), now, now)


def test_identity(guest: Any, inside: Path) -> None:
    guest.write("a", b"1")
    guest.write("b", b"1")
    one, same, other = guest.open("a"), guest.open("a"), guest.open("b")
    alike = TYPES["[method]descriptor.is-same-object"]
    assert alike(guest.host, one, same)
    assert alike(guest.host, one, one)
    assert not alike(guest.host, one, other)
    number = guest("metadata-hash", one)
    assert number == guest("metadata-hash", same) == guest("metadata-hash-at", guest.root, 0, "./a")
    assert number != guest("metadata-hash", other)
    assert (inside / "a").stat().st_ino not in number


# --- directories -----------------------------------------------------------------------------------------------------


def test_a_directory_is_listed(calls: Any, guest: Any, inside: Path) -> None:
    guest.write("a")
    guest("create-directory-at", guest.root, "d")
    guest("symlink-at", guest.root, "a", "l")
    os.mkfifo(inside / "p")
    everything = [
        (DescriptorType.DIRECTORY, "d"),
        (DescriptorType.FIFO, "p"),
        (DescriptorType.SYMBOLIC_LINK, "l"),
        (DescriptorType.REGULAR_FILE, "a"),
    ]
    assert guest.list(guest.root) == everything
    one, other = guest("read-directory", guest.root), guest("read-directory", guest.root)
    guest("read-directory-entry", one)
    assert sum(guest("read-directory-entry", other) is not None for _ in range(5)) == 4
    assert sum(guest("read-directory-entry", one) is not None for _ in range(5)) == 3
    with calls.refuses(ErrorCode.NOT_DIRECTORY):
        guest("read-directory", guest.open("a"))
    one.close()
    with calls.refuses(ErrorCode.BAD_DESCRIPTOR):
        guest("read-directory-entry", one)


def test_a_name_that_is_not_text_cannot_be_told(calls: Any, guest: Any, inside: Path) -> None:
    (Path(os.fsdecode(bytes(inside) + b"/\xff"))).touch()
    with calls.refuses(ErrorCode.ILLEGAL_BYTE_SEQUENCE):
        guest.list(guest.root)


def test_making_and_removing(calls: Any, guest: Any, inside: Path) -> None:
    root = guest.root
    guest("create-directory-at", root, "d")
    with calls.refuses(ErrorCode.EXIST):
        guest("create-directory-at", root, "d")
    with calls.refuses(ErrorCode.NO_ENTRY):
        guest("create-directory-at", root, "x/y")
    guest.write("d/a")
    with calls.refuses(ErrorCode.NOT_EMPTY):
        guest("remove-directory-at", root, "d")
    with calls.refuses(ErrorCode.IS_DIRECTORY):
        guest("unlink-file-at", root, "d")
    with calls.refuses(ErrorCode.NOT_DIRECTORY):
        guest("remove-directory-at", root, "d/a")
    with calls.refuses(ErrorCode.NOT_DIRECTORY):
        guest("unlink-file-at", root, "d/a/")
    with calls.refuses(ErrorCode.NO_ENTRY):
        guest("unlink-file-at", root, "x")
    guest("unlink-file-at", root, "d/a")
    guest("remove-directory-at", root, "d/")
    assert list(inside.iterdir()) == []
    with calls.refuses(ErrorCode.INVALID):
        guest("remove-directory-at", root, ".")


def test_renaming(calls: Any, guest: Any, inside: Path) -> None:
    root = guest.root
    guest.write("a", b"1")
    guest.write("b", b"22")
    guest("create-directory-at", root, "d")
    guest("rename-at", root, "a", root, "b")
    assert guest.read("b") == b"1"
    guest("rename-at", root, "b", guest.open("d"), "c")
    assert (inside / "d/c").read_bytes() == b"1"
    guest("rename-at", root, "d", root, "e/")
    with calls.refuses(ErrorCode.NOT_DIRECTORY):
        guest("rename-at", root, "e/c", root, "x/")
    with calls.refuses(ErrorCode.NOT_DIRECTORY):
        guest("rename-at", root, "e/c/", root, "x")
    with calls.refuses(ErrorCode.NO_ENTRY):
        guest("rename-at", root, "x", root, "y")
    with calls.refuses(ErrorCode.INVALID):
        guest("rename-at", root, "e", root, "e/inside")
    assert guest.files._roots is not None
    assert guest.files._roots[0].root.quota.entries == 2


def test_links(calls: Any, guest: Any, inside: Path) -> None:
    root = guest.root
    guest.write("a", b"1")
    guest("link-at", root, 0, "a", root, "b")
    assert (inside / "b").stat().st_nlink == 2
    guest("rename-at", root, "a", root, "b")  # two names of one file: nothing happens
    assert (inside / "a").exists()
    guest("symlink-at", root, "a", "l")
    guest("link-at", root, 0, "l", root, "m")
    assert (inside / "m").is_symlink()
    guest("link-at", root, FOLLOW, "l", root, "n")
    assert not (inside / "n").is_symlink()
    assert guest("readlink-at", root, "l") == "a"
    for path, code in (("a", ErrorCode.INVALID), ("x", ErrorCode.NO_ENTRY), ("l/", ErrorCode.INVALID)):
        with calls.refuses(code):
            guest("readlink-at", root, path)
    guest("create-directory-at", root, "d")
    with calls.refuses(ErrorCode.NOT_PERMITTED):
        guest("link-at", root, 0, "d", root, "e")
    with calls.refuses(ErrorCode.EXIST):
        guest("symlink-at", root, "a", "d/")
    with calls.refuses(ErrorCode.NO_ENTRY):
        guest("symlink-at", root, "a", "x/")
    with calls.refuses(ErrorCode.NOT_DIRECTORY):
        guest("link-at", root, 0, "a", root, "b/")
    with calls.refuses(ErrorCode.NO_ENTRY):
        guest("symlink-at", root, "", "x")


def test_links_are_followed_where_that_is_asked_for(calls: Any, guest: Any) -> None:
    root = guest.root
    guest("create-directory-at", root, "d")
    guest.write("d/a", b"1")
    guest("symlink-at", root, "d", "l")
    guest("symlink-at", root, "../d/a", "d/up")
    assert guest.read("l/a") == guest.read("l/up") == b"1"
    with calls.refuses(ErrorCode.LOOP):
        guest.open("d/up", follow=False)
    # A slash at the end asks for it too.
    assert guest("get-type", guest.open("l/", follow=False)) == DescriptorType.DIRECTORY
    # A link that leads nowhere makes what it names, inside.
    guest("symlink-at", root, "d/new", "made")
    guest.write("made", b"2")
    assert guest.read("d/new") == b"2"
    with calls.refuses(ErrorCode.EXIST):
        guest.open("made", CREATE | EXCLUSIVE, WRITE)
    # Removing and renaming mean the link.
    guest("unlink-file-at", root, "l")
    guest("rename-at", root, "made", root, "moved")
    assert guest("readlink-at", root, "moved") == "d/new"
