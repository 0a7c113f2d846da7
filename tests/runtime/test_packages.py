"""WIT packages of deployed components, for the authors of their callers."""

from __future__ import annotations

import pytest

from obelisk.config.settings import ComponentConfig
from obelisk.core.ids import Digest
from obelisk.core.ports import FunctionKind
from obelisk.runtime.packages import PackagesRefused, dependencies, extensions
from obelisk.wasm import tools

SHARED = "package shop:shared@1.0.0;\ninterface types {{ type id = u64; record order {{ id: id, {field} }} enum unused {{ a }} }}\n"
USER = """
package shop:{name};
/// What {name} does.
interface api {{
  use shop:shared/types@1.0.0.{{order}};
  {function}: func(of: order) -> result<list<order>, string>;
}}
world w {{ export api; }}
"""


@pytest.fixture
def configured(tmp_path):
    """A stub whose WIT uses a type of another package; `binary`: a component that was made of that."""

    def make(name, field="paid: bool", *, binary=False):
        folder = tmp_path / name
        (folder / "deps").mkdir(parents=True)
        (folder / "deps" / "shared.wit").write_text(SHARED.format(field=field))
        (folder / "root.wit").write_text(USER.format(name=name, function=f"do-{name}"))
        source = folder
        if binary:
            source = tmp_path / f"{name}.wasm"
            module = tools._run("component", "embed", "--dummy", str(folder), "-w", "w")
            source.write_bytes(tools.wrap_module(module))
        return ComponentConfig(FunctionKind.STUB, name, source, None)

    return make


def test_packages_that_several_components_use_are_there_once(configured):
    files, missing = dependencies([configured("one"), configured("two", binary=True)])
    assert missing == []
    assert list(files) == [
        *("shop_one-obelisk-ext", "shop_one-obelisk-stub", "shop_one", "shop_shared@1.0.0"),
        *("shop_two-obelisk-ext", "shop_two-obelisk-stub", "shop_two"),
    ]
    (shared,) = files["shop_shared@1.0.0"].values()
    assert "enum unused" in shared  # the component does not carry it, the folder does
    assert "/// What one does.\ninterface api" in files["shop_one"]["one.wit"]


def test_they_are_a_folder_that_can_be_parsed(configured, tmp_path):
    configs = [configured("one", binary=True), configured("two")]
    files, _ = dependencies(configs, tmp_path / "cache")
    assert dependencies(configs, tmp_path / "cache")[0] == files
    paths = {f"deps/{folder}/{name}": text for folder, of in files.items() for name, text in of.items()}
    types = {f"deps/types/{name}": text for name, text in _host_types().items()}
    package, _ = tools.package_wit({"root.wit": "package a:b;", **paths, **types})
    assert package == "a:b"


def _host_types():
    from obelisk.wit.packages import package_files

    return package_files("obelisk_types@4.2.0")


def test_components_that_mean_different_things_by_one_type(configured):
    with pytest.raises(PackagesRefused) as refused:
        dependencies([configured("one"), configured("two", "paid: u8")])
    (problem,) = refused.value.problems
    assert problem == (
        "stub one and stub two do not fit together: shop:shared/types@1.0.0.order is described in two ways:\n"
        "  record order { id: id, paid: bool, }\n"
        "  record order { id: id, paid: u8, }"
    )


def test_all_that_is_wrong_is_told(configured, tmp_path):
    (tmp_path / "no.wit").write_text("interface {")
    bad = ComponentConfig(FunctionKind.STUB, "bad", tmp_path / "no.wit", None)
    other = ComponentConfig(FunctionKind.STUB, "other", configured("one").source, Digest("sha256:" + "0" * 64))
    with pytest.raises(PackagesRefused) as refused:
        dependencies([bad, other])
    assert [problem.partition(":")[0] for problem in refused.value.problems] == ["stub bad", "stub other"]
    assert "content_digest says sha256:000" in str(refused.value)


def test_extensions_of_a_component_file_and_of_a_folder_are_the_same(configured):
    folder, binary = configured("one").source, configured("two", binary=True).source
    one, two = (extensions(source, FunctionKind.ACTIVITY) for source in (folder, binary))
    assert {
        name.replace("one", "two"): [text.replace("one", "two") for text in of.values()] for name, of in one.items()
    } == {name: list(of.values()) for name, of in two.items()}
