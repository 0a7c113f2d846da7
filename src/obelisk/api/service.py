"""The use cases together, as every door gets them: one life, one set of threads for reads."""

from __future__ import annotations

from obelisk.api.backtraces import Backtraces
from obelisk.api.calling import Calling
from obelisk.api.components import Components
from obelisk.api.executions import Executions
from obelisk.api.following import Following
from obelisk.api.forking import Forking
from obelisk.api.lines import Lines
from obelisk.api.operations import Operations
from obelisk.api.ports import Engine
from obelisk.api.reads import Reads
from obelisk.api.redeploying import Redeploying
from obelisk.api.replaying import Replaying
from obelisk.api.submitting import Submitting


class Service:
    """On the event loop's thread. Open streams end with `Stopping` when the engine's change stream does."""

    def __init__(self, engine: Engine) -> None:
        self._reads = Reads()
        self.submitting = Submitting(engine, self._reads)
        self.executions = Executions(engine, self._reads)
        self.calling = Calling(engine, self.submitting, self.executions)
        self.following = Following(engine, self.executions, self._reads)
        self.lines = Lines(engine, self._reads)
        self.operations = Operations(engine, self.executions, self._reads)
        self.replaying = Replaying(engine, self.executions, self._reads)
        self.backtraces = Backtraces(engine, self.replaying, self._reads)
        self.forking = Forking(engine, self.replaying, self._reads)
        self.redeploying = Redeploying(engine, self.replaying, self._reads)
        self.components = Components(engine, self._reads)

    def close(self) -> None:
        """The end: nothing may be called any more."""
        self._reads.close()
