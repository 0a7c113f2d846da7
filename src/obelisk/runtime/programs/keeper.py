"""The keeper: a small process that forks programs for the server, and sees to it that they end.

Run as a file of its own, by the standard library alone, with one thread: so it may fork as it likes, which a server with
many threads may not. For each program it forks a *guard*. Everything that the program starts stays among the descendants
of its guard, whatever sessions and groups it makes (the guard is a "child subreaper"), and the guard ends all of them:

- when the program has ended, whatever is left of what it started;
- when the server says so on the *leash*, a socket between the two;
- when the server is gone, however it died: the leash is at its end then.

Should a guard be killed, its program dies with it (a parent-death signal), and what else it guarded falls to the keeper,
which ends it. Where the server names a cgroup, each program has one of its own below it, with its limits; guards and keeper
remove what they have no more use for, the last one the server's too.

Decides how processes are started and ended. Must not decide which, nor what their end means.

Protocol, over two kinds of SEQPACKET sockets:

    server → keeper   `run`, with descriptors: order (JSON, in a memory file), leash, stdin, stdout, stderr
    guard → server    {"started": pid} | {"failed": [step, errno, path]}, then
                      {"ended": {"code": int | null, "signal": int | null, "oom": int, "over": int, "refused": int}}
    server → guard    anything: end it all. The end of the file: end it all, nobody listens.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_DESCRIPTORS = 5
_FREEZE_ROUNDS = 100
"""Looks for processes that were forked while the others were being stopped, before all that were found are killed."""
_KILLED_S = 1.0
"""How long it is waited for those that the kernel has killed with their cgroup, before they are looked for."""
_TASKS_FRESH_S = 1.0

_prctl = ctypes.CDLL(None, use_errno=True).prctl


def main(server: socket.socket) -> None:
    """The keeper's life: until the server is gone, and every guard with it."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _shield()
    wake = _wake_on_children()
    guards: dict[int, str] = {}  # with the cgroup of the program
    parents: set[str] = set()
    left: list[str] = []
    poll = select.poll()
    for each in (server.fileno(), wake):
        poll.register(each, select.POLLIN)
    tasks = _Tasks()
    server.set_inheritable(False)

    def strays() -> bool:
        """Whether there are children that are no guards: a guard was killed, and left them behind."""
        for pid in _reaped():
            cgroup = guards.pop(pid, "")
            if cgroup and os.path.exists(cgroup):
                _kill_cgroup(cgroup)
                left.append(cgroup)
        return _has_children_but(guards)

    is_served = True
    while is_served or guards:
        ready = {fd for fd, _ in poll.poll()}
        if wake in ready:
            _drain(wake)
            _end_descendants(wake, strays, guards)
            while left:
                remove_cgroup(left.pop())
        if server.fileno() in ready:
            data, fds, _, _ = socket.recv_fds(server, 16, _DESCRIPTORS)
            for fd in fds:
                os.set_inheritable(fd, False)
            if not data:
                is_served = False
                poll.unregister(server.fileno())
            if len(fds) == _DESCRIPTORS:
                os.lseek(fds[0], 0, os.SEEK_SET)
                order = json.loads(_read_all(fds[0]))
                pid, parent = _fork_guard(order, fds, tasks, [server.fileno(), wake]), order["cgroup"]
                guards[pid] = _cgroup_of(pid, parent)
                parents.add(parent or "")
            for fd in fds:
                os.close(fd)
    for parent in parents - {""}:
        remove_cgroup(parent)


def _fork_guard(order: dict[str, Any], fds: list[int], tasks: _Tasks, inherited: list[int]) -> int:
    if order["tasks_max"]:
        order["rlimits"]["RLIMIT_NPROC"] = tasks.count() + order["tasks_max"]
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.set_wakeup_fd(-1)
        for fd in inherited:
            os.close(fd)
        _Guard(order, socket.socket(fileno=fds[1]), fds[2:]).run()
    except BaseException:  # noqa: BLE001 - a forked process must never come back
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(0)


class _Guard:
    """One program, from its start until nothing of it is left."""

    def __init__(self, order: dict[str, Any], leash: socket.socket, stdio: list[int]) -> None:
        self._order = order
        self._leash = leash
        self._stdio = stdio
        self._cgroup = ""
        self._folder = ""
        self._status: int | None = None
        self._program = 0
        os.setsid()
        _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._wake = _wake_on_children()

    def run(self) -> None:
        """All of it."""
        try:
            self._folder = self._order["cwd"] or tempfile.mkdtemp(prefix="obelisk-", dir=self._order["temp"])
            self._make_cgroup()
            failed = self._start()
        except OSError as error:
            failed = ["prepare", error.errno, str(error.filename or "")]
        for fd in self._stdio:
            os.close(fd)
        if failed is None:
            self._tell({"started": self._program})
            self._watch()
        self._end_all()
        # Whoever hears of the end must find nothing of it.
        if self._folder and not self._order["cwd"]:
            shutil.rmtree(self._folder, ignore_errors=True)
        report = {"failed": failed} if failed is not None else {"ended": self._ended()}
        if self._cgroup:
            remove_cgroup(self._cgroup)
        self._tell(report)

    def _start(self) -> list[Any] | None:
        """Forks the program; what went wrong, if anything did."""
        told, tell = os.pipe()
        guard = os.getpid()
        pid = os.fork()
        if not pid:
            step = ["prepare"]
            try:
                self._become(guard, step)
            except OSError as error:
                os.write(tell, json.dumps([step[0], error.errno, str(error.filename or "")]).encode())
            finally:
                os._exit(127)
        self._program = pid
        os.close(tell)
        data = _read_all(told)
        os.close(told)
        return json.loads(data) if data else None

    def _become(self, guard: int, step: list[str]) -> NoReturn:
        """In the forked process: becomes the program."""
        order = self._order
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guard:
            os._exit(127)
        if self._cgroup:
            _write(f"{self._cgroup}/cgroup.procs", "0")
        with suppress(OSError):  # before the server, where memory runs out
            _write("/proc/self/oom_score_adj", "500")
        # What may become another user cannot be ended by this one.
        _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        for target, fd in enumerate(self._stdio):
            os.dup2(fd, target)  # all others are closed by exec
        for name, value in order["rlimits"].items():
            kind = getattr(resource, name)
            hard = resource.getrlimit(kind)[1]
            most = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (most, most))
        step[0] = "chdir"
        os.chdir(self._folder)
        for number in signal.valid_signals():
            with suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        step[0] = "exec"
        os.execve(order["path"], order["argv"], order["env"])  # noqa: S606 - what this is for

    def _watch(self) -> None:
        """Until the program has ended, or has to."""
        poll = select.poll()
        for fd in (self._leash.fileno(), self._wake):
            poll.register(fd, select.POLLIN)
        while self._status is None:
            ready = {fd for fd, _ in poll.poll()}
            if self._leash.fileno() in ready:
                self._leash.recv(16)
                return
            _drain(self._wake)
            self._reap()

    def _reap(self) -> bool:
        """Collects who has ended; whether there is somebody left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not pid:
                return True
            if pid == self._program:
                self._status = status

    def _end_all(self) -> None:
        if not self._program:
            return
        if self._cgroup and _kill_cgroup(self._cgroup):
            self._wait_for_all(_KILLED_S)
        _end_descendants(self._wake, self._reap)

    def _wait_for_all(self, longest_s: float) -> None:
        """Collects who was killed, so that nobody has to be looked for."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        end = time.monotonic() + longest_s
        while self._reap() and (left_s := end - time.monotonic()) > 0:
            poll.poll(1_000 * left_s)
            _drain(self._wake)

    def _ended(self) -> dict[str, Any]:
        status = self._status
        is_signal = status is not None and os.WIFSIGNALED(status)
        return {
            "code": None if status is None or is_signal else os.waitstatus_to_exitcode(status),
            "signal": os.WTERMSIG(status) if status is not None and is_signal else None,
            "oom": self._events("memory.events", "oom_kill"),
            "over": self._events("memory.events", "oom"),
            "refused": self._events("pids.events", "max"),
        }

    def _tell(self, report: dict[str, Any]) -> None:
        with suppress(OSError):  # nobody listens
            self._leash.send(json.dumps(report).encode())

    # --- cgroup ------------------------------------------------------------------------------------------------------

    def _make_cgroup(self) -> None:
        parent = self._order["cgroup"]
        if not parent:
            return
        path = _cgroup_of(os.getpid(), parent)
        os.mkdir(path)
        self._cgroup = path
        for name, value in self._order["cgroup_limits"].items():
            _write(f"{path}/{name}", str(value))

    def _events(self, name: str, wanted: str) -> int:
        if self._cgroup:
            with suppress(OSError), open(f"{self._cgroup}/{name}") as file:
                for line in file:
                    key, _, count = line.partition(" ")
                    if key == wanted:
                        return int(count)
        return 0


# --- cgroups ---------------------------------------------------------------------------------------------------------


def remove_cgroup(path: str) -> None:
    """Removes a cgroup, and those below it that programs may have made; what is in use stays."""
    for folder, _, _ in os.walk(path, topdown=False):
        with suppress(OSError):
            os.rmdir(folder)


def _cgroup_of(guard: int, parent: str | None) -> str:
    return f"{parent}/run-{guard}" if parent else ""


def _kill_cgroup(path: str) -> bool:
    """Ends whoever is in it, or below it; whether the kernel can do that."""
    with suppress(OSError):
        _write(f"{path}/cgroup.kill", "1")
        return True
    return False


# --- processes -------------------------------------------------------------------------------------------------------


def _shield() -> None:
    """What is meant for a server, or sent by a terminal, must not end who watches over its programs."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def _wake_on_children() -> int:
    """A descriptor that can be read whenever a child has ended."""
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    return read


def _drain(fd: int) -> None:
    with suppress(BlockingIOError):
        while os.read(fd, 4096):
            pass


def _reaped() -> Iterator[int]:
    """Collects who has ended."""
    with suppress(ChildProcessError):
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            yield pid


def _has_children_but(known: Collection[int]) -> bool:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return any(int(pid) not in known for pid in file.read().split())
    except OSError:  # not every kernel has it
        return any(each.parent == os.getpid() and each.pid not in known for each in _processes())


class _Process:
    """A process, as `/proc` shows it. `since`: when it began, which tells it from another one of the same number."""

    __slots__ = ("parent", "pid", "since", "threads")

    def __init__(self, pid: int) -> None:
        """`OSError`, `ValueError` when it is gone."""
        self.pid = pid
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        self.parent, self.threads, self.since = int(fields[1]), int(fields[17]), int(fields[19])

    def signal(self, number: int) -> None:
        """Sends a signal to this process and no other."""
        with suppress(OSError, ValueError, IndexError):
            fd = os.pidfd_open(self.pid)
            try:
                if _Process(self.pid).since == self.since:
                    signal.pidfd_send_signal(fd, number)
            finally:
                os.close(fd)


def _processes() -> list[_Process]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                found.append(_Process(int(name)))
    return found


def _descendants(spared: Collection[int]) -> list[_Process]:
    children: dict[int, list[_Process]] = {}
    for each in _processes():
        children.setdefault(each.parent, []).append(each)
    found: list[_Process] = []
    queue = [os.getpid()]
    while queue:
        new = [each for each in children.get(queue.pop(), ()) if each.pid not in spared]
        found += new
        queue += [each.pid for each in new]
    return found


def _end_descendants(wake: int, are_left: Callable[[], bool], spared: Collection[int] = ()) -> None:
    """Ends all descendants but those spared and theirs, until `are_left` says that there are none. They are stopped first,
    until no more are found: one that is stopped forks no more.
    """
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    pause_ms = 1
    while are_left():
        stopped: dict[tuple[int, int], _Process] = {}
        for _ in range(_FREEZE_ROUNDS):
            new = {(each.pid, each.since): each for each in _descendants(spared)}
            new = {key: each for key, each in new.items() if key not in stopped}
            if not new:
                break
            for each in new.values():
                each.signal(signal.SIGSTOP)
            stopped |= new
        for each in stopped.values():
            each.signal(signal.SIGKILL)
        # What cannot be killed yet, since it waits inside the kernel, is waited for.
        poll.poll(pause_ms)
        _drain(wake)
        pause_ms = min(2 * pause_ms, 500)


class _Tasks:
    """How many tasks the user of this process has: what the system's own limit counts."""

    def __init__(self) -> None:
        self._count = 0
        self._at = float("-inf")

    def count(self) -> int:
        """The number, not older than a moment."""
        if time.monotonic() - self._at > _TASKS_FRESH_S:
            mine = os.getuid()
            count = 0
            for each in _processes():
                with suppress(OSError):
                    count += each.threads if os.stat(f"/proc/{each.pid}").st_uid == mine else 0
            self._count, self._at = count, time.monotonic()
        return self._count


# --- files -----------------------------------------------------------------------------------------------------------


def _read_all(fd: int) -> bytes:
    pieces = []
    while piece := os.read(fd, 1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
