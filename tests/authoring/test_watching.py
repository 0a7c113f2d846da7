"""Which components a change of files concerns."""

import os

import pytest

from obelisk.authoring import find_manifests
from obelisk.authoring.watching import Sources


@pytest.fixture
def sources(component, tmp_path):
    """Two components, one of them in the folder of the other, and a database."""
    component("outer")
    component("outer/inner")
    component("beside")
    return Sources(find_manifests([tmp_path]), [tmp_path / "outer" / "db"])


def names(manifests):
    return [manifest.folder.name for manifest in manifests]


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        (["outer/app.py"], ["outer"]),
        (["outer/more/deep.py", "outer/gone.json"], ["outer"]),
        (["outer/component.toml"], ["outer"]),
        (["outer/wit/deps/demo/demo.wit"], ["outer"]),
        (["outer/inner/app.py"], ["inner"]),
        (["outer/inner/wit/impl.wit", "beside/app.py"], ["beside", "inner"]),
        (["outer/app.wasm", "beside/other.wasm"], []),
        (["outer/README.md", "outer/obelisk.toml", "outer/app.py~", "outer/.app.py.swp", "outer/app.py.swp"], []),
        (["outer/node_modules/x.js", "outer/target/x.rs", "outer/.git/x", "outer/more/__pycache__/x.pyc"], []),
        (["outer/db/obelisk.sqlite"], []),
        (["outer/__pycache__", "outer/target", "beside/node_modules", "outer/.venv"], []),
        (["beside"], ["beside"]),  # as when a folder is renamed
        (["outer/wit"], ["outer"]),
        (["outer/inner"], ["inner"]),
        (["outer"], ["outer", "inner"]),
        (["elsewhere/app.py", "app.py"], []),
        ([], []),
    ],
)
def test_a_change_concerns_the_component_that_is_built_of_it(sources, tmp_path, changed, found):
    assert names(sources.concerned([tmp_path / path for path in changed])) == found


def test_a_component_is_outdated_until_it_is_built_and_when_a_source_is_newer(sources, tmp_path):
    assert names(sources.outdated()) == ["beside", "outer", "inner"]
    for path in tmp_path.rglob("*"):
        os.utime(path, ns=(10**18, 10**18))
    for folder in ("outer", "outer/inner", "beside"):
        (tmp_path / folder / "app.wasm").touch()
        os.utime(tmp_path / folder / "app.wasm", ns=(2 * 10**18, 2 * 10**18))
    assert sources.outdated() == []
    (tmp_path / "outer" / "db").mkdir()
    (tmp_path / "outer" / "README.md").touch()
    later = {
        "outer/README.md": [],
        "outer/db": [],
        "outer/inner/wit/impl.wit": ["inner"],
        "beside/app.py": ["beside", "inner"],
    }
    for path, found in later.items():
        os.utime(tmp_path / path, ns=(3 * 10**18, 3 * 10**18))
        assert names(sources.outdated()) == found
