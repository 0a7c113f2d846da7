"""Children of a WASM activity's run: programs that its guest spawns; see `obelisk.wasm.wasi.process`.

Decides which file a command is, whether the operator allows it, and that no child outlives the run.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from concurrent.futures import Future
from pathlib import Path

from obelisk.core.calls import LogLevel
from obelisk.core.ids import Digest
from obelisk.core.policy import ProgramLimits
from obelisk.runtime.programs.copies import ProgramChanged
from obelisk.runtime.programs.launching import Disposition, Lost, NotStarted, Order, Running
from obelisk.runtime.programs.pipes import DRAIN_S, PipeSource, read
from obelisk.runtime.programs.programs import Programs
from obelisk.runtime.programs.results import met
from obelisk.wasm.wasi.activity import ActivityHost
from obelisk.wasm.wasi.output import LogOutput
from obelisk.wasm.wasi.process import ChildLost, Spawn, SpawnFailed, Stdio, Why


class Children:
    """Implements `obelisk.wasm.wasi.process.Processes` for one run."""

    def __init__(self, programs: Programs, host: ActivityHost, directory: Path | None = None) -> None:
        """`directory`: that of the run, where children begin; None: each has an empty one of its own."""
        self._programs = programs
        self._host = host
        self._directory = directory
        self._running: set[Running] = set()
        host.on_close(self._close)

    async def spawn(self, wanted: Spawn) -> NativeChild:
        """Starts one. `SpawnFailed`."""
        directory = self._directory_of(wanted)
        _check(wanted)
        path = await asyncio.to_thread(self._allowed, wanted.command)
        room = self._programs.launcher.room
        if room.locked():
            raise SpawnFailed(Why.NOT_PERMITTED, "as many programs run as may run at once (programs.running_max)")
        await room.acquire()  # at once
        order = Order(
            path,
            [wanted.command, *wanted.arguments],
            dict(wanted.environment),
            Disposition.PIPE if wanted.stdin is Stdio.PIPED else Disposition.DISCARD,
            Disposition.DISCARD if wanted.stdout is Stdio.DISCARD else Disposition.PIPE,
            Disposition.DISCARD if wanted.stderr is Stdio.DISCARD else Disposition.PIPE,
            directory,
        )
        try:
            running = await self._programs.launcher.launch(order)
        except NotStarted as problem:
            room.release()
            why = Why.NOT_FOUND if problem.errno == errno.ENOENT else Why.FAILED
            raise SpawnFailed(why, str(problem)) from problem
        except (OSError, Lost) as problem:
            room.release()
            raise SpawnFailed(Why.FAILED, str(problem)) from problem
        except BaseException:
            room.release()
            raise
        self._running.add(running)
        running.when_over(lambda: self._over(running))
        return NativeChild(running, wanted, self._host, self._programs.launcher.limits)

    def _over(self, running: Running) -> None:
        self._running.discard(running)
        self._programs.launcher.room.release()

    def _close(self) -> None:
        """On the loop: the run is over."""
        for running in tuple(self._running):
            running.close()

    # --- what may be started -----------------------------------------------------------------------------------------

    def _directory_of(self, wanted: Spawn) -> Path | None:
        if wanted.directory in {None, "", "."}:
            return self._directory
        assert wanted.directory is not None
        if self._directory is None:
            raise SpawnFailed(Why.INVALID, "current-working-directory: this activity has no directory")
        inside = Path(wanted.directory)
        if inside.is_absolute() or ".." in inside.parts or "\0" in wanted.directory:
            raise SpawnFailed(Why.INVALID, "current-working-directory: expected a relative path without ..")
        if not (self._directory / inside).resolve().is_relative_to(self._directory.resolve()):
            raise SpawnFailed(Why.INVALID, "current-working-directory: it leads out of the activity's directory")
        return self._directory / inside

    def _allowed(self, command: str) -> Path:
        """The file to be executed; reads files."""
        path = _found(command)
        allowed, copies = self._programs.allowed, self._programs.copies
        if allowed.all:
            return path
        try:
            digest = copies.seen(path)
            refusal = allowed.refusal(command, digest)
            if refusal is not None:
                raise SpawnFailed(Why.NOT_PERMITTED, f"{command} ({path}): {refusal}")
            return self._copy(path, digest)
        except ProgramChanged as changed:
            raise SpawnFailed(Why.FAILED, str(changed)) from changed
        except OSError as error:
            raise SpawnFailed(Why.FAILED, f"{path}: {error.strerror}") from error

    def _copy(self, path: Path, digest: Digest) -> Path:
        copies = self._programs.copies
        if not copies.path(digest).exists() and copies.keep(path) != digest:
            raise SpawnFailed(Why.FAILED, f"{path} was changed while it was read")
        return copies.checked(digest)


class NativeChild:
    """Implements `obelisk.wasm.wasi.process.Child`."""

    def __init__(self, running: Running, wanted: Spawn, host: ActivityHost, limits: ProgramLimits) -> None:
        self._running = running
        self._host = host
        self._limits = limits
        self._is_told = False
        self.id = running.id
        self._logging: list[Future[None]] = []
        self.stdin = running.stdin
        self.stdout = running.stdout if wanted.stdout is Stdio.PIPED else None
        self.stderr = running.stderr if wanted.stderr is Stdio.PIPED else None
        for how, source, log in (
            (wanted.stdout, running.stdout, host.stdout),
            (wanted.stderr, running.stderr, host.stderr),
        ):
            if how is Stdio.INHERIT and source is not None:
                self._logging.append(host.spawn(_logged(source, log)))

    @property
    def is_over(self) -> bool:
        """See `Child`."""
        return self._running.is_over

    async def ended(self) -> int | None:
        """See `Child`."""
        try:
            ended = await self._running.ended()
        except Lost as lost:
            raise ChildLost(str(lost)) from lost
        if self._logging:  # all that it wrote is in the log by then
            await asyncio.wait(map(asyncio.wrap_future, self._logging), timeout=DRAIN_S)
        if not self._is_told:  # its guest learns no more than that there is no exit code
            self._is_told = True
            for each in met(ended, self._limits):
                self._host.log(LogLevel.WARN, each)
        return ended.code

    def kill(self) -> None:
        """See `Child`."""
        self._running.kill()


async def _logged(source: PipeSource, log: LogOutput) -> None:
    async for data in read(source):
        log.write(data)


def _check(wanted: Spawn) -> None:
    for name, value in wanted.environment:
        if not name or "=" in name or "\0" in name + value:
            raise SpawnFailed(
                Why.INVALID, f"environment: {name!r} is no name of a variable, or its value no text for one"
            )
    if any("\0" in each for each in (wanted.command, *wanted.arguments)):
        raise SpawnFailed(Why.INVALID, "an argument has a character that none can have (NUL)")


def _found(command: str) -> Path:
    if "/" in command:
        if not command.startswith("/"):
            raise SpawnFailed(Why.INVALID, f"{command}: expected a name, or an absolute path")
        if not Path(command).is_file():
            raise SpawnFailed(Why.NOT_FOUND, f"there is no {command}")
        return Path(command)
    found = shutil.which(command, path=os.environ.get("PATH", os.defpath)) if command else None
    if found is None:
        raise SpawnFailed(Why.NOT_FOUND, f"there is no program {command} in the server's PATH")
    return Path(found)
