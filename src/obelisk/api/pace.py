"""Pace: how often a follower of a busy execution looks again.

Decides when, never what. The first looks are free, so that a short execution is followed without delay; a long one is
looked at in regular steps, in which any number of changes become one.
"""

from __future__ import annotations

import asyncio


class Pace:
    """A bucket of `burst` turns, refilled by one every `interval_s` seconds."""

    def __init__(self, burst: int, interval_s: float) -> None:
        self._interval_s = interval_s
        self._slack_s = (burst - 1) * interval_s
        self._next_s = 0.0
        """When a turn would be due if turns had come at the interval since the bucket was last full."""

    async def turn(self) -> None:
        """Waits until the next turn."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        wait = self._next_s - self._slack_s - now
        if wait > 0:
            await asyncio.sleep(wait)
        self._next_s = max(self._next_s, now) + self._interval_s
