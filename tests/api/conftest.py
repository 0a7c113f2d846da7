"""The use cases over the small engine that the doors are tested over."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
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


from obelisk_tests_small_engine import SmallEngine  # noqa: E402

from obelisk.api.service import Service  # noqa: E402


@pytest.fixture
def run():
    """Runs an async function of (engine, service)."""

    def go(scenario):
        async def main():
            engine = SmallEngine()
            service = Service(engine)
            try:
                return await asyncio.wait_for(scenario(engine, service), 60)
            finally:
                service.close()

        return asyncio.run(main())

    return go
