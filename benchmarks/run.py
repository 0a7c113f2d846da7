"""What a real server does, in figures: `make bench`, or `make bench ARGS="series latency --json"`.

Each case starts a server of its own on a temporary folder and asks it over gRPC, as a user would. Figures depend on the
machine and on what else it does; those that matter are therefore given as a ratio to something measured in the same run:
single-row commits of SQLite in the same folder.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "fixtures"))

import components  # noqa: E402  # the test components, and the harness for servers
from serving import Server  # noqa: E402

from obelisk.core.events import DelayRequested  # noqa: E402
from obelisk.core.ids import ExecutionId, ulid  # noqa: E402
from obelisk.core.instants import Instant  # noqa: E402
from obelisk.core.names import FunctionName  # noqa: E402
from obelisk.core.reading import ExecutionFilter, Page  # noqa: E402
from obelisk.core.replay import replay  # noqa: E402
from obelisk.store.sqlite import SqliteStore  # noqa: E402
from obelisk.wasm.component import ComponentLoader  # noqa: E402
from obelisk.wasm.engine import EngineConfig, Engines  # noqa: E402
from obelisk.wasm.guest import WorkflowGuest  # noqa: E402
from obelisk.wasm.link import link_workflow  # noqa: E402

FIBO: Final = "template-fibo:workflow/fibo-workflow-ifc."
FLOWS: Final = "testing:workflow/flows."
EXAMPLE: Final = ROOT / "examples" / "fibo" / "components"
ALL: Final = 1 << 30

Figures = dict[str, float]


@contextmanager
def serving(toml: str) -> Iterator[Server]:
    """A running server on a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="obelisk-bench-") as folder:
        directory = Path(folder) / "server"
        directory.mkdir()
        server = Server(directory, toml)
        server.start()
        try:
            yield server
        finally:
            if server.process is not None and server.process.poll() is None:
                server.stop()


def table(kind: str, name: str, path: Path, keys: str = "") -> str:
    """A component's table."""
    return f'[[{kind}]]\nname = "{name}"\nlocation = "{path}"\n{keys}\n'


def fibo_toml() -> str:
    """The example."""
    activity = table("activity_wasm", "fibo", EXAMPLE / "fibo_activity.wasm", "exec.lock_expiry.minutes = 10")
    return activity + table("workflow", "flow", EXAMPLE / "fibo_workflow.wasm")


@contextmanager
def flows_toml() -> Iterator[str]:
    """The test components, built anew."""
    with tempfile.TemporaryDirectory(prefix="obelisk-bench-") as folder:
        built = components.build(Path(folder) / "components")
        yield table("activity_wasm", "acts", built.activity) + table("workflow", "flows", built.workflow)


def raw_commits_per_s(directory: Path, count: int = 500) -> float:
    """Durable single-row commits of SQLite on the same disk."""
    with closing(sqlite3.connect(directory / "raw.sqlite", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY, b TEXT)")
        begun = time.perf_counter()
        for _ in range(count):
            database.execute("BEGIN IMMEDIATE")
            database.execute("INSERT INTO t (b) VALUES (?)", ("x" * 100,))
            database.execute("COMMIT")
        return count / (time.perf_counter() - begun)


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of `values` do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def run_s(server: Server, function: str, *params: Any) -> float:
    """How long one execution takes, as its client sees it."""
    chosen = f"E_{ulid(time.time_ns() // 1_000_000, os.urandom(10))}"
    begun = time.perf_counter()
    outcome = server.result(server.submit(function, *params, execution_id=chosen), 300)
    assert outcome[0] == "ok", outcome
    return time.perf_counter() - begun


# --- cases -----------------------------------------------------------------------------------------------------------


def series() -> Figures:
    """500 child executions of fibo(10), one after another; each is durable before the next begins."""
    steps, ratios, rates = 500, [], []
    with serving(fibo_toml()) as server:
        run_s(server, FIBO + "fiboa", 10, steps)
        size = server.database.stat().st_size
        for _ in range(5):
            raw = raw_commits_per_s(server.directory)
            rates.append(steps / run_s(server, FIBO + "fiboa", 10, steps))
            ratios.append(rates[-1] / raw)
        server.stop()
        grown = server.database.stat().st_size - size
    return {
        "steps_per_s": statistics.median(rates),
        "of_raw_commits": statistics.median(ratios),
        "stored_bytes_per_step": grown / (5 * steps),
    }


def at_once() -> Figures:
    """500 child executions submitted at once by one workflow."""
    steps = 500
    with serving(fibo_toml()) as server:
        run_s(server, FIBO + "fiboa-concurrent", 10, steps)
        rates = [steps / run_s(server, FIBO + "fiboa-concurrent", 10, steps) for _ in range(5)]
    return {"steps_per_s": statistics.median(rates)}


def many() -> Figures:
    """200 workflows of 10 steps each, all submitted at once."""
    workflows, steps, rates = 200, 10, []
    with serving(fibo_toml()) as server:
        for _ in range(4):
            begun = time.perf_counter()
            with ThreadPoolExecutor(16) as pool:
                ids = list(pool.map(lambda _: server.submit(FIBO + "fiboa", 10, steps), range(workflows)))
            for execution_id in ids:
                server.finished(execution_id)
            rates.append(workflows * steps / (time.perf_counter() - begun))
    return {"steps_per_s": statistics.median(rates[1:])}


def latency() -> Figures:
    """A one-step workflow, from submission to result; then the same beside four activities that only compute."""
    with serving(fibo_toml()) as server:
        for _ in range(20):
            run_s(server, FIBO + "fiboa", 10, 1)
        idle = [1_000 * run_s(server, FIBO + "fiboa", 10, 1) for _ in range(200)]
        for _ in range(4):
            server.submit("template-fibo:activity/fibo-activity-ifc.fibo", 60)
        time.sleep(0.5)
        busy = [1_000 * run_s(server, FIBO + "fiboa", 10, 1) for _ in range(100)]
        server.kill()
    return {
        "idle_p50_ms": percentile(idle, 0.5),
        "idle_p99_ms": percentile(idle, 0.99),
        "busy_p50_ms": percentile(busy, 0.5),
        "busy_p99_ms": percentile(busy, 0.99),
    }


def idle() -> Figures:
    """A server with nothing to do: memory, start-up, CPU."""
    ready = []
    for _ in range(3):
        begun = time.perf_counter()
        with serving(fibo_toml()) as server:
            ready.append(time.perf_counter() - begun)
            assert server.process is not None
            process = Path(f"/proc/{server.process.pid}")
            before = _cpu_s(process)
            time.sleep(5)
            cpu = (_cpu_s(process) - before) / 5
            pss = next(line for line in (process / "smaps_rollup").read_text().splitlines() if line.startswith("Pss:"))
    return {"ready_s": min(ready), "memory_mb": int(pss.split()[1]) / 1024, "cpu_percent": 100 * cpu}


def _cpu_s(process: Path) -> float:
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def recovery() -> Figures:
    """kill -9 in the middle of a long series, then a start: from ready to the first new step. The same beside 10,000
    executions that wait.
    """
    chance, firsts = random.Random(7), []
    with serving(fibo_toml()) as server:
        execution_id = server.submit(FIBO + "fiboa", 10, 100_000)
        for _ in range(10):
            time.sleep(chance.uniform(0.2, 0.6))
            firsts.append(_restart_s(server, execution_id))
        server.kill()
    with flows_toml() as toml, serving(fibo_toml() + toml) as server:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda _: server.submit(FLOWS + "sleeper", 3_600_000), range(10_000)))
        execution_id = server.submit(FIBO + "fiboa", 10, 100_000)
        time.sleep(1)
        crowded = [_restart_s(server, execution_id) for _ in range(3)]
        server.kill()
    return {
        "first_step_p50_s": statistics.median(firsts),
        "first_step_max_s": max(firsts),
        "first_step_beside_10000_s": statistics.median(crowded),
    }


def _restart_s(server: Server, execution_id: str) -> float:
    server.kill()
    with closing(server.reader()) as reader:
        before = reader.state(ExecutionId(execution_id)).response_count
        server.start()
        while reader.state(ExecutionId(execution_id)).response_count == before:
            time.sleep(0.001)
    return time.monotonic() - server.ready_at


def delays() -> Figures:
    """How late delays fire: one at a time on an idle server; 1,000 that are 10 ms apart; 1,000 that are due together."""
    with flows_toml() as toml, serving(toml) as server:
        single = [1_000 * run_s(server, FLOWS + "sleeper", 100) for _ in range(30)]
        apart = _lateness_ms(server, [3_000 + 10 * number for number in range(1_000)])
        due = time.time() * 1_000 + 4_000
        together = _lateness_ms(server, None, due)
    return {
        "of_100_ms_p50_ms": percentile(single, 0.5),
        "of_100_ms_p99_ms": percentile(single, 0.99),
        "apart_p99_late_ms": percentile(apart, 0.99),
        "together_p99_late_ms": percentile(together, 0.99),
    }


def _lateness_ms(server: Server, after_ms: list[int] | None, due_ms: float = 0.0, count: int = 1_000) -> list[float]:
    def submit(number: int) -> str:
        wait = after_ms[number] if after_ms is not None else max(1, round(due_ms - time.time() * 1_000))
        return server.submit(FLOWS + "sleeper", wait)

    with ThreadPoolExecutor(16) as pool:
        ids = list(pool.map(submit, range(count)))
    late = []
    with closing(server.reader()) as reader:
        open_ones = ExecutionFilter(hide_finished=True)
        while reader.executions(open_ones, Page(1), Instant(0)):
            time.sleep(0.1)
        for execution_id in map(ExecutionId, ids):
            events = [entry.event for entry in reader.events(execution_id, 0, ALL)]
            (due,) = [event.expires_at for event in events if isinstance(event, DelayRequested)]
            late.append((reader.result(execution_id).finished_at - due) / 1_000)
    return late


def replays() -> Figures:
    """Reading a log of direct calls, and replaying it on its component: 1,000, 10,000 and 100,000 history events."""
    figures: Figures = {}
    with serving(fibo_toml()) as server:
        ids = {}
        for events in (1_000, 10_000, 100_000):
            ids[events] = ExecutionId(server.submit(FIBO + "fiboa", 1, events // 3))
            server.result(ids[events], 300)
        server.stop()
        engines = Engines(EngineConfig(pool_instances_max=8))
        linked = link_workflow(ComponentLoader(engines, None).load(EXAMPLE / "fibo_workflow.wasm"))
        entry = linked.entries[FunctionName(FIBO + "fiboa")]
        with closing(SqliteStore(server.database)) as store:
            for events, execution_id in ids.items():
                rounds = []
                for _ in range(3):
                    began = time.perf_counter()
                    snapshot = store.load(execution_id)
                    read = time.perf_counter()
                    assert snapshot is not None
                    done = replay(execution_id, snapshot.log, snapshot.responses, WorkflowGuest(entry), Instant(0))
                    rounds.append((time.perf_counter() - read, read - began))
                    assert done.outcome == snapshot.log[-1].event.outcome, done
                best, read_s = min(rounds)
                figures[f"of_{events}_events_ms"] = best * 1_000
                figures[f"of_{events}_events_us_each"] = best / events * 1e6
                figures[f"reading_{events}_events_ms"] = read_s * 1_000
    return figures


CASES: Final[dict[str, Callable[[], Figures]]] = {
    "series": series,
    "at-once": at_once,
    "many": many,
    "latency": latency,
    "idle": idle,
    "recovery": recovery,
    "delays": delays,
    "replay": replays,
}


def main() -> None:
    """Runs the cases that were asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", choices=[[], *CASES], default=[], help="default: all")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    results: dict[str, Figures] = {}
    for name in arguments.case or CASES:
        results[name] = CASES[name]()
        if not arguments.json:
            figures = ", ".join(f"{key} {value:,.2f}" for key, value in results[name].items())
            print(f"{name:10} {figures}", flush=True)
    if arguments.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
