"""`obelisk execution backtrace`, against a real server over the small engine, whose guests tell their stacks."""

import json

import pytest
from obelisk_tests_small_engine import DEPLOYMENT, FIBO, FIBOA, OLD_DIGEST, WORKFLOW_DIGEST

from obelisk.core.events import ComponentUpgraded, JoinSetCreated
from obelisk.core.ids import Digest, JoinSetId
from obelisk.core.state import Status
from obelisk.core.values import Json, Ok

NOBODY = "E_01K42AJA8QHD7D3GTJAYMASFYZ"
GONE = Digest("sha256:" + "f" * 64)
SOURCE = "# a flow\ndef run():\n    call_1()\n    call_2()\n    return 1\n"


@pytest.fixture
def ran(server):
    """A `fiboa` that has called twice and ended: version 1 is `locked`, 2 to 4 and 5 to 7 are its calls, 8 the end."""
    execution_id = server.engine.create(server.engine.new_execution_id(), FIBOA, b"[10,2]")
    server.engine.fibo_run(execution_id)
    return execution_id


def stack(call):
    return (
        f"  0: call_{call} at /src/flow.py:{call + 1}",
        "     fiboa at lib.py",
        "  1: run",
    )


def test_the_last_call_is_shown_unless_another_is_asked_for(obelisk, ran):
    lines = obelisk("execution", "backtrace", ran).output.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["5", "6", "7"]
    assert "JoinSetCreated(o:2-fibo)" in lines[0] and "JoinNext(o:2-fibo)" in lines[2]
    assert tuple(lines[3:]) == stack(2)
    for version in ("first", "2", "3", "4"):
        lines = obelisk("execution", "backtrace", ran, "--version", version).output.splitlines()
        assert tuple(lines[3:]) == stack(1)


def test_lines_of_source_stand_below_their_place(obelisk, server, ran):
    server.engine.sources[WORKFLOW_DIGEST, "/src/flow.py"] = SOURCE
    lines = obelisk("execution", "backtrace", ran).output.splitlines()
    assert lines[3:] == [
        "  0: call_2 at /src/flow.py:3",
        "           1 | # a flow",
        "           2 | def run():",
        "     >     3 |     call_1()",
        "           4 |     call_2()",
        "           5 |     return 1",
        "     fiboa at lib.py",
        "  1: run",
    ]
    server.engine.sources[WORKFLOW_DIGEST, "/src/flow.py"] = "# shorter\n"
    assert tuple(obelisk("execution", "backtrace", ran).output.splitlines()[3:]) == stack(2)


def test_as_json(obelisk, ran):
    assert json.loads(obelisk("execution", "backtrace", ran, "--json", "--version", "7").output) == {
        "component_id": {"component_type": "workflow", "name": "myworkflow", "digest": WORKFLOW_DIGEST},
        "wasm_backtrace": {
            "frames": [
                {
                    "module": "flow",
                    "func_name": "fiboa",
                    "symbols": [
                        {"func_name": "call_2", "file": "/src/flow.py", "line": 3},
                        {"func_name": "fiboa", "file": "lib.py"},
                    ],
                },
                {"module": "<unknown>", "func_name": "run", "symbols": []},
            ],
            "version_min_including": 5,
            "version_max_excluding": 8,
        },
    }


def test_what_was_looked_at_is_not_made_again(obelisk, server, ran):
    shown = [obelisk("execution", "backtrace", ran, "--version", version).output for version in ("2", "4", "first")]
    assert len(set(shown)) == 1
    assert server.engine.traced == 1
    assert obelisk("execution", "backtrace", ran).output != shown[0]
    assert obelisk("execution", "backtrace", ran, "--version", "5").exit_code == 0
    assert server.engine.traced == 2


def test_all_of_an_execution_are_made_at_once(obelisk, server, ran):
    obelisk("execution", "backtrace", ran)
    assert obelisk("execution", "persist-backtraces", ran).output == "Persisted 1 backtraces\n"
    assert server.engine.traced == 2
    assert obelisk("execution", "persist-backtraces", ran).output == "Persisted 0 backtraces\n"
    assert tuple(obelisk("execution", "backtrace", ran, "--version", "first").output.splitlines()[3:]) == stack(1)
    assert server.engine.traced == 2
    assert json.loads(obelisk("execution", "persist-backtraces", ran, "--json").output) == {
        "persisted_backtrace_count": 0,
        "version": 9,
        "next_version": 9,
        "events_of_gone_components": 0,
    }
    answer = obelisk("execution", "persist-backtraces", NOBODY)
    assert answer.exit_code == 1
    assert "not found" in answer.stderr


def test_what_takes_long_tells_how_far_it_is(obelisk, ran, monkeypatch):
    monkeypatch.setattr("obelisk.cli.backtraces._TELL_EVERY_S", 0)
    answer = obelisk("execution", "persist-backtraces", ran)
    assert answer.stdout == "Persisted 2 backtraces\n"
    assert answer.stderr.splitlines() == [
        "1 backtraces, at version 5 of 9",
        "2 backtraces, at version 8 of 9",
        "2 backtraces, at version 9 of 9",
    ]


def test_on_a_terminal_that_is_one_line(obelisk, ran, monkeypatch):
    monkeypatch.setattr("obelisk.cli.backtraces._is_terminal", lambda: True)
    answer = obelisk("execution", "persist-backtraces", ran)
    assert answer.stdout == "Persisted 2 backtraces\n"
    first, second, third, cleared, end = answer.stderr.removeprefix("\r").split("\r")
    assert [first, second, third] == [f"{n} backtraces, at version {v} of 9" for n, v in ((1, 5), (2, 8), (2, 9))]
    assert (cleared.strip(), len(cleared), end) == ("", len(third), "")


def test_components_that_are_gone_are_told(obelisk, server):
    engine = server.engine
    execution_id = engine.create(engine.new_execution_id(), FIBOA, b"[10,1]", component=GONE)
    engine.fibo_run(execution_id, 1)
    assert obelisk("execution", "persist-backtraces", execution_id).output == (
        "Persisted 0 backtraces\n3 events have none: the components that left them are not loaded any more\n"
    )


def test_one_that_goes_on(obelisk, server):
    execution_id = server.engine.create(server.engine.new_execution_id(), FIBOA, b"[10,2]")
    answer = obelisk("execution", "backtrace", execution_id)
    assert answer.exit_code == 1
    assert f"{execution_id} has made no host call yet that left an event" in answer.stderr
    server.engine.lock(execution_id)
    server.engine.call(execution_id, 1)
    assert server.engine.store.state(execution_id).status is Status.BLOCKED
    assert tuple(obelisk("execution", "backtrace", execution_id).output.splitlines()[3:]) == stack(1)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("0", "version 0 (created) was not left by a host call of the workflow; the nearest one that was is version 2"),
        ("1", "version 1 (locked) was not left by a host call of the workflow; the nearest one that was is version 2"),
        (
            "8",
            "version 8 (finished) was not left by a host call of the workflow; the nearest one that was is version 7",
        ),
        ("9", "ends with version 8"),
    ],
)
def test_an_event_that_no_call_left(obelisk, ran, version, message):
    answer = obelisk("execution", "backtrace", ran, "--version", version)
    assert answer.exit_code == 1
    assert answer.stderr.startswith("Error: backtrace not found: ") and message in answer.stderr


def test_refusals(obelisk, server, ran):
    answer = obelisk("execution", "backtrace", NOBODY)
    assert (answer.exit_code, answer.stderr) == (1, f"Error: entity not found: there is no execution {NOBODY}\n")
    activity = server.engine.create(server.engine.new_execution_id(), FIBO, b"[10]")
    assert (
        f"only workflows have backtraces; {activity} is an execution of an activity"
        in obelisk("execution", "backtrace", activity).stderr
    )
    assert obelisk("execution", "backtrace", ran, "--version", "soon").exit_code == 2


def test_a_log_that_does_not_replay_any_more(obelisk, server):
    engine = server.engine
    execution_id = engine.create(engine.new_execution_id(), FIBOA, b"[10,2]")
    engine.lock(execution_id)
    engine.call(execution_id, 1, b"[11]")
    answer = obelisk("execution", "backtrace", execution_id)
    assert answer.exit_code == 1
    assert answer.stderr.startswith("Error: replay failed: nondeterminism detected at version 3:\n")


def test_a_component_that_is_gone(obelisk, server):
    """The active one shows it if the log replays there, and that is not kept."""
    engine = server.engine
    execution_id = engine.create(engine.new_execution_id(), FIBOA, b"[10,1]", component=GONE)
    engine.fibo_run(execution_id, 1)
    for _ in range(2):
        lines = obelisk("execution", "backtrace", execution_id).output.splitlines()
        assert lines[3] == (
            f"seen on myworkflow ({WORKFLOW_DIGEST}): {GONE}, which it ran on then, is not loaded any more"
        )
        assert tuple(lines[4:]) == stack(1)
    assert engine.traced == 2
    other = engine.create(engine.new_execution_id(), FIBOA, b"[10,1]", component=GONE)
    engine.lock(other)
    engine.call(other, 1, b"[11]")
    answer = obelisk("execution", "backtrace", other)
    assert answer.exit_code == 1
    assert f"backtrace not found: {GONE}, which it ran on then, is not loaded any more; on" in answer.stderr
    assert "nondeterminism detected at version 3" in answer.stderr
    engine.catalogue.undeploy(FIBOA)
    assert f"{GONE}, which it ran on then, is not loaded any more" in obelisk("execution", "backtrace", other).stderr


def test_what_was_left_before_an_upgrade_is_seen_on_the_component_that_left_it(obelisk, server):
    engine = server.engine
    execution_id = engine.create(engine.new_execution_id(), FIBOA, b"[10,2]", component=OLD_DIGEST)
    engine.lock(execution_id)
    child = engine.call(execution_id, 1, b"[11]")  # as the old one does
    engine.append(execution_id, ComponentUpgraded(WORKFLOW_DIGEST, DEPLOYMENT, forced=True))
    engine.finish(child, Ok(Json(b"55")))
    engine.lock(execution_id)
    engine.append(execution_id, JoinSetCreated(JoinSetId("o:2-fibo")))
    shown = json.loads(obelisk("execution", "backtrace", execution_id, "--version", "2", "--json").output)
    assert shown["component_id"]["digest"] == OLD_DIGEST
    late = obelisk("execution", "backtrace", execution_id, "--version", "7")
    assert late.stderr.startswith("Error: replay failed: nondeterminism detected at version 3:\n"), "on the new one"
