"""The server's process: what `obelisk server run` does, from the configuration to the last thing freed.

    configuration ─▶ engines, beside the imports ─▶ `serving` ─▶ "Serving gRPC requests at …"      and back, to stop

Decides what a start does at once, and which failures end the process with which words. Most of a start is imports, and they are
work of the interpreter alone; so this module imports what the configuration needs, and the rest once engines are in the making.
"""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from obelisk.config import Config, ConfigError, load
from obelisk.core.batch import StoreFailed
from obelisk.runtime.compiling import make_engines_aside
from obelisk.runtime.refusals import DeploymentRefused
from obelisk.server import logs

if TYPE_CHECKING:
    from obelisk.server.serving import Beside

OPEN_FILES_MAX: Final = 65_536
"""To how many open files the process raises its own limit: each request of an activity that waits has a socket."""

GARBAGE_AFTER: Final = (10_000, 20, 20)
"""Python looks for garbage in cycles after so many objects more, and so many looks at the youngest and at the middle ones. Executions
make hardly any cycles, but many objects at once when there are many of them, and Python's own 700 would look through those again
and again.
"""


class ServerFailed(Exception):
    """The server could not start, or could not go on. The message is for the operator."""


def run(path: Path | None, announce: Callable[[str], None], beside: Beside | None = None) -> None:
    """Runs a server until SIGINT or SIGTERM. `path`: the configuration's file; None: where it is by default.

    `announce` is called with `Serving gRPC requests at HOST:PORT` once requests are answered. `beside` runs on the loop from
    then on; it is cancelled when the server stops, and what it raises stops the server. `ServerFailed`.
    """
    gc.disable()  # until it is ready: nearly all that a start makes stays, and to look through it would take a fifth of the start
    try:
        _run(path, announce, beside)
    finally:
        gc.enable()


def _run(path: Path | None, announce: Callable[[str], None], beside: Beside | None) -> None:
    config = _loaded(path)
    log = logs.configure(config.console)
    _allow_open_files()
    engines = make_engines_aside(config)
    import asyncio

    from obelisk.server import serving

    def ready() -> None:
        gc.freeze()  # nor is it looked through later
        gc.set_threshold(*GARBAGE_AFTER)
        gc.enable()
        log.ready()

    try:
        failure = asyncio.run(serving.serve(config, engines, announce, ready, beside))
    except serving.REFUSALS as error:
        raise ServerFailed(str(error)) from None
    except StoreFailed as error:  # while starting
        raise ServerFailed(_reason(error)) from None
    except OSError as error:
        raise ServerFailed(_refusal(error)) from None
    finally:
        log.finish()
    if failure is not None:
        raise ServerFailed(_reason(failure)) from failure


def verify(path: Path | None, *, variables_may_be_missing: bool = False) -> None:
    """Checks the configuration and its components as far as can be without a port or a database, and fills the cache of
    compiled components. `variables_may_be_missing`: those of the environment that the configuration names. `ServerFailed`.
    """
    config = _loaded(path, variables_may_be_missing=variables_may_be_missing)
    log = logs.configure(config.console)
    engines = make_engines_aside(config)
    from obelisk.runtime.runtime import verify_components

    try:
        verify_components(config, engines)
    except DeploymentRefused as error:
        raise ServerFailed(str(error)) from None
    finally:
        log.finish()


def _loaded(path: Path | None, *, variables_may_be_missing: bool = False) -> Config:
    try:
        return load(path, os.environ, Path.cwd(), variables_may_be_missing=variables_may_be_missing)
    except (ConfigError, OSError) as error:
        raise ServerFailed(str(error)) from None


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
