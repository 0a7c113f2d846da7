"""The small engine that the doors are tested over, and a real server in front of it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import grpc.aio
import pytest

_PATH = Path(__file__).resolve().parent.parent / "server" / "small_engine.py"
_NAME = "obelisk_tests_small_engine"

if _NAME not in sys.modules:  # test folders are not packages
    _spec = importlib.util.spec_from_file_location(_NAME, _PATH)
    assert _spec is not None and _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    sys.modules[_NAME] = _module
    _spec.loader.exec_module(_module)


from obelisk_tests_small_engine import SmallServer, the_loop  # noqa: E402


@pytest.fixture(scope="session")
def loop():
    """The one event loop of the process."""
    return the_loop()


@pytest.fixture
def serving(loop):
    """Runs `scenario(engine, service, channel)`, with a server on a port of its own and a channel to it."""

    def run(scenario):
        async def main():
            server = await SmallServer.open()
            try:
                async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                    return await scenario(server.engine, server.service, channel)
            finally:
                await server.close()

        return loop.run(main())

    return run
