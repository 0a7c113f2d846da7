"""Books: what the engine keeps of everything that it holds, and the queues that it stands in.

Decides what may run now and where it waits for its turn. Nothing here is truth, and nothing here writes: whoever changes a
log does it in a unit. All parts of the engine share one `Books`.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

from obelisk.core import ids
from obelisk.core.ids import DeploymentId, ExecutionId, ExecutorId, RunId
from obelisk.core.names import FunctionName
from obelisk.core.policy import Limits
from obelisk.core.ports import Entropy, FunctionKind, Registry
from obelisk.core.state import Lifecycle, Status
from obelisk.engine.effects import Load
from obelisk.engine.held import Held, Phase
from obelisk.engine.inputs import Input
from obelisk.engine.tick import Draft
from obelisk.engine.timers import TimerKind, Timers
from obelisk.engine.warmth import Warmth
from obelisk.engine.window import StartWindow

_NOT_BLOCKED: Final = frozenset({Status.PENDING, Status.LOCKED})


class Books:
    """The memory of one engine."""

    def __init__(
        self,
        executor: ExecutorId,
        deployment: DeploymentId,
        registry: Registry,
        entropy: Entropy,
        limits: Limits,
        *,
        shared: bool,
    ) -> None:
        self.executor: Final = executor
        self.deployment = deployment
        """The active one, of which new executions are."""
        self.registry: Final = registry
        self.entropy: Final = entropy
        self.limits: Final = limits
        self.shared: Final = shared
        """Whether other engines use the same store."""
        self.held: Final[dict[ExecutionId, Held]] = {}
        self.again: list[Input] = []
        """Inputs to apply first in the next tick."""
        self.runnable: Final[deque[Held]] = deque()
        """Workflows to be stepped, in turn."""
        self.window: Final = StartWindow(limits.start_window_shared if shared else limits.start_window)
        self.warmth: Final = Warmth(limits, registry.typed_params)
        self.attempts: Final[dict[ExecutionId, RunId]] = {}
        """The last attempt that the runtime was told to start. One that has ended stays until its end is durable: its
        completion may have to be offered again, and until then the execution must not look lost."""
        self.reads: Final[Counter[ExecutionId]] = Counter()
        """Answers to `Load` that are still to come; only the last one counts."""
        self.timers: Final = Timers()
        self.suspects: frozenset[ExecutionId] = frozenset()
        """Workflows among these may have taken a process down without a trace: they run when their lock is durable."""

    # --- who is who --------------------------------------------------------------------------------------------------

    def trusted(self, held: Held, item: Input) -> bool:
        """Whether the entry may be used; if not, `item` is kept until it has been reloaded."""
        if not held.is_trusted:
            held.held_back.append(item)
        return held.is_trusted

    def parent_of(self, held: Held) -> Held | None:
        """What is held of the parent."""
        parent_id = ids.parent_of(held.execution_id)
        return None if parent_id is None else self.held.get(parent_id)

    def parent_is_ready(self, held: Held, item: Input) -> bool:
        """Whether the parent's memory may be used now; if not, `item` is kept until it may."""
        parent = self.parent_of(held)
        return parent is None or self.trusted(parent, item)

    def can_finish(self, held: Held) -> bool:
        """Whether the parent's memory may be used now."""
        parent = self.parent_of(held)
        return parent is None or parent.is_trusted

    def find(self, execution_id: ExecutionId) -> Held | None:
        """What the engine holds of an execution."""
        return self.held.get(execution_id)

    def make_runnable(self, held: Held) -> None:
        """A workflow is stepped when it is its turn."""
        held.phase = Phase.READY
        self.warmth.wakes(held)
        self.runnable.append(held)

    def kind_of_child(self, child: ExecutionId, ffqn: FunctionName) -> FunctionKind | None:
        """What a child is, as far as it is known."""
        held = self.held.get(child)
        if held is not None:
            return held.kind
        info = self.registry.active(ffqn)
        return None if info is None else info.kind

    def load(self, held: Held, draft: Draft) -> None:
        """The store is asked for the execution."""
        held.phase = Phase.LOADING
        draft.effects.append(Load(held.execution_id))

    def forget(self, held: Held) -> None:
        """The execution is not held any more."""
        if held.machine is not None:
            self.warmth.cool(held)
        self.held.pop(held.execution_id, None)
        self.window.drop(held.execution_id)
        self.attempts.pop(held.execution_id, None)

    def may_run(self, held: Held) -> bool:
        """Whether something is to be done about it now: it runs, closes what it has started, or is advanced."""
        state = held.state
        if state.status not in _NOT_BLOCKED:
            return False
        match state.lifecycle:
            case Lifecycle.ACTIVE:
                return True
            case Lifecycle.CANCELLING:
                return held.kind is FunctionKind.WORKFLOW
            case Lifecycle.PAUSED:
                return held.advance is not None
            case Lifecycle.PARKED:
                return False

    def take_up(self, held: Held, draft: Draft) -> None:
        """Puts an execution that may run into its queue, or arms the timer for when it may."""
        state = held.state
        if state.status is Status.PENDING and state.pending_at > draft.now:
            self.timers.arm(state.pending_at, TimerKind.PENDING, held.execution_id)
        else:
            self.queue(held)

    def queue(self, held: Held) -> None:
        """Puts an execution that may run into its queue."""
        if not self.may_run(held):
            return
        if held.kind is FunctionKind.WORKFLOW:
            self.make_runnable(held)
        elif held.kind is FunctionKind.ACTIVITY:
            self.window.wait(held)

    def cool(self, held: Held) -> None:
        """Drops what is in memory of an execution, and its place in the start window."""
        self.warmth.cool(held)
        self.window.drop(held.execution_id)
