"""The small engine that the doors are tested over, and a real server in front of it."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

_PATH = Path(__file__).resolve().parent.parent / "server" / "small_engine.py"
_NAME = "obelisk_tests_small_engine"

if _NAME not in sys.modules:  # test folders are not packages
    _spec = importlib.util.spec_from_file_location(_NAME, _PATH)
    assert _spec is not None and _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    sys.modules[_NAME] = _module
    _spec.loader.exec_module(_module)


@pytest.fixture(scope="session")
def loop():
    """The one event loop of the process: grpc.aio does not survive a second one."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def serving(loop):
    """Runs `scenario(engine, service, channel)`, with a server on a port of its own and a channel to it."""
    import grpc.aio
    from obelisk_tests_small_engine import SmallEngine

    from obelisk.api.service import Service
    from obelisk.server.grpc import GrpcDoor

    @asynccontextmanager
    async def server():
        engine = SmallEngine()
        service = Service(engine)
        door = GrpcDoor()
        port = door.bind("127.0.0.1", 0)
        await door.serve(service, engine.catalogue)
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield engine, service, channel
        finally:
            service.stop_following()
            await door.stop(0.1)
            service.close()

    def run(scenario, timeout_s=20):
        async def main():
            async with server() as (engine, service, channel):
                return await asyncio.wait_for(scenario(engine, service, channel), timeout_s)

        return loop.run(main())

    return run
