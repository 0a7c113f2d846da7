"""What a component, or a source of WIT alone, says of itself: read without compiling anything.

Decides which forms a source may have, and which of them wasm-tools is asked about. Its answers are kept by digest. Must not
decide what a component may import or export.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from obelisk.core.ids import Digest
from obelisk.wasm import tools
from obelisk.wasm.binary import Layer, layer_of
from obelisk.wasm.cache import ComponentCache
from obelisk.wasm.source import ComponentError, Source, digest_of, is_wasm, read_source, wit_files
from obelisk.wit.component import ComponentWit, NoOneWorld, read_component_wit, read_package_wit
from obelisk.wit.document import UnreadableWit


@dataclass(frozen=True, slots=True)
class LoadedWit:
    """A component that is known by its WIT only. `digest`: of the source's bytes. `document`: the WIT as wasm-tools' JSON."""

    source: Source
    digest: Digest
    wit: ComponentWit
    document: bytes


class WasmFile:
    """The bytes of a component file; a core module that carries its WIT is wrapped when its component is first asked for."""

    def __init__(self, path: Path, binary: bytes) -> None:
        """`ComponentError` when it is neither."""
        layer = layer_of(binary)
        if layer is None:
            raise ComponentError(path, "it is not a WASM binary")
        self.path = path
        self.digest = digest_of(binary)
        self._component = binary if layer is Layer.COMPONENT else None
        self._module = binary

    def component(self) -> bytes:
        """The component. `ComponentError` when it cannot be made."""
        if self._component is None:
            try:
                self._component = tools.wrap_module(self._module)
            except tools.ToolFailed as failure:
                raise ComponentError(
                    self.path, f"it is a core module that cannot be made a component: {failure}"
                ) from failure
        return self._component


class Descriptions:
    """Reads what sources say of themselves. Safe to use from several threads at once."""

    def __init__(self, cache: ComponentCache) -> None:
        self._cache = cache

    def read(self, source: Source, world: str | None = None) -> LoadedWit:
        """Any source: a component, a core module with its WIT, or WIT alone (`world`: which one of its package's).
        `ComponentError`.
        """
        content = read_source(source)
        if isinstance(source, Path) and is_wasm(content):
            return self.of_file(WasmFile(source, content))
        try:
            package, text = tools.package_wit(wit_files(source, content))
            return LoadedWit(source, digest_of(content), read_package_wit(text, package, world), text)
        except tools.ToolFailed as failure:
            raise _invalid_wit(source, failure) from failure
        except (NoOneWorld, UnreadableWit) as failure:
            raise ComponentError(source, str(failure)) from failure

    def of_file(self, file: WasmFile) -> LoadedWit:
        """A component, or a core module with its WIT. `ComponentError`."""
        kept = self._cache.wit(file.digest)
        if kept is not None:
            try:
                return LoadedWit(file.path, file.digest, read_component_wit(kept), kept)
            except UnreadableWit:
                pass  # damaged: made again below
        try:
            document = tools.component_wit(file.component())
            wit = read_component_wit(document)
        except tools.ToolFailed as failure:
            raise ComponentError(file.path, f"it is not a valid component: {failure}") from failure
        except UnreadableWit as failure:
            raise ComponentError(file.path, f"its WIT cannot be read: {failure}") from failure
        self._cache.keep_wit(file.digest, document)
        return LoadedWit(file.path, file.digest, wit, document)

    def text(self, source: Source) -> str:
        """The WIT of any source as text, faithfully: with names, `use`s and comments. `ComponentError`."""
        content = read_source(source)
        digest = digest_of(content)
        kept = self._cache.wit_text(digest)
        if kept is not None:
            return kept
        try:
            if isinstance(source, Path) and is_wasm(content):
                text = tools.component_text(WasmFile(source, content).component())
            else:
                text = tools.package_text(wit_files(source, content))
        except tools.ToolFailed as failure:
            raise _invalid_wit(source, failure) from failure
        self._cache.keep_wit_text(digest, text)
        return text


def _invalid_wit(source: Source, failure: tools.ToolFailed) -> ComponentError:
    return ComponentError(source, f"it is not valid WIT: {failure}")
