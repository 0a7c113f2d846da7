"""Values that the original lost on their way through JSON, each on the whole way here: a user's JSON into a workflow, from
there as stored JSON into an activity, back as its stored result, and out again as the workflow's result. Both guests are
real; numbers are those of the original's bugs.
"""

import json

import pytest

from obelisk.core.calls import CallChild
from obelisk.core.ports import Called, Returned
from obelisk.core.values import Json
from obelisk.testing.hosts import LoggingHost
from obelisk.wasm.activity import ActivityRun
from obelisk.wasm.guest import WorkflowGuest
from obelisk.wasm.link import link_activity, link_workflow

TYPES = {
    "chars": "char",
    "singles": "f32",
    "doubles": "f64",
    "nested": "option<option<string>>",
    "things": "thing",
}
WIT = """package any:any;
world activity { export testing:values/values; }
world workflow { import testing:values/values; export testing:values-flow/flow; }
package testing:values {
  interface values {
    enum two-words { first-one, second-one }
    flags many-words { read-only, no-follow }
    variant what-it-is { not-known, named-thing(string), some-number(u8) }
    record thing { two-words: two-words, many-words: many-words, what-it-is: what-it-is }
    FUNCTIONS
  }
}
package testing:values-flow {
  interface flow {
    use testing:values/values.{thing};
    FUNCTIONS
  }
}"""
REALLOC = """(memory (export "memory") 1)
  (global $heap (mut i32) (i32.const 1024))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
    (global.set $heap (i32.add (local.get $at) (local.get 3)))
    (local.get $at))"""
# A list is passed as address and length, whatever is in it: result<list<T>> has its tag at 16, address and length at 20.
SAME = """(func (export "testing:values/values#{name}") (param $at i32) (param $length i32) (result i32)
    (i32.store (i32.const 20) (local.get $at))
    (i32.store (i32.const 24) (local.get $length))
    (i32.const 16))"""
CALL = """(func (export "testing:values-flow/flow#{name}") (param $at i32) (param $length i32) (result i32)
    (call ${name} (local.get $at) (local.get $length) (i32.const 16))
    (i32.const 16))"""


@pytest.fixture(scope="module")
def through(build, loader):
    """A function: (name of the list's type, JSON of a list) -> the JSON that the activity was given, and that came back."""
    functions = "\n".join(f"{name}: func(x: list<{type_}>) -> result<list<{type_}>>;" for name, type_ in TYPES.items())
    wit = WIT.replace("FUNCTIONS", functions)
    same = "\n".join(SAME.format(name=name) for name in TYPES)
    imports = "\n".join(
        f'(import "testing:values/values" "{name}" (func ${name} (param i32 i32 i32)))' for name in TYPES
    )
    calls = "\n".join(CALL.format(name=name) for name in TYPES)
    activity = link_activity(loader.load(build(wit, "activity", f"(module {REALLOC} {same})")))
    workflow = link_workflow(loader.load(build(wit, "workflow", f"(module {imports} {REALLOC} {calls})")))

    def run(name, given):
        entry = workflow.entries[f"testing:values-flow/flow.{name}"]
        guest = WorkflowGuest(entry)
        attempt = None
        try:
            step = guest.start(Json(entry.function.params.canonical(f"[{given}]")))
            assert isinstance(step, Called) and isinstance(step.call, CallChild)
            attempt = ActivityRun(activity.entries[step.call.ffqn], LoggingHost())
            stored = attempt.start(step.call.params).outcome
            back = guest.send(stored)
            assert isinstance(back, Returned)
            return bytes(step.call.params).decode()[1:-1], bytes(back.outcome.value).decode()
        finally:
            guest.close()
            if attempt is not None:
                attempt.close()

    return run


def test_bug_05_char_survives_json(through):
    text = '["a","ä","\U0001f600","\\u0000","\\"","\u2028"]'
    assert through("chars", text) == (text, text)
    assert through("chars", '["\\ud83d\\ude00"]')[1] == '["\U0001f600"]'


@pytest.mark.parametrize("name", ["singles", "doubles"])
def test_bug_06_nan_and_infinities_survive_json(through, name):
    text = '["NaN","Infinity","-Infinity",-0.0,1.5]'
    assert through(name, text) == (text, text)


def test_bug_07_nested_options_survive_json(through):
    text = '[null,{"some":null},{"some":""},{"some":"null"}]'
    assert through("nested", text) == (text, text)


def test_bug_08_kebab_case_names_are_taken_everywhere(through):
    """And written in snake_case."""
    kebab = [
        {"two-words": "second-one", "many-words": ["no-follow", "read-only"], "what-it-is": {"named-thing": "é"}},
        {"two_words": "first_one", "many-words": [], "what_it_is": "not-known"},
    ]
    snake = [
        {"two_words": "second_one", "many_words": ["read_only", "no_follow"], "what_it_is": {"named_thing": "é"}},
        {"two_words": "first_one", "many_words": [], "what_it_is": "not_known"},
    ]
    canonical = json.dumps(snake, ensure_ascii=False, separators=(",", ":"))
    assert through("things", json.dumps(kebab)) == (canonical, canonical)
    assert through("things", canonical) == (canonical, canonical)


def test_bug_09_decimals_are_taken_as_f32(through):
    text = "[0.1,3.14,16777216.0,1e-45,3.4028235e+38]"
    assert through("singles", text) == (text, text)
    assert through("singles", "[0.10000000149011612, 1, 1e2]")[1] == "[0.1,1.0,100.0]"
