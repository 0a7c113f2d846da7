"""Components: what is deployed, and which functions it has.

Decides how the list is narrowed; what there is, the catalogue says, and what a component is, its WIT.
"""

from __future__ import annotations

import msgspec

from obelisk.api.errors import NotFound
from obelisk.api.ports import ComponentView, Engine
from obelisk.api.reads import Reads
from obelisk.core.ids import DeploymentId, Digest
from obelisk.core.names import FunctionName


class Components:
    """Use cases of what is deployed."""

    def __init__(self, engine: Engine, reads: Reads) -> None:
        self._engine = engine
        self._catalogue = engine.catalogue
        self._reads = reads

    def list(
        self,
        *,
        extensions: bool = False,
        ffqn: FunctionName | None = None,
        digest: Digest | None = None,
        deployment: DeploymentId | None = None,
    ) -> list[ComponentView]:
        """Components of the active deployment for which all conditions hold, in the order of the configuration.

        `extensions`: with the exports of generated extension interfaces. `ffqn`: only those that export it, after that.
        A deployment that is not the active one has none.
        """
        if deployment is not None and deployment != self._catalogue.deployment_id:
            return []
        found = []
        for component in self._catalogue.components():
            exports = tuple(view for view in component.exports if extensions or view.extension is None)
            if digest is not None and component.digest != digest:
                continue
            if ffqn is not None and all(view.ffqn != ffqn for view in exports):
                continue
            found.append(msgspec.structs.replace(component, exports=exports))
        return found

    async def wit(self, digest: Digest) -> str:
        """The WIT of a component, as text. `NotFound`."""
        text = await self._reads.run(self._engine.wit, digest)
        if text is None:
            raise NotFound(f"WIT not found for component digest '{digest}'")
        return text
