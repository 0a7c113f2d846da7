"""The configuration to begin with."""

import re
from pathlib import Path

import pytest

from obelisk.config.keys import COMPONENT_TABLES, KEYS_OF, ROOT
from obelisk.config.loading import load
from obelisk.config.template import template


@pytest.fixture
def loaded(tmp_path):
    def load_text(text):
        path = tmp_path / "obelisk.toml"
        path.write_text(text)
        (tmp_path / "wit").mkdir(exist_ok=True)
        for name in ("my_workflow", "my_activity"):
            (tmp_path / f"{name}.wasm").touch()
        (tmp_path / "my_program.sh").touch()
        return load(path, {"HOME": str(tmp_path)}, Path("/nowhere"))

    return load_text


def test_it_is_the_configuration_of_the_defaults(loaded):
    assert loaded(template()).components == ()
    assert loaded(template()).digest == loaded("").digest


def test_what_it_says_can_be_turned_on(loaded):
    """Each line that sets something; those of the stub that describe a function in place are instead of its location."""
    settings = re.findall(r"^# (\[\[\w+\]\]|[a-z_.]+ = .*)$", template(), re.MULTILINE)
    text = "\n".join(line for line in settings if line != "params = []")
    config = loaded(text)
    assert [each.name for each in config.components] == ["my_workflow", "my_activity", "my_program", "my_stub"]
    bare = "\n".join(line for line in settings if line.startswith(("[[", "name", "location", "ffqn", "return_type")))
    assert loaded(bare).digest == config.digest
    assert all(len(line) <= 120 for line in template().splitlines())


def test_every_key_that_decides_something_is_there():
    keys = [key for keys in (ROOT, *(KEYS_OF[table.path] for table in COMPONENT_TABLES)) for key in keys]
    named = re.findall(
        r"^# ([a-z_.]+?)(?:\.(?:milliseconds|seconds|minutes|hours))?(?: = | has no)", template(), re.MULTILINE
    )
    assert named == [key.path for key in keys if key.effect]
