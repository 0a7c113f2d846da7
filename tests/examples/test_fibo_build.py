"""The committed components of examples/fibo are what its sources say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FIBO = Path(__file__).parents[2] / "examples" / "fibo"


def test_building_again_gives_the_committed_bytes(tmp_path):
    subprocess.run([sys.executable, FIBO / "build.py", tmp_path], check=True, capture_output=True, cwd=tmp_path)

    committed = {path.name: path.read_bytes() for path in (FIBO / "components").iterdir()}
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    assert sorted(built) == ["fibo_activity.wasm", "fibo_workflow.wasm"]
    assert built == committed, "run examples/fibo/build.py and commit what it writes"
