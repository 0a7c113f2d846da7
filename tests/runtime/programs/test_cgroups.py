"""Programs in control groups of a kernel that holds their limits. `make vm` runs these where this machine has no such kernel."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from obelisk.core.batch import CancelRequest
from obelisk.core.calls import Log
from obelisk.core.events import kind_of
from obelisk.core.lines import LineFilter, LinePage
from obelisk.core.policy import ProgramLimits
from obelisk.runtime.programs import cgroups
from obelisk.runtime.programs.launching import Disposition, Ended, Launcher, Lost, Order
from obelisk.runtime.programs.results import failed, met, result

SH = Path("/bin/sh")
NOBODY = 65534
PATIENCE = float(os.environ.get("OBELISK_TEST_PATIENCE", "1"))
MIB = 1 << 20
MEMORY_MAX = 48 * MIB
PYTHON = f"{sys.executable} -I -S -c"
EATER = f"{PYTHON} 'x = bytearray({8 * MEMORY_MAX}); print(len(x))'"
BOMB = f"""{PYTHON} '
import os, time
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.05)
'"""
DAEMON = 'setsid sh -c \'(trap "" TERM HUP INT; setsid sh -c "touch {0}/\\$\\$; sleep 100; true") & exit\''
"""Forks twice, in sessions of its own, and minds no signal that can be minded."""


REFUSALS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""What says that this process may not, and nothing else."""


@pytest.fixture
def group() -> Iterator[Path]:
    """A cgroup for the test, without processes, that may be divided."""
    parent = cgroups.own()
    if parent is None or not parent.is_dir():
        pytest.skip("there is no cgroup file system of version 2 here")
    made = parent / f"obelisk-tests-{os.getpid()}"
    try:
        made.mkdir()
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        pytest.skip(f"{parent} (cgroup version 2) does not let this process divide it: {error.strerror}")
    yield made
    with suppress(OSError):
        (made / "cgroup.kill").write_text("1")
    soon(lambda: members(made) == [])
    for each in sorted(below(made), reverse=True):
        each.rmdir()
    made.rmdir()


@pytest.fixture
def holding(group: Path) -> Path:
    """One that has the controllers `memory` and `pids` to hand on."""
    parent = group.parent
    offered = (parent / "cgroup.controllers").read_text().split()
    if lacking := {"memory", "pids"} - set(offered):
        pytest.skip(f"{parent} (cgroup version 2) lacks the controllers {', '.join(sorted(lacking))}: see make vm")
    if (parent / "cgroup.type").exists():  # it is not the root of the tree
        handed_on = (parent / "cgroup.subtree_control").read_text().split()
        if lacking := {"memory", "pids"} - set(handed_on):
            pytest.skip(f"{parent} (cgroup version 2) does not hand on {', '.join(sorted(lacking))}: see make vm")
    try:
        (parent / "cgroup.subtree_control").write_text("+memory +pids")
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        pytest.skip(f"{parent} (cgroup version 2) hands on no controllers: {error.strerror}: see make vm")
    return group


def below(folder: Path) -> list[Path]:
    """All cgroups below one."""
    return [each for each in folder.rglob("*") if each.is_dir()]


def of_programs(folder: Path) -> list[Path]:
    """The cgroup of each program that runs."""
    return list(folder.glob("*/run-*"))


def soon(is_so: Callable[[], object], within_s: float = 15.0) -> bool:
    deadline = time.monotonic() + within_s * PATIENCE
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(is_so())


def members(folder: Path) -> list[int]:
    """Processes in it, and below it."""
    found = []
    for each in (folder, *below(folder)):
        with suppress(OSError):
            found += [int(pid) for pid in (each / "cgroup.procs").read_text().split()]
    return found


def order(text: str) -> Order:
    return Order(SH, ["sh", "-c", text], {"PATH": os.environ["PATH"]}, stdin=Disposition.DISCARD)


async def ended(launcher: Launcher, text: str) -> Ended:
    running = await launcher.launch(order(text))
    try:
        return await running.ended()
    finally:
        await running.end()


@pytest.fixture
def launcher_in(group: Path, tmp_path: Path) -> Callable[..., Any]:
    """A function: coroutine function that takes a launcher, limits -> what it returns. Nothing is left of its cgroups."""

    def run(work: Callable[[Launcher], Any], **limits: Any) -> Any:
        async def go() -> Any:
            launcher = Launcher(ProgramLimits(cgroup=str(group), **limits), tmp_path)
            try:
                return await asyncio.wait_for(work(launcher), 50 * PATIENCE)
            finally:
                launcher.close()

        result = asyncio.run(go())
        assert below(group) == []
        return result

    return run


# --- what is said ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (Ended(code=0), []),
        (
            Ended(code=0, oom=1, over=1),
            ["a process of the program was ended because it needed more memory than it may"],
        ),
        (
            Ended(signal=9, oom=2, over=1),
            ["the program was ended because it needed more memory than it may have: 7 bytes"],
        ),
        (Ended(signal=9, oom=1), ["the program was ended because memory ran out: not its own"]),
        (Ended(code=2, refused=3), ["3 processes or threads that the program would have started were refused"]),
    ],
)
def test_limits_that_were_met_are_told(ended: Ended, said: list[str]) -> None:
    found = met(ended, ProgramLimits(memory_max_bytes=7))
    assert len(found) == len(said)
    assert all(each in line for each, line in zip(said, found, strict=True))


@pytest.mark.parametrize("ended", [Ended(signal=9, oom=1, over=1), Ended(code=137, oom=1, over=1)])
def test_without_memory_no_exit_but_0_is_a_result(ended: Ended) -> None:
    """Not even one that its function has a side for; it may be tried again."""
    nothing: Any = None
    limits = ProgramLimits(memory_max_bytes=7)
    assert result(nothing, ended, b"5", too_long=None, errors="e", limits=limits) == failed(met(ended, limits)[0], "e")


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [f"exec {EATER}", f"{EATER}; echo and on", f"{EATER} & wait; exit 0"], ids=["it", "a-child", "behind"]
)
def test_a_program_over_its_memory_is_ended_as_a_whole(launcher_in: Any, holding: Path, text: str) -> None:
    """Also where it is a process that the program started, whose end the program would have hidden."""
    found = launcher_in(lambda launcher: ended(launcher, text), memory_max_bytes=MEMORY_MAX)
    assert found.code is None
    assert found.signal == signal.SIGKILL
    assert found.oom >= 1
    assert found.over


def test_memory_below_the_limit_is_nobodys_business(launcher_in: Any, holding: Path) -> None:
    text = f"{PYTHON} 'x = bytearray({MEMORY_MAX // 4})'"
    found = launcher_in(lambda launcher: ended(launcher, text), memory_max_bytes=MEMORY_MAX)
    assert found == Ended(code=0)


def test_files_in_memory_count(launcher_in: Any, holding: Path) -> None:
    """What it keeps in a file system in memory is memory."""
    if not Path("/dev/shm").is_dir():
        pytest.skip("there is no /dev/shm")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        text = f"head -c {4 * MEMORY_MAX} /dev/zero >{folder}/big; exit 0"
        found = launcher_in(lambda launcher: ended(launcher, text), memory_max_bytes=MEMORY_MAX)
    assert found.oom >= 1
    assert found.over


def test_memory_that_runs_out_above_its_cgroup_is_another_reason(launcher_in: Any, holding: Path) -> None:
    (holding / "memory.max").write_text(str(MEMORY_MAX))
    with suppress(OSError):
        (holding / "memory.swap.max").write_text("0")
    found = launcher_in(lambda launcher: ended(launcher, EATER))
    assert found.signal == signal.SIGKILL
    assert found.oom >= 1
    assert not found.over


# --- tasks -----------------------------------------------------------------------------------------------------------


def test_a_fork_bomb_is_held_and_goes(launcher_in: Any, holding: Path) -> None:
    async def work(launcher: Launcher) -> Ended:
        running = await launcher.launch(order(f"exec {BOMB}"))
        assert await asyncio.to_thread(soon, lambda: len(members(holding)) >= 20)
        for _ in range(20):
            assert len(members(holding)) <= 20
            await asyncio.sleep(0.02)
        assert await ended(launcher, "sh -c 'exit 3'") == Ended(code=3)  # others are not concerned
        running.kill()
        found = await running.ended()
        assert members(holding) == []
        await running.end()
        return found

    found = launcher_in(work, tasks_max=20)
    assert found.signal == signal.SIGKILL
    assert found.refused >= 1
    assert found.oom == 0


# --- whoever dies ----------------------------------------------------------------------------------------------------

SERVER = """
import asyncio, json, os, sys
from pathlib import Path
import msgspec
from obelisk.core.policy import ProgramLimits
from obelisk.runtime.programs.launching import *
async def main():
    folder, limits, *texts = sys.argv[1:]
    launcher = Launcher(msgspec.json.decode(limits, type=ProgramLimits), Path(folder))
    for text in texts:
        running = await launcher.launch(Order(Path("/bin/sh"), ["sh", "-c", text], {"PATH": os.environ["PATH"]}))
        print(json.dumps({"started": running.id}), flush=True)
        print(msgspec.json.encode(await running.ended()).decode(), flush=True)
        await running.end()
    launcher.close()
asyncio.run(main())
"""


@contextmanager
def serving(
    folder: Path, limits: ProgramLimits, *texts: str, inside: Path | None = None, prefix: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """A process that runs programs, killed at the end. `inside`: the cgroup that it is in."""
    env = {"PYTHONPATH": ":".join(sys.path), "PATH": os.environ["PATH"]}
    command = [*prefix, sys.executable, "-W", "ignore", "-c", SERVER]
    command += [str(folder), msgspec.json.encode(limits).decode(), *texts]
    if inside is not None:
        command = ["sh", "-c", f'echo $$ >{inside}/cgroup.procs && exec "$@"', "sh", *command]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env, cwd="/") as process:
        try:
            yield process
        finally:
            process.kill()


def hostile(traces: Any, how_many: int = 3) -> str:
    one = DAEMON.format(traces.folder)
    return f"trap '' TERM HUP INT; touch {traces.folder}/$$; {f'{one} & ' * how_many} while :; do sleep 100; done"


def test_a_server_that_is_killed_leaves_no_process_and_no_cgroup(traces: Any, tmp_path: Path, group: Path) -> None:
    with serving(tmp_path, ProgramLimits(cgroup=str(group)), hostile(traces)) as server:
        traces.pids(4)
        assert len(members(group)) >= 4
        server.kill()
        server.communicate()
    assert traces.gone()
    assert soon(lambda: below(group) == [])


def test_a_server_that_is_killed_takes_a_fork_bomb_along(tmp_path: Path, holding: Path) -> None:
    with serving(tmp_path, ProgramLimits(cgroup=str(holding), tasks_max=50), f"exec {BOMB}") as server:
        assert soon(lambda: len(members(holding)) == 50)
        server.kill()
        server.communicate()
    assert soon(lambda: below(holding) == [])
    assert members(holding) == []


def test_a_guard_that_is_killed_leaves_no_cgroup(launcher_in: Any, traces: Any, group: Path) -> None:
    async def work(launcher: Launcher) -> None:
        running = await launcher.launch(order(hostile(traces)))
        await asyncio.to_thread(traces.pids, 4)
        (run,) = of_programs(group)
        os.kill(int(run.name.removeprefix("run-")), signal.SIGKILL)
        with pytest.raises(Lost):
            await running.ended()
        assert await asyncio.to_thread(traces.gone)
        assert await asyncio.to_thread(soon, lambda: not run.exists())
        await running.end()
        assert await ended(launcher, "true") == Ended(code=0)

    launcher_in(work)


def test_cgroups_that_a_program_makes_go_with_it(launcher_in: Any, group: Path) -> None:
    """A program may be a server that gives its own programs cgroups."""
    text = f"cd {group}/*/run-*; mkdir -p a/b c; sleep 100 & echo $! >a/b/cgroup.procs"

    async def work(launcher: Launcher) -> Ended:
        return await ended(launcher, text)

    assert launcher_in(work) == Ended(code=0)


# --- where the server is ---------------------------------------------------------------------------------------------


def reports(server: subprocess.Popen[str]) -> tuple[list[Any], str]:
    """What it printed of its programs' ends, and its log."""
    output, log = server.communicate(timeout=50 * PATIENCE)
    assert server.returncode == 0, log
    return [msgspec.convert(each, Ended) for each in map(json.loads, output.splitlines()) if "started" not in each], log


@pytest.mark.parametrize("named", [False, True])
def test_a_server_in_the_cgroup_that_it_would_divide_runs_programs(tmp_path: Path, holding: Path, named: bool) -> None:
    """The kernel hands no memory on from a cgroup that has processes, and one that hands on `pids` has no use any more."""
    limits = ProgramLimits(cgroup=str(holding) if named else "auto", memory_max_bytes=MEMORY_MAX)
    with serving(tmp_path, limits, "exit 3", inside=holding) as server:
        found, log = reports(server)
    assert found == [Ended(code=3)]
    assert f"nothing holds programs to programs.memory_max_bytes: {holding} has processes of its own" in log
    assert (holding / "cgroup.type").read_text() == "domain\n"
    assert below(holding) == []


def test_a_cgroup_of_threads_is_not_divided(tmp_path: Path, holding: Path) -> None:
    """Somebody else has handed `pids` on from a cgroup with processes: what is below it takes none."""
    with subprocess.Popen(["sleep", "100"]) as other:
        (holding / "cgroup.procs").write_text(str(other.pid))
        (holding / "cgroup.subtree_control").write_text("+pids")
        with serving(tmp_path, ProgramLimits(cgroup=str(holding)), "exit 3") as server:
            assert reports(server)[0] == [Ended(code=3)]
        other.kill()
    assert below(holding) == []


def test_a_unit_of_systemd_as_the_guide_writes_it(holding: Path) -> None:
    """`Delegate` and `DelegateSubgroup`: the unit's cgroup belongs to a user, and the server is in one below it."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("this needs root, and setpriv")
    folder = Path(tempfile.mkdtemp(prefix="obelisk-unit-"))
    (holding / "cgroup.subtree_control").write_text("+memory +pids")
    unit = holding / "obelisk.service"
    inside = unit / "server"
    inside.mkdir(parents=True)
    for each in (unit, inside):
        for path in (each, *(each / name for name in ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads"))):
            os.chown(path, NOBODY, NOBODY)
    os.chown(folder, NOBODY, NOBODY)
    prefix = [
        *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
        *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
    ]
    limits = ProgramLimits(cgroup=str(unit), memory_max_bytes=MEMORY_MAX, tasks_max=10)
    try:
        with serving(
            folder, limits, EATER, "for i in $(seq 20); do sleep 1 & done; exit 5", inside=inside, prefix=prefix
        ) as server:
            (eaten, bomb), log = reports(server)
    finally:
        shutil.rmtree(folder)
    assert eaten.signal == signal.SIGKILL
    assert eaten.over
    assert bomb.refused >= 1
    assert "nothing holds" not in log
    assert below(unit) == [inside]


# --- events ----------------------------------------------------------------------------------------------------------

ALL = 1 << 30


def toml(path: Path, group: Path, returns: str, expiry_ms: int, more: str = "") -> str:
    return (
        f'allow_exec_activities = true\nprograms.cgroup = "{group}"\nprograms.memory_max_bytes = {MEMORY_MAX}\n'
        f'programs.tasks_max = 20\n[[activity_exec]]\nname = "prog"\nlocation = "{path}"\nffqn = "test:exec/all.go"\n'
        f'return_type = "{returns}"\nexec.lock_expiry.milliseconds = {expiry_ms}\nmax_retries = 1\n'
        f"retry_exp_backoff.milliseconds = 10\n{more}"
    )


def warnings(running: Any, execution_id: Any) -> list[str]:
    found = running.runtime.reader.lines(LineFilter(execution_id), LinePage(ALL))
    return [each.line.message for each in found if isinstance(each.line, Log)]


OVER = f"the program was ended because it needed more memory than it may have: {MEMORY_MAX} bytes (programs.memory_max_bytes)"
HELD = "processes or threads that the program would have started were refused: it may have 20 (programs.tasks_max)"


@pytest.mark.parametrize("returns", ["result<u8>", "result", "result<_, string>"])
def test_an_attempt_over_its_memory_says_so(running: Any, script: Any, holding: Path, returns: str) -> None:
    runtime = running(toml(script(f"{EATER}\nexit 1"), holding, returns, 30_000))
    execution_id, result = runtime.run_id("test:exec/all.go")
    assert result == ("failure", "uncategorized", OVER)
    kinds = [kind_of(entry.event) for entry in runtime.log(execution_id)]
    assert kinds == ["created", "locked", "temporarily_failed", "locked", "finished"]
    assert OVER in str(runtime.log(execution_id)[2].event)
    assert below(holding) == [] or len(below(holding)) == 1  # that of the server


def test_a_fork_bomb_ends_at_its_deadline_and_says_what_held_it(running: Any, script: Any, holding: Path) -> None:
    expiry_ms = int(3_000 * min(PATIENCE, 5))
    runtime = running(toml(script(f"exec {BOMB}"), holding, "result", expiry_ms))
    execution_id, result = runtime.run_id("test:exec/all.go")
    assert result == ("failure", "timed_out", f"the attempt ran for longer than {expiry_ms} ms (exec.lock_expiry)")
    assert members(holding) == []
    said = warnings(runtime, execution_id)
    assert len(said) == 2  # attempts
    assert all(HELD in each for each in said)
    kinds = [kind_of(entry.event) for entry in runtime.log(execution_id)]
    assert kinds == ["created", "locked", "temporarily_timed_out", "locked", "finished"]


def test_what_could_not_fork_and_failed_says_so(running: Any, script: Any, holding: Path) -> None:
    runtime = running(toml(script("for i in $(seq 30); do sleep 100 & done; exit 2"), holding, "result", 30_000))
    execution_id, result = runtime.run_id("test:exec/all.go")
    assert result == ("err", None)
    assert HELD in warnings(runtime, execution_id)[0]


def test_cancelling_leaves_no_process_and_no_cgroup(running: Any, script: Any, traces: Any, group: Path) -> None:
    runtime = running(toml(script(hostile(traces)), group, "result", 60_000))

    async def go() -> Any:
        execution_id = await runtime.submit("test:exec/all.go")
        await asyncio.to_thread(traces.pids, 4)
        (run,) = of_programs(group)
        assert len(members(run)) >= 4
        await runtime.runtime.operate(execution_id, CancelRequest())
        return run, await asyncio.wait_for(runtime.result(execution_id), 30 * PATIENCE)

    run, _ = asyncio.run(go())
    assert traces.gone()
    assert soon(lambda: not run.exists())


def test_a_child_of_a_guest_over_its_memory_is_told_in_the_log(
    running: Any, script: Any, spawning_component: Path, holding: Path
) -> None:
    """Its guest learns no more than that there is no exit code."""
    runtime = running(
        f'allow_exec_activities = true\nprograms.cgroup = "{holding}"\nprograms.memory_max_bytes = {MEMORY_MAX}\n'
        f'[[activity_wasm]]\nname = "spawning"\nlocation = "{spawning_component}"\nmax_retries = 0\n'
        'exec.lock_expiry.seconds = 60\ndirectories.process_provider = "native"'
    )
    execution_id, result = runtime.run_id("testing:spawning/spawning.run", "sh", ["-c", EATER], "")
    assert result == ("err", "signal")
    assert warnings(runtime, execution_id) == [OVER]


@pytest.mark.acceptance
@pytest.mark.timeout(1_200)
def test_a_real_server_goes_on_beside_them_and_takes_them_along(
    server: Any, script: Any, traces: Any, holding: Path
) -> None:
    texts = {"eater": EATER, "bomb": f"exec {BOMB}", "fine": "echo 5", "hostile": hostile(traces)}
    tables = "\n".join(
        f'[[activity_exec]]\nname = "{name}"\nlocation = "{script(text)}"\nffqn = "test:{name}/all.go"\n'
        f'return_type = "result<u8>"\nmax_retries = 0\nexec.lock_expiry.seconds = {round(5 * PATIENCE) if name == "bomb" else 100 * PATIENCE:.0f}'
        for name, text in texts.items()
    )
    served = server(
        f'allow_exec_activities = true\nprograms.cgroup = "{holding}"\nprograms.memory_max_bytes = {MEMORY_MAX}\n'
        f"programs.tasks_max = 20\n{tables}"
    )
    patience_s = 60 * PATIENCE
    served.start()
    bomb = served.submit("test:bomb/all.go")
    assert soon(lambda: len(members(holding)) == 20)
    eater = served.submit("test:eater/all.go")
    assert served.result(served.submit("test:fine/all.go"), patience_s) == ("ok", 5)
    assert served.result(eater, patience_s) == ("failure", "uncategorized", OVER)
    assert served.result(bomb, patience_s)[:2] == ("failure", "timed_out")
    assert members(holding) == []
    served.submit("test:hostile/all.go")
    second = served.submit("test:bomb/all.go")
    traces.pids(4)
    assert soon(lambda: len(members(holding)) >= 24)
    served.kill()
    assert traces.gone()
    assert soon(lambda: below(holding) == [])
    served.start()
    assert served.result(second, patience_s)[:2] == ("failure", "timed_out")
    assert served.stop() == 0
    assert below(holding) == []
