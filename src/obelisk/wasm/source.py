"""Where a component comes from, as bytes with a digest: a file, a folder of WIT, or a text of WIT.

Decides what of a folder belongs to it and how it becomes bytes, so that a copy of any source is one file. Must not decide
what the bytes mean: `component` reads them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from obelisk.core.ids import Digest

_FILES: Final = ("*.wit", "deps/*.wit", "deps/*/*.wit")
"""What wasm-tools reads of a folder, binary packages left out."""
_NAME: Final = re.compile(r"(?:deps/(?:[^/]+/)?)?[^/]+\.wit")
_FOLDER: Final = msgspec.json.Decoder(dict[str, str])
WIT_FILE: Final = "root.wit"
"""What a text is called in messages about it."""


class ComponentError(ValueError):
    """A component's source cannot be used. The operator's to fix; `source` and `reason` say what."""

    def __init__(self, source: Source, reason: str) -> None:
        super().__init__(f"{source}: {reason}" if isinstance(source, Path) else reason)
        self.source = source
        self.reason = reason


@dataclass(frozen=True, slots=True)
class WitText:
    """WIT that is in no file."""

    text: str


Source = Path | WitText
"""The path of a file or folder, or a text."""


def read_source(source: Source) -> bytes:
    """The bytes of a source. `ComponentError` when they cannot be read."""
    if isinstance(source, WitText):
        return source.text.encode()
    return _read_folder(source) if source.is_dir() else read_file(source)


def read_file(path: Path) -> bytes:
    """The bytes of a file. `ComponentError` when they cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ComponentError(path, "no such file") from None
    except OSError as error:
        raise ComponentError(path, f"it cannot be read: {error.strerror}") from None


def digest_of(content: bytes) -> Digest:
    """The digest of a source's bytes."""
    return Digest(f"sha256:{hashlib.sha256(content).hexdigest()}")


def is_wasm(content: bytes) -> bool:
    """Whether the bytes are those of a component or core module; otherwise they are WIT."""
    return content.startswith(b"\0asm")


def wit_files(source: Source, content: bytes) -> Mapping[str, str]:
    """The files of WIT in the bytes of a source, by their paths. `ComponentError` when they are not UTF-8."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ComponentError(source, "it is neither WASM nor WIT") from None
    with suppress(msgspec.MsgspecError):
        files = _FOLDER.decode(content)
        if all(_NAME.fullmatch(name) and ".." not in name.split("/") for name in files):
            return files
    return {f"{source.stem}.wit" if isinstance(source, Path) else WIT_FILE: text}


def _read_folder(path: Path) -> bytes:
    """The files of a folder as JSON, which no WIT is."""
    found = {}
    for file in (file for pattern in _FILES for file in path.glob(pattern)):
        try:
            found[file.relative_to(path).as_posix()] = read_file(file).decode()
        except UnicodeDecodeError:
            raise ComponentError(file, "it is not UTF-8") from None
    if all("/" in name for name in found):
        raise ComponentError(path, "there is no .wit file in this folder")
    return msgspec.json.encode(found, order="sorted")
