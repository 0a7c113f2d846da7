"""The server's process: what `obelisk server run` does, from the configuration to the last thing freed.

    configuration ─▶ port ─▶ runtime ─▶ doors ─▶ "Serving gRPC requests at …"      and back, to stop

Decides the order of starting and stopping, and which failures end the process. The port comes first: a server that
cannot have it must not touch the database.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from obelisk.api.service import Service
from obelisk.config import Config, ConfigError, load
from obelisk.config.settings import Address
from obelisk.core.batch import StoreFailed
from obelisk.runtime.components import DeploymentRefused
from obelisk.runtime.runtime import Failure, Runtime, start, verify_components
from obelisk.server import logs
from obelisk.server.grpc import GrpcDoor, PortUnavailable
from obelisk.store.sqlite import StoreUnusable

GRACE_S: Final = 2.0
"""How long open calls may go on when the server stops."""
OPEN_FILES_MAX: Final = 65_536
"""To how many open files the process raises its own limit: each request of an activity that waits has a socket."""
_STOPS: Final = (signal.SIGINT, signal.SIGTERM)

_log: Final = logging.getLogger(__name__)


class ServerFailed(Exception):
    """The server could not start, or could not go on. The message is for the operator."""


Beside = Callable[[Service], Coroutine[Any, Any, None]]
"""Something that goes on while a server serves."""


def run(path: Path | None, announce: Callable[[str], None], beside: Beside | None = None) -> None:
    """Runs a server until SIGINT or SIGTERM. `path`: the configuration's file; None: where it is by default.

    `announce` is called with `Serving gRPC requests at HOST:PORT` once requests are answered. `beside` runs on the loop from
    then on; it is cancelled when the server stops, and what it raises stops the server. `ServerFailed`.
    """
    config = _loaded(path)
    log = logs.configure(config.console)
    _allow_open_files()
    try:
        asyncio.run(_serve(config, log, announce, beside))
    except (PortUnavailable, DeploymentRefused, StoreUnusable) as error:
        raise ServerFailed(str(error)) from None
    except StoreFailed as error:  # while starting
        raise ServerFailed(_reason(error)) from None
    except OSError as error:
        raise ServerFailed(_refusal(error)) from None
    finally:
        log.finish()


def verify(path: Path | None, *, variables_may_be_missing: bool = False) -> None:
    """Checks the configuration and its components as far as can be without a port or a database, and fills the cache of
    compiled components. `variables_may_be_missing`: those of the environment that the configuration names. `ServerFailed`.
    """
    config = _loaded(path, variables_may_be_missing=variables_may_be_missing)
    log = logs.configure(config.console)
    try:
        verify_components(config)
    except DeploymentRefused as error:
        raise ServerFailed(str(error)) from None
    finally:
        log.finish()


def _loaded(path: Path | None, *, variables_may_be_missing: bool = False) -> Config:
    try:
        return load(path, os.environ, Path.cwd(), variables_may_be_missing=variables_may_be_missing)
    except (ConfigError, OSError) as error:
        raise ServerFailed(str(error)) from None


async def _serve(config: Config, log: logs.ConsoleLog, announce: Callable[[str], None], beside: Beside | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _STOPS:
        loop.add_signal_handler(number, _stop, loop, stop)
    wanted = config.api.listening_addr
    door = GrpcDoor()
    port = door.bind(wanted.host, wanted.port)
    failure = Failure()
    runtime = start(config, failure)
    try:
        service = Service(runtime)
        await door.serve(service, runtime.catalogue)
        try:
            announce(f"Serving gRPC requests at {Address(wanted.host, port)}")
        except OSError as error:  # whoever started the server listens no more; its clients do not care
            _log.warning(
                "serving gRPC requests at %s, which could not be announced: %s", Address(wanted.host, port), error
            )
        log.ready()
        async with _going_on(beside, service, failure):
            reason = await _until(stop, failure)
        await _close(door, service, runtime, GRACE_S if reason is None else 0.0)
    finally:
        runtime.refuse_new_work()
        runtime.stop()
    if reason is not None:
        raise ServerFailed(_reason(reason)) from reason
    _log.info("stopped")


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


def _refusal(error: OSError) -> str:
    """The system's refusal for the operator."""
    if error.filename is None:
        return str(error)
    happened = "is there, but is no folder" if isinstance(error, FileExistsError) else error.strerror or str(error)
    return (
        f"{error.filename}: {happened[0].lower()}{happened[1:]}; the server needs a folder that it can write, which"
        " sqlite.directory names"
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, StoreFailed):
        return f"the database cannot be written any more: {error}. Nothing that was acknowledged is lost: put it right, then start again"
    return f"the engine failed, which is a bug of Obelisk: {type(error).__name__}: {error}. Nothing that was acknowledged is lost"


def _allow_open_files() -> None:
    """Raises the soft limit as far as the system lets an ordinary process do so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
