"""obelisk.toml and environment to plain data."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from obelisk.config import ComponentConfig, Config, ConfigError, load
from obelisk.config.keys import (
    ACTIVITY,
    ACTIVITY_LATER,
    ROOT,
    ROOT_LATER,
    STUB,
    WORKFLOW,
    WORKFLOW_LATER,
    Key,
)
from obelisk.config.settings import (
    MEMORY_MAX_BYTES_DEFAULT,
    Address,
    Allocator,
    LogFilter,
    LogStyle,
    LogWriter,
)
from obelisk.core.calls import LogLevel
from obelisk.core.egress import AllowedHost, EgressPolicy, HostPattern, Place
from obelisk.core.policy import (
    Blocking,
    DirectoryPolicy,
    ExecutionPolicy,
    Forward,
    Limits,
    LogPolicy,
    MappedDirectory,
    OnTrap,
    RetryPolicy,
    Sandbox,
)
from obelisk.core.ports import FunctionKind
from obelisk.core.tcp import TcpTarget
from obelisk.wit.declared import Declared

DIGEST = "sha256:" + "0a" * 32
COMPONENT = '[[workflow]]\nname = "w"\nlocation = "w.wasm"\n'
ACTIVITY_COMPONENT = '[[activity_wasm]]\nname = "a"\nlocation = "a.wasm"\n'
STUB_COMPONENT = '[[activity_stub]]\nname = "s"\n'
INLINE = STUB_COMPONENT + 'ffqn = "my:pkg/ifc.ask"\nreturn_type = "result"\n'

Read = Callable[..., Config]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads the text as `obelisk.toml` in a folder that has `a.wasm` and `w.wasm`."""
    (tmp_path / "home").mkdir()
    for name in ("a.wasm", "w.wasm"):
        (tmp_path / name).touch()

    def read(text: str, **environ: str) -> Config:
        (tmp_path / "obelisk.toml").write_text(text, encoding="utf-8")
        return load(tmp_path / "obelisk.toml", {"HOME": str(tmp_path / "home"), **environ}, tmp_path)

    return read


def problems(read: Read, text: str, **environ: str) -> list[tuple[str, str, str]]:
    """Table, key and message of each problem."""
    with pytest.raises(ConfigError) as raised:
        read(text, **environ)
    return [(problem.table, problem.key, problem.message) for problem in raised.value.problems]


def only_problem(read: Read, text: str, **environ: str) -> str:
    [(table, key, message)] = problems(read, text, **environ)
    return ": ".join(part for part in (table, key, message) if part)


# --- what is read ----------------------------------------------------------------------------------------------------


def test_an_empty_file_means_the_defaults(read: Read, tmp_path: Path):
    config = read("")
    home = tmp_path / "home"
    assert config.file == tmp_path / "obelisk.toml"
    assert config.api.listening_addr == Address("127.0.0.1", 5005)
    assert config.sqlite.directory == home / ".local/share/obelisk/obelisk-sqlite"
    assert config.sqlite.pragma == {}
    assert config.wasm.allocator_config is Allocator.AUTO
    assert config.wasm.fuel is None
    assert config.wasm.parallel_compilation
    assert config.codegen_cache.enabled
    assert config.codegen_cache.directory == home / ".cache/obelisk/codegen"
    assert config.console.level == LogFilter("info", {})
    assert (config.console.style, config.console.writer) == (LogStyle.PLAIN_COMPACT, LogWriter.STDERR)
    assert config.limits == Limits()
    assert config.components == ()


def test_the_documented_example(read: Read, tmp_path: Path):
    config = read("""
        api.listening_addr = "[::1]:0"

        [[activity_wasm]]
        name = "activity_myfibo"
        location = "${OBELISK_TOML_DIR}/a.wasm"
        exec.lock_expiry.seconds = 10

        [[workflow]]
        name = "myworkflow"
        location = "${OBELISK_TOML_DIR}/w.wasm"
    """)
    assert str(config.api.listening_addr) == "[::1]:0"
    assert config.components == (
        ComponentConfig(
            kind=FunctionKind.ACTIVITY,
            name="activity_myfibo",
            source=tmp_path / "a.wasm",
            content_digest=None,
            policy=ExecutionPolicy(lock_expiry_us=10_000_000),
            memory_max_bytes=MEMORY_MAX_BYTES_DEFAULT,
            sandbox=Sandbox(http=EgressPolicy(component="activity_myfibo")),
        ),
        ComponentConfig(
            kind=FunctionKind.WORKFLOW,
            name="myworkflow",
            source=tmp_path / "w.wasm",
            content_digest=None,
            policy=ExecutionPolicy(retry=RetryPolicy(max_retries=0, retry_on_err=False)),
            memory_max_bytes=MEMORY_MAX_BYTES_DEFAULT,
        ),
    )


def test_every_value_of_an_activity_arrives(read: Read):
    [component] = read(f"""
        [[activity_wasm]]
        name = "a_1"
        location.path = "a.wasm"
        content_digest = "{DIGEST}"
        exec.lock_expiry.milliseconds = 1_500
        exec.memory_max_bytes = "unlimited"
        exec.batch_size = 1
        exec.tick_sleep.milliseconds = 10
        exec.locking_strategy = "auto"
        max_retries = 0
        retry_exp_backoff.minutes = 2
        retry_backoff_max.hours = 1
        retry_jitter = 0.25
        retry_on_err = false
        forward_stdout = "none"
        forward_stderr = "stdout"
        logs_store_min_level = "warn"
    """).components
    assert component.content_digest == DIGEST
    retry = RetryPolicy(0, 120_000_000, retry_on_err=False, backoff_max_us=3_600_000_000, jitter=0.25)
    logs = LogPolicy(LogLevel.WARN, Forward.NONE, Forward.STDOUT)
    assert component.policy == ExecutionPolicy(1_500_000, retry, logs=logs)
    assert component.memory_max_bytes is None


def test_every_value_of_a_workflow_arrives(read: Read):
    [component] = read("""
        [[workflow_wasm]]
        name = "w"
        location = "w.wasm"
        exec.lock_expiry.milliseconds = 10
        exec.cpu_budget.milliseconds = 20
        exec.memory_max_bytes = 4_194_304
        join_next_blocking_strategy = "interrupt"
        on_trap = "park"
        retry_exp_backoff.seconds = 1
        forward_stderr = "stderr"
        logs_store_min_level = "off"
    """).components
    assert component.policy.logs == LogPolicy(None, Forward.DB, Forward.STDERR)
    assert component.policy.on_trap is OnTrap.PARK
    assert component.policy.lock_expiry_us == 10_000
    assert component.policy.cpu_budget_us == 20_000
    assert component.policy.blocking is Blocking.INTERRUPT
    assert component.memory_max_bytes == 4 << 20


def test_a_stub_is_described_by_a_file_or_a_folder(read: Read, tmp_path: Path):
    (tmp_path / "wit").mkdir()
    (tmp_path / "s.wit").touch()
    config = read(f"""
        [[activity_stub]]
        name = "of_a_component"
        location.path = "a.wasm"
        content_digest = "{DIGEST}"
        [[activity_external]]
        name = "of_a_file"
        location = "s.wit"
        [[activity_stub]]
        name = "of_a_folder"
        wit = "${{OBELISK_TOML_DIR}}/wit"
    """)
    # in the order of the file, but the tables of one spelling together
    assert config.components == (
        ComponentConfig(FunctionKind.STUB, "of_a_component", tmp_path / "a.wasm", DIGEST),
        ComponentConfig(FunctionKind.STUB, "of_a_folder", tmp_path / "wit", None),
        ComponentConfig(FunctionKind.STUB, "of_a_file", tmp_path / "s.wit", None),
    )


def test_a_stub_is_described_in_place(read: Read):
    [component] = read("""
        [[activity_stub]]
        name = "approval"
        ffqn = "shop:orders/approval@1.2.0.ask"
        params = [
            { name = "order", type = "u64" },
            { name = "list", type = "list<tuple<string,\tu8>>" },
        ]
        return_type = '''
          result<option<bool>,
                 string>'''
    """).components
    assert component == ComponentConfig(
        FunctionKind.STUB,
        "approval",
        Declared(
            "shop:orders/approval@1.2.0.ask",
            (("order", "u64"), ("list", "list<tuple<string, u8>>")),
            "result<option<bool>, string>",
        ),
        None,
    )
    [without_params] = read(INLINE).components
    assert without_params.source == Declared("my:pkg/ifc.ask", (), "result")


@pytest.mark.parametrize(
    "strategy", ['"await"', '{ kind = "await" }', '{ kind = "await", non_blocking_event_batching = 100 }']
)
def test_spellings_of_await(read: Read, strategy: str):
    [component] = read(f"{COMPONENT}blocking_strategy = {strategy}").components
    assert component.policy.blocking is Blocking.AWAIT


def test_log_and_wasm_and_limits(read: Read):
    config = read("""
        [log.stdout]
        enabled = false
        level = "warn,obelisk.engine=DEBUG, grpc=off"
        style = "json"
        target = true
        writer = "stdout"
        span = "full"
        [wasm]
        allocator_config = "on_demand"
        fuel = 1_000_000
        codegen_cache.enabled = false
        codegen_cache.directory = "/c"
        [limits]
        hot_max = 10
    """)
    assert config.console.level == LogFilter("warn", {"obelisk.engine": "debug", "grpc": "off"})
    assert not config.console.enabled
    assert config.console.target
    assert (config.console.style, config.console.writer) == (LogStyle.JSON, LogWriter.STDOUT)
    assert (config.wasm.allocator_config, config.wasm.fuel) == (Allocator.ON_DEMAND, 1_000_000)
    assert (config.codegen_cache.enabled, config.codegen_cache.directory) == (False, Path("/c"))
    assert config.limits == Limits(hot_max=10)


def test_pragmas_become_text(read: Read):
    assert read('sqlite.pragma = { cache_size = -2000, foreign_keys = true, TEMP_store = "MEMORY" }').sqlite.pragma == {
        "cache_size": "-2000",
        "foreign_keys": "true",
        "temp_store": "MEMORY",
    }


@pytest.mark.parametrize("key", [key for key in ROOT if key.aliases], ids=lambda key: key.path)
def test_other_spellings_mean_the_same(read: Read, key: Key):
    values = {"fuel": 7, "capacity": 7, "threshold": 7, "pragma": "{ cache_size = 1 }", "directory": '"/elsewhere"'}
    values |= {"level": '"debug"', "style": '"json"', "writer": '"stdout"', "span": '"none"'}
    value = values.get(key.path.rpartition(".")[2].rpartition("_")[2], str(not key.default).lower())
    if key.path == "sqlite.metrics_threshold":
        value = "{ seconds = 1 }"
    expected = read(f"{key.path} = {value}")
    assert not key.effect or expected != read("")
    for alias in key.aliases:
        assert read(f"{alias} = {value}") == expected


# --- paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("~/x", "/h/x"),
        ("${DATA_DIR}/x/y", "/h/.local/share/obelisk/x/y"),
        ("${CACHE_DIR}/x", "/cache/obelisk/x"),
        ("${CONFIG_DIR}/x", "/h/.config/obelisk/x"),
        ("${TEMP_DIR}/x", "/t/x"),
        ("${TEMP_DIR}", "/t"),
        ("/x", "/x"),
        ("$x/~", "{cwd}/$x/~"),
        ("${OBELISK_TOML_DIR}/../x", "{toml}/../x"),
    ],
)
def test_prefixes_of_paths(read: Read, tmp_path: Path, text: str, path: str):
    environ = {"HOME": "/h", "XDG_CACHE_HOME": "/cache", "XDG_DATA_HOME": "relative", "TMPDIR": "/t"}
    config = read(f'sqlite.directory = "{text}"', **environ)
    assert config.sqlite.directory == Path(path.format(cwd=tmp_path, toml=tmp_path.resolve()))


@pytest.mark.parametrize("text", ["${HOME}/x", "x/${DATA_DIR}", "${DATA_DIR}x/y", "x${DATA_DIR}/y", "${DATA_DIR"])
def test_other_prefixes_are_refused(read: Read, text: str):
    assert only_problem(read, f'sqlite.directory = "{text}"').startswith("sqlite.directory: ${")


def test_the_file_is_found_in_the_usual_places(tmp_path: Path):
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    user = tmp_path / "config/obelisk/obelisk.toml"
    user.parent.mkdir(parents=True)
    user.write_text("limits.hot_max = 1")
    assert load(None, environ, tmp_path) == load(user, environ, Path("/"))
    (tmp_path / "obelisk.toml").write_text("limits.hot_max = 2")
    assert load(None, environ, tmp_path).limits.hot_max == 2
    assert load(Path("config/obelisk/obelisk.toml"), environ, tmp_path).limits.hot_max == 1


def test_the_folder_of_the_file_means_nothing_without_one(tmp_path: Path):
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "OBELISK__SQLITE__DIRECTORY": "${OBELISK_TOML_DIR}/x"}
    with pytest.raises(
        ConfigError, match=r"environment: sqlite\.directory: .* means nothing without a configuration file"
    ):
        load(None, environ, tmp_path)


# --- the environment -------------------------------------------------------------------------------------------------


def test_the_environment_wins_over_the_file(read: Read):
    config = read(
        'api.listening_addr = "127.0.0.1:1"\ndatabase.sqlite.directory = "/file"\nsqlite.pragma.cache_size = 1',
        OBELISK__API__LISTENING_ADDR="0.0.0.0:2",
        obelisk__sqlite__directory="/environment",
        OBELISK__LIMITS__HOT_MAX="3",
        OBELISK__LOG__CONSOLE__ENABLED="false",
        OBELISK__SQLITE__PRAGMA__MMAP_SIZE="4",
        OBELISK_LOG="not ours",
    )
    assert config.api.listening_addr == Address("0.0.0.0", 2)
    assert config.sqlite.directory == Path("/environment")
    assert config.sqlite.pragma == {"mmap_size": "4"}
    assert config.limits.hot_max == 3
    assert not config.console.enabled


def test_a_variable_that_looks_like_a_number_may_be_text(read: Read, tmp_path: Path):
    assert read("", OBELISK__SQLITE__DIRECTORY="2026").sqlite.directory == tmp_path / "2026"
    assert read("", OBELISK__SQLITE__METRICS_THRESHOLD="{ seconds = 1 }") == read("")


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"OBELISK__LIMITS__HOT_MAX": "many"}, 'limits.hot_max: expected an integer, 1 or more; found "many"'),
        ({"OBELISK__LIMITS__HOT_MIN": "1"}, "limits.hot_min: unknown key; did you mean limits.hot_max?"),
        ({"OBELISK__WORKFLOW__NAME": "w"}, "workflow: components cannot be set by the environment"),
        ({"OBELISK__WEBUI__LISTENING_ADDR": "x"}, "webui.listening_addr: known, not available in this version"),
        ({"OBELISK__": "x"}, "OBELISK__: expected OBELISK__SECTION__KEY"),
        ({"OBELISK__API____X": "x"}, "OBELISK__API____X: expected OBELISK__SECTION__KEY"),
        (
            {"OBELISK__LIMITS__HOT_MAX": "1", "obelisk__limits__hot_max": "1"},
            "obelisk__limits__hot_max: sets what another variable sets too; keep one of them",
        ),
        (
            {"OBELISK__SQLITE__PRAGMA": "{}", "OBELISK__SQLITE__PRAGMA__X": "1"},
            "OBELISK__SQLITE__PRAGMA__X: sets what another variable sets too; keep one of them",
        ),
    ],
)
def test_problems_of_the_environment(read: Read, environ: dict[str, str], problem: str):
    assert only_problem(read, "", **environ) == problem


# --- what is wrong ---------------------------------------------------------------------------------------------------


def test_all_problems_are_told_at_once_with_their_places(read: Read, tmp_path: Path):
    with pytest.raises(ConfigError) as raised:
        read(
            """
            limits.hot_max = 0
            [[workflow]]
            name = "w"
            location = "w.wasm"
            max_retries = 1
            exec.cpu_budget.secs = 1
            [[activity_wasm]]
            location = "b.wasm"
            """,
            OBELISK__API__LISTENING_ADDR="here",
        )
    file = tmp_path / "obelisk.toml"
    assert str(raised.value).splitlines() == [
        "the configuration has 6 problems:",
        f"  {file}: limits.hot_max: expected an integer, 1 or more; found 0 (an integer)",
        '  environment: api.listening_addr: expected an address "HOST:PORT" (port 0: any free one); found "here"',
        (
            f'  {file}: [[workflow]] "w": max_retries: unknown key; known here: '
            "backtrace, blocking_strategy, content_digest, exec, forward_stderr, forward_stdout, "
            "join_next_blocking_strategy, location, logs_store_min_level, name, on_trap, retry_exp_backoff, stub_wasi"
        ),
        (
            f'  {file}: [[workflow]] "w": exec.cpu_budget: expected a duration: exactly one of milliseconds, seconds, '
            "minutes, hours, with an integer above 0; found a table with secs"
        ),
        (
            f"  {file}: [[activity_wasm]] number 1: location: expected the path of a component's file; "
            f"found nothing at {tmp_path / 'b.wasm'}"
        ),
        f"  {file}: [[activity_wasm]] number 1: name: is missing; expected a name of ASCII letters, digits and _",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('sqlite.dir = "x"', "sqlite.dir: unknown key; did you mean sqlite.directory?"),
        ('listening_addr = "x"', "listening_addr: unknown key; did you mean api.listening_addr?"),
        ("[[activity]]", "activity: unknown key; did you mean activity_wasm?"),
        (
            "zzz = 1",
            "zzz: unknown key; known here: activities, activity_exec, activity_external, ",
        ),
        ("api = 5", "api: expected a table with listening_addr; found 5 (an integer)"),
        ('api.listening_addr = "x:65536"', "api.listening_addr: expected an address "),
        ("workflow = 1", "workflow: expected an array of tables, written [[workflow]]; found 1 (an integer)"),
        (
            "[workflow]\nname = 'w'",
            "workflow: expected an array of tables, written [[workflow]]; found a table with name",
        ),
        ("workflow = [1]", "[[workflow]] number 1: expected a table; found 1 (an integer)"),
        (
            "codegen_cache.enabled = true\nwasm.codegen_cache.enabled = true",
            "wasm.codegen_cache.enabled: is another spelling of codegen_cache.enabled, which is set too; keep one of them",
        ),
        ("wasm.fuel = 'much'", 'wasm.fuel: expected an integer, 1 or more, or "unlimited"; found "much"'),
        (
            "wasm.global_executor_instance_limiter = true",
            'wasm.global_executor_instance_limiter: expected "unlimited"; found true (a boolean)',
        ),
        (
            "wasm.global_executor_instance_limiter = 5",
            (
                "wasm.global_executor_instance_limiter: a limit here is known, not available in this version; "
                'expected "unlimited"; found 5 (an integer)'
            ),
        ),
        ("sqlite.pragma.cache_size = '1; DROP'", "sqlite.pragma: expected a table of SQLite pragmas"),
        ("sqlite.pragma.cache_size = 'UTF-16'", "sqlite.pragma: expected a table of SQLite pragmas"),
        ("sqlite.pragma.cache_size = 1.5", "sqlite.pragma: expected a table of SQLite pragmas"),
        (
            "sqlite.pragma.cache_sise = 1",
            "sqlite.pragma: cache_sise is not a pragma that can be set here; those are cache_size, ",
        ),
        ("sqlite.pragma.user_version = 1", "sqlite.pragma: user_version is not a pragma that can be set here"),
        ("sqlite.pragma.query_only = true", "sqlite.pragma: query_only is not a pragma that can be set here"),
        (
            "sqlite.pragma.journal_mode = 'memory'",
            'sqlite.pragma: expected journal_mode to be one of wal; found "memory"',
        ),
        (
            "sqlite.pragma.synchronous = 7",
            "sqlite.pragma: expected synchronous to be one of off, normal, full, extra, 0, 1, 2, 3",
        ),
        ("log.console.level = 'loud'", 'log.console.level: expected levels such as "info"'),
        ("log.console.level = 'info,debug'", "log.console.level: expected one level without a logger"),
        ("log.console.enabled = 1", "log.console.enabled: expected true or false; found 1 (an integer)"),
    ],
)
def test_problems_of_the_root(read: Read, text: str, problem: str):
    assert only_problem(read, text).startswith(problem)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("exec.lock_expiry = 5", "exec.lock_expiry: expected a duration: "),
        ("exec.lock_expiry.seconds = 0", "exec.lock_expiry: expected a duration: "),
        ("exec.lock_expiry.seconds = 0.5", "exec.lock_expiry: expected a duration: "),
        ("exec.lock_expiry = { seconds = 1, minutes = 1 }", "exec.lock_expiry: expected a duration: "),
        ("exec.lock_expiry.hours = 9_999_999", "exec.lock_expiry: expected a duration of at most 100 years"),
        ("exec.memory_max_bytes = 1", "exec.memory_max_bytes: expected an integer, 65536 or more"),
        ("exec.memory_max_bytes = 9223372036854775808", "exec.memory_max_bytes: expected an integer, 65536 or more"),
        ("exec.memory_max_bytes = true", "exec.memory_max_bytes: expected an integer, 65536 or more"),
        ("exec.lock_expirey.seconds = 1", "exec.lock_expirey: unknown key; did you mean exec.lock_expiry?"),
        ("lock_expiry.seconds = 1", "lock_expiry: unknown key; did you mean exec.lock_expiry?"),
        ("content_digest = 'sha256:00'", "content_digest: expected "),
        ("blocking_strategy = 'wait'", 'blocking_strategy: expected "await", "interrupt", or'),
        ("blocking_strategy.kind = 'wait'", 'blocking_strategy: expected "await", "interrupt", or'),
        (
            "blocking_strategy = { kind = 'interrupt', non_blocking_event_batching = 1 }",
            'blocking_strategy: expected "await", "interrupt", or',
        ),
        (
            "blocking_strategy = 'await'\njoin_next_blocking_strategy = 'await'",
            "join_next_blocking_strategy: is another spelling of blocking_strategy, which is set too; keep one of them",
        ),
        ("on_trap = 'retry'", 'on_trap: expected one of "fail", "park"; found "retry"'),
        ("retry_jitter = 0.5", "retry_jitter: unknown key; known here: "),
    ],
)
def test_problems_of_a_component(read: Read, text: str, problem: str):
    assert only_problem(read, COMPONENT + text).startswith(f'[[workflow]] "w": {problem}')


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("retry_jitter = 1.5", "retry_jitter: expected a number, 0 to 1; found 1.5 (a float)"),
        ("retry_jitter = -1", "retry_jitter: expected a number, 0 to 1; found -1 (an integer)"),
        ("retry_jitter = nan", "retry_jitter: expected a number, 0 to 1; found nan (a float)"),
        ("retry_jitter = true", "retry_jitter: expected a number, 0 to 1; found true (a boolean)"),
        ("retry_backoff_max.seconds = 0", "retry_backoff_max: expected a duration: "),
        (
            "retry_backoff_max.milliseconds = 99",
            "retry_backoff_max: is less than retry_exp_backoff, which the first retry waits",
        ),
        (
            "retry_backoff_max.seconds = 9\nretry_exp_backoff.seconds = 10",
            "retry_backoff_max: is less than retry_exp_backoff, which the first retry waits",
        ),
        ("retry_backoff_max.milliseconds = 99\nretry_exp_backoff = 10", "retry_exp_backoff: expected a duration: "),
        ("on_trap = 'park'", "on_trap: unknown key; known here: "),
    ],
)
def test_problems_of_an_activity(read: Read, text: str, problem: str):
    assert only_problem(read, ACTIVITY_COMPONENT + text).startswith(f'[[activity_wasm]] "a": {problem}')


def test_retries_may_wait_as_long_as_the_first_one(read: Read):
    [component] = read(ACTIVITY_COMPONENT + "retry_backoff_max.milliseconds = 100\nretry_jitter = 1").components
    assert (component.policy.retry.backoff_max_us, component.policy.retry.jitter) == (100_000, 1.0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (STUB_COMPONENT, "location: is missing; expected a location, or ffqn, params and return_type instead"),
        (
            INLINE + 'location = "a.wasm"',
            "ffqn: describes a function here, but location is set too; keep one of them",
        ),
        (
            STUB_COMPONENT + 'params = []\nwit = "a.wasm"',
            "params: describes a function here, but wit is set too; keep one of them",
        ),
        (
            STUB_COMPONENT + 'wit = "a.wasm"\nlocation = "a.wasm"',
            "location: is another spelling of wit, which is set too; keep one of them",
        ),
        (
            STUB_COMPONENT + 'ffqn = "my:pkg/ifc.ask"',
            'return_type: is missing; expected a WIT type without braces, such as "list<u8>"',
        ),
        (
            STUB_COMPONENT + 'return_type = "result"',
            'ffqn: is missing; expected a function name "namespace:package/interface.function"',
        ),
        (
            INLINE.replace("my:pkg/ifc.ask", "my:pkg.ask"),
            'ffqn: expected a function name "namespace:package/interface.function"; found "my:pkg.ask"',
        ),
        (INLINE.replace('"result"', "{}"), "return_type: expected a WIT type without braces, "),
        (INLINE.replace('"result"', '" "'), "return_type: expected a WIT type without braces, "),
        (
            INLINE + 'params = [{ name = "n", type = "u8, u8" }]',
            "params[0].type: expected a WIT type without braces, ",
        ),
        (INLINE + 'params = "u8"', 'params: expected an array of { name = …, type = … }; found "u8"'),
        (
            INLINE + 'params = [{ name = "n" }]',
            "params[0]: expected { name = …, type = … }; found a table with name",
        ),
        (
            INLINE + 'params = [{ name = "n", type = "u8" }, { name = "my_n", type = "u8" }]',
            'params[1].name: expected a name such as first-name; found "my_n"',
        ),
        (
            INLINE + 'params = [{ name = "n", type = "u8" }, { name = "n", type = "u16" }]',
            'params[1].name: "n" is the name of another parameter too',
        ),
        (
            INLINE + "max_retries = 1",
            "max_retries: unknown key; known here: content_digest, ffqn, location, logs_store_",
        ),
        (
            STUB_COMPONENT + 'location = "none.wit"',
            "location: expected the path of a component, of a .wit file, or of a ",
        ),
        (STUB_COMPONENT + 'location = "oci://a/b:c"', "location: oci:// is known, not available in this version"),
    ],
)
def test_problems_of_a_stub(read: Read, text: str, problem: str):
    assert only_problem(read, text).startswith(f'[[activity_stub]] "s": {problem}')


@pytest.mark.parametrize(
    "type_",
    [
        "u8, b: u8",
        "u8) -> result; g: func(a: u8",
        "list<u8",
        "u8>",
        ">u8<",
        "record { a: u8 }",
        "u8 // x",
        "%u8",
        "a/b",
    ],
)
def test_a_type_is_one_piece_of_wit(read: Read, type_: str):
    text = f'{INLINE}params = [{{ name = "n", type = "{type_}" }}]'
    assert only_problem(read, text) == (
        '[[activity_stub]] "s": params[0].type: expected a WIT type without braces, such as "list<u8>"; '
        f'found "{type_}"'
    )


def test_all_problems_of_a_stub_are_told(read: Read):
    text = "[[activity_external]]\nffqn = 5\nparams = 5\nreturn_type = 5"
    assert [(table, key) for table, key, _ in problems(read, text)] == [
        ("[[activity_external]] number 1", key) for key in ("ffqn", "params", "return_type", "name")
    ]


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ('"oci://docker.io/a/b:c"', "oci:// is known, not available in this version"),
        ('{ oci = "docker.io/a/b:c" }', "location.oci is known, not available in this version"),
        ('"gh://a/b@latest/c.wasm"', "gh:// is known, not available in this version"),
        ('{ path = "a.wasm", oci = "b" }', "expected the path of a component's file; found a table with path, oci"),
        ('"none.wasm"', "expected the path of a component's file; found nothing at "),
        ('"${OBELISK_TOML_DIR}"', "expected the path of a component's file; found a directory at "),
        ('""', "expected the path of a component's file; found"),
    ],
)
def test_problems_of_a_location(read: Read, location: str, problem: str):
    text = f'[[activity_wasm]]\nname = "a"\nlocation = {location}'
    assert only_problem(read, text).startswith(f'[[activity_wasm]] "a": location: {problem}')


def test_names_are_unique_among_all_components(read: Read):
    text = COMPONENT + '[[activity_wasm]]\nname = "w"\nlocation = "a.wasm"'
    assert only_problem(read, text) == (
        '[[activity_wasm]] "w": name: is taken by [[workflow]] number 1; '
        "the name of a component is unique among all components"
    )


@pytest.mark.parametrize("name", ["", "a b", "a-b", "a.b", "ä"])
def test_names_are_ascii(read: Read, name: str):
    assert "name: expected a name of ASCII letters" in only_problem(read, COMPONENT.replace('"w"', f'"{name}"'))


@pytest.mark.parametrize("path", [later.path for later in ROOT_LATER])
def test_later_keys_of_the_root(read: Read, path: str):
    assert only_problem(read, f"{path} = 1") == f"{path}: known, not available in this version"


@pytest.mark.parametrize("path", [later.path for later in WORKFLOW_LATER])
def test_later_keys_of_workflows(read: Read, path: str):
    assert (
        only_problem(read, f"{COMPONENT}{path} = 1")
        == f'[[workflow]] "w": {path}: known, not available in this version'
    )


@pytest.mark.parametrize("path", [later.path for later in ACTIVITY_LATER])
def test_later_keys_of_activities(read: Read, path: str):
    text = f"{ACTIVITY_COMPONENT}{path} = 1"
    assert only_problem(read, text) == f'[[activity_wasm]] "a": {path}: known, not available in this version'


ZOO = (
    *(
        "0",
        "-1",
        "1.5",
        "nan",
        "true",
        '""',
        '"x"',
        '"unlimited"',
        "[]",
        "[1]",
        "[{}]",
        "{}",
        "{ path = 1 }",
        "{ kind = [] }",
    ),
    *(
        "{ seconds = true }",
        "{ milliseconds = 99999999999999999999999 }",
        "2026-01-01",
        "07:30:00",
        '"\\u0000"',
        '"${"',
    ),
    *('"~"', '"a=b=c"', '"=info"', '",,"', '"[::]:1"', '"a:b:1"', '{ "" = 1 }', "{ kind = 'await', x = 1 }"),
)


@pytest.mark.parametrize("value", ZOO)
def test_no_value_is_met_with_anything_but_a_problem(read: Read, value: str):
    tables = {"": ROOT, "[[workflow]]\n": WORKFLOW, "[[activity_wasm]]\n": ACTIVITY, STUB_COMPONENT: STUB, INLINE: STUB}
    for header, keys in tables.items():
        for key in keys:
            try:
                config = read(f"{header}{key.path} = {value}")
            except ConfigError:
                continue
            assert config.digest


def test_a_mark_of_byte_order_is_no_part_of_the_file(read: Read):
    assert read("\ufefflimits.hot_max = 7").limits.hot_max == 7


def test_files_that_cannot_be_read(read: Read, tmp_path: Path):
    assert "is not TOML: " in only_problem(read, "a = ")
    (tmp_path / "latin.toml").write_bytes(b"a = '\xe9'")
    (tmp_path / "deep.toml").write_text(f"a = {'[' * 100_000}")
    for path, message in {
        tmp_path / "none.toml": "cannot be read: No such file or directory",
        tmp_path: "cannot be read: Is a directory",
        tmp_path / "latin.toml": "is not UTF-8 at byte 5",
        tmp_path / "deep.toml": "is nested too deeply",
    }.items():
        with pytest.raises(ConfigError) as raised:
            load(path, {}, tmp_path)
        assert str(raised.value) == f"{path}: {message}"


# --- the digest ------------------------------------------------------------------------------------------------------


def test_the_digest_is_of_what_is_resolved(read: Read, tmp_path: Path):
    text = COMPONENT + "exec.lock_expiry.seconds = 2"
    digest = read(text).digest
    assert digest.startswith("sha256:")
    assert len(digest) == 71
    assert read(text.replace("seconds = 2", "milliseconds = 2000")).digest == digest
    assert msgspec.structs.replace(read(text), file=None).digest == digest
    assert read(text.replace("seconds = 2", "seconds = 3")).digest != digest
    assert read(text.replace("w.wasm", "a.wasm")).digest != digest
    assert read(text, OBELISK__SQLITE__PRAGMA__CACHE_SIZE="1").digest != digest
    assert len({read(INLINE).digest, read(INLINE.replace('"result"', '"result<u8>"')).digest, digest}) == 3


# --- outgoing HTTP ---------------------------------------------------------------------------------------------------

HTTP = ACTIVITY_COMPONENT + "[[activity_wasm.allowed_host]]\n"


def test_without_an_entry_nothing_may_be_sent(read: Read):
    config = read(ACTIVITY_COMPONENT)
    assert config.components[0].sandbox.http.allowed == ()
    assert config.outbound_http is None


def test_allowed_hosts(read: Read):
    config = read("""
        [secrets]
        KEY = { env = "MY_KEY" }
        [[outbound_http.allowed_host]]
        pattern = "*.example.com"
        methods = "*"
        [[activity_wasm]]
        name = "a"
        location = "a.wasm"
        [[activity_wasm.allowed_host]]
        pattern = "https://api.example.com"
        methods = ["get", "POST"]
        request_url_regex = "https://.*"
        addresses = ["10.1.0.0/16", "::1"]
        secrets = ["KEY"]
        replace_in = ["headers", "body"]
        [[activity_wasm.allowed_host]]
        pattern = "b.example.com"
        secrets.OTHER.env = "OTHER_KEY"
    """)
    assert config.components[0].sandbox.http.allowed == (
        AllowedHost(
            pattern=HostPattern("api.example.com", "https"),
            methods=("GET", "POST"),
            request_url_regex="https://.*",
            addresses=("10.1.0.0/16", "::1/128"),
            secrets={"KEY": "MY_KEY"},
            replace_in=(Place.HEADERS, Place.BODY),
        ),
        AllowedHost(HostPattern("b.example.com"), secrets={"OTHER": "OTHER_KEY"}),
    )
    assert config.outbound_http == (AllowedHost(HostPattern("*.example.com"), ("*",)),)
    assert config.components[0].sandbox.http.operator == config.outbound_http


def test_an_empty_list_of_the_server_allows_nothing(read: Read):
    assert read("outbound_http.allowed_host = []").outbound_http == ()


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("", "[0].pattern", "is missing"),
        ('pattern = "http://a/b"', "[0].pattern", "no path"),
        ("pattern = 1", "[0].pattern", "expected a host"),
        ('pattern = "a"\nmethods = "GET"', "[0].methods", "array of methods"),
        ('pattern = "a"\nmethods = ["G T"]', "[0].methods", "array of methods"),
        ('pattern = "a"\nrequest_url_regex = "("', "[0].request_url_regex", "not a regular expression"),
        ('pattern = "a"\nrequest_url_regex = 1', "[0].request_url_regex", "a regular expression"),
        ('pattern = "a"\naddresses = ["10.0.0.1/8"]', "[0].addresses", "host bits"),
        ('pattern = "a"\naddresses = [1]', "[0].addresses", "networks"),
        ('pattern = "a"\nsecrets = ["KEY"]', "[0].secrets", "KEY is not in [secrets]; there are none"),
        ('pattern = "a"\nsecrets.KEY = "x"', "[0].secrets.KEY", "{ env"),
        ('pattern = "a"\nsecrets."a-b".env = "x"', "[0].secrets.a-b", "ASCII letters"),
        ('pattern = "a"\nsecrets = 1', "[0].secrets", "a table of secrets"),
        ('pattern = "a"\nreplace_in = ["body"]', "[0].replace_in", "there are none"),
        ('pattern = "a"\nsecrets.KEY.env = "x"\nreplace_in = ["url"]', "[0].replace_in", "headers, params and body"),
        ('pattern = "a"\nmethod = "*"', "[0].method", "unknown key"),
    ],
)
def test_mistakes_in_an_allowed_host(read: Read, text: str, key: str, message: str):
    [(table, at, found)] = problems(read, HTTP + text)
    assert (table, at) == ('[[activity_wasm]] "a"', f"allowed_host{key}")
    assert message in found


def test_the_server_s_own_list_names_no_secrets(read: Read):
    problem = only_problem(read, '[[outbound_http.allowed_host]]\npattern = "a"\nsecrets.KEY.env = "V"')
    assert problem.startswith("outbound_http.allowed_host[0].secrets: unknown key")


def test_the_known_secrets_are_told(read: Read):
    problem = only_problem(read, f'{HTTP}pattern = "a"\nsecrets = ["KEI"]\n[secrets]\nKEY.env = "V"')
    assert problem.endswith("KEI is not in [secrets]; known there: KEY")


def test_a_secret_means_the_same_in_all_entries_of_a_component(read: Read):
    two = f'{HTTP}pattern = "a"\nsecrets.KEY.env = "ONE"\n[[activity_wasm.allowed_host]]\npattern = "b"\nsecrets.KEY.env = '
    assert "another secret" in only_problem(read, f'{two}"TWO"')
    read(f'{two}"ONE"')


def test_a_secret_is_no_other_variable_too(read: Read):
    text = f'{ACTIVITY_COMPONENT}env_vars = ["KEY=x"]\n[[activity_wasm.allowed_host]]\npattern = "a"\nsecrets.KEY.env = "K"'
    assert "KEY is in env_vars too" in only_problem(read, text)


def test_an_activity_alone_sends_requests(read: Read):
    assert "unknown key" in only_problem(read, COMPONENT + '[[workflow.allowed_host]]\npattern = "a"')


# --- backtraces ------------------------------------------------------------------------------------------------------


def test_sources_of_backtraces(read: Read, tmp_path: Path):
    config = read(
        COMPONENT
        + 'backtrace.sources = { "/build/a.rs" = "src/a.rs", ".../b.c" = "${OBELISK_TOML_DIR}/b.c", "c.c" = "/c.c" }\n'
    )
    assert config.components[0].backtrace_sources == {
        "/build/a.rs": tmp_path / "src/a.rs",
        ".../b.c": tmp_path.resolve() / "b.c",
        "c.c": Path("/c.c"),
    }
    assert read(COMPONENT).components[0].backtrace_sources == {}


@pytest.mark.parametrize("key", ["wasm.backtrace.persist", "workflows.backtrace.persist"])
def test_backtraces_that_are_not_kept(read: Read, key: str):
    assert read(f"{key} = false").wasm.backtrace_persist is False
    assert read("").wasm.backtrace_persist is True


@pytest.mark.parametrize(
    ("sources", "key", "message"),
    [
        ('"a.c"', "backtrace.sources", 'as keys, and paths as values; found "a.c"'),
        ("{ a = 1 }", 'backtrace.sources."a"', "expected a path; found 1 (an integer)"),
        ('{ "a.c" = "" }', 'backtrace.sources."a.c"', 'expected a path; found ""'),
        ('{ "a.c" = "${NOWHERE}/a.c" }', 'backtrace.sources."a.c"', "${NOWHERE} is not known"),
        ('{ ".../" = "a.c" }', "backtrace.sources", 'found the key ".../"'),
    ],
)
def test_sources_of_backtraces_that_make_no_sense(read: Read, sources: str, key: str, message: str):
    ((_, found, text),) = problems(read, f"{COMPONENT}backtrace.sources = {sources}\n")
    assert found == key
    assert message in text


# --- what activities may touch ---------------------------------------------------------------------------------------

DIRECTORIES = "activities.directories.enabled = true\n"


def test_an_activity_may_touch_nothing_by_default(read: Read):
    (component,) = read(ACTIVITY_COMPONENT).components
    sandbox = component.sandbox
    assert (sandbox.environment, sandbox.directories, sandbox.tcp, sandbox.http.allowed) == (
        (),
        DirectoryPolicy(),
        (),
        (),
    )


def test_directories_of_executions(read: Read, tmp_path: Path):
    defaults = read("", TMPDIR=str(tmp_path / "temporary")).directories
    assert (defaults.enabled, defaults.parent_directory) == (False, tmp_path / "temporary" / "obelisk")
    assert (defaults.bytes_max, defaults.entries_max) == (256 << 20, 10_000)
    assert defaults.cleanup_enabled
    assert (defaults.cleanup_run_every_us, defaults.cleanup_older_than_us) == (60_000_000, 300_000_000)
    config = read(
        DIRECTORIES
        + "activities.directories.bytes_max = 'unlimited'\n"
        + "activities.directories.cleanup.older_than.hours = 1\n"
        + ACTIVITY_COMPONENT
        + "directories.enabled = true\ndirectories.reuse_on_retry = true\ndirectories.process_provider = 'none'\n"
    )
    assert (config.directories.enabled, config.directories.bytes_max) == (True, None)
    assert config.directories.cleanup_older_than_us == 3_600_000_000
    assert config.components[0].sandbox.directories == DirectoryPolicy(own=True, reuse_on_retry=True)


def test_a_component_has_directories_only_where_the_server_has_them(read: Read):
    wants = ACTIVITY_COMPONENT + "directories.enabled = true\n"
    message = "needs activities.directories.enabled = true, outside components"
    assert problems(read, wants) == [('[[activity_wasm]] "a"', "directories.enabled", message)]
    assert read(wants, OBELISK__ACTIVITIES__DIRECTORIES__ENABLED="true").components[0].sandbox.directories.own


def test_directories_of_the_host(read: Read, tmp_path: Path):
    (tmp_path / "data").mkdir()
    config = read(
        ACTIVITY_COMPONENT
        + '[[activity_wasm.directory]]\nhost = "${OBELISK_TOML_DIR}/data"\nguest = "/data"\n'
        + '[[activity_wasm.directory]]\nhost = "data"\nguest = "//out/put/"\nread_only = false\n'
    )
    data = str(tmp_path / "data")
    assert config.components[0].sandbox.directories.mapped == (
        MappedDirectory(data, "/data", read_only=True),
        MappedDirectory(data, "/out/put", read_only=False),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "directories.process_provider = 'x'",
            'directories.process_provider: expected one of "none", "native"; found "x"',
        ),
        ("directory = 1", "directory: expected an array of tables with host, guest, and read_only; found 1"),
        ("directory = [1]", "directory[0]: expected a table with host, guest, read_only; found 1"),
        ("directory = [{host = '.'}]", "directory[0].guest: is missing; expected the path of a directory"),
        ("directory = [{guest = '/x'}]", "directory[0].host: is missing; expected the path of a directory"),
        (
            "directory = [{host = '.', guest = '/', x = 1}]",
            "directory[0].x: unknown key; known here: host, guest, read_only",
        ),
        (
            "directory = [{host = 'nowhere', guest = '/x'}]",
            "directory[0].host: expected the path of a directory; found nothing",
        ),
        (
            "directory = [{host = 'a.wasm', guest = '/x'}]",
            "directory[0].host: expected the path of a directory; found a file",
        ),
        ("directory = [{host = '${X}/a', guest = '/x'}]", "directory[0].host: ${X} is not known"),
        ("directory = [{host = '.', guest = 'x'}]", "directory[0].guest: expected an absolute path such as /data"),
        (
            "directory = [{host = '.', guest = '/x/../y'}]",
            "directory[0].guest: expected an absolute path such as /data",
        ),
        ("directory = [{host = '.', guest = '/x', read_only = 1}]", "directory[0].read_only: expected true or false"),
        (
            "directory = [{host = '.', guest = '/x'}, {host = 'home', guest = '/x/'}]",
            'directory[1].guest: "/x" is another directory too',
        ),
        (
            "directories.enabled = true\ndirectory = [{host = '.', guest = '/'}]",
            "directory[0].guest: / is the execution's own directory (directories.enabled)",
        ),
        ("allowed_tcp = 'x:1'", 'allowed_tcp: expected an array such as ["db.example.com:5432"'),
        ("allowed_tcp = [1]", 'allowed_tcp[0]: expected an entry such as "db.example.com:5432"; found 1'),
        ("allowed_tcp = ['x:1', 'x']", 'allowed_tcp[1]: expected "HOST:PORT", with * for any port; found "x"'),
    ],
)
def test_problems_of_what_an_activity_may_touch(read: Read, text: str, problem: str):
    (found,) = problems(read, DIRECTORIES + ACTIVITY_COMPONENT + text)
    assert f"{found[1]}: {found[2]}".startswith(problem)


def test_tcp_connections(read: Read):
    (component,) = read(ACTIVITY_COMPONENT + "allowed_tcp = ['DB.example.com:5432', '10.0.0.0/8:*']").components
    assert component.sandbox.tcp == (TcpTarget("db.example.com", 5432), TcpTarget("10.0.0.0/8", None))
