"""What is recorded of the requests of one run.

Decides how much: the first requests and the last ones. Written to on the guest's thread and on the loop, read by whoever
reports the end of the run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import chain

from obelisk.core.http_traces import HttpTrace
from obelisk.core.instants import Instant
from obelisk.wasm.wasi.http.limits import TRACE_ERROR_MAX, TRACE_URI_MAX, TRACES_MAX

Now = Callable[[], Instant]


class Record:
    """One request. `status`: set when its response has a head; `span_id`: when it is sent with one."""

    __slots__ = ("_error", "_finished_at", "_method", "_now", "_sent_at", "_uri", "span_id", "status")

    def __init__(self, method: str, uri: str, now: Now) -> None:
        self._method = method
        self._uri = uri[:TRACE_URI_MAX]
        self._now = now
        self._sent_at = now()
        self._finished_at: Instant | None = None
        self._error: str | None = None
        self.status: int | None = None
        self.span_id: str | None = None

    def close(self) -> None:
        """It is over."""
        if self._finished_at is None:
            self._finished_at = self._now()

    def fail(self, error: str) -> None:
        """It failed, unless it was over."""
        if self._finished_at is None:
            self._error = error[:TRACE_ERROR_MAX]
            self.close()

    @property
    def trace(self) -> HttpTrace:
        """As it is now."""
        return HttpTrace(
            self._method,
            self._uri,
            self._sent_at,
            self._finished_at,
            status=self.status,
            error=self._error,
            span_id=self.span_id,
        )


class Records:
    """Those of one run."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._first: list[Record] = []
        self._last: deque[Record] = deque(maxlen=TRACES_MAX // 2)

    def add(self, method: str, uri: str) -> Record:
        """A request is sent, or was to be."""
        record = Record(method, uri, self._now)
        (self._first if len(self._first) < TRACES_MAX // 2 else self._last).append(record)
        return record

    @property
    def traces(self) -> tuple[HttpTrace, ...]:
        """What there is by now, in the order in which the requests were sent."""
        return tuple(record.trace for record in chain(tuple(self._first), tuple(self._last)))
