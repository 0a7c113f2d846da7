"""What the tools are called with, and what is told of what they say."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from obelisk.authoring import BuildFailed, Toolbox, ToolMissing, build, write_bindings
from obelisk.authoring.languages import BUILDERS, javascript, python
from obelisk.authoring.languages.python import module_names
from obelisk.authoring.manifest import Language, read_manifest
from obelisk.authoring.projects import TEMPLATES, project_files
from obelisk.wit.component import ComponentWit, Interface

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path):
    """A function: the manifest of the one component of a new project, which is a workflow."""

    def make(language, template="fibo-workflow"):
        for path, content in project_files(TEMPLATES[template], language).items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content)
        return read_manifest(tmp_path / "component.toml")

    return make


def made_at(called):
    """The path after `--output`: a name of its own beside the output."""
    return called[called.index("--output") + 1]


def test_every_language_has_a_builder():
    assert set(BUILDERS) == set(Language)


def test_python_is_built_with_short_names_of_modules(project, tool, toolbox, fibo_components):
    manifest, fake = project(Language.PYTHON), tool("componentize-py", gives=fibo_components.workflow)
    build(manifest, toolbox)
    folder = str(manifest.folder)
    assert re.fullmatch(rf"{folder}/\.fibo_workflow\.\d+\.wasm", made_at(fake.called))
    assert fake.called == [
        folder,
        *("--quiet", "--wit-path", f"{folder}/wit", "--world", "workflow"),
        *("--import-interface-name", "template-fibo:activity/fibo-activity-ifc=fibo_activity_ifc"),
        *("--import-interface-name", "template-fibo:activity-obelisk-ext/fibo-activity-ifc=fibo_activity_ifc_ext"),
        *("componentize", "--python-path", folder, "--python-path", str(python.GUEST)),
        *("--output", made_at(fake.called), "fibo_workflow"),
    ]
    assert (python.GUEST / "obelisk_guest" / "__init__.py").is_file()


def test_bindings_have_the_same_short_names_of_modules_and_come_with_the_package(project, tool, toolbox):
    manifest, fake = project(Language.PYTHON), tool("componentize-py")
    folder = manifest.folder / ".bindings"
    (folder / "wit_world").mkdir(parents=True)
    (folder / "wit_world" / "of_yesterday.py").write_text("")
    assert write_bindings(manifest, toolbox) == folder
    assert fake.called == [
        str(manifest.folder),
        *("--quiet", "--wit-path", f"{manifest.folder}/wit", "--world", "workflow"),
        *("--import-interface-name", "template-fibo:activity/fibo-activity-ifc=fibo_activity_ifc"),
        *("--import-interface-name", "template-fibo:activity-obelisk-ext/fibo-activity-ifc=fibo_activity_ifc_ext"),
        *("bindings", fake.called[-1]),
    ]
    guest = {f"obelisk_guest/{path.name}" for path in (python.GUEST / "obelisk_guest").iterdir() if path.is_file()}
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == guest | {
        "wit_world/__init__.py"
    }
    assert "obelisk_guest/py.typed" in guest
    assert [path.name for path in manifest.folder.iterdir() if path.name.startswith(".b")] == [".bindings"]


def test_bindings_that_could_not_be_written_leave_what_was_there(project, tool, toolbox):
    manifest = project(Language.PYTHON)
    tool("componentize-py", says=PYTHON_SAID, code=1)
    folder = manifest.folder / ".bindings"
    folder.mkdir()
    (folder / "kept.py").write_text("")
    with pytest.raises(BuildFailed, match=r"^componentize-py ended with exit code 1:\nTraceback"):
        write_bindings(manifest, toolbox)
    assert [path.name for path in folder.iterdir()] == ["kept.py"]
    assert [path.name for path in manifest.folder.iterdir() if path.name.startswith(".b")] == [".bindings"]


@pytest.mark.parametrize("language", sorted(set(Language) - {Language.PYTHON}))
def test_other_languages_have_no_bindings_and_need_no_tools_for_that(project, toolbox, language):
    manifest = project(language)
    assert write_bindings(manifest, toolbox) is None
    assert not (manifest.folder / ".bindings").exists()


@pytest.mark.parametrize("active", [None, "/some/venv"])
@pytest.mark.parametrize("own", [True, False])
def test_packages_are_those_of_the_environment_that_is_active_or_else_of_obelisk(
    project, tool, toolbox, fibo_components, tmp_path, active, own
):
    manifest, fake = project(Language.PYTHON), tool("componentize-py", gives=fibo_components.workflow)
    if own:
        (tmp_path / "pyvenv.cfg").write_text("")
    given = dict(toolbox.environ) | ({"VIRTUAL_ENV": active} if active else {})
    build(manifest, Toolbox(given, toolbox.beside))
    expected = active or (str(tmp_path) if own else None)
    assert re.findall(r"VIRTUAL_ENV='?([^'\n]*)", fake.environ) == ([expected] if expected else [])


def test_javascript_is_built_synchronously(project, tool, toolbox, fibo_components):
    manifest, fake = project(Language.JAVASCRIPT), tool("componentize-qjs", gives=fibo_components.workflow)
    tool("node")
    build(manifest, toolbox)
    folder = str(manifest.folder)
    assert re.fullmatch(rf"{folder}/\.fibo_workflow\.\d+\.wasm", made_at(fake.called))
    assert fake.called == [
        folder,
        *("--wit", f"{folder}/wit", "--world", "workflow", "--js", f"{folder}/fibo_workflow.js"),
        *("--sync", "--output", made_at(fake.called)),
    ]


@pytest.mark.parametrize(
    ("language", "command"), [(Language.PYTHON, "componentize-py"), (Language.JAVASCRIPT, "componentize-qjs")]
)
@pytest.mark.parametrize("stubbed", [True, False])
def test_wasi_is_stubbed_where_the_manifest_says_so(
    project, tool, toolbox, fibo_components, language, command, stubbed
):
    manifest, fake = project(language), tool(command, gives=fibo_components.workflow)
    tool("node")
    with manifest.file.open("a") as file:
        file.write(f"stub_wasi = {str(stubbed).lower()}\n")
    build(read_manifest(manifest.file), toolbox)
    assert ("--stub-wasi" in fake.called) is stubbed


def test_javascript_with_http_is_built_by_componentize_js(project, tool, toolbox, fibo_components):
    manifest, fake = (
        project(Language.JAVASCRIPT, "http-activity"),
        tool("componentize-js", gives=fibo_components.activity),
    )
    tool("node")
    build(manifest, toolbox)
    folder = str(manifest.folder)
    made = fake.called[-1]
    assert re.fullmatch(rf"{folder}/\.http_activity\.\d+\.wasm", made)
    assert fake.called == [
        folder,
        *(f"{folder}/http_activity.js", "--wit", f"{folder}/wit", "--world-name", "activity"),
        *("--disable", "fetch-event", "--out", made),
    ]


def test_javascript_with_http_says_what_it_needs(project, tool, toolbox):
    manifest = project(Language.JAVASCRIPT, "http-activity")
    tool("node")
    tool("componentize-qjs")
    with pytest.raises(
        ToolMissing, match=r"^componentize-js was not found .* that send HTTP requests\. Install it: npm install"
    ):
        build(manifest, toolbox)
    tool("componentize-js")
    with manifest.file.open("a") as file:
        file.write("stub_wasi = true\n")
    with pytest.raises(BuildFailed, match=r"^the world activity imports wasi:http; stub_wasi = true takes that away$"):
        build(read_manifest(manifest.file), toolbox)


def test_javascript_needs_node_too(project, tool, toolbox):
    manifest = project(Language.JAVASCRIPT)
    tool("componentize-qjs")
    with pytest.raises(ToolMissing, match=r"^node was not found on PATH; .* Install it: apt-get install nodejs npm$"):
        build(manifest, toolbox)


@pytest.mark.parametrize(
    ("imports", "expected"),
    [
        (["a:b/c"], {}),
        (["a:b/c", "a:b-obelisk-ext/c"], {"a:b/c": "c", "a:b-obelisk-ext/c": "c_ext"}),
        (
            ["a:b/c-d@1.0.0", "a:b-obelisk-schedule/c-d@1.0.0", "a:b-obelisk-stub/c-d@1.0.0"],
            {
                "a:b/c-d@1.0.0": "c_d",
                "a:b-obelisk-schedule/c-d@1.0.0": "c_d_schedule",
                "a:b-obelisk-stub/c-d@1.0.0": "c_d_stub",
            },
        ),
        # Which of two is meant by the short name, nobody can say.
        (["a:b/c", "x:y/c"], {}),
        (["a:b/c", "a:b-obelisk-ext/c", "x:y/c"], {"a:b-obelisk-ext/c": "c_ext"}),
        (["a:b/c@1.0.0", "a:b/c@2.0.0"], {}),
    ],
)
def test_modules_of_extensions_are_named_after_their_interface(imports, expected):
    wit = ComponentWit(imports=tuple(Interface(name) for name in imports))
    assert dict(module_names(wit)) == expected


PYTHON_SAID = """Traceback (most recent call last):
  File "/somewhere/bin/componentize-py", line 8, in <module>
    sys.exit(script())
             ^^^^^^^^
AssertionError: Traceback (most recent call last):
  File "/0/app.py", line 1, in <module>
    from wit_world.imports.nothing import fibo
ModuleNotFoundError: No module named 'wit_world.imports.nothing'


Caused by:
    ModuleNotFoundError: No module named 'wit_world.imports.nothing'
"""
PYTHON_TOLD = """Traceback (most recent call last):
  File "{folder}/app.py", line 1, in <module>
    from wit_world.imports.nothing import fibo
ModuleNotFoundError: No module named 'wit_world.imports.nothing'"""


def test_of_an_error_in_python_the_authors_part_is_told(component, tool, toolbox):
    manifest = read_manifest(component())
    tool("componentize-py", says=PYTHON_SAID, code=1)
    with pytest.raises(BuildFailed) as raised:
        build(manifest, toolbox)
    told = PYTHON_TOLD.format(folder=manifest.folder)
    assert str(raised.value) == f"componentize-py ended with exit code 1:\n{told}"


JAVASCRIPT_SAID = """componentize-qjs
  WIT:    wit
  JS:     bad.js
  Output: bad.wasm
Stubbing WASI imports...
Error: : Failed to evaluate user JavaScript module: Failed to declare JavaScript module: Error: variable name expected
    at /bad.js:1:5

"""


def test_of_an_error_in_javascript_the_authors_part_is_told():
    assert javascript.readable(JAVASCRIPT_SAID) == (
        "Failed to evaluate user JavaScript module: Failed to declare JavaScript module: Error: variable name expected\n"
        "    at /bad.js:1:5"
    )


def test_an_error_in_another_form_is_told_whole():
    assert python.readable("error: it is Monday\n", Path("x")) == javascript.readable("error: it is Monday\n")
    assert javascript.readable("error: it is Monday\n") == "error: it is Monday"


def test_versions_are_the_same_wherever_they_are_written():
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["python-guests"]
    assert python.COMPONENTIZE_PY.install == f"pip install '{extra[0]}'"
    tools = {
        "componentize-qjs": javascript.COMPONENTIZE_QJS,
        "@bytecodealliance/componentize-js": javascript.COMPONENTIZE_JS,
    }
    for template in TEMPLATES.values():
        files = {str(path): content for path, content in project_files(template, Language.JAVASCRIPT).items()}
        ((package, version),) = json.loads(files["package.json"])["devDependencies"].items()
        assert tools[package].install == f"npm install --save-dev {package}@{version}"
