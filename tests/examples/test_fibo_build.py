"""The committed components of examples/fibo are what its sources say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from wasmtime import Engine, Store
from wasmtime.component import Component, Linker

ROOT = Path(__file__).parents[2]
FIBO = ROOT / "examples" / "fibo"


def test_building_again_gives_the_committed_bytes(tmp_path):
    subprocess.run([sys.executable, FIBO / "build.py", tmp_path], check=True, capture_output=True, cwd=tmp_path)

    committed = {path.name: path.read_bytes() for path in (FIBO / "components").iterdir()}
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    assert sorted(built) == ["fibo_activity.wasm", "fibo_workflow.wasm"]
    assert built == committed, "run examples/fibo/build.py and commit what it writes"


@pytest.mark.parametrize("file", ["obelisk_types@4.2.0/types.wit", "obelisk_workflow@5.1.0/workflow-support.wit"])
def test_obelisk_packages_are_the_ones_that_it_provides(file):
    assert (FIBO / "wit" / "deps" / file).read_text() == (ROOT / "src/obelisk/wit/packages" / file).read_text()


@pytest.mark.parametrize(("n", "expected"), [(0, 0), (1, 1), (2, 1), (10, 55), (25, 75025)])
def test_fibo_is_what_the_readme_says(fibo_components, n, expected):
    assert f"fibo({n}) = {expected}" in (FIBO / "README.md").read_text()

    engine = Engine()
    store = Store(engine)
    instance = Linker(engine).instantiate(store, Component.from_file(engine, str(fibo_components.activity)))
    interface = instance.get_export_index(store, "template-fibo:activity/fibo-activity-ifc")
    fibo = instance.get_func(store, instance.get_export_index(store, "fibo", interface))
    assert fibo(store, n) == expected
