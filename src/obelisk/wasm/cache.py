"""What loading a component costs most, kept on disk: its compiled code and its WIT (as JSON, and as text once somebody asked for that).

Decides the names of the files and what is trusted. Compiled code is machine code that will run in this process: its name
carries a hash of its content, and a file that does not match is thrown away. A file is never changed once it has its
name, because others may have it mapped: content is written to a temporary file, then renamed. A cache that cannot be
written is no error: everything in it can be made again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path

from obelisk.core.ids import Digest

_log = logging.getLogger(__name__)


class ComponentCache:
    """A folder of derived files. Any number of processes may share it. `directory` None keeps nothing."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def code(self, digest: Digest, key: str) -> Path | None:
        """The file with the code of `digest` compiled under `key`, checked."""
        if self._directory is None:
            return None
        prefix = f"{_stem(digest)}-{key}-"
        for path in sorted(self._directory.glob(f"{prefix}*.cwasm")):
            try:
                content = path.read_bytes()
            except OSError:
                continue
            if path.name == f"{prefix}{_check(content)}.cwasm":
                return path
            _log.warning("%s is damaged; it is made again", path)
            path.unlink(missing_ok=True)
        return None

    def keep_code(self, digest: Digest, key: str, code: bytes) -> Path | None:
        """Keeps compiled code; gives its file, or None when it cannot be kept."""
        return self._write(f"{_stem(digest)}-{key}-{_check(code)}.cwasm", code)

    def drop_code(self, path: Path) -> None:
        """Forgets a file that wasmtime does not want."""
        path.unlink(missing_ok=True)

    def wit(self, digest: Digest) -> bytes | None:
        """The WIT of `digest` as JSON."""
        if self._directory is None:
            return None
        try:
            return (self._directory / f"{_stem(digest)}.wit.json").read_bytes()
        except OSError:
            return None

    def keep_wit(self, digest: Digest, wit: bytes) -> None:
        """Keeps a WIT."""
        self._write(f"{_stem(digest)}.wit.json", wit)

    def wit_text(self, digest: Digest) -> str | None:
        """The WIT of `digest` as text."""
        if self._directory is None:
            return None
        try:
            return (self._directory / f"{_stem(digest)}.wit").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None

    def keep_wit_text(self, digest: Digest, text: str) -> None:
        """Keeps a WIT as text."""
        self._write(f"{_stem(digest)}.wit", text.encode())

    def _write(self, name: str, content: bytes) -> Path | None:
        if self._directory is None:
            return None
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=f".{name[:40]}", suffix=".tmp", dir=self._directory)
            try:
                with open(handle, "wb") as file:
                    file.write(content)
                target = self._directory / name
                os.replace(temporary, target)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError as error:
            _log.warning("%s cannot be kept in the component cache: %s", name, error)
            return None
        return target


def _stem(digest: Digest) -> str:
    return digest.replace(":", "_")


def _check(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
