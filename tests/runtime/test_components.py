"""Loading components, and the copies that are kept of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from obelisk.config.settings import MEMORY_MAX_BYTES_DEFAULT, ComponentConfig
from obelisk.core.policy import ExecutionPolicy
from obelisk.core.ports import FunctionKind
from obelisk.runtime.components import DeploymentRefused, KeptComponents, load_active
from obelisk.wasm.component import ComponentLoader
from obelisk.wasm.engine import EngineConfig, Engines


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> ComponentLoader:
    return ComponentLoader(Engines(EngineConfig(pooling=False)), tmp_path_factory.mktemp("code"))


def activity(path: Path) -> ComponentConfig:
    return ComponentConfig(FunctionKind.ACTIVITY, "acts", path, None, ExecutionPolicy(), MEMORY_MAX_BYTES_DEFAULT)


def test_a_copy_is_exactly_what_was_loaded(loader: ComponentLoader, testing_components: Any, tmp_path: Path) -> None:
    active = load_active(loader, (activity(testing_components.activity),))
    kept = KeptComponents(tmp_path / "kept")
    kept.keep(active)
    (copy,) = (tmp_path / "kept").iterdir()
    assert copy.read_bytes() == testing_components.activity.read_bytes()
    (again,) = kept.load(loader, [active[0].digest], ExecutionPolicy())
    assert again.digest == active[0].digest
    kept.forget_all_but(frozenset())
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_file_that_is_replaced_between_reading_and_keeping_is_refused(
    loader: ComponentLoader, testing_components: Any, tmp_path: Path
) -> None:
    path = tmp_path / "acts.wasm"
    shutil.copy(testing_components.activity, path)
    active = load_active(loader, (activity(path),))
    shutil.copy(testing_components.workflow, path)
    with pytest.raises(DeploymentRefused, match=r"activity\w* acts: .*acts\.wasm was changed while the server read it"):
        KeptComponents(tmp_path / "kept").keep(active)
    assert list((tmp_path / "kept").iterdir()) == [], "a copy under a digest that it does not have"


def test_a_component_without_functions_is_told(
    loader: ComponentLoader,
    dummy_component: Callable[..., Path],
    testing_components: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    load_active(loader, (activity(testing_components.activity),))
    assert caplog.messages == []
    load_active(loader, (activity(dummy_component("package any:any; world any { export run: func() -> result; }")),))
    (message,) = caplog.messages
    assert "activity" in message
    assert "acts exports no function that can be called" in message
