"""The engines and the loader that a configuration asks for, and how engines are made while a process still starts.

Decides which settings become which engine. Imports little: a pool has thousands of stacks, each guarded by a system call, which
takes as long as a tenth of all that a server imports; so a server has its engines made on a thread of their own as soon as it
knows its configuration, and imports the rest meanwhile. The thread is in the system and in wasmtime nearly all the time, without
the interpreter's lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from obelisk.config.settings import Allocator, Config
from obelisk.runtime import room
from obelisk.runtime.lane import BEGUN_MAX
from obelisk.wasm.engine import EngineConfig, Engines, ask_for_details

_POOL_MEMORY_MAX: Final = 256 << 20
_MEMORY_MAX: Final = 4 << 30
"""All that 32-bit WebAssembly can address: what `unlimited` means."""


def make_engines(config: Config) -> Engines:
    """The engines of a process. `DeploymentRefused` when there is no room for them."""
    allocator = config.wasm.allocator_config
    return Engines(room.fitted(_engine_config(config), config.limits, allocator, room.system_mappings()))


def make_engines_aside(config: Config) -> Callable[[], Engines]:
    """Begins to make them on another thread. The result waits for them, and raises as `make_engines` does."""
    ask_for_details()  # here, while this is the only thread: the environment is not to be read and written at once
    made: Future[Engines] = Future()

    def make() -> None:
        try:
            made.set_result(make_engines(config))
        except BaseException as error:  # noqa: BLE001 - it is raised where the engines are wanted
            made.set_exception(error)

    threading.Thread(target=make, name="obelisk-engines", daemon=True).start()
    return made.result


def _engine_config(config: Config) -> EngineConfig:
    limits = config.limits
    return EngineConfig(
        pooling=config.wasm.allocator_config is not Allocator.ON_DEMAND,
        pool_instances_max=limits.hot_max + max(limits.start_window, limits.start_window_shared) + 2 * BEGUN_MAX,
        pool_memory_max=_POOL_MEMORY_MAX,
        memory_max=_MEMORY_MAX,
        fuel=config.wasm.fuel,
        parallel_compilation=config.wasm.parallel_compilation,
    )
