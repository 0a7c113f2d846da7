"""What every store does with the lines of logs, the same for all."""

from __future__ import annotations

import pytest

from obelisk.core.batch import Applied, Expect, Refused, RefusedBy, Unit
from obelisk.core.calls import Log, LogLevel, Output, StdStream
from obelisk.core.ids import ExecutionId
from obelisk.core.lines import LineFilter, LinePage, NewLogLine


@pytest.fixture
def tree(opened, author):
    """Two executions, the first with a child and a grandchild, the second with a child: their ids."""
    first, second = author.id(1), author.id(2)
    ids = [first, f"{first}.g:1_1", f"{first}.g:1_1.g:1_1", f"{first}.g:1_10", second, f"{second}.g:1_1"]
    for one in ids:
        opened.apply(author.create(ExecutionId(one)))
    return [ExecutionId(one) for one in ids]


def line(author, execution_id, text, level=LogLevel.INFO, *, at=0, run=None, place=None):
    return NewLogLine(execution_id, author.now + at, Log(level, text), run, place)


def out(author, execution_id, data, stream=StdStream.STDOUT, at=0):
    return NewLogLine(execution_id, author.now + at, Output(stream, data))


def store(opened, *lines):
    assert opened.commit(Unit([], lines=list(lines))) == [Applied()]


def texts(opened, where, page=None):
    found = opened.reader.lines(where, page or LinePage(100))
    return [each.line.message if isinstance(each.line, Log) else each.line.data for each in found]


def test_lines_come_back_as_they_were(opened, author, tree):
    one, child, *_ = tree
    new = [
        line(author, one, "héllo\nworld", LogLevel.TRACE, run="Run_1"),
        out(author, one, b"\xff\x00 raw", StdStream.STDERR, at=1),
        line(author, one, "", LogLevel.ERROR, at=2, place=(3, 4)),
    ]
    store(opened, *new, line(author, child, "not mine"))
    found = opened.reader.lines(LineFilter(one), LinePage())
    assert [(each.execution_id, each.created_at, each.line, each.run) for each in found] == [
        (each.execution_id, each.created_at, each.line, each.run) for each in new
    ]
    assert sorted({each.cursor for each in found}) == [each.cursor for each in found]


def test_a_line_whose_place_is_taken_is_not_stored_again(opened, author, tree):
    one, child, *_ = tree
    store(opened, line(author, one, "said", place=(1, 0)), line(author, one, "more", place=(1, 1)))
    store(
        opened,
        line(author, one, "said again", place=(1, 0)),
        line(author, one, "next", place=(2, 0)),
        line(author, child, "a child", place=(1, 0)),
    )
    assert texts(opened, LineFilter(one)) == ["said", "more", "next"]
    assert texts(opened, LineFilter(child)) == ["a child"]
    store(opened, *[line(author, one, "of an activity")] * 2)
    assert texts(opened, LineFilter(one))[3:] == ["of an activity"] * 2


def test_lines_are_stored_with_their_unit_or_not_at_all(opened, author, tree):
    one = tree[0]
    good = Unit([author.expect(one)], lines=[line(author, one, "good")])
    bad = Unit([Expect(one, 99)], lines=[line(author, one, "bad")])
    built_on_bad = Unit([], after=[1], lines=[line(author, one, "built on it")])
    assert opened.commit(good, bad, built_on_bad) == [
        Applied(),
        Refused(RefusedBy.VERSION, one),
        Refused(RefusedBy.DEPENDENCY),
    ]
    assert texts(opened, LineFilter(one)) == ["good"]


def test_an_execution_logs_in_the_unit_that_creates_it(opened, author):
    unit = author.create(author.id(1))
    unit.lines = [line(author, author.id(1), "born")]
    assert opened.commit(unit) == [Applied()]
    assert texts(opened, LineFilter(author.id(1))) == ["born"]


def test_a_line_of_nobody_is_dropped_and_others_are_not(opened, author, tree):
    nobody = author.id(9)
    store(opened, line(author, nobody, "lost"), line(author, ExecutionId(f"{nobody}.g:1_1"), "lost"))
    store(opened, line(author, tree[0], "kept"))
    assert texts(opened, LineFilter(tree[0])) == ["kept"]
    assert opened.reader.lines(LineFilter(nobody), LinePage()) == []
    assert opened.reader.lines(LineFilter(nobody, derived=True), LinePage()) == []


def test_derived_executions(opened, author, tree):
    store(opened, *[line(author, one, str(index)) for index, one in enumerate(tree)])
    assert texts(opened, LineFilter(tree[0])) == ["0"]
    assert texts(opened, LineFilter(tree[0], derived=True)) == ["0", "1", "2", "3"]
    assert texts(opened, LineFilter(tree[1], derived=True)) == ["1", "2"]
    assert texts(opened, LineFilter(tree[3], derived=True)) == ["3"]
    assert texts(opened, LineFilter(tree[4], derived=True)) == ["4", "5"]
    assert [each.execution_id for each in opened.reader.lines(LineFilter(tree[1], derived=True), LinePage())] == [
        tree[1],
        tree[2],
    ]


def test_filters(opened, author, tree):
    one = tree[0]
    levels = [line(author, one, level.value, level, at=index) for index, level in enumerate(LogLevel)]
    store(opened, *levels, out(author, one, b"out", at=5), out(author, one, b"err", StdStream.STDERR, at=6))
    everything = ["trace", "debug", "info", "warn", "error", b"out", b"err"]
    assert texts(opened, LineFilter(one)) == everything
    assert texts(opened, LineFilter(one, levels=(LogLevel.ERROR, LogLevel.INFO))) == ["info", "error", b"out", b"err"]
    assert texts(opened, LineFilter(one, streams=(StdStream.STDERR,))) == [*everything[:5], b"err"]
    assert texts(opened, LineFilter(one, levels=())) == [b"out", b"err"]
    assert texts(opened, LineFilter(one, levels=(), streams=())) == []
    assert texts(opened, LineFilter(one, after=author.now + 3)) == ["error", b"out", b"err"]
    assert texts(opened, LineFilter(one, derived=True, levels=(), after=author.now + 5)) == [b"err"]


def test_pages(opened, author, tree):
    one = tree[0]
    store(opened, *[line(author, one, str(index)) for index in range(5)])
    cursors = [each.cursor for each in opened.reader.lines(LineFilter(one), LinePage())]
    where = LineFilter(one)
    assert texts(opened, where, LinePage(2)) == ["0", "1"]
    assert texts(opened, where, LinePage(2, cursors[1])) == ["2", "3"]
    assert texts(opened, where, LinePage(2, cursors[3])) == ["4"]
    assert texts(opened, where, LinePage(2, cursors[4])) == []
    assert texts(opened, where, LinePage(2, cursors[4], older=True)) == ["2", "3"]
    assert texts(opened, where, LinePage(2, cursors[1], older=True)) == ["0"]
    assert texts(opened, where, LinePage(2, older=True)) == ["3", "4"]
    assert texts(opened, where, LinePage(0)) == []
    assert texts(opened, where, LinePage(-1)) == []


def test_what_is_logged_meanwhile_comes_after_every_cursor(opened, author, tree):
    """Also of another execution of the tree, and of one whose lines were said again."""
    one, child, *_ = tree
    where = LineFilter(one, derived=True)
    store(opened, line(author, one, "a", place=(1, 0)), line(author, child, "b"))
    read = opened.reader.lines(where, LinePage())
    store(opened, line(author, one, "a", place=(1, 0)), line(author, child, "c", at=-5))
    store(opened, line(author, one, "d", place=(1, 1)))
    assert texts(opened, where, LinePage(10, read[-1].cursor)) == ["c", "d"]
    assert texts(opened, where, LinePage(10, read[-1].cursor + 1, older=True))[:2] == ["a", "b"]
