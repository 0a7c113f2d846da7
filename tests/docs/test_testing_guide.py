"""The guide on testing: its Python is one test file, which is run as it is written; its command runs too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "guides" / "testing.md").read_text()
CONFTEST = """
import pytest

@pytest.fixture
def fibo():
    return {path!r}
"""


def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "XDG_CACHE_HOME": str(tmp_path / "cache")}


def test_the_python_of_the_guide_passes(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    (tmp_path / "test_orders.py").write_text("\n\n".join(blocks))
    (tmp_path / "conftest.py").write_text(CONFTEST.format(path=str(ROOT / "examples" / "fibo" / "obelisk.toml")))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_orders.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout
    assert f"{''.join(blocks).count('def test_')} passed" in done.stdout


def test_the_command_of_the_guide_runs(tmp_path: Path) -> None:
    command = re.search(r"^```sh\nobelisk (simulate --config .*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    assert command is not None
    shell = f"exec {sys.executable} -m obelisk {command[1]}"
    done = subprocess.run(
        ["bash", "-c", shell],
        cwd=ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done
    shown = re.search(r"^```text\n(.*?)(?:,| …)", GUIDE[command.end() :], re.MULTILINE | re.DOTALL)
    assert shown is not None and done.stdout.startswith(shown[1])
