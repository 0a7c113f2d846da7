"""Runs the components that were built: `obelisk build`, then `pytest`."""

from pathlib import Path

import pytest

from obelisk.testing import ReturnedErr, Simulation

WORKFLOW = "template-fibo:workflow/fibo-workflow-ifc"
ACTIVITY = "template-fibo:activity/fibo-activity-ifc"


@pytest.fixture
def simulation():
    """A world with crashes, lost acknowledgements, and activities that fail or end late."""
    made = Simulation()
    made.load(Path(__file__).parent / "obelisk.toml")
    return made


@pytest.mark.parametrize("function", ["fiboa", "fiboa-concurrent"])
def test_workflows_do_not_notice_faults(simulation, function):
    report = simulation.run(f"{WORKFLOW}.{function}", [10, 4], seeds=10)
    assert report.result == {"ok": 55}


@pytest.mark.parametrize("function", ["fiboa", "fiboa-concurrent"])
def test_an_error_of_the_activity_ends_the_workflow(simulation, function):
    @simulation.activity(f"{ACTIVITY}.fibo")  # in place of the real one
    def refused(n):
        raise ReturnedErr(None, permanent=True)

    assert simulation.run(f"{WORKFLOW}.{function}", [10, 2], seeds=3).result == {"err": None}
