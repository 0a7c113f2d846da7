"""The server's log on its console: what stdlib `logging` collects, rendered by structlog.

Decides levels and looks. Modules log with stdlib `logging`; so do libraries; this is the only place that knows structlog.

structlog takes longer to import than a small server to start, and an idle server needs none of it. So lines are kept until
the server answers (`ready`); the first line after that, or the first warning before, has it imported, on a thread of its
own. No thread that logs ever waits for that.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from obelisk.config.settings import Console, LogStyle, LogWriter

if TYPE_CHECKING:
    from structlog.typing import Processor

TRACE: Final = 5
_OFF: Final = logging.CRITICAL + 10
_LEVELS: Final = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "off": _OFF,
}
_OTHERS: Final = ("asyncio", "grpc", "concurrent")
"""Loggers of libraries: what they have to say below a warning is about themselves, and told only when they are named."""


class ConsoleLog(logging.Handler):
    """Keeps records until there is reason to render them, then renders each at once."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._kept: list[logging.LogRecord] = []
        self._is_ready = False
        self._renderer: logging.Handler | None = None
        self._preparing: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps or renders one record."""
        if self._renderer is not None:
            self._renderer.handle(record)
            return
        self._kept.append(record)
        if self._is_ready or record.levelno >= logging.WARNING:
            self._prepare()

    def ready(self) -> None:
        """From now on records are rendered, as soon as that is possible."""
        with self._locked():
            self._is_ready = True
            if self._kept:
                self._prepare()

    def finish(self) -> None:
        """Returns when all records so far have been rendered."""
        with self._locked():
            if self._kept:
                self._prepare()
            preparing = self._preparing
        if preparing is not None:
            preparing.join()

    def _prepare(self) -> None:
        if self._preparing is None:
            self._preparing = threading.Thread(target=self._render, name="log", daemon=True)
            self._preparing.start()

    def _render(self) -> None:
        stream = sys.stdout if self._console.writer is LogWriter.STDOUT else sys.stderr
        renderer = logging.StreamHandler(stream)
        renderer.setFormatter(_formatter(self._console, is_terminal=stream.isatty()))
        with self._locked():
            for record in self._kept:
                renderer.handle(record)
            self._kept = []
            self._renderer = renderer

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        finally:
            self.release()


def configure(console: Console) -> ConsoleLog:
    """Sets levels and takes in all records of the process. Call once."""
    handler = ConsoleLog(console)
    logging.addLevelName(TRACE, "TRACE")
    root = logging.getLogger()
    root.handlers = [handler] if console.enabled else [logging.NullHandler()]
    root.setLevel(_LEVELS[console.level.default] if console.enabled else _OFF)
    for name in _OTHERS:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    for name, level in console.level.targets.items():
        logging.getLogger(name).setLevel(_LEVELS[level])
    return handler


def _formatter(console: Console, *, is_terminal: bool) -> logging.Formatter:
    import structlog

    renderer: list[Processor]
    if console.style is LogStyle.JSON:
        renderer = [
            _stamp("%Y-%m-%dT%H:%M:%S.%fZ"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    else:
        form = "%H:%M:%S.%f" if console.style is LogStyle.PLAIN_COMPACT else "%Y-%m-%dT%H:%M:%S.%fZ"
        plain = structlog.dev.ConsoleRenderer(
            colors=is_terminal,
            pad_event_to=0,
            exception_formatter=structlog.dev.plain_traceback,
            sort_keys=False,
        )
        renderer = [_stamp(form), plain]
    named: list[Processor] = [structlog.stdlib.add_logger_name] if console.target else []
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.ExtraAdder(), *named],
        processors=[*renderer[:1], structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer[1:]],
    )


def _stamp(form: str) -> Processor:
    """Adds when the record was made, which may be well before it is rendered."""

    def stamp(_logger: Any, _name: str, event: Any) -> Any:
        event["timestamp"] = datetime.fromtimestamp(event["_record"].created, UTC).strftime(form)
        return event

    return stamp
