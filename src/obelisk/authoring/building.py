"""A component from its manifest.

Decides the order: is there anything that Obelisk would refuse in the world (told before a tool runs for long), is the tool
there, build, look at what came out, add what the comments of its WIT say, and only then put it in its place, in one step. What
went before stays when a build fails. Knows no language. Bindings for editors go the same way.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from obelisk.authoring.annotating import Warned, warnings
from obelisk.authoring.languages import BINDINGS, BUILDERS, Job
from obelisk.authoring.manifest import Manifest
from obelisk.authoring.toolbox import Toolbox, ToolFailed
from obelisk.core.ids import Digest
from obelisk.core.ports import FunctionKind
from obelisk.runtime.inspecting import looks_like
from obelisk.wasm.cache import ComponentCache
from obelisk.wasm.description import Descriptions, LoadedWit, annotate
from obelisk.wasm.source import ComponentError
from obelisk.wit.checks import Component, check_alone
from obelisk.wit.component import ComponentWit


class BuildFailed(Exception):
    """A component could not be built. The author's to fix; the text says what is wrong, and may have many lines."""


@dataclass(frozen=True)
class Built:
    """A component that was built."""

    manifest: Manifest
    digest: Digest
    size: int
    """In bytes."""
    seconds: float
    wit: ComponentWit
    warnings: tuple[Warned, ...] = ()


def check_tools(manifest: Manifest, toolbox: Toolbox) -> None:
    """`ToolMissing` when the component cannot be built here."""
    BUILDERS[manifest.language].check(toolbox, manifest.folder)


def build(manifest: Manifest, toolbox: Toolbox) -> Built:
    """Builds the component and puts it in its place. `BuildFailed`, `ToolMissing`."""
    begun = time.monotonic()
    source = _described(manifest)
    check_tools(manifest, toolbox)
    made = manifest.output.with_name(f".{manifest.output.stem}.{os.getpid()}.wasm")
    try:
        manifest.output.parent.mkdir(parents=True, exist_ok=True)
        with _tool():
            BUILDERS[manifest.language].build(Job(manifest, source.wit, made, toolbox))
        found = _annotated(manifest.output.name, made, source)
        size = made.stat().st_size
        made.replace(manifest.output)
    except OSError as error:
        raise BuildFailed(f"{error.filename or manifest.output} cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):
            made.unlink()
    return Built(manifest, found.digest, size, time.monotonic() - begun, found.wit, warnings(source))


def write_bindings(manifest: Manifest, toolbox: Toolbox) -> Path | None:
    """Writes what editors and type checkers are to know of the component's world: its folder, new or in place of the one that
    was there. None when the language has no bindings. `BuildFailed`, `ToolMissing`.
    """
    world = world_of(manifest)
    folder = manifest.folder / BINDINGS
    made = folder.with_name(f"{BINDINGS}.{os.getpid()}")
    try:
        with _tool():
            if not BUILDERS[manifest.language].bindings(Job(manifest, world, made, toolbox)):
                return None
        if folder.exists():
            shutil.rmtree(folder)
        made.replace(folder)
    except OSError as error:
        raise BuildFailed(f"{error.filename or folder} cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


@contextmanager
def _tool() -> Iterator[None]:
    """What a tool says when it fails is why a build did."""
    try:
        yield
    except ToolFailed as failed:
        raise BuildFailed(f"{failed}:\n{failed.output}" if failed.output else str(failed)) from None


def world_of(manifest: Manifest) -> ComponentWit:
    """What the component is to import and export. `BuildFailed` when Obelisk would refuse that."""
    return _described(manifest).wit


def _described(manifest: Manifest) -> LoadedWit:
    """The folder of WIT, of its world. `BuildFailed`."""
    try:
        found = Descriptions(ComponentCache(None)).read(manifest.wit, manifest.world)
    except ComponentError as failure:
        raise BuildFailed(str(failure)) from None
    _refuse(f"the world {manifest.world}", found.wit)
    return found


def _annotated(name: str, made: Path, source: LoadedWit) -> LoadedWit:
    """The component that came out, with the annotations of its WIT."""
    found = _looked_at(name, made)
    plain = made.read_bytes()
    component = annotate(plain, found, source)
    if component == plain:
        return found
    made.write_bytes(component)
    return _looked_at(name, made)


def _looked_at(name: str, made: Path) -> LoadedWit:
    """The component that came out."""
    if not made.exists():
        raise BuildFailed("the tool ended well, but wrote nothing")
    try:
        found = Descriptions(ComponentCache(None)).read(made)
    except ComponentError as failure:
        raise BuildFailed(f"what the tool wrote cannot be used: {failure.reason}") from None
    _refuse(name, found.wit)
    return found


class _Undeployed(Component, frozen=True):
    """A component of which nobody has said yet what it is to be."""

    @property
    def title(self) -> str:
        return self.name


def _refuse(name: str, wit: ComponentWit) -> None:
    """It must be possible as one of the kinds; if it is not, what keeps it from being what it looks like is said."""
    problems = {
        kind: check_alone(_Undeployed(name, kind, wit)) for kind in (FunctionKind.WORKFLOW, FunctionKind.ACTIVITY)
    }
    if all(problems.values()):
        raise BuildFailed("\n".join(("Obelisk would refuse it:", *problems[looks_like(wit)])))
