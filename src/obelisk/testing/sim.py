"""`python -m obelisk.testing.sim`: many random worlds, each from one seed.

Decides what a seed means: programs, clients, limits, faults. Each world runs twice, undisturbed and in a storm; both must
keep every invariant, and agree. A failure prints its seed and the story of the run; `--seed` repeats it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from random import Random
from typing import Final

import msgspec

from obelisk.core import ids
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.policy import Limits
from obelisk.testing import invariants, programs
from obelisk.testing.deployment import SeededEntropy
from obelisk.testing.faults import Calm, CommitFault, Faults, Scripted, Storm
from obelisk.testing.invariants import Violation
from obelisk.testing.node import MS
from obelisk.testing.programs import Programs
from obelisk.testing.world import EPOCH, Setting, World, outcomes_of

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
            limits, start_window=random.choice([1, 1, 2, 5]), lease_us=random.choice([15, 60, 500]) * MS
        )
    subject = Programs(made, wanted, programs.random_policy(random))
    return subject, Setting(
        nodes=nodes,
        limits=limits,
        budget=random.choice([1, 3, None]),
        admit_max=random.choice([1, 3, 1_000]),
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


def main(arguments: list[str] | None = None) -> int:
    """Runs seeds and tells what happened; 1 when one failed."""
    parser = argparse.ArgumentParser(prog="python -m obelisk.testing.sim", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds to try (default 200)")
    parser.add_argument("--seed", type=int, help="the first seed; alone: only this one")
    parser.add_argument("--nodes", type=int, choices=(1, 2), help="one node, or two on one store (default: both)")
    options = parser.parse_args(arguments)
    first = 0 if options.seed is None else options.seed
    count = 1 if options.seed is not None and "--seeds" not in (arguments or sys.argv) else options.seeds
    began, runs, ticks, commits = time.perf_counter(), 0, 0, 0
    injected: Counter[str] = Counter()
    for seed in range(first, first + count):
        for nodes in (options.nodes,) if options.nodes else (1, 2):
            try:
                done = run_seed(seed, nodes)
                counted = run_impatient(seed, nodes)
            except Violation as error:
                print(f"{error}\n\nrepeat with: make sim SEED={seed} ARGS='--nodes {nodes}'", file=sys.stderr)
                return 1
            runs += 3
            ticks += done.ticks + counted.ticks
            commits += done.commits + counted.commits
            injected += done.injected + counted.injected
    seconds = time.perf_counter() - began
    print(f"{count} seeds, {runs} runs, {ticks} ticks, {commits} commits, {runs / seconds:.0f} runs/s: all is well")
    for kind, times in sorted(injected.items()):
        print(f"{times:8} {kind}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
