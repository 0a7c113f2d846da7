"""Counters: what a piece of work costs, in numbers that do not depend on the machine or on what else it does."""

from __future__ import annotations

import gc
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any, Final

from cranked import Cranked

from obelisk.wasm.guest import WorkflowGuest

_WAL_HEADER_BYTES: Final = 32
_WRITES: Final = re.compile(r"\s*(?:INSERT (?:OR \w+ )?INTO|UPDATE|DELETE FROM) (\w+)")
_SEND: Final = WorkflowGuest.send.__code__


class StoreCounts:
    """What a SQLite store was made to do between two looks."""

    def __init__(self, runtime: Cranked) -> None:
        self._runtime = runtime
        self._connection = runtime.store._connection
        self._statements = 0
        self._rows: Counter[str] = Counter()
        self._connection.exec_trace = self._traced
        self._before = self._now()

    def _traced(self, cursor: Any, statement: str, parameters: Any) -> bool:
        self._statements += 1
        written = _WRITES.match(statement)
        if written is not None:
            self._rows[written[1]] += 1
        return True

    def _now(self) -> Counter[str]:
        runtime, wal = self._runtime, self._runtime.database.with_name("obelisk.sqlite-wal")
        with runtime.reader._connection() as connection:
            (events,) = connection.execute("SELECT coalesce(sum(length(event)), 0) FROM log").fetchone()
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        return Counter(
            ticks=runtime.turns,
            commits=runtime.store.commits,
            wal_bytes=wal.stat().st_size - _WAL_HEADER_BYTES,
            event_bytes=events,
            file_bytes=pages * page_bytes,
        )

    def stop(self) -> dict[str, int]:
        """What it was; statements are those of the connection that writes, rows those that it wrote, by table."""
        self._connection.exec_trace = None
        now = self._now()
        found = {name: now[name] - self._before[name] for name in now}
        return {**found, "statements": self._statements, **{f"rows_{table}": n for table, n in self._rows.items()}}


class PythonCounts:
    """Bytecode instructions and calls of this thread. Whoever counts makes it some hundred times slower.

    An instruction more or less comes from how often a guest had to be polled: compare these with a little tolerance.
    """

    def __init__(self) -> None:
        self._instructions: Counter[CodeType] = Counter()
        self._calls: Counter[CodeType] = Counter()
        self._c_calls = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Counts what is done inside."""
        gc.collect()
        gc.disable()
        sys.setprofile(self._profiled)
        sys.settrace(self._called)
        try:
            yield
        finally:
            sys.settrace(None)
            sys.setprofile(None)
            gc.enable()

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        self._calls[frame.f_code] += 1
        return self._traced

    def _traced(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            self._instructions[frame.f_code] += 1
        return self._traced

    def _profiled(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call":
            self._c_calls += 1

    def found(self) -> dict[str, int]:
        """Instructions, calls of functions in Python, calls of those in C."""
        return {
            "instructions": self._instructions.total(),
            "calls": self._calls.total(),
            "c_calls": self._c_calls,
        }

    @property
    def host_calls(self) -> int:
        """Host calls of workflows that were answered."""
        return self._calls[_SEND]

    def by_function(self, length: int) -> list[tuple[int, int, str]]:
        """Where the instructions were: their number, how often it was called, its name."""
        return [
            (count, self._calls[code], f"{code.co_filename.rpartition('/src/')[2]}:{code.co_qualname}")
            for code, count in self._instructions.most_common(length)
        ]


def memory_blocks() -> int:
    """Blocks of memory that Python objects take, without what is only waiting to be collected."""
    gc.collect()
    return sys.getallocatedblocks()
