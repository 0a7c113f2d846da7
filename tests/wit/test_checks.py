"""What keeps components from being deployed together."""

import pytest

from obelisk.core.ports import FunctionKind
from obelisk.wit import wasi
from obelisk.wit.checks import Component, check, check_alone
from obelisk.wit.component import ComponentWit, Function, Interface, read_component_wit
from obelisk.wit.extensions import extension_interfaces
from obelisk.wit.host import DATETIME, LOG, SCHEDULE_AT, WORKFLOW_SUPPORT, WORKFLOW_SUPPORT_6, host_interface, versions
from obelisk.wit.types import Borrow, Enum, Own, Prim, Record, Result, Signature, Variant

FIBO = "package testing:fibo; interface fibo { fibo: func(n: u8) -> result<u64>; }"
LINKED = """
    use obelisk:types/time@VT.{schedule-at, datetime};
    use obelisk:types/execution@VT.{delay-id, execution-id, response-id};
    use obelisk:types/join-set@VT.{join-set};
    variant join-set-create-error { conflict, invalid-name(string) }
    variant join-next-error { all-processed }
    execution-id-current: func() -> execution-id;
    random-string: func(min-length: u16, max-length-exclusive: u16) -> string;
    sleep: func(schedule-at: schedule-at) -> result<datetime>;
    join-set-create-named: func(name: string) -> result<join-set, join-set-create-error>;
    join-set-close: func(self: join-set);
    join-next: func(join-set: borrow<join-set>) -> result<tuple<response-id, result>, join-next-error>;
"""
TYPES = """
package obelisk:types@VT;
interface time {
    variant duration { milliseconds(u64), seconds(u64), minutes(u32), hours(u32), days(u32) }
    record datetime { seconds: u64, nanoseconds: u32 }
    variant schedule-at { now, at(datetime), in(duration) }
}
interface execution {
    record execution-id { id: string }
    record delay-id { id: string }
    variant response-id { execution-id(execution-id), delay-id(delay-id) }
}
interface join-set { resource join-set { id: func() -> string; } }
"""

F = Signature((("n", Prim.U8),), Result(Prim.U64, None))


def function(name="f", signature=F):
    return Function(name, signature)


def interface(name, *functions, **more):
    return Interface(name, functions, **more)


def workflow(name="wf", *, exports=(), imports=(), root_imports=()):
    return Component(name, FunctionKind.WORKFLOW, ComponentWit(tuple(exports), tuple(imports), tuple(root_imports)))


def activity(name="act", *, exports=(), imports=()):
    return Component(name, FunctionKind.ACTIVITY, ComponentWit(tuple(exports), tuple(imports)))


FIBOS = interface("a:b/c", function())


EXT = """package testing:fibo-obelisk-ext;
interface fibo {
    use obelisk:types/execution@4.2.0.{execution-id, await-next-extension-error, get-extension-error, invoke-extension-error};
    use obelisk:types/join-set@4.2.0.{join-set};
    fibo-submit: func(join-set: borrow<join-set>, n: u8) -> execution-id;
    fibo-await-next: func(join-set: borrow<join-set>) -> result<tuple<execution-id, result<u64>>, await-next-extension-error>;
    fibo-get: func(execution-id: execution-id) -> result<result<u64>, get-extension-error>;
    fibo-invoke: func(label: string, n: u8) -> result<result<u64>, invoke-extension-error>;
}"""
EXT_5 = """package testing:fibo-obelisk-ext;
interface fibo {
    use obelisk:types/execution@5.0.0.{execution-id, await-next-extension-error, get-extension-error};
    use obelisk:types/join-set@5.0.0.{join-set};
    fibo-submit: func(join-set: borrow<join-set>, n: u8) -> execution-id;
    fibo-await-next: func(join-set: borrow<join-set>) -> result<result<u64>, await-next-extension-error>;
    fibo-get: func(execution-id: execution-id) -> result<result<u64>, get-extension-error>;
}"""
SCHEDULE = """package testing:fibo-obelisk-schedule;
interface fibo {
    use obelisk:types/execution@TYPES.{execution-id};
    use obelisk:types/time@TYPES.{schedule-at};
    fibo-schedule: func(schedule-at: schedule-at, n: u8) -> execution-id;
}"""
STUB = """package testing:fibo-obelisk-stub;
interface fibo {
    use obelisk:types/execution@TYPES.{execution-id, stub-error};
    fibo-stub: func(execution-id: execution-id, execution-result: result<u64>) -> result<_, stub-error>;
}"""
WORKFLOW = """package testing:workflow;
interface ifc { fiboa: func(n: u8, iterations: u32) -> result<u64>; }
world w {
    import testing:fibo/fibo;
    import testing:fibo-obelisk-ext/fibo;
    import obelisk:log/log@1.0.0;
    IMPORTS
    export ifc;
}"""
SUPPORTS = {
    "4.2.0": "import obelisk:workflow/workflow-support@5.1.0;",
    "5.0.0": "import obelisk:workflow/workflow-support@6.0.0; import obelisk:workflow/workflow-support-backtrace@6.0.0;",
}


@pytest.fixture
def fibo_activity(component_wit):
    """A real component that exports testing:fibo/fibo."""
    return component_wit(f"{FIBO} world w {{ export fibo; import obelisk:log/log@1.0.0; }}")


@pytest.fixture
def fibo_workflow(component_wit):
    """A real component that imports all that a workflow can import with a version of `obelisk:types`: a dummy imports all
    functions of an interface.
    """

    def make(types, *, stub=False):
        extra = STUB if stub else SCHEDULE
        package = "stub" if stub else "schedule"
        return component_wit(
            WORKFLOW.replace("IMPORTS", f"{SUPPORTS[types]} import testing:fibo-obelisk-{package}/fibo;"),
            fibo=FIBO.replace("n: u8", "other-name: u8"),
            ext=EXT if types == "4.2.0" else EXT_5,
            extra=extra.replace("TYPES", types),
        )

    return make


@pytest.mark.parametrize("types", SUPPORTS)
@pytest.mark.parametrize("stub", [False, True])
def test_a_good_deployment_of_real_components(fibo_activity, fibo_workflow, types, stub):
    act = Component("act", FunctionKind.STUB if stub else FunctionKind.ACTIVITY, fibo_activity)
    assert check([act, Component("wf", FunctionKind.WORKFLOW, fibo_workflow(types, stub=stub))]) == ()


def test_what_nothing_runs_is_not_scheduled_and_only_that_is_given_its_result(fibo_activity, fibo_workflow):
    stub = Component("s", FunctionKind.STUB, fibo_activity)
    (problem,) = check([stub, Component("wf", FunctionKind.WORKFLOW, fibo_workflow("4.2.0"))])
    assert problem.startswith(
        "workflow wf imports testing:fibo-obelisk-schedule/fibo.fibo-schedule, but stub s exports testing:fibo/fibo.fibo:"
        " nothing runs a stub activity"
    )
    act = Component("act", FunctionKind.ACTIVITY, fibo_activity)
    (problem,) = check([act, Component("wf", FunctionKind.WORKFLOW, fibo_workflow("5.0.0", stub=True))])
    assert problem.startswith(
        "workflow wf imports testing:fibo-obelisk-stub/fibo.fibo-stub, but activity act exports testing:fibo/fibo.fibo:"
        " only stub activities are given their results"
    )


@pytest.mark.parametrize(("types", "form"), [("4.2.0", "result<u64>"), ("5.0.0", "tuple<execution-id, result<u64>>")])
def test_await_next_has_the_form_of_the_version_whose_join_sets_it_takes(component_wit, fibo_activity, types, form):
    wit = component_wit(
        "package t:t; interface i {f: func() -> result;} world w { import testing:fibo-obelisk-ext/fibo; export i; }",
        ext=f"""package testing:fibo-obelisk-ext;
        interface fibo {{
            use obelisk:types/execution@{types}.{{execution-id, await-next-extension-error}};
            use obelisk:types/join-set@{types}.{{join-set}};
            fibo-await-next: func(join-set: borrow<join-set>) -> result<{form}, await-next-extension-error>;
            other: func() -> execution-id;
        }}""",
    )
    wrong, other = check(
        [Component("act", FunctionKind.ACTIVITY, fibo_activity), Component("wf", FunctionKind.WORKFLOW, wit)]
    )
    assert "fibo-await-next with another type than what activity act exports gives" in wrong
    assert "other, which is no extension function" in other


def test_the_imports_of_a_stub_do_not_matter():
    imports = [interface("wasi:io/error@0.2.0", resources=("error",)), interface("x:y/z", function())]
    stub = Component("s", FunctionKind.STUB, ComponentWit((FIBOS,), tuple(imports), ("init",)))
    assert check([stub]) == ()
    (problem,) = check(
        [Component("s", FunctionKind.STUB, ComponentWit((interface("a:b/c", function("f", Signature((), None))),)))]
    )
    assert problem.startswith("stub s exports a:b/c.f")


@pytest.mark.parametrize(("types", "support"), [("4.2.0", "5.1.0"), ("4.1.0", "5.0.0"), ("4.0.0", "5.1.0")])
def test_older_versions_of_the_host_are_supplied(wasm_tools, tmp_path, types, support):
    (tmp_path / "deps").mkdir()
    (tmp_path / "deps" / "types.wit").write_text(TYPES.replace("VT", types))
    support_wit = f"package obelisk:workflow@{support}; interface workflow-support {{ {LINKED.replace('VT', types)} }}"
    (tmp_path / "deps" / "support.wit").write_text(support_wit)
    (tmp_path / "w.wit").write_text(
        f"package a:b; interface c {{ f: func() -> result; }} world w {{ export c; import obelisk:workflow/workflow-support@{support}; }}"
    )
    core = wasm_tools("component", "embed", "--dummy", str(tmp_path), "-w", "w")
    (tmp_path / "c.wasm").write_bytes(wasm_tools("component", "new", "-", given=core))
    wit = read_component_wit(wasm_tools("component", "wit", "--json", str(tmp_path / "c.wasm")))
    assert len([f for i in wit.imports for f in i.functions]) == 7
    assert check([Component("wf", FunctionKind.WORKFLOW, wit)]) == ()


@pytest.mark.parametrize(
    ("imported", "supplied"),
    [
        ("obelisk:types/time@4.2.0", True),
        ("obelisk:types/time@4.0.0", True),
        ("obelisk:types/time@4.2.1", False),
        ("obelisk:types/time@4.2.0-rc1", False),
        ("obelisk:types/time@5.0.0", True),
        ("obelisk:types/time@5.0.1", False),
        ("obelisk:types/time@6.0.0", False),
        ("obelisk:types/time@3.0.0", False),
        ("obelisk:types/time", False),
        ("obelisk:types/other@4.2.0", False),
        ("obelisk:workflow/workflow-support@5.0.0", True),
        ("obelisk:workflow/workflow-support@6.0.0", True),
        ("obelisk:workflow/workflow-support@7.0.0", False),
        ("obelisk:workflow/workflow-support-backtrace@6.0.0", True),
        ("obelisk:workflow/workflow-support-backtrace@5.1.0", False),
    ],
)
def test_versions_of_the_host(imported, supplied):
    found = host_interface(imported)
    assert (found is not None) == supplied
    assert found is None or found in versions(imported)
    assert (versions(imported) == ()) == ("other" in imported)


def test_nothing_is_fine_and_so_are_types_alone():
    assert check([]) == ()
    types_only = [interface("wasi:io/error@0.2.0"), interface("a:x/types"), interface("obelisk:types/time@4.2.0")]
    assert check([activity(exports=[FIBOS, interface("a:x/more")], imports=types_only)]) == ()


HANDLE = Signature((("x", Borrow("a:b/c.r")),), Result(None, None))


@pytest.mark.parametrize(
    ("exported", "message"),
    [
        (interface("a:b/c", function("f", Signature((), Prim.U8))), "exports a:b/c.f: func() -> u8, which cannot be"),
        (interface("a:b/c", function("f", Signature((), None))), "exports a:b/c.f: func(), which cannot be"),
        (
            interface("a:b/c", function("f", Signature((), Result(None, Enum(("execution-failed",)))))),
            "it must return a result whose error is nothing, string, or a variant with the case execution-failed",
        ),
        (interface("a:b/c", function("f", HANDLE)), "parameters and results must not contain resources"),
        (
            interface("a:b/c", function("[static]r.f", HANDLE), resources=("r",)),
            "exports a:b/c, which defines the resource r",
        ),
        (interface("a:b/c", unsupported=(("f", "it uses a stream"),)), "exports a:b/c.f, which cannot be an execution: it uses"),
        (interface("a:b-obelisk-ext/c", function()), "package names that end in -obelisk-ext are reserved"),
        (interface("a:b-obelisk-schedule/c", function()), "package names that end in -obelisk-schedule are reserved"),
        (interface("a:b-obelisk-stub/c@1.0.0"), "package names that end in -obelisk-stub are reserved"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("make", [workflow, activity])
def test_exports_that_are_refused(make, exported, message):
    (problem,) = check([make(exports=[exported])])
    assert message in problem
    assert problem.startswith(("workflow wf exports", "activity act exports"))


def test_one_function_in_two_components_names_both():
    (problem,) = check([workflow("one", exports=[FIBOS]), activity("two", exports=[FIBOS])])
    assert problem.startswith("workflow one and activity two both export a:b/c.f")


U16 = Signature((("n", Prim.U16),), Result(Prim.U64, None))


@pytest.mark.parametrize(
    ("imported", "message"),
    [
        (interface("a:b/d", function()), "workflow wf imports a:b/d.f, which no active component exports (the nearest is a:b/c.f):"),
        (interface("x:y/z@1.0.0", function()), "imports x:y/z@1.0.0.f, which no active component exports: add"),
        (interface("a:b/c", function("g")), "imports a:b/c.g, which no active component exports"),
        (
            interface("a:b/c", function("f", U16)),
            "imports a:b/c.f with another type than activity act exports:\n  imported: func(n: u16) -> result<u64>\n  supplied: func(n: u8) -> result<u64>",
        ),
        (interface("a:b-obelisk-ext/d", function("f-submit")), "imports a:b-obelisk-ext/d.f-submit, but no active component exports a:b/d.f"),
        (interface("a:b-obelisk-ext/c", function("f-submit")), "with another type than what activity act exports gives:\n  imported: func(n: u8)"),
        (interface("a:b-obelisk-ext/c", function("f-foo")), "which is no extension function: in a -obelisk-ext package names end in -submit,"),
        (interface("a:b-obelisk-schedule/c", function("f-schedule")), "with another type than what activity act exports gives:\n  imported: func(n: u8)"),
        (interface("a:b-obelisk-schedule/c", function("f-submit")), "f-submit, which is no extension function: in a -obelisk-schedule package names end in -schedule"),
        (interface("a:b-obelisk-schedule/d", function("f-schedule")), "f-schedule, but no active component exports a:b/d.f"),
        (interface("a:b-obelisk-stub/d", function("f-stub")), "f-stub, but no active component exports a:b/d.f"),
        (interface("a:b/c", resources=("r",)), "imports a:b/c, which defines the resource r"),
        (interface("a:b/c", unsupported=(("g", "it uses a future"),)), "imports a:b/c.g, which nothing can supply: it uses a future"),
        (
            interface("obelisk:workflow/workflow-support@7.0.0", function()),
            f"supplied are {WORKFLOW_SUPPORT} (and older versions 5.x) and {WORKFLOW_SUPPORT_6} (and older versions 6.x): build",
        ),
        (interface("obelisk:webhook/webhook-support@5.2.0", function()), "which is no interface of this host"),
        (interface(WORKFLOW_SUPPORT, function("last-oneoff-id")), f"last-oneoff-id, which is no function of {WORKFLOW_SUPPORT}"),
        (interface(WORKFLOW_SUPPORT_6, function("sleep-bt")), f"sleep-bt, which is no function of {WORKFLOW_SUPPORT_6}"),
        (interface(WORKFLOW_SUPPORT_6, function("sleep", Signature((("schedule-at", SCHEDULE_AT),), Result(DATETIME, None)))), "supplied: func(schedule-at: "),
        (interface(WORKFLOW_SUPPORT, function("nonsense")), f"nonsense, which is no function of {WORKFLOW_SUPPORT}"),
        (interface(WORKFLOW_SUPPORT, function("random-u64")), "with another type than the host supplies:\n  imported: func(n: u8) -> result<u64>\n  supplied: func(min: u64, max-exclusive: u64) -> u64"),
        (interface(LOG, unsupported=(("info", "it is an async function"),)), "with another type than the host supplies: it is an async function"),
        (
            interface(WORKFLOW_SUPPORT, function("join-set-close", Signature((("self", Own("a:b/c.join-set")),), None))),
            "imported: func(self: a:b/c.join-set)\n  supplied: func(self: obelisk:types/join-set@4.2.0.join-set)",
        ),
        (interface("wasi:http/outgoing-handler@0.2.0", function()), "imports wasi:http/outgoing-handler@0.2.0; which no replay can repeat, so workflows have none of it: call an activity"),
        (interface("wasi:sockets/tcp@0.2.0", function()), "imports wasi:sockets/tcp@0.2.0; which no replay can repeat"),
        (interface("wasi:io/error@0.3.0", resources=("error",)), "imports wasi:io/error@0.3.0; supplied are the versions 0.2.x"),
        (interface("wasi:nn/graph@0.2.0", resources=("graph",)), "imports wasi:nn/graph@0.2.0; which is no interface of this host"),
    ],
)  # fmt: skip
def test_imports_that_are_refused(imported, message):
    (problem,) = check([workflow(imports=[imported]), activity(exports=[FIBOS])])
    assert message in problem
    assert problem.startswith("workflow wf imports")


@pytest.mark.parametrize("kind", [FunctionKind.WORKFLOW, FunctionKind.ACTIVITY])
def test_every_version_of_wasi_that_is_supplied_passes(kind):
    imports = [interface(f"{name}@0.2.{patch}", function()) for name in wasi.SUPPLIED[kind] for patch in range(13)]
    assert check([Component("some", kind, ComponentWit(imports=tuple(imports)))]) == ()


@pytest.mark.parametrize(
    ("imported", "message"),
    [
        (FIBOS, "imports a:b/c; only workflows may call other functions"),
        (interface(WORKFLOW_SUPPORT, function("random-u64")), f"imports {WORKFLOW_SUPPORT}, which only workflows may call"),
        (interface("obelisk:types/join-set@4.2.0", resources=("join-set",)), "which only workflows may call"),
        (interface("wasi:http/incoming-handler@0.2.0", function()), "imports wasi:http/incoming-handler@0.2.0; which is no interface"),
    ],
)  # fmt: skip
def test_imports_of_activities_that_are_refused(imported, message):
    (problem,) = check([activity(imports=[imported]), activity("other", exports=[FIBOS])])
    assert message in problem
    assert problem.startswith("activity act imports")


def test_an_import_at_the_root_is_refused():
    (problem,) = check([workflow(root_imports=["init"])])
    assert problem.startswith("workflow wf imports init at its root")


def test_order_of_fields_and_cases_matters():
    ab, ba = (("a", Prim.U8), ("b", Prim.U8)), (("b", Prim.U8), ("a", Prim.U8))
    for kind in (Record, Variant):
        exported = activity(exports=[interface("a:b/c", function("f", Signature((), Result(kind(ab), None))))])
        same = workflow(imports=[interface("a:b/c", function("f", Signature((), Result(kind(ab), None))))])
        other = workflow(imports=[interface("a:b/c", function("f", Signature((), Result(kind(ba), None))))])
        assert check([exported, same]) == ()
        assert len(check([exported, other])) == 1


def test_all_problems_are_found_at_once():
    bad = interface("a:b/bad", function("f", Signature((), None)))
    ext = extension_interfaces(FIBOS, FunctionKind.ACTIVITY)[0]
    components = [
        workflow("one", exports=[FIBOS], imports=[interface("x:y/z", function()), ext]),
        workflow("two", exports=[FIBOS, bad], imports=[interface("wasi:a/b@0.2.0", function()), bad]),
    ]
    found = [problem.split(" exports ")[0].split(" imports ")[0] for problem in check(components)]
    assert found == [check(components)[0], "workflow two", "workflow one", "workflow two"]


# --- one component alone ---------------------------------------------------------------------------------------------


def test_alone_only_what_no_other_component_could_mend_is_told(component_wit):
    root = """
    package testing:flow;
    interface flow { f: func() -> u8; }
    world w { import testing:fibo/fibo; import testing:fibo-obelisk-ext/fibo; import wasi:nothing/at-all; export flow; }
    """
    deps = {
        "fibo": FIBO,
        "ext": "package testing:fibo-obelisk-ext; interface fibo { fibo-other: func(); }",
        "wasi": "package wasi:nothing; interface at-all { f: func(); }",
    }
    flow = Component("flow", FunctionKind.WORKFLOW, component_wit(root, **deps))
    exported, extension, wasi = check_alone(flow)
    assert extension.startswith(
        "workflow flow imports testing:fibo-obelisk-ext/fibo.fibo-other, which is no extension function"
    )
    assert exported.startswith("workflow flow exports testing:flow/flow.f: func() -> u8, which cannot be an execution")
    assert wasi.startswith("workflow flow imports wasi:nothing/at-all; supplied are the versions 0.2.x")
    assert len(check([flow])) == 4
    as_activity = check_alone(Component("flow", FunctionKind.ACTIVITY, flow.wit))
    assert sum("only workflows may call other functions" in problem for problem in as_activity) == 2
