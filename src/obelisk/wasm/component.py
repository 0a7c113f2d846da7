"""A component file becomes compiled code and a known WIT, or only the latter where nothing is to be run.

Decides how a file is read, checked, wrapped (core modules that carry their WIT become components), compiled or taken from
the cache, and which engine it runs on. Must not decide what a component may import: that is `link`.
"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass
from pathlib import Path

from obelisk.core.ids import Digest
from obelisk.wasm import capi, tools
from obelisk.wasm.binary import Layer, initial_memories, layer_of
from obelisk.wasm.cache import ComponentCache
from obelisk.wasm.engine import Compiler, Engines
from obelisk.wasm.source import ComponentError, Source, digest_of, is_wasm, read_file, read_source, wit_files
from obelisk.wit.component import ComponentWit, NoOneWorld, read_component_wit, read_package_wit
from obelisk.wit.document import UnreadableWit

__all__ = ["CompiledComponent", "ComponentError", "ComponentLoader", "LoadedComponent", "LoadedWit"]


class CompiledComponent:
    """wasmtime's handle of a compiled component; freed with the last reference."""

    __slots__ = ("address", "compiler")

    def __init__(self, compiler: Compiler, address: int) -> None:
        self.compiler = compiler
        self.address = address

    def __del__(self, delete: capi.Foreign = capi.component_delete) -> None:
        delete(self.address)  # bound here because modules are gone when the interpreter ends


@dataclass(frozen=True, slots=True)
class LoadedComponent:
    """A component that is ready to be linked. `digest`: of the file's bytes. `size`: of the file, in bytes."""

    path: Path
    digest: Digest
    wit: ComponentWit
    size: int
    compiled: CompiledComponent


@dataclass(frozen=True, slots=True)
class LoadedWit:
    """A component that is known by its WIT only. `digest`: of the source's bytes."""

    source: Source
    digest: Digest
    wit: ComponentWit


class ComponentLoader:
    """Loads components for one set of engines. Safe to use from several threads at once; compiling takes long and
    releases the GIL.
    """

    def __init__(self, engines: Engines, cache_directory: Path | None = None) -> None:
        self._engines = engines
        self._cache = ComponentCache(cache_directory)

    def load(self, path: Path, *, memory_max: int | None = None) -> LoadedComponent:
        """Reads, checks and compiles the file. `memory_max`: bytes of linear memory that its guests may use, if the
        operator said so; more than the pool offers puts it on demand. `ComponentError` when it cannot be used.
        """
        binary = read_file(path)
        digest = digest_of(binary)
        source = _source(path, binary)
        wit = self._wit(source, digest)
        placements = [self._engines.place(initial_memories(binary), len(binary), memory_max)]
        if placements[0] is not self._engines.on_demand:
            placements.append(self._engines.on_demand)
        for compiler in placements:
            try:
                compiled = self._compiled(source, digest, compiler)
                return LoadedComponent(path, digest, wit, len(binary), compiled)
            except _Refused as refusal:
                reason = str(refusal)
        raise ComponentError(path, f"it cannot be compiled: {reason}")

    def load_wit(self, source: Source) -> LoadedWit:
        """Reads and checks a source of which nothing is run: a component, a core module with its WIT, or WIT alone.
        `ComponentError` when it cannot be used.
        """
        content = read_source(source)
        digest = digest_of(content)
        if isinstance(source, Path) and is_wasm(content):
            return LoadedWit(source, digest, self._wit(_source(source, content), digest))
        try:
            package, text = tools.package_wit(wit_files(source, content))
            return LoadedWit(source, digest, read_package_wit(text, package))
        except tools.ToolFailed as failure:
            raise ComponentError(source, f"it is not valid WIT: {failure}") from failure
        except (NoOneWorld, UnreadableWit) as failure:
            raise ComponentError(source, str(failure)) from failure

    def _wit(self, source: _Source, digest: Digest) -> ComponentWit:
        kept = self._cache.wit(digest)
        if kept is not None:
            try:
                return read_component_wit(kept)
            except UnreadableWit:
                pass  # damaged: made again below
        try:
            text = tools.component_wit(source.component())
            wit = read_component_wit(text)
        except tools.ToolFailed as failure:
            raise ComponentError(source.path, f"it is not a valid component: {failure}") from failure
        except UnreadableWit as failure:
            raise ComponentError(source.path, f"its WIT cannot be read: {failure}") from failure
        self._cache.keep_wit(digest, text)
        return wit

    def _compiled(self, source: _Source, digest: Digest, compiler: Compiler) -> CompiledComponent:
        kept = self._cache.code(digest, compiler.key)
        if kept is not None:
            try:
                return _deserialized(compiler, kept)
            except _Refused:
                self._cache.drop_code(kept)
        compiled = _compiled(compiler, source.component())
        kept = self._cache.keep_code(digest, compiler.key, _serialized(compiled))
        # Mapped from the file, its pages are shared with the page cache and with other processes.
        return compiled if kept is None else _deserialized(compiler, kept)


class _Refused(Exception):
    """wasmtime did not want a component; the text is its reason."""


class _Source:
    """The bytes of a component file; a core module is wrapped when its component is first asked for."""

    def __init__(self, path: Path, binary: bytes, layer: Layer) -> None:
        self.path = path
        self._component = binary if layer is Layer.COMPONENT else None
        self._module = binary

    def component(self) -> bytes:
        if self._component is None:
            try:
                self._component = tools.wrap_module(self._module)
            except tools.ToolFailed as failure:
                raise ComponentError(
                    self.path, f"it is a core module that cannot be made a component: {failure}"
                ) from failure
        return self._component


def _source(path: Path, binary: bytes) -> _Source:
    layer = layer_of(binary)
    if layer is None:
        raise ComponentError(path, "it is not a WASM binary")
    return _Source(path, binary, layer)


def _compiled(compiler: Compiler, component: bytes) -> CompiledComponent:
    out = ctypes.c_void_p()
    error = capi.component_new(compiler.native_address, component, len(component), ctypes.addressof(out))
    return _checked(compiler, error, out)


def _deserialized(compiler: Compiler, path: Path) -> CompiledComponent:
    out = ctypes.c_void_p()
    error = capi.component_deserialize_file(compiler.native_address, str(path).encode(), ctypes.addressof(out))
    return _checked(compiler, error, out)


def _checked(compiler: Compiler, error: int | None, out: ctypes.c_void_p) -> CompiledComponent:
    if error:
        raise _Refused(" ".join(capi.take_error(error).split()))
    assert out.value is not None
    return CompiledComponent(compiler, out.value)


def _serialized(component: CompiledComponent) -> bytes:
    out = ctypes.create_string_buffer(capi.VEC_SIZE)
    error = capi.component_serialize(component.address, ctypes.addressof(out))
    if error:
        raise _Refused(capi.take_error(error))
    size, data = struct.unpack("QQ", out.raw)
    code = capi.MEMORY[data : data + size].tobytes()
    capi.bytes_delete(ctypes.addressof(out))
    return code
