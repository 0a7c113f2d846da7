"""The server's own output and errors, as a place for what components write to theirs.

Decides that nobody waits for a reader of ours: a thread of its own writes, and what it has no room for is dropped, which is
said in the same place. A line goes out in one piece.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
from contextlib import suppress
from typing import Final

WAITING_MAX: Final = 10_000
"""Pieces of output that may wait to be written; more are dropped."""
_LAST_S: Final = 1.0
"""How long writing may go on when the server stops."""

_log: Final = logging.getLogger(__name__)


class Streams:
    """Standard output and standard error of this process. `write` may be called from any thread."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[tuple[bytes, bool] | None] = queue.Queue(WAITING_MAX)
        self._dropped = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def write(self, prefix: str, data: bytes, *, is_error: bool) -> None:
        """Each line of `data` behind `prefix`."""
        begin = prefix.encode()
        lines = b"".join(begin + line + b"\n" for line in data.removesuffix(b"\n").split(b"\n"))
        try:
            self._waiting.put_nowait((lines, is_error))
        except queue.Full:
            self._dropped += 1
            return
        if self._thread is None:
            self._start()

    def stop(self) -> None:
        """Writes what waits, unless nobody reads it."""
        if self._thread is None:
            return
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(_LAST_S)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="obelisk-streams", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            lines, is_error = item
            if self._dropped and self._waiting.empty():
                dropped, self._dropped = self._dropped, 0
                lines += f"[obelisk] {dropped} pieces of output were dropped: nobody read them in time\n".encode()
            stream = (sys.stderr if is_error else sys.stdout).buffer
            try:
                stream.write(lines)
                stream.flush()
            except (OSError, ValueError):  # closed: whoever read it has gone
                _log.debug("output of components cannot be written", exc_info=True)
