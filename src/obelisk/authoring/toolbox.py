"""The tools of the languages: where they are found, how they are run, what is said when one is missing.

Decides that a tool is looked for beside this Python, in `node_modules/.bin` of a folder and those above it, and on PATH, as
the tool says. Installs nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TIMEOUT_S: Final = 1_800
"""Of one run. The first build of a Rust component compiles the standard library."""


@dataclass(frozen=True)
class Tool:
    """A command that a language needs."""

    command: str
    purpose: str
    """What it does here: `it makes …`."""
    install: str
    """The shell command that installs it."""
    of_python: bool = False
    """Looked for beside this Python first: a package of the same environment."""
    of_node: bool = False
    """Looked for in node_modules first: a package of the project."""


class ToolMissing(Exception):
    """A tool is not installed; the text says which one, and what installs it."""

    def __init__(self, tool: Tool, places: str) -> None:
        super().__init__(f"{tool.command} was not found {places}; {tool.purpose}. Install it: {tool.install}")
        self.tool = tool


class ToolFailed(Exception):
    """A tool did not do its work; `output` is what it said."""

    def __init__(self, command: str, code: int, output: str) -> None:
        super().__init__(f"{command} ended with exit code {code}")
        self.output = output


@dataclass(frozen=True)
class Toolbox:
    """Where tools are looked for, and their environment."""

    environ: Mapping[str, str]
    beside: Path
    """The folder of commands of this Python's environment."""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Toolbox:
        """That of this process."""
        return cls(environ, Path(sys.executable).parent)

    def find(self, tool: Tool, folder: Path) -> Path | None:
        """The tool for a component in `folder`, if it is installed."""
        places = [self.beside] if tool.of_python else []
        if tool.of_node:
            places += [above / "node_modules" / ".bin" for above in (folder, *folder.parents)]
        path = os.pathsep.join([*map(str, places), self.environ.get("PATH", os.defpath)])
        found = shutil.which(tool.command, path=path)
        return None if found is None else Path(found)

    def need(self, tool: Tool, folder: Path) -> Path:
        """The tool for a component in `folder`. `ToolMissing`."""
        found = self.find(tool, folder)
        if found is None:
            places = "on PATH"
            if tool.of_python:
                places = f"in {self.beside} or on PATH"
            if tool.of_node:
                places = f"in node_modules of {folder} or a folder above it, or on PATH"
            raise ToolMissing(tool, places)
        return found

    def run(self, command: list[str | Path], folder: Path, **environ: str) -> str:
        """Runs a command in `folder`; what it wrote, to both streams. `ToolFailed`."""
        name = Path(command[0]).name
        try:
            done = subprocess.run(  # noqa: S603 - the author's own tools on the author's own sources
                command,
                cwd=folder,
                env={**self.environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=_TIMEOUT_S,
            )
        except OSError as error:
            raise ToolFailed(name, 127, f"it could not be run: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise ToolFailed(name, 124, f"it was ended after {_TIMEOUT_S} s") from None
        output = done.stdout.decode("utf-8", "replace")
        if done.returncode:
            raise ToolFailed(name, done.returncode, output)
        return output
