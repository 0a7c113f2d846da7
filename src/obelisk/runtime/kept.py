"""Copies of components that were active, for the executions that began on them.

Decides what is kept and for how long: what a component was loaded from, and the settings that it ran with, by kind and
digest, so that an execution goes on with exactly what it ran on; and the source files that the configuration named, as they
were when the component was first deployed, so that lines of its code are those that it was made of. A copy goes when no
open execution refers to it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from obelisk.config.settings import SUFFIX
from obelisk.core.ids import Digest
from obelisk.core.policy import ExecutionPolicy
from obelisk.core.ports import FunctionKind
from obelisk.runtime.components import Loaded, deployed, load
from obelisk.runtime.deployed import DeployedComponent
from obelisk.runtime.programs.copies import ProgramChanged, ProgramCopies
from obelisk.runtime.programs.document import ExecFile, read_document
from obelisk.runtime.programs.loading import load_kept
from obelisk.runtime.refusals import DeploymentRefused
from obelisk.wasm.component import ComponentLoader
from obelisk.wasm.source import ComponentError, Source, WitText, digest_of, is_wasm, read_source

_log: Final = logging.getLogger(__name__)
_EXEC: Final = ".exec"
_SOURCES: Final = (".wasm", ".wit", _EXEC)
_PROGRAMS: Final = "programs"
_CODE: Final = ".sources"
_SUFFIXES: Final = (*_SOURCES, ".json", _CODE)
SOURCE_BYTES_MAX: Final = 1 << 20
"""Of a source file that is copied; a longer one is left out, with a warning."""


class Settings(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the configuration said of a component when it was last active."""

    policy: ExecutionPolicy = ExecutionPolicy()
    memory_max_bytes: int | None = None
    name: str | None = None
    """By which it finds its sandbox, which is that of today."""


class SourceFile(msgspec.Struct, frozen=True):
    """A file of source code, as it was."""

    path: str
    text: str


_settings: Final = msgspec.json.Decoder(Settings)
_source_files: Final = msgspec.json.Decoder(dict[str, SourceFile])


class KeptComponents:
    """A folder with two files for each component, its source (`.wasm`, `.exec` for the document of an exec activity, or `.wit`
    for any form of WIT) and its settings, and a third when there is source code of it. `programs`: the copies of programs, in
    a folder within.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.programs: Final = ProgramCopies(directory / _PROGRAMS)

    def _stem(self, digest: Digest, kind: FunctionKind) -> str:
        return f"{kind}_{digest.replace(':', '_')}"

    def source(self, digest: Digest) -> Source | None:
        """The copy of a component's source, of any kind, or the WIT of an exec activity; None when there is none."""
        path = next(filter(None, (self._source(digest, kind) for kind in FunctionKind)), None)
        if path is None or path.suffix != _EXEC:
            return path
        return WitText(read_document(path.read_bytes()).declared.text)

    def _source(self, digest: Digest, kind: FunctionKind) -> Path | None:
        paths = (self._directory / f"{self._stem(digest, kind)}{suffix}" for suffix in _SOURCES)
        return next((path for path in paths if path.exists()), None)

    def keep(self, components: Iterable[DeployedComponent]) -> None:
        """Copies those that are not kept yet, durably: executions will refer to them. `DeploymentRefused` when a source is
        not any more what was loaded.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        written = False
        for component in components:
            stem = self._stem(component.digest, component.kind)
            if isinstance(component.source, ExecFile):
                self._keep_program(component, component.source)
            if self._source(component.digest, component.kind) is None:
                content, suffix = self._copied(component)
                _write_durably(self._directory / f"{stem}{suffix}", content)
                written = True
            settings = msgspec.json.encode(Settings(component.policy, component.memory_max_bytes, component.name))
            target = self._directory / f"{stem}.json"
            if not target.exists() or target.read_bytes() != settings:
                _write_durably(target, settings)
                written = True
            written |= self._keep_code(component)
        if written:
            _sync(self._directory)

    def _keep_code(self, component: DeployedComponent) -> bool:
        """Copies source code that is not kept yet. A file that was changed without its component stays as it was; whatever is
        not named any more goes.
        """
        target = self._directory / f"{self._stem(component.digest, component.kind)}{_CODE}"
        kept = self._code(target)
        code: dict[str, SourceFile] = {}
        for key, path in component.sources.items():
            before = kept.get(key)
            file = before if before is not None and before.path == str(path) else _source_file(component, path)
            if file is not None:
                code[key] = file
        if code == kept:
            return False
        _write_durably(target, msgspec.json.encode(code))
        return True

    def _code(self, path: Path) -> dict[str, SourceFile]:
        try:
            return _source_files.decode(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            _log.warning("%s cannot be read; source code is not shown: %s", path, error)
            return {}

    def source_text(self, digest: Digest, file: str) -> str | None:
        """The source code in `file`, a path in the debug information of a component; None when it is not kept, or when
        several keys stand for it.
        """
        for kind in FunctionKind:
            code = self._code(self._directory / f"{self._stem(digest, kind)}{_CODE}")
            if file in code:
                return code[file].text
            found = [each for key, each in code.items() if key.startswith(SUFFIX) and f"/{file}".endswith(key[3:])]
            if len(found) == 1:
                return found[0].text
        return None

    def load(self, loader: ComponentLoader, wanted: Iterable[Digest]) -> list[DeployedComponent]:
        """Loads kept components, with their settings. One that is missing or damaged is left out, with a warning: its
        executions are parked.
        """
        found: list[DeployedComponent] = []
        for digest in wanted:
            try:
                found.append(self._load(loader, digest))
            except ComponentError as error:
                _log.warning("a component that open executions refer to cannot be loaded: %s", error)
        return found

    def _load(self, loader: ComponentLoader, digest: Digest) -> DeployedComponent:
        for kind in FunctionKind:
            path = self._source(digest, kind)
            if path is not None:
                settings = self._settings(digest, kind)
                component: Loaded = (
                    load_kept(loader, path)
                    if path.suffix == _EXEC
                    else load(loader, kind, path, settings.memory_max_bytes)
                )
                if component.digest != digest:
                    raise ComponentError(path, "it is damaged: its digest is not the one in its name")
                return deployed(settings.name, kind, component, settings.policy, settings.memory_max_bytes)
        raise ComponentError(self._directory, f"there is no copy of {digest}")

    def _settings(self, digest: Digest, kind: FunctionKind) -> Settings:
        path = self._directory / f"{self._stem(digest, kind)}.json"
        try:
            return _settings.decode(path.read_bytes())
        except (OSError, msgspec.MsgspecError) as error:
            _log.warning("%s cannot be read; its component runs with the default settings: %s", path, error)
            return Settings()

    def forget_all_but(self, needed: frozenset[Digest]) -> None:
        """Deletes the copies that nothing refers to."""
        keep = {self._stem(digest, kind) for digest in needed for kind in FunctionKind}
        for path in self._directory.glob("*_sha256_*"):
            if path.stem not in keep or path.suffix not in _SUFFIXES:  # also half a file of a process that died
                path.unlink(missing_ok=True)
        documents = (read_document(path.read_bytes()) for path in self._directory.glob(f"*{_EXEC}"))
        self.programs.forget_all_but({document.program for document in documents})

    def _keep_program(self, component: DeployedComponent, source: ExecFile) -> None:
        """Copies a program, unless there is an undamaged copy."""
        with suppress(OSError, ProgramChanged):
            self.programs.checked(source.document.program)
            return
        if self.programs.keep(source.path) != source.document.program:
            raise _changed(component, source.path)

    def _copied(self, component: DeployedComponent) -> tuple[bytes, str]:
        """What is to be kept of a component's source, and the suffix of its file."""
        source = component.source
        if isinstance(source, ExecFile):
            return source.document.content, _EXEC
        content = read_source(source)
        if digest_of(content) != component.digest:
            assert not isinstance(source, WitText), "a text does not change"
            raise _changed(component, source)
        return content, ".wasm" if is_wasm(content) else ".wit"


def _source_file(component: DeployedComponent, path: Path) -> SourceFile | None:
    """The file as it is; None, with a warning, when it cannot be used."""
    try:
        if path.stat().st_size > SOURCE_BYTES_MAX:
            problem = f"it has more than {SOURCE_BYTES_MAX} bytes"
        else:
            return SourceFile(str(path), path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8"
    _log.warning("%s %s: backtrace.sources names %s, left out: %s", component.kind, component.name, path, problem)
    return None


def _changed(component: DeployedComponent, path: Path) -> DeploymentRefused:
    title = f"{component.kind} {component.name}: {path}"
    return DeploymentRefused([f"{title} was changed while the server read it: start again"])


def _write_durably(target: Path, content: bytes) -> None:
    """A temporary file first, then renamed, so that there is never half a file under the name."""
    draft = target.with_suffix(f".{os.getpid()}")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(target)


def _sync(directory: Path) -> None:
    """Makes the names in it durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
