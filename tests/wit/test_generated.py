"""Generated packages as text: parsed, they are what the host supplies."""

import pytest

from obelisk.core.ports import FunctionKind
from obelisk.wit.component import read_interface
from obelisk.wit.document import read_document
from obelisk.wit.extensions import ExtensionKind, classify, extension_function
from obelisk.wit.generated import TYPES_VERSIONS, extension_texts
from obelisk.wit.host import BORROWED_JOIN_SET, BORROWED_JOIN_SET_5
from obelisk.wit.printer import Printer, package_text

SEED = """
package template-fibo:activity;
interface fibo-activity-ifc {
  fibo: func(n: u8) -> result<u64>;
}
"""

# Names that the generated text needs for itself, or that are words of the language.
AWKWARD = """
package my:%interface@1.2.3;
interface types { record user { name: string } type %type = u8; }
interface %func {
  use types.{user as owner, %type};
  variant execution-id { execution-failed, other(owner) }
  enum stub-error { a }
  record join-set { a: u8 }
  record join-set-a { a: u8 }
  type schedule-at = string;
  type invoke-extension-error = string;
  %use: func(join-set: join-set, join-set-a: join-set-a, label: string, schedule-at: schedule-at) -> result<%type, execution-id>;
  get-extension-error: func(execution-id: execution-id, execution-result: owner) -> result<list<owner>, invoke-extension-error>;
  b: func() -> result<_, string>;
  not-an-execution: func() -> u8;
  await-next: func(e: stub-error) -> result;
}
interface nothing { f: func() -> u8; }
"""


@pytest.fixture
def generated(described, wasm_tools, tmp_path):
    """The generated interfaces of the last interface called `name`, as text and as parsed again."""

    def make(root, name, kind, version):
        document = described(root)
        index = next(index for index, each in enumerate(document.interfaces) if each.name == name)
        texts = extension_texts(document, index, kind, version)
        folder = tmp_path / f"generated-{len(list(tmp_path.iterdir()))}"
        (folder / "deps").mkdir(parents=True)
        printer = Printer(document)
        for number in range(len(document.packages)):
            own = [printer.interface(each) for each, item in enumerate(document.interfaces) if item.package == number]
            (folder / "deps" / f"{number}.wit").write_text(package_text(own))
        for text in texts:
            (folder / "deps" / f"{text.package.replace(':', '_')}.wit").write_text(package_text([text]))
        (folder / "root.wit").write_text("package any:any;")
        again = read_document(wasm_tools("component", "wit", "--json", str(folder)))
        names = {text.name for text in texts}
        found = [read_interface(again, each) for each in range(len(again.interfaces))]
        return texts, [each for each in found if each.name in names], read_interface(document, index)

    return make


def test_the_example_of_the_documentation(generated):
    (ext, schedule), _, _ = generated(SEED, "fibo-activity-ifc", FunctionKind.ACTIVITY, "4.2.0")
    assert (
        package_text([ext])
        == """\
package template-fibo:activity-obelisk-ext;

interface fibo-activity-ifc {
  use obelisk:types/execution@4.2.0.{execution-id, await-next-extension-error, get-extension-error, invoke-extension-error};
  use obelisk:types/join-set@4.2.0.{join-set};

  fibo-submit: func(join-set: borrow<join-set>, n: u8) -> execution-id;

  fibo-await-next: func(join-set: borrow<join-set>) -> result<tuple<execution-id, result<u64>>, await-next-extension-error>;

  fibo-get: func(execution-id: execution-id) -> result<result<u64>, get-extension-error>;

  fibo-invoke: func(label: string, n: u8) -> result<result<u64>, invoke-extension-error>;
}
"""
    )
    assert (
        package_text([schedule])
        == """\
package template-fibo:activity-obelisk-schedule;

interface fibo-activity-ifc {
  use obelisk:types/execution@4.2.0.{execution-id};
  use obelisk:types/time@4.2.0.{schedule-at};

  fibo-schedule: func(schedule-at: schedule-at, n: u8) -> execution-id;
}
"""
    )


def test_with_values_that_are_returned_and_without_labels_for_later_types(generated):
    (ext, stub), _, _ = generated(SEED, "fibo-activity-ifc", FunctionKind.STUB, "5.0.0")
    assert (
        package_text([ext])
        == """\
package template-fibo:activity-obelisk-ext;

interface fibo-activity-ifc {
  use obelisk:types/execution@5.0.0.{execution-id, await-next-extension-error, get-extension-error};
  use obelisk:types/join-set@5.0.0.{join-set};

  fibo-submit: func(join-set: borrow<join-set>, n: u8) -> execution-id;

  fibo-await-next: func(join-set: borrow<join-set>) -> result<result<u64>, await-next-extension-error>;

  fibo-get: func(execution-id: execution-id) -> result<result<u64>, get-extension-error>;
}
"""
    )
    assert (
        package_text([stub])
        == """\
package template-fibo:activity-obelisk-stub;

interface fibo-activity-ifc {
  use obelisk:types/execution@5.0.0.{execution-id, stub-error};

  fibo-stub: func(execution-id: execution-id, execution-result: result<u64>) -> result<_, stub-error>;
}
"""
    )


@pytest.mark.parametrize("version", TYPES_VERSIONS)
@pytest.mark.parametrize("kind", FunctionKind)
def test_it_is_what_the_host_supplies_whatever_the_names(generated, kind, version):
    texts, interfaces, extended = generated(AWKWARD, "func", kind, version)
    suffixes = ("ext", "stub") if kind is FunctionKind.STUB else ("ext", "schedule")
    assert [text.name for text in texts] == [f"my:interface-obelisk-{suffix}/func@1.2.3" for suffix in suffixes]
    later = version == "5.0.0"
    join_set = BORROWED_JOIN_SET_5 if later else BORROWED_JOIN_SET
    seen = set()
    for interface in interfaces:
        assert not interface.unsupported
        for function in interface.functions:
            base, extension = classify(interface.name, function.name)
            original = extended.function(base.rpartition(".")[2])
            assert function == extension_function(original, extension, join_set=join_set)
            seen.add((original.name, extension))
    kinds = {ExtensionKind.SUBMIT, ExtensionKind.AWAIT_NEXT, ExtensionKind.GET}
    kinds |= set() if later else {ExtensionKind.INVOKE}
    kinds |= {ExtensionKind.STUB if kind is FunctionKind.STUB else ExtensionKind.SCHEDULE}
    assert seen == {(name, each) for name in ("use", "get-extension-error", "b", "await-next") for each in kinds}


def test_nothing_is_generated_where_nothing_can_be_an_execution(generated):
    assert generated(AWKWARD, "nothing", FunctionKind.WORKFLOW, "4.2.0")[0] == ()
