"""What the bytes of a WASM file say without compiling them: component or core module, and how much memory it starts with.

Decides nothing else: whether the file is valid is for wasm-tools and wasmtime to say, so damaged bytes are no error here.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final

_MAGIC: Final = b"\0asm"
_PAGE: Final = 64 << 10
_MEMORY_SECTION: Final = 5
_CORE_MODULE_SECTION: Final = 1
_COMPONENT_SECTION: Final = 4


class Layer(Enum):
    """The two kinds of WASM binaries."""

    MODULE = b"\x01\x00\x00\x00"
    COMPONENT = b"\x0d\x00\x01\x00"


def layer_of(binary: bytes | memoryview) -> Layer | None:
    """Which kind of binary this is; None when it is no WASM at all, or of an unknown version."""
    if bytes(binary[:4]) != _MAGIC:
        return None
    version = bytes(binary[4:8])
    return next((layer for layer in Layer if layer.value == version), None)


def initial_memories(binary: bytes | memoryview) -> tuple[int, ...]:
    """The initial size in bytes of each linear memory that the core modules in `binary` define. Reads as far as it
    understands.
    """
    try:
        return tuple(_memories(memoryview(binary)))
    except IndexError:
        return ()


def _memories(binary: memoryview) -> Iterator[int]:
    layer = layer_of(binary)
    for section, body in _sections(binary):
        if layer is Layer.MODULE:
            if section == _MEMORY_SECTION:
                yield from _memory_sizes(body)
        elif section in (_CORE_MODULE_SECTION, _COMPONENT_SECTION):
            yield from _memories(body)


def _sections(binary: memoryview) -> Iterator[tuple[int, memoryview]]:
    at = 8
    while at < len(binary):
        section = binary[at]
        size, at = _leb128(binary, at + 1)
        yield section, binary[at : at + size]
        at += size


def _memory_sizes(body: memoryview) -> Iterator[int]:
    count, at = _leb128(body, 0)
    for _ in range(count):
        flags = body[at]
        pages, at = _leb128(body, at + 1)
        if flags & 1:
            _, at = _leb128(body, at)
        page = _PAGE
        if flags & 8:  # custom page size
            log2, at = _leb128(body, at)
            page = 1 << log2
        yield pages * page


def _leb128(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
