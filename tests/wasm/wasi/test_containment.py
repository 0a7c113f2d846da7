"""A hostile guest and its files: it stays in its directory, cannot block, and runs into limits that have a name."""

from __future__ import annotations

import functools
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from obelisk.runtime.directories import remove_tree
from obelisk.wasm.wasi.filesystem import ErrorCode, Files, Preopen, paths
from obelisk.wasm.wasi.filesystem.files import EVENTS_MAX, HANDLES_MAX
from obelisk.wasm.wasi.filesystem.metadata import DescriptorType
from obelisk.wasm.wasi.filesystem.quota import sizes
from obelisk.wasm.wasi.host import GuestTrap
from obelisk.wasm.wasi.room import PROCESS, Room

READ, WRITE, MUTATE = 1, 2, 32
CREATE, DIRECTORY, EXCLUSIVE, TRUNCATE = 1, 2, 4, 8
FOLLOW = 1


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    """The directory of the guest, beside a secret."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a").write_bytes(b"secret")
    directory = tmp_path / "inside"
    directory.mkdir()
    (directory / "sub").mkdir()
    return directory


@pytest.fixture
def guest(calls: Any, inside: Path) -> Iterator[Any]:
    made = calls.Guest(Preopen(inside, "."))
    yield made
    made.files.close()
    assert made.files.room.count == 0


EVERY_PATH_FUNCTION: list[tuple[str, Any]] = [
    ("open-at", lambda guest, path: (guest.root, FOLLOW, path, 0, READ)),
    ("open-at", lambda guest, path: (guest.root, FOLLOW, path, CREATE, WRITE)),
    ("open-at", lambda guest, path: (guest.root, FOLLOW, path, CREATE | EXCLUSIVE, WRITE)),
    ("open-at", lambda guest, path: (guest.root, FOLLOW, path, TRUNCATE, WRITE)),
    ("open-at", lambda guest, path: (guest.root, FOLLOW, path, DIRECTORY, READ)),
    ("stat-at", lambda guest, path: (guest.root, FOLLOW, path)),
    ("metadata-hash-at", lambda guest, path: (guest.root, FOLLOW, path)),
    ("set-times-at", lambda guest, path: (guest.root, FOLLOW, path, (1, None), (1, None))),
    ("readlink-at", lambda guest, path: (guest.root, path)),
    ("create-directory-at", lambda guest, path: (guest.root, path)),
    ("remove-directory-at", lambda guest, path: (guest.root, path)),
    ("unlink-file-at", lambda guest, path: (guest.root, path)),
    ("rename-at", lambda guest, path: (guest.root, path, guest.root, "stolen")),
    ("rename-at", lambda guest, path: (guest.root, "mine", guest.root, path)),
    ("link-at", lambda guest, path: (guest.root, FOLLOW, path, guest.root, "stolen")),
    ("link-at", lambda guest, path: (guest.root, 0, "mine", guest.root, path)),
    ("symlink-at", lambda guest, path: (guest.root, "mine", path)),
]


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "/etc/passwd",
        "//etc/passwd",
        "sub/../../secret",
        "sub/../../inside/mine",  # back in again: but it has been outside
        "up/secret",
        "sub/up-two/secret",
        "chain/secret",
        "absolute/secret",
        "../outside/a",
        "out/a",
    ],
)
def test_no_function_reaches_out(guest: Any, calls: Any, inside: Path, path: str) -> None:
    (inside / "mine").write_bytes(b"mine")
    (inside / "up").symlink_to("..")
    (inside / "sub/up-two").symlink_to("../..")
    (inside / "chain").symlink_to("sub/link")
    (inside / "sub/link").symlink_to("../up")
    (inside / "absolute").symlink_to(inside.parent)
    (inside / "out").symlink_to("../outside")
    before = tree(inside.parent)
    for method, arguments in EVERY_PATH_FUNCTION:
        with calls.refuses(ErrorCode.NOT_PERMITTED):
            guest(method, *arguments(guest, path))
        event = guest.events.pop()
        assert event.startswith(f"wasi:filesystem {method}: ")
        assert "leads out of its directory: not-permitted" in event
    assert tree(inside.parent) == before
    assert guest.events == []


def test_a_link_as_the_last_name_is_not_a_way_out(guest: Any, calls: Any, inside: Path) -> None:
    for name, target in (("file", "../secret"), ("absolute", "/etc/passwd"), ("directory", "../outside")):
        (inside / name).symlink_to(target)
        for open_flags, flags in ((0, READ), (CREATE, WRITE), (TRUNCATE, WRITE), (DIRECTORY, READ)):
            with calls.refuses(ErrorCode.NOT_PERMITTED):
                guest.open(name, open_flags, flags)
        with calls.refuses(ErrorCode.LOOP):
            guest.open(name, follow=False)
        with calls.refuses(ErrorCode.NOT_PERMITTED):
            guest("stat-at", guest.root, FOLLOW, name)
        guest("set-times-at", guest.root, 0, name, (1, None), (1, None))
    with calls.refuses(ErrorCode.NOT_PERMITTED):
        guest("readlink-at", guest.root, "absolute")
    with calls.refuses(ErrorCode.NOT_PERMITTED):
        guest("symlink-at", guest.root, "/etc", "x")
    assert (inside.parent / "secret").read_bytes() == b"secret"


def test_a_hard_link_to_outside_cannot_be_made(guest: Any, calls: Any, inside: Path) -> None:
    (inside / "l").symlink_to("../secret")
    guest("link-at", guest.root, 0, "l", guest.root, "m")  # of the link, not of what it means
    assert (inside / "m").is_symlink()
    with calls.refuses(ErrorCode.NOT_PERMITTED):
        guest("link-at", guest.root, FOLLOW, "l", guest.root, "n")
    assert (inside.parent / "secret").stat().st_nlink == 1


def test_a_subdirectory_is_a_base_of_its_own(guest: Any, calls: Any) -> None:
    guest.write("mine", b"1")
    sub = guest.open("sub", DIRECTORY)
    with calls.refuses(ErrorCode.NOT_PERMITTED):
        guest.open("../mine", at=sub)


def test_loops_end(guest: Any, calls: Any, inside: Path) -> None:
    (inside / "self").symlink_to("self")
    (inside / "one").symlink_to("two")
    (inside / "two").symlink_to("one")
    (inside / "here").symlink_to(".")
    (inside / "many").symlink_to("many/many/many")
    for path in ("self", "one", "self/x", "/".join(["here"] * (paths.LINKS_MAX + 1)), "many"):
        with calls.refuses(ErrorCode.LOOP):
            guest.open(path)
    assert guest("get-type", guest.open("/".join(["here"] * paths.LINKS_MAX))) == DescriptorType.DIRECTORY


def test_links_that_grow_are_no_work_without_end(guest: Any, calls: Any, inside: Path) -> None:
    """Each link has as many names as fit, and the last of them is the next link."""
    for index in range(paths.LINKS_MAX + 1):
        (inside / f"l{index:02}").symlink_to("./" * 2_000 + f"l{index + 1:02}")
    begun = time.thread_time()
    with calls.refuses(ErrorCode.LOOP):
        guest.open("l00")
    assert time.thread_time() - begun < 1


def test_lengths(guest: Any, calls: Any) -> None:
    for path in ("x" * 256, "a/" * 2_048 + "a", "x" * (1 << 20)):
        with calls.refuses(ErrorCode.NAME_TOO_LONG):
            guest.open(path)
    with calls.refuses(ErrorCode.NAME_TOO_LONG):
        guest("symlink-at", guest.root, "x" * 5_000, "l")
    for path in ("a\0b", "\0"):
        with calls.refuses(ErrorCode.INVALID):
            guest.open(path)
    with calls.refuses(ErrorCode.INVALID):
        guest("symlink-at", guest.root, "a\0b", "l")


def test_a_deep_path_holds_few_descriptors(guest: Any, calls: Any, inside: Path) -> None:
    directory = guest.root
    for _ in range(3):
        for _ in range(paths.DEPTH_MAX):
            guest("create-directory-at", directory, "d")
            below = guest.open("d", DIRECTORY, at=directory)
            if directory is not guest.root:
                directory.close()
            directory = below
    guest.open("d/" * paths.DEPTH_MAX + "d")
    with calls.refuses(ErrorCode.NAME_TOO_LONG):
        guest.open("d/" * (paths.DEPTH_MAX + 1) + "d")
    assert f"{paths.DEPTH_MAX} directories" in guest.events[-1]
    remove(inside)


def test_links_of_proc_lead_nowhere(calls: Any, tmp_path: Path) -> None:
    """Links of /proc can lead anywhere, whatever their text says: nobody but us follows them."""
    (tmp_path / "secret").write_bytes(b"secret")
    guest = calls.Guest(Preopen(Path("/proc"), "/proc"))
    secret = os.open(tmp_path / "secret", os.O_RDONLY)
    pipe = os.pipe()
    pid = os.getpid()
    try:
        for path in (f"{pid}/fd/{secret}", f"{pid}/root/etc/passwd", f"{pid}/cwd/x", f"{pid}/exe"):
            with calls.refuses(ErrorCode.NOT_PERMITTED):
                guest.open(path)
        with calls.refuses(ErrorCode.NO_ENTRY):
            guest.open(f"{pid}/fd/{pipe[0]}")
    finally:
        for fd in (secret, *pipe):
            os.close(fd)
        guest.files.close()


def test_what_could_block_or_act_is_not_opened(guest: Any, calls: Any, inside: Path) -> None:
    os.mkfifo(inside / "fifo")
    server = socket.socket(socket.AF_UNIX)
    server.bind(os.path.relpath(inside / "socket"))
    names = ["fifo", "socket"]
    try:
        os.mknod(inside / "null", 0o20666, os.makedev(1, 3))
        names.append("null")
    except PermissionError:
        pass  # only root may
    begun = time.monotonic()
    for name in names:
        for open_flags, flags in ((0, READ), (0, WRITE), (CREATE, READ | WRITE), (TRUNCATE, WRITE)):
            with calls.refuses(ErrorCode.NOT_PERMITTED):
                guest.open(name, open_flags, flags)
    server.close()
    assert time.monotonic() - begun < 30
    assert "'fifo' is a fifo, which cannot be opened" in guest.events[0]


def test_what_takes_the_place_of_a_file_is_not_used_either(
    guest: Any, calls: Any, inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is looked at, and is a pipe, or a link to the secret, when it is opened."""
    really = os.open

    def replaced(replace: Any, path: Any, *arguments: Any, **options: Any) -> int:
        if path == b"a":
            (inside / "a").unlink()
            replace()
        return really(path, *arguments, **options)

    replace = {
        ErrorCode.NOT_PERMITTED: lambda: os.mkfifo(inside / "a"),
        ErrorCode.LOOP: lambda: (inside / "a").symlink_to("../secret"),
    }
    for code, replacement in replace.items():
        (inside / "a").unlink(missing_ok=True)
        (inside / "a").write_bytes(b"1")
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", functools.partial(replaced, replacement))
            with calls.refuses(code):
                guest.open("a")


def test_a_race_of_renames_and_links_never_leads_out(calls: Any, inside: Path) -> None:
    """Others change, as fast as they can, what a directory on the way is: itself, a link out, another place, outside."""
    way = inside / "way"
    (inside / "real").mkdir()
    (inside / "real" / "a").write_bytes(b"mine")
    stop = threading.Event()

    def confuse() -> None:
        while not stop.is_set():
            os.rename(inside / "real", way)
            os.rename(way, inside / "sub" / "deep")
            os.symlink("../outside", way)
            os.rename(inside / "sub" / "deep", inside / "real")
            os.unlink(way)

    confusing = threading.Thread(target=confuse)
    confusing.start()
    guest = calls.Guest(Preopen(inside, "."))
    seen: set[str] = set()
    try:
        until = time.monotonic() + 1
        while time.monotonic() < until:
            for path in (
                "way/a",
                "way/../real/a",
                "sub/deep/../../way/a",
                "real/../../secret",
                "sub/deep/../../../secret",
            ):
                try:
                    assert guest.read(path) == b"mine"
                    seen.add("read")
                except calls.Refused as refused:
                    seen.add(refused.code.name)
    finally:
        stop.set()
        confusing.join()
        guest.files.close()
    assert {"NO_ENTRY", "NOT_PERMITTED"} <= seen


# --- limits ----------------------------------------------------------------------------------------------------------


def test_handles_are_limited(guest: Any, calls: Any) -> None:
    guest.write("a")
    with calls.refuses(ErrorCode.INSUFFICIENT_MEMORY):
        for _ in range(HANDLES_MAX + 1):
            guest.open("a", 0, READ | WRITE)
    last = guest.opened[-1]
    for method, *arguments in (
        ("read-via-stream", last, 0),
        ("write-via-stream", last, 0),
        ("append-via-stream", last),
        ("read-directory", guest.root),
        ("open-at", guest.root, 0, "b", CREATE, WRITE),
    ):
        with calls.refuses(ErrorCode.INSUFFICIENT_MEMORY):
            guest(method, *arguments)
    assert f"a run may have {HANDLES_MAX} files" in guest.events[0]
    last.close()
    last.close()
    guest.open("a")
    with calls.refuses(ErrorCode.INSUFFICIENT_MEMORY):
        guest.open("a")
    with pytest.raises(GuestTrap, match="a run may have"):
        calls.preopens(guest.host)


def test_streams_count_while_they_are_open(guest: Any, calls: Any) -> None:
    file = guest.open("a", CREATE, READ | WRITE)
    for _ in range(HANDLES_MAX):
        guest("read-via-stream", file, 0).close()
        guest("append-via-stream", file).close()
        guest("read-directory", guest.root).close()
    streams = [guest("read-via-stream", file, 0) for _ in range(HANDLES_MAX - 2)]
    with calls.refuses(ErrorCode.INSUFFICIENT_MEMORY):
        guest("read-via-stream", file, 0)
    assert guest.files.room.count == 2  # they share the descriptor
    file.close()
    assert guest.files.room.count == 2
    for stream in streams:
        stream.close()
    assert guest.files.room.count == 1


def test_the_process_keeps_descriptors_for_itself(calls: Any, inside: Path) -> None:
    room = Room(5)
    one, other = (calls.Guest(Preopen(inside, "."), room=room) for _ in range(2))
    one.write("a")
    opened = [one.open("a") for _ in range(2)]
    with calls.refuses(ErrorCode.INSUFFICIENT_MEMORY):
        other("read-directory", other.root)
    other.open("a")
    for each in (one, other):
        with calls.refuses(ErrorCode.INSUFFICIENT_MEMORY):
            each.open("a")
        assert "all activities of the server together may have 5 files and sockets open" in each.events[-1]
    opened[0].close()
    other.open("a")
    one.files.close()
    other.files.close()
    other.files.close()
    assert room.count == 0


def test_the_limit_of_the_system_is_told(guest: Any, calls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    guest.write("a")

    def none_left(*arguments: Any, **options: Any) -> int:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", none_left)
        with calls.refuses(ErrorCode.INSUFFICIENT_MEMORY):
            guest.open("a")
    assert "ulimit -n" in guest.events[0]


def test_a_flood_of_refusals_is_not_a_flood_of_lines(guest: Any, calls: Any) -> None:
    for _ in range(EVENTS_MAX + 10):
        with calls.refuses(ErrorCode.NOT_PERMITTED):
            guest.open("../secret")
    assert len(guest.events) == EVENTS_MAX + 1
    assert "further refusals" in guest.events[-1]


def quota_of(guest: Any) -> Any:
    return guest.files._roots[0].root.quota


def test_bytes_are_limited(calls: Any, inside: Path) -> None:
    guest = calls.Guest(Preopen(inside, ".", bytes_max=100))
    guest.write("a", bytes(60))
    with calls.refuses(ErrorCode.QUOTA):
        guest.write("b", bytes(41))
    assert "may hold 100 bytes (activities.directories.bytes_max)" in guest.events[0]
    guest.write("b", bytes(40))
    file = guest.open("a", 0, READ | WRITE)
    for method, *arguments in (("write", b"x", 60), ("write", b"x", 1 << 40), ("set-size", 61), ("set-size", 1 << 50)):
        with calls.refuses(ErrorCode.QUOTA):
            guest(method, file, *arguments)
    guest("write", file, bytes(60), 0)  # what is there may be overwritten
    guest("set-size", file, 50)
    guest.write("c", bytes(10))
    assert (quota_of(guest).bytes, quota_of(guest).entries) == (100, 3) == sizes_of(inside, less=1)
    # Truncated by opening, and replaced by renaming.
    guest.write("b", bytes(30))
    guest("rename-at", guest.root, "c", guest.root, "b")
    assert quota_of(guest).bytes == 60
    assert sizes_of(inside, less=1) == (60, 2)
    guest.files.close()


def test_what_is_removed_counts_until_it_is_closed(calls: Any, inside: Path) -> None:
    guest = calls.Guest(Preopen(inside, ".", bytes_max=100))
    file = guest.open("a", CREATE, READ | WRITE)
    out = guest("append-via-stream", file)
    guest("write", file, bytes(100), 0)
    guest("link-at", guest.root, 0, "a", guest.root, "b")
    guest("unlink-file-at", guest.root, "a")
    guest("unlink-file-at", guest.root, "b")
    assert list(inside.iterdir()) == [inside / "sub"]
    file.close()
    with calls.refuses(ErrorCode.QUOTA):
        guest.write("c", b"x")
    out.close()
    guest.write("c", bytes(100))
    guest("link-at", guest.root, 0, "c", guest.root, "d")
    guest("unlink-file-at", guest.root, "c")
    with calls.refuses(ErrorCode.QUOTA):
        guest.write("e", b"x")
    guest("unlink-file-at", guest.root, "d")
    assert (quota_of(guest).bytes, quota_of(guest).entries) == (0, 1)  # of e, which is empty
    guest.files.close()


def test_entries_are_limited(calls: Any, inside: Path) -> None:
    guest = calls.Guest(Preopen(inside, ".", entries_max=3))
    guest.write("a")
    guest.write("a")
    guest("create-directory-at", guest.root, "d")
    guest("symlink-at", guest.root, "a", "l")
    for method, *arguments in (
        ("create-directory-at", guest.root, "e"),
        ("symlink-at", guest.root, "a", "m"),
        ("link-at", guest.root, 0, "a", guest.root, "b"),
        ("open-at", guest.root, 0, "b", CREATE, WRITE),
        ("open-at", guest.root, 0, "b", CREATE | EXCLUSIVE, WRITE),
    ):
        with calls.refuses(ErrorCode.QUOTA):
            guest(method, *arguments)
    assert "may have 3 entries (activities.directories.entries_max)" in guest.events[0]
    guest.write("a")
    guest("unlink-file-at", guest.root, "l")
    guest("remove-directory-at", guest.root, "d")
    with calls.refuses(ErrorCode.NO_ENTRY):
        guest("unlink-file-at", guest.root, "l")
    guest.write("b")
    guest("rename-at", guest.root, "b", guest.root, "a")
    assert quota_of(guest).entries == 1
    guest.files.close()


def test_what_an_earlier_attempt_left_counts(calls: Any, inside: Path) -> None:
    (inside / "a").write_bytes(bytes(90))
    os.link(inside / "a", inside / "sub" / "b")
    (inside / "l").symlink_to("../outside")
    guest = calls.Guest(Preopen(inside, ".", bytes_max=100, entries_max=5, is_used=True))
    assert (quota_of(guest).bytes, quota_of(guest).entries) == (90, 4)
    with calls.refuses(ErrorCode.QUOTA):
        guest.write("c", bytes(11))
    guest.files.close()


def test_a_deep_tree_is_counted(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    top = os.dup(here)
    for _ in range(1_200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert sizes(top) == (0, 1_200)
    os.close(top)
    remove(tmp_path)


def test_nothing_goes_from_one_directory_to_another(calls: Any, inside: Path) -> None:
    data = inside.parent / "outside"
    guest = calls.Guest(Preopen(inside, ".", bytes_max=100), Preopen(data, "/data", read_only=True))
    mine, theirs = guest.directories
    guest.write("b", b"2")
    for method, *arguments in (
        ("link-at", theirs, 0, "a", mine, "a"),
        ("link-at", mine, 0, "b", theirs, "b"),
        ("rename-at", theirs, "a", mine, "a"),
        ("rename-at", mine, "b", theirs, "b"),
    ):
        with calls.refuses(ErrorCode.CROSS_DEVICE):
            guest(method, *arguments)
    assert guest.read("a", at=theirs) == b"secret"
    guest.files.close()


# --- the end of a run ------------------------------------------------------------------------------------------------


def test_everything_is_closed_at_the_end(calls: Any, inside: Path) -> None:
    before = open_descriptors()
    guest = calls.Guest(Preopen(inside, "."))
    file = guest.open("a", CREATE, READ | WRITE)
    stream, listing = guest("read-via-stream", file, 0), guest("read-directory", guest.root)
    assert open_descriptors() == before + 4
    guest.files.close()
    assert open_descriptors() == before
    with calls.refuses(ErrorCode.BAD_DESCRIPTOR):
        guest("read", file, 1, 0)
    with calls.refuses(ErrorCode.BAD_DESCRIPTOR):
        guest("read-directory-entry", listing)
    assert stream.read(1)[0] is False
    for each in (stream, file, listing, guest.root):
        each.close()
    assert open_descriptors() == before
    assert guest.files.room.count == 0


def test_a_directory_that_is_gone_is_told(calls: Any, tmp_path: Path) -> None:
    with pytest.raises(GuestTrap, match=r"/data of the guest, cannot be opened: .* No such file"):
        calls.Guest(Preopen(tmp_path / "gone", "/data"))


def test_half_of_the_descriptors_are_for_guests() -> None:
    assert PROCESS.count_max == resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
    assert Files((), print, time.time_ns).room is PROCESS


def test_a_limit_that_is_raised_later_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server raises its own when it starts."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (8_000, 8_000))
    assert PROCESS.count_max == 4_000


# --- looks from outside ----------------------------------------------------------------------------------------------


def tree(top: Path) -> list[tuple[str, int, int, bytes]]:
    found = []
    for path in sorted(top.rglob("*")):
        info = path.lstat()
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found.append((str(path), info.st_mode, info.st_mtime_ns, data))
    return found


def remove(directory: Path) -> None:
    """What pytest cannot remove: it is too deep."""
    parent = os.open(directory.parent, os.O_RDONLY)
    remove_tree(parent, directory.name)
    os.close(parent)


def sizes_of(directory: Path, *, less: int) -> tuple[int, int]:
    fd = os.open(directory, os.O_RDONLY)
    total, entries = sizes(fd)
    os.close(fd)
    return total, entries - less


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
