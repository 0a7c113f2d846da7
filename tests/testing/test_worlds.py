"""Simulated worlds: fixed seeds, every commit of small worlds, and that a broken promise does not go unnoticed.

A seed that found a fault is added to `FOUND`, with the fix. When the generator of programs changes, a seed becomes another
world; what it found must have a test of its own in `tests/engine`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from obelisk.core import calls, lines, machine, transitions
from obelisk.core.batch import CancelRequest, Delay, PauseRequest, Request, UnpauseRequest
from obelisk.core.events import Finished, LogEntry
from obelisk.core.ids import DelayRef, ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.policy import Blocking, ExecutionPolicy, Limits
from obelisk.core.state import Status
from obelisk.core.values import Failure, FailureKind, Ok
from obelisk.engine.effects import AnswerKind
from obelisk.engine.engine import Engine
from obelisk.engine.timers import Timers
from obelisk.testing import invariants, sim
from obelisk.testing.attempts import Attempts
from obelisk.testing.clients import operation
from obelisk.testing.derived import effects_are_derived
from obelisk.testing.faults import Calm, CommitFault, NodeFault, Storm
from obelisk.testing.invariants import Violation
from obelisk.testing.node import MS, Node
from obelisk.testing.programs import (
    BRISK,
    ERRING,
    FLAKY,
    RUN,
    STEADY,
    TRAPPING,
    AwaitNext,
    Callee,
    Close,
    Compute,
    Create,
    Die,
    Direct,
    Draw,
    Fail,
    Get,
    JoinNext,
    Look,
    Print,
    Program,
    Programs,
    Say,
    Sleep,
    Submit,
    SubmitDelay,
    Until,
)
from obelisk.testing.world import Setting, World, outcomes_of

FOUND = {
    5032: "a response of one's own hid one that another engine had posted",
    5078: "a read that was answered in the tick of a wake-up mixed two histories of responses",
    477: "attempts that are being killed have their places of the start window still: the check thought them free",
    5090: "a child that another engine had taken over and ended was ended a second time",
}
ROOT = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYZ")


# --- random worlds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("block", range(5))
def test_random_worlds(nodes: int, block: int) -> None:
    for seed in range(16 * block, 16 * block + 16):
        sim.run_seed(seed, nodes)


def test_a_seed_that_found_an_end_that_was_refused_twice_and_lost() -> None:
    sim.run_meddled(521, 2)


def test_a_seed_that_found_a_fork_that_was_shown_answers_to_what_it_had_not_asked() -> None:
    sim.run_meddled(1710, 1)


def test_a_seed_whose_operators_said_that_they_had_looked_and_had_not() -> None:
    sim.run_meddled(490, 1)


@pytest.mark.parametrize("nodes", [1, 2])
def test_random_worlds_where_crashes_are_counted(nodes: int) -> None:
    for seed in range(500, 515):
        sim.run_impatient(seed, nodes)


def test_where_crashes_are_counted_some_executions_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one node only: a lease that has expired does not tell whether anything crashed."""
    run_world, ends = sim.run_world, Counter[object]()

    def run(*arguments: Any) -> World:
        world = run_world(*arguments)
        ends.update(getattr(outcome, "reason", None) for outcome in outcomes_of(world).values())
        return world

    monkeypatch.setattr(sim, "run_world", run)
    for seed in (13, 14, 15):
        sim.run_impatient(seed, 1)
    assert ends["the process died 2 times while this ran"] > 1


@pytest.mark.parametrize("nodes", [1, 2])
def test_random_worlds_where_operators_meddle(nodes: int) -> None:
    injected = Counter[str]()
    for seed in range(600, 630):
        injected += sim.run_meddled(seed, nodes).injected
    wanted = {"CancelRequest", "PauseRequest", "UnpauseRequest", "AdvanceRequest", "UpgradeRequest", "Fork"}
    assert wanted <= injected.keys()


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("seed", FOUND)
def test_seeds_that_found_a_fault(seed: int, nodes: int) -> None:
    sim.run_seed(seed, nodes)


def test_every_kind_of_fault_strikes() -> None:
    injected: Counter[str] = Counter()
    for seed in range(30):
        injected += sim.run_seed(seed, 2).injected
    expected = {fault.value for fault in CommitFault if fault is not CommitFault.NONE} | {f.value for f in NodeFault}
    assert expected <= set(injected)


def test_a_seed_repeats_its_run_exactly() -> None:
    stories = []
    for _ in range(2):
        world = World(7, *sim.setting_of(7, 2), sim.storm_of(7, 2))
        world.run()
        stories.append((world.story, world.now, world.ticks, [repr(line) for line in world.lines]))
    assert stories[0] == stories[1]


# --- small worlds ----------------------------------------------------------------------------------------------------

OUT = calls.StdStream.STDOUT
STEADILY, BRISKLY = Callee(STEADY), Callee(BRISK)
SMALL = {
    "one child": [Program((Direct(STEADILY),))],
    "three children in series": [Program((Direct(BRISKLY), Direct(STEADILY, "label"), Direct(BRISKLY)))],
    "a child that fails first": [Program((Direct(Callee(FLAKY)), Direct(Callee(ERRING)), Direct(Callee(TRAPPING))))],
    "fan out": [
        Program((Create(0), *[Submit(0, STEADILY)] * 4, *[AwaitNext(0, STEADY)] * 5, Close(0), Get(0), Get(3))),
    ],
    "sleeps": [Program((Sleep(0), Sleep(5 * MS), Say("slept"), Sleep(0)))],
    "a timeout": [
        Program((Create(0, "t"), Submit(0, STEADILY), SubmitDelay(0, 1), JoinNext(0), Close(0)), sensitive=True),
    ],
    "left open": [
        Program(
            (Create(0), Submit(0, STEADILY), Submit(0, STEADILY), Create(1), SubmitDelay(1, 9 * MS)), sensitive=True
        ),
    ],
    "nested": [Program((Direct(STEADILY), Draw(6))), Program((Direct(Callee(RUN, 0)), Direct(Callee(RUN, 0)), Fail()))],
    "nested in a set": [
        Program((Compute(2), Direct(BRISKLY), Die())),
        Program((Create(0), Submit(0, Callee(RUN, 0)), Submit(0, STEADILY), JoinNext(0), JoinNext(0), JoinNext(0))),
    ],
    "looks and prints": [
        Program(
            (Look(), Print(OUT, "a\nb\n"), Until(3 * MS), Print(OUT, "c"), Direct(STEADILY), Look(), Until(0), Look())
        ),
    ],
    "computing": [Program((Compute(1), Say("a"), Draw(3), Compute(2), Direct(STEADILY), Compute(1)))],
}


def small_world(programs: list[Program], nodes: int, blocking: Blocking, limits: Limits) -> tuple[Programs, Setting]:
    policy = ExecutionPolicy(lock_expiry_us=5 * MS, blocking=blocking)
    subject = Programs(programs, [(ROOT, len(programs) - 1, 0)], policy)
    return subject, Setting(nodes, msgspec.structs.replace(limits, crash_max=1_000, lease_us=50 * MS))


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("name", SMALL)
def test_every_fault_at_every_commit_of_a_small_world(name: str, nodes: int) -> None:
    assert sim.every_commit(*small_world(SMALL[name], nodes, Blocking.AWAIT, Limits())) > 7


@pytest.mark.parametrize("name", SMALL)
def test_every_fault_at_every_commit_of_a_small_world_with_narrow_limits(name: str) -> None:
    limits = Limits(tick_units_max=1, tick_events_per_execution_max=2, start_window=1, start_window_shared=1, hot_max=1)
    assert sim.every_commit(*small_world(SMALL[name], 1, Blocking.INTERRUPT, limits)) > 7


# --- clients that operate --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("seed", range(15))
def test_a_client_that_cancels_is_answered_and_the_execution_ends(nodes: int, seed: int) -> None:
    subject, setting = small_world([Program((Sleep(30_000 * MS), Direct(STEADILY)))], nodes, Blocking.AWAIT, Limits())
    world = World(seed, subject, setting, Storm(sim.Random(seed), 0.1, shared=nodes > 1))
    client = world.add_client(operation(ROOT, CancelRequest()), after_us=50 * MS)
    world.run()
    assert client.answers[0].kind in {AnswerKind.DONE, AnswerKind.REQUESTED, AnswerKind.ALREADY, AnswerKind.FINISHED}
    assert outcomes_of(world)[ROOT] == Failure(FailureKind.CANCELLED, "cancelled")


def test_a_client_that_pauses_and_lets_go_on() -> None:
    world = World(0, *small_world([Program((Sleep(100 * MS), Direct(STEADILY)))], 1, Blocking.AWAIT, Limits()))
    clients = [
        world.add_client(operation(ROOT, body), after_us=at * MS)
        for at, body in ((20, PauseRequest()), (40, PauseRequest()), (5_000, UnpauseRequest()))
    ]
    world.run()
    kinds = [[answer.kind for answer in client.answers] for client in clients]
    assert kinds == [[AnswerKind.DONE], [AnswerKind.ALREADY], [AnswerKind.DONE]]
    assert invariants.tags_of(invariants.snapshot_of(world.store, ROOT)).count("paused") == 1
    assert world.now > 5_000 * MS


def test_an_attempt_that_is_killed_says_so_and_one_that_survives_ends_first() -> None:
    class Survives(Calm):
        def survives_kill(self) -> bool:
            return True

    left_open = Program((Create(0), Submit(0, STEADILY), Sleep(1 * MS)), sensitive=True)
    for faults in (Calm(), Survives()):
        outcomes = set()
        for seed in range(20):
            world = World(seed, *small_world([left_open], 1, Blocking.AWAIT, Limits()), faults)
            world.run()
            outcomes.add(type(outcomes_of(world)[ExecutionId(f"{ROOT}.g:1_1")]))
        assert outcomes == {Ok, Failure}


# --- the checks are awake --------------------------------------------------------------------------------------------


def broken_within(seeds: int, nodes: int = 1) -> str:
    """What the first of some seeds complains about; fails the test when none does."""
    for seed in range(seeds):
        try:
            sim.run_seed(seed, nodes)
        except Violation as error:
            return str(error)
    pytest.fail(f"{seeds} seeds did not notice")


def test_a_lost_timer_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    arm = Timers.arm
    monkeypatch.setattr(
        Timers, "arm", lambda self, due, kind, *rest: None if kind == "delay" else arm(self, due, kind, *rest)
    )
    assert "due at" in broken_within(20)


def test_a_clock_that_says_something_else_in_a_replay_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(machine._HANDLERS, calls.CurrentTime, lambda of, call, now: of.clock + of.replaying)
    assert "schedule_at: recorded" in broken_within(20)


def test_a_clock_that_goes_on_between_two_events_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    wall = iter(range(1 << 60, 1 << 62))
    monkeypatch.setitem(machine._HANDLERS, calls.CurrentTime, lambda _, call, now: next(wall))
    assert "was told that it is" in broken_within(20)


def test_randomness_that_follows_from_something_else_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(machine._HANDLERS, calls.RandomSeed, lambda of, call, now: f"{of.execution_id}x")
    assert "drew as" in broken_within(20)


def test_output_that_is_taken_apart_in_another_order_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    lines_of = lines.lines_of
    monkeypatch.setattr(lines, "lines_of", lambda line: lines_of(line)[::-1])
    assert "said" in broken_within(20)


def test_a_completion_that_is_not_kept_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = Engine._refused
    monkeypatch.setattr(
        Engine,
        "_refused",
        lambda self, inputs, effects, *rest: refused(self, [], effects, *rest),
    )
    assert broken_within(60)


def test_a_state_row_that_does_not_follow_its_log_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transitions, "finish_kind", lambda outcome: "ok")
    world = World(0, *small_world([Program((Fail(),))], 1, Blocking.AWAIT, Limits()))
    world.run()
    monkeypatch.undo()
    with pytest.raises(Violation, match="the state row says finish_kind ok, the log err"):
        world.check()


def test_a_zombie_that_writes_is_noticed() -> None:
    after = finished_world(Direct(STEADILY)).store.state(ROOT)
    assert after is not None
    before = msgspec.structs.replace(after, owner="Exr_1")
    invariants.only_holders_write(before, after, "Exr_1")
    with pytest.raises(Violation, match=r"Exr_2 wrote to .*, which Exr_1 holds"):
        invariants.only_holders_write(before, after, "Exr_2")


def test_an_attempt_that_starts_although_one_runs_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Attempts.start

    def twice(attempts: Attempts, *arguments: Any, **options: Any) -> None:
        start(attempts, *arguments, **options)
        start(attempts, *arguments, **options)

    monkeypatch.setattr(Attempts, "start", twice)
    with pytest.raises(Violation, match=r"E_\w+\.o:1-steady_1 starts as Run_\w+ although Run_\w+ runs"):
        finished_world(Direct(STEADILY))


CHILD = ExecutionId(f"{ROOT}.o:1-steady_1")


def with_row(execution_id: ExecutionId, **fields: Any) -> Callable[[Node], None]:
    """Writes something into a state row."""

    def change(node: Node) -> None:
        rows = node.world.store._rows
        rows[execution_id] = msgspec.structs.replace(rows[execution_id], **fields)

    return change


def with_request(node: Node) -> None:
    node.world.store._requests[1] = Request(CHILD, node.world.wall, CancelRequest())


def with_delay(node: Node) -> None:
    delay = Delay(ROOT, DelayRef("o:2-sleep_1"), Instant(node.world.wall + 1))
    node.world.store._delays[ROOT, delay.delay] = delay


def with_start(node: Node) -> None:
    node.attempts.running.clear()
    with_row(CHILD, status=Status.PENDING, pending_at=node.world.wall)(node)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda node: node.attempts.running.clear(), f"{CHILD} is locked, but its attempt Run_.* does not run"),
        (with_start, f"{CHILD} could be started, but is not"),
        (with_row(ROOT, response_count=1), f"{ROOT} has a response that its holder does not know"),
        (with_row(ROOT, status=Status.LOCKED), f"{ROOT} is locked, but nobody works on it"),
        (with_row(ROOT, status=Status.PENDING), f"{ROOT} could go on, but nobody works on it"),
        (with_request, f"{CHILD} has a request that nobody carries out: Request"),
        (with_delay, f"{ROOT} is due at .*, the first timer at "),
    ],
)
def test_rows_from_which_nothing_was_derived_are_noticed(
    monkeypatch: pytest.MonkeyPatch, damage: Callable[[Node], None], message: str
) -> None:
    def look(world: World) -> None:
        (node,) = world.nodes
        if node.is_settled and node.attempts.running:
            effects_are_derived(node, world.store)
            damage(node)
            effects_are_derived(node, world.store)

    monkeypatch.setattr(World, "_check_effects", look)
    with pytest.raises(Violation, match=message):
        finished_world(Direct(STEADILY))


def finished_world(*statements: object) -> World:
    world = World(0, *small_world([Program(statements)], 1, Blocking.AWAIT, Limits()), Calm())
    world.run()
    return world


def test_damaged_logs_are_noticed() -> None:
    world = finished_world(Create(0), Submit(0, STEADILY), SubmitDelay(0, MS), JoinNext(0), JoinNext(0), Draw(5))
    whole = invariants.snapshot_of(world.store, ROOT)
    log, responses = whole.log, whole.responses

    def with_log(*entries: LogEntry) -> invariants.Snapshot:
        return msgspec.structs.replace(whole, log=list(entries))

    finished = LogEntry(1, log[1].created_at, Finished(Ok()))
    for check, damaged, message in (
        (invariants.log_is_whole, with_log(*log[:2], *log[3:]), "versions have gaps"),
        (invariants.log_is_whole, with_log(log[0], finished, *log[2:]), "finished is not the last event"),
        (invariants.log_is_whole, with_log(msgspec.structs.replace(log[1], version=0), *log[1:]), "created must be"),
        (invariants.log_is_whole, msgspec.structs.replace(whole, responses=responses[1:]), "numbers of responses"),
        (invariants.log_is_whole, msgspec.structs.replace(whole, responses=responses[:1]), "does not know the end"),
        (invariants.awaits_match, msgspec.structs.replace(whole, responses=responses[:1]), "and yet the log goes on"),
        (invariants.state_follows, with_log(*log[:-1]), "the state row says finished"),
        (invariants.state_follows, with_log(log[0], *log[2:]), "is not allowed"),
    ):
        with pytest.raises(Violation, match=message):
            check(damaged)
    family = msgspec.structs.replace(whole, responses=responses[1:])
    with pytest.raises(Violation, match=r"its response says|lost, or unresolved"):
        invariants.family_agrees(world.store, family)


def test_a_log_that_does_not_replay_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = finished_world(Direct(STEADILY), Draw(5))
    snapshot = invariants.snapshot_of(world.store, ROOT)
    changed = Programs([Program((Draw(5), Direct(STEADILY)))], []).deployment()
    with pytest.raises(Violation, match="does not replay"):
        invariants.replays(snapshot, changed.guest(snapshot.state.component, RUN, ROOT))
    monkeypatch.setattr(machine.prng, "random_between", lambda *arguments: 4)  # is not drawn again: it replays
    invariants.replays(snapshot, world.subject.deployment().guest(snapshot.state.component, RUN, ROOT))


def test_results_and_histories_that_differ_are_noticed() -> None:
    one, other = finished_world(Direct(STEADILY)), finished_world(Direct(Callee(ERRING)))
    with pytest.raises(Violation, match="other executions"):
        sim.compare(one, other)
    with pytest.raises(Violation, match="has another history"):
        sim.compare(finished_world(Draw(5)), finished_world(Draw(6)))
    with pytest.raises(Violation, match="ended with"):
        sim.compare(finished_world(Fail()), finished_world(Die()))


def test_outcomes_of_a_world() -> None:
    outcomes = outcomes_of(finished_world(Direct(Callee(TRAPPING))))
    assert isinstance(outcomes[ROOT], Ok)
    assert isinstance(outcomes[ExecutionId(f"{ROOT}.o:1-trapping_1")], Failure)


def test_the_command_tells_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    assert sim.main(["--seeds", "2", "--seed", "3", "--nodes", "1", "--no-small", "--jobs", "1"]) == 0
    assert "8 random worlds" in capsys.readouterr().out


def test_the_command_says_how_to_repeat_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(snapshot: object) -> None:
        raise Violation("never whole")

    monkeypatch.setattr(invariants, "log_is_whole", never)
    assert sim.main(["--seed", "3", "--nodes", "1"]) == 1
    assert "repeat with: make sim SEED=3 ARGS='--nodes 1'" in capsys.readouterr().err
    given = ["--seed", "3", "--seeds", "11", "--nodes", "1", "--no-small", "--jobs", "1"]
    assert sim.main(given) == 1
    assert capsys.readouterr().err.count("repeat with") == 1
    assert sim.main([*given, "--keep-going"]) == 1
    said = capsys.readouterr()
    assert re.findall(r"SEED=(\d+)", said.err) == ["3", "13"]  # the first of each piece of ten
    assert "2 pieces failed" in said.out


def test_a_storm_ends() -> None:
    storm = Storm(sim.Random(0), 1.0, shared=False)
    assert storm.at_commit(1) is not None
    storm.over = True
    assert storm.at_commit(1) is CommitFault.NONE
    assert storm.at_large() is None
