"""Folders with manifests, and tools that only pretend."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from obelisk.authoring import Toolbox

MANIFEST = """
language = "python"
source = "app.py"
world = "activity"
output = "app.wasm"
"""
WIT = """
package any:any;
world activity { export demo:demo/things; }
"""
DEMO = """
package demo:demo;
interface things { count: func(of: string) -> result<u64>; }
"""


@pytest.fixture
def component(tmp_path: Path) -> Callable[..., Path]:
    """A function: writes a folder that can be built, and gives its manifest. What is given replaces the usual text."""

    def make(folder="component", *, manifest=MANIFEST, wit=WIT, demo=DEMO, source="app.py"):
        path = tmp_path / folder
        (path / "wit" / "deps" / "demo").mkdir(parents=True)
        (path / "component.toml").write_text(manifest)
        (path / source).write_text("")
        (path / "wit" / "impl.wit").write_text(wit)
        (path / "wit" / "deps" / "demo" / "demo.wit").write_text(demo)
        return path / "component.toml"

    return make


class FakeTool:
    """A command that notes how it was called, prints something, and copies a component to where `--output` says, or
    writes a folder after `bindings` as componentize-py does."""

    def __init__(self, path: Path, gives: Path | None, says: str, code: int) -> None:
        self.path = path
        self._called = path.with_name(f"{path.name}.called")
        self._environ = path.with_name(f"{path.name}.environ")
        copy = f'cp {gives} "$output"' if gives else ""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"""#!/bin/sh
printf '%s\\n' "$PWD" "$@" >{self._called}
export -p >{self._environ}
while [ $# -gt 0 ]; do
  [ "$1" = --output ] || [ "$1" = --out ] && output=$2
  [ "$1" = bindings ] && mkdir "$2" "$2/wit_world" && echo "" >"$2/wit_world/__init__.py"
  shift
done
cat <<'END'
{says}
END
{copy}
exit {code}
"""
        )
        path.chmod(0o755)

    @property
    def called(self) -> list[str]:
        """The folder that it was called in, and its arguments; empty before."""
        return self._called.read_text().splitlines() if self._called.exists() else []

    @property
    def environ(self) -> str:
        """The variables that it was given, as a shell writes them."""
        return self._environ.read_text()


@pytest.fixture
def tool(tmp_path: Path) -> Callable[..., FakeTool]:
    """A function: puts a tool on the PATH of `toolbox`, or into another folder."""

    def make(name, *, folder=None, gives=None, says="", code=0):
        return FakeTool((folder or tmp_path / "bin") / name, gives, says, code)

    return make


@pytest.fixture
def toolbox(tmp_path: Path) -> Toolbox:
    """Tools of `tmp_path`, and what a shell needs; nothing that is installed on this machine for languages."""
    (tmp_path / "system").mkdir()
    for name in ("cp", "cat", "mkdir", "sh"):
        (tmp_path / "system" / name).symlink_to(
            next(p for p in (f"/bin/{name}", f"/usr/bin/{name}") if os.path.exists(p))
        )
    return Toolbox({"PATH": f"{tmp_path}/bin:{tmp_path}/system"}, tmp_path / "beside")
