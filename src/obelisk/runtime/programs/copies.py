"""Private copies of programs: what is run is the very bytes whose digest was looked at.

A program's file may be written while it is read, or exchanged after. So its bytes are copied into a folder that only the
server's user may enter, the digest is that of the copy, and the copy is what runs. Before each run it is made sure that the
copy is still the file that was written. Decides how a copy is made, checked and found; not whether it may be run.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from obelisk.core.ids import Digest

_PIECE: Final = 1 << 20
_Stamp = tuple[int, ...]


class ProgramChanged(Exception):
    """A program is not any more what its digest says."""


def digest_of_file(path: Path) -> Digest:
    """The digest of a file's bytes. `OSError`."""
    found = hashlib.sha256()
    for piece in _pieces(path):
        found.update(piece)
    return Digest(f"sha256:{found.hexdigest()}")


class ProgramCopies:
    """A folder with a copy of each program, named by its digest. From any thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._checked: dict[Digest, _Stamp] = {}
        self._seen: dict[Path, tuple[_Stamp, Digest]] = {}
        self._lock = threading.Lock()

    def path(self, digest: Digest) -> Path:
        """Where the copy of a program is, or would be."""
        return self._directory / digest.replace(":", "_")

    def keep(self, source: Path) -> Digest:
        """Copies a program, durably; its digest. `OSError`."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        draft = self._directory / f"new-{os.getpid()}-{threading.get_ident()}"
        found = hashlib.sha256()
        try:
            draft.unlink(missing_ok=True)
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o500), "wb") as file:
                for piece in _pieces(source):
                    found.update(piece)
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            digest = Digest(f"sha256:{found.hexdigest()}")
            draft.rename(self.path(digest))
        finally:
            draft.unlink(missing_ok=True)
        with self._lock:
            self._checked[digest] = _stamp(self.path(digest))
        return digest

    def seen(self, source: Path) -> Digest:
        """The digest of a program that may not have to be read again, since its file is as it was. `OSError`."""
        stamp = _stamp(source)
        known = self._seen.get(source)
        if known is None or known[0] != stamp:
            known = self._seen[source] = stamp, digest_of_file(source)
        return known[1]

    def checked(self, digest: Digest) -> Path:
        """The copy of a program, of which it is certain that it is that program. `ProgramChanged`, `OSError`."""
        path = self.path(digest)
        stamp = _stamp(path)
        with self._lock:
            if self._checked.get(digest) == stamp:
                return path
        if digest_of_file(path) != digest:
            raise ProgramChanged(f"the copy of the program {digest} at {path} was changed")
        with self._lock:
            self._checked[digest] = stamp
        return path

    def forget_all_but(self, needed: Collection[Digest]) -> None:
        """Deletes the copies that nothing refers to."""
        keep = {self.path(digest).name for digest in needed}
        if self._directory.is_dir():
            for each in self._directory.iterdir():
                if each.name not in keep:
                    each.unlink(missing_ok=True)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _stamp(path: Path) -> _Stamp:
    """What changes whenever the file does; its time of change cannot be set."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode
