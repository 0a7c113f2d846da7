"""Room for guests among the descriptors of the process: what they have open, files and sockets alike, leaves the rest."""

from __future__ import annotations

import resource
import threading
from typing import Final

_SHARE: Final = 2
"""Guests may have this part of the descriptors of the process: one half."""


class NoRoom(Exception):
    """Guests have as much open as they may; the message is for the log of the execution."""


class Room:
    """How many descriptors all guests of the process may have open together. For any thread."""

    def __init__(self, count_max: int | None) -> None:
        """None: the guests' part of what the process may have open at the moment."""
        self._count_max = count_max
        self.count = 0
        self._lock = threading.Lock()

    @property
    def count_max(self) -> int:
        """How many there may be."""
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _SHARE if self._count_max is None else self._count_max

    def take(self) -> None:
        """One more. `NoRoom`."""
        with self._lock:
            if self.count >= self.count_max:
                raise NoRoom(
                    f"all activities of the server together may have {self.count_max} files and sockets open"
                    " (half of its limit of open files, ulimit -n)"
                )
            self.count += 1

    def give_back(self) -> None:
        """One less."""
        with self._lock:
            self.count -= 1


PROCESS: Final = Room(None)
