"""`make tutorials`: the tutorials that need package registries, carried out from an empty folder as they are written.

    python tests/tutorials/run.py [NAME]...

Each one runs in a folder of its own, with a home for compiled code of its own, on a port of its own; what its commands print
is compared with what the page shows. In the same folder, with what the tutorial has installed, the other templates are then
built and tested, and so are the acceptance tests that need these tools. Nothing is skipped: a tutorial whose tools are missing
fails, and says so.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("python", "javascript", "rust", "c")
TEMPLATES = ("fibo-activity", "fibo-workflow", "http-activity")
"""Those that no tutorial makes."""
PREPARE = {"javascript": "npm install --no-fund --no-audit", "rust": 'export CARGO_TARGET_DIR="$PWD/../target"'}
"""What a project needs before it is built."""
TEST = {"python": "pytest -q", "javascript": "npm test", "rust": "cargo test", "c": "sh test.sh"}
ACCEPTANCE = {"python": "tests/acceptance/test_python_*.py"}
"""Tests that are skipped where a language's tools are not on PATH."""
TIMEOUT_S = 1_800.0


def _tutorials() -> Any:
    """fixtures/tutorials.py: test folders are not packages."""
    spec = importlib.util.spec_from_file_location("tutorials", ROOT / "tests" / "fixtures" / "tutorials.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tutorials"] = module
    spec.loader.exec_module(module)
    return module


def carried_out(name: str) -> bool:
    """Carries one tutorial out; says how it went."""
    tutorials = _tutorials()
    page = tutorials.TUTORIALS / f"{name}.md"
    address = f"127.0.0.1:{tutorials.free_port()}"
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"obelisk-{name}-") as made:
        folder, cache = Path(made) / "empty", Path(made) / "cache"
        folder.mkdir()
        environ = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "VIRTUAL_ENV"}}
        environ |= {
            "OBELISK_REPO": str(ROOT),
            "OBELISK_API_URL": f"http://{address}",
            "OBELISK__API__LISTENING_ADDR": address,
            "OBELISK__CODEGEN_CACHE__DIRECTORY": str(cache),
            "COLUMNS": "120",
        }
        code, output = tutorials.run(tutorials.script(page), folder, environ, TIMEOUT_S)
        print(output)
        wrong = [f"not printed: {line}" for line in tutorials.missing(page, output)]
        if code:
            wrong.insert(0, f"a command ended with exit code {code}")
        else:
            code, output = tutorials.run(templates(name), folder, environ, TIMEOUT_S)
            print(output)
            if code:
                wrong.append(f"the other templates ended with exit code {code}")
            if name in ACCEPTANCE:
                code, output = tutorials.run(acceptance(name), folder, environ, TIMEOUT_S)
                print(output)
                if code:
                    wrong.append(f"the acceptance tests ended with exit code {code}")
    print(
        f"{page.name}: {'; '.join(wrong) if wrong else 'as it is written'}, {time.monotonic() - begun:.0f} s",
        flush=True,
    )
    return not wrong


def templates(name: str) -> str:
    """What makes, builds and tests the other templates of a language."""
    lines = ["set -e", ". .venv/bin/activate"]
    for template in TEMPLATES:
        lines += [
            f"obelisk new {template} {template} --language {name}",
            f"cd {template}",
            PREPARE.get(name, ":"),
            "obelisk build",
            "obelisk server verify",
            TEST[name],
            "cd ..",
        ]
    return "\n".join(lines)


def acceptance(name: str) -> str:
    """What runs the acceptance tests of a language, with this Python and the tools of the tutorial."""
    lines = ["set -e", ". .venv/bin/activate", 'cd "$OBELISK_REPO"']
    tests = f"{ACCEPTANCE[name]} -p no:cacheprovider"
    return "\n".join([*lines, f"PYTHONPATH=src {sys.executable} -m pytest -q -n0 -m acceptance {tests}"])


def main() -> None:
    """All of them, or those that are named."""
    names = sys.argv[1:] or list(NAMES)
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        sys.exit(f"there is no tutorial {', '.join(unknown)}; there are {', '.join(NAMES)}")
    results = [carried_out(name) for name in names]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
