"""Loading the components of a configuration, and the older ones that open executions still need.

Decides what keeps a server from starting: files that cannot be used, digests that are not the configured ones, components
that do not fit together. Finds all of it before it says no. Keeps a copy of every component that was active, by digest,
so that an execution can be replayed on exactly what it ran on; a copy goes when no open execution refers to it.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from obelisk.config.settings import MEMORY_MAX_BYTES_DEFAULT, ComponentConfig
from obelisk.core.ids import Digest
from obelisk.core.policy import ExecutionPolicy
from obelisk.core.ports import FunctionKind
from obelisk.runtime.deployed import DeployedComponent
from obelisk.wasm.component import ComponentError, ComponentLoader, LoadedComponent
from obelisk.wasm.link import link_activity, link_workflow
from obelisk.wit import checks

_log: Final = logging.getLogger(__name__)


class DeploymentRefused(Exception):
    """The configuration cannot be deployed; `problems` says everything that is wrong. The operator's to fix."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def load_active(loader: ComponentLoader, configs: tuple[ComponentConfig, ...]) -> list[DeployedComponent]:
    """Loads, checks and links the configured components, in their order. `DeploymentRefused`."""
    problems: list[str] = []
    loaded: list[tuple[ComponentConfig, LoadedComponent]] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="obelisk-compile") as pool:
        jobs = [(config, pool.submit(_load, loader, config)) for config in configs]
        for config, job in jobs:
            try:
                loaded.append((config, job.result()))
            except ComponentError as error:
                problems.append(f"{_title(config)}: {error}")
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
                _title(config),
            )
    try:
        return [_link(config, component) for config, component in loaded]
    except ComponentError as error:
        raise DeploymentRefused([str(error)]) from error


def _title(config: ComponentConfig) -> str:
    return f"{config.kind} {config.name}"


def _load(loader: ComponentLoader, config: ComponentConfig) -> LoadedComponent:
    component = loader.load(config.path, memory_max=_asked_memory(config))
    if config.content_digest is not None and config.content_digest != component.digest:
        raise ComponentError(
            config.path, f"its digest is {component.digest}, but content_digest says {config.content_digest}"
        )
    return component


def _asked_memory(config: ComponentConfig) -> int | None:
    """What the operator asked for, if it is not the default, which fits everywhere."""
    return None if config.memory_max_bytes == MEMORY_MAX_BYTES_DEFAULT else config.memory_max_bytes


def _link(config: ComponentConfig, component: LoadedComponent) -> DeployedComponent:
    linked = link_workflow(component) if config.kind is FunctionKind.WORKFLOW else link_activity(component)
    return DeployedComponent(config.name, config.kind, linked, config.policy, config.memory_max_bytes)


class KeptComponents:
    """Copies of components that were active, one file each, named by kind and digest."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def _path(self, digest: Digest, kind: FunctionKind) -> Path:
        return self._directory / f"{kind}_{digest.replace(':', '_')}.wasm"

    def keep(self, components: Iterable[DeployedComponent]) -> None:
        """Copies those that are not kept yet, durably: executions will refer to them. `DeploymentRefused` when a file is
        not any more what was loaded.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        written = False
        for component in components:
            target = self._path(component.digest, component.kind)
            if not target.exists():
                binary = component.linked.component.path.read_bytes()
                if f"sha256:{hashlib.sha256(binary).hexdigest()}" != component.digest:
                    title = f"{component.kind} {component.name}: {component.linked.component.path}"
                    raise DeploymentRefused([f"{title} was changed while the server read it: start again"])
                _write_durably(target, binary)
                written = True
        if written:
            _sync(self._directory)

    def load(
        self, loader: ComponentLoader, wanted: Iterable[Digest], policy: ExecutionPolicy
    ) -> list[DeployedComponent]:
        """Loads kept components. One that is missing or damaged is left out, with a warning: its executions are parked."""
        found: list[DeployedComponent] = []
        for digest in wanted:
            try:
                found.append(self._load(loader, digest, policy))
            except ComponentError as error:
                _log.warning("a component that open executions refer to cannot be loaded: %s", error)
        return found

    def _load(self, loader: ComponentLoader, digest: Digest, policy: ExecutionPolicy) -> DeployedComponent:
        for kind in FunctionKind:
            path = self._path(digest, kind)
            if path.exists():
                component = loader.load(path)
                if component.digest != digest:
                    raise ComponentError(path, "it is damaged: its digest is not the one in its name")
                linked = link_workflow(component) if kind is FunctionKind.WORKFLOW else link_activity(component)
                return DeployedComponent(None, kind, linked, policy, None)
        raise ComponentError(self._directory, f"there is no copy of {digest}")

    def forget_all_but(self, needed: frozenset[Digest]) -> None:
        """Deletes the copies that nothing refers to."""
        keep = {self._path(digest, kind) for digest in needed for kind in FunctionKind}
        for path in self._directory.glob("*_sha256_*.wasm"):
            if path not in keep:
                path.unlink(missing_ok=True)


def _write_durably(target: Path, content: bytes) -> None:
    """A temporary file first, then renamed, so that there is never half a file under the name."""
    draft = target.with_suffix(f".{os.getpid()}")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(target)


def _sync(directory: Path) -> None:
    """Makes the names in it durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
