"""Starting programs, and hearing of their end: the server's side of the keeper.

Decides how a program is bounded: its environment, descriptors, directory and limits, and how many run at once. All of it
runs on the I/O loop, but for `close`. Must not decide which programs may be run.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any, Final

import msgspec

from obelisk.core.policy import ProgramLimits
from obelisk.runtime.programs import cgroups, keeper
from obelisk.runtime.programs.pipes import PipeSink, PipeSource

_log: Final = logging.getLogger(__name__)
KILL_WAIT_S: Final = 3.0
"""How long it is waited for that processes which were killed are gone; some wait inside the kernel."""
OPEN_FILES_MAX: Final = 1_024
"""Descriptors that a process of a program may have open."""
_REPORT_MAX: Final = 1 << 16


class Disposition(Enum):
    """Where a standard stream of a program leads."""

    PIPE = "pipe"
    DISCARD = "discard"


class Order(msgspec.Struct, frozen=True):
    """A program to be started. `directory`: None for a new empty one, which goes with the program."""

    path: Path
    argv: Sequence[str]
    environment: Mapping[str, str]
    stdin: Disposition = Disposition.PIPE
    stdout: Disposition = Disposition.PIPE
    stderr: Disposition = Disposition.PIPE
    directory: Path | None = None


class Ended(msgspec.Struct, frozen=True):
    """How a program ended: with an exit code, or by a signal; neither when it was ended from here, or nobody knows."""

    code: int | None = None
    signal: int | None = None
    oom: int = 0
    """Processes that were ended because memory ran out."""
    over: int = 0
    """How often its own limit was why (`programs.memory_max_bytes`), and not one above it, or the machine's end."""
    refused: int = 0
    """Processes and threads that were not started because of `programs.tasks_max`."""


class NotStarted(Exception):
    """The program could not be started. `errno`: why; 0 when it is not the program's fault."""

    def __init__(self, step: str, errno: int, path: str) -> None:
        what = {"chdir": "its directory cannot be entered", "exec": "it cannot be executed"}.get(step, "no room for it")
        where = f" ({path})" if path and step != "exec" else ""
        super().__init__(f"{what}: {os.strerror(errno)}{where}")
        self.step = step
        self.errno = errno


class Lost(Exception):
    """Nobody can say any more how the program ended: what watched over it has died. Nothing of it is left."""


class Running:
    """A program that was started, and everything that it started."""

    def __init__(self, leash: socket.socket, stdio: Sequence[PipeSink | PipeSource | None]) -> None:
        loop = asyncio.get_running_loop()
        self._leash = leash
        self._started: asyncio.Future[int] = loop.create_future()
        self._ended: asyncio.Future[Ended] = loop.create_future()
        self.stdin, self.stdout, self.stderr = (_input(stdio[0]), _output(stdio[1]), _output(stdio[2]))
        self._listening = loop.create_task(self._listen())
        # Only then: until it has let go of it, the loop knows the socket by its number.
        self._listening.add_done_callback(lambda _: leash.close())

    @property
    def id(self) -> int:
        """The system's number of it, once it was started."""
        return self._started.result()

    @property
    def is_over(self) -> bool:
        """Whether it has ended, and nothing of it is left."""
        return self._ended.done()

    @property
    def known_end(self) -> Ended:
        """How it ended, as far as that is known."""
        over = self._ended
        return over.result() if over.done() and not over.cancelled() and over.exception() is None else Ended()

    async def started(self) -> None:
        """Waits until it runs. `NotStarted`, `Lost`."""
        await asyncio.shield(self._started)

    async def ended(self) -> Ended:
        """Waits for the end: of the program, then of all that it started. `Lost`."""
        return await asyncio.shield(self._ended)

    def when_over(self, call: Callable[[], None]) -> None:
        """Has the loop call something when it is over, or nobody wants to hear of it any more."""
        self._ended.add_done_callback(lambda _: call())

    def kill(self) -> None:
        """Ends it and all that it started; `ended` tells when."""
        with suppress(OSError):
            self._leash.send(b"kill")

    async def end(self) -> None:
        """Ends it, waits until it is gone, and closes everything; also when it is over already."""
        try:
            if not self._ended.done():
                self.kill()
                await asyncio.wait([self._ended], timeout=KILL_WAIT_S)
                if not self._ended.done():
                    _log.warning("processes of a program were killed %s s ago and are not gone yet", KILL_WAIT_S)
        finally:
            self.close()

    def close(self) -> None:
        """Lets go of it: whatever is left of it is killed, and nobody hears of that."""
        self._listening.cancel()
        self._ended.cancel()
        with suppress(OSError):
            self._leash.shutdown(socket.SHUT_RDWR)
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()

    async def _listen(self) -> None:
        try:
            told = await self._hear()
            if "failed" in told:
                self._started.set_exception(NotStarted(*told["failed"]))
                self._ended.set_result(Ended())
            else:
                self._started.set_result(told["started"])
                self._ended.set_result(msgspec.convert((await self._hear())["ended"], Ended))
        except Lost as lost:
            for future in (self._started, self._ended):
                if not future.done():
                    future.set_exception(lost)
        for future in (self._started, self._ended):
            future.exception()  # whether or not somebody asks

    async def _hear(self) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        try:
            try:
                data = await loop.sock_recv(self._leash, _REPORT_MAX)
            except ConnectionResetError:  # it ended without reading that it should; what it said before comes next
                data = await loop.sock_recv(self._leash, _REPORT_MAX)
        except OSError:
            data = b""
        if not data:
            raise Lost("the process that watched over the program has died")
        told: dict[str, Any] = json.loads(data)
        return told


class Launcher:
    """Starts programs, by a keeper that it starts with the first one."""

    def __init__(self, limits: ProgramLimits, temp: Path) -> None:
        """`temp`: where the directories of programs are made."""
        self.limits: Final = limits
        self._temp = temp
        self._keeper: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._cgroup: cgroups.Cgroup | None = None
        self._prepared = False
        self.room: Final = asyncio.Semaphore(limits.running_max)
        """Taken by whoever runs a program."""

    async def launch(self, order: Order) -> Running:
        """Starts a program. `NotStarted`, `Lost`, `OSError`."""
        if not self._prepared:
            self._prepare()
        fds: list[int] = []
        pipes: list[PipeSink | PipeSource | None] = []
        running: Running | None = None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            ours.setblocking(False)
            fds += (self._written(order), theirs.detach())
            for disposition, is_input in ((order.stdin, True), (order.stdout, False), (order.stderr, False)):
                if disposition is Disposition.DISCARD:
                    fds.append(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
                    pipes.append(None)
                else:
                    read, write = os.pipe2(os.O_CLOEXEC)
                    fds.append(read if is_input else write)
                    pipes.append(PipeSink(write) if is_input else PipeSource(read))
            await self._send(fds)
            running = Running(ours, pipes)
        finally:
            for fd in fds:
                os.close(fd)
            if running is None:
                ours.close()
                for pipe in pipes:
                    if pipe is not None:
                        pipe.close()
        try:
            await running.started()
        except BaseException:
            await running.end()
            raise
        return running

    def close(self) -> None:
        """Ends the keeper, and with it whatever still runs; from any thread, once the loop runs nothing more."""
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(KILL_WAIT_S)
        if self._cgroup is not None:
            self._cgroup.close()

    def _prepare(self) -> None:
        self._prepared = True
        self._cgroup = made = cgroups.prepare(self.limits)
        nowhere = "the server has no cgroup (version 2) that it may divide"
        lacks = made.lacks if made is not None else {"pids.max": nowhere, "memory.max": nowhere}
        if "pids.max" in lacks and os.getuid() == 0:
            _log.warning(
                "nothing holds programs to programs.tasks_max: the server runs as root, which the system's own limit spares,"
                " and %s",
                lacks["pids.max"],
            )
        if "memory.max" in lacks and self.limits.memory_max_bytes is not None:
            _log.warning("nothing holds programs to programs.memory_max_bytes: %s", lacks["memory.max"])

    def _written(self, order: Order) -> int:
        """The order in a memory file."""
        held = self._cgroup.limits if self._cgroup is not None else {}
        message = {
            "path": str(order.path),
            "argv": list(order.argv),
            "env": dict(order.environment),
            "cwd": None if order.directory is None else str(order.directory),
            "temp": str(self._temp),
            "cgroup": None if self._cgroup is None else str(self._cgroup.path),
            "cgroup_limits": held,
            "tasks_max": 0 if "pids.max" in held or os.getuid() == 0 else self.limits.tasks_max,
            "rlimits": {"RLIMIT_CORE": 0, "RLIMIT_NOFILE": OPEN_FILES_MAX},
        }
        fd = os.memfd_create("order", os.MFD_CLOEXEC)
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(json.dumps(message).encode("utf-8", "surrogateescape"))
        return fd

    async def _send(self, fds: list[int]) -> None:
        for attempt in range(2):
            keeping = self._started()
            while True:
                try:
                    socket.send_fds(keeping, [b"run"], fds)
                    return
                except BlockingIOError:
                    await asyncio.sleep(0.001)  # it forks
                except OSError:
                    break
            self._forget_keeper()  # it has died
            if attempt:
                raise Lost("the process that starts programs has died")

    def _started(self) -> socket.socket:
        if self._keeper is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                ours.setblocking(False)
                kept = ("LD_LIBRARY_PATH",)  # some builds of Python do not start without
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and file
                    [sys.executable, "-I", "-S", keeper.__file__, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env={name: os.environ[name] for name in kept if name in os.environ},
                    cwd="/",
                    start_new_session=True,
                )
            self._keeper = ours
        return self._keeper

    def _forget_keeper(self) -> None:
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None
        if self._process is not None:
            self._process.poll()


def _input(pipe: PipeSink | PipeSource | None) -> PipeSink | None:
    return pipe if isinstance(pipe, PipeSink) else None


def _output(pipe: PipeSink | PipeSource | None) -> PipeSource | None:
    return pipe if isinstance(pipe, PipeSource) else None
