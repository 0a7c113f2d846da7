"""What becomes of figures; the measuring itself is `make bench`."""

from __future__ import annotations

import io
from xml.etree import ElementTree as ET

import pytest
from benchmarks import chart, report
from benchmarks.figures import CASES, Metric, Results, percentile, ratio
from rich.console import Console

MORE = Metric("rate", "", "/s", more_is_better=True)
LESS = Metric("late", "", "ms")


def results() -> Results:
    found = Results()
    for ours, theirs, floor in ((100.0, 50.0, 400.0), (300.0, 60.0, 500.0), (200.0, 40.0, 1_000.0)):
        found.add("series", "Obelisk", {"child_per_s": ours})
        found.add("series", "Restate", {"child_per_s": theirs})
        found.add("floors", "floor", {"commits_per_s": floor})
    found.absent["DBOS, SQLite"] = "not there"
    return found


def test_twice_as_much_and_half_as_late_are_both_twice_as_good() -> None:
    assert ratio(MORE, 10.0, 5.0) == ratio(LESS, 5.0, 10.0) == 2.0
    assert ratio(MORE, None, 5.0) is None
    assert ratio(LESS, 5.0, 0.0) is None


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([1.0, 2.0], 0.99) == 2.0


def test_the_table_has_medians_ratios_and_who_is_absent() -> None:
    out = io.StringIO()
    report.show(results(), {"Restate": "a note"}, Console(file=out, width=160))
    text = out.getvalue()
    (row,) = [line for line in text.splitlines() if "an execution of its own" in line]
    assert [cell.strip() for cell in row.split("│")[2:-1]] == ["200", "50 (4.0x)", "-"]
    assert "Restate: a note" in text
    assert "not measured: DBOS, SQLite: not there" in text


def test_the_share_of_commits_is_the_median_of_the_rounds() -> None:
    assert report.floor_share(results()) == 0.25
    assert report.floor_share(Results()) is None


def test_the_share_of_two_rounds_is_not_that_of_the_better_one() -> None:
    found = Results()
    for ours in (100.0, 300.0):
        found.add("series", "Obelisk", {"child_per_s": ours})
        found.add("floors", "floor", {"commits_per_s": 1_000.0})
    assert report.floor_share(found) == pytest.approx(0.2)


def test_json_keeps_every_round() -> None:
    written = report.as_json(results(), {"Restate": "a note"}, {"cpu": "two"})
    read, notes = report.from_json(written)
    assert read.values == results().values
    assert read.absent == results().absent
    assert notes == {"Restate": "a note"}


@pytest.mark.parametrize("found", [results(), Results()], ids=["measured", "nothing"])
def test_the_chart_is_well_formed_and_says_what_it_shows(found: Results) -> None:
    drawn = ET.fromstring(chart.bars(found))
    label = drawn.attrib["aria-label"]
    assert label == ("500 child executions in series, per second: Obelisk 200, Restate 50" if found.values else "")
    bars = [each for each in drawn.iter() if each.tag.endswith("rect")]
    assert len(bars) == (2 if found.values else 0)


def test_what_is_linear_has_slope_one_in_a_drawing_of_lines() -> None:
    drawn = ET.fromstring(chart.lines("t", "x", "y", {"linear": [(1, 10), (10, 100), (100, 1_000)]}))
    path, _legend = [each.attrib["d"] for each in drawn.iter() if each.attrib.get("class") == "l0"]
    (x1, y1), (x2, y2), (x3, y3) = (map(float, point.split()) for point in path[1:].split("L"))
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert y1 - y2 == pytest.approx(y2 - y3, abs=0.2)


def test_letters_and_names_of_cases_are_used_once() -> None:
    assert len({case.letter for case in CASES}) == len({case.name for case in CASES}) == len(CASES)
