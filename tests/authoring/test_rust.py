"""Rust: which of several toolchains builds, with what, and what is told when there is none."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from obelisk.authoring import BuildFailed, ToolMissing, build
from obelisk.authoring.languages import rust
from obelisk.authoring.manifest import Language, read_manifest
from obelisk.authoring.projects import TEMPLATES, create_project, project_files
from obelisk.wasm import tools
from obelisk.wasm.source import read_source, wit_files

MODULE = Path(__file__).resolve().parents[2] / "examples" / "fibo" / "fibo-workflow.wat"
USUAL = ["build", "--release", "--lib", "--target", rust.TARGET]
QUIET = ["--quiet", "--message-format", "json-render-diagnostics"]
BUILD_STD = ["-Z", "build-std=std,panic_abort"]
EITHER = f"{rust.RUSTUP} (with rustup, https://rustup.rs), or on Debian 12: {rust.DEBIAN}"


@pytest.fixture
def manifest(tmp_path):
    """That of the workflow of a new project."""
    create_project(TEMPLATES["fibo-workflow"], Language.RUST, tmp_path / "project")
    return read_manifest(tmp_path / "project" / "component.toml")


@pytest.fixture
def module(tmp_path, manifest):
    """What cargo makes of it: a core module that carries its WIT."""
    path = tmp_path / "fibo_workflow.wasm"
    path.write_bytes(
        tools.embed_wit(MODULE.read_bytes(), wit_files(manifest.wit, read_source(manifest.wit)), "workflow")
    )
    return path


def artifact(manifest, module, **other):
    """What cargo says when it has made a module."""
    told = {
        "reason": "compiler-artifact",
        "manifest_path": str(manifest.folder / "Cargo.toml"),
        "target": {"crate_types": ["cdylib"]},
        "filenames": [str(module)],
    }
    return json.dumps({**told, **other}, separators=(",", ":"))


@pytest.fixture
def toolchain(tmp_path, tool):
    """A function: puts a cargo and a rustc into a folder, and gives the cargo. `std`, `sources`: what the rustc has."""

    def make(says="", *, folder="bin", std=False, sources=False, code=0):
        root, at = tmp_path / f"root-{folder}", tmp_path / folder
        library = root / "lib" / "rustlib" / rust.TARGET / "lib"
        cargo = tool("cargo", folder=at, says=says, code=code)
        environ = 'env | grep -E "^(RUSTC|RUSTC_BOOTSTRAP|CARGO_TARGET_[A-Z0-9_]*)=" | sort'
        cargo.path.write_text(cargo.path.read_text().replace("\nwhile", f"\n{environ} >{at}/cargo.environ\nwhile", 1))
        rustc = at / "rustc"
        rustc.write_text(f'#!/bin/sh\necho "a warning" >&2\n[ "$2" = sysroot ] && echo {root} || echo {library}\n')
        rustc.chmod(0o755)
        if std:
            library.mkdir(parents=True)
            (library / "libstd-0123456789abcdef.rlib").touch()
        if sources:
            (root / "lib" / "rustlib" / "src" / "rust" / "library" / "std").mkdir(parents=True)
        return cargo

    return make


def environ(cargo):
    """What was added to its environment."""
    return dict(line.split("=", 1) for line in cargo.path.with_name("cargo.environ").read_text().splitlines())


@pytest.fixture
def toolbox(toolbox, tmp_path):
    """`bin` and then `usr` on PATH, and what shell scripts need."""
    for name in ("env", "grep", "sort"):
        (tmp_path / "system" / name).symlink_to(
            next(p for p in (f"/bin/{name}", f"/usr/bin/{name}") if Path(p).exists())
        )
    toolbox.environ["PATH"] = f"{tmp_path}/bin:{tmp_path}/usr:{tmp_path}/system"
    return toolbox


def test_with_the_target_cargo_builds_and_the_module_becomes_a_component(manifest, module, tool, toolchain, toolbox):
    others = (
        artifact(manifest, "libother.rmeta", manifest_path="/somewhere/Cargo.toml"),
        artifact(manifest, "build-script", target={"crate_types": ["bin"]}),
        '{"reason":"build-finished","success":true}',
    )
    cargo = toolchain("\n".join((others[0], others[1], artifact(manifest, module), others[2])), std=True)
    tool("cc")
    built = build(manifest, toolbox)
    assert cargo.called == [str(manifest.folder), *USUAL, *QUIET]
    assert environ(cargo) == {}
    assert [interface.name for interface in built.wit.exports] == ["template-fibo:workflow/fibo-workflow-ifc"]
    assert manifest.output.read_bytes() == tools.wrap_module(module.read_bytes())


def test_without_it_the_library_is_compiled_by_the_toolchain_that_has_its_sources(
    manifest, module, tool, toolchain, toolbox
):
    first = toolchain()
    packaged = toolchain(artifact(manifest, module), folder="usr", sources=True)
    tool("cc"), tool("wasm-ld"), tool("wasm-ld-14")
    linker = tool("wasm-ld-19")
    build(manifest, toolbox)
    assert first.called == []
    assert packaged.called == [str(manifest.folder), *USUAL, *BUILD_STD, *QUIET]
    assert environ(packaged) == {
        "RUSTC": str(packaged.path.with_name("rustc")),
        "RUSTC_BOOTSTRAP": "1",
        "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER": str(linker.path),
    }


def test_a_toolchain_with_the_target_comes_before_one_with_sources(manifest, module, tool, toolchain, toolbox):
    first = toolchain(sources=True)
    second = toolchain(artifact(manifest, module), folder="usr", std=True)
    tool("cc")
    build(manifest, toolbox)
    assert (first.called, second.called) == ([], [str(manifest.folder), *USUAL, *QUIET])


def test_a_rustc_that_does_not_work_is_passed_over(manifest, module, tool, toolchain, toolbox):
    broken = toolchain(std=True)
    broken.path.with_name("rustc").write_text("#!/bin/sh\necho error: no default toolchain\nexit 1\n")
    toolchain(artifact(manifest, module), folder="usr", std=True)
    tool("cc")
    build(manifest, toolbox)
    assert broken.called == []


def test_no_cargo_is_told_with_both_ways_to_one(manifest, toolbox):
    with pytest.raises(ToolMissing) as raised:
        build(manifest, toolbox)
    told = f"cargo was not found on PATH; it builds components of Rust. Install it: {EITHER}"
    assert str(raised.value) == told


def test_no_library_is_told_with_both_ways_to_one(manifest, toolchain, toolbox):
    toolchain()
    with pytest.raises(ToolMissing) as raised:
        build(manifest, toolbox)
    assert str(raised.value) == (
        "Rust's standard library for wasm32-unknown-unknown was not found by any rustc on PATH; components of Rust are linked "
        f"with it. Install it: {EITHER}"
    )


def test_a_linker_is_needed_where_the_toolchain_brings_none(manifest, toolchain, toolbox):
    toolchain(sources=True)
    with pytest.raises(ToolMissing) as raised:
        build(manifest, toolbox)
    told = "wasm-ld was not found on PATH; Debian's Rust links WASM with it. Install it: apt-get install lld-19"
    assert str(raised.value) == told


def test_a_c_compiler_is_needed(manifest, toolchain, toolbox):
    toolchain(std=True)
    with pytest.raises(ToolMissing) as raised:
        build(manifest, toolbox)
    assert str(raised.value) == (
        "cc was not found on PATH; cargo links with it what runs during a build. Install it: apt-get install gcc libc6-dev"
    )


def test_of_an_error_what_is_for_people_is_told(manifest, tool, toolchain, toolbox):
    toolchain('{"reason":"x"}\nerror[E0433]: it is Monday\n --> src/lib.rs:1:1\n{"reason":"y"}', std=True, code=101)
    tool("cc")
    with pytest.raises(BuildFailed) as raised:
        build(manifest, toolbox)
    assert str(raised.value) == ("cargo ended with exit code 101:\nerror[E0433]: it is Monday\n --> src/lib.rs:1:1")


def test_a_package_that_makes_no_module_is_told(manifest, tool, toolchain, toolbox):
    toolchain(artifact(manifest, "libfibo.rlib", target={"crate_types": ["lib"]}), std=True)
    tool("cc")
    with pytest.raises(BuildFailed) as raised:
        build(manifest, toolbox)
    assert (
        str(raised.value) == f'cargo built no module; {manifest.folder}/Cargo.toml needs [lib] crate-type = ["cdylib"]'
    )


def test_a_module_without_wit_is_told(manifest, module, tool, toolchain, toolbox):
    toolchain(artifact(manifest, module), std=True)
    module.write_bytes(MODULE.read_bytes())
    tool("cc")
    with pytest.raises(BuildFailed, match=r"^wasm-tools ended with exit code 1:\n"):
        build(manifest, toolbox)
    assert not manifest.output.exists()


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_versions_are_exact_and_the_same_in_all_templates(template):
    texts = {
        path: tomllib.loads(text.decode())
        for path, text in project_files(template, Language.RUST).items()
        if path.name == "Cargo.toml"
    }
    found = [
        {
            **cargo.get("dependencies", {}),
            **cargo.get("dev-dependencies", {}),
            **cargo.get("workspace", {}).get("dependencies", {}),
        }
        for cargo in texts.values()
    ]
    versions = {
        (name, given if isinstance(given, str) else given["version"])
        for each in found
        for name, given in each.items()
        if given != {"workspace": True}
    }
    assert versions == {("wit-bindgen", "=0.63.0"), ("serde_json", "=1.0.154")}
