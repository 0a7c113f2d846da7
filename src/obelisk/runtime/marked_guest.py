"""A workflow's guest that is marked as running while it is being polled."""

from __future__ import annotations

from obelisk.core.calls import Reply
from obelisk.core.ids import ExecutionId
from obelisk.core.ports import Guest, Step
from obelisk.core.values import Json
from obelisk.runtime.marks import Marks


class MarkedGuest:
    """Implements `core.ports.Guest` over another one."""

    __slots__ = ("_execution_id", "_guest", "_marks")

    def __init__(self, guest: Guest, execution_id: ExecutionId, marks: Marks) -> None:
        self._guest = guest
        self._execution_id = execution_id
        self._marks = marks

    def start(self, params: Json) -> Step:
        """See the port."""
        slot = self._marks.set(self._execution_id)
        try:
            return self._guest.start(params)
        finally:
            self._marks.clear(slot)

    def send(self, reply: Reply) -> Step:
        """See the port."""
        slot = self._marks.set(self._execution_id)
        try:
            return self._guest.send(reply)
        finally:
            self._marks.clear(slot)

    def resume(self) -> Step:
        """See the port."""
        slot = self._marks.set(self._execution_id)
        try:
            return self._guest.resume()
        finally:
            self._marks.clear(slot)

    def close(self) -> None:
        """See the port."""
        self._guest.close()
