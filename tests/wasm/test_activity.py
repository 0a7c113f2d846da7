"""Attempts at activities: how each ends, and whether trying again can help."""

import pytest

from obelisk.core.calls import Log, LogLevel
from obelisk.core.ports import Yielded
from obelisk.core.values import Err, FailureKind, Json, Ok
from obelisk.testing.hosts import LoggingHost
from obelisk.wasm.activity import ActivityRun, Finished
from obelisk.wasm.component import ComponentError
from obelisk.wasm.link import link_activity

LOGGING = """(module
  (import "obelisk:log/log@1.0.0" "info" (func $info (param i32 i32)))
  (import "obelisk:log/log@1.0.0" "error" (func $error (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "onetwo")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
  (func (export "testing:logs/logs#go") (result i32)
    (call $info (i32.const 8) (i32.const 3))
    (call $error (i32.const 11) (i32.const 3))
    (i32.const 0)))"""
LOGGING_WIT = """package any:any;
world logs { import obelisk:log/log@1.0.0; export testing:logs/logs; }
package testing:logs { interface logs { go: func() -> result; } }"""


def attempt(entry, params, **options):
    run = ActivityRun(entry, LoggingHost(), **options)
    try:
        return run.start(Json(params))
    finally:
        run.close()


def test_an_activity_returns(acts, fibo_components, loader):
    finished = attempt(acts["echo"], b'["h\xc3\xa9llo"]')
    assert bytes(finished.outcome.value).decode() == '"héllo"' and not finished.permanent
    linked = link_activity(loader.load(fibo_components.activity))
    run = ActivityRun(linked.entries["template-fibo:activity/fibo-activity-ifc.fibo"], LoggingHost())
    finished = run.start(Json(b"[10]"))
    run.close()
    assert isinstance(finished.outcome, Ok) and bytes(finished.outcome.value) == b"55"


def test_an_err_is_returned_and_may_be_permanent(acts):
    finished = attempt(acts["fail"], b"[3]")
    assert finished == Finished(Err(finished.outcome.value)) and bytes(finished.outcome.value) == b'"failed with 3"'
    assert attempt(acts["permanent"], b"[]").outcome.permanent


def test_a_trap_may_be_tried_again(acts):
    finished = attempt(acts["trap"], b"[]")
    assert finished.outcome.kind is FailureKind.UNCATEGORIZED and not finished.permanent
    assert finished.outcome.reason == "activity trap: wasm trap: wasm `unreachable` instruction executed"
    assert "wasm backtrace" in finished.outcome.detail


def test_exhausted_memory_is_a_trap(acts):
    finished = attempt(acts["hog"], b"[]", memory_max=4 << 20)
    assert finished.outcome.reason.startswith("activity trap: ") and not finished.permanent


@pytest.mark.parametrize("params", [b"[]", b"[-1]", b'["3"]', b"[3,4]"])
def test_bad_parameters_are_permanent(acts, params):
    finished = attempt(acts["fail"], params)
    assert finished.permanent and "cannot take its parameters" in finished.outcome.reason


def test_a_component_that_cannot_be_instantiated_is_permanent(acts):
    finished = attempt(acts["trap"], b"[]", memory_max=1)
    assert finished.permanent and "activity cannot be instantiated" in finished.outcome.reason


def test_an_endless_loop_yields_until_it_is_closed(acts, ticking):
    run = ActivityRun(acts["spin"], LoggingHost())
    assert isinstance(run.start(Json(b"[]")), Yielded)
    assert isinstance(run.resume(), Yielded)
    run.close()
    run.close()


def test_log_lines_go_to_the_owner(build, loader):
    linked = link_activity(loader.load(build(LOGGING_WIT, "logs", LOGGING)))
    host = LoggingHost()
    run = ActivityRun(linked.entries["testing:logs/logs.go"], host)
    assert run.start(Json(b"[]")) == Finished(Ok())
    run.close()
    assert host.is_closed and host.lines == [Log(LogLevel.INFO, "one"), Log(LogLevel.ERROR, "two")]


def test_the_first_host_call_is_held_and_what_asks_for_nothing_is_not(build, acts, loader):
    entry = link_activity(loader.load(build(LOGGING_WIT, "logs", LOGGING))).entries["testing:logs/logs.go"]
    host, held = LoggingHost(), []
    run = ActivityRun(entry, host)
    assert run.start(Json(b"[]"), lambda: held.append(list(host.lines))) == Finished(Ok())
    run.close()
    assert held == [[]] and len(host.lines) == 2
    run = ActivityRun(acts["echo"], LoggingHost())
    assert isinstance(run.start(Json(b'["held"]'), lambda: held.append([])).outcome, Ok)
    run.close()
    assert held == [[]]


def test_where_a_host_call_must_not_be_answered_it_is_not(build, loader):
    def refuse():
        raise LookupError

    entry = link_activity(loader.load(build(LOGGING_WIT, "logs", LOGGING))).entries["testing:logs/logs.go"]
    host = LoggingHost()
    run = ActivityRun(entry, host)
    with pytest.raises(LookupError):
        run.start(Json(b"[]"), refuse)
    run.close()
    assert host.is_closed and not host.lines


def test_an_activity_may_import_nothing_but_log(loader, script_path, dummy_component):
    with pytest.raises(ComponentError, match=r"join-set.* is not supplied to activities"):
        link_activity(loader.load(script_path))
    wit = """package any:any; world any { import other:one/ifc; export some:two/ifc; }
    package other:one { interface ifc { f: func(); } } package some:two { interface ifc { f: func() -> result; } }"""
    with pytest.raises(ComponentError, match=r"other:one/ifc\.f is not supplied to activities"):
        link_activity(loader.load(dummy_component(wit)))
