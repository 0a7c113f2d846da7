"""Extension functions: names, signatures, and back from a name to what it extends."""

import pytest

from obelisk.core.ports import FunctionKind
from obelisk.wit.component import Function, Interface
from obelisk.wit.extensions import (
    ExtensionKind,
    classify,
    extension_function,
    extension_interfaces,
    package_suffix,
)
from obelisk.wit.host import BORROWED_JOIN_SET_5
from obelisk.wit.types import Prim, Result, Signature

ACTIVITY = "package testing:fibo@1.0.0; interface fibo { fibo: func(n: u8) -> result<u64>; }"
# The example of the documentation, with the home of each type as the packages have it.
EXTENSIONS = """
package testing:fibo-obelisk-ext@1.0.0;
interface fibo {
    use obelisk:types/execution@4.2.0.{execution-id, await-next-extension-error, get-extension-error, invoke-extension-error};
    use obelisk:types/join-set@4.2.0.{join-set};
    fibo-submit: func(join-set: borrow<join-set>, n: u8) -> execution-id;
    fibo-await-next: func(join-set: borrow<join-set>) -> result<tuple<execution-id, result<u64>>, await-next-extension-error>;
    fibo-get: func(execution-id: execution-id) -> result<result<u64>, get-extension-error>;
    fibo-invoke: func(label: string, n: u8) -> result<result<u64>, invoke-extension-error>;
}
"""
SCHEDULE = """
package testing:fibo-obelisk-schedule@1.0.0;
interface fibo {
    use obelisk:types/execution@4.2.0.{execution-id};
    use obelisk:types/time@4.2.0.{schedule-at};
    fibo-schedule: func(schedule-at: schedule-at, n: u8) -> execution-id;
}
"""


STUB = """
package testing:fibo-obelisk-stub@1.0.0;
interface fibo {
    use obelisk:types/execution@4.2.0.{execution-id, stub-error};
    fibo-stub: func(execution-id: execution-id, execution-result: result<u64>) -> result<_, stub-error>;
}
"""
IMPORTED = """package t:t; world w {
    import testing:fibo-obelisk-ext/fibo@1.0.0;
    import testing:fibo-obelisk-schedule/fibo@1.0.0;
    import testing:fibo-obelisk-stub/fibo@1.0.0;
}"""


@pytest.fixture
def exported(component_wit):
    """What the activity exports."""
    return component_wit(f"{ACTIVITY} world w {{ export fibo; }}").exports[0]


@pytest.mark.parametrize("kind", FunctionKind)
def test_generated_interfaces_are_what_a_guest_imports(component_wit, exported, kind):
    wit = component_wit(IMPORTED, ext=EXTENSIONS, schedule=SCHEDULE, stub=STUB)
    other = "-obelisk-schedule" if kind is FunctionKind.STUB else "-obelisk-stub"
    imported = {i.name: i for i in wit.imports if "obelisk-" in i.name and other not in i.name}
    assert len(imported) == 2
    assert {interface.name: interface for interface in extension_interfaces(exported, kind)} == imported


def test_a_guest_of_later_types_imports_await_next_without_the_id(component_wit, exported):
    later = EXTENSIONS.replace("4.2.0", "5.0.0").replace(", invoke-extension-error", "")
    later = later.replace("result<tuple<execution-id, result<u64>>, await", "result<result<u64>, await")
    later = "".join(line for line in later.splitlines(keepends=True) if "fibo-invoke" not in line)
    wit = component_wit("package t:t; world w { import testing:fibo-obelisk-ext/fibo@1.0.0; }", ext=later)
    (imported,) = (interface.functions for interface in wit.imports if "obelisk-" in interface.name)
    kinds = (ExtensionKind.SUBMIT, ExtensionKind.AWAIT_NEXT, ExtensionKind.GET)
    assert imported == tuple(
        extension_function(exported.functions[0], kind, join_set=BORROWED_JOIN_SET_5) for kind in kinds
    )


def test_functions_that_cannot_be_executions_have_none():
    plain = Function("f", Signature((), Prim.U8))
    assert extension_interfaces(Interface("a:b/c", (plain,)), FunctionKind.ACTIVITY) == ()
    with pytest.raises(ValueError, match="cannot be an execution"):
        extension_function(plain, ExtensionKind.SUBMIT)
    good = Function("g", Signature((), Result(None, None)))
    for interface in extension_interfaces(Interface("a:b/c", (plain, good)), FunctionKind.ACTIVITY):
        assert all(function.name.startswith("g-") for function in interface.functions)


@pytest.mark.parametrize(
    ("kind", "taken", "name"),
    [
        (ExtensionKind.SUBMIT, ("join-set",), "join-set-a"),
        (ExtensionKind.SUBMIT, ("join-set", "join-set-a"), "join-set-b"),
        (ExtensionKind.SUBMIT, ("join-set-a",), "join-set"),
        (ExtensionKind.SCHEDULE, ("schedule-at",), "schedule-at-a"),
        (ExtensionKind.INVOKE, ("label",), "label-a"),
    ],
)
def test_an_injected_parameter_gives_way(kind, taken, name):
    params = tuple((param, Prim.U8) for param in taken)
    function = extension_function(Function("f", Signature(params, Result(None, None))), kind)
    assert [param for param, _ in function.signature.params] == [name, *taken]


def test_the_stub_function():
    stub = extension_function(
        Function("foo", Signature((("arg", Prim.STRING),), Result(Prim.STRING, None))), ExtensionKind.STUB
    )
    assert stub.name == "foo-stub"
    assert stub.text == (
        "func(execution-id: record { id: string }, execution-result: result<string>)"
        " -> result<_, variant { execution-not-found, type-check-error(string), conflict }>"
    )


@pytest.mark.parametrize(
    ("interface", "function", "expected"),
    [
        ("a:b-obelisk-ext/c@1.0.0", "f-submit", ("a:b/c@1.0.0.f", ExtensionKind.SUBMIT)),
        ("a:b-obelisk-ext/c", "f-await-next", ("a:b/c.f", ExtensionKind.AWAIT_NEXT)),
        ("a:b-obelisk-ext/c", "f-get-get", ("a:b/c.f-get", ExtensionKind.GET)),
        ("a:b-obelisk-ext/c", "f-invoke", ("a:b/c.f", ExtensionKind.INVOKE)),
        ("a:b-obelisk-schedule/c", "f-schedule", ("a:b/c.f", ExtensionKind.SCHEDULE)),
        ("a:b-obelisk-stub/c", "f-stub", ("a:b/c.f", ExtensionKind.STUB)),
        ("a:b-obelisk-ext/c", "f-schedule", None),
        ("a:b-obelisk-ext/c", "submit", None),
        ("a:b-obelisk-ext/c", "f", None),
        ("a:b/c-obelisk-ext", "f-submit", None),
        ("a:b/c", "f-submit", None),
    ],
)
def test_names_are_classified(interface, function, expected):
    assert classify(interface, function) == expected


def test_reserved_packages():
    assert package_suffix("a:b-obelisk-stub/c@1.0.0") == "-obelisk-stub"
    assert package_suffix("a:b/c-obelisk-stub") is None
