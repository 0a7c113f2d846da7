"""The page on host functions names every function and every package."""

from __future__ import annotations

from pathlib import Path

import pytest

from obelisk.wit.host import WORKFLOW_SUPPORT, WORKFLOW_SUPPORT_6, versions
from obelisk.wit.packages import ACTIVITY_PACKAGES, PACKAGES

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "host.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("package", [*PACKAGES, *ACTIVITY_PACKAGES])
def test_every_package_is_named(package: str) -> None:
    assert f"`{package.replace('_', ':')}`" in PAGE


@pytest.mark.parametrize("support", [WORKFLOW_SUPPORT, WORKFLOW_SUPPORT_6])
def test_every_function_is_named(support: str) -> None:
    (interface,) = (each for each in versions(support) if each.name == support)
    plain = {function.name for function in interface.functions if not function.name.endswith("-bt")}
    assert {name for name in plain if f"`{name}`" not in PAGE} == set()
