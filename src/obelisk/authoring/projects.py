"""New projects out of templates.

Decides which templates there are, which files a project is made of, and that it goes into a folder of its own. The files are
data, in `templates/`: `TEMPLATE/` for all languages, `LANGUAGE/TEMPLATE/` beside them, `LANGUAGE/tests-of-workflow/` where there
is a workflow, `LANGUAGE/COMPONENT/` for each component, `worlds/` and `wit/` for the WIT. Builds nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Final

from obelisk.authoring.languages import BUILDERS
from obelisk.authoring.manifest import FILE_NAME, Language
from obelisk.core.ports import FunctionKind
from obelisk.runtime.packages import FIRST_LINE, extensions, support

_DATA: Final = Path(__file__).parent / "templates"
_HERE: Final = PurePosixPath()


@dataclass(frozen=True)
class _Component:
    """What a component of a template is. Its world is called after its kind."""

    kind: FunctionKind
    exported: str
    """The package that it exports."""
    imported: tuple[str, ...] = ()
    """The packages of activities that it calls."""
    wasi: bool = False
    """Whether its world imports interfaces of WASI."""


_COMPONENTS: Final = {
    "activity": _Component(FunctionKind.ACTIVITY, "template-fibo_activity"),
    "workflow": _Component(FunctionKind.WORKFLOW, "template-fibo_workflow", ("template-fibo_activity",)),
    "http": _Component(FunctionKind.ACTIVITY, "template-http_activity", wasi=True),
}
"""By the folder of their files in the templates."""


@dataclass(frozen=True)
class Template:
    """A kind of project. `components`: the folder of each one's files in the templates, and its folder in the project;
    `subject`: what its test is called after.
    """

    name: str
    summary: str
    components: tuple[tuple[str, str], ...]
    subject: str = "fibo"


TEMPLATES: Final = {
    template.name: template
    for template in (
        Template(
            "fibo", "a workflow and the activity that it calls", (("activity", "activity"), ("workflow", "workflow"))
        ),
        Template("fibo-activity", "an activity", (("activity", "."),)),
        Template("fibo-workflow", "a workflow; its activity is there, built", (("workflow", "."),)),
        Template("http-activity", "an activity that sends HTTP requests", (("http", "."),), subject="http"),
    )
}


class NotEmpty(Exception):
    """The folder of a new project has something in it already, or is no folder."""


def project_files(template: Template, language: Language) -> dict[PurePosixPath, bytes]:
    """Every file of a new project."""
    found: dict[PurePosixPath, bytes] = {}
    parts = [_DATA / "all", _DATA / template.name, _DATA / language / template.name]
    if any(_COMPONENTS[component].kind is FunctionKind.WORKFLOW for component, _ in template.components):
        parts.append(_DATA / language / "tests-of-workflow")
    for part in parts:
        if part.is_dir():  # a language may have nothing of its own for a template
            found.update(_tree(part))
    for component, folder in template.components:
        at = PurePosixPath(folder)
        found.update((at / path, content) for path, content in _tree(_DATA / language / component))
        found.update((at / "wit" / path, text.encode()) for path, text in _wit(component))
    filled = _blanks(template, language, found)
    return {path: _filled(content, filled) for path, content in sorted(found.items())}


def create_project(template: Template, language: Language, folder: Path) -> list[Path]:
    """Writes a new project; the paths of its files, relative to `folder`. `NotEmpty`; `OSError` when it cannot be written."""
    if folder.exists() and not folder.is_dir():
        raise NotEmpty(f"{folder} is a file; a new project needs a folder of its own")
    if folder.is_dir() and (inside := sorted(path.name for path in folder.iterdir())):
        raise NotEmpty(f"{folder} is not empty (it has {inside[0]}); a new project needs a folder of its own")
    made = project_files(template, language)
    for path, content in made.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return [Path(path) for path in made]


@cache
def _wit(component: str) -> tuple[tuple[PurePosixPath, str], ...]:
    """The folder of WIT of a component: its world, what it exports and imports, and what is generated from both, as
    `obelisk generate wit-support`, `wit-deps` and `wit-extensions` would write it.
    """
    described = _COMPONENTS[component]
    kind, exported = described.kind, described.exported
    deps: dict[str, Mapping[str, str]] = {exported: _written(exported), **support(kind, wasi=described.wasi)}
    for package in described.imported:
        deps[package] = {name: f"{FIRST_LINE}{text}" for name, text in _written(package).items()}
        deps.update(extensions(_DATA / "wit" / package, FunctionKind.ACTIVITY))
    found = [(PurePosixPath("impl.wit"), (_DATA / "worlds" / f"{component}.wit").read_text(encoding="utf-8"))]
    for folder, packages in (("deps", deps), (".", extensions(_DATA / "wit" / exported, kind))):
        for package, files in packages.items():
            found += [(PurePosixPath(folder, package, name), text) for name, text in files.items()]
    return tuple(found)


def _written(package: str) -> dict[str, str]:
    """The files of a package that is written by hand."""
    return {path.name: path.read_text(encoding="utf-8") for path in (_DATA / "wit" / package).iterdir()}


def _tree(folder: Path, at: PurePosixPath = _HERE) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The files below `folder`. A file called `gitignore` gets its dot here: in the sources it must not count as one."""
    for entry in folder.iterdir():
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _tree(entry, at / entry.name)
        else:
            yield at / (".gitignore" if entry.name == "gitignore" else entry.name), entry.read_bytes()


def _blanks(template: Template, language: Language, found: dict[PurePosixPath, bytes]) -> dict[bytes, bytes]:
    """What the blanks of a template are filled with."""
    builder = BUILDERS[language]
    install = "\n".join(builder.install)
    manifests = {path.parent: tomllib.loads(text.decode()) for path, text in found.items() if path.name == FILE_NAME}
    texts = {
        "LANGUAGE": builder.title,
        "INSTALL": install,
        "SOURCE": next(iter(manifests.values()))["source"],
        "TEST": builder.test_file(template.subject),
        "TESTING": builder.test_command,
        "BUILT": "\n".join(str(at / manifest["output"]) for at, manifest in manifests.items()),
        "IGNORED": "\n".join(builder.ignored),
        "SOURCES": _sources(template, manifests) if builder.names_sources else "",
    }
    return {f"@{name}@".encode(): text.encode() for name, text in texts.items()}


def _sources(template: Template, manifests: Mapping[PurePosixPath, Mapping[str, str]]) -> str:
    """The lines of `obelisk.toml` that name the source of its workflow, if it has one."""
    for component, folder in template.components:
        if _COMPONENTS[component].kind is FunctionKind.WORKFLOW:
            source = PurePosixPath(folder, manifests[PurePosixPath(folder)]["source"])
            path = f'"${{OBELISK_TOML_DIR}}/{source}"'
            return f'\n# Lines that `obelisk execution backtrace` shows.\nbacktrace.sources = {{ ".../{source.name}" = {path} }}'
    return ""


def _filled(content: bytes, blanks: dict[bytes, bytes]) -> bytes:
    for blank, text in blanks.items():
        content = content.replace(blank, text)
    return content
