"""C: which commands are run, with what, and what is told when one is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from obelisk.authoring import BuildFailed, ToolMissing, build
from obelisk.authoring.languages import Job
from obelisk.authoring.languages.c import C
from obelisk.authoring.manifest import Language, read_manifest
from obelisk.authoring.projects import TEMPLATES, create_project
from obelisk.authoring.toolbox import ToolFailed
from obelisk.wit.component import ComponentWit

MODULE = Path(__file__).resolve().parents[2] / "examples" / "fibo" / "fibo-workflow.wat"
FLAGS = ["--target=wasm32", "-std=c17", "-O2", "-g", "-ffreestanding", "-nostdlib", "-mbulk-memory", "-Wl,--no-entry"]


@pytest.fixture
def manifest(tmp_path):
    """That of the workflow of a new project."""
    create_project(TEMPLATES["fibo-workflow"], Language.C, tmp_path / "project")
    return read_manifest(tmp_path / "project" / "component.toml")


def files(manifest):
    """What is beside the manifest."""
    return sorted(path.name for path in manifest.folder.iterdir())


def test_c_is_compiled_without_a_library_and_made_a_component(manifest, tool, toolbox):
    clang, linker = tool("clang", gives=MODULE), tool("wasm-ld")
    before = files(manifest)
    built = build(manifest, toolbox)
    folder, *arguments = clang.called
    assert folder == str(manifest.folder)
    made = Path(arguments[arguments.index("--output") + 1])
    assert made.parent == manifest.folder
    rest = [each for each in arguments if not each.startswith("-W") or each == "-Wl,--no-entry"]
    paths = ["-fdebug-compilation-dir=.", f"-ffile-prefix-map={manifest.folder.resolve()}/="]
    assert rest == [*FLAGS, *paths, f"-fuse-ld={linker.path}", "--output", str(made), str(manifest.source)]
    assert [interface.name for interface in built.wit.exports] == ["template-fibo:workflow/fibo-workflow-ifc"]
    assert files(manifest) == sorted([*before, "bindings", "fibo_workflow.wasm"])
    assert [path.name for path in (manifest.folder / "bindings").iterdir()] == ["workflow.h"]


def test_mistakes_that_would_only_be_warnings_are_errors(manifest, tool, toolbox):
    clang, _ = tool("clang", gives=MODULE), tool("wasm-ld")
    build(manifest, toolbox)
    assert {"-Werror=implicit", "-Werror=return-type", "-Werror=incompatible-pointer-types"} <= set(clang.called)


def test_bindings_are_written_anew_only_when_they_change(manifest, tool, toolbox):
    tool("clang", gives=MODULE), tool("wasm-ld")
    build(manifest, toolbox)
    header = manifest.folder / "bindings" / "workflow.h"
    first = header.stat().st_mtime_ns
    build(manifest, toolbox)
    assert header.stat().st_mtime_ns == first
    wit = manifest.wit / "deps" / "template-fibo_workflow" / "fibo-workflow.wit"
    wit.write_text(wit.read_text().replace("n: u8", "number: u8", 1))
    build(manifest, toolbox)
    assert "bool fiboa(uint8_t number, uint32_t iterations, uint64_t *ok);\n" in header.read_text()


def test_a_header_of_somebody_else_is_left_alone(manifest, tool, toolbox):
    clang, _ = tool("clang", gives=MODULE), tool("wasm-ld")
    header = manifest.folder / "bindings" / "workflow.h"
    header.parent.mkdir()
    header.write_text("// mine\n")
    with pytest.raises(BuildFailed, match=r"bindings/workflow\.h was not made by obelisk build; .* would go there$"):
        build(manifest, toolbox)
    assert (header.read_text(), clang.called) == ("// mine\n", [])


def test_what_clang_says_is_told_and_nothing_is_left(manifest, tool, toolbox):
    tool("clang", says="fibo_workflow.c:7:1: error: it is Monday", code=1), tool("wasm-ld")
    before = files(manifest)
    with pytest.raises(BuildFailed) as raised:
        build(manifest, toolbox)
    assert str(raised.value) == "clang ended with exit code 1:\nfibo_workflow.c:7:1: error: it is Monday\n"
    assert files(manifest) == sorted([*before, "bindings"])


def test_a_module_that_does_not_fit_the_world_is_told_and_nothing_is_left(manifest, tool, toolbox):
    tool("clang", gives=MODULE.with_name("fibo.wat")), tool("wasm-ld")
    before = files(manifest)
    with pytest.raises(BuildFailed, match=r"(?s)^wasm-tools ended with exit code 1:.*fiboa"):
        build(manifest, toolbox)
    assert files(manifest) == sorted([*before, "bindings"])


def test_a_world_that_c_cannot_say_is_told(manifest, tool, toolbox):
    clang, _ = tool("clang", gives=MODULE), tool("wasm-ld")
    wit = manifest.wit / "impl.wit"
    wit.write_text(wit.read_text().replace("export template", "import f: func();\n  export template", 1))
    told = r"^the world workflow cannot be written in C: the function f of the world belongs to no interface$"
    with pytest.raises(ToolFailed, match=told):
        C().build(Job(manifest, ComponentWit(), manifest.output, toolbox))
    assert clang.called == []


@pytest.mark.parametrize(
    ("there", "clang", "linker"),
    [
        (["clang", "clang-19", "wasm-ld", "wasm-ld-19"], "clang", "wasm-ld"),
        (["clang-14", "clang-19", "wasm-ld-14", "wasm-ld-19"], "clang-19", "wasm-ld-19"),
        # An older linker may not know what a newer clang writes.
        (["clang-19", "wasm-ld", "wasm-ld-19"], "clang-19", "wasm-ld-19"),
        (["clang-14", "wasm-ld-19"], "clang-14", "wasm-ld-19"),
    ],
)
def test_the_version_may_be_a_part_of_the_name(manifest, tool, toolbox, there, clang, linker):
    made = {name: tool(name, gives=MODULE) for name in there}
    build(manifest, toolbox)
    assert [name for name, fake in made.items() if fake.called] == [clang]
    assert f"-fuse-ld={made[linker].path}" in made[clang].called


@pytest.mark.parametrize(
    ("there", "told"),
    [
        ([], "clang was not found on PATH; it compiles C. Install it: apt-get install clang lld"),
        (["clang"], "wasm-ld was not found on PATH; clang links WASM with it. Install it: apt-get install clang lld"),
        (["wasm-ld"], "clang was not found on PATH; it compiles C. Install it: apt-get install clang lld"),
    ],
)
def test_what_is_missing_is_told(manifest, tool, toolbox, there, told):
    for name in there:
        tool(name)
    with pytest.raises(ToolMissing) as raised:
        build(manifest, toolbox)
    assert str(raised.value) == told
