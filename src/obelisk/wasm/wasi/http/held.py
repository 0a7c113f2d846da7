"""What the host keeps in memory for one run, which the limit of the guest's own memory does not count.

Decides when it is too much. The guest traps then: a call that makes headers has no error that would say so.
"""

from __future__ import annotations

import threading

from obelisk.wasm.wasi.host import GuestTrap
from obelisk.wasm.wasi.http.limits import FIELDS_OF_A_RUN_BYTES_MAX


class Held:
    """Bytes of all `fields` of a run. For any thread."""

    def __init__(self) -> None:
        self.size = 0
        self._lock = threading.RLock()  # a collection of garbage gives back, wherever it happens

    def take(self, size: int) -> None:
        """So many bytes more. `GuestTrap`; then they must not be kept."""
        with self._lock:
            if self.size + size > FIELDS_OF_A_RUN_BYTES_MAX:
                raise GuestTrap(
                    f"all headers that the guest holds together have more than {FIELDS_OF_A_RUN_BYTES_MAX} bytes"
                )
            self.size += size

    def give_back(self, size: int) -> None:
        """So many bytes less."""
        with self._lock:
            self.size -= size
