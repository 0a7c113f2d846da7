"""The console log: when a line is written, which, and how it looks."""

import io
import json
import logging
import re

import pytest

from obelisk.config.settings import Console, LogFilter, LogStyle, LogWriter
from obelisk.server import logs


@pytest.fixture
def written(monkeypatch):
    """`written(**console)` configures the log; calling what it returns gives the lines so far."""
    root = logging.getLogger()
    before, level = root.handlers, root.level
    touched = []

    def configure(
        *, style=LogStyle.PLAIN, level="info", targets=None, target=False, writer=LogWriter.STDERR, enabled=True
    ):
        stream = io.StringIO()
        monkeypatch.setattr("sys.stdout" if writer is LogWriter.STDOUT else "sys.stderr", stream)
        touched.extend(targets or ())
        touched.extend(("asyncio", "grpc", "concurrent"))
        log = logs.configure(Console(enabled, LogFilter(level, targets or {}), style, target, writer))
        return log, lambda: stream.getvalue().splitlines()

    yield configure
    root.handlers, root.level = before, level
    for name in touched:
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_lines_are_kept_until_the_server_answers(written):
    log, lines = written()
    logging.getLogger("obelisk.a").info("compiled %s in %s ms", "fibo", 3)
    assert lines() == []
    log.ready()
    logging.getLogger("obelisk.a").info("next")
    log.finish()
    first, second = lines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z \[info +\] compiled fibo in 3 ms", first.strip())
    assert second.strip().endswith("next")


def test_a_warning_does_not_wait(written):
    log, lines = written()
    logging.getLogger("obelisk.a").info("before")
    logging.getLogger("obelisk.a").warning("the disk is nearly full")
    log._preparing.join()
    assert [line.split("]")[1].strip() for line in lines()] == ["before", "the disk is nearly full"]


def test_what_was_kept_is_not_lost_at_the_end(written):
    log, lines = written()
    log.finish()
    log.ready()
    assert log._preparing is None  # nothing was imported for nothing
    logging.getLogger("obelisk.a").info("stopped")
    log.finish()
    assert len(lines()) == 1


def test_json_lines_have_all_that_a_record_has(written):
    log, lines = written(style=LogStyle.JSON, target=True, writer=LogWriter.STDOUT)
    log.ready()
    logging.getLogger("app").info("hello", extra={"execution_id": "E_1"})
    try:
        raise ValueError("inner")
    except ValueError:
        logging.getLogger("app").exception("failed")
    log.finish()
    hello, failed = map(json.loads, lines())
    assert hello.pop("timestamp").endswith("Z")
    assert hello == {"event": "hello", "level": "info", "logger": "app", "execution_id": "E_1"}
    assert "ValueError: inner" in failed["exception"]


def test_compact_lines_have_the_time_of_day_and_the_execution(written):
    log, lines = written(style=LogStyle.PLAIN_COMPACT)
    log.ready()
    logging.getLogger("app").info("hello", extra={"execution_id": "E_1"})
    log.finish()
    (line,) = lines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d+ \[info +\] hello +execution_id=E_1", line.strip())


def test_levels_by_name(written):
    log, lines = written(level="warn", targets={"app": "trace", "noise": "off"})
    log.ready()
    logging.getLogger("obelisk.a").info("not this")
    logging.getLogger("app").log(5, "trace of a component")
    logging.getLogger("noise").error("nor this")
    log.finish()
    assert [line.split("]")[1].strip() for line in lines()] == ["trace of a component"]


def test_a_log_that_is_off_writes_nothing(written):
    log, lines = written(enabled=False)
    log.ready()
    logging.getLogger("obelisk.a").error("no")
    log.finish()
    assert lines() == []


def test_libraries_speak_of_themselves_only_when_they_are_named(written):
    log, lines = written(level="debug", targets={"asyncio": "debug"})
    log.ready()
    logging.getLogger("obelisk.a").debug("ours")
    logging.getLogger("grpc._cython.cygrpc").debug("Loaded running loop")
    logging.getLogger("grpc").warning("something is wrong")
    logging.getLogger("asyncio").debug("Using selector")
    log.finish()
    assert [line.split("] ")[1].strip() for line in lines()] == ["ours", "something is wrong", "Using selector"]


def test_libraries_are_not_louder_than_the_rest(written):
    log, lines = written(level="error")
    log.ready()
    logging.getLogger("grpc").warning("something is wrong")
    log.finish()
    assert lines() == []
