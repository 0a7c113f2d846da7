"""Runs the component that was built: `obelisk build`, then `pytest`."""

from pathlib import Path

import pytest

from obelisk.testing import Simulation

FIBO = "template-fibo:activity/fibo-activity-ifc.fibo"


@pytest.fixture
def simulation():
    """A world with crashes, and with attempts that fail or end late."""
    made = Simulation()
    made.load(Path(__file__).parent / "obelisk.toml")
    return made


@pytest.mark.parametrize(("n", "expected"), [(0, 0), (1, 1), (10, 55), (93, 12200160415121876738)])
def test_numbers(simulation, n, expected):
    assert simulation.run(FIBO, [n], seeds=3).result == {"ok": expected}


def test_what_does_not_fit_is_an_error(simulation):
    assert simulation.run(FIBO, [94], seeds=3).result == {"err": None}
