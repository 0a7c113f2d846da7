"""Fixtures that every test may ask for."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

TESTS = Path(__file__).resolve().parent


@functools.cache
def _fixture_module(stem: str) -> Any:
    """A module of fixtures/, loaded by its path: test folders are not packages."""
    name, path = f"fixtures_{stem}", TESTS / "fixtures" / f"{stem}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fixture_module() -> Callable[[str], Any]:
    """A function: name -> that module of fixtures/."""
    return _fixture_module


@dataclass(frozen=True)
class FiboComponents:
    """Paths of the example's committed components."""

    activity: Path
    workflow: Path
    toml: Path


@pytest.fixture(scope="session")
def fibo_components() -> FiboComponents:
    """`examples/fibo`: `.activity`, `.workflow` and `.toml`."""
    fibo = TESTS.parent / "examples" / "fibo"
    return FiboComponents(
        fibo / "components" / "fibo_activity.wasm",
        fibo / "components" / "fibo_workflow.wasm",
        fibo / "obelisk.toml",
    )


@pytest.fixture(scope="session")
def testing_components(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`testing:activity/acts` and `testing:workflow/flows`, built once a session: `.activity` and `.workflow`."""
    return _fixture_module("components").build(tmp_path_factory.mktemp("components"))


@dataclass(frozen=True)
class CallingComponents:
    """Paths of components that make every host call, one for each generation of the host's packages."""

    five: Path
    """`obelisk:types@4.2.0` and `obelisk:workflow@5.1.0`."""
    six: Path
    """`obelisk:types@5.0.0` and `obelisk:workflow@6.0.0`."""
    older: Path
    """`obelisk:types@4.0.0` and `obelisk:workflow@5.0.0`."""
    without_stubs: tuple[Path, Path]
    """The first two, without the functions of the stub activity."""
    flows_five: Path
    """`testing:json-five/flows`: several host calls in a row."""
    flows_six: Path
    """`testing:json-six/flows` and `testing:json-six/kinds`."""
    stubs: Path
    """The stub activity `testing:stubs/stubs`."""


@pytest.fixture(scope="session")
def calling_components(tmp_path_factory: pytest.TempPathFactory) -> CallingComponents:
    """See fixtures/calls.py; built once a session."""
    calls, tools = _fixture_module("calls"), _fixture_module("components")

    def made(build: Callable[..., Path], generation: Any) -> Path:
        return build(tmp_path_factory.mktemp("calls"), generation, tools)

    return CallingComponents(
        five=made(calls.build, calls.FIVE),
        six=made(calls.build, calls.SIX),
        older=made(calls.build, calls.OLDER),
        without_stubs=(made(calls.build, calls.WITHOUT_STUBS[0]), made(calls.build, calls.WITHOUT_STUBS[1])),
        flows_five=made(calls.build_flows, calls.FIVE),
        flows_six=made(calls.build_flows, calls.SIX),
        stubs=calls.build_stubs(tmp_path_factory.mktemp("stubs"), tools),
    )


@pytest.fixture(scope="session")
def feature_components(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """See fixtures/features.py; built once a session."""
    return _fixture_module("features").build(tmp_path_factory.mktemp("features"), _fixture_module("components"))


@pytest.fixture(scope="session")
def spawning_component(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See fixtures/spawning.py; built once a session."""
    return _fixture_module("spawning").build(tmp_path_factory.mktemp("spawning"), _fixture_module("components"))


@pytest.fixture
def dummy_component(tmp_path: Path) -> Callable[..., Path]:
    """A function (WIT text, world = "any") -> path of a component of that world, whose functions trap.

    The text is one file: `package any:any; world any { .. }`, then nested `package a:b { interface c { .. } }`.
    """
    made: list[Path] = []

    def make(wit: str, world: str = "any") -> Path:
        path = tmp_path / f"dummy{len(made)}.wasm"
        source = path.with_suffix(".wit")
        source.write_text(wit)
        path.write_bytes(_fixture_module("components").dummy_component(source, world))
        made.append(path)
        return path

    return make


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    """A function: TOML text -> a `Server` that was not started yet. All are killed at the end."""
    made: list[Any] = []

    def make(toml: str) -> Any:
        directory = tmp_path / f"server-{len(made)}"
        directory.mkdir()
        made.append(_fixture_module("serving").Server(directory, toml))
        return made[-1]

    yield make
    for each in made:
        if each.process is not None:
            each.kill()


@pytest.fixture(scope="session")
def wasi_components(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """See fixtures/wasi.py; built once a session: `.activity` and `.workflow`."""
    return _fixture_module("wasi").build(tmp_path_factory.mktemp("wasi"), _fixture_module("components"))
