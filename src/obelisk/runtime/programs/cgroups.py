"""Control groups (version 2): where the programs of this process get theirs, and which limits hold there.

Decides where they are made: below the folder that the operator named, else below the one of this process. What cannot be
made is told, not an error: without a cgroup, programs are ended by their descent, and the system's own limits hold.

The kernel hands `memory` on from no cgroup that has processes itself, but for the root of the tree. It would hand `pids` on,
and what is below could then take no programs at all: so nothing is handed on from such a one.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from obelisk.core.policy import ProgramLimits
from obelisk.runtime.programs import keeper

_log: Final = logging.getLogger(__name__)
_PREFIX: Final = "obelisk-programs-"


class Cgroup:
    """The folder of this process' programs; `limits`: file names in the cgroup of each, with their values. `lacks`: why a
    limit that is wanted does not hold, by its file name.
    """

    def __init__(self, path: Path, limits: Mapping[str, int], lacks: Mapping[str, str]) -> None:
        self.path = path
        self.limits = limits
        self.lacks = lacks

    def close(self) -> None:
        """Removes it; what is still in use stays."""
        keeper.remove_cgroup(str(self.path))


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
            keeper.remove_cgroup(str(old))
    path = parent / f"{_PREFIX}{os.getpid()}"
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        if limits.cgroup != "auto":
            _log.warning("programs.cgroup: %s cannot be made (%s): programs get no cgroup", path, error.strerror)
        return None
    held: dict[str, int] = {}
    lacks: dict[str, str] = {}
    for name, value in (("pids.max", limits.tasks_max), ("memory.max", limits.memory_max_bytes)):
        # Without a limit of its own too: it tells whom the machine, or a cgroup above, ran out of memory for.
        controller = name.partition(".")[0]
        lack = _hand_on(parent, controller) or _hand_on(path, controller)
        if lack is not None:
            lacks[name] = lack
        elif value is not None:
            held[name] = value
    if not _takes_processes(path):
        if limits.cgroup != "auto":
            _log.warning(
                "programs.cgroup: %s is threaded, and no program can be below it: programs get no cgroup", parent
            )
        keeper.remove_cgroup(str(path))
        return None
    # A program goes as a whole: one that lost one of its processes might call it a result. Without swap there is no file for it.
    more = {"memory.oom.group": 1} | ({"memory.swap.max": 0} if "memory.max" in held else {})
    held |= {name: value for name, value in more.items() if (path / name).exists()}
    return Cgroup(path, held, lacks)


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


def _hand_on(folder: Path, controller: str) -> str | None:
    """Hands a controller on to the cgroups below `folder`; why not, if that cannot be."""
    handed_on = folder / "cgroup.subtree_control"
    try:
        if controller in handed_on.read_text().split():
            return None
        # The root of the tree, which alone may do both, has no type.
        if (folder / "cgroup.type").exists() and (folder / "cgroup.procs").read_text():
            return f"{folder} has processes of its own, and hands no controllers on; name one that has none: programs.cgroup"
        handed_on.write_text(f"+{controller}")
    except OSError as error:
        why = f"has no controller {controller}" if error.errno == errno.ENOENT else f"hands none on: {error.strerror}"
        return f"{folder} {why}"
    return None


def _takes_processes(path: Path) -> bool:
    try:
        return (path / "cgroup.type").read_text().strip() == "domain"
    except FileNotFoundError:
        return True
