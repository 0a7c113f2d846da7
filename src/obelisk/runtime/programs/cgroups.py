"""Control groups (version 2): where the programs of this process get theirs, and which limits hold there.

Decides where they are made: below the folder that the operator named, else below the one of this process. What cannot be
made is told, not an error: without a cgroup, programs are ended by their descent, and the system's own limits hold.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from obelisk.core.policy import ProgramLimits

_log: Final = logging.getLogger(__name__)
_PREFIX: Final = "obelisk-programs-"


class Cgroup:
    """The folder of this process' programs; `limits`: file names in the cgroup of each, with their values."""

    def __init__(self, path: Path, limits: dict[str, int]) -> None:
        self.path = path
        self.limits = limits

    def close(self) -> None:
        """Removes it; what is still in use stays."""
        _remove(self.path)


def prepare(limits: ProgramLimits) -> Cgroup | None:
    """Makes the folder. None when there is no cgroup version 2 here that this process may divide, or `limits` wants none."""
    if limits.cgroup == "none":
        return None
    parent = own() if limits.cgroup == "auto" else Path(limits.cgroup)
    if parent is None or not (parent / "cgroup.procs").exists():
        if limits.cgroup != "auto":
            _log.warning("programs.cgroup = %r is no cgroup of version 2: programs get none", limits.cgroup)
        return None
    for old in parent.glob(f"{_PREFIX}*"):
        if not Path("/proc", old.name.removeprefix(_PREFIX)).exists():
            _remove(old)
    path = parent / f"{_PREFIX}{os.getpid()}"
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        if limits.cgroup != "auto":
            _log.warning("programs.cgroup: %s cannot be made (%s): programs get no cgroup", path, error.strerror)
        return None
    wanted = {"pids.max": limits.tasks_max, "memory.max": limits.memory_max_bytes}
    held = {
        name: value
        for name, value in wanted.items()
        if value is not None and all(_has(folder, name.partition(".")[0]) for folder in (parent, path))
    }
    if "memory.max" in held:
        held["memory.swap.max"] = 0
    return Cgroup(path, held)


def own() -> Path | None:
    """The cgroup of this process."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        groups = Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    mounted = next((line.split()[4] for line in mounts if " - cgroup2 " in line), None)
    inside = next((line[3:] for line in groups if line.startswith("0::")), None)
    return None if mounted is None or inside is None else Path(mounted) / inside.lstrip("/")


def _has(folder: Path, controller: str) -> bool:
    """Hands a controller on to the cgroups below `folder`, if there is one to hand on."""
    handed_on = folder / "cgroup.subtree_control"
    try:
        if controller not in handed_on.read_text().split():
            handed_on.write_text(f"+{controller}")
    except OSError:
        return False
    return True


def _remove(path: Path) -> None:
    with suppress(OSError):
        for each in path.iterdir():
            if each.is_dir():
                with suppress(OSError):
                    each.rmdir()
        path.rmdir()
