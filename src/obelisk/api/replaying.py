"""Replaying: a workflow is run against its log, and what is done by what it comes to.

Decides which component a log is replayed on, when a replay counts as one that leaves its log, and which operations a
replay must come before: a paused execution is advanced by what a replay showed, and one is moved to another component
only if its log replays there. Writes nothing itself.
"""

from __future__ import annotations

from typing import Final

import msgspec

from obelisk.api.asking import asking
from obelisk.api.errors import HasFinished, InvalidArgument, NotFound, NotReady, ReplayFailed
from obelisk.api.executions import Executions, info_of, no_execution
from obelisk.api.ports import AnswerKind, Engine
from obelisk.api.reads import Reads
from obelisk.api.views import Advanced, GivenResult, Mismatch, Replay
from obelisk.core import calls
from obelisk.core.batch import AdvanceRequest, Snapshot, UpgradeRequest
from obelisk.core.events import Finished, LogEntry, kind_of
from obelisk.core.ids import Digest, ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.names import FunctionName
from obelisk.core.ports import FunctionInfo, FunctionKind, Rejection
from obelisk.core.replay import Replayed, before, replayable
from obelisk.core.state import ExecutionState, Lifecycle, Status
from obelisk.core.values import Failure, FailureKind, Outcome

STEPS_MAX: Final = 1_000
"""Host calls beyond the log that a replay goes on for, and that one advance may ask for."""
KINDS: Final = {
    FunctionKind.WORKFLOW: "a workflow",
    FunctionKind.ACTIVITY: "an activity",
    FunctionKind.STUB: "a stub activity",
}
"""What messages call them."""
LOOKS_MAX: Final = 5
"""How often an upgrade looks at an execution that goes on meanwhile, before it gives up."""
_FINISHED: Final = "cannot upgrade, execution has finished; fork it to run it on another component"


class Replaying:
    """On the event loop's thread. All of it may raise `NotFound`, `InvalidArgument`, `Overloaded` or `Stopping`."""

    def __init__(self, engine: Engine, executions: Executions, reads: Reads) -> None:
        self._engine = engine
        self._executions = executions
        self._reads = reads

    # --- replay ------------------------------------------------------------------------------------------------------

    async def replay(
        self, execution_id: ExecutionId, *, steps_max: int = STEPS_MAX, at: Instant | None = None
    ) -> Replay:
        """Runs the workflow against its log and on, until it waits, ends, or has made `steps_max` new host calls (`at`: as if
        it were then). On its own component; when that is not loaded any more, on the active one that exports its function.
        """
        snapshot = await self.snapshot(execution_id)
        state = snapshot.state
        info = info_of(self._engine.catalogue, state) or self.active(state.ffqn)
        return await self.run(snapshot, info, steps_max, self._engine.now() if at is None else at)

    async def snapshot(self, execution_id: ExecutionId) -> Snapshot:
        """All of the execution."""
        snapshot = await self._reads.run(self._engine.reader.snapshot, execution_id)
        if snapshot is None:
            raise no_execution(execution_id)
        return snapshot

    def active(self, ffqn: FunctionName) -> FunctionInfo:
        """The function as it is deployed now."""
        info = self._engine.catalogue.active(ffqn)
        if info is None:
            raise NotFound(f"function not found: no deployed component exports {ffqn}")
        return info

    async def run(self, snapshot: Snapshot, info: FunctionInfo, steps_max: int, at: Instant) -> Replay:
        """Replays a snapshot on the component of `info`."""
        state = snapshot.state
        if info.kind is not FunctionKind.WORKFLOW:
            raise InvalidArgument(f"only workflows replay; {state.execution_id} is an execution of {KINDS[info.kind]}")
        with asking():
            replayed = await self._engine.replay(snapshot, info.component, steps_max, at)
        stub = await self._reads.run(self._stub_result, replayed)
        problem = _problem(snapshot, replayed, info)
        recorded = _recorded_end(snapshot)
        if recorded is not None:
            return Replay(snapshot, info.component, at, end=recorded, problem=problem)
        return Replay(snapshot, info.component, at, replayed.new, stub, replayed.outcome, problem)

    def _stub_result(self, replayed: Replayed) -> GivenResult | None:
        """What the last call, if it is one of these, gives to whom."""
        call = replayed.unsettled
        if not isinstance(call, calls.Stub | calls.StubJson):
            return None
        state = self._engine.reader.state(call.execution_id)
        if state is None:
            return None
        outcome = (
            call.outcome
            if isinstance(call, calls.Stub)
            else self._engine.catalogue.typed_result(state.component, state.ffqn, call.result)
        )
        if isinstance(outcome, Rejection):
            return None
        version = state.next_version - (state.status is Status.FINISHED)
        return GivenResult(outcome, version, self._engine.catalogue.function(state.ffqn))

    # --- advance -----------------------------------------------------------------------------------------------------

    async def paused(self, execution_id: ExecutionId) -> ExecutionState:
        """The state of an execution that can be advanced."""
        execution = await self._executions.get(execution_id)
        if execution.is_finished:
            raise InvalidArgument("cannot advance, execution has finished")
        if execution.state.lifecycle is not Lifecycle.PAUSED:
            raise InvalidArgument("cannot advance, execution is not paused; pause it first")
        return execution.state

    async def advance(
        self, execution_id: ExecutionId, expected_version: int, steps: int, *, pause_children: bool = False
    ) -> Advanced | Mismatch:
        """Lets a paused workflow make its next `steps` host calls that write something, or end, and stand still again.
        `expected_version`: the version of the next event when the client looked. `pause_children`: executions that it
        creates are born paused. Also raises `NotReady`, when that is nothing at all.
        """
        if steps < 1:
            raise NotReady("there is nothing to advance by; replay the execution to see what it would do")
        if steps > STEPS_MAX:
            raise InvalidArgument(f"{steps} steps are too many at once; ask for at most {STEPS_MAX}")
        state = await self.paused(execution_id)
        if state.next_version != expected_version:
            return Mismatch(state.next_version)
        with asking():
            answer = await self._engine.operate(execution_id, AdvanceRequest(expected_version, steps, pause_children))
        match answer.kind:
            case AnswerKind.DONE | AnswerKind.REQUESTED | AnswerKind.ALREADY:
                return Advanced(await self._executions.get(execution_id, with_result=True))
            case AnswerKind.OUTDATED:
                return Mismatch((await self._executions.get(execution_id)).state.next_version)
            case AnswerKind.NOT_FOUND:
                raise no_execution(execution_id)
            case AnswerKind.FINISHED:
                raise InvalidArgument("cannot advance, execution has finished")
            case _:
                raise InvalidArgument(answer.message or f"cannot advance: {answer.kind}")

    # --- upgrade -----------------------------------------------------------------------------------------------------

    async def upgrade(
        self,
        execution_id: ExecutionId,
        *,
        expected: Digest | None = None,
        target: Digest | None = None,
        skip_check: bool = False,
    ) -> bool:
        """Runs the execution on another component from now on: `target`, or the active one that exports its function. A
        parked one is resumed by that. False: it was on it already. `expected`: what it must be on before. `skip_check`:
        without looking whether its log replays there. Also raises `ReplayFailed`, and `NotReady` when it goes on faster
        than it can be looked at.
        """
        for _ in range(LOOKS_MAX):
            snapshot = await self.snapshot(execution_id)
            state = snapshot.state
            info = self._target(state, target)
            if info.component == state.component:
                return False
            if state.status is Status.FINISHED:
                raise HasFinished(_FINISHED)
            if expected is not None and state.component != expected:
                raise InvalidArgument(f"cannot upgrade, execution runs on {state.component}, not on {expected}")
            checked: int | None = None
            if not skip_check:
                await self._check(snapshot, info)
                checked = state.next_version
            with asking():
                answer = await self._engine.operate(execution_id, UpgradeRequest(info.component, checked))
            match answer.kind:
                case AnswerKind.DONE | AnswerKind.REQUESTED:
                    return True
                case AnswerKind.ALREADY:
                    return False
                case AnswerKind.OUTDATED:
                    continue
                case AnswerKind.NOT_FOUND:
                    raise no_execution(execution_id)
                case AnswerKind.FINISHED:
                    raise HasFinished(_FINISHED)
                case _:
                    raise InvalidArgument(answer.message or f"cannot upgrade: {answer.kind}")
        raise NotReady(
            f"{execution_id} went on each of the {LOOKS_MAX} times that its log was replayed on the new component:"
            " pause it, upgrade it, then unpause it"
        )

    def _target(self, state: ExecutionState, target: Digest | None) -> FunctionInfo:
        if target is None:
            return self.active(state.ffqn)
        info = self._engine.catalogue.pinned(target, state.ffqn)
        if info is None:
            raise NotFound(f"component not found: {target} is not loaded, or does not export {state.ffqn}")
        return info

    async def _check(self, snapshot: Snapshot, info: FunctionInfo) -> None:
        """Raises `ReplayFailed` unless the log replays on the component of `info`."""
        if info.kind is not FunctionKind.WORKFLOW:
            return  # an activity has no log that could be left
        replay = await self.run(snapshot, info, 1, self._engine.now())
        if replay.problem:
            raise ReplayFailed(f"replay failed: {replay.problem}")

    async def check_before(self, version: int, snapshot: Snapshot, info: FunctionInfo) -> None:
        """Raises `ReplayFailed` unless the log before `version` replays on the component of `info`."""
        state = msgspec.structs.replace(snapshot.state, status=Status.PENDING, next_version=version)
        await self._check(msgspec.structs.replace(before(snapshot, version), state=state), info)


def _recorded_end(snapshot: Snapshot) -> Outcome | None:
    last: LogEntry = snapshot.log[-1]
    return last.event.outcome if isinstance(last.event, Finished) else None


def _problem(snapshot: Snapshot, replayed: Replayed, info: FunctionInfo) -> str:
    """Where and how the replay left the log, if it did."""
    divergence = replayed.divergence
    if divergence is not None:
        return f"nondeterminism detected at version {divergence.version}:\n{divergence.detail}"
    recorded = _recorded_end(snapshot)
    if replayed.gave_up:
        if isinstance(recorded, Failure) and recorded.kind is FailureKind.OUT_OF_FUEL:
            return ""
        budget_ms = info.policy.cpu_budget_us // 1_000
        return (
            f"the workflow computed for more than {budget_ms} ms between two host calls (exec.cpu_budget), or called the"
            " host again and again without leaving a trace"
        )
    if recorded is None or len(replayable(snapshot.log)) < len(snapshot.log):
        return ""  # it goes on; or it was ended by somebody, and only what is before that is its own
    return _other_end(recorded, replayed, snapshot.state.next_version - 1)


def _other_end(recorded: Outcome, replayed: Replayed, version: int) -> str:
    """How the end of the replay differs from the recorded one."""
    where = f"nondeterminism detected at version {version}:\nthe log ends here"
    if replayed.new:
        return f"{where}, now the workflow goes on with {kind_of(replayed.new[0][0].event)}"
    if replayed.outcome is None:
        return f"{where}, now the workflow waits"
    was, now = _end(recorded), _end(replayed.outcome)
    return "" if was == now else f"{where}: recorded {was}, now {now}"


def _end(outcome: Outcome) -> str:
    """What of an end is compared: of a failure its kind, since texts of traps tell of places in a component's code."""
    if isinstance(outcome, Failure):
        return f"failure ({outcome.kind})"
    return f"{outcome.__struct_config__.tag} {bytes(outcome.value).decode()}".rstrip()
