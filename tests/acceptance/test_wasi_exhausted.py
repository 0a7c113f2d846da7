"""What a guest is told when the disk is full, files may be no longer, or the process has no descriptors left; and the server
goes on.
"""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from obelisk.wasm.wasi.filesystem import ErrorCode as FileError
from obelisk.wasm.wasi.sockets import ErrorCode as SocketError

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]

FILESYSTEM = "testing:groups/filesystem."
SOCKETS = "testing:groups/sockets."


@pytest.fixture
def started(server: Callable[[str], Any], wasi_programs: dict[str, Path]) -> Callable[[Path], Any]:
    """A function: a started server whose guests' directories are all in that folder."""

    def start(folder: Path) -> Any:
        for name in ("data", "state"):
            (folder / name).mkdir()
        (folder / "data" / "a.txt").write_text("of the host")
        made = server(
            f"""
            activities.directories.enabled = true
            activities.directories.parent_directory = "{folder}/directories"

            [[activity_wasm]]
            name = "filesystem"
            location = "{wasi_programs["filesystem"]}"
            exec.lock_expiry.seconds = 60
            max_retries = 1
            retry_exp_backoff.seconds = 2
            directories.enabled = true
            directory = [
              {{ host = "{folder}/data", guest = "/data" }},
              {{ host = "{folder}/state", guest = "/state", read_only = false }},
            ]

            [[activity_wasm]]
            name = "sockets"
            location = "{wasi_programs["sockets"]}"
            exec.lock_expiry.seconds = 60
            max_retries = 0
            allowed_tcp = ["127.0.0.1:*"]
            """
        )
        made.start()
        assert made.result(made.submit(f"{FILESYSTEM}reading-and-writing"))[0] == "ok"
        return made

    return start


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB and 40 files."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=40,mode=0700", "tmpfs", str(disk)]
    mounted = subprocess.run(command, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False)
    if mounted.returncode and ("superuser" in mounted.stderr or "permission denied" in mounted.stderr):
        pytest.skip("this user may not mount a file system")
    assert not mounted.returncode, mounted.stderr
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("there", [".", "/state"])
def test_a_disk_that_is_full(started: Any, small_disk: Path, there: str) -> None:
    server = started(small_disk)
    assert server.result(server.submit(f"{FILESYSTEM}fill", there)) == ("ok", FileError.INSUFFICIENT_SPACE)
    # There is room again for the next one.
    assert server.result(server.submit(f"{FILESYSTEM}reading-and-writing"))[0] == "ok"
    assert server.stop() == 0


def test_a_disk_on_which_nothing_can_be_made(started: Any, small_disk: Path) -> None:
    """Not even the directory of the execution: the attempt fails, says why, and is made again when there is room."""
    server = started(small_disk)
    taken = []
    try:
        while True:
            taken.append(small_disk / f"taken-{len(taken)}")
            taken[-1].touch()
    except OSError:
        taken.pop()
    kind, reason, *_ = server.result(failed := server.submit(f"{FILESYSTEM}syncing"))
    assert kind == "failure", reason
    assert server.kinds(failed) == ["created", "locked", "temporarily_failed", "locked", "finished"]
    assert "No space left on device" in server.events(failed)[2].temporarily_failed.reason
    later = server.submit(f"{FILESYSTEM}syncing")
    while "temporarily_failed" not in server.kinds(later):
        time.sleep(0.05)
    for path in taken:
        path.unlink()
    assert server.result(later)[0] == "ok"
    assert server.stop() == 0


def test_a_file_that_may_be_no_longer(started: Any, tmp_path: Path) -> None:
    """Because of a limit of the process, beyond which the system would send it a signal."""
    server = started(tmp_path)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (8 << 20, resource.RLIM_INFINITY))
    assert server.result(server.submit(f"{FILESYSTEM}fill", "/state")) == ("ok", FileError.FILE_TOO_LARGE)
    assert server.result(server.submit(f"{FILESYSTEM}reading-and-writing"))[0] == "ok"
    assert server.stop() == 0


def test_a_process_without_descriptors(started: Any, tmp_path: Path, fixture_module: Callable[[str], Any]) -> None:
    with fixture_module("web").ServerThread(fixture_module("groups").peer) as there:
        server = started(tmp_path)
        assert server.result(server.submit(f"{SOCKETS}conversation", there.port))[0] == "ok"
        pid = server.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        open_now = len(os.listdir(f"/proc/{pid}/fd"))
        # The half that is for guests ends before the process is out of them; then the process is.
        for limit, said in (
            (2 * open_now + 16, "half of its limit of open files"),
            (open_now + 12, "the server has no file descriptors left"),
        ):
            assert said not in server.log.read_text()
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
            files = server.result(server.submit(f"{FILESYSTEM}open-all"))
            assert files == ("ok", FileError.INSUFFICIENT_MEMORY), (limit, open_now)
            sockets = server.result(server.submit(f"{SOCKETS}open-all", there.port))
            assert sockets == ("ok", SocketError.NEW_SOCKET_LIMIT), (limit, open_now)
            ends = time.monotonic() + 60
            for function in ("wasi:filesystem open-at", "wasi:sockets create-tcp-socket"):
                while not any(function in line and said in line for line in server.log.read_text().splitlines()):
                    assert time.monotonic() < ends, function
                    time.sleep(0.05)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        assert server.result(server.submit(f"{FILESYSTEM}handles"))[0] == "ok"
        assert server.result(server.submit(f"{SOCKETS}many", there.port))[0] == "ok"
        log = server.log.read_text()
        assert "Traceback" not in log, log
        assert server.stop() == 0
