"""Makes `fixtures/web.py` importable: a server that does what a test says, and a client of ours for it."""

import importlib.util
import sys
from pathlib import Path

_NAME = "obelisk_tests_web"

if _NAME not in sys.modules:
    _spec = importlib.util.spec_from_file_location(_NAME, Path(__file__).resolve().parents[2] / "fixtures" / "web.py")
    assert _spec is not None and _spec.loader is not None
    sys.modules[_NAME] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[_NAME])
