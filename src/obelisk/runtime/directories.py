"""Directories of executions: each activity that may have one works in `parent/EXECUTION`.

Decides what an attempt finds in it (nothing, unless its component reuses it on a retry) and when it is removed: some time
after the execution has finished, by a thread. A directory that must be empty is moved aside, which takes no time, and
removed by the same thread. Directories of executions that the store does not know are left alone: another server may have
the same parent.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import secrets
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from obelisk.config.settings import ExecutionDirectories
from obelisk.core.batch import StoreFailed
from obelisk.core.ids import ExecutionId, InvalidId, parse_execution_id, root_of
from obelisk.core.instants import Instant
from obelisk.core.policy import DirectoryPolicy
from obelisk.core.reading import Reader
from obelisk.wasm.wasi.filesystem import Preopen

_log: Final = logging.getLogger(__name__)

NAME_MAX: Final = 200
"""Letters of the name of a directory; an execution with a longer id has a name that begins with its root's."""
_SLASH: Final = "+"
_LONG: Final = "~"
"""Neither can be in an id."""
_ASIDE: Final = ".removed-"
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class ParentUnusable(OSError):
    """The parent directory is not one that the server can have for itself."""


class Directories:
    """The directories of all executions. `preopen` is for any thread."""

    def __init__(self, config: ExecutionDirectories, now: Callable[[], Instant]) -> None:
        """Makes the parent directory. `ParentUnusable`, or `OSError`."""
        self._config = config
        self._now = now
        self._parent = _open_parent(config.parent_directory)
        self._work = threading.Event()
        self._stopping = False
        self._reader: Reader | None = None
        self._thread: threading.Thread | None = None

    def preopen(self, execution_id: ExecutionId, *, reuse: bool) -> Preopen:
        """The directory for an attempt that is about to run: made, and empty unless it is to be reused. `OSError`."""
        name = directory_name(execution_id)
        is_used = False
        while True:
            try:
                os.mkdir(name, 0o700, dir_fd=self._parent)
                break
            except FileExistsError:
                if reuse and stat.S_ISDIR(os.stat(name, dir_fd=self._parent, follow_symlinks=False).st_mode):
                    is_used = True
                    break
                self._move_aside(name)
        config = self._config
        return Preopen(
            host=config.parent_directory / name,
            guest=".",
            bytes_max=config.bytes_max,
            entries_max=config.entries_max,
            is_used=is_used,
        )

    def start(self, reader: Reader) -> None:
        """Starts the thread that removes."""
        self._reader = reader
        self._thread = threading.Thread(target=self._run, name="obelisk-directories", daemon=True)
        self._work.set()
        self._thread.start()

    def stop(self) -> None:
        """Stops the thread and waits for it; what it has not removed, the next server removes."""
        self._stopping = True
        self._work.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
        os.close(self._parent)

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            self._work.clear()
            try:
                self.clean()
            except (OSError, StoreFailed):
                _log.exception("directories of executions could not be removed; trying again later")
            self._work.wait(self._config.cleanup_run_every_us / 1e6)

    def clean(self) -> None:
        """Removes what was moved aside, and directories of executions that finished long enough ago."""
        if self._config.cleanup_enabled:
            before = self._now() - self._config.cleanup_older_than_us
            for name in os.listdir(self._parent):
                if self._stopping:
                    return
                if self._is_over(name, before):
                    self._move_aside(name)
        for name in os.listdir(self._parent):
            if self._stopping:
                return
            if name.startswith(_ASIDE):
                self._remove(name)

    def _remove(self, name: str) -> None:
        try:
            remove_tree(self._parent, name)
        except FileNotFoundError:
            pass  # another server was quicker
        except OSError as error:
            _log.warning("%s cannot be removed, trying again later: %s", self._config.parent_directory / name, error)

    def _is_over(self, name: str, before: int) -> bool:
        execution_id = execution_of(name)
        if execution_id is None or self._reader is None:
            return False
        with suppress(FileNotFoundError):
            if os.stat(name, dir_fd=self._parent, follow_symlinks=False).st_mtime_ns > before * 1_000:
                return False  # its execution has finished later than that, or not at all
        state = self._reader.state(execution_id)
        return state is not None and state.finished_at is not None and state.finished_at <= before

    def _move_aside(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.rename(name, f"{_ASIDE}{secrets.token_hex(8)}", src_dir_fd=self._parent, dst_dir_fd=self._parent)
        self._work.set()


def preopens(
    directories: Directories | None, policy: DirectoryPolicy, execution_id: ExecutionId
) -> tuple[Preopen, ...]:
    """What an attempt at an activity is given. `OSError`."""
    if not policy.gives_any:
        return ()
    given = []
    if policy.own:
        if directories is None:
            raise ParentUnusable(errno.ENOTSUP, "the server was started without activities.directories.enabled")
        given.append(directories.preopen(execution_id, reuse=policy.reuse_on_retry))
    given += [Preopen(Path(each.host), each.guest, read_only=each.read_only) for each in policy.mapped]
    return tuple(given)


def directory_name(execution_id: ExecutionId) -> str:
    """What the directory of an execution is called: its id, as far as that can be a name."""
    name = execution_id.replace("/", _SLASH)
    if len(name) <= NAME_MAX:
        return name
    return f"{root_of(execution_id)}{_LONG}{hashlib.sha256(execution_id.encode()).hexdigest()[:32]}"


def execution_of(name: str) -> ExecutionId | None:
    """The execution at whose end a directory is not needed any more: its own, or, of one with a long id, the root of its
    tree. None: it is none of ours.
    """
    root, long, _ = name.partition(_LONG)
    try:
        return parse_execution_id(root if long else name.replace(_SLASH, "/"))
    except InvalidId:
        return None


def _open_parent(path: Path) -> int:
    """The parent is nobody else's: whoever could write in it could put something of theirs in the place of a directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    found = os.fstat(fd)
    problem = None
    if found.st_uid != os.geteuid():
        problem = f"it belongs to another user ({found.st_uid})"
    elif found.st_mode & 0o022:
        problem = "others may write in it"
    if problem is not None:
        os.close(fd)
        raise ParentUnusable(
            errno.EPERM, f"cannot keep directories of executions there (activities.directories): {problem}", str(path)
        )
    return fd


def remove_tree(parent: int, name: str) -> None:
    """Removes a directory of the open directory `parent` and all that is in it, however deep; links are not followed.

    What is deep is moved up first: a tree may be deeper than there are descriptors, and no path is long enough for it.
    """
    top = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        while below := _emptied(top):
            for each in below:
                _remove_one(top, each)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def _remove_one(top: int, name: str) -> None:
    fd = os.open(name, _DIRECTORY, dir_fd=top)
    try:
        for each in _emptied(fd):
            os.rename(each, f"{_ASIDE}{secrets.token_hex(8)}", src_dir_fd=fd, dst_dir_fd=top)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=top)


def _emptied(directory: int) -> list[str]:
    """Removes what is no directory; the names of those that are."""
    with os.scandir(directory) as listing:
        entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in listing]
    for name, is_directory in entries:
        if not is_directory:
            os.unlink(name, dir_fd=directory)
    return [name for name, is_directory in entries if is_directory]
