"""What work costs, counted: commits, rows, bytes, statements, host calls, instructions, memory. No clock is looked at, so the
figures are the same on every machine, and a change that makes something dearer shows, however small it is.

    make budget                      # compares with ceilings.toml
    make budget ARGS=--accept        # rewrites it: say in the commit what is bought with it
    make budget ARGS="--where series"   # the functions in which the instructions of a workload are

Instructions are those of the bytecode, which differ from one version of Python to the next: each has a table of its own.
`--native` counts those of the machine too, where valgrind is installed; it takes a minute.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import native
from counting import PythonCounts, StoreCounts, memory_blocks
from cranked import Cranked, cranked
from workloads import FLOWS, ROOT, WORKLOADS, toml

CEILINGS: Final = Path(__file__).with_name("ceilings.toml")
PYTHON: Final = f"python-{sys.version_info.major}.{sys.version_info.minor}"
WAITING: Final = 200
TOLERANCES: Final = {
    "instructions": 0.005,  # how often a guest is polled
    "machine_instructions": 0.02,  # the C library chooses by processor how it copies
    "calls": 0.002,
    "c_calls": 0.005,
    "wal_bytes": 0.02,  # versions of SQLite split pages in their own ways
    "file_bytes": 0.05,
    "blocks": 0.01,
}
ACCEPT: Final = "make budget ARGS=--accept"

Costs = Mapping[str, Mapping[str, int]]
"""By table of ceilings.toml, then by name."""


def measure() -> dict[str, dict[str, int]]:
    """Runs everything."""
    costs: dict[str, dict[str, int]] = {}
    with cranked_runtime() as runtime:
        for name, workload in WORKLOADS.items():
            workload.run(runtime)  # what is compiled, cached or interned the first time is not part of it
            store = StoreCounts(runtime)
            workload.run(runtime)
            found = store.stop()
            python = PythonCounts()
            with python.counting():
                workload.run(runtime)
            costs[name] = {"steps": workload.steps, **found, "host_calls": python.host_calls}
            costs[f"{name}.{PYTHON}"] = python.found()
        waiting = {}
        for _ in range(2):
            before = memory_blocks()
            for _ in range(WAITING):
                runtime.submit(FLOWS + "sleeper", 3_600_000)
            runtime.crank(until=runtime.clock.at)
            waiting = {"blocks": memory_blocks() - before}
        costs["waiting"] = {"steps": WAITING}
        costs[f"waiting.{PYTHON}"] = waiting
    return costs


def measure_native() -> dict[str, dict[str, int]]:
    """The same, of the engine and the store alone, in machine instructions."""
    found = native.measure()
    return {"native": {"steps": native.STEPS}, f"native.{native.build_of_python()}": found}


@contextmanager
def cranked_runtime() -> Iterator[Cranked]:
    import components  # of tests/fixtures

    logging.disable(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="obelisk-budget-") as folder:
        built = components.build(Path(folder) / "components")
        directory = Path(folder) / "runtime"
        directory.mkdir()
        with cranked(directory, toml(built.activity, built.workflow)) as runtime:
            yield runtime


def compare(costs: Costs, ceilings: Costs) -> list[str]:
    """What is not as `ceilings` says, in both directions: one that is not lowered lets the next rise pass. What is of another
    version of Python is left out.
    """
    problems = []
    for table, found in costs.items():
        known = ceilings.get(table)
        if known is None:
            if "." not in table or not _has_versions(ceilings):
                problems.append(f"{table}: has no ceilings yet: {_accept(table)}")
            continue
        steps = found.get("steps") or costs[table.partition(".")[0]]["steps"]
        for name in sorted(found.keys() | known.keys()):
            new, old = found.get(name, 0), known.get(name, 0)
            if abs(new - old) <= TOLERANCES.get(name, 0.0) * old:
                continue
            figures = f"{old:,} -> {new:,} {name} for {steps} steps ({old / steps:,.2f} -> {new / steps:,.2f} a step)"
            if new > old:
                problems.append(f"{table}: {figures}: dearer. Make it cheaper, or accept it: {_accept(table)}")
            else:
                problems.append(f"{table}: {figures}: cheaper. Lower the ceiling: {_accept(table)}")
    return problems


def _accept(table: str) -> str:
    return 'make budget ARGS="--native --accept"' if table.startswith("native") else ACCEPT


def _has_versions(ceilings: Costs) -> bool:
    """Whether another version of Python was counted."""
    return any("." in table for table in ceilings)


def read() -> dict[str, dict[str, int]]:
    """The ceilings, by table."""
    with CEILINGS.open("rb") as file:
        tables = tomllib.load(file)
    return {
        **{name: {key: n for key, n in table.items() if isinstance(n, int)} for name, table in tables.items()},
        **{
            f"{name}.{version}": inner
            for name, table in tables.items()
            for version, inner in table.items()
            if isinstance(inner, dict)
        },
    }


def write(costs: Costs, ceilings: Costs) -> None:
    """Rewrites the file; what other versions of Python have stays."""
    costs = {**ceilings, **costs}
    lines = [
        "# What each workload of workloads.py costs, in all its steps. Compared by `make test` and `make budget`,",
        f"# rewritten by `{ACCEPT}`.",
    ]
    for name in (*WORKLOADS, "waiting", "native"):
        for table in sorted(key for key in costs if key.partition(".")[0] == name):
            inner, _, version = table.partition(".")
            lines += ["", f'[{inner}."{version}"]' if version else f"[{inner}]"]
            lines += [f"{key} = {value}" for key, value in sorted(costs[table].items())]
    CEILINGS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def show_where(name: str) -> None:
    """Prints the functions in which a workload's instructions are."""
    workload = WORKLOADS[name]
    with cranked_runtime() as runtime:
        workload.run(runtime)
        python = PythonCounts()
        with python.counting():
            workload.run(runtime)
    print(f"{'instructions':>12} {'calls':>8}  a step of {name}")
    for count, calls, function in python.by_function(40):
        print(f"{count / workload.steps:12,.1f} {calls / workload.steps:8,.2f}  {function}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accept", action="store_true", help="rewrite ceilings.toml")
    parser.add_argument("--where", metavar="WORKLOAD", choices=WORKLOADS, help="the functions that do the work")
    parser.add_argument("--native", action="store_true", help="under valgrind, instead of the others")
    arguments = parser.parse_args()
    if arguments.where:
        show_where(arguments.where)
        return 0
    ceilings = read() if CEILINGS.exists() else {}
    costs = measure_native() if arguments.native else measure()
    problems = compare(costs, ceilings)
    print("\n".join(problems) or "everything costs what ceilings.toml says")
    if arguments.accept:
        write(costs, ceilings)
        return 0
    return 1 if problems else 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests" / "fixtures"))
    sys.exit(main())
