"""What an exec activity is, as a component: a function, the digest of the program that carries it out, and how it is called.

Decides what the component's digest covers, which is all of that: an execution goes on with the program and the call that it
began with. Runs nothing.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec

from obelisk.core.ids import Digest
from obelisk.core.names import FunctionName
from obelisk.wit.declared import Declared
from obelisk.wit.executable import Executable


class ExecDocument(msgspec.Struct, frozen=True):
    """An exec activity. `program`: the digest of its bytes; `file`: what its file was called."""

    ffqn: FunctionName
    params: tuple[tuple[str, str], ...]
    return_type: str
    program: Digest
    file: str
    params_via_stdin: bool
    max_output_bytes: int

    @property
    def declared(self) -> Declared:
        """Its function."""
        return Declared(self.ffqn, self.params, self.return_type)

    @property
    def content(self) -> bytes:
        """The bytes of the component."""
        return msgspec.json.encode(self, order="deterministic")

    @property
    def digest(self) -> Digest:
        """The component's digest: of `content`."""
        return Digest(f"sha256:{hashlib.sha256(self.content).hexdigest()}")


read_document: Final = msgspec.json.Decoder(ExecDocument).decode
"""A document from its bytes. `msgspec.MsgspecError`."""


class ExecFile(msgspec.Struct, frozen=True):
    """Where an exec activity comes from: its document, and the file that its program was read from."""

    document: ExecDocument
    path: Path


class ExecEntry(msgspec.Struct, frozen=True):
    """An exec activity's function, and what carries it out."""

    function: Executable
    document: ExecDocument
