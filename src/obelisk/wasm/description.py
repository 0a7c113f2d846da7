"""What a component, or a source of WIT alone, says of itself: read without compiling anything.

Decides which forms a source may have, and which of them wasm-tools is asked about. Its answers are kept by digest. Must not
decide what a component may import or export.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from obelisk.core.ids import Digest
from obelisk.wasm import tools
from obelisk.wasm.binary import Layer, custom_sections, layer_of, with_custom_section
from obelisk.wasm.cache import ComponentCache
from obelisk.wasm.source import ComponentError, Source, digest_of, is_wasm, read_source, wit_files
from obelisk.wit.annotations import (
    SECTION,
    Annotations,
    InvalidAnnotations,
    annotated,
    annotated_text,
    annotations_for,
)
from obelisk.wit.annotations import decode as decode_annotations
from obelisk.wit.annotations import encode as encode_annotations
from obelisk.wit.component import ComponentWit, NoOneWorld, read_component_wit, read_package_wit
from obelisk.wit.document import UnreadableWit, read_document


@dataclass(frozen=True, slots=True)
class LoadedWit:
    """A component that is known by its WIT only. `digest`: of the source's bytes. `document`: the WIT as wasm-tools' JSON, with
    the annotations of a component as comments.
    """

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
        self._binary = binary

    def component(self) -> bytes:
        """The component. `ComponentError` when it cannot be made."""
        if self._component is None:
            try:
                self._component = tools.wrap_module(self._binary)
            except tools.ToolFailed as failure:
                raise ComponentError(
                    self.path, f"it is a core module that cannot be made a component: {failure}"
                ) from failure
        return self._component

    def annotations(self) -> Annotations:
        """What the file says of its types. `ComponentError`."""
        contents = custom_sections(self._binary, SECTION)
        try:
            if len(contents) > 1:
                raise InvalidAnnotations(f"there are {len(contents)} of them")
            return decode_annotations(contents[0]) if contents else Annotations({})
        except InvalidAnnotations as failure:
            raise _invalid_annotations(self.path, failure) from None


def annotate(component: bytes, described: LoadedWit, source: LoadedWit) -> bytes:
    """A valid component with the annotations of the WIT that it was made of, in place of those that it had; `described`: what it
    says of itself. Where there are none it stays as it is.
    """
    said = annotations_for(read_document(described.document), read_document(source.document))
    return with_custom_section(component, SECTION, encode_annotations(said) if said else None)


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
        said = file.annotations()
        kept = self._cache.wit(file.digest)
        if kept is not None:
            try:
                return _loaded(file, kept, said)
            except UnreadableWit:
                pass  # damaged: made again below
        try:
            document = tools.component_wit(file.component())
            loaded = _loaded(file, document, said)
        except tools.ToolFailed as failure:
            raise ComponentError(file.path, f"it is not a valid component: {failure}") from failure
        except UnreadableWit as failure:
            raise ComponentError(file.path, f"its WIT cannot be read: {failure}") from failure
        self._cache.keep_wit(file.digest, document)
        return loaded

    def text(self, source: Source) -> str:
        """The WIT of any source as text, faithfully: with names, `use`s and comments. `ComponentError`."""
        content = read_source(source)
        file = WasmFile(source, content) if isinstance(source, Path) and is_wasm(content) else None
        digest = digest_of(content)
        text = self._cache.wit_text(digest)
        if text is None:
            try:
                if file is not None:
                    text = tools.component_text(file.component())
                else:
                    text = tools.package_text(wit_files(source, content))
            except tools.ToolFailed as failure:
                raise _invalid_wit(source, failure) from failure
            self._cache.keep_wit_text(digest, text)
        return text if file is None else annotated_text(text, file.annotations())


def _loaded(file: WasmFile, document: bytes, said: Annotations) -> LoadedWit:
    """What a file says of itself. `UnreadableWit`, `ComponentError`."""
    try:
        commented = annotated(document, said) if said else document
    except InvalidAnnotations as failure:
        raise _invalid_annotations(file.path, failure) from None
    return LoadedWit(file.path, file.digest, read_component_wit(commented), commented)


def _invalid_annotations(path: Path, failure: InvalidAnnotations) -> ComponentError:
    return ComponentError(path, f"its section {SECTION} cannot be used: {failure}")


def _invalid_wit(source: Source, failure: tools.ToolFailed) -> ComponentError:
    return ComponentError(source, f"it is not valid WIT: {failure}")
