"""A simulated deployment: functions by name, fresh ids from a seed, and a budget that is counted instead of measured.

Implements the engine's ports `Registry`, `Entropy` and `Budget`. Nothing here reads a clock or draws real randomness.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final

import msgspec

from obelisk.core.events import RejectReason
from obelisk.core.ids import DeploymentId, Digest, ExecutionId, ExecutorId, RunId, ulid
from obelisk.core.instants import Instant
from obelisk.core.names import FunctionName
from obelisk.core.policy import ExecutionPolicy
from obelisk.core.ports import FunctionInfo, FunctionKind, Rejection, Typed
from obelisk.core.values import Err, ErrForm, Json, Ok
from obelisk.testing.guests import FlowFunction, PythonGuest, StrictGuest

COMPONENT: Final = Digest("sha256:" + "c0" * 32)
DEPLOYMENT: Final = DeploymentId("Dep_" + ulid(0, bytes(10)))

_array: Final = msgspec.json.Decoder(list[Any]).decode
_sides: Final = msgspec.json.Decoder(dict[str, Json]).decode


class SimulatedRegistry:
    """The functions of one deployment, all of one component, and of older components. Several engines may share one."""

    def __init__(self) -> None:
        self.guests: Final[set[StrictGuest]] = set()
        """Guests that were started and not closed."""
        self._functions: dict[FunctionName, FunctionInfo] = {}
        self._pinned: dict[tuple[Digest, FunctionName], FunctionInfo] = {}
        self._flows: dict[tuple[Digest, FunctionName], FlowFunction] = {}

    def add_activity(self, ffqn: str, policy: ExecutionPolicy | None = None) -> FunctionName:
        """Deploys an activity; running it is the world's business."""
        return self._add(ffqn, FunctionKind.ACTIVITY, policy)

    def add_workflow(
        self,
        ffqn: str,
        flow: FlowFunction,
        policy: ExecutionPolicy | None = None,
        component: Digest = COMPONENT,
    ) -> FunctionName:
        """Deploys a workflow. Under another `component`: the one that had it before can still be run."""
        name = self._add(ffqn, FunctionKind.WORKFLOW, policy, component)
        self._flows[component, name] = flow
        return name

    def add_stub(self, ffqn: str) -> FunctionName:
        """Deploys a stub activity: nothing runs it."""
        return self._add(ffqn, FunctionKind.STUB, None)

    def _add(
        self, ffqn: str, kind: FunctionKind, policy: ExecutionPolicy | None, component: Digest = COMPONENT
    ) -> FunctionName:
        name = FunctionName(ffqn)
        info = FunctionInfo(name, kind, component, ErrForm.NONE, policy or ExecutionPolicy())
        self._functions[name] = self._pinned[component, name] = info
        return name

    def remove(self, ffqn: FunctionName) -> None:
        """Takes a function away again."""
        info = self._functions.pop(ffqn)
        del self._pinned[info.component, ffqn]

    def active(self, ffqn: FunctionName) -> FunctionInfo | None:
        """The function, if it is deployed."""
        return self._functions.get(ffqn)

    def pinned(self, component: Digest, ffqn: FunctionName) -> FunctionInfo | None:
        """The function as that component has it."""
        return self._pinned.get((component, ffqn))

    def typed_params(self, ffqn: FunctionName, params: Json) -> Typed | Rejection:
        """Any array fits."""
        info = self._functions.get(ffqn)
        if info is None:
            return Rejection(RejectReason.FUNCTION_NOT_FOUND)
        try:
            return Typed(json_array(*_array(params)), info)
        except msgspec.MsgspecError as error:
            return Rejection(RejectReason.TYPE_CHECK_ERROR, str(error))

    def typed_result(self, component: Digest, ffqn: FunctionName, result: Json) -> Ok | Err | Rejection:
        """Any `{"ok": …}` or `{"err": …}` fits."""
        sides = _sides(result)
        match list(sides.items()):
            case [("ok", value)]:
                return Ok(value)
            case [("err", value)]:
                return Err(value)
        return Rejection(RejectReason.TYPE_CHECK_ERROR, 'expected {"ok": …} or {"err": …}')

    def guest(self, component: Digest, ffqn: FunctionName, execution_id: ExecutionId) -> PythonGuest:
        """A guest of the workflow function `ffqn`."""
        return PythonGuest(execution_id, self._flows[component, ffqn], self.guests)


class SeededEntropy:
    """Ids from a seeded generator, unique over all that are made with one `Random`."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def _ulid(self, now: Instant) -> str:
        return ulid(max(now, 0) // 1000, self._random.randbytes(10))

    def run_id(self, now: Instant) -> RunId:
        """A run id."""
        return RunId("Run_" + self._ulid(now))

    def executor_id(self, now: Instant) -> ExecutorId:
        """An executor id: one for each start of a node."""
        return ExecutorId("Exr_" + self._ulid(now))

    def execution_id(self, now: Instant) -> ExecutionId:
        """A top-level execution id."""
        return ExecutionId("E_" + self._ulid(now))

    def batch_id(self) -> str:
        """A batch id."""
        return self._random.randbytes(16).hex()


class CountedBudget:
    """A budget of so many questions a tick; None: without end."""

    def __init__(self, questions: int | None = None) -> None:
        self.questions = questions
        self._left = 0

    def start(self) -> None:
        """A tick begins."""
        self._left = -1 if self.questions is None else self.questions

    def spent(self) -> bool:
        """Whether the questions of this tick are used up."""
        if self._left > 0:
            self._left -= 1
        return self._left == 0


def json_array(*items: object) -> msgspec.Raw:
    """The items as a canonical JSON array: parameters of a call."""
    return msgspec.Raw(msgspec.json.encode(items))
