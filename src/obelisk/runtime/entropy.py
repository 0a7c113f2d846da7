"""New ids: the only place that draws randomness."""

from __future__ import annotations

import os
from collections import deque
from typing import Final

from obelisk.core.ids import DeploymentId, ExecutionId, ExecutorId, RunId, ulid
from obelisk.core.instants import Instant

_DRAW: Final = 256
_BYTES: Final = 10


class SystemEntropy:
    """Ids from the system's random numbers, drawn in blocks. Implements `core.ports.Entropy`; not thread-safe."""

    def __init__(self) -> None:
        self._drawn: deque[bytes] = deque()

    def _random(self) -> bytes:
        if not self._drawn:
            block = os.urandom(_DRAW * _BYTES)
            self._drawn.extend(block[at : at + _BYTES] for at in range(0, len(block), _BYTES))
        return self._drawn.popleft()

    def run_id(self, now: Instant) -> RunId:
        """A fresh run id."""
        return RunId(f"Run_{ulid(now // 1_000, self._random())}")

    def batch_id(self) -> str:
        """A fresh id of a batch."""
        return self._random().hex()


def batch_id() -> str:
    """A fresh id of a batch that no engine decided."""
    return os.urandom(_BYTES).hex()


def execution_id(now: Instant) -> ExecutionId:
    """A fresh top-level execution id."""
    return ExecutionId(f"E_{ulid(now // 1_000, os.urandom(_BYTES))}")


def executor_id(now: Instant) -> ExecutorId:
    """A fresh executor id."""
    return ExecutorId(f"Exr_{ulid(now // 1_000, os.urandom(_BYTES))}")


def deployment_id(now: Instant) -> DeploymentId:
    """A fresh deployment id."""
    return DeploymentId(f"Dep_{ulid(now // 1_000, os.urandom(_BYTES))}")
