"""Lines of `obelisk:log` in the server's log: logger `app`, one record a line, with the execution it belongs to."""

from __future__ import annotations

import logging
from typing import Final

from obelisk.core.calls import Log, LogLevel
from obelisk.core.ids import ExecutionId, RunId

TRACE: Final = 5
"""The level below `logging.DEBUG`."""

_app: Final = logging.getLogger("app")
_LEVELS: Final = {
    LogLevel.TRACE: TRACE,
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARN: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}


def component_line(line: Log, execution_id: ExecutionId, run: RunId | None = None) -> None:
    """Emits one line of a component."""
    extra: dict[str, str] = {"execution_id": execution_id}
    if run is not None:
        extra["run_id"] = run
    _app.log(_LEVELS[line.level], "%s", line.message, extra=extra)
