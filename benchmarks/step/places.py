"""Where databases are put: in memory, and on a disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_SHARED_MEMORY: Final = Path("/dev/shm")
_KEPT: Final = Path("/var/tmp")
_UNKNOWN: Final = "unknown file system"


def in_memory() -> Path | None:
    """A folder on a file system in memory; None: none was found."""
    folders = (_SHARED_MEMORY, Path(tempfile.gettempdir()))
    return next((folder for folder in folders if os.access(folder, os.W_OK) and is_memory(folder)), None)


def on_disk() -> Path | None:
    """A folder that is not in memory; None: none was found."""
    folders = (Path(tempfile.gettempdir()), _KEPT, Path.cwd())
    return next((folder for folder in folders if os.access(folder, os.W_OK) and not is_memory(folder)), None)


def is_memory(folder: Path) -> bool:
    """Whether what is written there goes to no disk."""
    return file_system(folder) in _MEMORY


def file_system(folder: Path) -> str:
    """The type of the file system that a folder is on, as Linux calls it."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return _UNKNOWN
    resolved = folder.resolve()
    best, kind = -1, _UNKNOWN
    for mount in mounts:
        _, point, type_, *_ = mount.split(" ")
        # The last of several on one point is the one that is seen.
        if resolved.is_relative_to(point) and len(point) >= best:
            best, kind = len(point), type_
    return kind
