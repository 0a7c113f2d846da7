"""What is asked of a language."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from obelisk.authoring.manifest import Manifest
from obelisk.authoring.toolbox import Toolbox
from obelisk.wit.component import ComponentWit


@dataclass(frozen=True)
class Job:
    """One component to build."""

    manifest: Manifest
    wit: ComponentWit
    """What the world imports and exports."""
    made: Path
    """Where the component is to be written to."""
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

    @property
    def test_file(self) -> str:
        """The file of a new project with its tests."""
        ...

    @property
    def test_command(self) -> str:
        """The shell command that runs them."""
        ...

    @property
    def ignored(self) -> tuple[str, ...]:
        """What the tools leave behind, for `.gitignore`."""
        ...

    def check(self, tools: Toolbox, folder: Path) -> None:
        """`ToolMissing` when a component in `folder` could not be built."""
        ...

    def build(self, job: Job) -> None:
        """Makes the component. `ToolFailed`, whose output says what is wrong with the source."""
        ...
