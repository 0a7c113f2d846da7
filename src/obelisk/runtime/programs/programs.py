"""What runs of activities need to start programs: which are allowed, their copies, and the launcher.

One object for a process. Decides nothing itself.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from obelisk.core.policy import AllowedPrograms, ProgramLimits
from obelisk.runtime.programs.copies import ProgramCopies
from obelisk.runtime.programs.launching import Launcher


class Programs:
    """`allowed` is the operator's word of today; it may be replaced at any time."""

    def __init__(
        self,
        allowed: AllowedPrograms,
        limits: ProgramLimits,
        copies: ProgramCopies,
        loop: asyncio.AbstractEventLoop,
        temp: Path,
    ) -> None:
        """`temp`: where the directories of programs are made."""
        self.allowed = allowed
        self.copies: Final = copies
        self.launcher: Final = Launcher(limits, temp)
        self._loop = loop

    def give_room_back(self) -> None:
        """A program is over; from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.launcher.room.release)

    def close(self) -> None:
        """Nothing is started any more, and nothing runs on the loop."""
        self.launcher.close()
