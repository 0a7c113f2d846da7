"""What becomes of a line that is too long, or one too many."""

from __future__ import annotations

import pytest

from obelisk.core.calls import Log, LogLevel, Output, StdStream
from obelisk.core.lines import LEVELS, Allowance, cut, lines_of, size_of
from obelisk.core.policy import Forward, LogPolicy


def log(text: str, level: LogLevel = LogLevel.INFO) -> Log:
    return Log(level, text)


def out(data: bytes, stream: StdStream = StdStream.STDOUT) -> Output:
    return Output(stream, data)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"one\n", [b"one\n"]),
        (b"no end", [b"no end"]),
        (b"one\ntwo\n", [b"one\n", b"two\n"]),
        (b"one\r\n\ntw", [b"one\r\n", b"\n", b"tw"]),
        (b"10 %\r20 %\r", [b"10 %\r20 %\r"]),
        (b"", [b""]),
    ],
)
def test_output_is_taken_apart_at_its_ends_of_lines(data: bytes, lines: list[bytes]) -> None:
    assert lines_of(out(data)) == [out(line) for line in lines]


def test_a_line_of_the_log_is_one_whatever_it_contains() -> None:
    assert lines_of(log("a\nb")) == [log("a\nb")]


def test_a_long_line_is_cut_and_says_so() -> None:
    assert cut(log("x" * 10), 10) == log("x" * 10)
    assert cut(log("x" * 13), 10) == log("x" * 10 + " … [obelisk] 3 more bytes were cut")
    assert cut(out(b"x" * 12 + b"\n"), 10) == out(b"x" * 10 + " … [obelisk] 3 more bytes were cut\n".encode())
    assert cut(log("é" * 6), 11) == log("é" * 5 + " … [obelisk] 1 more bytes were cut")  # in the middle of the sixth
    assert size_of(log("é")) == 2


def test_lines_that_are_too_many_are_dropped_and_counted() -> None:
    allowance = Allowance(2, 100, 10)
    assert allowance.admit(log("a")) == [log("a")]
    admitted = allowance.admit(out(b"b\nc\nd\n"))
    assert admitted[0] == out(b"b\n")
    assert [each.level for each in admitted[1:] if isinstance(each, Log)] == [LogLevel.WARN]
    assert allowance.admit(log("e")) == []
    last = allowance.close()
    assert last is not None
    assert last.message == "[obelisk] 3 lines of this run were not stored"
    assert allowance.close() is None


def test_bytes_that_are_too_many_end_the_log_for_good() -> None:
    allowance = Allowance(100, 10, 10)
    assert allowance.admit(log("12345678")) == [log("12345678")]
    (said,) = allowance.admit(log("123"))
    assert isinstance(said, Log)
    assert said.message.startswith("[obelisk] this run has logged as much as one may")
    assert allowance.admit(log("1")) == []
    assert allowance.dropped == 2


def test_who_says_little_leaves_no_word() -> None:
    allowance = Allowance(10, 10, 10)
    allowance.admit(log("a"))
    assert allowance.close() is None


def test_what_a_policy_stores() -> None:
    policy = LogPolicy()
    assert [level for level in LEVELS if policy.stores(log("", level))] == list(LEVELS)[1:]
    assert policy.stores(out(b""))
    quiet = LogPolicy(LogLevel.ERROR, Forward.NONE, Forward.STDERR)
    assert [level for level in LEVELS if quiet.stores(log("", level))] == [LogLevel.ERROR]
    assert not quiet.stores(out(b""))
    assert not quiet.stores(out(b"", StdStream.STDERR))
    assert quiet.drops(out(b""))
    assert not quiet.drops(out(b"", StdStream.STDERR))
    assert not LogPolicy(None).stores(log("", LogLevel.ERROR))
    assert not LogPolicy(None).drops(log("", LogLevel.TRACE))
