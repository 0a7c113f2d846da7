"""Every named limit is documented, with its default."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import obelisk
from obelisk.config.settings import MEMORY_MAX_BYTES_DEFAULT
from obelisk.core.policy import ExecutionPolicy, Limits, OnTrap, RetryPolicy

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "limits.md").read_text()
ROW = re.compile(r"\| `(?P<name>[\w.]+)` \| (?P<value>[\d,]+)(?: (?P<unit>\S+))? \|")
UNITS: dict[str | None, float] = {None: 1, "MiB": 1 << 20, "µs": 1, "s": 1, "ms": 0.001}
SHOWN: dict[str, tuple[float, str | None]] = {
    row["name"]: (float(row["value"].replace(",", "")), row["unit"]) for row in ROW.finditer(PAGE)
}

NO_LIMITS = {"TRACE", "FORMAT", "ALL"}
"""Public numbers of these rings that are names of something else."""


def test_tables_are_read() -> None:
    assert len(SHOWN) > 30


@pytest.mark.parametrize("name", Limits.__struct_fields__)
def test_a_limit_is_documented(name: str) -> None:
    value, unit = SHOWN[name]
    us = 1_000_000 if unit == "s" else UNITS[unit]
    assert value * us == getattr(Limits(), name)


def test_every_policy_of_a_component_is_documented() -> None:
    policy = ExecutionPolicy()
    us = {"exec.lock_expiry": policy.lock_expiry_us, "exec.cpu_budget": policy.cpu_budget_us}
    us["retry_exp_backoff"] = policy.retry.exp_backoff_us
    for name, expected in us.items():
        value, unit = SHOWN[name]
        assert value * UNITS[unit] * 1_000_000 == expected
    assert SHOWN["max_retries"][0] == policy.retry.max_retries
    value, unit = SHOWN["exec.memory_max_bytes"]
    assert value * UNITS[unit] == MEMORY_MAX_BYTES_DEFAULT
    # A new field belongs into the page and into this test.
    assert set(ExecutionPolicy.__struct_fields__) == {
        "lock_expiry_us",
        "retry",
        "blocking",
        "on_trap",
        "cpu_budget_us",
        "logs",
    }
    retry = {"max_retries", "exp_backoff_us", "retry_on_err", "backoff_max_us", "jitter"}
    assert set(RetryPolicy.__struct_fields__) == retry
    assert (policy.retry.backoff_max_us, policy.retry.jitter, policy.on_trap) == (None, 0, OnTrap.FAIL)


def test_constants_have_the_documented_values() -> None:
    constants = {name: shown for name, shown in SHOWN.items() if name.count(".") >= 2}
    assert len(constants) > 5
    for name, (value, unit) in constants.items():
        module, _, constant = name.rpartition(".")
        assert getattr(importlib.import_module(f"obelisk.{module}"), constant) == value * UNITS[unit], name


def test_public_constants_are_documented() -> None:
    found = set()
    for ring in ("engine", "runtime", "api", "server", "wasm.wasi.http"):
        package = importlib.import_module(f"{obelisk.__name__}.{ring}")
        for each in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(each.name)
            source = Path(str(module.__file__)).read_text()
            for name in re.findall(r"^([A-Z][A-Z_]*): Final = ", source, re.MULTILINE):
                if type(getattr(module, name)) in (int, float) and name not in NO_LIMITS:
                    found.add(f"{each.name.removeprefix('obelisk.')}.{name}")
    assert found
    assert found <= SHOWN.keys()
