"""Every function of wasi:http is supplied to activities, whatever the version 0.2.x, and nothing else is there."""

import re

import pytest

from obelisk.core.ports import FunctionKind
from obelisk.wasm.component import ComponentError
from obelisk.wasm.link import link_activity, link_workflow
from obelisk.wasm.wasi.http.functions import FUNCTIONS
from obelisk.wit import checks
from obelisk.wit.packages import package_files

PACKAGES = ("wasi_io@0.2.12", "wasi_clocks@0.2.12", "wasi_http@0.2.12")


@pytest.fixture
def everything(dummy_component, loader):
    """A function: version -> a component that imports all of wasi:http in that version, and exports nothing."""

    def make(version: str):
        world = f"import wasi:http/types@{version}; import wasi:http/outgoing-handler@{version};"
        text = f"package any:any;\nworld any {{ {world} }}\n"
        for package in PACKAGES:
            (body,) = package_files(package).values()
            body = re.sub(r"^world .*?^}", "", body, flags=re.MULTILINE | re.DOTALL)
            head, _, rest = body.partition(";")
            head = re.sub(r".*(?=package )", "", head, flags=re.DOTALL)
            text += f"{head} {{{rest}}}\n"
        return loader.load(dummy_component(text.replace("@0.2.12", f"@{version}")))

    return make


@pytest.mark.parametrize("version", ["0.2.0", "0.2.6", "0.2.12", "0.2.99"])
def test_a_component_that_imports_all_of_it_is_linked(everything, version):
    component = everything(version)
    link_activity(component)
    imported = {
        (interface.name.partition("@")[0], function.name)
        for interface in component.wit.imports
        for function in interface.functions
        if interface.name.startswith("wasi:http/")
    }
    supplied = {(interface, function) for interface, functions in FUNCTIONS.items() for function in functions}
    assert supplied - imported == {("wasi:http/types", "[method]response-outparam.send-informational")}  # not stable
    assert imported <= supplied


def test_a_workflow_has_none_of_it(everything):
    component = everything("0.2.12")
    found = checks.check([checks.Component("w", FunctionKind.WORKFLOW, component.wit)])
    assert any("wasi:http/types@0.2.12" in problem for problem in found)
    with pytest.raises(ComponentError, match="not supplied to workflows"):
        link_workflow(component)
