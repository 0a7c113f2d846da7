"""Where the time of a step goes: that it is measured at all, and that no time is lost or counted twice."""

from __future__ import annotations

import io
import threading
import time
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from benchmarks.step import places, report
from benchmarks.step.measuring import Found, Report, Spent, measure_in
from benchmarks.step.parts import PARTS, TARGETS
from benchmarks.step.timing import Cost, Target, Turn, cost_of_wrapping, turns, wrapped
from rich.console import Console

HERE = threading.get_ident
US = 1_000


class Work:
    def turn(self) -> None:
        self.part()
        self.part()

    def part(self) -> None:
        time.sleep(0.002)

    def fails(self) -> None:
        raise RuntimeError("as it should")


def test_time_is_that_of_the_function_that_is_running() -> None:
    #       turn 0   part 10      end 30   end 40   the next turn 50
    notes = [0, 100, 1, 110, -1, 130, -1, 140, 0, 150, -1, 170]
    assert turns(notes, 2) == [Turn(50, (30, 20), (1, 1), (1, 0))]


def test_what_began_before_the_first_turn_is_of_no_turn() -> None:
    assert turns([1, 90, -1, 95, 0, 100, -1, 110, 0, 120], 2) == [Turn(20, (20, 0), (1, 0), (0, 0))]


def test_what_wrapping_costs_is_taken_off_where_it_was_spent() -> None:
    turn = Turn(50, (30, 20), (1, 1), (1, 0))
    assert turn.without(Cost(inside=2.0, outside=3.0)) == (30 - 2 - 3 - 3, 20 - 2)


def test_calls_are_noted_on_one_thread_and_only_meanwhile() -> None:
    originals = dict(vars(Work))
    targets = [Target(Work, "turn"), Target(Work, "part"), Target(Work, "fails")]
    work = Work()
    with wrapped(targets, HERE()) as notes:
        for _ in range(2):
            work.turn()
        elsewhere = threading.Thread(target=work.turn)
        elsewhere.start()
        elsewhere.join()
        with pytest.raises(RuntimeError, match="as it should"):
            work.fails()
    work.turn()
    assert dict(vars(Work)) == originals
    (turn,) = turns(notes, len(targets))
    assert turn.calls == (1, 2, 0)
    assert turn.below == (2, 0, 0)
    assert sum(turn.own_ns) == turn.whole_ns >= turn.own_ns[1] >= 4_000 * US


def test_wrapping_costs_something_but_not_much() -> None:
    cost = cost_of_wrapping()
    assert 0 <= cost.inside <= cost.whole
    assert 0 < cost.whole < 100 * US


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Found:
    originals = [vars(owner)[name] for owner, name in TARGETS]
    found = measure_in(tmp_path_factory.mktemp("step"), "on a disk", 60, 2, lambda line: None)
    assert [vars(owner)[name] for owner, name in TARGETS] == originals
    return found


def test_the_parts_of_a_step_are_about_a_step(measured: Found) -> None:
    assert measured.steps > 50  # of 120: in others a commit was over before the next tick was decided
    assert all(spent.fastest > 0 for name, spent in measured.parts.items() if name not in {"rest", "store"})
    # Not nearer: the machine and its disk may have other things to do, during one of them more than during the other.
    assert 1 / 3 < measured.whole.fastest / measured.alone.fastest < 3


def test_the_report_has_every_part_and_what_it_was_compared_with(measured: Found) -> None:
    out = io.StringIO()
    report.show(Report({}, [measured]), Console(file=out, width=160))
    text = out.getvalue()
    assert all(part.title in text for part in PARTS)
    assert f"{measured.alone.fastest:,.1f}" in text
    assert "were taken off" in text


def test_json_keeps_everything(measured: Found) -> None:
    whole = Report({"cpu": "two"}, [measured])
    assert report.from_json(report.as_json(whole)) == whole


def found(title: str, us: list[float]) -> Found:
    parts = {part.name: Spent(each, each / 2) for part, each in zip(PARTS, us, strict=True)}
    return Found(title, "/somewhere", "some & fs", 100, parts, Spent(1.0, 1.0), 13.0, 5.0)


def test_the_picture_is_well_formed_and_to_scale() -> None:
    small, large = [100.0] * len(PARTS), [100.0] * 4 + [2_000.0] + [1.0] * 6
    drawn = ET.fromstring(report.picture(Report({}, [found("in memory", small), found("on a disk", large)])))
    assert drawn.attrib["aria-label"].startswith("a step in memory takes 1,100 µs: ")
    bars = [each for each in drawn.iter() if each.tag.endswith("rect") and each.attrib["height"] == "32.0"]
    assert len(bars) == 2 * len(PARTS)
    first, second = bars[: len(PARTS)], bars[len(PARTS) :]
    assert float(second[4].attrib["width"]) == pytest.approx(20 * float(first[4].attrib["width"]), rel=0.1)
    assert all(0 <= float(each.attrib["x"]) + float(each.attrib["width"]) <= 720 for each in bars)


def test_letters_of_narrow_parts_do_not_stand_on_each_other() -> None:
    drawn = ET.fromstring(report.picture(Report({}, [found("on a disk", [100.0] * 4 + [9_000.0] + [5.0] * 6)])))
    over = [float(each.attrib["x"]) for each in drawn.iter() if each.text in list("FGHIJK")][:6]
    assert all(after - before >= 9.9 for before, after in pairwise(over))
    assert over[-1] <= 715


def test_a_folder_in_memory_is_on_no_disk() -> None:
    memory, disk = places.in_memory(), places.on_disk()
    assert memory is None or places.is_memory(memory)
    assert disk is None or not places.is_memory(disk)
    assert places.file_system(Path("/proc/self")) in {"proc", "unknown file system"}
