"""What is asked of a language."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from obelisk.authoring.manifest import Manifest
from obelisk.authoring.toolbox import Toolbox
from obelisk.wit.component import ComponentWit

BINDINGS: Final = ".bindings"
"""The folder beside `component.toml` with what editors and type checkers are to know of the world. Hidden, so that neither
builds nor tests look into it.
"""


@dataclass(frozen=True)
class Job:
    """One component to build, or the bindings of one to write."""

    manifest: Manifest
    wit: ComponentWit
    """What the world imports and exports."""
    made: Path
    """Where the component, or the folder of bindings, is to be written to. Nothing is there."""
    tools: Toolbox


class Builder(Protocol):
    """A language."""

    @property
    def title(self) -> str:
        """As people write it."""
        ...

    @property
    def install(self) -> tuple[str, ...]:
        """The shell commands that install what it needs, for the READMEs of new projects."""
        ...

    def test_file(self, subject: str) -> str:
        """The file of a new project with its tests, which are of `subject`."""
        ...

    @property
    def test_command(self) -> str:
        """The shell command that runs them."""
        ...

    @property
    def ignored(self) -> tuple[str, ...]:
        """What the tools leave behind, for `.gitignore`."""
        ...

    @property
    def names_sources(self) -> bool:
        """Whether backtraces of what it builds name source files and lines."""
        ...

    def check(self, tools: Toolbox, folder: Path) -> None:
        """`ToolMissing` when a component in `folder` could not be built."""
        ...

    def build(self, job: Job) -> None:
        """Makes the component. `ToolFailed`, whose output says what is wrong with the source."""
        ...

    def bindings(self, job: Job) -> bool:
        """Writes the folder of bindings; False when the language has none. `ToolFailed`."""
        ...
