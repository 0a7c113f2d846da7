"""A real server over the small engine, and the command line against it."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from contextlib import aclosing
from pathlib import Path

import pytest
from click.testing import CliRunner

_PATH = Path(__file__).resolve().parent.parent / "server" / "small_engine.py"
_NAME = "obelisk_tests_small_engine"

if _NAME not in sys.modules:  # test folders are not packages
    _spec = importlib.util.spec_from_file_location(_NAME, _PATH)
    assert _spec is not None and _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    sys.modules[_NAME] = _module
    _spec.loader.exec_module(_module)


from obelisk_tests_small_engine import SmallServer, the_loop  # noqa: E402

from obelisk.api.following import Following  # noqa: E402
from obelisk.cli.main import cli  # noqa: E402


@pytest.fixture
def server():
    """A server, with `.engine`, `.port` and `.url`."""
    opened = the_loop().run(SmallServer.open())
    opened.url = f"http://127.0.0.1:{opened.port}"
    yield opened
    the_loop().run(opened.close())
    assert opened.engine.script_errors == []


@pytest.fixture
def told(monkeypatch):
    """A coroutine function: waits until followers of executions have been told of so many states in all."""
    states = []
    follow = Following.follow

    async def noted(self, *args, **kwargs):
        async with aclosing(follow(self, *args, **kwargs)) as shown:
            async for each in shown:
                states.append(each)
                yield each

    monkeypatch.setattr(Following, "follow", noted)

    async def until(count):
        while len(states) < count:
            await asyncio.sleep(0.001)

    return until


@pytest.fixture
def obelisk(server, monkeypatch):
    """`obelisk("component", "list")` runs a command against the server; the result has output, stderr, exit_code."""
    monkeypatch.setenv("OBELISK_API_URL", server.url)

    def run(*args, **kwargs):
        result = CliRunner().invoke(cli, args, prog_name="obelisk", **kwargs)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run
