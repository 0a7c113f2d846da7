"""Nothing costs more than it did: see budget.py, which runs in a process of its own to be undisturbed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BUDGET = Path(__file__).with_name("budget.py")
SRC = BUDGET.parents[2] / "src"


@pytest.fixture
def budget(monkeypatch):
    monkeypatch.syspath_prepend(str(BUDGET.parent))
    import budget

    return budget


def run(script: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(SRC), "PYTHONHASHSEED": "0"}
    command = [sys.executable, BUDGET.with_name(script), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"\n{done.stdout}{done.stderr}"
    return done.stdout


def test_everything_costs_what_its_ceiling_says() -> None:
    run("budget.py")


def test_a_step_costs_the_same_whatever_there_is_beside_it() -> None:
    for beside, (little, much) in json.loads(run("growth.py")).items():
        assert much <= 1.01 * little, f"{beside}: {little:,.0f} -> {much:,.0f} instructions a step"


@pytest.mark.acceptance
@pytest.mark.timeout(300)
def test_machine_instructions_are_what_their_ceilings_say() -> None:
    run("budget.py", "--native")


def test_a_rise_says_both_numbers_and_what_to_do(budget) -> None:
    (problem,) = budget.compare({"series": {"steps": 10, "commits": 21}}, {"series": {"steps": 10, "commits": 20}})
    assert problem.startswith("series: 20 -> 21 commits for 10 steps (2.00 -> 2.10 a step): dearer.")
    assert problem.endswith("make budget ARGS=--accept")


def test_a_fall_asks_for_a_lower_ceiling(budget) -> None:
    (problem,) = budget.compare({"series": {"steps": 10}}, {"series": {"steps": 10, "rows_lines": 20}})
    assert "20 -> 0 rows_lines" in problem and "Lower the ceiling" in problem


def test_instructions_may_differ_a_little(budget) -> None:
    def compared(now: int) -> list[str]:
        table = f"series.{budget.PYTHON}"
        steps = {"series": {"steps": 10}}
        return budget.compare({**steps, table: {"instructions": now}}, {**steps, table: {"instructions": 10_000}})

    assert compared(10_050) == compared(9_950) == []
    assert compared(10_051) and compared(9_949)


def test_another_version_of_python_has_its_own_ceilings(budget) -> None:
    costs = {"series": {"steps": 10}, "series.python-9.9": {"calls": 5}}
    assert budget.compare(costs, {"series": {"steps": 10}, "series.python-3.11": {"calls": 4}}) == []
    assert budget.compare(costs, {"series": {"steps": 10}}) == [
        "series.python-9.9: has no ceilings yet: make budget ARGS=--accept"
    ]
