"""What fits into the system, before anything is made."""

from __future__ import annotations

import pytest

from obelisk.config.settings import Allocator
from obelisk.core.policy import Limits
from obelisk.runtime.refusals import DeploymentRefused
from obelisk.runtime.room import fitted, system_mappings
from obelisk.wasm.engine import EngineConfig, pool_fits

SMALL = EngineConfig(pool_instances_max=64, pool_memory_max=16 << 20)
HUGE = EngineConfig(pool_instances_max=64, pool_memory_max=1 << 46)


def test_what_fits_is_left_alone() -> None:
    for allocator in Allocator:
        assert fitted(SMALL, Limits(), allocator, 65_530) is SMALL
        assert fitted(SMALL, Limits(), allocator, None) is SMALL


@pytest.mark.parametrize(("guests", "fits"), [(8_790, True), (8_791, False)])
def test_guests_that_wait_need_mappings(guests: int, fits: bool) -> None:
    wanted = EngineConfig(pooling=False, pool_instances_max=guests)
    if fits:
        assert fitted(wanted, Limits(), Allocator.AUTO, 65_530) is wanted
        return
    with pytest.raises(DeploymentRefused, match=r"limits\.hot_max \(7000\) .* ask for 8791 guests .* room for 8790"):
        fitted(wanted, Limits(hot_max=7_000), Allocator.AUTO, 65_530)


def test_a_system_with_next_to_none() -> None:
    with pytest.raises(DeploymentRefused, match="has room for 0"):
        fitted(SMALL, Limits(), Allocator.AUTO, 100)


def test_a_pool_that_does_not_fit_is_left_out_unless_it_was_asked_for() -> None:
    assert not pool_fits(HUGE)
    assert not fitted(HUGE, Limits(), Allocator.AUTO, None).pooling
    with pytest.raises(DeploymentRefused, match="no address space for the pool"):
        fitted(HUGE, Limits(), Allocator.POOLING, None)


def test_the_default_fits_here() -> None:
    mappings = system_mappings()
    assert mappings is None or mappings > 1_000
    assert pool_fits(EngineConfig())
