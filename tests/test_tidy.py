"""Properties of the sources that no other tool looks at."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
THIS = Path(__file__).resolve()

BANNED_MODULES = {"util", "utils", "helper", "helpers", "common", "manager", "misc"}

# The one place where the machine's clock may be read; everything else is given the time.
CLOCKS = {
    "src/obelisk/runtime/clock.py",
    "src/obelisk/wasm/wasi/activity.py",  # gives an activity's guest the time, and decides nothing by it
}

SIZE_MAX = 200_000

# Hosts of package registries: where packages come from is the environment's business.
REGISTRY_HOSTS = (
    "pypi.org",
    "pythonhosted.org",
    "crates.io",
    "npmjs.org",
    "npmjs.com",
    "proxy.golang.org",
    "deb.debian.org",
)
# Paths of somebody's machine.
MACHINE_PATHS = tuple(f"/{folder}/" for folder in ("work", "root", "home"))

SKIPPED_FOLDERS = {".git", ".venv", "_build", "__pycache__", "dist", "node_modules", "target"}
BINARY = {".wasm", ".png", ".ico", ".woff2"}


def walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if path.name not in SKIPPED_FOLDERS and not path.name.endswith("_cache") and path.name != ".hypothesis":
                yield from walk(path)
        elif path.is_file() and path.name != ".git":  # a file in a worktree
            yield path


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


SOURCES = [path for path in walk(ROOT / "src") if path.suffix == ".py" and "_pb2" not in path.name]
TEXTS = [path for path in walk(ROOT) if path.suffix not in BINARY and path.resolve() != THIS]


def lines_with(path: Path, pattern: re.Pattern[str]) -> list[str]:
    text = path.read_text(encoding="utf-8", errors="replace")
    return [
        f"{name_of(path)}:{number}: {line.strip()}"
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def calls_in(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each call."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


def test_there_are_sources_to_look_at():
    assert len(SOURCES) > 10


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_module_says_what_it_is(path: Path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, f"{name_of(path)} has no docstring: say what it decides and what it must not do"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_modules_are_named_after_their_idea(path: Path):
    assert path.stem.strip("_") not in BANNED_MODULES
    assert not BANNED_MODULES & set(path.parent.parts)


def test_only_the_cli_prints():
    allowed = (
        "src/obelisk/cli/",
        "src/obelisk/testing/",
        "src/obelisk/authoring/templates/",
    )  # in a guest it is a log line
    found = [
        f"{name_of(path)}:{line}"
        for path in SOURCES
        if not name_of(path).startswith(allowed)
        for line, name in calls_in(path)
        if name == "print"
    ]
    assert found == []


def test_only_the_clock_reads_the_wall_clock():
    banned = {
        "time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today",
        "datetime.datetime.now", "datetime.datetime.utcnow", "date.today", "datetime.date.today",
    }  # fmt: skip
    found = [
        f"{name_of(path)}:{line}: {name}"
        for path in SOURCES
        if name_of(path) not in CLOCKS
        for line, name in calls_in(path)
        if name in banned
    ]
    assert found == []


def test_no_source_file_is_huge():
    written = [path for path in walk(ROOT / "src") if "_pb2" not in path.name]  # the rest is generated
    assert [name_of(path) for path in written if path.stat().st_size > SIZE_MAX] == []


def test_no_tabs():
    texts = [path for path in TEXTS if path.suffix in {".py", ".toml", ".md", ".sql", ".proto", ".wit", ".wat"}]
    assert [line for path in texts for line in lines_with(path, re.compile(r"\t"))] == []


def test_nothing_names_a_package_registry():
    pattern = re.compile("|".join(re.escape(host) for host in REGISTRY_HOSTS))
    assert [line for path in TEXTS for line in lines_with(path, pattern)] == []


def test_nothing_names_a_path_of_some_machine():
    pattern = re.compile("|".join(rf"(?<![\w.}}~-]){re.escape(path)}" for path in MACHINE_PATHS))
    assert [line for path in TEXTS for line in lines_with(path, pattern)] == []


def test_every_sql_file_says_what_it_is():
    sql = [path for path in walk(ROOT / "src") if path.suffix == ".sql"]
    assert [name_of(path) for path in sql if not path.read_text(encoding="utf-8").startswith("-- ")] == []


def test_there_is_nothing_left_to_do_in_the_sources():
    pattern = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    assert [line for path in SOURCES for line in lines_with(path, pattern)] == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_typed_decoders_are_made_on_import(path):
    """msgspec crashes the process when two threads are the first to use a struct type; a `Decoder` at module level is
    made under the import lock. Plain types (`int`, `str`, `list[int]`) have no such moment.
    """
    assert not lines_with(path, re.compile(r"\b(?:decode|convert)\(.*\btype=(?!int\b|str\b|list\[int\])"))
