"""The copies that are kept of components, and the settings that they ran with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from obelisk.config.settings import MEMORY_MAX_BYTES_DEFAULT, ComponentConfig
from obelisk.core.ids import DeploymentId, Digest
from obelisk.core.names import FunctionName
from obelisk.core.policy import CLOSED, ExecutionPolicy, OnTrap, RetryPolicy, Sandbox
from obelisk.core.ports import FunctionInfo, FunctionKind, Rejection, Typed
from obelisk.core.values import ErrForm, Json, Ok
from obelisk.runtime.components import load_active
from obelisk.runtime.deployed import Deployed, DeployedComponent
from obelisk.runtime.kept import KeptComponents
from obelisk.runtime.marks import Marks
from obelisk.runtime.refusals import DeploymentRefused
from obelisk.wasm.component import ComponentLoader
from obelisk.wit.declared import Declared

ECHO = "testing:activity/acts.echo"
DECIDE = "testing:stubs/stubs.decide"
WIT = "package testing:stubs; interface stubs { decide: func(question: string) -> result<bool, string>; }"
SLOW = ExecutionPolicy(lock_expiry_us=7, retry=RetryPolicy(3, jitter=0.5, backoff_max_us=9), on_trap=OnTrap.PARK)


def activity(path: Path, policy: ExecutionPolicy = SLOW, memory: int = 4 << 20) -> ComponentConfig:
    return ComponentConfig(FunctionKind.ACTIVITY, "acts", path, None, policy, memory)


def stub(source: Path | Declared) -> ComponentConfig:
    return ComponentConfig(FunctionKind.STUB, "asks", source, None)


@pytest.fixture
def kept(tmp_path: Path) -> KeptComponents:
    return KeptComponents(tmp_path / "kept")


def files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "kept").iterdir())


def stem(component: DeployedComponent) -> str:
    return f"{component.kind}_{component.digest.replace(':', '_')}"


def test_a_copy_is_exactly_what_was_loaded(
    loader: ComponentLoader, kept: KeptComponents, testing_components: Any, tmp_path: Path
) -> None:
    (active,) = load_active(loader, (activity(testing_components.activity),))
    kept.keep([active])
    assert files(tmp_path) == [f"{stem(active)}.json", f"{stem(active)}.wasm"]
    assert (tmp_path / "kept" / f"{stem(active)}.wasm").read_bytes() == testing_components.activity.read_bytes()
    (again,) = kept.load(loader, [active.digest])
    assert (again.name, again.kind, again.digest) == (active.name, FunctionKind.ACTIVITY, active.digest)
    assert set(again.programs) == set(again.functions) == set(active.functions)
    kept.forget_all_but(frozenset())
    assert files(tmp_path) == []


def test_a_stub_is_kept_whatever_it_was_loaded_from(
    loader: ComponentLoader, kept: KeptComponents, calling_components: Any, tmp_path: Path
) -> None:
    (tmp_path / "wit" / "deps").mkdir(parents=True)
    (tmp_path / "wit" / "stubs.wit").write_text(f"{WIT} // also a folder")
    (tmp_path / "wit" / "deps" / "other.wit").write_text("package x:y;")
    file = tmp_path / "stubs.wit"
    file.write_text(WIT)
    declared = Declared(DECIDE, (("question", "string"),), "result<bool, string>")
    component = tmp_path / "stubs.wasm"
    shutil.copy(calling_components.stubs, component)
    for number, source in enumerate((component, file, tmp_path / "wit", declared)):
        (active,) = load_active(loader, (stub(source),))
        kept.keep([active])
        if isinstance(source, Path):
            source.rename(tmp_path / f"gone{number}")
        (again,) = kept.load(loader, [active.digest])
        assert (again.kind, again.digest, list(again.functions)) == (FunctionKind.STUB, active.digest, [DECIDE])
        assert again.programs == {}
        kept.forget_all_but(frozenset({active.digest}))
        suffix = ".wasm" if source == component else ".wit"
        assert files(tmp_path) == [f"{stem(active)}.json", f"{stem(active)}{suffix}"]


def test_a_copy_runs_with_the_settings_that_it_was_last_active_with(
    loader: ComponentLoader, kept: KeptComponents, testing_components: Any
) -> None:
    for policy, memory in ((ExecutionPolicy(), MEMORY_MAX_BYTES_DEFAULT), (SLOW, 4 << 20)):
        kept.keep(load_active(loader, (activity(testing_components.activity, policy, memory),)))
        (digest,) = (active.digest for active in load_active(loader, (activity(testing_components.activity),)))
        (again,) = kept.load(loader, [digest])
        assert (again.policy, again.memory_max_bytes) == (policy, memory)


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"policy":{"lock_expiry_us":"long"}}'])
def test_a_copy_without_settings_runs_with_the_defaults_and_that_is_told(
    loader: ComponentLoader,
    kept: KeptComponents,
    testing_components: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    content: bytes | None,
) -> None:
    (active,) = load_active(loader, (activity(testing_components.activity),))
    kept.keep([active])
    settings = tmp_path / "kept" / f"{stem(active)}.json"
    settings.unlink()
    if content is not None:
        settings.write_bytes(content)
    (again,) = kept.load(loader, [active.digest])
    assert (again.policy, again.memory_max_bytes) == (ExecutionPolicy(), None)
    (message,) = caplog.messages
    assert message.startswith(f"{settings} cannot be read; its component runs with the default settings: ")


def test_settings_of_a_later_version_are_read(
    loader: ComponentLoader, kept: KeptComponents, testing_components: Any, tmp_path: Path
) -> None:
    (active,) = load_active(loader, (activity(testing_components.activity),))
    kept.keep([active])
    settings = tmp_path / "kept" / f"{stem(active)}.json"
    settings.write_bytes(b'{"later":1,"policy":{"lock_expiry_us":5,"later":{}}}')
    (again,) = kept.load(loader, [active.digest])
    assert again.policy == ExecutionPolicy(lock_expiry_us=5)


def test_half_written_files_are_swept(
    loader: ComponentLoader, kept: KeptComponents, testing_components: Any, tmp_path: Path
) -> None:
    (active,) = load_active(loader, (activity(testing_components.activity),))
    kept.keep([active])
    (tmp_path / "kept" / f"{stem(active)}.12345").write_bytes(b"half")
    kept.forget_all_but(frozenset({active.digest}))
    assert files(tmp_path) == [f"{stem(active)}.json", f"{stem(active)}.wasm"]


def test_a_file_that_is_replaced_between_reading_and_keeping_is_refused(
    loader: ComponentLoader, kept: KeptComponents, testing_components: Any, tmp_path: Path
) -> None:
    path = tmp_path / "acts.wasm"
    shutil.copy(testing_components.activity, path)
    wit = tmp_path / "stubs.wit"
    wit.write_text(WIT)
    (acts, asks) = load_active(loader, (activity(path), stub(wit)))
    shutil.copy(testing_components.workflow, path)
    wit.write_text(f"{WIT} ")
    with pytest.raises(DeploymentRefused, match=r"activity acts: .*acts\.wasm was changed while the server read it"):
        kept.keep([acts])
    with pytest.raises(DeploymentRefused, match=r"stub asks: .*stubs\.wit was changed while the server read it"):
        kept.keep([asks])
    assert files(tmp_path) == [], "a copy under a digest that it does not have"


def test_a_copy_that_is_missing_or_damaged_is_left_out_and_told(
    loader: ComponentLoader,
    kept: KeptComponents,
    testing_components: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wit = tmp_path / "stubs.wit"
    wit.write_text(WIT)
    acts, asks = load_active(loader, (activity(testing_components.activity), stub(wit)))
    kept.keep([acts, asks])
    copy = tmp_path / "kept" / f"{stem(asks)}.wit"
    copy.write_text(f"{WIT} ")
    missing = Digest("sha256:" + "0a" * 32)
    assert [each.digest for each in kept.load(loader, [missing, asks.digest, acts.digest])] == [acts.digest]
    prefix = "a component that open executions refer to cannot be loaded: "
    assert caplog.messages == [
        f"{prefix}{tmp_path / 'kept'}: there is no copy of {missing}",
        f"{prefix}{copy}: it is damaged: its digest is not the one in its name",
    ]


def test_versions_live_side_by_side_each_with_its_own_policy(
    loader: ComponentLoader, kept: KeptComponents, testing_components: Any, tmp_path: Path
) -> None:
    """Of an activity and of a stub: the newest is active, each is found by its digest."""
    newer = tmp_path / "newer.wasm"
    newer.write_bytes(testing_components.activity.read_bytes() + b"\x00\x06\x04note!")
    wit = tmp_path / "stubs.wit"
    wit.write_text(WIT)
    old = load_active(loader, (activity(testing_components.activity), stub(wit)))
    kept.keep(old)
    wit.write_text(WIT.replace("question: string", "question: u8"))
    new = load_active(loader, (activity(newer, ExecutionPolicy()), stub(wit)))
    older = kept.load(loader, [each.digest for each in old])
    marks = Marks(tmp_path / "marks")
    deployed = Deployed(DeploymentId("Dep_1"), new, older, marks)
    marks.close()
    for version, policy in ((old[0], SLOW), (new[0], ExecutionPolicy())):
        info = FunctionInfo(ECHO, FunctionKind.ACTIVITY, version.digest, ErrForm.STRING, policy)
        assert deployed.pinned(version.digest, ECHO) == info
    assert deployed.active(ECHO) == deployed.pinned(new[0].digest, ECHO)
    assert deployed.pinned(old[1].digest, ECHO) is None
    assert len({old[1].digest, new[1].digest}) == 2
    for version in (old[1], new[1]):
        info = FunctionInfo(DECIDE, FunctionKind.STUB, version.digest, ErrForm.STRING, ExecutionPolicy())
        assert deployed.pinned(version.digest, DECIDE) == info
    assert deployed.typed_params(DECIDE, Json(b"[ 7 ]")) == Typed(Json(b"[7]"), deployed.active(DECIDE))
    assert isinstance(deployed.typed_params(DECIDE, Json(b'["?"]')), Rejection)
    for version in (old[1], new[1]):
        assert deployed.typed_result(version.digest, DECIDE, Json(b'{"ok": true}')) == Ok(Json(b"true"))
        assert isinstance(deployed.typed_result(version.digest, DECIDE, Json(b'{"ok": 7}')), Rejection)
    assert isinstance(deployed.typed_result(old[0].digest, DECIDE, Json(b'{"ok": true}')), Rejection)
    assert [(view.name, view.digest) for view in deployed.components()] == [
        ("acts", new[0].digest),
        ("asks", new[1].digest),
    ]


def test_source_code_is_kept_with_its_component_and_stays_as_it_was(
    loader: ComponentLoader, kept: KeptComponents, testing_components: Any, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.c", tmp_path / "second.c"
    first.write_text("one")
    second.write_text("two")

    def keep(**sources: Path) -> DeployedComponent:
        config = ComponentConfig(
            FunctionKind.WORKFLOW, "flows", testing_components.workflow, None, backtrace_sources=sources
        )
        (active,) = load_active(loader, (activity(testing_components.activity), config))[1:]
        kept.keep([active])
        return active

    active = keep(a=first)
    digest = active.digest
    assert files(tmp_path) == [f"{stem(active)}.{suffix}" for suffix in ("json", "sources", "wasm")]
    first.write_text("edited since")
    keep(a=first, b=second)
    assert [kept.source_text(digest, key) for key in "abc"] == ["one", "two", None]
    keep(a=second)  # another file was meant
    assert [kept.source_text(digest, key) for key in "ab"] == ["two", None]
    kept.forget_all_but(frozenset({digest}))
    assert kept.source_text(digest, "a") == "two"
    (tmp_path / "kept" / f"{stem(active)}.sources").write_bytes(b"half a fi")
    assert kept.source_text(digest, "a") is None
    keep(a=first)
    assert kept.source_text(digest, "a") == "edited since"
    kept.forget_all_but(frozenset())
    assert files(tmp_path) == []


def test_an_older_component_may_touch_what_the_active_one_of_its_name_may(
    loader: ComponentLoader, kept: KeptComponents, testing_components: Any, fibo_components: Any, tmp_path: Path
) -> None:
    """What an operator takes away today is taken from executions that began before; without a name there is nothing."""
    versions = [tmp_path / f"{number}.wasm" for number in range(3)]
    for number, path in enumerate(versions):
        path.write_bytes(testing_components.activity.read_bytes() + b"\x00\x06\x04note" + str(number).encode())

    def named(name: str, path: Path, variable: str) -> ComponentConfig:
        sandbox = Sandbox(environment=((variable, "x"),))
        return ComponentConfig(FunctionKind.ACTIVITY, name, path, None, sandbox=sandbox)

    old = load_active(loader, (named("acts", versions[0], "THEN"),)) + load_active(
        loader, (named("gone", versions[1], "THEN"),)
    )
    kept.keep(old)
    new = load_active(loader, (named("other", fibo_components.activity, "OTHER"), named("acts", versions[2], "TODAY")))
    deployed = Deployed(DeploymentId("Dep_1"), new, kept.load(loader, [each.digest for each in old]), None)
    today = Sandbox(environment=(("TODAY", "x"),))
    ffqn = FunctionName(ECHO)
    assert deployed.sandbox(new[1].digest, ffqn) == deployed.sandbox(old[0].digest, ffqn) == today
    assert deployed.sandbox(old[1].digest, ffqn) == CLOSED
    deployed.replace(DeploymentId("Dep_2"), new[:1])
    assert deployed.sandbox(old[0].digest, ffqn) == deployed.sandbox(new[1].digest, ffqn) == CLOSED
