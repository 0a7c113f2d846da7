"""The page on WASI names every interface that is supplied, and the limits that hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from obelisk.core.ports import FunctionKind
from obelisk.runtime.lane import BEGUN_MAX
from obelisk.wasm.wasi import io, output, random, streams
from obelisk.wit.packages import WASI_PACKAGES, package_files
from obelisk.wit.wasi import SUPPLIED

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "wasi.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", SUPPLIED)
def test_every_interface_that_is_supplied_is_named(kind: FunctionKind) -> None:
    rows = PAGE[: PAGE.index("## Waiting")]
    assert SUPPLIED[kind] <= set(re.findall(r"`(wasi:[a-z]+/[a-z-]+)`", rows))
    assert set(re.findall(r"`(wasi:[a-z]+/[a-z-]+)`", rows)) == SUPPLIED[FunctionKind.ACTIVITY]


def test_the_packages_have_every_interface_that_is_supplied() -> None:
    found = set()
    for package in WASI_PACKAGES:
        (text,) = package_files(package).values()
        name = package.partition("@")[0].replace("_", ":")
        found |= {f"{name}/{interface}" for interface in re.findall(r"^interface ([a-z-]+) ", text, re.MULTILINE)}
    assert found == SUPPLIED[FunctionKind.ACTIVITY] - {"wasi:clocks/timezone"}  # not stable


def test_the_limits_are_those_that_hold() -> None:
    assert f"At most {BEGUN_MAX:,} activities" in PAGE
    assert io.READ_MAX == streams.AHEAD_MAX == 64 << 10 and PAGE.count("64 KiB") == 2
    assert f"{io.BLOCKING_WRITE_MAX:,}, by the standard" in PAGE
    assert random.BYTES_MAX == 1 << 20 and "1 MiB" in PAGE
    assert output.LINE_MAX == 8 << 10 and "8 KiB" in PAGE
