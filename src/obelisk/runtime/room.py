"""What the system has room for: memory mappings for guests that wait, address space for the pool that they live in.

Decides before the first engine is made, because later is too late: a process without mappings left can start no thread
and reserve no memory, and wasmtime ends the process when it cannot have its pool. Must not know a component.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import msgspec

from obelisk.config.settings import Allocator
from obelisk.core.policy import Limits
from obelisk.runtime.refusals import DeploymentRefused
from obelisk.wasm.engine import EngineConfig, pool_fits

_MAX_MAP_COUNT: Final = Path("/proc/sys/vm/max_map_count")
_MAPPINGS_OF_THE_REST: Final = 4_000
_MAPPINGS_PER_GUEST: Final = 7
"""5.6 in the pool and 6 on demand were measured; a guest with several memories has more."""

_log: Final = logging.getLogger(__name__)


def system_mappings() -> int | None:
    """How many memory mappings a process may have; None where nobody says."""
    try:
        return int(_MAX_MAP_COUNT.read_text())
    except (OSError, ValueError):
        return None


def fitted(wanted: EngineConfig, limits: Limits, allocator: Allocator, mappings: int | None) -> EngineConfig:
    """`wanted`, or without a pool where `allocator` leaves that open and there is no room for one.

    `mappings`: as `system_mappings` has it. `DeploymentRefused` when there is no room at all.
    """
    if mappings is not None:
        guests_max = (mappings - _MAPPINGS_OF_THE_REST) // _MAPPINGS_PER_GUEST
        if wanted.pool_instances_max > guests_max:
            problem = (
                f"limits.hot_max ({limits.hot_max}) and limits.start_window ({limits.start_window}) ask for"
                f" {wanted.pool_instances_max} guests in memory at once, but vm.max_map_count of this system"
                f" ({mappings}) has room for {max(0, guests_max)}: lower limits.hot_max, or raise vm.max_map_count"
            )
            raise DeploymentRefused([problem])
    if not wanted.pooling or pool_fits(wanted):
        return wanted
    if allocator is Allocator.POOLING:
        problem = (
            'there is no address space for the pool of guests that wasm.allocator_config = "pooling" asks for: raise'
            ' the limit of this process (ulimit -v), lower limits.hot_max, or choose "on_demand"'
        )
        raise DeploymentRefused([problem])
    _log.warning(
        "there is no address space for a pool of guests, so their memory is reserved on demand, which is slower; it may"
        " be a limit of this process (ulimit -v), or limits.hot_max is very high"
    )
    return msgspec.structs.replace(wanted, pooling=False)
