"""Rust, by cargo: a core module that carries its WIT, as the macro `wit_bindgen::generate!` leaves it, made a component.

Decides which cargo builds it, and how: one that has the standard library for the target (a target of rustup, a package of a
distribution), or else one that has its sources and compiles it. What is built, Cargo.toml says.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from obelisk.authoring.languages.builder import Job
from obelisk.authoring.languages.c import newest_linker
from obelisk.authoring.toolbox import Tool, Toolbox, ToolFailed, ToolMissing
from obelisk.wasm import tools as wasm_tools

TARGET: Final = "wasm32-unknown-unknown"
RUSTUP: Final = f"rustup target add {TARGET}"
DEBIAN: Final = "apt-get install --no-install-recommends rustc-web cargo-web rust-web-src lld-19 libc6-dev"
_EITHER: Final = f"{RUSTUP} (with rustup, https://rustup.rs), or on Debian 12: {DEBIAN}"
CARGO: Final = Tool("cargo", "it builds components of Rust", _EITHER)
STD: Final = Tool(f"Rust's standard library for {TARGET}", "components of Rust are linked with it", _EITHER)
CC: Final = Tool("cc", "cargo links with it what runs during a build", "apt-get install gcc libc6-dev")
LINKER: Final = Tool("wasm-ld", "Debian's Rust links WASM with it", "apt-get install lld-19")


@dataclass(frozen=True)
class _Toolchain:
    """A cargo, and how a build for the target is asked of it."""

    cargo: Path
    options: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)


class _NoModule(ToolFailed):
    """cargo did what it was asked, and that was nothing; the text says why."""

    def __init__(self, reason: str) -> None:
        Exception.__init__(self, reason)
        self.output = ""


class Rust:
    """See `Builder`."""

    title = "Rust"
    install = ("# with rustup (https://rustup.rs):", RUSTUP, "# or, on Debian 12 without it:", DEBIAN)
    test_command = "cargo test"
    ignored = ("target/",)
    names_sources = False

    def test_file(self, subject: str) -> str:
        """See `Builder`."""
        return f"tests/{subject}.rs"

    def check(self, tools: Toolbox, folder: Path) -> None:
        """A toolchain for the target, and a linker for this machine: macros run here."""
        _toolchain(tools, folder)
        tools.need(CC, folder)

    def build(self, job: Job) -> None:
        """Runs cargo, and makes a component of the module that it wrote."""
        folder = job.manifest.folder
        toolchain = _toolchain(job.tools, folder)
        command: list[str | Path] = [toolchain.cargo, "build", "--release", "--lib", "--target", TARGET]
        command += [*toolchain.options, "--quiet", "--message-format", "json-render-diagnostics"]
        try:
            output = job.tools.run(command, folder, **toolchain.environ)
        except ToolFailed as failed:
            failed.output = readable(failed.output)
            raise
        module = written(output, folder / "Cargo.toml")
        if module is None:
            raise _NoModule(f'cargo built no module; {folder / "Cargo.toml"} needs [lib] crate-type = ["cdylib"]')
        try:
            job.made.write_bytes(wasm_tools.wrap_module(module.read_bytes()))
        except wasm_tools.ToolFailed as failure:
            raise ToolFailed("wasm-tools", 1, str(failure)) from None

    def bindings(self, job: Job) -> bool:
        """There are none: a macro makes them where the source is compiled."""
        return False


def readable(output: str) -> str:
    """What cargo said to people."""
    return "\n".join(line for line in output.splitlines() if not line.startswith('{"')).strip("\n")


def written(output: str, cargo_toml: Path) -> Path | None:
    """The module that cargo says it has made of that package, now or before."""
    for line in output.splitlines():
        if not line.startswith('{"reason":"compiler-artifact"'):
            continue
        artifact = json.loads(line)
        if Path(artifact["manifest_path"]) == cargo_toml and "cdylib" in artifact["target"]["crate_types"]:
            return next((Path(name) for name in artifact["filenames"] if name.endswith(".wasm")), None)
    return None


def _toolchain(tools: Toolbox, folder: Path) -> _Toolchain:
    """The first one on PATH that has the library, or else the first one that has its sources. `ToolMissing`."""
    tools.need(CARGO, folder)
    pairs = list(_pairs(tools))
    for cargo, rustc in pairs:
        library = _asked(tools, folder, rustc, "target-libdir")
        if library is not None and any(library.glob("libstd-*.rlib")):
            return _Toolchain(cargo)
    for cargo, rustc in pairs:
        sysroot = _asked(tools, folder, rustc, "sysroot")
        if sysroot is not None and (sysroot / "lib/rustlib/src/rust/library/std").is_dir():
            return _Toolchain(cargo, ("-Z", "build-std=std,panic_abort"), _building_std(rustc, _linker(tools, folder)))
    raise ToolMissing(STD, "by any rustc on PATH")


def _building_std(rustc: Path, linker: Path) -> dict[str, str]:
    """What lets a released cargo compile the library. It would take the first rustc on PATH, not the one beside it."""
    variable = f"CARGO_TARGET_{TARGET.upper().replace('-', '_')}_LINKER"
    return {"RUSTC": str(rustc), "RUSTC_BOOTSTRAP": "1", variable: str(linker)}


def _linker(tools: Toolbox, folder: Path) -> Path:
    """Rust's own LLVM is newer than what a distribution calls wasm-ld."""
    found = newest_linker(tools, folder)
    if found is None:
        raise ToolMissing(LINKER, "on PATH")
    return found


def _pairs(tools: Toolbox) -> Iterator[tuple[Path, Path]]:
    """Folders on PATH with both, in their order."""
    for place in dict.fromkeys(tools.environ.get("PATH", os.defpath).split(os.pathsep)):
        found = [shutil.which(name, path=place) for name in ("cargo", "rustc")]
        if place and all(found):
            yield Path(str(found[0])), Path(str(found[1]))


def _asked(tools: Toolbox, folder: Path, rustc: Path, what: str) -> Path | None:
    """A path that a rustc knows; None when it is not usable."""
    try:
        lines = tools.run([rustc, "--print", what, "--target", TARGET], folder).splitlines()
    except ToolFailed:
        return None
    return Path(lines[-1]) if lines else None
