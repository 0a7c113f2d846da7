"""wasmtime engines: how guests are compiled, and where their memory comes from.

Decides the settings that determinism rests on (canonical NaNs, deterministic relaxed SIMD, epoch interruption, optional
fuel) and which of two engines a component gets: the *pool*, whose instances take 30 µs because their memory is reserved
ahead, or the *on-demand* engine for guests that do not fit the pool's slots. Must not know what a component is for.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec
import wasmtime
from wasmtime import _bindings, _ffi

from obelisk.wasm import capi

_WASM_PAGE: Final = 64 << 10
_STACK_BYTES: Final = 2 << 20
_TABLE_BYTES: Final = 20_000 * 8
_TABLES_PER_INSTANCE: Final = 4
_MAP_NORESERVE: Final = 0x4000
_POOL_CODE_MAX: Final = 1 << 20
_DETAILS: Final = "WASMTIME_BACKTRACE_DETAILS"


class Placement(StrEnum):
    """Where the instances of a component live."""

    POOL = "pool"
    ON_DEMAND = "on_demand"


class EngineConfig(msgspec.Struct, frozen=True):
    """What an operator may decide about engines. Sizes in bytes."""

    pooling: bool = True
    """Whether small guests share a pool; without it every guest is on demand."""
    pool_instances_max: int = 5_000
    """Instances that may exist in the pool at once. More than the hot cap plus the attempts that may run."""
    pool_memory_max: int = 64 << 20
    """The largest linear memory in the pool. Address space is reserved for it at each slot."""
    pool_memories_per_instance: int = 2
    memory_max: int = 1 << 30
    """The largest linear memory of a guest on demand."""
    fuel: int | None = None
    """Instructions that one run of a guest may execute; None is unlimited, and faster."""
    parallel_compilation: bool = True


@dataclass(frozen=True, slots=True)
class Compiler:
    """One wasmtime engine. `key` names everything that compiled code depends on: code made under one key is never
    loaded under another.
    """

    placement: Placement
    native: wasmtime.Engine
    key: str
    memory_max: int
    fuel: int | None

    @property
    def native_address(self) -> int:
        """The engine's pointer."""
        return capi.address_of(self.native.ptr())


class Engines:
    """The engines of a process. Make one; it lives as long as the process, and is safe to use from every thread.

    They are made with `ask_for_details`.
    """

    def __init__(self, config: EngineConfig | None = None) -> None:
        ask_for_details()
        self.config = config if config is not None else EngineConfig()
        self.on_demand = _compiler(self.config, Placement.ON_DEMAND)
        self.pool = _compiler(self.config, Placement.POOL) if self.config.pooling else None
        self._natives = tuple(each.native for each in (self.pool, self.on_demand) if each is not None)

    def place(self, memories: tuple[int, ...], code_size: int, memory_max: int | None = None) -> Compiler:
        """The engine for a component with linear memories of these initial sizes and that much code, whose memories may
        grow to `memory_max` (all in bytes).

        A language runtime is large from the start, grows further, and takes milliseconds to instantiate anyway: it gains
        nothing from the pool.
        """
        pool = self.pool
        if (
            pool is None
            or len(memories) > self.config.pool_memories_per_instance
            or any(size > pool.memory_max // 2 for size in memories)
            or code_size > _POOL_CODE_MAX
            or (memory_max is not None and memory_max > pool.memory_max)
        ):
            return self.on_demand
        return pool

    def increment_epoch(self) -> None:
        """Makes every running guest yield; safe at any time, from any thread."""
        for native in self._natives:
            native.increment_epoch()


def ask_for_details() -> None:
    """Sets `WASMTIME_BACKTRACE_DETAILS=1`, which wasmtime reads when an engine is made: with it a trap's text names the function,
    file and line of a guest that has debug information.
    """
    if os.environ.get(_DETAILS) != "1":
        os.environ[_DETAILS] = "1"


def _compiler(config: EngineConfig, placement: Placement) -> Compiler:
    settings = wasmtime.Config()
    settings.epoch_interruption = True
    settings.consume_fuel = config.fuel is not None
    settings.cranelift_nan_canonicalization = True
    settings.wasm_relaxed_simd_deterministic = True
    settings.wasm_threads = False
    settings.parallel_compilation = config.parallel_compilation
    raw = settings.ptr()
    # No async functions in components yet; without them a call costs a tenth less.
    _bindings.wasmtime_config_concurrency_support_set(raw, False)
    pooled = placement is Placement.POOL
    memory_max = config.pool_memory_max if pooled else config.memory_max
    if pooled:
        # Without this each slot reserves 4 GiB of address space; with it, code checks bounds.
        _bindings.wasmtime_config_memory_reservation_set(raw, memory_max)
        _bindings.wasmtime_config_memory_guard_size_set(raw, _WASM_PAGE)
        _bindings.wasmtime_config_memory_reservation_for_growth_set(raw, 0)
        _pool(raw, config)
    key = [
        _library(),
        placement,
        "fuel" if config.fuel is not None else "no fuel",
        str(memory_max) if pooled else "",
    ]
    return Compiler(
        placement=placement,
        native=wasmtime.Engine(settings),
        key=f"{placement}-{hashlib.sha256('|'.join(key).encode()).hexdigest()[:16]}",
        memory_max=memory_max,
        fuel=config.fuel,
    )


def _library() -> str:
    """Which wasmtime this is, as its file says. The version that is installed would do, but asking for it takes as long as the two
    engines, nearly all of it for imports.
    """
    found = os.stat(_ffi.filename)
    return f"{found.st_size} {found.st_mtime_ns}"


def _pool(settings: object, config: EngineConfig) -> None:
    instances = config.pool_instances_max
    limits = {
        "total_component_instances": instances,
        "total_core_instances": 4 * instances,
        "total_memories": config.pool_memories_per_instance * instances,
        "total_tables": _TABLES_PER_INSTANCE * instances,
        "total_stacks": instances,
        "max_memories_per_component": config.pool_memories_per_instance,
        "max_tables_per_component": 16,
        "max_core_instances_per_component": 32,
        "max_memory_size": config.pool_memory_max,
        # The part of a stack that a slot keeps for its next guest. Memories keep nothing: resetting pages that a guest
        # never touched makes closing it ten times slower.
        "async_stack_keep_resident": 8 << 10,
        "max_unused_warm_slots": 256,
    }
    pool = _bindings.wasmtime_pooling_allocation_config_new()
    for name, value in limits.items():
        getattr(_bindings, f"wasmtime_pooling_allocation_config_{name}_set")(pool, value)
    _bindings.wasmtime_pooling_allocation_strategy_set(settings, pool)
    _bindings.wasmtime_pooling_allocation_config_delete(pool)


def pool_fits(config: EngineConfig) -> bool:
    """Whether this process can have the address space of a pool; when it cannot, making the engine ends the process."""
    each = (
        config.pool_memories_per_instance * (config.pool_memory_max + _WASM_PAGE)
        + _TABLES_PER_INSTANCE * _TABLE_BYTES
        + _STACK_BYTES
    )
    reserved = config.pool_instances_max * each
    try:
        mmap.mmap(-1, reserved, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE, prot=0).close()
    except (OSError, OverflowError):
        return False
    return True
