"""Workloads: what is counted. Each is a small case of one thing that servers do all day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import doors
import msgspec
from cranked import Cranked

from obelisk.core.replay import replay
from obelisk.core.values import Err, Ok

FIBO: Final = "template-fibo:workflow/fibo-workflow-ifc."
FLOWS: Final = "testing:workflow/flows."
RETRIES: Final = 4
_FAILURES: Final = 5

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Workload:
    """`run` does `steps` steps of the same kind."""

    what: str
    steps: int
    run: Callable[[Cranked], None]


def _returns(value: Any, function: str, *params: Any) -> Callable[[Cranked], None]:
    def run(runtime: Cranked) -> None:
        outcome = runtime.run(function, *params)
        assert isinstance(outcome, Ok), outcome
        assert (msgspec.json.decode(outcome.value) if outcome.value else None) == value, outcome

    return run


def _many(runtime: Cranked) -> None:
    ids = [runtime.submit(FIBO + "fiboa", 10, 5) for _ in range(10)]
    runtime.crank()
    for execution_id in ids:
        assert runtime.outcome(execution_id) == Ok(msgspec.Raw(b"55"))


def _calls(runtime: Cranked) -> None:
    assert doors.call(runtime, "template-fibo:activity/fibo-activity-ifc", "fibo", b"[10]", 50) == [b"55"] * 50


def _retries(runtime: Cranked) -> None:
    for _ in range(_FAILURES):
        assert isinstance(runtime.run(FLOWS + "calls-fail", 3), Err)


def _replay(runtime: Cranked) -> None:
    """Of the first execution, which was one of `series`."""
    execution_id = runtime.submitted[0]
    snapshot = runtime.store.load(execution_id)
    assert snapshot is not None
    state = snapshot.state
    guest = runtime.deployed.guest(state.component, state.ffqn, execution_id)
    done = replay(execution_id, snapshot.log, snapshot.responses, guest, runtime.clock.now())
    assert done.outcome == Ok(msgspec.Raw(b"55"))


WORKLOADS: Final = {
    "series": Workload("child executions, one after another", 50, _returns(55, FIBO + "fiboa", 10, 50)),
    "at-once": Workload("child executions at once", 50, _returns(55, FIBO + "fiboa-concurrent", 10, 50)),
    "many": Workload("child executions of 10 workflows", 50, _many),
    "sleeps": Workload("durable sleeps, one after another", 50, _returns(50, FLOWS + "many-sleeps", 50, 1_000)),
    "retries": Workload("attempts at an activity that fails", _FAILURES * (1 + RETRIES), _retries),
    "replay": Workload("child executions of one that is loaded and replayed", 50, _replay),
    "calls": Workload("calls of clients: an execution submitted and waited for, in one", 50, _calls),
    "lines": Workload("lines that a workflow logs", 50, _returns(None, FLOWS + "logs", 50)),
}


def toml(activity: Path, workflow: Path) -> str:
    """The components of `examples/fibo` and, from `activity` and `workflow`, those of tests/fixtures."""
    fibo = ROOT / "examples" / "fibo" / "components"
    return f"""
        [[activity_wasm]]
        name = "fibo"
        location = "{fibo / "fibo_activity.wasm"}"
        [[workflow]]
        name = "flow"
        location = "{fibo / "fibo_workflow.wasm"}"
        [[activity_wasm]]
        name = "acts"
        location = "{activity}"
        max_retries = {RETRIES}
        [[workflow]]
        name = "flows"
        location = "{workflow}"
        """
