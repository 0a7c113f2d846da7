"""Reads of the store for code on the event loop: on threads of their own, so that a slow disk never stops the loop.

Decides how many reads run at once; knows nothing of what is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

THREADS_MAX: Final = 4
"""Reads that may run at once; more wait their turn."""

P = ParamSpec("P")
T = TypeVar("T")


class Reads:
    """A few threads for blocking reads."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="read")

    async def run(self, read: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls `read` on one of the threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: read(*args, **kwargs))

    def close(self) -> None:
        """Waits for reads that run; those that wait are given up."""
        self._threads.shutdown(cancel_futures=True)
