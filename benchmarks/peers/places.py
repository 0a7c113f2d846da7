"""Where `make bench-peers` puts things, and how to find out whether it has."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
VENV: Final = Path(os.environ.get("BENCH_PEERS", ROOT / ".venv" / "peers"))
PYTHON: Final = VENV / "bin" / "python"
RESTATE: Final = VENV / "node" / "node_modules" / "@restatedev" / "restate-server-linux-x64" / "bin" / "restate-server"
_ADVICE: Final = "make bench-peers installs it"


@functools.cache
def missing_package(name: str) -> str | None:
    """Why a Python package cannot be used; None: it can."""
    if not PYTHON.exists():
        return f"there is no {VENV}: {_ADVICE}"
    command = [str(PYTHON), "-c", f"import importlib.util as u; raise SystemExit(u.find_spec({name!r}) is None)"]
    return None if subprocess.run(command, check=False).returncode == 0 else f"{name} is not there: {_ADVICE}"


def missing_restate() -> str | None:
    """The same of Restate's server, a program."""
    return None if RESTATE.exists() else f"restate-server is not there: {_ADVICE} where there is npm"


def command(module: str, *arguments: str) -> list[str]:
    """Runs a module of this package with the peers' Python."""
    return [str(PYTHON), "-m", f"benchmarks.peers.{module}", *arguments]
