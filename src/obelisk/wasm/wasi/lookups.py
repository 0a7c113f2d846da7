"""The system's resolver, in threads of its own.

Decides how many names are looked up at once in the process. The resolver cannot be stopped: a name whose servers do not
answer keeps its thread for as long as the system cares to wait. So these threads are not those of the loop, which Python
waits for when the process ends, and there are more of them. A name is looked up once for all who ask for it meanwhile: one
that nobody answers keeps one thread, however often it is asked for.
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
        self._waiting: dict[str, list[Future[tuple[str, ...]]]] = {}
        """Who is to be told of a name that waits for its turn, or is being looked up."""
        self._turns: deque[str] = deque()
        self._threads = 0
        self._lock = threading.Lock()

    def ask(self, name: str) -> Future[tuple[str, ...]]:
        """The addresses of a name, each once, in the system's order. Ends in `OSError`, or in `UnicodeError` for what can be
        no name. One that everybody has cancelled before its turn is not looked up.
        """
        future: Future[tuple[str, ...]] = Future()
        with self._lock:
            others = self._waiting.get(name)
            if others is not None:
                others.append(future)
                return future
            self._waiting[name] = [future]
            self._turns.append(name)
            if self._threads < THREADS_MAX:
                threading.Thread(target=self._run, name="obelisk-lookup", daemon=True).start()
                self._threads += 1
        return future

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._turns:
                    self._threads -= 1
                    return
                name = self._turns.popleft()
                if all(future.cancelled() for future in self._waiting[name]):
                    del self._waiting[name]
                    continue
            found = _look_up(name)
            with self._lock:
                asking = self._waiting.pop(name)
            for future in asking:
                if future.set_running_or_notify_cancel():
                    if isinstance(found, Exception):
                        future.set_exception(found)
                    else:
                        future.set_result(found)


def _look_up(name: str) -> tuple[str, ...] | Exception:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except Exception as error:  # noqa: BLE001 - whatever it is, whoever asked is told
        return error
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


PROCESS: Final = Lookups()
