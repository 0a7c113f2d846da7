"""The system's resolver, in threads of its own.

Decides how many names are looked up at once in the process. The resolver cannot be stopped: a name whose servers do not
answer keeps its thread for as long as the system cares to wait. So these threads are not those of the loop, which Python
waits for when the process ends, and there are more of them.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from concurrent.futures import Future
from typing import Final

THREADS_MAX: Final = 64
"""Names that are looked up at once; further ones wait."""


class Lookups:
    """For any thread."""

    def __init__(self) -> None:
        self._asked: deque[tuple[str, Future[tuple[str, ...]]]] = deque()
        self._threads = 0
        self._lock = threading.Lock()

    def ask(self, name: str) -> Future[tuple[str, ...]]:
        """The addresses of a name, each once, in the system's order. Ends in `OSError`, or in `UnicodeError` for what can be
        no name. One that is cancelled before its turn is not looked up.
        """
        future: Future[tuple[str, ...]] = Future()
        with self._lock:
            self._asked.append((name, future))
            if self._threads < THREADS_MAX:
                threading.Thread(target=self._run, name="obelisk-lookup", daemon=True).start()
                self._threads += 1
        return future

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._asked:
                    self._threads -= 1
                    return
                name, future = self._asked.popleft()
            if future.set_running_or_notify_cancel():
                _look_up(name, future)


def _look_up(name: str, future: Future[tuple[str, ...]]) -> None:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except Exception as error:  # noqa: BLE001 - whatever it is, whoever asked is told
        future.set_exception(error)
    else:
        future.set_result(tuple(dict.fromkeys(str(address[0]) for *_, address in found)))


PROCESS: Final = Lookups()
