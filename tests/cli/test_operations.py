"""The commands that do something to executions, against a real server over the small engine."""

import asyncio
import json

import pytest
from obelisk_tests_small_engine import (
    APPROVE,
    DEPLOYMENT,
    FIBO,
    FIBO_SCHEDULE,
    FIBOA,
    NOTICE,
    OLD_DIGEST,
    START,
    WORKFLOW_DIGEST,
)

from obelisk.core.batch import AdvanceRequest, CancelDelayRequest, FailRequest, UpgradeRequest
from obelisk.core.events import CancellationRequested, ComponentUpgraded, Finished, Parked, Paused, Unpaused
from obelisk.core.ids import Digest
from obelisk.core.state import Lifecycle
from obelisk.core.values import Err, Failure, FailureKind, Json, Ok
from obelisk.engine.effects import Answer, AnswerKind
from obelisk.engine.inputs import GiveResult

NOBODY = "E_01K42AJA8QHD7D3GTJAYMASFYZ"
GONE = Digest("sha256:" + "f" * 64)
DELAY = f"Delay_{NOBODY[2:]}.g:1_1"


def submitted(engine, ffqn=FIBOA, params=b"[10,1]", **options):
    return engine.create(engine.new_execution_id(), ffqn, params, **options)


def paused(engine):
    execution_id = submitted(engine)
    engine.append(execution_id, Paused())
    return execution_id


# --- submit ----------------------------------------------------------------------------------------------------------


def test_submitting_paused(obelisk, server):
    execution_id = obelisk("execution", "submit", "--paused", FIBO, "[1]").output.strip()
    assert server.engine.store.state(execution_id).lifecycle is Lifecycle.PAUSED
    assert obelisk("execution", "status", execution_id).output == "Paused\n"


def test_submitting_for_later(obelisk, server):
    execution_id = obelisk("execution", "submit", FIBO_SCHEDULE, '[{"in":{"seconds":5}}, 10]').output.strip()
    created = server.engine.store.created(execution_id)
    assert (created.ffqn, created.scheduled_at) == (FIBO, START + 5_000_000)


# --- cancel, pause, unpause ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (AnswerKind.DONE, "Cancellation requested"),
        (AnswerKind.ALREADY, "Already cancelling"),
        (AnswerKind.FINISHED, "Already successfully finished"),
    ],
)
def test_cancelling(obelisk, server, answer, line):
    execution_id = submitted(server.engine)
    server.engine.answers.append(answer)
    result = obelisk("execution", "cancel", execution_id)
    assert (result.output, result.exit_code) == (f"{line}\n", 0)


def test_cancelling_a_delay(obelisk, server):
    execution_id = submitted(server.engine)
    delay = f"Delay_{execution_id[2:]}.g:1_1"
    assert obelisk("execution", "cancel", delay).output == "Cancelled\n"
    assert server.engine.operated == [(execution_id, CancelDelayRequest("g:1_1"))]


@pytest.mark.parametrize(("command", "line"), [("pause", "Paused"), ("unpause", "Unpaused")])
def test_pausing_and_unpausing(obelisk, server, command, line):
    execution_id = submitted(server.engine)
    assert obelisk("execution", command, execution_id).output == f"{line}\n"
    server.engine.answers.append(Answer(0, AnswerKind.REFUSED, f"cannot {command}, execution is cancelling"))
    refused = obelisk("execution", command, execution_id)
    assert (refused.stdout, refused.exit_code) == ("", 1)
    assert refused.stderr == f"Error: cannot {command}, execution is cancelling\n"
    delay = obelisk("execution", command, DELAY)
    assert (delay.stdout, delay.exit_code) == ("", 1)
    assert "cannot do that: delays cannot be paused in this version" in delay.stderr


# --- stub ------------------------------------------------------------------------------------------------------------


def stub(engine, ffqn=APPROVE):
    engine.catalogue.deploy_stubs()
    top = submitted(engine)
    engine.lock(top)
    return engine.call(top, 1, b'["x"]' if ffqn == APPROVE else b"[]", ffqn)


@pytest.mark.parametrize(
    ("arguments", "outcome"),
    [
        (('{"ok": true}',), Ok(Json(b"true"))),
        (('{"err": "no"}',), Err(Json(b'"no"'))),
        (("--return-value", '{"ok": true}'), Ok(Json(b"true"))),
        (("--error",), Err(Json(b'"execution-failed"'))),
    ],
)
def test_giving_a_result(obelisk, server, arguments, outcome):
    execution_id = stub(server.engine)
    result = obelisk("execution", "stub", execution_id, *arguments)
    assert (result.output, result.exit_code) == ("", 0)
    assert server.engine.operated == [(execution_id, GiveResult(outcome))]


def test_giving_a_result_without_a_value_or_out_of_a_file(obelisk, server, tmp_path):
    execution_id = stub(server.engine, NOTICE)
    assert obelisk("execution", "stub", execution_id, "--empty").exit_code == 0
    (tmp_path / "result.json").write_text('{"err": null}')
    assert obelisk("execution", "stub", execution_id, f"@{tmp_path / 'result.json'}").exit_code == 0
    assert [body for _, body in server.engine.operated] == [GiveResult(Ok()), GiveResult(Err())]


def test_a_result_that_is_refused(obelisk, server):
    execution_id = stub(server.engine)
    wrong = obelisk("execution", "stub", execution_id, '{"ok": 1}')
    assert (wrong.stdout, wrong.exit_code) == ("", 1)
    assert wrong.stderr.startswith("Error: the result does not fit: value.ok: expected bool, got 1")
    server.engine.finish(execution_id, Ok(Json(b"true")))
    assert obelisk("execution", "stub", execution_id, '{"ok": true}').exit_code == 0
    conflict = obelisk("execution", "stub", execution_id, '{"ok": false}')
    assert conflict.exit_code == 1
    assert conflict.stderr == f"Error: {execution_id} has ended already, with another result: ok true\n"


def test_open_stubs_are_listed(obelisk, server):
    execution_id = stub(server.engine)
    assert obelisk("execution", "list", "--open-stubs").output == (
        f"{execution_id} `Pending at 2026-01-01T00:00:00Z` {APPROVE} `2026-01-01T00:00:00Z`\n"
    )
    (row,) = json.loads(obelisk("execution", "list", "--open-stubs", "--json").output)
    assert (row["execution_id"], row["component_type"]) == (execution_id, "activity_stub")
    server.engine.finish(execution_id, Ok(Json(b"true")))
    assert obelisk("execution", "list", "--open-stubs").output == ""


# --- replay and advance ----------------------------------------------------------------------------------------------


def test_every_outcome_of_a_replay(obelisk, server):
    engine = server.engine
    execution_id = submitted(engine)
    child = f"{execution_id}.o:1-fibo_1"
    result = obelisk("execution", "replay", execution_id)
    assert result.exit_code == 0
    assert result.output == (
        "outcome: advanceable, 1 writes\n"
        f"    1 JoinSetCreated(o:1-fibo), ChildExecutionRequest({child}, {FIBO}, `[10]`), JoinNext(o:1-fibo)\n"
    )
    engine.lock(execution_id)
    engine.call(execution_id, 1)
    assert obelisk("execution", "replay", execution_id).output == "outcome: blocked\n"
    engine.finish(child, Ok(Json(b"55")))
    assert obelisk("execution", "replay", execution_id).output == (
        "outcome: advanceable, 1 writes\n    5 Finished(OK: 55)\n"
    )
    engine.append(execution_id, Finished(Ok(Json(b"55"))))
    assert obelisk("execution", "replay", execution_id).output == "outcome: finished\nresult: OK: 55\n"


def test_a_replay_that_leaves_its_log_has_exit_code_1(obelisk, server):
    execution_id = submitted(server.engine, component=OLD_DIGEST)
    server.engine.fibo_run(execution_id, 1)
    result = obelisk("execution", "replay", execution_id)
    assert (result.output, result.exit_code) == (
        "outcome: replay_failed, error: nondeterminism detected at version 3:\n    params: recorded [10], now [11]\n",
        1,
    )


def test_a_replay_on_another_component_says_so(obelisk, server):
    execution_id = submitted(server.engine, component="sha256:" + "f" * 64)
    server.engine.fibo_run(execution_id, 1)
    assert obelisk("execution", "replay", execution_id).output == (
        "outcome: finished\nresult: OK: 55\n"
        f"replayed on myworkflow ({WORKFLOW_DIGEST}): its own component is not loaded any more\n"
    )


def test_a_replay_as_json(obelisk, server):
    execution_id = submitted(server.engine)
    document = json.loads(obelisk("execution", "replay", execution_id, "--json").output)
    (write,) = document["outcome"]["advanceable"]["captured_writes"]
    batch = write["write"]["append_batch_create_new_execution"]
    assert batch["version"] == 1
    assert batch["child_requests"][0]["execution_id"] == f"{execution_id}.o:1-fibo_1"
    assert batch["child_requests"][0]["params"] == [10]
    assert document["component_id"]["name"] == "myworkflow"


def test_advancing(obelisk, server):
    engine = server.engine
    execution_id = paused(engine)
    for options, pause_children in [((), False), (("--steps", "9"), False), (("--trim", "1", "-p"), True)]:
        result = obelisk("execution", "advance", execution_id, *options)
        assert (result.output, result.exit_code) == ("success, current state: Paused\n", 0)
        assert engine.operated[-1] == (execution_id, AdvanceRequest(2, 1, pause_children))
    obelisk("execution", "advance", execution_id, "--pause-submitted-executions")
    assert engine.operated[-1][1].pause_children
    document = json.loads(obelisk("execution", "advance", execution_id, "--json").output)
    assert document == {"success": {"steps": 1, "pending_state": {"status": "paused"}}}


def test_advancing_to_the_end(obelisk, server):
    engine = server.engine
    engine.on_operate = lambda who, body: engine.append(who, Finished(Ok(Json(b"55"))))
    result = obelisk("execution", "advance", paused(engine))
    assert result.output == "success, current state: Finished: OK\nresult: OK: 55\n"
    document = json.loads(obelisk("execution", "advance", paused(engine), "--json").output)
    assert document["success"]["finished"] == {"ok": 55}


def test_what_cannot_be_advanced(obelisk, server):
    engine = server.engine

    def refusal(execution_id):
        result = obelisk("execution", "advance", execution_id)
        assert (result.stdout, result.exit_code) == ("", 1)
        return result.stderr

    assert refusal(submitted(engine)) == "Error: cannot advance, execution is not paused; pause it first\n"
    running = submitted(engine)
    engine.lock(running)
    engine.call(running, 1)
    assert "execution is not paused" in refusal(running)
    engine.append(running, Paused())
    assert refusal(running) == "Error: there is nothing to advance by: the execution waits for a response\n"
    done = submitted(engine)
    engine.fibo_run(done, 1)
    assert refusal(done) == "Error: cannot advance, execution has finished\n"
    old = submitted(engine, component=OLD_DIGEST)
    engine.lock(old)
    engine.call(old, 1)
    assert refusal(old).startswith("Error: replay failed: nondeterminism detected at version 3:\nparams:")
    engine.answers.append(AnswerKind.OUTDATED)
    assert "went on meanwhile, its next version is 2" in refusal(paused(engine))


# --- upgrade and fork ------------------------------------------------------------------------------------------------


def test_upgrading(obelisk, server):
    execution_id = submitted(server.engine, component=OLD_DIGEST)
    result = obelisk("execution", "upgrade", execution_id)
    assert (result.output, result.exit_code) == (f"Upgrading from {OLD_DIGEST} to {WORKFLOW_DIGEST}\nUpgraded\n", 0)
    assert server.engine.operated == [(execution_id, UpgradeRequest(WORKFLOW_DIGEST, 1))]
    current = submitted(server.engine)
    assert obelisk("execution", "upgrade", current).output == f"Already up to date ({WORKFLOW_DIGEST})\n"


def test_upgrading_to_where_it_does_not_replay(obelisk, server):
    execution_id = submitted(server.engine, component=OLD_DIGEST)
    server.engine.lock(execution_id)
    server.engine.call(execution_id, 1, b"[11]")
    refused = obelisk("execution", "upgrade", execution_id)
    assert refused.exit_code == 1
    assert refused.stderr == (
        "Error: replay failed: nondeterminism detected at version 3:\nparams: recorded [11], now [10]\n"
    )
    forced = obelisk("execution", "upgrade", execution_id, "--skip-determinism-check")
    assert forced.exit_code == 0
    assert server.engine.operated == [(execution_id, UpgradeRequest(WORKFLOW_DIGEST, None))]
    server.engine.catalogue.undeploy(FIBOA)
    gone = obelisk("execution", "upgrade", execution_id)
    assert (gone.exit_code, gone.stderr[:29]) == (1, "Error: function not found: no")


def test_an_upgrade_is_one_from_the_component_that_was_seen(obelisk, server):
    execution_id = submitted(server.engine, component=OLD_DIGEST)
    upgrade = server.service.replaying.upgrade

    async def upgraded_meanwhile(*arguments, **options):
        server.engine.append(execution_id, ComponentUpgraded(GONE, DEPLOYMENT))
        return await upgrade(*arguments, **options)

    server.service.replaying.upgrade = upgraded_meanwhile
    refused = obelisk("execution", "upgrade", execution_id)
    assert (refused.exit_code, refused.stderr) == (
        1,
        f"Error: cannot upgrade, execution runs on {GONE}, not on {OLD_DIGEST}\n",
    )
    assert server.engine.operated == []


def test_forking(obelisk, server):
    engine = server.engine
    execution_id = submitted(engine)
    engine.fibo_run(execution_id, 1)
    first = obelisk("execution", "fork", execution_id).output.strip()
    chosen = engine.new_execution_id()
    assert (
        obelisk("execution", "fork", execution_id, "--at-version", "3", "--paused", "--execution-id", chosen).output
        == f"{chosen}\n"
    )
    document = json.loads(obelisk("execution", "fork", execution_id, "-j").output)
    assert [(one, version, is_paused) for one, _, version, _, is_paused in engine.forked] == [
        (first, 6, False),
        (chosen, 3, True),
        (document["ok"], 6, False),
    ]
    refused = obelisk("execution", "fork", execution_id, "--at-version", "0")
    assert (refused.exit_code, refused.stderr[:20]) == (1, "Error: version 0 is ")


def test_forking_and_following(obelisk, server):
    engine = server.engine
    execution_id = submitted(engine)
    engine.fibo_run(execution_id, 1)
    chosen = engine.new_execution_id()

    async def fork(new_id, origin, version, component, *, paused=False):
        engine.create(new_id, FIBOA, b"[10,1]")
        engine.fibo_run(new_id, 1)
        await asyncio.sleep(0)
        return Answer(0, AnswerKind.CREATED)

    engine.fork = fork
    result = obelisk("execution", "fork", execution_id, "-e", chosen, "--follow")
    assert result.exit_code == 0
    assert result.output.splitlines()[:3] == [chosen, "Finished: OK", "Execution finished: OK: 55"]
    result = obelisk("execution", "fork", execution_id, "-e", engine.new_execution_id(), "--follow", "--json")
    assert json.loads(result.output) == {"ok": 55}  # one document


# --- parked executions -----------------------------------------------------------------------------------------------


def test_a_parked_execution_is_shown_with_reason_and_difference(obelisk, server, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    engine = server.engine
    execution_id = submitted(engine)
    engine.append(
        execution_id, Parked("nondeterminism detected at version 3", "params: recorded [1], now [2]\nffqn: x")
    )
    told = "Parked: nondeterminism detected at version 3"
    detail = "    params: recorded [1], now [2]\n    ffqn: x\n"
    assert obelisk("execution", "status", execution_id).output == f"{told}\n{detail}"
    assert f"`{told}`" in obelisk("execution", "list").output
    assert obelisk("execution", "trace", execution_id).output.endswith(f"\n{execution_id} {told}\n{detail}")
    document = json.loads(obelisk("execution", "status", execution_id, "--json").output)
    assert document["pending_state"] == {
        "status": "parked",
        "reason": "nondeterminism detected at version 3",
        "detail": "params: recorded [1], now [2]\nffqn: x",
    }


def test_resuming_and_failing(obelisk, server):
    engine = server.engine
    execution_id = submitted(engine)
    engine.append(execution_id, Parked("it took the process down"))
    assert obelisk("execution", "resume", execution_id).output == "Resumed\n"
    assert obelisk("execution", "fail", execution_id, "--reason", "no use").output == "Failure requested\n"
    assert engine.operated[-1][1] == FailRequest(Failure(FailureKind.UNCATEGORIZED, "no use"))
    assert obelisk("execution", "fail", execution_id).exit_code == 0
    engine.answers.append(Answer(0, AnswerKind.REFUSED, "cannot resume, execution is pending, not parked"))
    refused = obelisk("execution", "resume", execution_id)
    assert (refused.exit_code, refused.stderr) == (1, "Error: cannot resume, execution is pending, not parked\n")


def test_paused_and_cancelling_are_shown(obelisk, server, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    engine = server.engine
    execution_id = submitted(engine)
    for event, line in [(Paused(), "Paused"), (CancellationRequested(), "Cancelling")]:
        engine.append(execution_id, event)
        assert obelisk("execution", "status", execution_id).output == f"{line}\n"
        assert f"`{line}`" in obelisk("execution", "list").output
        assert line in obelisk("execution", "trace", execution_id).output


def test_following_through_a_pause(obelisk, server, told):
    engine = server.engine

    async def script(execution_id):
        for number, event in enumerate((Paused(), Unpaused(), CancellationRequested())):
            await told(number + 1)
            engine.append(execution_id, event)
        await told(4)
        engine.finish(execution_id, Failure(FailureKind.CANCELLED, "cancelled"))

    engine.script = script
    result = obelisk("execution", "submit", "-f", FIBOA, "[10,1]")
    assert result.exit_code == 1
    assert result.output.splitlines()[1:7] == [
        "Pending at 2026-01-01T00:00:00Z",
        "Paused",
        "Pending at 2026-01-01T00:00:00Z",
        "Cancelling",
        "Finished: Execution failure (cancelled)",
        "Execution finished: Execution failure (cancelled): `cancelled`",
    ]


# --- wrong command lines ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("cancel", "nonsense"),
        ("cancel", "Delay_nonsense"),
        ("pause", "Run_01K42AJA8QHD7D3GTJAYMASFYZ"),
        ("unpause",),
        ("stub", NOBODY),
        ("stub", NOBODY, "{"),
        ("stub", NOBODY, "1", "--empty"),
        ("stub", NOBODY, "--empty", "--error"),
        ("stub", NOBODY, "@/nowhere/at/all"),
        ("stub", DELAY, "1"),
        ("replay", DELAY),
        ("advance", NOBODY, "--steps", "0"),
        ("advance", NOBODY, "--steps", "1", "--trim", "1"),
        ("upgrade", "x"),
        ("fork", NOBODY, "--at-version", "-1"),
        ("fork", NOBODY, "--at-version", "x"),
        ("fork", NOBODY, "--execution-id", f"{NOBODY}.g:1_1"),
        ("fork", NOBODY, "--no-reconnect"),
        ("fail", NOBODY, "--reason", "\udcff"),
        ("list", "--open-stubs", "1"),
    ],
)
def test_a_wrong_command_line_has_exit_code_2(obelisk, server, arguments):
    result = obelisk("execution", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr
    assert server.engine.operated == []


@pytest.mark.parametrize("results", [(), ("1", "--error"), ("1", "--return-value", "1"), ("--empty", "--error")])
def test_a_stub_activity_is_given_one_result(obelisk, results):
    told = "Error: give exactly one of JSON, --return-value, --empty and --error\n"
    assert obelisk("execution", "stub", NOBODY, *results).stderr.endswith(told)


@pytest.mark.parametrize(
    "arguments",
    [
        ("cancel",),
        ("pause",),
        ("unpause",),
        ("replay",),
        ("advance",),
        ("upgrade",),
        ("fork",),
        ("resume",),
        ("fail",),
    ],
)
def test_nobody_is_not_found(obelisk, arguments):
    result = obelisk("execution", *arguments, NOBODY)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: entity not found: there is no execution {NOBODY}\n"
