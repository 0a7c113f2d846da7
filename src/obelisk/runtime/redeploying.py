"""Another configuration's components take the place of the active ones, in a process that goes on.

Decides the order: load, check and link (nothing is written when something is refused), copy what executions will refer to,
then, between two ticks, name the new deployment and replace the tables. Which executions move to the new components is not
decided here: they stay on theirs until somebody upgrades them.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

import msgspec

from obelisk.config import Config
from obelisk.core.ids import Digest
from obelisk.core.ports import FunctionKind
from obelisk.engine.engine import Engine
from obelisk.runtime import entropy
from obelisk.runtime.clock import Clock
from obelisk.runtime.components import load_active
from obelisk.runtime.deployed import Deployed, DeployedComponent
from obelisk.runtime.driver import Driver
from obelisk.runtime.kept import KeptComponents
from obelisk.runtime.outgoing import Secrets
from obelisk.runtime.programs.programs import Programs
from obelisk.runtime.refusals import DeploymentRefused
from obelisk.runtime.views import ComponentView
from obelisk.store.sqlite import SqliteStore
from obelisk.wasm.component import ComponentLoader


class Replaced(msgspec.Struct, frozen=True):
    """What became of a component of the configuration; `old` and `new` are None where it is new, or gone."""

    name: str
    kind: FunctionKind
    old: Digest | None
    new: Digest | None


class Redeploying:
    """One at a time; the caller sees to that."""

    def __init__(
        self,
        loader: ComponentLoader,
        kept: KeptComponents,
        deployed: Deployed,
        store: SqliteStore,
        engine: Engine,
        secrets: Secrets,
        clock: Clock,
        programs: Programs,
    ) -> None:
        self._loader: Final = loader
        self._kept: Final = kept
        self._deployed: Final = deployed
        self._store: Final = store
        self._engine: Final = engine
        self._secrets: Final = secrets
        self._clock: Final = clock
        self._programs: Final = programs

    async def redeploy(self, config: Config, driver: Driver) -> list[Replaced]:
        """Makes the components of `config` the active ones; those that are others than before. All else in `config` but the
        programs that are allowed is as it was when the process started. `DeploymentRefused`, or `ShuttingDown`.
        """
        active = await asyncio.to_thread(self._prepared, config)
        before = {view.name: view for view in self._deployed.components()}

        def replace() -> None:
            now = self._clock.now()
            deployment = self._store.deployment(deployment_digest(config, active), now, entropy.deployment_id(now))
            self._programs.allowed = config.allowed_programs
            self._deployed.replace(deployment, active)
            self._engine.redeploy(deployment)

        await asyncio.wrap_future(driver.between_ticks(replace))
        after = {view.name: view for view in self._deployed.components()}
        return [
            Replaced(name, (after.get(name) or before[name]).kind, *(_digest(each, name) for each in (before, after)))
            for name in dict.fromkeys((*before, *after))
            if before.get(name) != after.get(name)
        ]

    def _prepared(self, config: Config) -> list[DeployedComponent]:
        active = load_active(self._loader, config.components, config.allowed_programs)
        problems = self._secrets.take(config)
        if problems:
            raise DeploymentRefused(problems)
        self._kept.keep(active)
        return active


def deployment_digest(config: Config, active: list[DeployedComponent]) -> Digest:
    """Of the configuration and of what its components' files contain."""
    content = "\n".join([config.digest, *(component.digest for component in active)])
    return Digest(f"sha256:{hashlib.sha256(content.encode()).hexdigest()}")


def _digest(views: dict[str, ComponentView], name: str) -> Digest | None:
    found = views.get(name)
    return None if found is None else found.digest
