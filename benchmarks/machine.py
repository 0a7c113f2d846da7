"""The machine: what it is, how busy it is, and what a process takes of it. Linux only."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Final

import apsw

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_SETTLING_S: Final = 1.0
_IDLE_S: Final = 5.0


def describe() -> dict[str, str]:
    """What figures depend on."""
    names = {line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")}
    return {
        "cpu": f"{os.cpu_count()} x {', '.join(sorted(names)) or platform.machine()}",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "obelisk": version("obelisk"),
        "load": f"{os.getloadavg()[0]:.2f}",
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def tree(pid: int) -> list[int]:
    """The process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left += children.get(found[-1], [])
    return found


def memory_mb(pid: int) -> float:
    """Proportional memory of a process and its descendants: pages that several share are counted once."""
    kilobytes = 0
    for each in tree(pid):
        try:
            lines = _lines(f"/proc/{each}/smaps_rollup")
        except OSError:
            continue
        kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kilobytes / 1024


def cpu_s(pid: int) -> float:
    """CPU time of a process and its descendants."""
    total = 0
    for each in tree(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def at_rest(pid: int) -> dict[str, float]:
    """What a process that has just started takes with nothing to do: memory, and CPU over some seconds."""
    time.sleep(_SETTLING_S)
    before = cpu_s(pid)
    time.sleep(_IDLE_S)
    return {"memory_mb": memory_mb(pid), "cpu_percent": 100 * (cpu_s(pid) - before) / _IDLE_S}


def written_bytes(pid: int) -> int:
    """Bytes that a process has sent to the disk."""
    (found,) = [line for line in _lines(f"/proc/{pid}/io") if line.startswith("write_bytes")]
    return int(found.split()[1])
