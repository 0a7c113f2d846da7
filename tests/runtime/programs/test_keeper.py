"""The keeper and its guards: whatever a program does, and whoever dies, nothing is left of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from obelisk.core.policy import ProgramLimits
from obelisk.runtime.programs import cgroups
from obelisk.runtime.programs.launching import Disposition, Ended, Launcher, Lost, NotStarted, Order, Running

SH = Path("/bin/sh")
NOBODY = 65534
PATIENCE = float(os.environ.get("OBELISK_TEST_PATIENCE", "1"))


def order(text: str, **more: Any) -> Order:
    return Order(SH, ["sh", "-c", text], {}, stdin=Disposition.DISCARD, **more)


async def output(running: Running) -> bytes:
    assert running.stdout is not None
    pieces = []
    while piece := await running.stdout.fetch(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


@pytest.fixture(params=["none", "auto"])
def with_launcher(request: Any, tmp_path: Path) -> Any:
    """A function: coroutine function that takes a launcher -> what it returns. Without cgroups, and with what there is."""
    if request.param == "auto" and cgroups.prepare(ProgramLimits()) is None:
        pytest.skip("there is no cgroup (version 2) here that may be divided")

    def run(work: Callable[[Launcher], Awaitable[Any]]) -> Any:
        async def go() -> Any:
            launcher = Launcher(ProgramLimits(cgroup=request.param), tmp_path)
            try:
                return await asyncio.wait_for(work(launcher), 60 * PATIENCE)
            finally:
                launcher.close()

        return asyncio.run(go())

    return run


def test_a_program_its_output_and_its_end(with_launcher: Any, tmp_path: Path) -> None:
    async def work(launcher: Launcher) -> Any:
        running = await launcher.launch(order("pwd; exit 7"))
        text, ended = await output(running), await running.ended()
        await running.end()
        return text.decode().strip(), ended

    folder, ended = with_launcher(work)
    assert ended == Ended(code=7)
    assert Path(folder).parent == tmp_path
    assert list(tmp_path.iterdir()) == []  # its directory went with it


def test_what_cannot_be_started_is_told(with_launcher: Any, tmp_path: Path) -> None:
    async def work(launcher: Launcher) -> None:
        with pytest.raises(NotStarted, match="it cannot be executed: No such file or directory"):
            await launcher.launch(Order(tmp_path / "nothing", ["x"], {}))
        with pytest.raises(NotStarted, match="its directory cannot be entered: No such file or directory"):
            await launcher.launch(order("true", directory=tmp_path / "nothing"))
        running = await launcher.launch(order("true"))  # and it goes on
        assert await running.ended() == Ended(code=0)
        await running.end()

    with_launcher(work)


DAEMON = 'setsid sh -c \'(trap "" TERM HUP INT; setsid sh -c "touch {0}/\\$\\$; sleep 100; true") & exit\''
"""Forks twice, in sessions of its own, and minds no signal that can be minded."""


def hostile(traces: Any, how_many: int = 3) -> str:
    one = DAEMON.format(traces.folder)
    return f"trap '' TERM HUP INT; touch {traces.folder}/$$; {f'{one} & ' * how_many} while :; do sleep 100; done"


def test_the_whole_tree_goes_whatever_sessions_it_made(with_launcher: Any, traces: Any) -> None:
    async def work(launcher: Launcher) -> None:
        running = await launcher.launch(order(hostile(traces)))
        await asyncio.to_thread(traces.pids, 4)
        running.kill()
        assert await running.ended() == Ended(signal=signal.SIGKILL)
        assert traces.alive() == []  # by the time that it is told
        await running.end()

    with_launcher(work)


def test_letting_go_of_it_kills_too(with_launcher: Any, traces: Any) -> None:
    async def work(launcher: Launcher) -> None:
        running = await launcher.launch(order(hostile(traces)))
        await asyncio.to_thread(traces.pids, 4)
        running.close()
        assert await asyncio.to_thread(traces.gone)

    with_launcher(work)


def test_a_guard_that_is_killed_takes_its_program_along(with_launcher: Any, traces: Any) -> None:
    async def work(launcher: Launcher) -> None:
        running = await launcher.launch(order(hostile(traces)))
        await asyncio.to_thread(traces.pids, 4)
        os.kill(_parents()[running.id], signal.SIGKILL)
        with pytest.raises(Lost):
            await running.ended()
        assert await asyncio.to_thread(traces.gone)
        await running.end()
        again = await launcher.launch(order("true"))
        assert await again.ended() == Ended(code=0)
        await again.end()

    with_launcher(work)


def test_a_keeper_that_is_killed_is_replaced_and_what_runs_goes_on(
    with_launcher: Any, traces: Any, tmp_path: Path
) -> None:
    async def work(launcher: Launcher) -> None:
        running = await launcher.launch(
            order(f"touch {traces.folder}/$$; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; exit 3")
        )
        await asyncio.to_thread(traces.pids, 1)
        assert launcher._process is not None
        launcher._process.kill()
        launcher._process.wait()
        other = await launcher.launch(order("exit 4"))
        assert await other.ended() == Ended(code=4)
        (tmp_path / "go").touch()
        assert await running.ended() == Ended(code=3)
        await running.end()
        await other.end()

    with_launcher(work)


def test_nothing_is_left_open(with_launcher: Any) -> None:
    async def work(launcher: Launcher) -> None:
        async def one(text: str) -> None:
            running = await launcher.launch(order(text))
            await output(running)
            await running.end()

        await one("true")
        before = len(os.listdir("/proc/self/fd"))
        await asyncio.gather(*(one("echo x; exec >&-; [ $(($$ % 2)) = 0 ] || sleep 100") for _ in range(20)))
        deadline = time.monotonic() + 60
        while len(os.listdir("/proc/self/fd")) != before:
            assert time.monotonic() < deadline, (before, os.listdir("/proc/self/fd"))
            await asyncio.sleep(0.01)

    with_launcher(work)


SERVER = """
import asyncio, sys
from pathlib import Path
from obelisk.core.policy import ProgramLimits
from obelisk.runtime.programs.launching import *
async def main():
    launcher = Launcher(ProgramLimits(cgroup=sys.argv[3], tasks_max=40), Path(sys.argv[1]))
    running = await launcher.launch(Order(Path("/bin/sh"), ["sh", "-c", sys.argv[2]], {"PATH": "/usr/bin:/bin"}))
    print("started", flush=True)
    print(await running.ended(), flush=True)
    await running.end()
asyncio.run(main())
"""


def serving(folder: Path, text: str, cgroup: str = "none", prefix: Sequence[str] = ()) -> subprocess.Popen[str]:
    env = {"PYTHONPATH": ":".join(sys.path), "PATH": os.environ["PATH"]}
    command = [*prefix, sys.executable, "-W", "ignore", "-c", SERVER, str(folder), text, cgroup]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd="/")


@pytest.mark.parametrize("cgroup", ["none", "auto"])
def test_a_server_that_is_killed_takes_them_all_along(traces: Any, tmp_path: Path, cgroup: str) -> None:
    with serving(tmp_path, hostile(traces, 6), cgroup) as server:
        traces.pids(7)
        server.kill()
    assert traces.gone()


def test_a_fork_bomb_is_bounded_and_goes(tmp_path: Path) -> None:
    """By the system's own limit, which does not hold root: then as somebody else, who may read what root may."""
    folder, prefix = tmp_path, []
    if os.getuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("as root, this needs setpriv")
        folder = Path(tempfile.mkdtemp(prefix="obelisk-bomb-"))
        os.chown(folder, NOBODY, NOBODY)
        prefix = [
            *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
            *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
            *("prlimit", "--nproc=300"),  # whatever else goes wrong, this user has no more processes
        ]
    bomb = f"""exec {sys.executable} -I -S -c '
import os, time
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.01)
'"""
    try:
        with serving(folder, bomb, prefix=prefix) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == "started\n"
            deadline = time.monotonic() + 60
            while _descendants(server.pid) <= 20 and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(0.5)
            most = max(_descendants(server.pid) for _ in range(5))
            server.kill()
        assert 20 < most <= 40 + 10, most
        deadline = time.monotonic() + 60 * PATIENCE
        while _of_session(folder) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert _of_session(folder) == 0
    finally:
        if folder != tmp_path:
            subprocess.run(["rm", "-rf", str(folder)], check=True)


def _parents() -> dict[int, int]:
    found = {}
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            with suppress(OSError):
                found[int(each.name)] = int((each / "stat").read_text().rpartition(")")[2].split()[1])
    return found


def _descendants(root: int) -> int:
    parents = _parents()
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    queue, count = [root], 0
    while queue:
        new = children.get(queue.pop(), [])
        count += len(new)
        queue += new
    return count


def _of_session(folder: Path) -> int:
    """Processes whose directory is below the folder."""
    count = 0
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            with suppress(OSError):
                count += os.readlink(each / "cwd").startswith(str(folder))
    return count


# --- cgroups ---------------------------------------------------------------------------------------------------------


def test_limits_are_written_where_a_cgroup_holds_them(tmp_path: Path) -> None:
    """A folder that looks like a cgroup: what would be written, and read at the end."""
    parent = tmp_path / "cgroup"
    parent.mkdir()
    for name in ("cgroup.procs", "cgroup.subtree_control"):
        (parent / name).touch()
    limits = ProgramLimits(tasks_max=5, memory_max_bytes=1 << 20, cgroup=str(parent))
    made = cgroups.prepare(limits)
    assert made is not None
    assert made.limits == {}  # what is below has no such file: no controller is handed on
    assert made.lacks == {
        "pids.max": f"{made.path} has no controller pids",
        "memory.max": f"{made.path} has no controller memory",
    }
    (made.path / "cgroup.subtree_control").touch()
    made = cgroups.prepare(limits)
    assert made is not None
    assert made.limits == {"pids.max": 5, "memory.max": 1 << 20}  # a system without swap has no file for it
    for name in ("memory.swap.max", "memory.oom.group"):
        (made.path / name).touch()
    made = cgroups.prepare(limits)
    assert made is not None
    assert made.limits == {"pids.max": 5, "memory.max": 1 << 20, "memory.swap.max": 0, "memory.oom.group": 1}
    assert made.lacks == {}


def test_a_cgroup_with_processes_hands_nothing_on(tmp_path: Path) -> None:
    """The kernel would let it hand `pids` on, and take no program below it then."""
    (tmp_path / "cgroup.procs").write_text("1\n")
    (tmp_path / "cgroup.type").write_text("domain\n")
    (tmp_path / "cgroup.subtree_control").touch()
    made = cgroups.prepare(ProgramLimits(cgroup=str(tmp_path)))
    assert made is not None
    assert made.limits == {}
    assert "has processes of its own" in made.lacks["pids.max"]
    assert (tmp_path / "cgroup.subtree_control").read_text() == ""


def test_what_is_no_cgroup_is_told(tmp_path: Path, caplog: Any) -> None:
    assert cgroups.prepare(ProgramLimits(cgroup=str(tmp_path))) is None
    assert "is no cgroup of version 2" in caplog.text
    assert cgroups.prepare(ProgramLimits(cgroup="none")) is None
