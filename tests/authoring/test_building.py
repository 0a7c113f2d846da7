"""Building: what is refused before and after the tool ran, and what is left where."""

from __future__ import annotations

import pytest

from obelisk.authoring import BuildFailed, ToolMissing, build
from obelisk.authoring.manifest import read_manifest

OFFERS = "package any:any; world any { export demo:demo/things; } package demo:demo { interface things { count: func(of: string) -> result<u64>; } }"


def failure(manifest, toolbox):
    with pytest.raises(BuildFailed) as raised:
        build(manifest, toolbox)
    return str(raised.value)


def files(manifest):
    return sorted(path.name for path in manifest.folder.iterdir() if path.is_file())


def test_what_was_built_is_put_in_its_place(component, tool, toolbox, dummy_component):
    manifest = read_manifest(component())
    made = dummy_component(OFFERS)
    tool("componentize-py", gives=made)
    built = build(manifest, toolbox)
    assert manifest.output.read_bytes() == made.read_bytes()
    assert (built.manifest, built.size) == (manifest, made.stat().st_size)
    assert built.digest.startswith("sha256:")
    assert [interface.name for interface in built.wit.exports] == ["demo:demo/things"]
    assert files(manifest) == ["app.py", "app.wasm", "component.toml"]


def test_the_folder_of_the_output_is_made(component, tool, toolbox, dummy_component):
    text = 'language = "python"\nsource = "app.py"\nworld = "activity"\noutput = "../out/deep/x.wasm"\n'
    manifest = read_manifest(component(manifest=text))
    tool("componentize-py", gives=dummy_component(OFFERS))
    build(manifest, toolbox)
    assert [path.name for path in manifest.output.parent.iterdir()] == ["x.wasm"]


def test_when_a_build_fails_what_was_there_stays(component, tool, toolbox, dummy_component):
    manifest = read_manifest(component())
    manifest.output.write_bytes(b"before")
    tool("componentize-py", gives=dummy_component(OFFERS), says="it does not like it", code=1)
    assert failure(manifest, toolbox) == "componentize-py ended with exit code 1:\nit does not like it"
    assert manifest.output.read_bytes() == b"before"
    assert files(manifest) == ["app.py", "app.wasm", "component.toml"]


def test_a_tool_that_writes_nothing_has_failed(component, tool, toolbox):
    manifest = read_manifest(component())
    tool("componentize-py")
    assert failure(manifest, toolbox) == "the tool ended well, but wrote nothing"
    assert files(manifest) == ["app.py", "component.toml"]


def test_a_tool_that_writes_something_else_has_failed(component, tool, toolbox):
    manifest = read_manifest(component())
    tool("componentize-py", gives=manifest.file)
    assert failure(manifest, toolbox).startswith("what the tool wrote cannot be used: ")


@pytest.mark.parametrize(
    ("imported", "package"),
    [
        ("wasi:http/outgoing-handler@0.2.0", "wasi:http@0.2.0 { interface outgoing-handler { handle: func(); } }"),
        ("demo:other/ifc", "demo:other { interface ifc { f: func() -> result; } }"),
    ],
)
def test_what_may_be_either_an_activity_or_a_workflow_is_built(
    component, tool, toolbox, dummy_component, imported, package
):
    manifest = read_manifest(component())
    text = f"{OFFERS.replace('{ export', f'{{ import {imported}; export', 1)} package {package}"
    tool("componentize-py", gives=dummy_component(text))
    assert build(manifest, toolbox).manifest == manifest


def test_a_component_that_could_be_neither_is_refused_after_it_was_built(component, tool, toolbox, dummy_component):
    manifest = read_manifest(component())
    wasi = "package wasi:nn@0.2.0 { interface graph { load: func() -> list<string>; } }"
    text = f"{OFFERS.replace('{ export', '{ import wasi:nn/graph@0.2.0; export', 1)} {wasi}"
    tool("componentize-py", gives=dummy_component(text))
    told = failure(manifest, toolbox)
    assert told.startswith("Obelisk would refuse it:\napp.wasm imports wasi:nn/graph@0.2.0; which is no interface")
    assert not manifest.output.exists()


def test_a_world_that_obelisk_would_refuse_is_told_before_the_tool_runs(component, tool, toolbox):
    demo = "package demo:demo; interface things { count: func(of: string) -> u64; }"
    manifest = read_manifest(component(demo=demo))
    fake = tool("componentize-py")
    told = failure(manifest, toolbox)
    assert told.startswith(
        "Obelisk would refuse it:\nthe world activity exports demo:demo/things.count: func(of: string) -> u64,"
    )
    assert "it must return a result" in told
    assert fake.called == []


def test_a_world_that_there_is_not_is_told_with_those_that_there_are(component, toolbox):
    manifest = read_manifest(component(wit="package any:any; world one { } world two { }"))
    assert failure(manifest, toolbox) == f"{manifest.wit}: the package any:any has no world activity; it has: one, two"


def test_wit_that_is_not_valid_is_told(component, toolbox):
    manifest = read_manifest(component(demo="package demo:demo; interface things { count: fun(); }"))
    told = failure(manifest, toolbox)
    assert told.startswith(f"{manifest.wit}: it is not valid WIT: ")
    assert "demo.wit:1:" in told


def test_a_tool_that_is_missing_is_told(component, toolbox):
    with pytest.raises(ToolMissing, match="componentize-py was not found"):
        build(read_manifest(component()), toolbox)


def test_a_place_that_cannot_be_written_is_told(component, tool, toolbox, dummy_component):
    text = 'language = "python"\nsource = "app.py"\nworld = "activity"\noutput = "app.py/x.wasm"\n'
    manifest = read_manifest(component(manifest=text))
    tool("componentize-py", gives=dummy_component(OFFERS))
    assert failure(manifest, toolbox) == f"{manifest.folder}/app.py cannot be written: File exists"
