"""`python -m obelisk.testing.sim`: many random worlds, each from one seed.

Decides what a seed means: programs, clients, limits, faults. Each world runs undisturbed and in a storm; both must keep
every invariant, and agree. It runs in a storm once more where crashes are counted, and once where operators meddle: those
must keep every invariant. Before the random worlds come all small ones. A failure prints its seed and the story of the run;
`--seed` repeats it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from random import Random
from typing import Final

import msgspec

from obelisk.core import ids
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.policy import Limits
from obelisk.testing import invariants, programs
from obelisk.testing.deployment import SeededEntropy
from obelisk.testing.exhaustive import Count, Small, all_small, explore
from obelisk.testing.faults import Calm, CommitFault, Faults, Scripted, Storm
from obelisk.testing.invariants import Violation
from obelisk.testing.meddling import Meddler
from obelisk.testing.node import MS
from obelisk.testing.programs import Programs
from obelisk.testing.world import EPOCH, Setting, World, outcomes_of

_SEEDS_PER_TASK: Final = 10
_END_AFTER_US: Final = 300_000 * MS
_TICKS_MAX: Final = 40_000
"""When a world is given up: several times what the longest ones need, so that one that goes round in circles fails soon."""
_PATIENT: Final = 1_000_000
"""A crash count that is never reached, for runs whose results are compared."""


class Run(msgspec.Struct):
    """What one seed came to."""

    seed: int
    executions: int
    ticks: int
    commits: int
    injected: Counter[str]


def setting_of(seed: int, nodes: int) -> tuple[Programs, Setting]:
    """The world that a seed stands for."""
    random = Random(f"setting {seed}")
    made = programs.random_programs(random, count=random.randint(1, 6), length_max=random.choice([3, 8, 25]))
    if nodes > 1:
        made += [programs.random_family(random), programs.random_family(random)]
    entropy = SeededEntropy(random)
    wanted = [
        (entropy.execution_id(Instant(EPOCH)), random.randrange(len(made)), random.choice([0, 0, 1, 50, 1_000]) * MS)
        for _ in range(random.randint(1, 6))
    ]
    limits = Limits(
        tick_units_max=random.choice([1, 3, 2_000]),
        tick_rows_max=random.choice([5, 20_000]),
        tick_events_per_execution_max=random.choice([1, 4, 1_000]),
        inbox_max=random.choice([1, 2_000]),
        start_window=random.choice([1, 2, 64]),
        hot_max=random.choice([1, 2, 4_000]),
        crash_max=_PATIENT,
        lease_us=random.choice([50, 500]) * MS,
    )
    if nodes > 1:  # narrow windows and short leases, so that families are spread over the nodes
        limits = msgspec.structs.replace(
            limits, start_window_shared=random.choice([1, 1, 2, 5]), lease_us=random.choice([15, 60, 500]) * MS
        )
    subject = Programs(made, wanted, programs.random_policy(random))
    return subject, Setting(
        nodes=nodes,
        limits=limits,
        budget=random.choice([1, 3, None]),
        admit_max=random.choice([1, 3, 1_000]),
        end_after_us=_END_AFTER_US,
        ticks_max=_TICKS_MAX,
        slow=random.choice([1, 10]) if nodes == 1 else random.choice([5, 50]),
    )


def storm_of(seed: int, nodes: int) -> Storm:
    """The faults that a seed stands for."""
    random = Random(f"storm {seed}")
    return Storm(random, random.choice([0.02, 0.1, 0.3]), shared=nodes > 1)


def run_seed(seed: int, nodes: int) -> Run:
    """Runs the world of a seed calm and in a storm, and compares. `Violation` when a promise was broken."""
    subject, setting = setting_of(seed, nodes)
    calm = run_world(seed, subject, setting, Calm())
    storm = storm_of(seed, nodes)
    disturbed = run_world(seed, subject, setting, storm)
    compare(calm, disturbed)
    return Run(
        seed, len(outcomes_of(calm)), calm.ticks + disturbed.ticks, calm.commits + disturbed.commits, storm.injected
    )


def run_impatient(seed: int, nodes: int) -> Run:
    """The world of a seed in a storm, where crashes are counted: results may differ, invariants may not."""
    subject, setting = setting_of(seed, nodes)
    setting = msgspec.structs.replace(setting, limits=msgspec.structs.replace(setting.limits, crash_max=2))
    storm = storm_of(seed, nodes)
    world = run_world(seed, subject, setting, storm)
    return Run(seed, len(outcomes_of(world)), world.ticks, world.commits, storm.injected)


def run_meddled(seed: int, nodes: int) -> Run:
    """The world of a seed in a storm, where operators and clients meddle: anything may come of it but a broken promise."""
    subject, setting = setting_of(seed, nodes)
    storm = storm_of(seed, nodes)
    world = World(seed, subject, setting, storm)
    random = Random(f"meddling {seed}")
    meddler = Meddler(world, random, random.choice([1, 5, 20]))
    world.run()
    meddler.check()
    return Run(seed, len(outcomes_of(world)), world.ticks, world.commits, storm.injected + Counter(meddler.done))


def run_world(seed: int, subject: Programs, setting: Setting, faults: Faults) -> World:
    """One run to its end."""
    world = World(seed, subject, setting, faults)
    world.run()
    return world


def compare(calm: World, disturbed: World) -> None:
    """The same executions with the same history and, unless arrival decides, the same results."""
    undisturbed, results = outcomes_of(calm), outcomes_of(disturbed)
    if undisturbed.keys() != results.keys():
        raise _differs(disturbed, f"other executions: {undisturbed.keys() ^ results.keys()}")
    sensitive, erratic = _sensitive(calm)
    for execution_id, outcome in undisturbed.items():
        if execution_id in erratic:
            continue
        before = invariants.history_of(invariants.snapshot_of(calm.store, execution_id))
        after = invariants.history_of(invariants.snapshot_of(disturbed.store, execution_id))
        if before != after:
            raise _differs(disturbed, f"{execution_id} has another history:\n{before}\n{after}")
        if outcome != results[execution_id] and execution_id not in sensitive:
            raise _differs(disturbed, f"{execution_id} ended with {results[execution_id]}, undisturbed {outcome}")


def _sensitive(world: World) -> tuple[set[ExecutionId], set[ExecutionId]]:
    """Executions whose result may depend on the order of arrival: of sensitive programs, and their children (a child may
    be cancelled); and those whose history may.
    """
    assert isinstance(world.subject, Programs)
    found: set[ExecutionId] = set()
    erratic: set[ExecutionId] = set()
    for execution_id in invariants.everything(world.store):
        created = world.store.created(execution_id)
        assert created is not None
        program = world.subject.program_of(created)
        if program.sensitive if program is not None else ids.parent_of(execution_id) in found:
            found.add(execution_id)
        if program is not None and program.erratic:
            erratic.add(execution_id)
    return found, erratic


def _differs(world: World, what: str) -> Violation:
    return Violation(f"seed {world.seed}: {what}\n" + "\n".join(world.story[-400:]))


# --- small worlds ----------------------------------------------------------------------------------------------------


def every_commit(subject: Programs, setting: Setting, faults: tuple[CommitFault, ...] = tuple(CommitFault)) -> int:
    """Runs a small world once undisturbed, then once for each of its commits and each fault there. Returns the runs."""
    calm = run_world(0, subject, setting, Calm())
    runs = 1
    for number in range(1, calm.commits + 1):
        for fault in faults:
            if fault is not CommitFault.NONE:
                world = World(0, subject, setting, Scripted(number, fault))
                try:
                    world.run()
                    compare(calm, world)
                except Violation as error:
                    raise Violation(f"{fault} at commit {number}: {error}") from error
                runs += 1
    return runs


# --- command ---------------------------------------------------------------------------------------------------------


class _Task(msgspec.Struct, frozen=True):
    """A piece of work for one process: a small world, or some seeds."""

    small: Small | None = None
    seed: int = 0
    seeds: int = 0
    nodes: int = 1


class _Done(msgspec.Struct):
    """What a task came to."""

    worlds: int = 0
    ticks: int = 0
    commits: int = 0
    injected: Counter[str] = msgspec.field(default_factory=Counter)
    small: Count = msgspec.field(default_factory=Count)
    failure: str = ""


def _carry_out(task: _Task) -> _Done:
    done = _Done()
    try:
        if task.small is not None:
            explore(task.small, done.small)
        for seed in range(task.seed, task.seed + task.seeds):
            again = f"repeat with: make sim SEED={seed} ARGS='--nodes {task.nodes}'"
            for run, worlds in ((run_seed, 2), (run_impatient, 1), (run_meddled, 1)):
                result = run(seed, task.nodes)
                done.worlds += worlds
                done.ticks += result.ticks
                done.commits += result.commits
                done.injected += result.injected
    except Violation as error:
        done.failure = f"{error}\n\n{again if task.small is None else 'a small world'}"
    return done


def _tasks(options: argparse.Namespace, *, alone: bool) -> list[_Task]:
    nodes = (options.nodes,) if options.nodes else (1, 2)
    tasks = [] if alone or options.no_small else [_Task(small=small) for small in all_small(nodes)]
    tasks = [task for task in tasks if task.small is None or len(task.small.members) <= options.small_max]
    tasks.sort(key=lambda task: -len(task.small.members) if task.small else 0)  # the longest first
    first, count = (options.seed or 0), (1 if alone else options.seeds)
    for begin in range(first, first + count, _SEEDS_PER_TASK):
        seeds = min(_SEEDS_PER_TASK, first + count - begin)
        tasks += [_Task(seed=begin, seeds=seeds, nodes=each) for each in nodes]
    return tasks


def main(arguments: list[str] | None = None) -> int:
    """Runs everything and tells what happened; 1 when something failed."""
    parser = argparse.ArgumentParser(prog="python -m obelisk.testing.sim", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2_500, help="how many seeds to try (default 2,500: 20,000 worlds)")
    parser.add_argument("--seed", type=int, help="the first seed; alone: only this one")
    parser.add_argument("--nodes", type=int, choices=(1, 2), help="one node, or two on one store (default: both)")
    parser.add_argument("--no-small", action="store_true", help="leave the exhaustive small worlds out")
    parser.add_argument(
        "--small-max", type=int, default=99, help="only small worlds with so many arrivals (default: all)"
    )
    parser.add_argument(
        "--keep-going", action="store_true", help="go on after a failure, to find all of them; still ends with 1"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    options = parser.parse_args(arguments)
    given = sys.argv[1:] if arguments is None else arguments
    tasks = _tasks(options, alone=options.seed is not None and not any(each.startswith("--seeds") for each in given))
    began, total, failures = time.perf_counter(), _Done(), 0
    for finished, done in enumerate(_results(tasks, options.jobs), 1):
        if done.failure:
            print(done.failure, file=sys.stderr, flush=True)
            failures += 1
            if not options.keep_going:
                return 1
        total.worlds += done.worlds
        total.ticks += done.ticks
        total.commits += done.commits
        total.injected += done.injected
        for field in ("worlds", "orders", "runs"):
            setattr(total.small, field, getattr(total.small, field) + getattr(done.small, field))
        if sys.stderr.isatty():
            print(
                f"\r{finished} of {len(tasks)} pieces, {total.small.runs + total.worlds} runs", end="", file=sys.stderr
            )
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    _report(total, failures, time.perf_counter() - began)
    return 1 if failures else 0


def _results(tasks: list[_Task], jobs: int) -> Iterator[_Done]:
    if jobs == 1 or len(tasks) == 1:
        yield from map(_carry_out, tasks)
        return
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    try:
        for future in as_completed([pool.submit(_carry_out, task) for task in tasks]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _report(total: _Done, failures: int, seconds: float) -> None:
    small = total.small
    if small.worlds:
        print(
            f"{small.worlds} small worlds in every order of arrival ({small.orders:,}), with a crash at every commit:"
            f" {small.runs:,} runs"
        )
    if total.worlds:
        print(f"{total.worlds:,} random worlds, {total.ticks:,} ticks, {total.commits:,} commits")
    print(f"{f'{failures} pieces failed' if failures else 'all is well'} ({seconds:.0f} s)")
    for kind, times in sorted(total.injected.items()):
        print(f"{times:8} {kind}")


if __name__ == "__main__":
    sys.exit(main())
