"""Environment variables of guests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from obelisk.config import load
from obelisk.config.loading import ConfigError

ENVIRON = {"TOKEN": "secret", "EMPTY": "", "HOME": "/nowhere"}


@pytest.fixture
def environment(tmp_path: Path) -> Any:
    """A function: TOML of an `env_vars` -> what the sandbox has, or what is wrong with it."""
    (tmp_path / "a.wasm").touch()

    def read(text: str, **options: Any) -> Any:
        path = tmp_path / "obelisk.toml"
        path.write_text(f'[[activity_wasm]]\nname = "a"\nlocation = "{tmp_path}/a.wasm"\nenv_vars = {text}')
        return load(path, ENVIRON, tmp_path, **options).components[0].sandbox.environment

    return read


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("[]", ()),
        ('["TOKEN", "KEY=a=b", "NONE="]', (("TOKEN", "secret"), ("KEY", "a=b"), ("NONE", ""))),
        ('[{key = "AUTH", value = "Bearer ${TOKEN}!"}]', (("AUTH", "Bearer secret!"),)),
        ('[{key = "A", value = "${MISSING-x}${EMPTY-x}${EMPTY:-y}${MISSING:-}"}]', (("A", "xy"),)),
        ('[{key = "A", value = "$TOKEN {TOKEN} ${TOKEN}"}]', (("A", "$TOKEN {TOKEN} secret"),)),
    ],
)
def test_forms(environment: Any, text: str, variables: Any) -> None:
    assert environment(text) == variables


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('["TOKEN", "MISSING"]', 'env_vars[1]: the server has no environment variable MISSING; set it, or write "MISSING="'),
        ('[{key = "A", value = "${MISSING}"}]', "env_vars[0]: the server has no environment variable MISSING"),
        ('["A B"]', "env_vars[0]: expected a name of letters, digits and _"),
        ('["=x"]', "env_vars[0]: expected a name"),
        ('[{key = "A", value = "${}"}]', "env_vars[0]: expected a name"),
        ('["A=1", "A=2"]', "env_vars[1]: A is set twice"),
        ('[{key = "A"}]', "env_vars[0]: expected"),
        ("[3]", "env_vars[0]: expected"),
        ('"TOKEN"', "env_vars: expected an array"),
    ],
)  # fmt: skip
def test_what_is_wrong(environment: Any, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        environment(text)
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)


def test_what_is_missing_may_be_missed_elsewhere(environment: Any) -> None:
    assert environment('["TOKEN", "MISSING"]', variables_may_be_missing=True) == (("TOKEN", "secret"), ("MISSING", ""))
