"""Serving: the port, the runtime and the doors of a process, in their order, and back.

    port ─▶ runtime ─▶ doors ─▶ "Serving gRPC requests at …"      and back, to stop

Decides the order of starting and stopping. The port comes first: a server that cannot have it must not touch the database.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from obelisk.api.service import Service
from obelisk.config.settings import Address, Config
from obelisk.runtime.refusals import DeploymentRefused
from obelisk.runtime.runtime import Failure, Runtime, start
from obelisk.server.grpc import GrpcDoor, PortUnavailable
from obelisk.store.sqlite import StoreUnusable
from obelisk.wasm.engine import Engines

GRACE_S: Final = 2.0
"""How long open calls may go on when the server stops."""
REFUSALS: Final = (PortUnavailable, DeploymentRefused, StoreUnusable)
_STOPS: Final = (signal.SIGINT, signal.SIGTERM)

_log: Final = logging.getLogger(__name__)

Beside = Callable[[Service], Coroutine[Any, Any, None]]
"""Something that goes on while a server serves."""


async def serve(
    config: Config,
    engines: Callable[[], Engines],
    announce: Callable[[str], None],
    ready: Callable[[], None],
    beside: Beside | None,
) -> BaseException | None:
    """Serves until SIGINT or SIGTERM, or until it cannot go on: then why. What keeps it from starting is raised: one of
    `REFUSALS`, whose text is for the operator, `StoreFailed` or `OSError`.

    `engines`: of `make_engines_aside`. `announce` gets the line; `ready` is called after it.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _STOPS:
        loop.add_signal_handler(number, _stop, loop, stop)
    wanted = config.api.listening_addr
    door = GrpcDoor()
    port = door.bind(wanted.host, wanted.port)
    failure = Failure()
    runtime = start(config, failure, engines)
    try:
        service = Service(runtime)
        await door.serve(service, runtime.catalogue)
        try:
            announce(f"Serving gRPC requests at {Address(wanted.host, port)}")
        except OSError as error:  # whoever started the server listens no more; its clients do not care
            _log.warning(
                "serving gRPC requests at %s, which could not be announced: %s", Address(wanted.host, port), error
            )
        ready()
        async with _going_on(beside, service, failure):
            reason = await _until(stop, failure)
        await _close(door, service, runtime, GRACE_S if reason is None else 0.0)
    finally:
        runtime.refuse_new_work()
        runtime.stop()
    if reason is None:
        _log.info("stopped")
    return reason


@asynccontextmanager
async def _going_on(beside: Beside | None, service: Service, failure: Failure) -> AsyncIterator[None]:
    """Runs `beside` meanwhile."""
    if beside is None:
        yield
        return

    async def go_on() -> None:
        try:
            await beside(service)
        except Exception as error:  # noqa: BLE001 - whatever it is, the server must not go on as if it were there
            _log.exception("what runs beside the server failed")
            failure.report(error)

    task = asyncio.ensure_future(go_on())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _stop(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Stops the server. It is stopping then, and another signal changes nothing: not even after the loop has gone, when the
    default would be to die of it, with the last lines of the log.
    """
    for number in _STOPS:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
    stop.set()


async def _until(stop: asyncio.Event, failure: Failure) -> BaseException | None:
    """Waits for a signal, or for what the runtime cannot survive."""
    stopping = asyncio.ensure_future(stop.wait())
    failing = asyncio.ensure_future(failure.wait())
    await asyncio.wait((stopping, failing), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if failing.done():
        return failing.result()
    failing.cancel()
    with suppress(asyncio.CancelledError):
        await failing
    _log.info("stopping")
    return None


async def _close(door: GrpcDoor, service: Service, runtime: Runtime, grace_s: float) -> None:
    """Streams end, new work is refused, what is under way may finish; then the door is shut."""
    runtime.refuse_new_work()
    await door.stop(grace_s)
    service.close()
