"""What the bytes of a WASM file say without compiling them: component or core module, how much memory it starts with, and what
its custom sections hold. Those are written here too.

Decides nothing else: whether the file is valid is for wasm-tools and wasmtime to say, so damaged bytes are no error here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from typing import Final

_MAGIC: Final = b"\0asm"
_PAGE: Final = 64 << 10
_CUSTOM_SECTION: Final = 0
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


def custom_sections(binary: bytes, name: str) -> list[bytes]:
    """The contents of the custom sections of that name, not of those in what is nested. Reads as far as it understands."""
    found: list[bytes] = []
    with suppress(IndexError):
        for section, body, place in _sections(memoryview(binary)):
            if place.stop > len(binary):
                break
            content = _content(section, body, name.encode())
            if content is not None:
                found.append(content)
    return found


def with_custom_section(binary: bytes, name: str, content: bytes | None) -> bytes:
    """A valid binary with one custom section of that name, at its end, in place of those that there were; None: with none. All
    other bytes stay as they are.
    """
    called = name.encode()
    made = bytearray(binary)
    for section, body, place in reversed(list(_sections(memoryview(binary)))):
        if _content(section, body, called) is not None:
            del made[place]
    if content is not None:
        written = _written_leb128(len(called)) + called + content
        made += bytes((_CUSTOM_SECTION,)) + _written_leb128(len(written)) + written
    return bytes(made)


def _content(section: int, body: memoryview, name: bytes) -> bytes | None:
    """The content of a section, if it is a custom one of that name."""
    if section != _CUSTOM_SECTION:
        return None
    size, at = _leb128(body, 0)
    return bytes(body[at + size :]) if body[at : at + size] == name else None


def _memories(binary: memoryview) -> Iterator[int]:
    layer = layer_of(binary)
    for section, body, _ in _sections(binary):
        if layer is Layer.MODULE:
            if section == _MEMORY_SECTION:
                yield from _memory_sizes(body)
        elif section in (_CORE_MODULE_SECTION, _COMPONENT_SECTION):
            yield from _memories(body)


def _sections(binary: memoryview) -> Iterator[tuple[int, memoryview, slice]]:
    """The sections, each with the place of all of it."""
    at = 8
    while at < len(binary):
        begin = at
        section = binary[at]
        size, at = _leb128(binary, at + 1)
        yield section, binary[at : at + size], slice(begin, at + size)
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


def _written_leb128(value: int) -> bytes:
    made = bytearray()
    while True:
        value, byte = value >> 7, value & 0x7F
        made.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(made)
