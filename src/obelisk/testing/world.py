"""The world: real engines in virtual time, with everything around them simulated.

A world has one store, one or two nodes (an engine, its inbox, its running attempts and guests), clients, and faults. It
is a loop over a heap of moments; whatever is random comes from one seeded generator, so a seed repeats a run exactly.
Between deciding, committing and settling a tick other things happen, as in life. After every commit the invariants of
what was touched are checked; see `invariants.py`.

The world performs effects as the runtime does, only without threads, files, clocks or wasm. It decides nothing about
executions.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Final, assert_never

import msgspec

from obelisk.core.batch import CommitUnknown, Expect, Recovered, Refused, RefusedBy, Unit, UnitOutcome
from obelisk.core.events import Locked
from obelisk.core.ids import ExecutionId, ExecutorId, RunId
from obelisk.core.instants import Instant
from obelisk.core.policy import ExecutionPolicy, Limits
from obelisk.core.ports import Guest, Yielded
from obelisk.core.transitions import Status
from obelisk.core.values import Err, Failure, FailureKind, Ok
from obelisk.engine.effects import (
    Answer,
    AnswerKind,
    Changed,
    CheckNews,
    Claim,
    Effect,
    EmitLog,
    KillAttempt,
    Load,
    Look,
    Renew,
    RunGuest,
    StartAttempt,
    WakeOthers,
)
from obelisk.engine.engine import Engine
from obelisk.engine.inbox import Inbox, InboxFull
from obelisk.engine.inputs import (
    AttemptFinished,
    AttemptKilled,
    AttemptSliced,
    AttemptStopped,
    Claimed,
    Loaded,
    Looked,
    News,
    Stepped,
    Submit,
)
from obelisk.engine.tick import Tick
from obelisk.store.memory import MemoryStore
from obelisk.testing import invariants
from obelisk.testing.deployment import DEPLOYMENT, CountedBudget, SeededEntropy, SimulatedRegistry, json_array
from obelisk.testing.faults import AttemptFault, Calm, CommitFault, Faults, HintFault, NodeFault, Storm
from obelisk.testing.invariants import Violation
from obelisk.testing.programs import ACTIVITIES, ACTIVITY_POLICY, RUN, Program, Say, deploy

MS: Final = 1_000
EPOCH: Final = 1_700_000_000_000_000
"""The wall clock at the beginning of the world, in µs."""
_CLIENT_PATIENCE: Final = 2_000 * MS


class Submission(msgspec.Struct, frozen=True):
    """A client that wants an execution of `program` at `at_us`."""

    execution_id: ExecutionId
    program: int
    at_us: int


class Setting(msgspec.Struct, frozen=True):
    """What a world consists of."""

    programs: tuple[Program, ...]
    submissions: tuple[Submission, ...]
    nodes: int = 1
    """One node owns its store; two share it."""
    limits: Limits = Limits()
    workflow_policy: ExecutionPolicy = ExecutionPolicy()
    activity_policy: ExecutionPolicy = ACTIVITY_POLICY
    budget: int | None = None
    """How often a tick may ask for its budget; None: without end."""
    admit_max: int = 1_000
    """Inputs that one tick admits."""
    calm_after_us: int = 5_000 * MS
    """When a storm is over."""
    end_after_us: int = 3_600_000 * MS
    """By then everything must have finished."""
    slow: int = 1
    """Factor on how long attempts take."""


class World:
    """One run. `run` until everything has finished, or raise `Violation`."""

    def __init__(self, seed: int, setting: Setting, faults: Faults | None = None) -> None:
        self.seed: Final = seed
        self.setting: Final = setting
        self.random: Final = Random(seed)
        self.faults: Final = Calm() if faults is None else faults
        self.store: Final = MemoryStore()
        self.now = 0
        self.clock_offset = EPOCH
        self.commits = 0
        self.ticks = 0
        self.starts: Counter[ExecutionId] = Counter()
        """Attempts that were started, by execution."""
        self.lines: list[EmitLog] = []
        self.story: list[str] = []
        """What happened, one line a moment: printed when a run fails."""
        self._moments: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self.entropy: Final = SeededEntropy(self.random)
        self.nodes: Final = [Node(self, index) for index in range(setting.nodes)]
        self.clients: Final = [Client(self, submission) for submission in setting.submissions]

    # --- time --------------------------------------------------------------------------------------------------------

    @property
    def wall(self) -> Instant:
        """What the nodes' clocks show."""
        return Instant(self.now + self.clock_offset)

    def after(self, us: int, what: Callable[[], None]) -> None:
        """Does `what` in `us` microseconds."""
        self._count += 1
        heapq.heappush(self._moments, (self.now + us, self._count, what))

    def tell(self, text: str) -> None:
        """Adds a line to the story."""
        self.story.append(f"{self.now / MS:10.3f} ms  {text}")

    # --- running -----------------------------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether every client was answered and every execution that it asked for has ended."""
        return all(client.answered and client.ended for client in self.clients)

    def run(self) -> None:
        """Runs until all is done and the nodes are quiet, then checks everything."""
        for node in self.nodes:
            node.boot()
        for client in self.clients:
            self.after(client.submission.at_us, client.submit)
        if isinstance(self.faults, Storm):
            self.after(10 * MS, self._trouble)
        try:
            self._loop()
            self.check()
        except Exception as error:
            raise Violation(f"seed {self.seed}: {error}\n" + "\n".join(self.story[-400:])) from error

    def _loop(self) -> None:
        while not (self.done and self._is_quiet()):
            if not self._moments:
                raise Violation("nothing happens any more, but not everything has finished")
            at, _, what = heapq.heappop(self._moments)
            self.now = max(self.now, at)
            if self.now > self.setting.end_after_us:
                raise Violation("not everything has finished in time")
            what()
            if self.setting.nodes == 1:
                self.nodes[0].check_effects()

    def _is_quiet(self) -> bool:
        return all(node.is_quiet for node in self.nodes)

    def _trouble(self) -> None:
        """Lets the storm strike at the nodes, until it is over."""
        assert isinstance(self.faults, Storm)
        if self.now >= self.setting.calm_after_us:
            self.faults.over = True
            self.tell("the storm is over")
            return
        for node in self.nodes:
            fault = self.faults.at_large()
            if fault is not None and node.is_up:
                self.faults.book(fault)
                self.tell(f"node {node.index}: {fault}")
                match fault:
                    case NodeFault.CRASH:
                        node.crash()
                    case NodeFault.STOP:
                        node.stop()
                    case NodeFault.PAUSE:
                        node.pause(self.random.choice([1, 20, 2_000]) * MS)
                    case NodeFault.CLOCK:
                        self.clock_offset += self.random.choice([-3_000, -5, 5, 3_000]) * MS
                        for other in self.nodes:
                            other.poke()
                    case _:
                        assert_never(fault)
        self.after(self.random.randint(1, 100) * MS, self._trouble)

    # --- checking ----------------------------------------------------------------------------------------------------

    def check_commit(self, units: list[Unit], outcomes: list[UnitOutcome]) -> None:
        """What must hold of everything that a batch touched."""
        touched = {
            state.execution_id: None
            for unit, outcome in zip(units, outcomes, strict=True)
            if not isinstance(outcome, Refused)
            for state in unit.states
        }
        for execution_id in touched:
            snapshot = invariants.snapshot_of(self.store, execution_id)
            invariants.log_is_whole(snapshot)
            invariants.state_follows(snapshot)

    def check(self) -> None:
        """What must hold of the whole store."""
        registry = self.new_registry()
        for execution_id in invariants.everything(self.store):
            snapshot = invariants.snapshot_of(self.store, execution_id)
            invariants.log_is_whole(snapshot)
            invariants.state_follows(snapshot)
            invariants.awaits_match(snapshot)
            invariants.family_agrees(self.store, snapshot)
            invariants.end_is_the_end(self.store, snapshot)
            if type(self.faults) is Calm and snapshot.state.ffqn not in ACTIVITIES:
                self._lines_are_told(execution_id)
            if snapshot.state.ffqn in ACTIVITIES:
                invariants.retries_are_kept(snapshot, self.setting.activity_policy)
                if self.setting.nodes == 1:
                    invariants.locked_only_when_lost(snapshot)
            else:
                if type(self.faults) is Calm and self.setting.nodes == 1:
                    invariants.locked_only_when_due(snapshot)
                component, ffqn = snapshot.state.component, snapshot.state.ffqn
                invariants.replays(snapshot, registry.guest(component, ffqn, execution_id))
            if self.setting.nodes == 1 and snapshot.requests:
                raise Violation(f"{execution_id} has unanswered requests: {snapshot.requests}")
        engine = self.nodes[0].engine
        if self.setting.nodes == 1 and engine is not None:
            left = (engine.open_count, engine.hot_count, len(self.nodes[0].registry.guests))
            if left != (0, 0, 0):
                raise Violation(f"executions held, counted hot, guests alive: {left}, although all have finished")

    def _lines_are_told(self, execution_id: ExecutionId) -> None:
        """For an undisturbed run: each log line of a workflow leaves once, in order."""
        created = self.store.created(execution_id)
        assert created is not None
        (index,) = msgspec.json.decode(created.params, type=list[int])
        said = [line.message for line in self.setting.programs[index].statements if isinstance(line, Say)]
        lines = [line for line in self.lines if line.execution_id == execution_id]
        places = [(line.version, line.ordinal) for line in lines]
        if [line.message for line in lines] != said or sorted(set(places)) != places:
            raise Violation(f"{execution_id} said {said}, told was {lines}")

    def new_registry(self) -> SimulatedRegistry:
        """The deployment, as a process of its own has it."""
        registry = SimulatedRegistry()
        deploy(list(self.setting.programs), registry, self.setting.workflow_policy, self.setting.activity_policy)
        return registry


class Client:
    """Asks for one execution until it has an answer."""

    def __init__(self, world: World, submission: Submission) -> None:
        self.world: Final = world
        self.submission: Final = submission
        self.answered = False
        self._has_ended = False

    @property
    def ended(self) -> bool:
        """Whether the execution is over, or stands still."""
        if not self._has_ended:
            state = self.world.store.state(self.submission.execution_id)
            self._has_ended = state is not None and state.status is Status.FINISHED
        return self._has_ended

    def submit(self) -> None:
        """Asks some node, and asks again when no answer comes."""
        if self.answered:
            return
        world, submission = self.world, self.submission
        nodes = [node for node in world.nodes if node.is_up]
        for _ in range(2 if world.faults.submits_twice() else 1):
            if nodes:
                params = json_array(submission.program)
                token = world.clients.index(self)
                try:
                    world.random.choice(nodes).offer(Submit(token, submission.execution_id, RUN, params))
                except InboxFull:
                    world.tell(f"{submission.execution_id} is refused: the inbox is full")
        world.after(_CLIENT_PATIENCE, self.submit)

    def answer(self, kind: AnswerKind) -> None:
        """Learns what became of it; it must be durable."""
        if kind is AnswerKind.FUNCTION_NOT_FOUND or self.world.store.state(self.submission.execution_id) is None:
            raise Violation(f"{self.submission.execution_id} was answered {kind}, but is not in the store")
        self.answered = True


_Offered = (
    Submit
    | AttemptFinished
    | AttemptSliced
    | AttemptStopped
    | AttemptKilled
    | Stepped
    | Loaded
    | Looked
    | News
    | Claimed
)  # what a driver offers


class Node:
    """One process: boots, works, dies, and boots again."""

    def __init__(self, world: World, index: int) -> None:
        self.world: Final = world
        self.index: Final = index
        self.engine: Engine | None = None
        self.registry = world.new_registry()
        self.inbox = Inbox(world.setting.limits.inbox_max)
        self.executor = ExecutorId("")
        self.attempts: dict[ExecutionId, RunId] = {}
        """What runs now."""
        self._kills: set[ExecutionId] = set()
        """What is being killed now."""
        self._lane: set[Guest] = set()
        self._life = 0
        """Counts boots and deaths: whatever belongs to an earlier life is void."""
        self._paused_until = 0
        self._is_ticking = False
        self._alarm: int | None = None
        """The moment for which a tick is arranged because a timer is due then."""
        self._started: frozenset[ExecutionId] = frozenset()
        """What had really started when the process died."""
        self._stopping = False
        self._checked = 0
        """Ticks of the world when its effects were last checked."""

    # --- life --------------------------------------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether the process is alive (it may be paused)."""
        return self.engine is not None and not self._stopping

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way that it will finish by itself, timers apart."""
        if self.engine is None:
            return True
        is_busy = self.engine.has_work or self.inbox or self._is_ticking
        return not (is_busy or self.attempts or self._kills or self._lane)

    @property
    def _is_shared(self) -> bool:
        return self.world.setting.nodes > 1

    def boot(self) -> None:
        """A new process with a new executor id takes over what it finds."""
        world, setting = self.world, self.world.setting
        self._life += 1
        self._stopping = False
        self.registry = world.new_registry()
        self.inbox = Inbox(setting.limits.inbox_max)
        self.executor = world.entropy.executor_id(world.wall)
        budget = CountedBudget(setting.budget)
        engine = Engine(
            self.executor, DEPLOYMENT, self.registry, world.entropy, budget, setting.limits, shared=self._is_shared
        )
        recovered = Recovered([], [])
        if not self._is_shared:
            recovered = world.store.take_over(self.executor, self._started)
        world.tell(f"node {self.index}: boots as {self.executor}, takes {len(recovered.states)}")
        engine.recover(recovered, world.wall)
        self.engine = engine
        self.poke()

    def crash(self) -> None:
        """The process is gone; another starts a little later."""
        if self.engine is None:
            return
        self.world.tell(f"node {self.index}: dies")
        self._started = frozenset(self.attempts)
        self._die()

    def stop(self) -> None:
        """A clean stop: attempts are given up, what they tell is written down, then the process ends."""
        if not self.is_up:
            return
        self._stopping = True
        for execution_id, run in list(self.attempts.items()):
            self.inbox.offer(AttemptStopped(execution_id, run, "the server stops"))
        self.attempts.clear()
        self.poke()
        life = self._life
        self.world.after(5 * MS, lambda: self._stopped(life))

    def _stopped(self, life: int) -> None:
        if life == self._life and self.engine is not None:
            self.world.tell(f"node {self.index}: has stopped")
            self._started = frozenset()
            self._die()

    def _die(self) -> None:
        for guest in [*self.registry.guests, *self._lane]:
            guest.close()
        self.engine = None
        self.attempts.clear()
        self._kills.clear()
        self._lane.clear()
        self._life += 1
        self._is_ticking = False
        self._alarm = None
        self._paused_until = 0
        self.world.after(self.world.random.choice([1, 50, 1_500]) * MS, self.boot)

    def pause(self, us: int) -> None:
        """The process does nothing for a while, and does not notice."""
        self._paused_until = self.world.now + us

    def later(self, us: int, what: Callable[[], None]) -> None:
        """Does `what` in `us`, if this process is still alive then; when it is paused, after that."""
        life = self._life

        def act() -> None:
            if life != self._life:
                return
            if self.world.now < self._paused_until:
                self.world.after(self._paused_until - self.world.now, act)
            else:
                what()

        self.world.after(us, act)

    # --- ticks -------------------------------------------------------------------------------------------------------

    def offer(self, item: _Offered) -> None:
        """Puts an input into the inbox and wakes the engine."""
        self.inbox.offer(item)
        self.poke()

    def poke(self) -> None:
        """Sees to it that there is a tick soon."""
        self.later(self.world.random.randint(0, 200), self.tick)

    def _set_alarm(self, us: int) -> None:
        at = self.world.now + us
        if self._alarm is None or at < self._alarm:
            self._alarm = at
            self.later(us, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self.tick()

    def tick(self) -> None:
        """Decides; commits a little later."""
        engine = self.engine
        if engine is None or self._is_ticking:
            return
        now = self.world.wall
        due = engine.next_due()
        if not (self.inbox or engine.has_work or (due is not None and due <= now)):
            if due is not None:
                self._set_alarm(due - now)
            return
        self._is_ticking = True
        self.world.ticks += 1
        tick = engine.decide(self.inbox.admit(self.world.setting.admit_max), now)
        self.later(self.world.random.randint(50, 500), lambda: self._commit(tick))

    def _commit(self, tick: Tick) -> None:
        if not tick.units:
            self._settle(tick, [], CommitFault.NONE)
            return
        world = self.world
        world.commits += 1
        fault = world.faults.at_commit(world.commits)
        if fault is not CommitFault.NONE:
            world.faults.book(fault)
            world.tell(f"node {self.index}: {fault}, commit {world.commits}")
        if fault is CommitFault.CRASH_BEFORE:
            self.crash()
            return
        units = list(tick.units)
        if fault in {CommitFault.REFUSE, CommitFault.REFUSE_ALL}:
            one = world.random.randrange(len(units))
            units = [
                self._refusable(unit) if index == one or fault is CommitFault.REFUSE_ALL else unit
                for index, unit in enumerate(units)
            ]
        outcomes = self._write(tick.batch_id, units, fault)
        if fault is CommitFault.CRASH_AFTER:
            self.crash()
            return
        self.later(world.random.randint(10, 100), lambda: self._settle(tick, outcomes, fault))

    def _refusable(self, unit: Unit) -> Unit:
        nobody = Expect(ExecutionId("E_" + "0" * 26), 1)
        return msgspec.structs.replace(unit, expects=[*unit.expects, nobody])

    def _write(self, batch_id: str, units: list[Unit], fault: CommitFault) -> list[UnitOutcome]:
        """Commits as the runtime does: reads back what is unknown; what was not committed counts as refused."""
        world = self.world
        try:
            if fault is CommitFault.LOST_UNDONE:
                raise CommitUnknown
            before = {
                state.execution_id: world.store.state(state.execution_id) for unit in units for state in unit.states
            }
            outcomes = world.store.commit(batch_id, units)
            for unit, outcome in zip(units, outcomes, strict=True):
                world.tell(f"node {self.index}: {_show(unit)} -> {outcome}")
                for state in unit.states if not isinstance(outcome, Refused) else ():
                    invariants.only_holders_write(before[state.execution_id], state, self.executor)
            world.check_commit(units, outcomes)
            if fault is CommitFault.LOST_DONE:
                raise CommitUnknown
        except CommitUnknown:
            read_back = world.store.outcome_of(batch_id)
            if read_back is None:
                return [Refused(RefusedBy.VERSION)] * len(units)
            outcomes = read_back
        return outcomes

    def _settle(self, tick: Tick, outcomes: list[UnitOutcome], fault: CommitFault) -> None:
        assert self.engine is not None
        self._is_ticking = False
        effects = self.engine.settle(tick, outcomes)
        if fault is CommitFault.CRASH_SETTLED:
            self.crash()
            return
        for effect in effects:
            self._perform(effect)
        self.poke()

    # --- effects -----------------------------------------------------------------------------------------------------

    def _perform(self, effect: Effect) -> None:
        world = self.world
        match effect:
            case StartAttempt():
                self._start(effect)
            case KillAttempt(execution_id, run):
                if self.attempts.get(execution_id) == run and not world.faults.survives_kill():
                    del self.attempts[execution_id]
                killed = AttemptKilled(execution_id, run)
                self._kills.add(execution_id)
                self.later(world.random.randint(1, 5_000), lambda: self._killed(killed))
            case RunGuest():
                self._lane.add(effect.guest)
                self.later(world.random.randint(1, 20) * MS, lambda: self._run_guest(effect))
            case Load(execution_id):
                self.offer(Loaded(execution_id, world.store.load(execution_id)))
            case Look(execution_id):
                self.offer(Looked(execution_id, world.store.load(execution_id)))
            case Answer(token, kind):
                world.clients[token].answer(kind)
            case EmitLog(execution_id, version):
                state = world.store.state(execution_id)
                if state is None or version > state.next_version:
                    raise Violation(f"a log line left before its event was durable: {effect}")
                world.lines.append(effect)
            case Changed(state):
                row = world.store.state(state.execution_id)
                if row is None or row.next_version < state.next_version:
                    raise Violation(f"{state.execution_id} is said to have changed, but the store does not know")
            case WakeOthers(execution_id):
                self._wake_others(execution_id)
            case Claim(count_max):
                expires_at = Instant(world.wall + world.setting.limits.lease_us)
                recovered = world.store.claim(self.executor, world.wall, expires_at, count_max)
                if recovered.states:
                    world.tell(f"node {self.index}: claims {[state.execution_id for state in recovered.states]}")
                    self.offer(Claimed(recovered))
            case Renew(lease_expires_at):
                world.store.renew(self.executor, lease_expires_at)
            case CheckNews():
                news = world.store.news(self.executor)
                if news:
                    self.offer(News(news))
            case _:
                assert_never(effect)

    def _wake_others(self, execution_id: ExecutionId) -> None:
        fault = self.world.faults.at_hint()
        if fault is not None:
            self.world.faults.book(fault)
        if fault is HintFault.LOST:
            return
        for node in self.world.nodes:
            if node is not self and node.engine is not None:
                late = 300 * MS if fault is HintFault.LATE else 0
                node.later(late, lambda node=node: node.offer(News([execution_id])))  # type: ignore[misc]

    def _run_guest(self, effect: RunGuest) -> None:
        if effect.guest not in self._lane:
            return
        step = effect.guest.resume()
        if isinstance(step, Yielded):
            self.later(self.world.random.randint(1, 20) * MS, lambda: self._run_guest(effect))
            return
        self._lane.discard(effect.guest)
        self.offer(Stepped(effect.execution_id, effect.generation, effect.guest, step))

    # --- attempts ----------------------------------------------------------------------------------------------------

    def _start(self, effect: StartAttempt) -> None:
        world, execution_id, run = self.world, effect.execution_id, effect.run
        snapshot = invariants.snapshot_of(world.store, execution_id)
        if not any(isinstance(entry.event, Locked) and entry.event.run == run for entry in snapshot.log):
            raise Violation(f"{run} of {execution_id} starts, but is not in the log")
        if execution_id in self.attempts:
            raise Violation(f"{execution_id} starts as {run} although {self.attempts[execution_id]} runs")
        world.tell(f"node {self.index}: starts {execution_id} {run}")
        world.starts[execution_id] += 1
        self.attempts[execution_id] = run
        if self._stopping:
            self._end_of(execution_id, run, AttemptStopped(execution_id, run, "the server stops"))
            return
        failures = snapshot.state.failures
        result = ACTIVITIES[effect.ffqn].outcome(execution_id, failures)
        fault = world.faults.at_attempt()
        may_fail = failures < world.setting.activity_policy.retry.max_retries and not isinstance(result, Err)
        fails = {AttemptFault.FAILS, AttemptFault.TIMES_OUT, AttemptFault.TIMES_OUT_AND_ENDS}
        if fault in fails and not may_fail:
            fault = AttemptFault.NONE
        if fault is not AttemptFault.NONE:
            world.faults.book(fault)
        us = world.random.choice([1, 500, 3_000, 40_000]) * world.setting.slow
        timed_out = AttemptFinished(execution_id, run, Failure(FailureKind.TIMED_OUT))
        if us > 500:
            self.later(500, lambda: self._slice(execution_id, run))
        match fault:
            case AttemptFault.FAILS:
                failed = AttemptFinished(
                    execution_id, run, Failure(FailureKind.UNCATEGORIZED, "activity trap: injected")
                )
                self._end_later(us, failed)
            case AttemptFault.TIMES_OUT:
                self._end_later(effect.deadline_us, timed_out)
            case AttemptFault.TIMES_OUT_AND_ENDS:
                self._end_later(us, timed_out, AttemptFinished(execution_id, run, result))
            case AttemptFault.TWICE:
                finished = AttemptFinished(execution_id, run, result)
                late = world.random.randint(0, 5_000)

                def end_twice() -> None:
                    self._end_of(execution_id, run, finished)
                    self.later(late, lambda: self.offer(finished))

                self.later(us, end_twice)
            case AttemptFault.LATE:
                self._end_later(1_000 * MS, AttemptFinished(execution_id, run, result))
            case AttemptFault.NONE:
                self._end_later(us, AttemptFinished(execution_id, run, result))
            case _:
                assert_never(fault)

    def _killed(self, killed: AttemptKilled) -> None:
        self._kills.discard(killed.execution_id)
        if self.attempts.get(killed.execution_id) == killed.run:
            del self.attempts[killed.execution_id]
        self.offer(killed)

    def _slice(self, execution_id: ExecutionId, run: RunId) -> None:
        if self.attempts.get(execution_id) == run:
            self.offer(AttemptSliced(execution_id, run))

    def _end_later(self, us: int, *ends: AttemptFinished) -> None:
        self.later(us, lambda: self._end_of(ends[0].execution_id, ends[0].run, *ends))

    def _end_of(self, execution_id: ExecutionId, run: RunId, *ends: AttemptFinished | AttemptStopped) -> None:
        if self.attempts.get(execution_id) == run:
            del self.attempts[execution_id]
            for end in ends:
                self.offer(end)

    # --- rule 6 ------------------------------------------------------------------------------------------------------

    def check_effects(self) -> None:
        """Effects follow from rows: when nothing is under way in the node that owns the store, every locked activity has
        its one attempt, every locked workflow its guest on the CPU lane, every delay and every pending execution a timer
        or a place in the queue, and no response lies about for a blocked workflow.
        """
        world, engine = self.world, self.engine
        if engine is None or self._stopping or self._checked == world.ticks or not self._is_settled(engine):
            return
        self._checked = world.ticks
        store, due = world.store, engine.next_due()
        window_is_full = len(self.attempts) > 0
        memory_is_full = engine.hot_count >= world.setting.limits.hot_max and len(self._lane) > 0
        for execution_id in invariants.everything(store):
            state = store.state(execution_id)
            assert state is not None
            if state.status is Status.FINISHED:
                continue
            instants: list[Instant] = []
            if state.ffqn in ACTIVITIES:
                runs = self.attempts.get(execution_id) == state.run or execution_id in self._kills
                if state.status is Status.LOCKED and not runs and not window_is_full:
                    raise Violation(f"{execution_id} is locked, but its attempt {state.run} does not run")
                if state.status is Status.PENDING and state.pending_at <= world.wall and not window_is_full:
                    raise Violation(f"{execution_id} could be started, but is not")
            elif (
                state.status is Status.LOCKED
                and not memory_is_full
                and not any(getattr(guest, "execution_id", None) == execution_id for guest in self._lane)
            ):
                raise Violation(f"{execution_id} is locked, but nobody works on it")
            elif state.status is Status.BLOCKED and state.responses_known < state.response_count:
                raise Violation(f"{execution_id} has a response that its holder does not know")
            elif state.status is Status.PENDING and state.pending_at <= world.wall and not memory_is_full:
                raise Violation(f"{execution_id} could go on, but nobody works on it")
            if state.status is Status.PENDING and state.pending_at > world.wall:
                instants.append(state.pending_at)
            snapshot = invariants.snapshot_of(store, execution_id)
            instants += [delay.expires_at for delay in snapshot.delays]
            if instants and (due is None or due > min(instants)):
                raise Violation(f"{execution_id} is due at {min(instants)}, the first timer at {due}")

    def _is_settled(self, engine: Engine) -> bool:
        due = engine.next_due()
        nothing_due = due is None or due > self.world.wall
        is_busy = engine.has_work or self.inbox or self._is_ticking
        return nothing_due and not is_busy and self.world.now >= self._paused_until


def _show(unit: Unit) -> str:
    """A unit in one line."""
    parts = [f"{new.execution_id[-12:]} v{new.version} {type(new.event).__name__}" for new in unit.events]
    parts += [f"{new.execution_id[-12:]} <- {new.response.body}" for new in unit.responses]
    parts += [f"request {request.body} to {request.execution_id[-12:]}" for request in unit.requests]
    return f"after {unit.after}: " + ", ".join(parts or [str([s.execution_id for s in unit.states])])


def outcomes_of(world: World) -> dict[ExecutionId, Ok | Err | Failure | None]:
    """How every execution of a world ended."""
    store = world.store
    return {
        execution_id: invariants.outcome_of(invariants.snapshot_of(store, execution_id))
        for execution_id in invariants.everything(store)
    }
