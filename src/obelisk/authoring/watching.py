"""Which components a change of files concerns.

Decides what a component's sources are: all of its folder that its author writes, and its folder of WIT. What tools leave behind
is not, nor are built components, nor the folders of other components, nor a server's database. Watches nothing itself.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from obelisk.authoring.manifest import Manifest, is_skipped

NO_SOURCES: Final = (".wasm", ".md", "~", ".swp", ".tmp")
"""Ends of names: of what is built, of what only people read, of what editors write beside the file that is being edited."""


class Sources:
    """The sources of some components. `apart`: folders in which there are none."""

    def __init__(self, manifests: Collection[Manifest], apart: Collection[Path] = ()) -> None:
        self._manifests: Final = manifests
        self._apart: Final = apart

    def outdated(self) -> list[Manifest]:
        """The components that are not there, or of which a source was changed after they were built."""
        return [manifest for manifest in self._manifests if self._is_outdated(manifest)]

    def concerned(self, changed: Collection[Path]) -> list[Manifest]:
        """The components whose sources are among the files that changed, which may be gone by now."""
        return [manifest for manifest in self._manifests if any(self._is_source_of(manifest, path) for path in changed)]

    def _is_outdated(self, manifest: Manifest) -> bool:
        try:
            built = manifest.output.stat().st_mtime_ns
        except OSError:
            return True
        return any(_changed_at(path) > built for path in self._of(manifest))

    def _of(self, manifest: Manifest) -> Iterator[Path]:
        for folder in {manifest.folder, manifest.wit}:
            for above, below, names in os.walk(folder):
                below[:] = [name for name in below if not is_skipped(Path(above, name))]
                yield from (path for name in names if self._is_source_of(manifest, path := Path(above, name)))

    def _is_source_of(self, manifest: Manifest, path: Path) -> bool:
        if path.name.startswith(".") or path.name.endswith(NO_SOURCES) or path.name == "obelisk.toml":
            return False
        if any(path.is_relative_to(folder) for folder in self._apart):
            return False
        if is_skipped(path) and not path.is_file():
            return False
        if manifest.folder.is_relative_to(path) or manifest.wit.is_relative_to(path):
            return True  # a folder that was moved: nothing is said of what is in it
        if _is_in(path, manifest.wit):
            return True
        nearer = (other.folder for other in self._manifests if other.folder.is_relative_to(manifest.folder))
        return _is_in(path, manifest.folder) and not any(
            path.is_relative_to(folder) for folder in nearer if folder != manifest.folder
        )


def _is_in(path: Path, folder: Path) -> bool:
    """Whether it is in the folder, and not in one below that tools keep."""
    if folder not in path.parents:
        return False
    below = path.parent.relative_to(folder)
    return not any(is_skipped(folder.joinpath(*below.parts[:depth])) for depth in range(1, len(below.parts) + 1))


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
