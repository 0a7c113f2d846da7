"""Rows of the table of features: what components log, and write to their streams."""

from __future__ import annotations

from typing import Any

from obelisk.core.calls import Log, LogLevel, Output, StdStream

TALK = "testing:talk-workflow/talk."
LOUD = "testing:loud/talk."
QUIET = "testing:quiet/talk."
ACTIVITY = "testing:talk-activity/talk."
OUT = Output(StdStream.STDOUT, b"out\n")


def lines(served: Any, execution_id: str) -> list[Any]:
    return [each.line for each in served.lines(execution_id)]


def texts(output: str) -> list[str]:
    """Lines of a log as they are shown, without their instants."""
    return [line.partition("Z ")[2] for line in output.splitlines()]


def test_w36_output_of_workflows_is_kept_or_goes_to_the_streams_of_the_server(served: Any) -> None:
    kept, outcome = served.run(TALK + "prints", 10)
    assert outcome == ("ok", 2)
    printed = [OUT, OUT, Output(StdStream.STDERR, b"errerr")]  # a line that has no end is written when the run ends
    assert lines(served, kept) == printed
    assert texts(served.done("execution", "logs", kept)) == ["[STDOUT] out", "[STDOUT] out", "[STDERR] errerr"]
    assert kept not in served.server.log.read_text()  # it is shown in one place

    loud, _ = served.run(LOUD + "prints", 10)
    assert [served.server.process.stdout.readline() for _ in range(2)] == [f"[loud {loud} stdout] out\n"] * 2
    served.until(lambda: f"[loud {loud} stderr] errerr\n" in served.server.log.read_text())
    assert lines(served, loud) == []


def test_w37_what_is_logged_is_there_with_its_level_and_once(served: Any) -> None:
    execution_id, outcome = served.run(TALK + "works", 3, 10)
    assert outcome == ("ok", 3)
    said = [Log(LogLevel.INFO, f"step {index}") for index in range(3)]
    assert lines(served, execution_id) == said
    assert texts(served.done("execution", "logs", execution_id)) == [f"[INFO  ] step {index}" for index in range(3)]
    served.done("execution", "replay", execution_id)
    assert lines(served, execution_id) == said
    served.until(lambda: f"step 2 execution_id={execution_id}" in served.server.log.read_text())
    assert served.server.log.read_text().count(f"step 1 execution_id={execution_id}") == 1

    everybody = texts(served.done("execution", "logs", "--show-derived", "--follow", execution_id))
    assert everybody == [
        line
        for index in range(3)
        for line in (
            f"[INFO  ] {execution_id} step {index}",
            f"[INFO  ] {execution_id}.o:{2 * index + 1}-says_1 said 0",
        )
    ]

    failed, _ = served.run(ACTIVITY + "fails")
    (first, second) = served.lines(failed)
    assert first.line == second.line == Log(LogLevel.WARN, "about to fail")
    assert first.run != second.run  # one for each attempt


def test_m32_output_of_activities_is_forwarded(served: Any) -> None:
    """`forward_stdout` is the default, `forward_stderr` is none."""
    execution_id, outcome = served.run(ACTIVITY + "prints")
    assert outcome == ("ok", 2)
    assert texts(served.done("execution", "logs", "--follow", execution_id)) == ["[STDOUT] out"]
    ((only),) = served.lines(execution_id)
    assert only.run is not None


def test_f14_keeping_output_and_lines_is_optional(served: Any) -> None:
    printed, _ = served.run(QUIET + "prints", 1)
    assert lines(served, printed) == [Output(StdStream.STDERR, b"errerr")]
    said, _ = served.run(QUIET + "works", 1, 1)
    assert lines(served, said) == []
    served.until(lambda: f"step 0 execution_id={said}" in served.server.log.read_text())
    assert texts(served.done("execution", "logs", "--show-derived", "--follow", said)) == [
        f"[INFO  ] {said}.o:1-says_1 said 0"
    ]
