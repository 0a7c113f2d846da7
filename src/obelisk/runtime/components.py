"""Loading the components of a configuration.

Decides what keeps a server from starting: sources that cannot be used, digests that are not the configured ones, components
that do not fit together. Finds all of it before it says no.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from obelisk.config.settings import MEMORY_MAX_BYTES_DEFAULT, ComponentConfig
from obelisk.core.names import FunctionName
from obelisk.core.policy import CLOSED, NO_PROGRAMS, AllowedPrograms, ExecutionPolicy, ProcessProvider, Sandbox
from obelisk.core.ports import FunctionKind
from obelisk.runtime.deployed import DeployedComponent
from obelisk.runtime.programs.document import ExecEntry, ExecFile
from obelisk.runtime.programs.loading import LoadedProgram, read_program
from obelisk.runtime.refusals import DeploymentRefused
from obelisk.wasm.component import ComponentLoader, LoadedComponent, LoadedWit
from obelisk.wasm.description import Descriptions
from obelisk.wasm.link import EntryPoint, link_activity, link_workflow
from obelisk.wasm.source import WIT_FILE, ComponentError, Source, WitText
from obelisk.wit import checks
from obelisk.wit.declared import Declared
from obelisk.wit.executable import Executable, executables
from obelisk.wit.host import PROCESS, PROCESSES, host_interface

_log: Final = logging.getLogger(__name__)
_LINE: Final = re.compile(rf"(.*) --> {re.escape(WIT_FILE)}:(\d+):\d+ ")
"""Where wasm-tools says that something is wrong."""

Loaded = LoadedComponent | LoadedWit | LoadedProgram
L = TypeVar("L", bound=Loaded)


def load_active(
    loader: ComponentLoader, configs: tuple[ComponentConfig, ...], allowed: AllowedPrograms = NO_PROGRAMS
) -> list[DeployedComponent]:
    """Loads, checks and links the configured components, in their order. `allowed`: the programs that exec activities may be.
    `DeploymentRefused`.
    """
    problems: list[str] = []
    loaded: list[tuple[ComponentConfig, Loaded]] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="obelisk-compile") as pool:
        jobs = [(config, pool.submit(_load, loader, config, allowed)) for config in configs]
        for config, job in jobs:
            try:
                loaded.append((config, job.result()))
            except ComponentError as error:
                problems.append(f"{config.title}: {error}")
    if problems:
        raise DeploymentRefused(problems)
    problems += [
        f"{config.title} imports {PROCESS}, but may not spawn programs;"
        ' directories.process_provider = "native" in its table would allow it'
        for config, component in loaded
        if config.kind is FunctionKind.ACTIVITY
        and config.sandbox.processes is ProcessProvider.NONE
        and any(host_interface(each.name) is PROCESSES for each in component.wit.imports)
    ]
    if problems:
        raise DeploymentRefused(problems)
    found = checks.check([checks.Component(config.name, config.kind, component.wit) for config, component in loaded])
    if found:
        raise DeploymentRefused(found)
    for config, component in loaded:
        if not any(interface.functions for interface in component.wit.exports):
            _log.warning(
                "%s exports no function that can be called: functions must be in an interface with a full name"
                " (namespace:package/interface)",
                config.title,
            )
    try:
        return [
            deployed(
                config.name,
                config.kind,
                component,
                config.policy,
                config.memory_max_bytes,
                config.sandbox,
                config.backtrace_sources,
            )
            for config, component in loaded
        ]
    except ComponentError as error:
        raise DeploymentRefused([str(error)]) from error


def load(loader: ComponentLoader, kind: FunctionKind, source: Source, memory_max_bytes: int | None) -> Loaded:
    """Loads a component: compiled, unless nothing of its kind is ever run. `ComponentError`."""
    if kind is FunctionKind.STUB:
        return loader.load_wit(source)
    assert not isinstance(source, WitText), "what runs is in a file"
    # The default fits everywhere; only what the operator asked for may have to go elsewhere.
    asked = None if memory_max_bytes == MEMORY_MAX_BYTES_DEFAULT else memory_max_bytes
    return loader.load(source, memory_max=asked)


def deployed(
    name: str | None,
    kind: FunctionKind,
    component: Loaded,
    policy: ExecutionPolicy,
    memory_max_bytes: int | None,
    sandbox: Sandbox = CLOSED,
    sources: Mapping[str, Path] | None = None,
) -> DeployedComponent:
    """A loaded component with its imports supplied. `ComponentError` when they cannot be."""
    functions: Mapping[FunctionName, Executable]
    programs: Mapping[FunctionName, EntryPoint | ExecEntry]
    source: Source | ExecFile
    if isinstance(component, LoadedWit):
        functions, programs, source = executables(component.wit), {}, component.source
    elif isinstance(component, LoadedProgram):
        functions, source = executables(component.wit), component.file
        programs = {ffqn: ExecEntry(each, source.document) for ffqn, each in functions.items()}
    else:
        linked = link_workflow(component) if kind is FunctionKind.WORKFLOW else link_activity(component)
        functions, programs = {ffqn: entry.function for ffqn, entry in linked.entries.items()}, linked.entries
        source = component.path
    return DeployedComponent(
        name,
        kind,
        component.digest,
        source,
        component.wit,
        policy,
        functions,
        programs,
        memory_max_bytes,
        sandbox,
        sources or {},
    )


def described(descriptions: Descriptions, config: ComponentConfig) -> LoadedWit:
    """What a configured component says of itself, whatever it imports. `ComponentError`."""
    return _configured(config, descriptions.read)


def _load(loader: ComponentLoader, config: ComponentConfig, allowed: AllowedPrograms) -> Loaded:
    if config.program is not None:
        described_wit, document = _configured(config, loader.load_wit), read_program(config)
        refusal = allowed.refusal(config.name, document.program)
        if refusal is not None:
            raise ComponentError(config.program.path, refusal)
        return LoadedProgram(ExecFile(document, config.program.path), document.digest, described_wit.wit)
    return _configured(config, lambda source: load(loader, config.kind, source, config.memory_max_bytes))


def _configured(config: ComponentConfig, read: Callable[[Source], L]) -> L:
    """Reads what the configuration names, and holds it to what else the configuration says of it."""
    source = WitText(config.source.text) if isinstance(config.source, Declared) else config.source
    try:
        component = read(source)
    except ComponentError as error:
        if isinstance(config.source, Declared):
            raise _of_key(config.source, error) from error
        raise
    if config.program is None and config.content_digest is not None and config.content_digest != component.digest:
        raise ComponentError(
            source, f"its digest is {component.digest}, but content_digest says {config.content_digest}"
        )
    return component


def _of_key(declared: Declared, error: ComponentError) -> ComponentError:
    """The same error, told of the key that it comes from."""
    found = _LINE.search(error.reason)
    if found is None:
        return error
    key, written = declared.part(int(found[2]))
    return ComponentError(error.source, f'{key}: {found[1]}; found "{written}"')
