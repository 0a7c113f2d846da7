"""C, by clang without a library: bindings, a core module, a component.

Decides which clang and which linker are used, with which flags, and where the bindings go: a header in `bindings/` beside the
manifest, named after the world.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from obelisk.authoring.languages.builder import Job
from obelisk.authoring.languages.c_bindings import MARK, header
from obelisk.authoring.languages.c_types import NotInC
from obelisk.authoring.toolbox import Tool, Toolbox, ToolFailed
from obelisk.wasm import tools as wasm_tools
from obelisk.wasm.source import read_source, wit_files
from obelisk.wit.document import read_document

INSTALL: Final = "apt-get install clang lld"
CLANG: Final = Tool("clang", "it compiles C", INSTALL)
WASM_LD: Final = Tool("wasm-ld", "clang links WASM with it", INSTALL)
_VERSIONS: Final = range(29, 13, -1)
"""Debian adds them to the names of packages and commands; without one it is the release's usual version."""
_FLAGS: Final = (
    "--target=wasm32",
    "-std=c17",
    "-O2",
    "-g",
    "-Wall",
    *(
        f"-Werror={each}"
        for each in ("implicit", "incompatible-pointer-types", "int-conversion", "return-type", "uninitialized")
    ),
    "-ffreestanding",
    "-nostdlib",
    "-mbulk-memory",
    "-Wl,--no-entry",
)
"""No library: there is none for a world without WASI. `-mbulk-memory`: copies are instructions, and no calls of one. What is
a mistake in any case is an error, since warnings of a build that went well are not shown. `-g`: backtraces name functions
and lines, which makes a component larger, and not slower.
"""


class _NoBindings(ToolFailed):
    """The header cannot be made, or not written; the text says why."""

    def __init__(self, reason: str) -> None:
        Exception.__init__(self, reason)
        self.output = ""


class C:
    """See `Builder`."""

    title = "C"
    install = (INSTALL,)
    test_command = "sh test.sh"
    ignored = ("bindings/",)
    names_sources = True

    def test_file(self, subject: str) -> str:
        """See `Builder`."""
        return "test.sh"

    def check(self, tools: Toolbox, folder: Path) -> None:
        """Both are the system's."""
        find_clang(tools, folder)
        find_linker(tools, folder)

    def build(self, job: Job) -> None:
        """Writes the bindings, runs clang, and makes a component of the module."""
        manifest = job.manifest
        files = wit_files(manifest.wit, read_source(manifest.wit))
        _write_bindings(manifest.folder / "bindings" / f"{manifest.world}.h", _bindings(files, manifest.world))
        clang, linker = find_clang(job.tools, manifest.folder), find_linker(job.tools, manifest.folder)
        module = job.made.with_suffix(".core")
        try:
            # Paths as seen from the folder: the same bytes wherever it is, and nothing of whose machine built them.
            paths = ("-fdebug-compilation-dir=.", f"-ffile-prefix-map={manifest.folder.resolve()}/=")
            command: list[str | Path] = [clang, *_FLAGS, *paths, f"-fuse-ld={linker}"]
            command += ["--output", module, manifest.source]
            job.tools.run(command, manifest.folder)
            embedded = wasm_tools.embed_wit(module.read_bytes(), files, manifest.world)
            job.made.write_bytes(wasm_tools.wrap_module(embedded))
        except wasm_tools.ToolFailed as failure:
            raise ToolFailed("wasm-tools", 1, str(failure)) from None
        finally:
            module.unlink(missing_ok=True)

    def bindings(self, job: Job) -> bool:
        """None but the header that a build writes."""
        return False


def find_clang(tools: Toolbox, folder: Path) -> Path:
    """clang, or else the newest one whose name has a version. `ToolMissing`."""
    return _found(tools, folder, CLANG, _named(CLANG)) or tools.need(CLANG, folder)


def find_linker(tools: Toolbox, folder: Path) -> Path:
    """The linker of clang's own version if it is there, since an older one may not know what a newer clang writes; or else
    another one. `ToolMissing`.
    """
    clang = _found(tools, folder, CLANG, _named(CLANG))
    _, _, version = ("" if clang is None else clang.name).partition("-")
    own = [f"{WASM_LD.command}-{version}"] if version else []
    return _found(tools, folder, WASM_LD, [*own, *_named(WASM_LD)]) or tools.need(WASM_LD, folder)


def newest_linker(tools: Toolbox, folder: Path) -> Path | None:
    """The newest one that can be told by its name."""
    versioned, plain = _named(WASM_LD)[1:], WASM_LD.command
    return _found(tools, folder, WASM_LD, [*versioned, plain])


def _named(tool: Tool) -> list[str]:
    return [tool.command, *(f"{tool.command}-{version}" for version in _VERSIONS)]


def _found(tools: Toolbox, folder: Path, tool: Tool, names: Iterable[str]) -> Path | None:
    paths = (tools.find(replace(tool, command=name), folder) for name in names)
    return next((path for path in paths if path is not None), None)


def _bindings(files: Mapping[str, str], world: str) -> str:
    """The header for a world. `ToolFailed` when it has something that C cannot say."""
    package, text = wasm_tools.package_wit(files)
    document = read_document(text)
    number = document.package_index(package)
    meant = next(each for each in document.worlds if (each.package, each.name) == (number, world))
    try:
        return header(document, meant)
    except NotInC as reason:
        raise _NoBindings(f"the world {world} cannot be written in C: {reason}") from None


def _write_bindings(path: Path, text: str) -> None:
    """Writes the header, unless it is there already. What somebody else has written stays. `ToolFailed`."""
    there = path.read_text(encoding="utf-8") if path.exists() else None
    if there == text:
        return
    if there is not None and not there.startswith(MARK):
        raise _NoBindings(f"{path} was not made by obelisk build; the bindings would go there")
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
