"""The I/O loop: a thread with an asyncio loop, on which everything runs that guests wait for.

It is not the loop of the doors: what guests do must not stand in the way of clients, and it stops after the last attempt.
Decides nothing about what runs on it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Final

_STOP_S: Final = 5.0
"""How long tasks may take to be cancelled at a stop."""


class IoLoop:
    """One loop and its thread, which starts with the first use."""

    def __init__(self) -> None:
        self.loop: Final = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="obelisk-io", daemon=True)
        self._starting = threading.Lock()
        self._was_started = False

    @property
    def is_running(self) -> bool:
        """Whether the thread was started, and has not ended."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Starts the thread, if this is the first time."""
        if self._was_started:
            return
        with self._starting:
            if not self._was_started:
                self._thread.start()
                self._was_started = True

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Runs a coroutine on the loop and waits for it, for `_STOP_S` at most."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        future.result(_STOP_S)

    def stop(self) -> None:
        """Cancels whatever still runs, and ends the thread."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
        elif not self.loop.is_closed():
            self.loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            if left:
                self.loop.run_until_complete(asyncio.wait(left, timeout=_STOP_S))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()
