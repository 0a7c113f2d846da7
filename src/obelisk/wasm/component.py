"""A component file becomes compiled code and a known WIT, or only the latter where nothing is to be run.

Decides how a file is compiled or taken from the cache, and which engine it runs on. What it says of itself is
`description`'s; what a component may import, `link` decides.
"""

from __future__ import annotations

import ctypes
import os
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from obelisk.core.ids import Digest
from obelisk.wasm import capi
from obelisk.wasm.binary import initial_memories
from obelisk.wasm.cache import ComponentCache
from obelisk.wasm.description import Descriptions, LoadedWit, WasmFile
from obelisk.wasm.engine import Compiler, Engines
from obelisk.wasm.source import ComponentError, Source, read_file
from obelisk.wit.component import ComponentWit

__all__ = ["CompiledComponent", "ComponentError", "ComponentLoader", "LoadedComponent", "LoadedWit"]

TRIMMED_FROM: Final = 1 << 20
"""Bytes of a component. What compiling a larger one took is given back to the system; glibc would keep it for good: 260 MB
after a component of Python.
"""


class CompiledComponent:
    """wasmtime's handle of a compiled component; freed with the last reference."""

    __slots__ = ("address", "code", "compiler")

    def __init__(self, compiler: Compiler, address: int, code: Path | None = None) -> None:
        self.compiler = compiler
        self.address = address
        self.code = code
        """The file that it is mapped from, and the memories of its guests with it."""

    def apart(self) -> CompiledComponent:
        """The same, mapped from a file of its own, which is gone from its folder: so the memories of its guests can be told from
        all others of the process. `OSError` when there is no room for the file.
        """
        with tempfile.TemporaryDirectory(
            prefix=".apart-", dir=None if self.code is None else self.code.parent
        ) as folder:
            file = Path(folder).resolve() / "code"
            try:
                if self.code is None:
                    raise FileNotFoundError
                os.link(self.code, file)
            except OSError:  # nor has every file system links
                file.write_bytes(_serialized(self))
            return _deserialized(self.compiler, file)

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


class ComponentLoader:
    """Loads components for one set of engines. Safe to use from several threads at once; compiling takes long and
    releases the GIL.
    """

    def __init__(self, engines: Engines, cache_directory: Path | None = None) -> None:
        self._engines = engines
        self._cache = ComponentCache(cache_directory)
        self.descriptions = Descriptions(self._cache)

    def load(self, path: Path, *, memory_max: int | None = None) -> LoadedComponent:
        """Reads, checks and compiles the file. `memory_max`: bytes of linear memory that its guests may use, if the
        operator said so; more than the pool offers puts it on demand. `ComponentError` when it cannot be used.
        """
        binary = read_file(path)
        file = WasmFile(path, binary)
        wit = self.descriptions.of_file(file).wit
        placements = [self._engines.place(initial_memories(binary), len(binary), memory_max)]
        if placements[0] is not self._engines.on_demand:
            placements.append(self._engines.on_demand)
        for compiler in placements:
            try:
                compiled = self._compiled(file, compiler)
                return LoadedComponent(path, file.digest, wit, len(binary), compiled)
            except _Refused as refusal:
                reason = str(refusal)
        raise ComponentError(path, f"it cannot be compiled: {reason}")

    def load_wit(self, source: Source) -> LoadedWit:
        """Reads and checks a source of which nothing is run: a component, a core module with its WIT, or WIT alone.
        `ComponentError` when it cannot be used.
        """
        return self.descriptions.read(source)

    def _compiled(self, file: WasmFile, compiler: Compiler) -> CompiledComponent:
        kept = self._cache.code(file.digest, compiler.key)
        if kept is not None:
            try:
                return _deserialized(compiler, kept)
            except _Refused:
                self._cache.drop_code(kept)
        component = file.component()
        compiled = _compiled(compiler, component)
        kept = self._cache.keep_code(file.digest, compiler.key, _serialized(compiled))
        if kept is not None:
            # Mapped from the file, its pages are shared with the page cache and with other processes.
            compiled = _deserialized(compiler, kept)
        if len(component) > TRIMMED_FROM:
            capi.trim_memory()
        return compiled


class _Refused(Exception):
    """wasmtime did not want a component; the text is its reason."""


def _compiled(compiler: Compiler, component: bytes) -> CompiledComponent:
    out = ctypes.c_void_p()
    error = capi.component_new(compiler.native_address, component, len(component), ctypes.addressof(out))
    return _checked(compiler, error, out)


def _deserialized(compiler: Compiler, path: Path) -> CompiledComponent:
    out = ctypes.c_void_p()
    error = capi.component_deserialize_file(compiler.native_address, str(path).encode(), ctypes.addressof(out))
    return _checked(compiler, error, out, path)


def _checked(
    compiler: Compiler, error: int | None, out: ctypes.c_void_p, code: Path | None = None
) -> CompiledComponent:
    if error:
        raise _Refused(" ".join(capi.take_error(error).split()))
    assert out.value is not None
    return CompiledComponent(compiler, out.value, code)


def _serialized(component: CompiledComponent) -> bytes:
    out = ctypes.create_string_buffer(capi.VEC_SIZE)
    error = capi.component_serialize(component.address, ctypes.addressof(out))
    if error:
        raise _Refused(capi.take_error(error))
    size, data = struct.unpack("QQ", out.raw)
    code = capi.MEMORY[data : data + size].tobytes()
    capi.bytes_delete(ctypes.addressof(out))
    return code
