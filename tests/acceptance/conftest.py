"""Servers with components, and a disk that fails on command."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs Debian packages or minutes."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.acceptance)


@pytest.fixture(scope="session")
def componentize_py() -> Path:
    """The tool that makes components of Python: on PATH, where `make acceptance` puts it."""
    found = shutil.which("componentize-py")
    if found is None:
        pytest.skip("componentize-py is not on PATH: make acceptance installs it")
    return Path(found)


@pytest.fixture(scope="session")
def wasi_programs(tmp_path_factory: pytest.TempPathFactory, fixture_module: Callable[[str], Any]) -> dict[str, Path]:
    """A component for each group of WASI's functions: see fixtures/groups.py."""
    made: dict[str, Path] = fixture_module("groups").build(tmp_path_factory.mktemp("programs"))
    return made


@pytest.fixture
def fibo(server: Any, fibo_components: Any) -> Any:
    """A server with the example's components, not started yet."""
    return server(
        f"""
        [[activity_wasm]]
        name = "activity_myfibo"
        location = "{fibo_components.activity}"
        exec.lock_expiry.seconds = 60

        [[workflow]]
        name = "myworkflow"
        location = "{fibo_components.workflow}"
        """
    )


@pytest.fixture
def flows(server: Any, testing_components: Any) -> Any:
    """A server with the components of tests/fixtures, nothing retried, not started yet."""
    return server(
        f"""
        [[activity_wasm]]
        name = "acts"
        location = "{testing_components.activity}"
        max_retries = 0
        exec.lock_expiry.milliseconds = 10
        exec.memory_max_bytes = 4194304

        [[workflow]]
        name = "flows"
        location = "{testing_components.workflow}"
        exec.cpu_budget.milliseconds = 20
        exec.memory_max_bytes = 4194304
        """
    )


@pytest.fixture(scope="session")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The LD_PRELOAD library of faults.c."""
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    source = HERE / "faults.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source, "-ldl"], check=True)
    return library
