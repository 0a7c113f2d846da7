"""New projects: everything that can be seen without building them."""

from __future__ import annotations

import re
import tomllib

import pytest

from obelisk.authoring import find_manifests
from obelisk.authoring.building import world_of
from obelisk.authoring.languages import BUILDERS
from obelisk.authoring.manifest import Language
from obelisk.authoring.projects import TEMPLATES, NotEmpty, create_project
from obelisk.config import load
from obelisk.core.ports import FunctionKind
from obelisk.runtime.packages import FIRST_LINE, extensions, support
from obelisk.wit.checks import Component, check

ALL = [(template, language) for template in TEMPLATES for language in Language]
SEED = {
    "obelisk.toml",
    "README.md",
    "wit/impl.wit",
    "wit/deps/obelisk_types@4.2.0/types.wit",
    "wit/deps/obelisk_workflow@5.1.0/workflow-support.wit",
    "wit/deps/template-fibo_activity/fibo-activity.wit",
    "wit/deps/template-fibo_activity-obelisk-ext/activity-obelisk-ext.wit",
    "wit/deps/template-fibo_workflow/fibo-workflow.wit",
    "wit/template-fibo_workflow-obelisk-ext/workflow-obelisk-ext.wit",
    "wit/template-fibo_workflow-obelisk-schedule/workflow-obelisk-schedule.wit",
}


@pytest.fixture(params=ALL, ids="-".join)
def project(request, tmp_path):
    """Each project there is: its template, language and folder."""
    template, language = request.param
    folder = tmp_path / "project"
    create_project(TEMPLATES[template], language, folder)
    return TEMPLATES[template], language, folder


def test_its_components_can_be_built_as_far_as_that_can_be_seen(project):
    template, language, folder = project
    manifests = find_manifests([folder])
    assert [manifest.folder for manifest in manifests] == [(folder / at).resolve() for _, at in template.components]
    assert {manifest.language for manifest in manifests} == {language}
    for manifest, (component, _) in zip(manifests, template.components, strict=True):
        subject, kind = template.subject, "workflow" if component == "workflow" else "activity"
        assert manifest.world == kind
        assert [interface.name for interface in world_of(manifest).exports] == [
            f"template-{subject}:{kind}/{subject}-{kind}-ifc"
        ]


def test_its_configuration_deploys_what_is_built(project, fibo_components):
    _template, _language, folder = project
    manifests = find_manifests([folder])
    for manifest in manifests:
        example = fibo_components.workflow if manifest.world == "workflow" else fibo_components.activity
        manifest.output.write_bytes(example.read_bytes())
    config = load(folder / "obelisk.toml", {}, folder)
    sources = {component.source for component in config.components}
    assert {manifest.output for manifest in manifests} <= sources
    worlds = {manifest.output: world_of(manifest) for manifest in manifests}
    known = [
        Component(each.name, each.kind, worlds[each.source]) for each in config.components if each.source in worlds
    ]
    if len(known) == len(config.components):
        assert check(known) == ()


def test_no_blank_is_left_unfilled(project):
    _template, _language, folder = project
    texts = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".wasm"]
    assert [path for path in texts if re.search(r"@[A-Z]+@", path.read_text())] == []


def test_its_readme_names_its_test_and_what_is_to_be_installed(project):
    template, language, folder = project
    readme = (folder / "README.md").read_text()
    builder = BUILDERS[language]
    test_file = builder.test_file(template.subject)
    assert (folder / test_file).is_file()
    for text in (f"`{test_file}`", f"`{builder.test_command}`", *builder.install):
        assert text in readme


def test_git_ignores_what_is_made(project):
    _template, _language, folder = project
    ignored = (folder / ".gitignore").read_text().splitlines()
    outputs = {str(manifest.output.relative_to(folder.resolve())) for manifest in find_manifests([folder])}
    assert outputs | {"obelisk-sqlite/"} <= set(ignored)
    assert {path.name for path in folder.rglob("*.wasm")}.isdisjoint(ignored)


@pytest.mark.parametrize("language", Language)
def test_a_workflow_alone_has_the_tree_of_the_documentation(tmp_path, language):
    made = {path.as_posix() for path in create_project(TEMPLATES["fibo-workflow"], language, tmp_path)}
    assert made >= SEED


@pytest.mark.parametrize("template", ["fibo", "fibo-workflow"])
@pytest.mark.parametrize("language", Language)
def test_lines_of_the_workflow_are_shown_where_its_language_names_them(tmp_path, template, language, fibo_components):
    create_project(TEMPLATES[template], language, tmp_path)
    for manifest in find_manifests([tmp_path]):
        manifest.output.write_bytes(fibo_components.workflow.read_bytes())
    config = load(tmp_path / "obelisk.toml", {}, tmp_path)
    [workflow] = [each for each in config.components if each.kind is FunctionKind.WORKFLOW]
    [source] = [each.source for each in find_manifests([tmp_path]) if each.world == "workflow"]
    named = language in (Language.PYTHON, Language.C)
    assert workflow.backtrace_sources == ({f".../{source.name}": source} if named else {})


@pytest.mark.parametrize("language", Language)
def test_a_workflow_alone_comes_with_the_activity_of_the_example(tmp_path, language, fibo_components):
    create_project(TEMPLATES["fibo-workflow"], language, tmp_path)
    assert (tmp_path / "fibo_activity.wasm").read_bytes() == fibo_components.activity.read_bytes()
    configured = tomllib.loads((tmp_path / "obelisk.toml").read_text())["activity_wasm"]
    assert [each["location"] for each in configured] == ["${OBELISK_TOML_DIR}/fibo_activity.wasm"]


def test_what_is_generated_is_what_obelisk_generate_writes(project):
    _template, _language, folder = project
    for manifest in find_manifests([folder]):
        kind = FunctionKind(manifest.world)
        for at, packages in ((manifest.wit / "deps", support(kind)), (manifest.wit, extensions(manifest.wit, kind))):
            for package, files in packages.items():
                assert {path.name: path.read_text() for path in (at / package).iterdir()} == files


def test_both_components_of_a_project_speak_of_one_interface(tmp_path):
    create_project(TEMPLATES["fibo"], Language.PYTHON, tmp_path)
    written, generated = sorted((path.read_text() for path in tmp_path.rglob("fibo-activity.wit")), reverse=True)
    assert generated == f"{FIRST_LINE}{written}"
    activity, workflow = (world_of(manifest) for manifest in find_manifests([tmp_path]))
    components = [Component("a", FunctionKind.ACTIVITY, activity), Component("w", FunctionKind.WORKFLOW, workflow)]
    assert check(components) == ()


def test_a_folder_that_is_empty_will_do(tmp_path):
    paths = create_project(TEMPLATES["fibo-activity"], Language.PYTHON, tmp_path)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()) == sorted(paths)


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(NotEmpty, match=r"is not empty \(it has mine\.txt\)"):
        create_project(TEMPLATES["fibo"], Language.PYTHON, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotEmpty, match="is a file"):
        create_project(TEMPLATES["fibo"], Language.PYTHON, tmp_path / "file")
