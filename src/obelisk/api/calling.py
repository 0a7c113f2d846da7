"""Calling: submitting an execution and waiting for its end, in one.

Decides what is waited for. What is submitted goes on whatever becomes of the wait, and whoever lost the answer may ask again: the
same again waits for the same execution.
"""

from __future__ import annotations

from typing import Final

from obelisk.api.errors import Stopping
from obelisk.api.executions import Executions
from obelisk.api.ports import Engine, ShuttingDown
from obelisk.api.submitting import Submitted, Submitting
from obelisk.api.views import Execution
from obelisk.core.ids import ExecutionId
from obelisk.core.names import FunctionName


class Calling:
    """On the event loop's thread."""

    def __init__(self, engine: Engine, submitting: Submitting, executions: Executions) -> None:
        self._engine: Final = engine
        self._submitting: Final = submitting
        self._executions: Final = executions

    async def call(
        self,
        execution_id: ExecutionId,
        ffqn: FunctionName,
        params: bytes,
        *,
        metadata: dict[str, str] | None = None,
        paused: bool = False,
    ) -> tuple[Submitted, Execution]:
        """Submits as `Submitting.submit` does, and raises what that raises; returns when the execution has finished, which it
        does with its result. `Stopping` when the engine stops before that.
        """
        try:
            # Watched before it is there, so that its end cannot be missed.
            async with self._engine.watch_end(execution_id) as ending:
                # Told of its creation no sooner than of its end, which is all that the caller waits for.
                submitted = await self._submitting.submit(
                    execution_id, ffqn, params, metadata=metadata, paused=paused, ending=ending
                )
                if submitted is Submitted.EXISTS:
                    execution = await self._executions.get(execution_id, with_result=True)
                    if execution.is_finished:
                        return submitted, execution
                change = await ending.wait()
                told = None if change is None else self._executions.told(change, with_result=True)
                return submitted, told or await self._executions.get(execution_id, with_result=True)
        except ShuttingDown:
            raise Stopping from None
