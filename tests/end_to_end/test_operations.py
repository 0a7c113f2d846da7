"""What operators do, with the command line, to executions of real components on a real server."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result

from obelisk.cli.main import cli
from obelisk.core.ids import ExecutionId
from obelisk.core.reading import ExecutionFilter, Page
from obelisk.core.state import Status
from obelisk.proto import obelisk_pb2 as pb

FLOWS = "testing:workflow/flows."
ACTS = "testing:activity/acts."
FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


@pytest.fixture(scope="session")
def changed_workflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workflow component of the fixtures, whose join set `timeout` has another name."""
    spec = importlib.util.spec_from_file_location("fixtures_components_here", FIXTURES / "components.py")
    assert spec is not None and spec.loader is not None
    components: Any = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = components
    spec.loader.exec_module(components)
    directory = tmp_path_factory.mktemp("changed")
    wit = directory / "wit"
    shutil.copytree(FIXTURES / "wit", wit)
    for package in components.OBELISK_WIT.iterdir():
        shutil.copytree(package, wit / "deps" / package.name)
    source = directory / "changed.wat"
    text = (FIXTURES / "testing-workflow.wat").read_text()
    assert text.count('"timeout"') == 1
    source.write_text(text.replace('"timeout"', '"renamed"'))
    path = directory / "changed.wasm"
    path.write_bytes(components.component(source, wit, "testing-workflow"))
    return path


@dataclass
class Operated:
    """A running server and the command line against it."""

    server: Any
    toml: Callable[[Path], str]

    def __call__(self, *arguments: str) -> Result:
        url = f"http://{self.server.address}"
        result = CliRunner(env={"OBELISK_API_URL": url}).invoke(cli, ["execution", *arguments], prog_name="obelisk")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def done(self, *arguments: str) -> str:
        """What a command prints that must succeed."""
        result = self(*arguments)
        assert result.exit_code == 0, result.output
        return result.output.strip()

    def submit(self, function: str, params: str = "[]", *options: str) -> str:
        return self.done("submit", *options, function, params)

    def wait(self, execution_id: str, line: str) -> None:
        """Until the first line of the status begins so."""
        deadline = time.monotonic() + 60
        while not (seen := self.done("status", execution_id)).startswith(line):
            assert time.monotonic() < deadline, f"{execution_id} is {seen}, not {line}"
            time.sleep(0.02)

    def kinds(self, execution_id: str) -> list[str]:
        rows = self.done("events", execution_id, "--limit", "1000").splitlines()
        return [row.partition("` ")[2].partition("(")[0] for row in rows]

    def open_in_tree(self, root: str) -> list[str]:
        """Who has not finished, of the execution and all that derive from it."""
        with closing(self.server.reader()) as reader:
            where = ExecutionFilter(top_level_only=False, root=ExecutionId(root))
            states = reader.executions(where, Page(1_000), 0)
        return [state.execution_id for state in states if state.status is not Status.FINISHED]

    def redeploy(self, workflow: Path) -> None:
        """Stops the server and starts it with another workflow component."""
        assert self.server.stop() == 0
        self.server.toml.write_text(self.server.toml.read_text().partition("[[")[0] + self.toml(workflow))
        self.server.start()


@pytest.fixture
def operated(server: Any, testing_components: Any) -> Iterator[Operated]:
    def toml(workflow: Path) -> str:
        return f"""[[activity_wasm]]
name = "acts"
location = "{testing_components.activity}"
exec.lock_expiry.seconds = 60

[[workflow]]
name = "flows"
location = "{workflow}"
"""

    made = server(toml(testing_components.workflow))
    made.start()
    yield Operated(made, toml)
    assert made.stop() == 0


def test_cancelling_a_workflow_ends_all_that_it_has_started(operated: Operated) -> None:
    execution_id = operated.submit(FLOWS + "timeout-pattern", "[600000]")
    operated.wait(execution_id, "BlockedByJoinSet n:timeout")
    child = f"{execution_id}.n:timeout_1"
    operated.wait(child, "Locked")  # an endless loop
    assert operated.done("cancel", execution_id) == "Cancellation requested"
    operated.wait(execution_id, "Finished: Execution failure (cancelled)")
    assert operated.open_in_tree(execution_id) == []
    assert operated.done("status", child).startswith("Finished: Execution failure (cancelled)")
    assert operated.done("cancel", execution_id) == "Already successfully finished"
    # The workflow's own await takes the first of the two ends, the platform's the second.
    assert operated.kinds(execution_id)[-4:] == ["JoinNext", "CancellationRequested", "JoinNext", "Finished"]
    assert operated("result", execution_id).exit_code == 1
    assert operated.done("replay", execution_id).startswith("outcome: finished\nresult: Execution failure (cancelled)")


def test_cancelling_an_activity_that_runs_stops_it(operated: Operated) -> None:
    execution_id = operated.submit(ACTS + "spin")
    operated.wait(execution_id, "Locked")
    refused = operated("pause", execution_id)
    assert refused.exit_code == 1
    assert refused.stderr == "Error: cannot pause, the activity is running; it can be cancelled\n"
    assert operated.done("cancel", execution_id) == "Cancellation requested"
    operated.wait(execution_id, "Finished: Execution failure (cancelled)")
    assert operated.kinds(execution_id) == ["Created", "Locked", "CancellationRequested", "Finished"]


def test_cancelling_a_delay_wakes_who_sleeps(operated: Operated) -> None:
    execution_id = operated.submit(FLOWS + "sleeper", "[600000]")
    operated.wait(execution_id, "BlockedByJoinSet")
    delay = f"Delay_{execution_id[2:]}.o:1-sleep_1"
    unknown = operated("cancel", f"Delay_{execution_id[2:]}.o:1-sleep_2")
    assert (unknown.exit_code, f"has no delay {delay[:-1]}2" in unknown.stderr) == (1, True)
    assert operated.done("cancel", delay) == "Cancelled"
    assert operated("result", "--follow", execution_id).stdout == "Error: (no return value)\n"
    assert operated.done("cancel", delay) == "Cancelled"
    expired = operated.submit(FLOWS + "sleeper", "[1]")
    operated.done("result", "--follow", expired)
    assert operated.done("cancel", f"Delay_{expired[2:]}.o:1-sleep_1") == "Already successfully finished"


def test_a_paused_workflow_stands_still_until_it_is_unpaused(operated: Operated) -> None:
    execution_id = operated.submit(FLOWS + "many-sleeps", "[4, 700]")
    operated.wait(execution_id, "BlockedByJoinSet")
    assert operated.done("pause", execution_id) == "Paused"
    again = operated("pause", execution_id)
    assert (again.exit_code, again.stderr) == (1, "Error: cannot pause, execution is already paused\n")
    before = operated.kinds(execution_id)
    time.sleep(0.8)  # the delay expires
    assert operated.done("status", execution_id) == "Paused"
    assert operated.kinds(execution_id) == before
    assert operated.done("unpause", execution_id) == "Unpaused"
    assert operated.done("result", "--follow", execution_id) == "OK: 4"
    refused = operated("unpause", execution_id)
    assert (refused.exit_code, refused.stderr) == (1, "Error: cannot unpause, execution has finished\n")


def test_a_paused_workflow_is_stepped_to_its_end(operated: Operated) -> None:
    execution_id = operated.submit(FLOWS + "random", "[2]", "--paused")
    shown = operated.done("replay", execution_id).splitlines()
    assert shown[0] == "outcome: advanceable, 7 writes"
    assert [line.split()[1].partition("(")[0] for line in shown[1:]] == ["Persist"] * 6 + ["Finished"]
    assert operated.done("advance", execution_id, "--steps", "2") == "success, current state: Paused"
    assert operated.kinds(execution_id) == ["Created", "Paused", "Persist", "Persist"]
    assert operated.done("replay", execution_id).splitlines()[1:] == shown[3:]
    assert operated.done("advance", execution_id, "--steps", "4") == "success, current state: Paused"
    state, result = operated.done("advance", execution_id).splitlines()
    assert state == "success, current state: Finished: OK"
    assert result == f"result: {shown[-1].split('(', 1)[1].removesuffix(')')}"
    assert operated.done("replay", execution_id).splitlines() == ["outcome: finished", result]


def test_what_a_replay_showed_is_sent_back_over_the_wire(operated: Operated) -> None:
    execution_id = operated.submit(FLOWS + "timeout-pattern", "[600000]", "--paused")
    executions = operated.server.executions
    id_ = pb.ExecutionId(id=execution_id)
    shown = executions.ReplayExecution(pb.ReplayExecutionRequest(execution_id=id_)).advanceable.captured_writes
    assert [write.WhichOneof("write") for write in shown] == [
        "append", "append_batch_create_new_execution", "append", "append",
    ]  # fmt: skip
    time.sleep(0.01)  # another replay has other instants
    for write in shown:
        if write.WhichOneof("write") == "append_batch_create_new_execution":
            write.append_batch_create_new_execution.child_requests[0].paused = True
    answer = executions.AdvanceExecution(pb.AdvanceExecutionRequest(execution_id=id_, captured_writes=shown[:3]))
    assert answer.WhichOneof("result") == "success"
    assert operated.done("status", f"{execution_id}.n:timeout_1") == "Paused"
    stale = executions.AdvanceExecution(pb.AdvanceExecutionRequest(execution_id=id_, captured_writes=shown[:3]))
    assert stale.error.version_mismatch.expected == 5
    other = executions.ReplayExecution(pb.ReplayExecutionRequest(execution_id=id_)).advanceable.captured_writes
    other[0].append.event.history_variant.join_next.closing = True
    lie = executions.AdvanceExecution(pb.AdvanceExecutionRequest(execution_id=id_, captured_writes=other))
    assert lie.error.WhichOneof("error") == "replay_mismatch"
    assert operated.done("advance", execution_id) == "success, current state: Paused"
    nothing = operated("advance", execution_id)
    assert nothing.stderr == "Error: there is nothing to advance by: the execution waits for a response\n"


def test_backtraces_of_steps_are_kept_at_once_if_that_is_wanted(operated: Operated) -> None:
    execution_id = operated.submit(FLOWS + "timeout-pattern", "[600000]", "--paused")
    executions = operated.server.executions
    id_ = pb.ExecutionId(id=execution_id)

    def advanced(**fields: Any) -> list[int]:
        """By one step; the events that have a backtrace then."""
        shown = executions.ReplayExecution(pb.ReplayExecutionRequest(execution_id=id_))
        if "steps" in fields:
            fields["expected_version"] = shown.next_version
        else:
            fields["captured_writes"] = shown.advanceable.captured_writes[:1]
        answer = executions.AdvanceExecution(pb.AdvanceExecutionRequest(execution_id=id_, **fields))
        assert answer.WhichOneof("result") == "success"
        log = executions.ListExecutionEvents(
            pb.ListExecutionEventsRequest(execution_id=id_, length=100, include_backtrace_id=True)
        )
        return [event.version for event in log.events if event.HasField("backtrace_id")]

    assert advanced(steps=1) == []
    assert advanced(steps=1, persist_backtrace=True) == [3], "and not of what was written before"
    assert advanced(persist_backtrace=True) == [3, 4]


def test_a_fork_goes_on_from_where_it_was_forked(operated: Operated) -> None:
    origin = operated.submit(FLOWS + "random", "[3]")
    result = operated.done("result", "--follow", origin)
    whole = operated.done("fork", origin)
    assert operated.done("result", "--follow", whole) == result
    part = operated.done("fork", origin, "--at-version", "4", "--paused")
    assert operated.kinds(part) == ["Created", "Paused", "Persist", "Persist"]
    rows = [operated.done("events", one, "-j") for one in (origin, part)]
    theirs, ours = (
        [event["event"] for event in json.loads(text) if "history_event" in event["event"]] for text in rows
    )
    assert ours == theirs[:2]
    assert json.loads(rows[1])[0]["event"]["created"]["forked_from"]["version"] == 4
    operated.done("unpause", part)
    operated("result", "--follow", part)
    assert operated.kinds(part).count("Persist") == 9
    chosen = operated.done("fork", origin, "--at-version", "4", "--execution-id", new_id(operated))
    assert operated.done("fork", origin, "--at-version", "4", "-e", chosen) == chosen
    other = operated("fork", origin, "--at-version", "5", "-e", chosen)
    assert other.stderr == f"Error: {chosen} exists already, and is a fork of {origin} at version 4\n"


def new_id(operated: Operated) -> str:
    return str(operated.server.new_id())


def test_a_component_that_is_another_one(operated: Operated, changed_workflow: Path, testing_components: Any) -> None:
    """Upgrade of what replays and of what does not; parked, resumed, forked, failed."""
    same = operated.submit(FLOWS + "many-sleeps", "[2, 600000]")
    other = operated.submit(FLOWS + "timeout-pattern", "[600000]")
    for execution_id in (same, other):
        operated.wait(execution_id, "BlockedByJoinSet")
    assert operated.done("upgrade", same).startswith("Already up to date (sha256:")
    operated.redeploy(changed_workflow)

    assert operated.done("upgrade", same).splitlines()[1] == "Upgraded"
    assert operated.kinds(same)[-1] == "ComponentUpgradeFinished"
    assert operated.done("upgrade", same).startswith("Already up to date")
    refused = operated("upgrade", other)
    assert refused.exit_code == 1
    difference = 'join_set: recorded "n:timeout", now "n:renamed"'
    assert refused.stderr == f"Error: replay failed: nondeterminism detected at version 2:\n{difference}\n"
    assert operated.done("replay", other) == "outcome: blocked"  # on its own component, which is kept

    forced = operated("upgrade", other, "--skip-determinism-check")
    assert forced.exit_code == 0
    operated.done("cancel", f"Delay_{other[2:]}.n:timeout_1")  # something for it to go on with
    told = f"Parked: nondeterminism detected at version 2\n    {difference}"
    operated.wait(other, "Parked")
    assert operated.done("status", other) == told
    failed = operated("replay", other)
    assert failed.exit_code == 1
    assert failed.output.strip() == (
        f"outcome: replay_failed, error: nondeterminism detected at version 2:\n    {difference}"
    )
    assert operated.done("resume", other) == "Resumed"
    operated.wait(other, "Parked")  # again

    unforkable = operated("fork", other)
    assert unforkable.exit_code == 1
    assert unforkable.stderr.startswith(f"Error: replay failed: nondeterminism detected at version 2:\n{difference}\n")
    fork = operated.done("fork", other, "--at-version", "2")
    operated.wait(fork, "BlockedByJoinSet n:renamed")
    operated.done("cancel", fork)
    operated.wait(fork, "Finished")

    assert operated.done("fail", other) == "Failure requested"
    operated.wait(other, "Finished: Execution failure (nondeterminism_detected)")
    assert operated.open_in_tree(other) == []
    assert "given up: nondeterminism detected at version 2" in operated("result", other).stdout
    again = operated("fail", other)
    assert (again.exit_code, again.stderr) == (1, "Error: cannot fail, execution has finished\n")

    operated.redeploy(testing_components.workflow)
    back = operated.submit(FLOWS + "timeout-pattern", "[600000]")
    operated.wait(back, "BlockedByJoinSet n:timeout")
    for execution_id in (same, back):
        operated.done("cancel", execution_id)
        operated.wait(execution_id, "Finished")


def test_what_has_finished_replays_on_what_is_deployed_now(operated: Operated, changed_workflow: Path) -> None:
    execution_id = operated.submit(FLOWS + "random", "[1]")
    result = operated.done("result", "--follow", execution_id)
    operated.redeploy(changed_workflow)
    lines = operated.done("replay", execution_id).splitlines()
    assert lines[:2] == ["outcome: finished", f"result: {result}"]
    assert lines[2].startswith("replayed on flows (sha256:")
    assert lines[2].endswith("): its own component is not loaded any more")


def test_an_endless_workflow_is_replayed_for_as_long_as_its_cpu_budget(operated: Operated) -> None:
    execution_id = operated.submit(FLOWS + "spin", "[]", "--paused")
    toml = operated.server.toml
    toml.write_text(toml.read_text() + "exec.cpu_budget.milliseconds = 50\n")
    assert operated.server.stop() == 0
    operated.server.start()
    replayed = operated("replay", execution_id)
    assert replayed.exit_code == 1
    assert replayed.output == (
        "outcome: replay_failed, error: the workflow computed for more than 50 ms between two host calls"
        " (exec.cpu_budget), or called the host again and again without leaving a trace\n"
    )
    operated.done("cancel", execution_id)


def test_a_call_that_a_stopping_server_cuts_off_is_no_error_of_the_server(operated: Operated) -> None:
    """It waits for what takes longer than the grace: an endless workflow, which stays paused."""
    execution_id = operated.submit(FLOWS + "spin", "[]", "--paused")
    advance = operated.server.executions.AdvanceExecution.future(
        pb.AdvanceExecutionRequest(execution_id=pb.ExecutionId(id=execution_id), expected_version=2, steps=1)
    )
    time.sleep(0.5)
    assert not advance.done()
    assert operated.server.stop() == 0
    assert advance.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    log = operated.server.log.read_text()
    assert "[error" not in log and "stopped" in log
    operated.server.start()
    assert operated.done("status", execution_id) == "Paused"
    operated.done("cancel", execution_id)
    operated.wait(execution_id, "Finished")
