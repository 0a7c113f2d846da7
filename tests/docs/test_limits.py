"""Every named limit is documented, with its default."""

from __future__ import annotations

from pathlib import Path

import pytest

from obelisk.core.policy import Limits

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "limits.md").read_text()


@pytest.mark.parametrize("name", Limits.__struct_fields__)
def test_a_limit_is_documented(name: str) -> None:
    row = next((line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")), None)
    assert row is not None, f"{name} is not in docs/guides/limits.md"
    default = getattr(Limits(), name)
    shown = {"tick_bytes_max": "16 MiB", "lease_us": "10 s", "tick_deciding_us_max": "5000 µs"}.get(name, str(default))
    assert f"| {shown} |" in row
