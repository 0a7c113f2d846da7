"""Rows of the table of features: files of activities."""

from __future__ import annotations

import time
from typing import Any

from obelisk.core.events import TemporarilyFailed
from obelisk.wasm.wasi.filesystem import ErrorCode


def code(of: ErrorCode) -> tuple[str, str]:
    return "err", f"{of:02}"


def test_r11_an_activity_touches_nothing_by_default(served: Any) -> None:
    closed = "testing:files-closed/files."
    assert served.run(f"{closed}read", 0, "/etc/passwd")[1] == ("err", "no directory")
    assert served.run(f"{closed}write", 0, "a.txt", "x")[1] == ("err", "no directory")
    assert served.run(f"{closed}environment")[1] == ("ok", 0)


def test_r13_a_retry_finds_a_clean_directory_unless_it_is_reused(served: Any) -> None:
    clean, result = served.run("testing:files-clean/files.again")
    assert result == code(ErrorCode.NO_ENTRY)
    reused, result = served.run("testing:files-reused/files.again")
    assert result == ("ok", "left")
    assert len(served.events(reused, TemporarilyFailed)) == 1
    parent = served.server.directory / "directories"
    assert (parent / reused / "a.txt").read_text() == "left"
    assert list((parent / clean).iterdir()) == []
    until = time.monotonic() + 60
    while any(path.name.startswith(".") for path in parent.iterdir()):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_r13_files_are_written_and_read_in_the_directory_and_nowhere_else(served: Any) -> None:
    files = "testing:files-clean/files."
    execution_id, result = served.run(f"{files}write", 0, "./a.txt", "written")
    assert result == ("ok", "written")
    assert (served.server.directory / "directories" / execution_id / "a.txt").read_text() == "written"
    for path in ("../a.txt", "/etc/passwd", "x/../../a.txt"):
        outside = code(ErrorCode.NO_ENTRY if path.startswith("x") else ErrorCode.NOT_PERMITTED)
        assert served.run(f"{files}read", 0, path)[1] == outside
        assert served.run(f"{files}write", 0, path, "x")[1] == outside
    assert "the path '../a.txt' leads out of its directory: not-permitted" in served.server.log.read_text()


def test_m35_a_directory_of_the_host_is_read_and_changed_only_where_that_is_said(served: Any) -> None:
    files = "testing:files-clean/files."
    assert served.run(f"{files}read", 2, "a.txt")[1] == ("ok", "of the host")
    assert served.run(f"{files}write", 2, "a.txt", "x")[1] == code(ErrorCode.READ_ONLY)
    assert served.run(f"{files}write", 1, "b.txt", "x")[1] == ("ok", "x")
    mapped = served.server.directory / "mapped"
    assert (mapped / "clean" / "b.txt").read_text() == "x"
    assert (mapped / "data" / "a.txt").read_text() == "of the host"
