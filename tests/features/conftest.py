"""One server with every component that the rows need, for all of this folder; tests may stop, kill and start it.

What a test starts it lets end. Executions are asked about over gRPC and with the command line; what is in the database is
read from the file.

A start takes a second of CPU, so what needs one is shared: `crashed` (one kill -9 in the middle of everything), `refused`
(a server that does not start, for many reasons) and `redeployed` (one server with old components, then with new ones).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from obelisk.cli.main import cli
from obelisk.core.events import DelayRequested, Event, Finished, Locked, LogEntry, TemporarilyFailed, kind_of
from obelisk.core.ids import ExecutionId
from obelisk.core.lines import LineFilter, LinePage, StoredLogLine
from obelisk.core.reading import ExecutionFilter, Page
from obelisk.core.responses import Response
from obelisk.core.state import ExecutionState, Status

ALL = 1 << 30


@dataclass
class Served:
    """A server, and how tests use it."""

    server: Any

    # --- over the wire ---

    def run(self, ffqn: str, *params: Any, timeout_s: float = 120) -> tuple[str, Any]:
        """Submits and waits: the id, and ("ok", value), ("err", value) or ("failure", kind, reason)."""
        execution_id: str = self.server.submit(ffqn, *params)
        return execution_id, self.server.result(execution_id, timeout_s)

    def cli(self, *arguments: str) -> Result:
        """Runs `obelisk ...` against the server."""
        url = f"http://{self.server.address}"
        result = CliRunner(env={"OBELISK_API_URL": url}).invoke(cli, arguments, prog_name="obelisk")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def done(self, *arguments: str) -> str:
        """What a command prints that must succeed."""
        result = self.cli(*arguments)
        assert result.exit_code == 0, result.output
        return result.output.strip()

    def json(self, *arguments: str) -> Any:
        """The document that a command prints that must succeed."""
        return json.loads(self.done(*arguments, "--json"))

    # --- from the file ---

    def read(self, execution_id: str) -> list[LogEntry]:
        """The log in the file, whether or not the server lives."""
        with closing(self.server.reader()) as reader:
            entries: list[LogEntry] = reader.events(ExecutionId(execution_id), 0, ALL)
        return entries

    def events(self, execution_id: str, *kinds: type[Any]) -> list[Any]:
        """Events of the log, of these kinds only."""
        return [entry.event for entry in self.read(execution_id) if isinstance(entry.event, kinds)]

    def kinds(self, execution_id: str) -> list[str]:
        """The kinds of all events."""
        return [kind_of(entry.event) for entry in self.read(execution_id)]

    def history(self, execution_id: str) -> list[Event]:
        """What replay compares."""
        return [entry.event for entry in self.read(execution_id) if entry.event.history]

    def responses(self, execution_id: str) -> list[Response]:
        """The responses in the file."""
        with closing(self.server.reader()) as reader:
            found: list[Response] = reader.responses(ExecutionId(execution_id), 0, ALL)
        return found

    def lines(self, execution_id: str, *, derived: bool = False) -> list[StoredLogLine]:
        """What was logged, in the file."""
        with closing(self.server.reader()) as reader:
            found: list[StoredLogLine] = reader.lines(LineFilter(ExecutionId(execution_id), derived), LinePage(ALL))
        return found

    def state(self, execution_id: str) -> ExecutionState | None:
        """The state row in the file."""
        with closing(self.server.reader()) as reader:
            state: ExecutionState | None = reader.state(ExecutionId(execution_id))
        return state

    def tree(self, root: str) -> dict[str, ExecutionState]:
        """The state rows of an execution and all that derive from it."""
        with closing(self.server.reader()) as reader:
            where = ExecutionFilter(top_level_only=False, root=ExecutionId(root))
            states = reader.executions(where, Page(ALL), 0)
        return {state.execution_id: state for state in states}

    def span(self, execution_id: str) -> tuple[int, int]:
        """When it was first locked and when it finished, in microseconds."""
        entries = self.read(execution_id)
        begun = next(entry.created_at for entry in entries if isinstance(entry.event, Locked))
        assert isinstance(entries[-1].event, Finished)
        return begun, entries[-1].created_at

    # --- moments ---

    def until(self, what: Callable[[], object], timeout_s: float = 120) -> None:
        """Waits for `what` to be true."""
        ends = time.monotonic() + timeout_s
        while not what():
            assert time.monotonic() < ends, "it did not happen"
            time.sleep(0.005)

    def until_status(self, execution_id: str, status: Status) -> None:
        """Waits for the file to say so."""
        self.until(lambda: (state := self.state(execution_id)) is not None and state.status is status)

    def crash(self) -> None:
        """kill -9, and a new start."""
        self.server.kill()
        self.server.start()

    def restart(self) -> None:
        """A clean stop, and a new start."""
        assert self.server.stop() == 0
        self.server.start()


@dataclass(frozen=True)
class Components:
    """All components of the fixtures."""

    fibo: Any
    testing: Any
    calling: Any
    features: Any


@pytest.fixture(scope="session")
def components(
    fibo_components: Any, testing_components: Any, calling_components: Any, feature_components: Any
) -> Components:
    return Components(fibo_components, testing_components, calling_components, feature_components)


def table(kind: str, name: str, location: Path, *lines: str) -> str:
    return "\n".join([f"[[{kind}]]", f'name = "{name}"', f'location = "{location}"', *lines, ""])


FAST = "retry_exp_backoff.milliseconds = 10"


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory, components: Components, fixture_module: Any) -> Any:
    """`acts` takes 0.7 s when it fails or is out of time: three retries after 0.1, 0.2 and 0.4 s. The three workflows of
    one text, `flows`, `brief` and `hasty`, differ in how long their locks stand and what they do when they block.

    `files_clean` and `files_reused` have a directory of their own, number 0, and two of the host: `/state`, number 1, and
    `/data`, number 2, to read; `files_closed` has none.
    """
    five, six = components.calling.without_stubs
    features = components.features
    directory = tmp_path_factory.mktemp("served") / "server"
    mapped = {name: directory / "mapped" / name for name in ("clean", "reused", "data")}
    for each in mapped.values():
        each.mkdir(parents=True)
    (mapped["data"] / "a.txt").write_text("of the host")
    retries = ("max_retries = 3", "retry_exp_backoff.milliseconds = 100")
    toml = [
        "activities.directories.enabled = true",
        f'activities.directories.parent_directory = "{directory}/directories"',
        table("activity_wasm", "acts", components.testing.activity, *retries, "exec.lock_expiry.milliseconds = 50"),
        table("activity_wasm", "fibo", components.fibo.activity, "max_retries = 0", "exec.lock_expiry.seconds = 60"),
        table("workflow", "fiboa", components.fibo.workflow),
        table("workflow", "flows", components.testing.workflow, "exec.lock_expiry.seconds = 60"),
        table("workflow", "brief", features.brief, "exec.lock_expiry.milliseconds = 200"),
        table("workflow", "hasty", features.hasty, 'join_next_blocking_strategy = "interrupt"'),
        table("workflow", "features", features.flows),
        table(
            "activity_wasm", "talk_activity", features.talk_activity, "max_retries = 1", FAST, "forward_stderr = 'none'"
        ),
        table("workflow", "talk_workflow", features.talk_workflow),
        table("workflow", "loud", features.loud, "forward_stdout = 'stdout'", "forward_stderr = 'stderr'"),
        table("workflow", "quiet", features.quiet, "logs_store_min_level = 'off'", "forward_stdout = 'none'"),
        table("workflow", "five", five),
        table("workflow", "six", six),
        table(
            "activity_wasm",
            "forms_activity",
            features.forms_activity,
            "max_retries = 0",
            "exec.lock_expiry.milliseconds = 50",
        ),
        table("workflow", "forms_workflow", features.forms_workflow, "exec.cpu_budget.milliseconds = 50"),
        table("workflow", "forms_caller", features.forms_caller),
        table("activity_wasm", "files_closed", features.files["closed"], "max_retries = 0"),
        *(
            table(
                "activity_wasm",
                f"files_{kind}",
                features.files[kind],
                "directories.enabled = true",
                f"directories.reuse_on_retry = {str(kind == 'reused').lower()}",
                "retry_exp_backoff.milliseconds = 1",
                f"directory = [{{ host = '{mapped[kind]}', guest = '/state', read_only = false }},"
                f" {{ host = '{mapped['data']}', guest = '/data' }}]",
            )
            for kind in ("clean", "reused")
        ),
    ]
    return fixture_module("serving").Server(directory, "\n".join(toml))


@pytest.fixture(scope="session")
def _served(shared_server: Any) -> Iterator[Served]:
    shared_server.start()
    yield Served(shared_server)
    shared_server.stop()


@pytest.fixture
def served(_served: Served) -> Served:
    """The shared server; it is started again if a test that failed left it dead."""
    process = _served.server.process
    if process.poll() is not None:
        _served.server.start()
    return _served


# --- a crash ---------------------------------------------------------------------------------------------------------

FIBO = "template-fibo:workflow/fibo-workflow-ifc."
FLOWS = "testing:workflow/flows."
FEATURES = "testing:features/flows."


@dataclass(frozen=True)
class Crash:
    """What there was when the server was killed, and when it was ready again. All have finished since."""

    served: Served
    ended: Mapping[str, tuple[str, Any]]
    """Executions that had finished, by function: id and outcome."""
    steps: str
    """An activity many times in series."""
    long: str
    """Two activities at once, which compute for half a second or more; both were running."""
    failing: str
    """A call of an activity that fails; it had failed twice at least."""
    reads: str
    """It had read clock and chance once, and was asleep."""
    sleeper: str
    logs: Mapping[str, list[LogEntry]]
    """Of all of them and all that derive from them."""
    responses: Mapping[str, int]
    """How many each had."""
    ready_at: int
    """In microseconds since the epoch."""


CRASHES_MAX = 10
"""How many kills are tried until one comes in the middle of everything: on a busy machine something may have ended before it."""


@pytest.fixture(scope="session")
def crashed(_served: Served) -> Crash:
    calls: list[tuple[Any, ...]] = [
        (FIBO + "fiboa", 10, 1),
        (FLOWS + "returns-err",),
        (FLOWS + "trap",),
        (FLOWS + "random", 20),
        ("testing:activity/acts.echo", "grüß dich"),
    ]
    ended = {ffqn: _served.run(ffqn, *params) for ffqn, *params in calls}
    for _ in range(CRASHES_MAX):
        if (crash := killed_in_the_middle(_served, ended)) is not None:
            return crash
    raise AssertionError(f"none of {CRASHES_MAX} kills came while all was under way")


def killed_in_the_middle(served: Served, ended: Mapping[str, tuple[str, Any]]) -> Crash | None:
    """Begins all, kills, and starts again; None if something had ended before the kill came."""
    submit = served.server.submit
    steps = submit(FIBO + "fiboa", 25, 300)
    served.until(lambda: len(served.responses(steps)) >= 20)
    sleeper = submit(FLOWS + "sleeper", 3_000)
    reads = submit(FEATURES + "reads", 3_000)
    served.until(lambda: len(served.events(reads, DelayRequested)) == 2)
    failing = submit(FLOWS + "calls-fail", 7)
    served.until(lambda: len(served.events(f"{failing}.o:1-fail_1", TemporarilyFailed)) >= 2)
    long = submit(FIBO + "fiboa-concurrent", 40, 2)
    computing = [f"{long}.g:1_1", f"{long}.g:1_2"]
    served.until(lambda: all(served.events(child, Locked) for child in computing))
    served.server.kill()
    goes_on = [steps, long, failing, reads, sleeper]
    is_in_time = not any(isinstance(served.read(each)[-1].event, Finished) for each in goes_on + computing)
    roots = [*goes_on, *(execution_id for execution_id, _ in ended.values())]
    everybody = [execution_id for root in roots for execution_id in served.tree(root)]
    logs = {execution_id: served.read(execution_id) for execution_id in everybody}
    responses = {execution_id: len(served.responses(execution_id)) for execution_id in everybody}
    served.server.start()
    ready_at = time.time_ns() // 1_000
    for root in goes_on:
        served.server.result(root)  # before another test restarts the server
    if not is_in_time:
        return None
    return Crash(served, ended, steps, long, failing, reads, sleeper, logs, responses, ready_at)


# --- a start that is refused -----------------------------------------------------------------------------------------

WRONG = {
    "sure": """
        world any { export a:sure/c; }
        package a:sure {
          interface c {
            variant trouble { mine }
            f0: func() -> u64;
            f1: func() -> option<u64>;
            f2: func() -> result<u64, u64>;
            f3: func() -> result<u64, trouble>;
          }
        }
        """,
    "mistyped": """
        world any { import testing:activity/acts; export a:mistyped/c; }
        package testing:activity { interface acts { fail: func(n: u32) -> result<u64, string>; } }
        package a:mistyped { interface c { f: func() -> result; } }
        """,
    "busybody": """
        world any { import wasi:http/outgoing-handler@0.2.0; import wasi:sockets/network@0.2.0; export a:busybody/c; }
        package a:busybody { interface c { f: func() -> result; } }
        package wasi:http@0.2.0 { interface outgoing-handler { handle: func(); } }
        package wasi:sockets@0.2.0 { interface network { connect: func(); } }
        """,
}


@pytest.fixture(scope="session")
def refused(tmp_path_factory: pytest.TempPathFactory, components: Components, fixture_module: Any) -> list[str]:
    """What a server says that does not start because of `WRONG`, line by line; nothing was written."""
    directory = tmp_path_factory.mktemp("refused") / "server"
    directory.mkdir()
    tables = [table("activity_wasm", "acts", components.testing.activity)]
    for name, wit in WRONG.items():
        source = directory.parent / f"{name}.wit"
        source.write_text(f"package any:any;\n{wit}")
        component = source.with_suffix(".wasm")
        component.write_bytes(fixture_module("components").dummy_component(source, "any"))
        tables.append(table("workflow", name, component))
    server = fixture_module("serving").Server(directory, "\n".join(tables))
    server.start(wait=False)
    assert server.wait_dead() == 1
    assert not server.database.exists()
    lines: list[str] = server.log.read_text().splitlines()
    return lines


# --- new components in the place of old ones -------------------------------------------------------------------------

LINE = "(call $log_info (i32.const 144) (i32.const 3))"
"""It says "got"."""
BEGINS = '"testing:workflow/flows#many-sleeps") (param $n i32) (param $ms i64) (result i32)\n    (local $slept i32)'
SLEPT = "(if (i32.load8_u (i32.const 64)) (then (return (call $err))))\n        (local.set $slept"
CHANGES: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]] = {
    # Log lines at the beginning of `many-sleeps` and after each sleep.
    "logging": ({}, {BEGINS: f"{BEGINS} {LINE}", SLEPT: f"{LINE} {SLEPT}"}),
    "logged": ({}, {BEGINS: f"{BEGINS} {LINE}", SLEPT: f"{LINE} {SLEPT}"}),
    # Also a call that leaves no event.
    "tidied": ({}, {BEGINS: f"{BEGINS} {LINE} (call $current_id (i32.const 64))"}),
    # A call that does.
    "altered": ({}, {BEGINS: f"{BEGINS} (call $join_set_drop (call $join_set_create))"}),
    # It traps after the second sleep, and then does not.
    "faulty": ({SLEPT: f"(if (i32.eq (local.get $slept) (i32.const 1)) (then (unreachable))) {SLEPT}"}, {}),
}
"""By package, testing:PACKAGE/flows: what is changed in the text of the old component, and of the new one."""


@dataclass(frozen=True)
class Redeployed:
    """A running server with new components, and what there was before."""

    served: Served
    runs: Mapping[str, tuple[str, Any]]
    """By package: id and outcome of `many-sleeps(3, 1)`, which has finished on the old component."""
    logs: Mapping[str, list[LogEntry]]
    """Their logs, by package."""
    running: str
    """An execution of the package `logging` that sleeps."""
    needs: str
    """Of an activity that needs more memory than it was given before; it had failed twice."""


@pytest.fixture(scope="session")
def redeployed(
    tmp_path_factory: pytest.TempPathFactory, components: Components, fixture_module: Any
) -> Iterator[Redeployed]:
    folder = tmp_path_factory.mktemp("redeployed")
    directory = folder / "server"
    directory.mkdir()
    variant, tools = fixture_module("features").variant, fixture_module("components")

    def toml(age: int) -> str:
        tables = [
            table("activity_wasm", "acts", components.testing.activity),
            table(
                "activity_wasm",
                "steps",
                components.features.steps,
                "retry_exp_backoff.milliseconds = 400",
                f"exec.memory_max_bytes = {(2 << 20, 8 << 20)[age]}",
            ),
        ]
        for name, changes in CHANGES.items():
            path = variant(folder / f"{name}-{age}", tools, changes[age], f"testing:{name}")
            tables.append(table("workflow", name, path))
        return "\n".join(tables)

    old, new = toml(0), toml(1)
    served = Served(fixture_module("serving").Server(directory, old))
    served.server.start()
    try:
        needs = served.server.submit("testing:steps/steps.needs", 64)
        runs = {name: served.run(f"testing:{name}/flows.many-sleeps", 3, 1) for name in CHANGES if name != "logging"}
        logs = {name: served.read(execution_id) for name, (execution_id, _) in runs.items()}
        running = served.server.submit("testing:logging/flows.many-sleeps", 1, 600_000)
        served.until_status(running, Status.BLOCKED)
        served.until(lambda: len(served.events(needs, TemporarilyFailed)) == 2)
        assert served.server.stop() == 0
        served.server.toml.write_text(served.server.toml.read_text().replace(old, new))
        served.server.start()
        yield Redeployed(served, runs, logs, running, needs)
        assert served.server.stop() == 0
    finally:
        if served.server.process.poll() is None:
            served.server.kill()


@pytest.fixture
def serve(server: Any) -> Callable[..., Served]:
    """A function: tables of components -> a server of the test's own, not started yet."""

    def make(*tables: str) -> Served:
        return Served(server("\n".join(tables)))

    return make


# --- HTTP ------------------------------------------------------------------------------------------------------------


class Web:
    """A server on the loopback interface; it answers 204 and keeps the headers of each request. Below /open/slow it answers when
    it is stopped.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        requests, self._stopping = self.requests, threading.Event()
        stopping = self._stopping

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                if self.path.startswith("/open/slow"):
                    stopping.wait()
                self.send_response(204)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.authority = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def http_component(tmp_path_factory: pytest.TempPathFactory, fixture_module: Any) -> Path:
    """`testing:http/http`: it sends HTTP requests."""
    built: Path = fixture_module("http_get").build(tmp_path_factory.mktemp("http"), fixture_module("components"))
    return built


@pytest.fixture
def fetching(serve: Callable[..., Served], web: Web, http_component: Path) -> Served:
    """A server with that component, which may only send GET, to `web`, below /open/."""
    served = serve(f"""
        [[activity_wasm]]
        name = "http"
        location = "{http_component}"
        max_retries = 0
        exec.lock_expiry.seconds = 20
        [[activity_wasm.allowed_host]]
        pattern = "http://{web.authority}"
        methods = ["GET"]
        request_url_regex = "http://[^/]*/open/.*"
    """)
    served.server.start()
    return served


# --- traces ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Traced:
    """A server that sends what it can to a collector."""

    served: Served
    collector: Any


@pytest.fixture(scope="session")
def traced(
    tmp_path_factory: pytest.TempPathFactory, components: Components, http_component: Path, fixture_module: Any
) -> Iterator[Traced]:
    pytest.importorskip("opentelemetry.proto", reason="the extra `otel` is missing: pip install -e '.[dev]'")
    directory = tmp_path_factory.mktemp("traced") / "server"
    directory.mkdir()
    collector = fixture_module("collector").Collector()
    collector.start()
    features = components.features
    toml = [
        f'otlp.enabled = true\notlp.otlp_endpoint = "{collector.endpoint}"\notlp.service_name = "mine"',
        table("workflow", "talk_workflow", features.talk_workflow),
        table("activity_wasm", "talk_activity", features.talk_activity, "max_retries = 1", FAST),
        table("activity_wasm", "acts", components.testing.activity),
        table("workflow", "five", components.calling.without_stubs[0]),
        table(
            "activity_wasm",
            "http",
            http_component,
            "allowed_host = [{ pattern = 'http://127.0.0.1:*', methods = ['GET'] }]",
        ),
    ]
    served = Served(fixture_module("serving").Server(directory, "\n".join(toml)))
    served.server.start()
    yield Traced(served, collector)
    served.server.stop()
    collector.stop()
