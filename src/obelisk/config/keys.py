"""Every key of the configuration, as data: what it is called, what its value must look like, its default, its meaning.

The keys of the file's root, those of a component's table, the other spellings that a key may have, and the keys that
belong to parts of Obelisk which this version does not have. The reference in the documentation is compared with this
table by a test. Nothing here reads anything.

`effect=False` marks a key that is accepted so that existing files work, and checked, but that decides nothing here.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from obelisk.config.directories import MappedDirectories
from obelisk.config.kinds import (
    Allowed,
    BlockingStrategy,
    Cgroup,
    Choice,
    ComponentFile,
    ContentDigest,
    Count,
    Duration,
    Endpoint,
    Flag,
    Folder,
    Function,
    Kind,
    Levels,
    Name,
    OnlyUnlimited,
    Parameters,
    Pragmas,
    Share,
    SocketAddress,
    Sources,
    Text,
    TypeText,
    Word,
)
from obelisk.config.outgoing import AllowedHosts, Secrets
from obelisk.config.outgoing_tcp import TcpTargets
from obelisk.config.settings import MEMORY_MAX_BYTES_DEFAULT, Allocator, LogStyle, LogWriter
from obelisk.config.variables import EnvironmentVariables
from obelisk.core.calls import LogLevel
from obelisk.core.policy import Forward, Limits, OnTrap, ProcessProvider, ProgramLimits
from obelisk.core.ports import FunctionKind

U32_MAX: Final = 2**32 - 1
WASM_PAGE: Final = 1 << 16


class Key(msgspec.Struct, frozen=True):
    """One key that may be set. `path` is dotted; `default` is written as in the file, None for a key without one."""

    path: str
    kind: Kind
    default: Any
    meaning: str
    aliases: tuple[str, ...] = ()
    """Older and newer spellings of `path`."""
    required: bool = False
    effect: bool = True


class ComponentTable(msgspec.Struct, frozen=True):
    """An array of tables, one for each component of a kind (of which there may be several tables)."""

    path: str
    kind: FunctionKind
    aliases: tuple[str, ...] = ()


class Later(msgspec.Struct, frozen=True):
    """A key of a part that this version does not have."""

    path: str


_LIMIT_MEANINGS: Final = {
    "tick_units_max": "Units (atomic groups of rows) that one tick may commit.",
    "tick_rows_max": "Rows that one tick may commit.",
    "tick_bytes_max": "Bytes that one tick may commit.",
    "tick_events_per_execution_max": "Events that one execution may append in one tick.",
    "tick_deciding_us_max": "Microseconds that one tick may spend deciding.",
    "inbox_max": "Requests of clients that may wait; more are refused with RESOURCE_EXHAUSTED.",
    "start_window": "Attempts that may be locked with their first slice still due.",
    "start_window_shared": "The same, where several engines share a store: what one does not take, others can.",
    "hot_max": "Workflow instances kept in memory; beyond it the one that waited longest is unloaded.",
    "crash_max": "Crashes of the process during an execution's run after which it is not started again.",
    "log_line_bytes_max": "Bytes of one line that a component logs; what is longer is cut.",
    "log_run_lines_max": "Lines that one attempt at an activity, or a workflow, may log; more are dropped.",
    "log_run_bytes_max": "Bytes that one run may log; more are dropped.",
    "log_buffer_lines_max": "Lines of all activities that may wait to be stored; more are dropped.",
    "log_buffer_bytes_max": "Bytes of such lines.",
    "lease_us": "Microseconds that a lease on an execution lasts where several engines share a store.",
}

LIMITS: Final = tuple(
    Key(f"limits.{field.name}", Count(least=1), field.default, _LIMIT_MEANINGS[field.name])
    for field in msgspec.structs.fields(Limits)
)

DIRECTORIES: Final = (
    Key(
        "activities.directories.enabled",
        Flag(),
        False,
        "Whether executions of activities may have a directory of their own; see `directories.enabled` of a component.",
    ),
    Key(
        "activities.directories.parent_directory",
        Folder(),
        "${TEMP_DIR}/obelisk",
        "Where these directories are, each named after its execution. Made when it is missing; must belong to the server's user"
        " and be writable by nobody else.",
    ),
    Key(
        "activities.directories.bytes_max",
        Count(least=1, may_be_unlimited=True),
        256 << 20,
        "Bytes that the files in one of them may have together.",
    ),
    Key(
        "activities.directories.entries_max",
        Count(least=1, may_be_unlimited=True),
        10_000,
        "Files, directories and links that may be in one of them.",
    ),
    Key(
        "activities.directories.cleanup.enabled",
        Flag(),
        True,
        "Whether directories of executions that have finished are removed.",
    ),
    Key(
        "activities.directories.cleanup.run_every",
        Duration(positive=True),
        {"minutes": 1},
        "How often it is looked whether there are some to remove.",
    ),
    Key(
        "activities.directories.cleanup.older_than",
        Duration(),
        {"minutes": 5},
        "How long after the end of its execution a directory is kept.",
    ),
)
"""Directories of executions."""

ROOT: Final = (
    Key("api.listening_addr", SocketAddress(), "127.0.0.1:5005", "Where the gRPC API listens."),
    Key(
        "sqlite.directory",
        Folder(),
        "${DATA_DIR}/obelisk-sqlite",
        "Folder of the database, `obelisk.sqlite`. Made when it is missing.",
        aliases=("database.sqlite.directory",),
    ),
    Key(
        "sqlite.pragma",
        Pragmas(),
        {},
        "Pragmas of SQLite that replace the store's own; those that tune, no others. `synchronous` below FULL gives up"
        " durability.",
        aliases=("database.sqlite.pragma",),
    ),
    Key(
        "sqlite.queue_capacity",
        Count(least=1),
        100,
        "See `limits.inbox_max`.",
        aliases=("database.sqlite.queue_capacity",),
        effect=False,
    ),
    Key(
        "sqlite.low_prio_threshold",
        Count(),
        100,
        "There is no queue of low priority.",
        aliases=("database.sqlite.low_prio_threshold",),
        effect=False,
    ),
    Key(
        "sqlite.metrics_threshold",
        Duration(),
        None,
        "Latencies are not logged.",
        aliases=("database.sqlite.metrics_threshold",),
        effect=False,
    ),
    Key(
        "wasm.cache_directory",
        Folder(),
        "${CACHE_DIR}/wasm",
        "Components are not fetched from anywhere.",
        aliases=("wasm_cache_directory",),
        effect=False,
    ),
    Key(
        "wasm.allocator_config",
        Choice(Allocator),
        "auto",
        "How memory for guests is reserved: `pooling` is fast and reserves address space, `auto` is pooling where it works.",
    ),
    Key(
        "wasm.fuel",
        Count(least=1, may_be_unlimited=True),
        "unlimited",
        "Instructions that one run may execute; a run that needs more ends as out of fuel. A limit makes guests slower.",
    ),
    Key("wasm.parallel_compilation", Flag(), True, "Whether one component is compiled on all cores."),
    Key(
        "wasm.backtrace.persist",
        Flag(),
        True,
        "Whether a backtrace is kept in the database once somebody looked at it. It is made then, by a replay; running"
        " workflows record none.",
        aliases=("workflows.backtrace.persist",),
    ),
    Key(
        "wasm.global_executor_instance_limiter",
        OnlyUnlimited(),
        "unlimited",
        "See `limits.start_window` and `limits.hot_max`.",
        effect=False,
    ),
    Key(
        "wasm.global_webhook_instance_limiter",
        OnlyUnlimited(),
        "unlimited",
        "There are no webhooks.",
        effect=False,
    ),
    Key(
        "wasm.build_semaphore",
        Count(least=1, may_be_unlimited=True),
        "unlimited",
        "As many components are compiled at once as there are cores.",
        effect=False,
    ),
    Key("wasm.debug", Flag(), False, "Backtraces of guests always use the debug information there is.", effect=False),
    Key(
        "codegen_cache.enabled",
        Flag(),
        True,
        "Whether compiled components are kept on disk.",
        aliases=("wasm.codegen_cache.enabled",),
    ),
    Key(
        "codegen_cache.directory",
        Folder(),
        "${CACHE_DIR}/codegen",
        "Folder of compiled components.",
        aliases=("wasm.codegen_cache.directory",),
    ),
    Key(
        "log.console.enabled",
        Flag(),
        True,
        "Whether the server writes a log to its terminal.",
        aliases=("log.stdout.enabled",),
    ),
    Key(
        "log.console.level",
        Levels(),
        "info",
        "Lines below this level are left out; `LOGGER=LEVEL` after a comma sets it for one logger.",
        aliases=("log.stdout.level",),
    ),
    Key(
        "log.console.style",
        Choice(LogStyle),
        "plain_compact",
        "How a line looks.",
        aliases=("log.stdout.style",),
    ),
    Key(
        "log.console.target",
        Flag(),
        False,
        "Whether a line names its logger.",
        aliases=("log.stdout.target",),
    ),
    Key(
        "log.console.writer",
        Choice(LogWriter),
        "stderr",
        "Where the log goes.",
        aliases=("log.stdout.writer",),
    ),
    Key(
        "log.console.span",
        Word(("none", "new", "enter", "exit", "close", "active", "full")),
        "none",
        "Spans are not in the log; see `otlp`.",
        aliases=("log.stdout.span",),
        effect=False,
    ),
    Key(
        "otlp.enabled",
        Flag(),
        False,
        "Whether spans of executions and lines of components are sent to a collector of OpenTelemetry. Needs the extra `otel`:"
        " `pip install 'obelisk[otel]'`.",
    ),
    Key(
        "otlp.level",
        Levels(),
        "info,app=trace",
        "What is sent: of lines of components those that are not below the level of `app` (output is `info`); of everything else,"
        " which is spans, all from `info` on, none above it.",
    ),
    Key(
        "otlp.service_name",
        Text(),
        "obelisk-server",
        "What this server is called in traces (`service.name`).",
    ),
    Key(
        "otlp.otlp_endpoint",
        Endpoint(),
        "http://localhost:4317",
        "The collector, which takes OTLP over gRPC. With `https` the connection is encrypted.",
    ),
    Key(
        "secrets",
        Secrets(),
        {},
        'Secrets that activities may send without seeing them: `[secrets]` with `NAME = { env = "VARIABLE" }`. The value is read'
        " from the server's environment when it starts.",
    ),
    Key(
        "outbound_http.allowed_host",
        AllowedHosts(with_secrets=False),
        None,
        "When it is set: what any component may send, in addition to what its own `allowed_host` says. Both must allow a request.",
    ),
    *DIRECTORIES,
    Key(
        "allow_exec_activities",
        Allowed(),
        False,
        "Which programs of the host activities may run: all of them, none, or those with these digests. The names are those of"
        " exec activities, and the commands that WASM activities spawn.",
    ),
    Key(
        "programs.running_max",
        Count(least=1),
        ProgramLimits().running_max,
        "Programs that run at once; the attempts of others wait, and their deadlines with them.",
    ),
    Key(
        "programs.tasks_max",
        Count(least=1),
        ProgramLimits().tasks_max,
        "Processes and threads of one program and all that it starts.",
    ),
    Key(
        "programs.memory_max_bytes",
        Count(least=1 << 20, may_be_unlimited=True),
        "unlimited",
        "Memory of one program and all that it starts. Held where the server has a cgroup with the controller memory.",
    ),
    Key(
        "programs.cgroup",
        Cgroup(),
        ProgramLimits().cgroup,
        'Below which cgroup programs get theirs. `"auto"`: that of the server.',
    ),
    *LIMITS,
)
"""Keys outside components."""

COMPONENT_TABLES: Final = (
    ComponentTable("workflow", FunctionKind.WORKFLOW, aliases=("workflow_wasm",)),
    ComponentTable("activity_wasm", FunctionKind.ACTIVITY),
    ComponentTable("activity_exec", FunctionKind.ACTIVITY),
    ComponentTable("activity_stub", FunctionKind.STUB, aliases=("activity_external",)),
)

_NAME: Final = Key("name", Name(), None, "What the component is called; unique among all components.", required=True)
_COMPONENT: Final = (
    _NAME,
    Key(
        "location",
        ComponentFile(),
        None,
        "The component's file: a path, or `location.path`.",
        required=True,
    ),
    Key("content_digest", ContentDigest(), None, "What the digest of the file must be; checked at start."),
    Key(
        "exec.memory_max_bytes",
        Count(least=WASM_PAGE, may_be_unlimited=True),
        MEMORY_MAX_BYTES_DEFAULT,
        "Linear memory that one instance may use.",
    ),
    Key("exec.batch_size", Count(least=1, most=U32_MAX), 5, "Executions are not fetched in batches.", effect=False),
    Key("exec.tick_sleep", Duration(), {"milliseconds": 200}, "Executions are not polled for.", effect=False),
    Key(
        "exec.locking_strategy",
        Word(("by_ffqns", "by_ffqn", "by_component_digest", "auto")),
        "by_ffqns",
        "An execution stays with the component that it started on.",
        effect=False,
    ),
)

_LOGGING: Final = (
    Key(
        "forward_stdout",
        Choice(Forward),
        "db",
        'Where its standard output goes: `"db"`: to the log of the execution. `"stdout"` and `"stderr"`: to the server\'s own,'
        ' each line behind `[COMPONENT EXECUTION_ID stdout] `. `"none"`: nowhere.',
    ),
    Key("forward_stderr", Choice(Forward), "db", "The same for its standard error."),
    Key(
        "logs_store_min_level",
        Word(("off", *LogLevel)),
        "debug",
        'Lines of `obelisk:log` below this level are not stored; `"off"`: none are. The server\'s log has them all the same.',
    ),
)

ACTIVITY: Final = (
    *_COMPONENT,
    *_LOGGING,
    Key(
        "exec.lock_expiry",
        Duration(positive=True),
        {"seconds": 1},
        "How long one attempt may run. It starts with the run; waiting for a free core does not count.",
    ),
    Key(
        "max_retries",
        Count(most=U32_MAX),
        5,
        "How often an attempt that failed or timed out is repeated; 0: never.",
    ),
    Key(
        "retry_exp_backoff",
        Duration(),
        {"milliseconds": 100},
        "How long the first retry waits; each further one waits twice as long.",
    ),
    Key(
        "retry_backoff_max",
        Duration(positive=True),
        None,
        "The longest that a retry waits. Not less than `retry_exp_backoff`.",
    ),
    Key(
        "retry_jitter",
        Share(),
        0.0,
        "Up to which share of its wait a retry comes sooner or later, so that what failed together is not retried together.",
    ),
    Key(
        "retry_on_err",
        Flag(),
        True,
        "Whether a returned `err` is retried too. An error that its name or its WIT calls permanent never is.",
    ),
    Key(
        "env_vars",
        EnvironmentVariables(),
        [],
        'Environment variables that the guest sees: `"NAME"` is forwarded from the server\'s environment, `"NAME=value"` is'
        " set, and in a `value` of the long form `${OTHER}` is replaced (`${OTHER:-default}` where it is unset or empty)."
        " A variable that is named and not set keeps the server from starting.",
    ),
    Key(
        "allowed_host",
        AllowedHosts(),
        [],
        "Which HTTP requests its functions may send: tables `[[activity_wasm.allowed_host]]`. Without any: none.",
    ),
    Key(
        "directories.enabled",
        Flag(),
        False,
        "Whether each execution has a directory of its own, `.` to the guest. Needs `activities.directories.enabled`.",
    ),
    Key(
        "directories.reuse_on_retry",
        Flag(),
        False,
        "Whether a retry finds what the attempt before left in it; else it finds it empty.",
    ),
    Key(
        "directory",
        MappedDirectories(),
        [],
        "Directories of the host that all executions are given: tables `[[activity_wasm.directory]]`. What is written there is kept, and"
        " under no limit.",
    ),
    Key(
        "allowed_tcp",
        TcpTargets(),
        [],
        "Where TCP connections may be opened to. A name may be looked up, and leads to public addresses only: any other address"
        " needs an entry of its own.",
    ),
    Key(
        "directories.process_provider",
        Choice(ProcessProvider),
        "none",
        '`"native"`: it may spawn programs of the host (`obelisk:activity/process`) that `allow_exec_activities` allows.',
    ),
)
"""Keys of `[[activity_wasm]]`."""

WORKFLOW: Final = (
    *_COMPONENT,
    *_LOGGING,
    Key(
        "exec.lock_expiry",
        Duration(positive=True),
        {"seconds": 1},
        "How long one `locked` event stands: a wake-up after it writes a fresh one first.",
    ),
    Key(
        "exec.cpu_budget",
        Duration(positive=True),
        {"seconds": 10},
        "CPU time between two host calls after which a run ends as out of fuel.",
    ),
    Key(
        "on_trap",
        Choice(OnTrap),
        "fail",
        'What happens to an execution whose run traps: `"fail"`: it ends as failed. `"park"`: it stands still, to go on once'
        " its component is mended.",
    ),
    Key(
        "blocking_strategy",
        BlockingStrategy(),
        "await",
        '`"await"`: a blocked instance stays in memory, up to `limits.hot_max`. `"interrupt"`: it is unloaded and '
        "replayed at each wake-up. The batching of the long form has no effect: host calls that do not block are always "
        "committed together.",
        aliases=("join_next_blocking_strategy",),
    ),
    Key(
        "backtrace.sources",
        Sources(),
        {},
        "Source files that backtraces show lines of, by the path that they have in the component's debug information; a key"
        " that begins with `.../` stands for the end of one. They are copied when the component is first deployed.",
    ),
    Key(
        "retry_exp_backoff",
        Duration(positive=True),
        {"milliseconds": 100},
        "Workflows are not retried: they are replayed.",
        effect=False,
    ),
    Key(
        "stub_wasi",
        Flag(),
        False,
        "A workflow always has the part of WASI that is the same in every replay.",
        effect=False,
    ),
)
"""Keys of `[[workflow]]`."""

STUB: Final = (
    _NAME,
    Key(
        "location",
        ComponentFile("the path of a component, of a .wit file, or of a folder of WIT", may_be_folder=True),
        None,
        "Where the functions are described: in a component, whose code is not used, or in WIT: the interfaces that its world"
        " exports, or all of its package when it has no world. `location` or `ffqn`, not both.",
        aliases=("wit",),
    ),
    Key("ffqn", Function(), None, "The one function, described here instead of at a `location`."),
    Key("params", Parameters(), [], "With `ffqn`: its parameters."),
    Key("return_type", TypeText(), None, "With `ffqn`: what it returns. Required then; one of the fallible forms."),
    Key(
        "content_digest",
        ContentDigest(),
        None,
        "What the digest of the file (of the WIT, for a folder and an `ffqn`) must be; checked at start.",
    ),
    Key(
        "logs_store_min_level",
        Word(("off", *LogLevel)),
        "debug",
        "Nothing here runs it, so that it logs nothing.",
        effect=False,
    ),
)
"""Keys of `[[activity_stub]]`."""

_OF_ACTIVITY: Final = (
    "exec.lock_expiry",
    "max_retries",
    "retry_",
    "env_vars",
    "logs_store_min_level",
    "forward_stderr",
)
"""What is said of all activities that are run here."""

EXEC: Final = (
    _NAME,
    Key(
        "location",
        ComponentFile("the path of a program"),
        None,
        "The program: a file that can be executed, a script that begins with `#!` or a binary. What is run is a copy of it.",
        required=True,
    ),
    Key("content_digest", ContentDigest(), None, "What the digest of the program must be; checked at start."),
    Key("ffqn", Function(), None, "The function that it carries out.", required=True),
    Key("params", Parameters(), [], "Its parameters."),
    Key("return_type", TypeText(), None, "What it returns: one of the fallible forms.", required=True),
    Key(
        "params_via_stdin",
        Flag(),
        False,
        'How the program gets its parameters: each as an argument, in JSON; or all of them as `{"params": […]}` on its standard'
        " input.",
    ),
    Key(
        "max_output_bytes",
        Count(least=1, most=U32_MAX),
        4096,
        "What the program may write to its standard output.",
    ),
    *(key for key in ACTIVITY if key.path.startswith(_OF_ACTIVITY)),
    *(key for key in _COMPONENT if not key.effect),
)
"""Keys of `[[activity_exec]]`."""

KEYS_OF: Final = {"workflow": WORKFLOW, "activity_wasm": ACTIVITY, "activity_exec": EXEC, "activity_stub": STUB}
"""By the tables' paths."""


def _later(*paths: str) -> tuple[Later, ...]:
    return tuple(map(Later, paths))


_POOLING: Final = (
    "memory_keep_resident",
    "table_keep_resident",
    "total_core_instances",
    "total_component_instances",
    "total_memories",
    "total_tables",
    "total_stacks",
    "max_memory_size",
)

ROOT_LATER: Final = _later(
    "obelisk-version",
    "api.enabled",
    "api.token",
    "api.token_hashes",
    "webui.enabled",
    "webui.listening_addr",
    "external.enabled",
    "external.listening_addr",
    *(f"database.postgres.{key}" for key in ("host", "user", "password", "db_name", "provision_policy")),
    *(f"wasmtime_pooling_config.pooling_{key}" for key in _POOLING),
    "wasmtime_pooling_config.memory_protection_keys",
    "timers_watcher.enabled",
    "timers_watcher.leeway",
    "timers_watcher.tick_sleep",
    "workflows.lock_extension_leeway",
    "workflows.subscription_interruption",
    "workflows.max_replay_captured_writes",
    "workflows.max_events_per_run",
    "workflows.response_refresh_interval",
    *(f"log.file.{key}" for key in ("enabled", "level", "style", "span", "target", "directory", "prefix", "rotation")),
    "max_deployment_file_bytes",
    "http_server",
    "webhook_endpoint",
    "webhook_endpoint_wasm",
    "webhook_endpoint_js",
    "workflow_js",
    "activity_js",
    "cron",
)
"""Keys outside components that later versions will have."""

_COMPONENT_LATER: Final = _later("exec.max_inflight_instances")

ACTIVITY_LATER: Final = _COMPONENT_LATER
"""Keys of `[[activity_wasm]]` that later versions will have."""

WORKFLOW_LATER: Final = (
    *_COMPONENT_LATER,
    *_later(
        "convert_core_module",
        "lock_extension",
        "lock_extension_leeway",
        "backtrace.ignore_component_digest",
        "env_vars",
    ),
)
"""Keys of `[[workflow]]` that later versions will have."""

EXEC_LATER: Final = _later("content", "secrets")
"""Keys of `[[activity_exec]]` that later versions will have."""

LATER_OF: Final = {
    "workflow": WORKFLOW_LATER,
    "activity_wasm": ACTIVITY_LATER,
    "activity_exec": EXEC_LATER,
    "activity_stub": (),
}
"""By the tables' paths."""
