"""The work of a step: what the halves of all peers share. Imports the standard library only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

FIBO_10: Final = 55


def fibo(n: int) -> int:
    """In Python, where Obelisk's is in WASM."""
    return n if n < 2 else fibo(n - 1) + fibo(n - 2)


def leave_mark(path: str | None) -> None:
    """Counts a run of a step where a kill -9 cannot undo it: a byte in a file. None: nobody counts."""
    if path:
        with Path(path).open("ab") as file:
            file.write(b".")


def marks(path: Path) -> int:
    """Runs so far."""
    return os.path.getsize(path) if path.exists() else 0
