"""Every row of the table of features that is promised has a test that is named after it."""

from __future__ import annotations

import ast
from pathlib import Path

HERE = Path(__file__).resolve().parent

ROWS = {
    "test_workflows.py": {
        "w01": "workflow functions orchestrate activities and child workflows",
        "w02": "retries, timeouts, restarts are handled",
        "w03": "the same inputs and history lead to the same outputs",
        "w05": "every child submission and result is persisted",
        "w06": "it resumes without duplicating or skipping steps",
        "w07": "instantiate, submit, run in the background, return, go on",
        "w08": "activities are retried on errors and timeouts",
        "w09": "the final state is recorded",
        "w11": "fallible return types only",
        "w12": "a trap is the caller's execution-failed",
        "w15": "blocking child calls through a plain import",
        "w16": "a one-off join set for each direct call",
        "w21": "submit --follow",
        "w25": "-submit persists and does not block",
        "w26": "-await-next in the order of completion, typed, with its errors",
        "w27": "-get",
        "w28": "-invoke",
        "w29": "extension types of obelisk:types@4.2.0",
        "w30": "join-set-create",
        "w31": "concurrent executions overlap",
        "w32": "activities and sub-workflows, in series and at once",
        "w33": "-schedule: now, at, in",
        "w34": "scheduling is outside of join sets",
        "w38": "added log lines do not break replays",
        "w39": "a replay can be triggered",
        "w43": "blocking strategy await",
        "w44": "a late result: locked again, replayed",
        "w45": "blocking strategy interrupt",
        "w46": "exec.lock_expiry",
        "w47": "persistent sleep",
    },
    "test_logs.py": {
        "w36": "forward_stdout and forward_stderr of workflows: stored by default, or to the server's own streams",
        "w37": "obelisk:log, with levels",
        "m32": "forwarding stdout and stderr of activities",
        "f14": "optional persistence and forwarding of stdout and stderr",
    },
    "test_principles.py": {
        "r01": "Linux x64",
        "r02": "schema first",
        "r03": "a single process",
        "r05": "automatic retries, workflows continue after a crash",
        "r06": "parameters, results and hierarchy are preserved",
        "r07": "composability",
        "r08": "replay existing workflows",
        "r09": "fork existing workflows, fix and continue",
        "r10": "activities may be stopped and retried at any moment",
        "r14": "a maximum duration, then an intermittent timeout",
        "r15": "retries on traps and errors",
        "r16": "retries on timeouts with exponential backoff",
        "r17": "results are persisted",
        "r18": "keep the parent hot, or unload and replay",
        "r19": "workflows are isolated from the environment",
        "r20": "children blocking, or awaited eventually",
        "r21": "persisted at every change of state",
        "r22": "replay with added log messages and other harmless changes",
        "r25": "pending executions are taken up in order, no more than there is room for",
        "r26": "executions whose run was lost are taken up again",
    },
    "test_files.py": {
        "r11": "WASI activities in a sandbox: files and environment are denied by default",
        "r13": "read and write files: a directory for each execution",
        "m35": "a directory of the host, mapped",
    },
    "test_sandbox.py": {
        "w04": "workflows have no clock, chance, files or network of their own",
        "r12": "HTTP from activities",
        "m39": "an allow-list of hosts",
        "f23": "trace context goes along with outgoing requests",
    },
    "test_tracing.py": {
        "m28": "a collector of OpenTelemetry",
        "m33": "distributed tracing, lines of components in it",
    },
    "test_schema.py": {
        "w10": "functions are described in WIT",
        "w13": "obelisk new makes a project that is built and runs",
        "w14": "the layout of a project: packages of the host, of dependencies, and generated ones",
        "w17": "obelisk.toml with [[activity_wasm]] and [[workflow]]",
        "w18": "${OBELISK_TOML_DIR}",
        "w19": "server run --config ./obelisk.toml",
        "w20": "component list",
        "m27": "parameters are checked on creation",
        "m313": "imports and exports as WIT",
    },
    "test_permanent.py": {
        "f24": "permanent error variants as annotations in WIT",
    },
    "test_processes.py": {
        "m36": "processes spawned from WASM activities, their output read",
    },
    "test_structured_concurrency.py": {
        "s01": "a parent is blocked until its children have ended",
        "s03": "only activities have side effects",
        "s04": "children cannot outlive their parent",
        "s05": "a child's failure propagates after its retries",
        "s06": "unhandled errors bubble up",
        "s07": "a failure of the root is the failure of all",
        "s08": "implicit one-off join sets, explicit ones",
        "s09": "-await-next and join-next in the order of completion",
        "s10": "a join set that goes out of scope waits",
        "s11": "-schedule opts out",
        "s12": "fire and forget, delayed start",
        "s13": "reliability, predictability, cleanup",
    },
}


def rows_tested(path: Path) -> set[str]:
    """The rows in the names of the tests of a file: `test_w01_...`."""
    names = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    return {name.split("_")[1] for name in names if name.startswith("test_")}


def test_every_row_has_a_test_by_name() -> None:
    assert {name: rows_tested(HERE / name) for name in ROWS} == {name: set(rows) for name, rows in ROWS.items()}
