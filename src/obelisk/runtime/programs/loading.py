"""Reading what the configuration says of an exec activity, and its program.

Decides what a program's file must be. Copies nothing: that is done once everything is found to be sound.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from obelisk.config.settings import ComponentConfig
from obelisk.core.ids import Digest
from obelisk.runtime.programs.copies import digest_of_file
from obelisk.runtime.programs.document import ExecDocument, ExecFile, read_document
from obelisk.wasm.component import ComponentLoader
from obelisk.wasm.source import ComponentError, WitText
from obelisk.wit.component import ComponentWit
from obelisk.wit.declared import Declared

_BEGINNINGS: Final = (b"#!", b"\x7fELF")


class LoadedProgram(msgspec.Struct, frozen=True):
    """An exec activity that is ready to be deployed. `digest`: of its document."""

    file: ExecFile
    digest: Digest
    wit: ComponentWit


def read_program(config: ComponentConfig) -> ExecDocument:
    """The exec activity that a component's configuration describes. `ComponentError`."""
    program, declared = config.program, config.source
    assert program is not None
    assert isinstance(declared, Declared)
    path = program.path
    try:
        digest = digest_of_file(path)
        with path.open("rb") as file:
            beginning = file.read(4)
    except OSError as error:
        raise ComponentError(path, f"it cannot be read: {error.strerror}") from None
    if not beginning.startswith(_BEGINNINGS):
        raise ComponentError(
            path, "it is no program: expected a script that begins with #! and its interpreter, or an ELF binary"
        )
    if config.content_digest is not None and config.content_digest != digest:
        raise ComponentError(path, f"its digest is {digest}, but content_digest says {config.content_digest}")
    return ExecDocument(
        ffqn=declared.ffqn,
        params=declared.params,
        return_type=declared.return_type,
        program=digest,
        file=path.name,
        params_via_stdin=program.params_via_stdin,
        max_output_bytes=program.max_output_bytes,
    )


def load_kept(loader: ComponentLoader, path: Path) -> LoadedProgram:
    """An exec activity from its document. `ComponentError`."""
    try:
        document = read_document(path.read_bytes())
    except (OSError, msgspec.MsgspecError) as error:
        raise ComponentError(path, f"it cannot be read: {error}") from None
    wit = loader.load_wit(WitText(document.declared.text)).wit
    return LoadedProgram(ExecFile(document, path), document.digest, wit)
