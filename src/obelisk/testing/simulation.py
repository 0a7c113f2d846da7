"""Simulations: a user's own workflow in many simulated worlds.

Decides what a seed means for it (limits, timing, faults), what counts as a failure, and how that is told. First the
workflow runs undisturbed, on one engine; then for each seed on one engine and on two that share a store, in a storm of
faults. Every run must keep the invariants and have the result of the undisturbed one.

    sim = Simulation()

    @sim.activity("shop:orders/bank.charge")
    def charge(amount): return {"receipt": amount}

    @sim.workflow("shop:orders/flows.order")
    def order(ctx, amount): return ctx.call("shop:orders/bank.charge", amount)

    sim.run("shop:orders/flows.order", [10], seeds=200)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from obelisk.core.ids import ExecutionId, ulid
from obelisk.core.names import FunctionName, parse_function_name
from obelisk.core.policy import ExecutionPolicy, Limits
from obelisk.core.ports import FunctionKind, Rejection
from obelisk.core.values import Json, Outcome
from obelisk.testing import invariants
from obelisk.testing.context import to_json
from obelisk.testing.errors import ReturnedErr
from obelisk.testing.faults import Calm, CommitFault, Scripted, Storm
from obelisk.testing.functions import Functions, PythonFunction
from obelisk.testing.invariants import Violation
from obelisk.testing.logs import LoggedEvent, log_of, outcome_json, outcome_text
from obelisk.testing.node import MS
from obelisk.testing.subject import Submission
from obelisk.testing.world import EPOCH, Broken, Setting, World

if TYPE_CHECKING:
    from obelisk.testing.components import Components

ROOT: Final = ExecutionId("E_" + ulid(EPOCH // 1_000, b"simulation"))
"""The execution that is simulated, the same for all seeds: random values derive from the id."""
NODES: Final = (1, 2)
TICKS_MAX: Final = 50_000
"""Ticks of the undisturbed run, after which it counts as endless."""
_PATIENT: Final = 1_000_000
_PACE_US: Final = 5_000 * MS
"""A run that takes longer is disturbed at a slower pace."""
_STORY_MAX: Final = 60
_ROWS_CHECKED: Final = 50

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Report:
    """What a simulation came to."""

    function: FunctionName
    seeds: int
    runs: int
    """How often the workflow ran from its beginning to its end, the undisturbed run included."""
    executions: int
    """Of the undisturbed run: the workflow and all that it called."""
    ticks: int
    commits: int
    attempts: int
    """Runs of activities that were started."""
    faults: dict[str, int]
    """Injected faults, by kind."""
    result: dict[str, Any]
    """How the undisturbed run ended: `{"ok": …}`, `{"err": …}`, or `{"execution_failed": {…}}`."""
    other_results: dict[str, int]
    """How often it ended otherwise, with `any_result`; as JSON."""

    def __str__(self) -> str:
        others = sum(self.other_results.values())
        runs = f"{self.runs - others} of {self.runs} runs" if others else f"{self.runs} runs"
        first = (
            f"{self.function} ended with {_text(self.result)} in {runs} ({self.seeds} seeds):"
            f" {self.executions} executions each when undisturbed, {self.attempts} attempts, {self.commits} commits,"
            f" {sum(self.faults.values())} faults injected"
        )
        lines = [f"{times:8} times it ended with {outcome}" for outcome, times in self.other_results.items()]
        lines += [f"{times:8} {fault}" for fault, times in sorted(self.faults.items())]
        return "\n".join([first, *lines])

    def document(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return asdict(self)


class SimulationFailed(Violation):
    """A run broke an invariant. Its text has everything; the attributes have it in parts."""

    advice = ""

    def __init__(
        self,
        reason: str,
        *,
        seed: int | None,
        nodes: int,
        story: Sequence[str],
        execution_id: ExecutionId | None,
        log: Sequence[LoggedEvent],
        undisturbed_log: Sequence[LoggedEvent] = (),
    ) -> None:
        self.reason: Final = reason
        self.seed: Final = seed
        """Repeats the run; None: it was the undisturbed one."""
        self.nodes: Final = nodes
        self.story: Final = tuple(story)
        """What happened, one line a moment."""
        self.log: Final = tuple(log)
        """The event log of the execution that is concerned."""
        self.undisturbed_log: Final = tuple(undisturbed_log)
        """The event log of the same execution when it was undisturbed, where it differs."""
        self.where: Final = (
            "in the undisturbed run" if seed is None else f"seed {seed}, {nodes} node{'s' if nodes > 1 else ''}"
        )
        super().__init__("\n".join(self._told(execution_id)), execution_id)

    def _told(self, execution_id: ExecutionId | None) -> Iterator[str]:
        yield f"{self.where}: {self.reason}"
        if self.advice:
            yield self.advice
        if self.log:
            yield f"\nevent log of {execution_id}:"
            yield from map(str, self.log)
        if self.undisturbed_log:
            yield "\nevent log of the undisturbed run:"
            yield from map(str, self.undisturbed_log)
        if self.story:
            yield f"\nwhat happened{', at last' if len(self.story) > _STORY_MAX else ''}:"
            yield from self.story[-_STORY_MAX:]

    def document(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return {
            "seed": self.seed,
            "nodes": self.nodes,
            "reason": self.reason,
            "result_changed": isinstance(self, ResultChanged),
            "execution_id": self.execution_id,
            "log": _plain(self.log),
            "undisturbed_log": _plain(self.undisturbed_log),
            "story": list(self.story),
        }


class ResultChanged(SimulationFailed):
    """The workflow ended otherwise than when it was undisturbed."""

    advice = (
        "The result of a workflow may depend on the order in which responses arrive (children, or a child and a delay,"
        " that race), or on the time. If this is meant, accept any result (any_result, --any-result): then the invariants"
        " are checked and the result is not. Otherwise compare the two event logs: where they part, the workflow decided"
        " by something that a crash or a slow activity can change."
    )


class ConfigRefused(Exception):
    """The configuration cannot be read, or its components cannot be deployed."""


@dataclass
class _Tally:
    runs: int = 0
    ticks: int = 0
    commits: int = 0
    attempts: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)

    def add(self, world: World) -> None:
        self.runs += 1
        self.ticks += world.ticks
        self.commits += world.commits
        self.attempts += sum(world.starts.values())
        self.faults += world.faults.injected


class Simulation:
    """Functions to simulate: Python functions, and components of a configuration. A name belongs to one function; a
    Python function takes the place of a component's.
    """

    def __init__(self) -> None:
        self._python: dict[FunctionName, PythonFunction] = {}
        self._components: Components | None = None

    # --- functions ---------------------------------------------------------------------------------------------------

    def workflow(self, ffqn: str, *, policy: ExecutionPolicy | None = None) -> Callable[[F], F]:
        """Decorates a workflow: a function of a `Context` and the parameters, or a generator of the same, which yields
        what the methods of the context return.
        """
        return self._adding(ffqn, FunctionKind.WORKFLOW, policy)

    def activity(self, ffqn: str, *, policy: ExecutionPolicy | None = None) -> Callable[[F], F]:
        """Decorates an activity: a function of the parameters. What it returns is its ok result; it raises `ReturnedErr`
        for an err result, and anything else to fail, and is then tried again. A keyword-only parameter `attempt` is
        given an `Attempt`.
        """
        return self._adding(ffqn, FunctionKind.ACTIVITY, policy)

    def stub(self, ffqn: str, *, policy: ExecutionPolicy | None = None) -> Callable[[F], F]:
        """Adds a stub activity, whose result is given by a workflow. As a decorator of a function of the parameters: a
        client gives what that returns, a little after the execution was created.
        """
        name = parse_function_name(ffqn)
        self._python[name] = PythonFunction(name, FunctionKind.STUB, None, policy or ExecutionPolicy())
        return self._adding(ffqn, FunctionKind.STUB, policy)

    def _adding(self, ffqn: str, kind: FunctionKind, policy: ExecutionPolicy | None) -> Callable[[F], F]:
        name = parse_function_name(ffqn)

        def add(function: F) -> F:
            self._python[name] = PythonFunction(name, kind, function, policy or ExecutionPolicy())
            return function

        return add

    def load(self, config: Path | str | None = None) -> Components:
        """Adds the components of a configuration (without `config`: the one that a server would find). Activities that
        import something, and stub activities, are to be replaced by Python functions, or `give` them a result.
        `ConfigRefused`.
        """
        from obelisk.testing.components import ConfigError, DeploymentRefused, load_components  # loads wasmtime

        try:
            self._components = load_components(None if config is None else Path(config))
        except (ConfigError, DeploymentRefused, OSError) as error:
            raise ConfigRefused(str(error)) from error
        return self._components

    def give(self, ffqn: str, result: dict[str, Any]) -> None:
        """Gives an activity or a stub activity of the components that were loaded one result for all of its executions:
        `{"ok": value}` or `{"err": value}`. `LookupError` when there is none of that name, `ValueError` when the result
        does not fit.
        """
        name = FunctionName(ffqn)
        info = None if self._components is None else self._components.info(name)
        if info is None or info.kind is FunctionKind.WORKFLOW:
            raise LookupError(f"no component has an activity {ffqn}")
        assert self._components is not None
        typed = self._components.deployment().typed_result(info.component, name, to_json(result))
        if isinstance(typed, Rejection):
            raise ValueError(f"the result does not fit {ffqn}: {typed.message}")  # noqa: TRY004 - its value is wrong

        def given(*_params: Any) -> Any:
            if "err" in result:
                raise ReturnedErr(result["err"])
            return result["ok"]

        self._python[name] = PythonFunction(name, info.kind, given, info.policy)

    # --- running -----------------------------------------------------------------------------------------------------

    def run(
        self,
        function: str,
        params: Sequence[Any] | bytes = (),
        *,
        seeds: int = 100,
        seed: int | None = None,
        crash_rate: float = 0.1,
        nodes: int | None = None,
        any_result: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Report:
        """Runs `function` undisturbed, then with `seeds` seeds, or with one `seed` again. `params`: values, or a JSON array.

        `crash_rate`: the share of commits, attempts and moments at which something goes wrong. `nodes`: 1 or 2 engines;
        None: both. `any_result`: the result may differ from the undisturbed one. `progress` is called after each seed.
        Raises `SimulationFailed`; `LookupError` or `ValueError` when there is no such function, or the parameters do not
        fit it.
        """
        subject = self._subject(function, params)
        tally = _Tally()
        calm = self._undisturbed(subject, tally)
        which = range(seeds) if seed is None else (seed,)
        for one in which:
            for count in NODES if nodes is None else (nodes,):
                storm = Storm(Random(f"storm {one}"), crash_rate, shared=count > 1)
                world = World(one, subject, _setting(one, count, calm), storm)
                self._disturbed(world, calm, tally, any_result=any_result)
            if progress is not None:
                progress(one)
        return _report(FunctionName(function), len(which), calm, tally)

    def run_exhaustively(
        self, function: str, params: Sequence[Any] | bytes = (), *, any_result: bool = False
    ) -> Report:
        """Runs `function` undisturbed, then once for every fault at every commit of that run: for small workflows. Errors
        as `run`.
        """
        subject = self._subject(function, params)
        tally = _Tally()
        calm = self._undisturbed(subject, tally)
        for number in range(1, calm.commits + 1):
            for fault in CommitFault:
                if fault is not CommitFault.NONE:
                    world = World(0, subject, _undisturbed_setting(), Scripted(number, fault))
                    try:
                        self._disturbed(world, calm, tally, any_result=any_result)
                    except SimulationFailed as failed:
                        failed.add_note(f"({fault} at commit {number})")
                        raise
        return _report(FunctionName(function), 1, calm, tally)

    def _subject(self, function: str, params: Sequence[Any] | bytes) -> Functions:
        subject = Functions(self._python, self._components)
        registry = subject.deployment()
        info = registry.active(FunctionName(function))
        if info is None or info.kind is FunctionKind.STUB:
            known = [*self._python, *(self._components.functions() if self._components is not None else ())]
            raise LookupError(f"there is no function {function} to run; there are: {', '.join(sorted(set(known)))}")
        typed = registry.typed_params(info.ffqn, Json(params) if isinstance(params, bytes) else to_json(list(params)))
        if isinstance(typed, Rejection):
            raise ValueError(  # noqa: TRY004 - their values are wrong
                f"the parameters do not fit {function}: {typed.message}"
            )
        return subject.submitting(Submission(ROOT, info.ffqn, typed.params))

    def _undisturbed(self, subject: Functions, tally: _Tally) -> World:
        world = World(0, subject, _undisturbed_setting(), Calm())
        try:
            world.run()
        except Broken as broken:
            raise _failed(world, broken, None) from broken.__cause__
        tally.add(world)
        return world

    def _disturbed(self, world: World, calm: World, tally: _Tally, *, any_result: bool) -> None:
        try:
            world.run()
        except Broken as broken:
            raise _failed(world, broken, world.seed) from broken.__cause__
        tally.add(world)
        outcome, expected = _outcome(world), _outcome(calm)
        if invariants.comparable(outcome) == invariants.comparable(expected):
            return
        if any_result:
            tally.others[outcome_text(outcome)] += 1
            return
        raise ResultChanged(
            f"the execution ended with {outcome_text(outcome)}; undisturbed it ends with {outcome_text(expected)}",
            seed=world.seed,
            nodes=world.setting.nodes,
            story=world.story,
            execution_id=ROOT,
            log=_log(world, ROOT),
            undisturbed_log=_log(calm, ROOT),
        )


def _undisturbed_setting() -> Setting:
    limits = Limits(hot_max=200, crash_max=_PATIENT)
    return Setting(limits=limits, end_after_us=1 << 62, ticks_max=TICKS_MAX, rows_checked=_ROWS_CHECKED, may_park=False)


def _setting(seed: int, nodes: int, calm: World) -> Setting:
    """The world that a seed stands for. Long runs are disturbed for longer, and less often."""
    random = Random(f"setting {seed}")
    pace = max(1, calm.now // _PACE_US)
    limits = Limits(
        tick_units_max=random.choice([1, 3, 2_000]),
        tick_rows_max=random.choice([5, 20_000]),
        tick_events_per_execution_max=random.choice([1, 4, 1_000]),
        inbox_max=random.choice([1, 2_000]),
        start_window=(window := random.choice([1, 2, 64])),
        start_window_shared=window,
        hot_max=random.choice([1, 2, 200]),
        crash_max=_PATIENT,
        lease_us=random.choice([15, 60, 500]) * MS * pace,
    )
    states = [calm.store.state(execution_id) for execution_id in invariants.everything(calm.store)]
    return Setting(
        nodes=nodes,
        limits=limits,
        budget=random.choice([1, 3, None]),
        admit_max=random.choice([1, 3, 1_000]),
        slow=random.choice([1, 10]),
        pace=pace,
        end_after_us=1 << 62,
        ticks_max=TICKS_MAX + 100 * calm.ticks,
        own_failures={state.execution_id: state.failures for state in states if state is not None and state.failures},
        rows_checked=_ROWS_CHECKED,
        may_park=False,
    )


def _failed(world: World, broken: Broken, seed: int | None) -> SimulationFailed:
    execution_id = broken.execution_id or ROOT
    return SimulationFailed(
        broken.reason.splitlines()[0]
        if broken.execution_id is not None and "\n  log:" in broken.reason
        else broken.reason,
        seed=seed,
        nodes=world.setting.nodes,
        story=broken.story,
        execution_id=execution_id,
        log=_log(world, execution_id),
    )


def _log(world: World, execution_id: ExecutionId) -> list[LoggedEvent]:
    snapshot = world.store.load(execution_id)
    return [] if snapshot is None else log_of(snapshot, EPOCH)


def _outcome(world: World) -> Outcome:
    outcome = invariants.outcome_of(invariants.snapshot_of(world.store, ROOT))
    assert outcome is not None
    return outcome


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _plain(value: Any) -> Any:
    """What `json` can write."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _report(function: FunctionName, seeds: int, calm: World, tally: _Tally) -> Report:
    return Report(
        function=function,
        seeds=seeds,
        runs=tally.runs,
        executions=len(invariants.everything(calm.store)),
        ticks=tally.ticks,
        commits=tally.commits,
        attempts=tally.attempts,
        faults=dict(tally.faults),
        result=_plain(outcome_json(_outcome(calm))),
        other_results=dict(tally.others),
    )
