"""The whole configuration: found, read, checked, resolved.

Decides what wins (the environment over the file, the file over defaults) and what must hold between keys. Reads the
configuration's file and looks whether components' files exist; makes and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from obelisk.config.keys import COMPONENT_TABLES, KEYS_OF, LATER_OF, LIMITS, ROOT, ROOT_LATER, STUB, ComponentTable, Key
from obelisk.config.kinds import describe
from obelisk.config.places import Places
from obelisk.config.problems import ConfigError, Problem
from obelisk.config.reading import Component, Reading, schema_of
from obelisk.config.settings import (
    Api,
    CodegenCache,
    ComponentConfig,
    Config,
    Console,
    ExecutionDirectories,
    Otlp,
    ProgramConfig,
    Sqlite,
    Wasm,
)
from obelisk.config.sources import ENVIRONMENT, find_file, read_environment, read_file
from obelisk.core.calls import LogLevel
from obelisk.core.egress import AllowedHost, EgressPolicy
from obelisk.core.policy import (
    CLOSED,
    DirectoryPolicy,
    ExecutionPolicy,
    Forward,
    Limits,
    LogPolicy,
    ProgramLimits,
    RetryPolicy,
    Sandbox,
)
from obelisk.core.ports import FunctionKind
from obelisk.wit.declared import Declared

_ROOT_SCHEMA: Final = schema_of((*ROOT, *COMPONENT_TABLES, *ROOT_LATER))
_COMPONENT_SCHEMAS: Final = {path: schema_of((*KEYS_OF[path], *LATER_OF[path])) for path in KEYS_OF}


def load(
    path: Path | None,
    environ: Mapping[str, str],
    cwd: Path,
    *,
    files_may_be_missing: bool = False,
    variables_may_be_missing: bool = False,
) -> Config:
    """The configuration of file `path` and the variables of `environ`.

    Without `path` the first of `./obelisk.toml`, `$XDG_CONFIG_HOME/obelisk/obelisk.toml` and
    `/etc/obelisk/obelisk.toml` that exists is taken; without any of them the defaults hold and there are no components.
    Relative paths are relative to `cwd`. `files_may_be_missing`: of components that are still to be built.
    `variables_may_be_missing`: those that values name are taken as empty where they are not set. `ConfigError` tells
    everything that is wrong.
    """
    places = msgspec.structs.replace(
        Places.of(environ, cwd),
        files_may_be_missing=files_may_be_missing,
        variables_may_be_missing=variables_may_be_missing,
    )
    file = find_file(path, places)
    if file is not None:
        places = places.beside(file)

    from_file = Reading(str(file), places)
    if file is not None:
        from_file.read(read_file(file), _ROOT_SCHEMA)
    variables, problems = read_environment(environ)
    from_environment = Reading(ENVIRONMENT, places, problems=problems)
    from_environment.read(variables, _ROOT_SCHEMA)
    problems = [*from_file.problems, *from_environment.problems]

    components: list[ComponentConfig] = []
    names: dict[str, str] = {}
    root = from_file.values | from_environment.values
    for component in from_file.components:
        config = _component(component, from_file, names, root, problems)
        if config is not None:
            components.append(config)
    values = _defaults(ROOT, places) | from_file.values | from_environment.values
    if not values["activities.directories.enabled"]:
        problems += _without_directories(components, from_file.source)
    if problems:
        raise ConfigError(problems)
    return _config(file, values, tuple(components))


def _defaults(keys: Iterable[Key], places: Places) -> dict[str, Any]:
    return {key.path: None if key.default is None else key.kind.read(key.default, places) for key in keys}


def _component(
    component: Component,
    file: Reading,
    names: dict[str, str],
    root: Mapping[str, Any],
    problems: list[Problem],
) -> ComponentConfig | None:
    """The component, or None with its problems added. `names` are those taken, with the tables that took them; `root` what
    is set outside components.
    """
    given = component.tree.get("name") if isinstance(component.tree, dict) else None
    label = f'"{given}"' if isinstance(given, str) else f"number {component.number}"
    reading = Reading(file.source, file.places, table=f"[[{component.spelling}]] {label}")
    table = component.table
    if isinstance(component.tree, dict):
        reading.read(component.tree, _COMPONENT_SCHEMAS[table.path])
        for key in KEYS_OF[table.path]:
            if key.required and key.path not in reading.spellings:
                reading.problem(key.path, f"is missing; expected {key.kind.expected}")
        _check_together(table.kind, reading)
        _give_variables(reading, root.get("secrets", {}))
    else:
        reading.problem("", f"expected a table; found {describe(component.tree)}")
    name = reading.values.get("name")
    if name in names:
        reading.problem("name", f"is taken by {names[name]}; the name of a component is unique among all components")
    elif name is not None:
        names[name] = f"[[{component.spelling}]] number {component.number}"
    problems += reading.problems
    if reading.problems:
        return None
    values = _defaults(KEYS_OF[table.path], file.places) | reading.values
    return _component_config(table, values, root.get("outbound_http.allowed_host"))


def _check_together(kind: FunctionKind, reading: Reading) -> None:
    """What must hold between the keys of one component."""
    match kind:
        case FunctionKind.ACTIVITY:
            _check_backoff(reading)
            _check_directories(reading)
        case FunctionKind.STUB:
            _check_description(reading)


def _give_variables(reading: Reading, secrets: Mapping[str, str]) -> None:
    """Secrets that are only named are those of the server."""
    entries = reading.values.get("allowed_host", ())
    variables: dict[str, str] = {}
    seen = {name for name, _ in reading.values.get("env_vars", ())}
    for index, entry in enumerate(entries):
        unknown = [name for name, variable in entry.secrets.items() if not variable and name not in secrets]
        if unknown:
            known = f"known there: {', '.join(secrets)}" if secrets else "there are none"
            reading.problem(f"allowed_host[{index}].secrets", f"{unknown[0]} is not in [secrets]; {known}")
            return
        for name, variable in entry.secrets.items():
            if name in seen:
                reading.problem(
                    f"allowed_host[{index}].secrets", f"{name} is in env_vars too; the guest can see only one"
                )
                return
            if variables.setdefault(name, variable or secrets[name]) != (variable or secrets[name]):
                reading.problem(
                    f"allowed_host[{index}].secrets", f"{name} is another secret in an entry above; rename one"
                )
                return
    if entries:
        reading.values["allowed_host"] = tuple(
            msgspec.structs.replace(
                entry, secrets={name: variable or secrets[name] for name, variable in entry.secrets.items()}
            )
            for entry in entries
        )


def _check_backoff(reading: Reading) -> None:
    """The longest wait of an activity's retries is not less than the first one."""
    # What is written and has no value is a problem already, and must not lead to a second one.
    unread = 0 if "retry_exp_backoff" in reading.spellings else RetryPolicy().exp_backoff_us
    first = reading.values.get("retry_exp_backoff", unread)
    if reading.values.get("retry_backoff_max", first) < first:
        reading.problem("retry_backoff_max", "is less than retry_exp_backoff, which the first retry waits")


def _check_directories(reading: Reading) -> None:
    """The directory of the execution is where relative paths lead; so is the one that a guest calls `/`."""
    mapped = [each.guest for each in reading.values.get("directory", ())]
    if reading.values.get("directories.enabled") and "/" in mapped:
        reading.problem(
            f"directory[{mapped.index('/')}].guest", "/ is the execution's own directory (directories.enabled)"
        )


def _without_directories(components: Iterable[ComponentConfig], source: str) -> list[Problem]:
    """Those that want what the server does not have."""
    message = "needs activities.directories.enabled = true, outside components"
    return [
        Problem(source, f'[[activity_wasm]] "{component.name}"', "directories.enabled", message)
        for component in components
        if component.sandbox.directories.own
    ]


def _check_description(reading: Reading) -> None:
    """A stub activity is described at a location or in the configuration, and not in both."""
    written = reading.spellings
    inline = [key for key in ("ffqn", "params", "return_type") if key in written]
    if "location" in written and inline:
        reading.problem(inline[0], f"describes a function here, but {written['location']} is set too; keep one of them")
    elif "location" not in written and not inline:
        reading.problem("location", "is missing; expected a location, or ffqn, params and return_type instead")
    elif inline:
        for key in ("ffqn", "return_type"):
            if key not in written:
                expected = next(each.kind.expected for each in STUB if each.path == key)
                reading.problem(key, f"is missing; expected {expected}")


def _component_config(
    table: ComponentTable, values: Mapping[str, Any], outbound_http: tuple[AllowedHost, ...] | None
) -> ComponentConfig:
    kind = table.kind
    match kind:
        case FunctionKind.STUB:
            source = values["location"] or _declared(values)
            return ComponentConfig(kind, values["name"], source, values["content_digest"])
        case FunctionKind.ACTIVITY:
            retry = RetryPolicy(
                max_retries=values["max_retries"],
                exp_backoff_us=values["retry_exp_backoff"],
                retry_on_err=values["retry_on_err"],
                backoff_max_us=values["retry_backoff_max"],
                jitter=values["retry_jitter"],
            )
            policy = ExecutionPolicy(lock_expiry_us=values["exec.lock_expiry"], retry=retry, logs=_logs(values))
        case FunctionKind.WORKFLOW:
            policy = ExecutionPolicy(
                lock_expiry_us=values["exec.lock_expiry"],
                retry=RetryPolicy(max_retries=0, retry_on_err=False),
                blocking=values["blocking_strategy"],
                on_trap=values["on_trap"],
                cpu_budget_us=values["exec.cpu_budget"],
                logs=_logs(values),
            )
    if table.path == "activity_exec":
        program = ProgramConfig(values["location"], values["params_via_stdin"], values["max_output_bytes"])
        return ComponentConfig(
            kind,
            values["name"],
            _declared(values),
            values["content_digest"],
            policy,
            sandbox=Sandbox(environment=values["env_vars"]),
            program=program,
        )
    return ComponentConfig(
        kind=kind,
        name=values["name"],
        source=values["location"],
        content_digest=values["content_digest"],
        policy=policy,
        memory_max_bytes=values["exec.memory_max_bytes"],
        sandbox=_sandbox(kind, values, outbound_http),
        backtrace_sources=values.get("backtrace.sources", {}),
    )


def _sandbox(kind: FunctionKind, values: Mapping[str, Any], outbound_http: tuple[AllowedHost, ...] | None) -> Sandbox:
    if kind is not FunctionKind.ACTIVITY:
        return CLOSED
    return Sandbox(
        environment=values["env_vars"],
        directories=_directories(values),
        tcp=values["allowed_tcp"],
        http=EgressPolicy(values["allowed_host"], outbound_http, values["name"]),
        processes=values["directories.process_provider"],
    )


def _directories(values: Mapping[str, Any]) -> DirectoryPolicy:
    return DirectoryPolicy(
        own=values["directories.enabled"],
        reuse_on_retry=values["directories.reuse_on_retry"],
        mapped=values["directory"],
    )


def _declared(values: Mapping[str, Any]) -> Declared:
    return Declared(values["ffqn"], values["params"], values["return_type"])


def _logs(values: Mapping[str, Any]) -> LogPolicy:
    level = values["logs_store_min_level"]
    return LogPolicy(
        store_min_level=None if level == "off" else LogLevel(level),
        stdout=values.get("forward_stdout", Forward.NONE),  # that of a program is its result
        stderr=values["forward_stderr"],
    )


def _config(file: Path | None, values: Mapping[str, Any], components: tuple[ComponentConfig, ...]) -> Config:
    return Config(
        file=file,
        api=Api(listening_addr=values["api.listening_addr"]),
        sqlite=Sqlite(directory=values["sqlite.directory"], pragma=values["sqlite.pragma"]),
        wasm=Wasm(
            allocator_config=values["wasm.allocator_config"],
            fuel=values["wasm.fuel"],
            parallel_compilation=values["wasm.parallel_compilation"],
            backtrace_persist=values["wasm.backtrace.persist"],
        ),
        codegen_cache=CodegenCache(
            enabled=values["codegen_cache.enabled"], directory=values["codegen_cache.directory"]
        ),
        console=Console(
            enabled=values["log.console.enabled"],
            level=values["log.console.level"],
            style=values["log.console.style"],
            target=values["log.console.target"],
            writer=values["log.console.writer"],
        ),
        otlp=Otlp(
            enabled=values["otlp.enabled"],
            level=values["otlp.level"],
            service_name=values["otlp.service_name"],
            endpoint=values["otlp.otlp_endpoint"],
        ),
        allowed_programs=values["allow_exec_activities"],
        programs=ProgramLimits(
            running_max=values["programs.running_max"],
            tasks_max=values["programs.tasks_max"],
            memory_max_bytes=values["programs.memory_max_bytes"],
            cgroup=values["programs.cgroup"],
        ),
        limits=Limits(**{key.path.removeprefix("limits."): values[key.path] for key in LIMITS}),
        directories=_execution_directories(values),
        components=components,
        outbound_http=values["outbound_http.allowed_host"],
    )


def _execution_directories(values: Mapping[str, Any]) -> ExecutionDirectories:
    return ExecutionDirectories(
        enabled=values["activities.directories.enabled"],
        parent_directory=values["activities.directories.parent_directory"],
        bytes_max=values["activities.directories.bytes_max"],
        entries_max=values["activities.directories.entries_max"],
        cleanup_enabled=values["activities.directories.cleanup.enabled"],
        cleanup_run_every_us=values["activities.directories.cleanup.run_every"],
        cleanup_older_than_us=values["activities.directories.cleanup.older_than"],
    )
