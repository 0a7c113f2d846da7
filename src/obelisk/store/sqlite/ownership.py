"""Ownership: one process owns a database file.

Decides it with `flock` on a file beside the database, `NAME.lock`, which the kernel frees when the process ends, however it
ends. The file stays; it holds the owner's process id, for the message to the second one. Must not touch the database.
"""

from __future__ import annotations

import fcntl
import os


class StoreUnusable(Exception):
    """The operator's database cannot be opened; the message names the file and says what to do."""


class StoreBusy(StoreUnusable):
    """Another process owns the database."""


class Ownership:
    """The lock, held from construction to `release`. `StoreBusy` when another holds it."""

    def __init__(self, database: str) -> None:
        path = f"{database}.lock"
        try:
            # Python opens files close-on-exec, so programs that we start do not keep the lock.
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreUnusable(f"cannot open {path}: {error.strerror}; check its directory's permissions") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise StoreBusy(
                f"the database {database} is in use by process {owner}; stop it, or give this server another directory"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Lets others open the database."""
        os.close(self._fd)
