"""Scale: costs as work grows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rich.console import Console

SERIES: Final[dict[str, str]] = {}


def scale(chosen: list[str], console: Console, say: Callable[[str], None]) -> tuple[str, dict[str, str]]:
    """Measures the chosen series; the JSON, and a drawing of each."""
    return "", {}
