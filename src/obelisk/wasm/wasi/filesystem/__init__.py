"""wasi:filesystem 0.2: the files that a run may touch, and nothing else of the machine.

`paths` keeps a path inside its directory; `files` and `quota` hold the limits; `descriptors` and `streams` are the functions.
A run without directories can call all of it, and has nothing to call it with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from obelisk.wasm.wasi.filesystem.descriptors import METHODS, preopens
from obelisk.wasm.wasi.filesystem.errors import ErrorCode, Refused, refusal
from obelisk.wasm.wasi.filesystem.files import Files, Preopen
from obelisk.wasm.wasi.filesystem.streams import Listing
from obelisk.wasm.wasi.host import Answer, WasiFunction
from obelisk.wasm.wasi.io import IoError

__all__ = ["FUNCTIONS", "ErrorCode", "Files", "Preopen"]


def _get_directories(host: Any) -> Answer:
    return preopens(getattr(host, "files", None))


def _read_directory_entry(host: Any, listing: Listing) -> Answer:
    try:
        return True, listing.next_entry()
    except OSError as error:
        refused = refusal(error)
    except Refused as caught:
        refused = caught
    listing.tell(refused)
    return False, int(refused.code)


def _error_code(host: Any, error: IoError) -> Answer:
    return (int(error.cause),) if isinstance(error.cause, ErrorCode) else None


FUNCTIONS: Final[Mapping[str, Mapping[str, WasiFunction]]] = {
    "wasi:filesystem/preopens": {"get-directories": _get_directories},
    "wasi:filesystem/types": {
        **{f"[method]descriptor.{name}": function for name, function in METHODS.items()},
        "[method]directory-entry-stream.read-directory-entry": _read_directory_entry,
        "filesystem-error-code": _error_code,
    },
}
