"""One attempt at an exec activity: a program is started, fed, read, and ended with everything that it started.

The alternative to `obelisk.wasm.activity.ActivityRun`, behind the same protocol. Decides how the program is called and when
it has to end before its time. Must not decide whether the attempt is tried again, nor how long it may run: its coroutine is
cancelled at the deadline, and is not over before the program's processes are gone.
"""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import msgspec

from obelisk.core.calls import LogLevel
from obelisk.core.ports import FunctionKind
from obelisk.core.values import Json
from obelisk.runtime.programs.copies import ProgramChanged
from obelisk.runtime.programs.document import ExecEntry
from obelisk.runtime.programs.launching import Lost, NotStarted, Order, Running
from obelisk.runtime.programs.pipes import DRAIN_S, PipeSink, PipeSource, read
from obelisk.runtime.programs.programs import Programs
from obelisk.runtime.programs.results import failed, met, result
from obelisk.wasm import trap
from obelisk.wasm.activity import ActivityStep, Finished, Hold, Waiting
from obelisk.wasm.wasi.io import StreamFailed
from obelisk.wasm.wasi.output import LogOutput
from obelisk.wit.reader import InvalidJson, ValueMismatch
from obelisk.wit.types import Value

ARGUMENT_MAX: Final = (128 << 10) - 1
"""Bytes that Linux passes in one argument."""
ERRORS_MAX: Final = 2_000
"""Bytes of a program's standard error that a failure shows: the last."""
_TRANSIENT: Final = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC}
_params: Final = msgspec.json.Decoder(list[msgspec.Raw])


class ExecHost(Protocol):
    """What of its host a run uses."""

    @property
    def environment(self) -> tuple[tuple[str, str], ...]:
        """Environment variables, by name."""
        ...

    @property
    def stderr(self) -> LogOutput:
        """Where lines for the execution's log go."""
        ...

    def log(self, level: LogLevel, message: str) -> None:
        """A line for the execution's log."""
        ...

    def close(self) -> None:
        """The run is over."""
        ...


class ExecRun:
    """One attempt; used as `ActivityRun` is."""

    def __init__(self, entry: ExecEntry, name: str | None, host: ExecHost, programs: Programs) -> None:
        """`name`: of the component, by which its program is allowed."""
        self._entry = entry
        self._name = name or ""
        self._host = host
        self._programs = programs
        self._params: list[str] = []
        self._has_room = False
        self._errors = b""

    # --- whoever runs a slice ----------------------------------------------------------------------------------------

    def start(self, params: Json, hold: Hold | None = None) -> ActivityStep:
        """Asks for room; `params` is a canonical JSON array. Nothing is done yet for which `hold` would have to be asked."""
        document = self._entry.document
        try:
            self._entry.function.params.load(params)
        except (InvalidJson, ValueMismatch) as problem:
            return Finished(trap.bad_params(FunctionKind.ACTIVITY, problem), permanent=True)
        refusal = self._programs.allowed.refusal(self._name, document.program)
        if refusal is not None:
            return failed(refusal, permanent=True)
        self._params = [bytes(each).decode() for each in _params.decode(params)]
        if not document.params_via_stdin and any(len(each.encode()) > ARGUMENT_MAX for each in self._params):
            return failed(
                f"a parameter has more than {ARGUMENT_MAX} bytes, which no argument of a program may have; with"
                " params_via_stdin they are written to its standard input",
                permanent=True,
            )
        return Waiting(self._take_room(), queues=True)

    def answer(self, value: Value) -> ActivityStep:
        """Goes on: with the program when there is room, with the result when it is over."""
        return value if isinstance(value, Finished) else Waiting(self._carry_out())

    def resume(self) -> ActivityStep:
        """Never asked for: this run does not yield."""
        raise AssertionError("an exec activity does not compute")

    def fail(self, error: Exception) -> ActivityStep:
        """The coroutine ended in an error."""
        return Finished(trap.host_failed(FunctionKind.ACTIVITY, error))

    def close(self) -> None:
        """Frees everything; in any state, also more than once."""
        if self._has_room:
            self._has_room = False
            self._programs.give_room_back()
        self._host.close()

    # --- the loop ----------------------------------------------------------------------------------------------------

    async def _take_room(self) -> None:
        await self._programs.launcher.room.acquire()
        self._has_room = True

    async def _carry_out(self) -> Finished:
        document = self._entry.document
        try:
            path = await asyncio.to_thread(self._programs.copies.checked, document.program)
            running = await self._programs.launcher.launch(self._order(path))
        except ProgramChanged as changed:
            return failed(f"{changed}; start the server again", permanent=True)
        except NotStarted as problem:
            return failed(
                f"the program {document.file} was not started: {problem}", permanent=problem.errno not in _TRANSIENT
            )
        except (OSError, Lost) as problem:
            return failed(f"the program {document.file} was not started: {problem}")
        try:
            return await self._attend(running)
        except Lost as lost:
            return failed(str(lost))
        finally:
            await running.end()
            for each in met(running.known_end, self._programs.launcher.limits):
                self._host.log(LogLevel.WARN, each)

    def _order(self, path: Path) -> Order:
        document = self._entry.document
        arguments = () if document.params_via_stdin else self._params
        return Order(path, [document.file, *arguments], dict(self._host.environment))

    async def _attend(self, running: Running) -> Finished:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stderr is not None
        document, outcomes = self._entry.document, self._entry.function.outcomes
        # Output that no side has a use for is read all the same, or the program would wait for us.
        may_go_on = outcomes.payload(True) is None or outcomes.payload(False) is None
        output = _Output(document.max_output_bytes)
        reading = asyncio.create_task(output.read(running.stdout, stop=not may_go_on))
        tasks = [
            reading,
            asyncio.create_task(self._log(running.stderr)),
            asyncio.create_task(self._feed(running.stdin)),
            ending := asyncio.create_task(running.ended()),
        ]
        try:
            await asyncio.wait((reading, ending), return_when=asyncio.FIRST_COMPLETED)
            if output.too_long and not may_go_on:
                await running.end()
                return failed(
                    f"the program wrote more than {document.max_output_bytes} bytes to its standard output (max_output_bytes),"
                    " and was ended",
                    self._shown_errors(),
                    permanent=True,
                )
            ended = await ending
            await asyncio.wait(tasks[:2], timeout=DRAIN_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        too_long = document.max_output_bytes if output.too_long else None
        return result(
            self._entry.function,
            ended,
            output.data,
            too_long=too_long,
            errors=self._shown_errors(),
            limits=self._programs.launcher.limits,
        )

    async def _feed(self, sink: PipeSink) -> None:
        if self._entry.document.params_via_stdin:
            with suppress(StreamFailed):  # it does not want them
                await sink.drain(f'{{"params":[{",".join(self._params)}]}}'.encode())
        sink.close()

    async def _log(self, source: PipeSource) -> None:
        log = self._host.stderr
        async for data in read(source):
            self._errors = (self._errors + data)[-ERRORS_MAX:]
            log.write(data)

    def _shown_errors(self) -> str:
        return self._errors.decode("utf-8", "replace")


class _Output:
    """What a program wrote, up to a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.data = b""
        self.too_long = False

    async def read(self, source: PipeSource, *, stop: bool) -> None:
        """Reads to the end; with `stop`, no further than the limit."""
        async for data in read(source):
            if self.too_long:
                continue
            self.data += data
            if len(self.data) > self._limit:
                self.data, self.too_long = b"", True
                if stop:
                    return
