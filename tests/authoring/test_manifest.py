"""component.toml: what it may say, and what is said about what it may not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from obelisk.authoring import ManifestError, find_manifests
from obelisk.authoring.manifest import KEYS, Language, read_manifest

ALL = 'language = "python"\nsource = "app.py"\nworld = "activity"\noutput = "../out/x.wasm"\n'


def problems(file):
    with pytest.raises(ManifestError) as raised:
        read_manifest(file)
    return [f"{problem.key}: {problem.message}" for problem in raised.value.problems]


def test_paths_are_relative_to_the_folder_of_the_file(component):
    manifest = read_manifest(component(manifest=ALL))
    folder = manifest.file.parent
    assert (manifest.language, manifest.world, manifest.folder) == (Language.PYTHON, "activity", folder)
    assert (manifest.source, manifest.wit) == (folder / "app.py", folder / "wit")
    assert manifest.output == folder.parent / "out" / "x.wasm"


def test_wit_may_be_elsewhere(component):
    file = component(manifest=f'{ALL}wit = "../shared"')
    (file.parent / "wit").rename(file.parent.parent / "shared")
    assert read_manifest(file).wit == file.parent.parent / "shared"


def test_everything_that_is_missing_is_told(component):
    assert problems(component(manifest="")) == [
        f"{key.name}: is missing; expected {key.expected}" for key in KEYS if key.default is None
    ]


@pytest.mark.parametrize(
    ("line", "key", "message"),
    [
        ('language = "cobol"', "language", 'expected "python", "javascript", "rust" or "c"; found "cobol"'),
        ("language = 3", "language", 'expected "python", "javascript", "rust" or "c"; found 3 (an integer)'),
        ('source = "b.py"', "source", "expected the path of a file beside this one or below; found nothing at {folder}/b.py"),
        ('source = "wit"', "source", "expected the path of a file beside this one or below; found a folder at {folder}/wit"),
        ('source = "../b.py"', "source", 'expected the path of a file beside this one or below; found "../b.py"'),
        ('source = ""', "source", 'expected the path of a file beside this one or below; found ""'),
        ('world = "any:any/x"', "world", 'expected the name of a world; found "any:any/x"'),
        ('output = "app"', "output", 'expected the path of a .wasm file; found "app"'),
        ('output = ["a.wasm"]', "output", "expected the path of a .wasm file; found an array"),
        ('wit = "nowhere"', "wit", "expected the path of a folder with .wit files; found nothing at {folder}/nowhere"),
        ('wit = "app.py"', "wit", "expected the path of a folder with .wit files; found a file at {folder}/app.py"),
        ('stub_wasi = "yes"', "stub_wasi", 'expected true or false; found "yes"'),
        ("stub_wasi = 1", "stub_wasi", "expected true or false; found 1 (an integer)"),
        ('wit = "wit/deps"', "wit", "expected the path of a folder with .wit files; found a folder without one at {folder}/wit/deps"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_what_was_found(component, line, key, message):
    others = [each for each in ALL.splitlines() if not each.startswith(f"{key} ")]
    file = component(manifest="\n".join([*others, line]))
    assert problems(file) == [f"{key}: {message.format(folder=file.parent)}"]


@pytest.mark.parametrize("language", ["rust", "c"])
def test_a_language_without_wasi_of_its_own_has_none_to_stub(component, language):
    manifest = ALL.replace("python", language)
    assert not read_manifest(component("a", manifest=f"{manifest}stub_wasi = false")).stub_wasi
    assert problems(component("b", manifest=f"{manifest}stub_wasi = true")) == [
        f"stub_wasi: is for Python and JavaScript; a component in {language} has what its world imports, and no more"
    ]


def test_an_output_that_is_a_folder_is_refused(component):
    file = component(manifest=ALL.replace("../out/x.wasm", "o.wasm"))
    (file.parent / "o.wasm").mkdir()
    assert problems(file) == [f"output: expected the path of a .wasm file; found a folder at {file.parent}/o.wasm"]


def test_unknown_keys_are_told_with_the_nearest(component):
    assert problems(component(manifest=f"{ALL}\nout_put = 1\n[x]\ny = 1\n")) == [
        "out_put: unknown key; did you mean output?",
        "x: unknown key; known here: language, output, source, stub_wasi, wit, world",
    ]


def test_what_is_not_toml_is_told(component):
    file = component(manifest="language = python")
    with pytest.raises(ManifestError, match=r"component\.toml: is not TOML: "):
        read_manifest(file)


def test_manifests_are_found_below_and_only_once(component, tmp_path):
    wanted = [component("a"), component("b"), component("b/c/d")]
    for folder in ("node_modules/x", "b/target/x", ".git/x", "venv/x"):
        component(folder)
    (tmp_path / "venv" / "pyvenv.cfg").write_text("")
    found = find_manifests([tmp_path, tmp_path / "b"])
    assert [manifest.file for manifest in found] == wanted


def test_where_nothing_is_there_is_nothing_to_build(tmp_path):
    assert find_manifests([tmp_path]) == []


def test_two_components_cannot_have_one_output(component, tmp_path):
    first, second = component("a", manifest=ALL), component("b", manifest=ALL)
    with pytest.raises(ManifestError) as raised:
        find_manifests([tmp_path])
    assert str(raised.value) == f"{second}: output: is the output of {first} too: {tmp_path}/out/x.wasm"


def test_problems_of_all_manifests_are_told_at_once(component, tmp_path):
    files = [component(name, manifest=ALL.replace("app.py", "b.py")) for name in ("a", "b")]
    with pytest.raises(ManifestError) as raised:
        find_manifests([tmp_path])
    assert [problem.source for problem in raised.value.problems] == list(map(str, files))


def test_the_guide_has_every_key_in_its_order_and_with_its_default():
    text = (Path(__file__).parents[2] / "docs/guides/authoring.md").read_text()
    section = text.partition("## component.toml\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE))
    assert list(rows) == [key.name for key in KEYS]
    for key in KEYS:
        if key.default is not None:
            written = str(key.default).lower() if isinstance(key.default, bool) else f'"{key.default}"'
            assert f"(`{written}`)" in rows[key.name]
