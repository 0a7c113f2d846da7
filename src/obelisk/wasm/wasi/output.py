"""Standard output and standard error: streams that end in the log of the execution.

Decides how bytes are cut into lines of the log: at line ends, and where a line is longer than `LINE_MAX`. What has no line
end yet is kept until it has one, or the run ends.
"""

from __future__ import annotations

from typing import Any, Final

from obelisk.core.calls import Output, StdStream
from obelisk.wasm.wasi.host import Answer, GuestTrap
from obelisk.wasm.wasi.io import Ready
from obelisk.wit.types import Value

LINE_MAX: Final = 8 << 10
"""Bytes of one piece of output in the log."""
PERMIT: Final = 64 << 10
"""Bytes that may be written at once."""
_DONE: Final[Value] = (True, None)


class Lines:
    """What was written to one stream, cut into pieces for the log."""

    def __init__(self, stream: StdStream) -> None:
        self._stream = stream
        self._open = b""

    def take(self, data: bytes) -> list[Output]:
        """The pieces that `data` completes."""
        data = self._open + data
        pieces: list[Output] = []
        while True:
            cut = data.rfind(b"\n", 0, LINE_MAX) + 1
            if not cut:
                if len(data) < LINE_MAX:
                    break
                cut = LINE_MAX
            pieces.append(Output(self._stream, data[:cut]))
            data = data[cut:]
        self._open = data
        return pieces

    def rest(self) -> list[Output]:
        """What has no line end; the run is over."""
        data, self._open = self._open, b""
        return [Output(self._stream, data)] if data else []


class LogOutput:
    """`output-stream` of a standard stream. `emit` takes one piece; its answer may be still to come."""

    def __init__(self, lines: Lines, emit: Any) -> None:
        self._lines = lines
        self._emit = emit

    def check_write(self) -> Value:
        """There is always room: the log has limits of its own."""
        return True, PERMIT

    def write(self, data: bytes) -> Answer:
        """Takes bytes."""
        if len(data) > PERMIT:
            raise GuestTrap(f"{len(data)} bytes were written where {PERMIT} were permitted")
        return self._emit_all(self._lines.take(data))

    blocking_write = write

    def flush(self) -> Answer:
        """There is nothing to flush: an open line waits for its end."""
        return _DONE

    blocking_flush = flush

    def subscribe(self) -> Ready:
        """Always ready."""
        return Ready()

    def _emit_all(self, pieces: list[Output]) -> Answer:
        for index, piece in enumerate(pieces):
            emitted = self._emit(piece)
            if emitted is not None:
                return self._emit_later(emitted, pieces[index + 1 :])
        return _DONE

    async def _emit_later(self, first: Any, pieces: list[Output]) -> Value:
        await first
        for piece in pieces:
            await self._emit(piece)
        return _DONE
