"""Every command against a real server over the small engine: what is printed where, and the exit code."""

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise

import pytest
from obelisk_tests_small_engine import FIBO, FIBOA, GREET, SmallServer, the_loop

import obelisk as package
from obelisk.core.events import Finished, Parked
from obelisk.core.values import Err, Failure, FailureKind, Json, Ok
from obelisk.runtime.changes import Changes

ID = r"E_[0-9A-HJKMNP-TV-Z]{26}"
COMMAND = [sys.executable, "-W", "error", "-c", "from obelisk.cli.main import main; main()"]


def submitted(engine, ffqn=FIBOA, params=b"[10,2]"):
    return engine.create(engine.new_execution_id(), ffqn, params)


def finished(engine, iterations=2):
    execution_id = submitted(engine, params=b"[10,%d]" % iterations)
    engine.fibo_run(execution_id, iterations)
    return execution_id


# --- component -------------------------------------------------------------------------------------------------------


def test_components_as_the_seed_shows_them(obelisk):
    assert obelisk("component", "list").output == (
        "myworkflow\tworkflow:myworkflow\n"
        "Exports:\n"
        "\ttemplate-fibo:workflow/fibo-workflow-ifc.fiboa : func(n: u8, iterations: u32) -> result<u64>\n"
        "\ttemplate-fibo:workflow/fibo-workflow-ifc.fiboa-concurrent : func(n: u8, iterations: u32) -> result<u64>\n"
        "\n"
        "activity_myfibo\tactivity_wasm:activity_myfibo\n"
        "Exports:\n"
        "\ttemplate-fibo:activity/fibo-activity-ifc.fibo : func(n: u8) -> result<u64>\n"
        "\ttesting:activity/greet@1.2.0.greet : func(name: string) -> result<string, string>\n"
    )


def test_components_with_imports_and_extensions(obelisk):
    text = obelisk("component", "list", "-i", "-e").output
    assert "Imports:\n\ttemplate-fibo:activity/fibo-activity-ifc.fibo : func(n: u8) -> result<u64>\n" in text
    assert "fibo-submit : func(join-set: borrow<join-set>, n: u8) -> execution-id" in text


def test_components_as_json(obelisk):
    workflow, activity = json.loads(obelisk("component", "list", "--json").output)
    assert workflow["component_id"]["component_type"] == "workflow"
    assert workflow["exports"][0] == {
        "ffqn": FIBOA,
        "signature": "func(n: u8, iterations: u32) -> result<u64>",
        "params": [{"type": "u8", "name": "n"}, {"type": "u32", "name": "iterations"}],
        "return_type": "result<u64>",
        "submittable": True,
    }
    assert "imports" not in activity
    assert json.loads(obelisk("component", "list", "-j", "-i").output)[0]["imports"][0]["ffqn"] == FIBO


# --- submit ----------------------------------------------------------------------------------------------------------


def test_submitting_prints_the_id(obelisk, server):
    result = obelisk("execution", "submit", FIBOA, "[40,10]")
    assert re.fullmatch(f"{ID}\n", result.output)
    assert bytes(server.engine.store.created(result.output.strip()).params) == b"[40,10]"
    again = json.loads(obelisk("execution", "submit", FIBOA, "40", "10", "--json").output)
    assert re.fullmatch(ID, again["ok"])
    one = obelisk("execution", "submit", FIBO, "--", "40").output.strip()
    assert bytes(server.engine.store.created(one).params) == b"[40]"


def test_choosing_the_id_makes_a_submission_repeatable(obelisk, server):
    execution_id = server.engine.new_execution_id()
    for _ in range(2):
        assert obelisk("execution", "submit", "-e", execution_id, FIBO, "[1]").output == f"{execution_id}\n"
    other = obelisk("execution", "submit", "-e", execution_id, FIBO, "[2]")
    assert other.exit_code == 1
    assert other.stderr == f"Error: {execution_id} exists already, as an execution with other parameters\n"


@pytest.mark.parametrize(
    ("short", "full"),
    [(".../fibo-workflow-ifc.fiboa", FIBOA), (".../greet.greet", GREET), (".../greet@1.2.0.greet", GREET)],
)
def test_a_short_name_stands_for_the_only_function_that_fits(obelisk, server, short, full):
    params = "[1,1]" if full == FIBOA else '["x"]'
    result = obelisk("execution", "submit", short, params)
    if "@" in short:  # a version has dots: it is not short for anything
        assert result.exit_code == 2
    else:
        assert server.engine.store.created(result.output.strip()).ffqn == full


def test_the_server_refuses_with_exit_code_1(obelisk):
    for arguments, message in [
        ((".../nowhere.fn", "[]"), "function not found: no deployed component exports .../nowhere.fn"),
        (("a:b/c.d", "[]"), "function not found: no deployed component exports a:b/c.d"),
        ((FIBOA, "[1]"), "2 parameters (n: u8, iterations: u32), got 1"),
        ((FIBOA, '["x",1]'), "params[0]: expected u8"),
    ]:
        result = obelisk("execution", "submit", *arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("Error: ")
        assert message in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("execution", "submit", FIBOA, "fibo"),
        ("execution", "submit", FIBOA, "40"),
        ("execution", "submit", "no-function", "[]"),
        ("execution", "submit", FIBOA, "[]", "--no-reconnect"),
        ("execution", "submit", FIBOA, "[]", "-e", "nonsense"),
        ("execution", "submit", FIBOA, "[]", "-e", "E_01K42AJA8QHD7D3GTJAYMASFYZ.o:1-fibo_1"),
        ("execution", "submit", FIBOA, "[]", "--unknown"),
        ("execution", "submit"),
        ("execution", "status", "nonsense"),
        ("execution", "result", "nonsense", "--limit", "3"),
        ("execution", "status", "E_01K42AJA8QHD7D3GTJAYMASFYZ", "--no-reconnect"),
        ("execution", "result", "E_01K42AJA8QHD7D3GTJAYMASFYZ", "--no-reconnect"),
        ("execution", "list", "--limit", "0"),
        ("execution", "list", "--ffqn", "\udcff"),
        ("execution", "list", "--execution-id", "\udcff"),
        ("execution", "submit", FIBOA, '["\udcff"]'),
        ("execution", "events", "E_01K42AJA8QHD7D3GTJAYMASFYZ", "--from", "4294967296"),
        ("execution", "responses", "E_01K42AJA8QHD7D3GTJAYMASFYZ", "--from", "4294967296"),
        ("component", "list", "-a", "http://\udcff:5005"),
        ("component", "list", "-a", "ftp://somewhere"),
        ("component", "list", "-a", "http://127.0.0.1:99999"),
        ("component", "list", "-a", "http://127.0.0.1:port"),
        ("component", "list", "-a", "http://127.0.0.1:0"),
        ("component", "list", "-a", "http://[::1"),
        ("component", "list", "-a", "http://127.0.0.1:5005/elsewhere"),
        ("component", "list", "-a", "http://name:secret@127.0.0.1:5005"),
        ("client", "-a", "http://127.0.0.1:port", "component", "list"),
        ("nothing",),
    ],
)
def test_a_wrong_command_line_has_exit_code_2(obelisk, server, arguments):
    result = obelisk(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr
    assert server.engine.store.commits == 0


def test_a_busy_server_says_so(obelisk, server):
    server.engine.is_full = True
    result = obelisk("execution", "submit", FIBOA, "[1,1]")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: the server is busy: 2000 requests of clients are waiting")


def test_parameters_that_are_too_big_are_not_called_a_busy_server(obelisk):
    result = obelisk("execution", "submit", GREET, "--", f'"{"x" * (5 << 20)}"')
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: the request is too big")
    assert "busy" not in result.stderr


def test_no_server_names_the_url_and_how_to_start_one(obelisk):
    result = obelisk("component", "list", "-a", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: no server can be reached at http://127.0.0.1:1 (")
    assert "obelisk server run" in result.stderr


def test_the_old_spelling_with_client(obelisk, server, monkeypatch):
    monkeypatch.delenv("OBELISK_API_URL")
    expected = obelisk("component", "list", "-a", server.url).output
    assert obelisk("client", "-a", server.url, "component", "list").output == expected
    assert obelisk("client", "component", "list", "--api-url", server.url).output == expected
    elsewhere = "http://127.0.0.1:1"
    assert obelisk("client", "-a", elsewhere, "component", "list", "--api-url", server.url).output == expected
    monkeypatch.setenv("OBELISK_API_URL", elsewhere)
    assert obelisk("client", "-a", server.url, "component", "list").output == expected


# --- following -------------------------------------------------------------------------------------------------------


def two_calls(engine, told):
    """A run each of whose states is told before the next one comes."""

    async def script(execution_id):
        for number, step in enumerate(
            (
                lambda: engine.lock(execution_id),
                lambda: engine.call(execution_id, 1),
                lambda: engine.finish(f"{execution_id}.o:1-fibo_1", Ok(Json(b"55"))),
                lambda: engine.call(execution_id, 2),
                lambda: engine.finish(f"{execution_id}.o:2-fibo_1", Ok(Json(b"55"))),
                lambda: engine.finish(execution_id, Ok(Json(b"55"))),
            )
        ):
            await told(number + 1)
            engine.advance(117_000)
            step()

    return script


def test_following_on_a_pipe(obelisk, server, told):
    server.engine.script = two_calls(server.engine, told)
    result = obelisk("execution", "submit", "--follow", FIBOA, "[10,2]")
    assert result.exit_code == 0
    id_line, *lines = result.output.splitlines()
    assert re.fullmatch(ID, id_line)
    assert lines == [
        "Pending at 2026-01-01T00:00:00Z",
        "Locked",
        "BlockedByJoinSet o:1-fibo",
        "Locked",
        "BlockedByJoinSet o:2-fibo",
        "Locked",
        "Finished: OK",
        "Execution finished: OK: 55",
        "",
        "Execution took 0.702s.",
    ]


def test_following_as_json_is_one_document(obelisk, server, told):
    server.engine.script = two_calls(server.engine, told)
    result = obelisk("execution", "submit", "-f", "-j", FIBOA, "[10,2]")
    assert json.loads(result.output) == {"ok": 55}


@pytest.mark.parametrize(
    ("outcome", "text", "document"),
    [
        (Ok(), "OK: (no return value)", {"ok": None}),
        (Err(Json(b'{"a":1}')), 'Error: {"a":1}', {"err": {"a": 1}}),
        (Err(), "Error: (no return value)", {"err": None}),
        (
            Failure(FailureKind.UNCATEGORIZED, "trap", "unreachable"),
            "Execution failure (uncategorized): `trap`\ndetail: unreachable",
            {"execution_failed": {"kind": "uncategorized", "reason": "trap", "detail": "unreachable"}},
        ),
        (
            Failure(FailureKind.TIMED_OUT),
            "Execution failure (timed_out)",
            {"execution_failed": {"kind": "timed_out"}},
        ),
    ],
)
def test_every_end_in_words_and_as_json(obelisk, server, outcome, text, document):
    async def script(execution_id):
        await asyncio.sleep(0)
        server.engine.lock(execution_id)
        server.engine.finish(execution_id, outcome)

    server.engine.script = script
    followed = obelisk("execution", "submit", "-f", FIBO, "[1]")
    assert f"Execution finished: {text}\n\nExecution took 0.000s.\n" in followed.output
    execution_id = followed.output.splitlines()[0]
    code = 0 if isinstance(outcome, Ok) else 1
    assert followed.exit_code == code
    result = obelisk("execution", "result", execution_id)
    assert (result.output, result.exit_code) == (f"{text}\n", code)
    as_json = obelisk("execution", "result", execution_id, "--json")
    assert (json.loads(as_json.output), as_json.exit_code) == (document, code)


def test_a_broken_connection_is_taken_up_again(obelisk, server, told, monkeypatch):
    engine = server.engine
    execution_id = submitted(engine)
    monkeypatch.setattr("obelisk.cli.following.RECONNECT_S", 0.05)

    async def restart():
        await told(1)
        await asyncio.sleep(0.2)
        await server.close()
        await asyncio.sleep(0.2)
        engine.changes = Changes()
        again = await SmallServer.open(server.port, engine)
        engine.fibo_run(execution_id)
        return again

    restarting = asyncio.run_coroutine_threadsafe(restart(), the_loop().loop)
    result = obelisk("execution", "status", "-f", execution_id)
    the_loop().run(restarting.result(60).close())
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:3] == [
        "Pending at 2026-01-01T00:00:00Z",
        "Finished: OK",
        "Execution finished: OK: 55",
    ]
    first, *_ = result.stderr.splitlines()
    assert first == "Got error while polling the status, reconnecting - server is shutting down"


def test_a_server_that_stays_away_is_told_once(obelisk, server, told, monkeypatch):
    engine = server.engine
    execution_id = submitted(engine)
    monkeypatch.setattr("obelisk.cli.following.RECONNECT_S", 0.01)

    async def restart():
        await told(1)
        await asyncio.sleep(0.2)
        await server.close()
        await asyncio.sleep(1.5)
        engine.changes = Changes()
        again = await SmallServer.open(server.port, engine)
        engine.fibo_run(execution_id)
        return again

    restarting = asyncio.run_coroutine_threadsafe(restart(), the_loop().loop)
    result = obelisk("execution", "result", "-f", execution_id)
    the_loop().run(restarting.result(60).close())
    assert result.exit_code == 0
    lines = result.stderr.splitlines()
    assert all(line.startswith("Got error while polling the status, reconnecting - ") for line in lines)
    assert all(one != other for one, other in pairwise(lines))
    assert 2 <= len(lines) <= 6


def test_a_broken_connection_is_the_end_when_asked_for(obelisk, server, told):
    execution_id = submitted(server.engine)

    async def stop():
        await told(1)
        await asyncio.sleep(0.2)
        server.engine.stop()

    stopping = asyncio.run_coroutine_threadsafe(stop(), the_loop().loop)
    result = obelisk("execution", "result", "-f", "--no-reconnect", execution_id)
    stopping.result(60)
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: lost the server at {server.url} (server is shutting down). The execution does not end with that;"
        f" to see how it does: obelisk execution status --follow {execution_id}\n"
    )


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_who_stops_following_is_told_that_the_execution_goes_on(server, options):
    execution_id = submitted(server.engine)
    process = subprocess.Popen(
        [*COMMAND, "execution", "status", "--follow", *options, execution_id],
        env={**os.environ, "OBELISK_API_URL": server.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not server.engine.changes.watchers:
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Aborted" not in stderr
    assert "stopped following. The execution does not end with that" in stderr
    assert f"obelisk execution status --follow {execution_id}" in stderr


def test_a_server_that_was_never_there_is_not_waited_for(obelisk):
    result = obelisk("execution", "status", "-f", "E_01K42AJA8QHD7D3GTJAYMASFYZ", "-a", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "no server can be reached" in result.stderr


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["status", "get"])
def test_the_status_of_what_runs_and_of_what_has_finished(obelisk, server, command):
    running = submitted(server.engine)
    assert obelisk("execution", command, running).output == "Pending at 2026-01-01T00:00:00Z\n"
    server.engine.append(running, Parked("no match"))
    assert obelisk("execution", command, running).output == "Parked: no match\n"
    done = finished(server.engine)
    result = obelisk("execution", command, done)
    assert result.exit_code == 0
    assert result.output == "Finished: OK\nExecution finished: OK: 55\n\nExecution took 0.020s.\n"
    document = json.loads(obelisk("execution", command, done, "--json").output)
    assert document["ffqn"] == FIBOA
    assert document["component_type"] == "workflow"
    assert document["pending_state"] == {
        "status": "finished",
        "finished_at": "2026-01-01T00:00:00.020Z",
        "result_kind": "ok",
    }
    assert json.loads(obelisk("execution", command, done, "-f", "--json").output) == document


def test_blocked_and_closing(obelisk, server):
    execution_id = submitted(server.engine)
    server.engine.lock(execution_id)
    server.engine.call(execution_id, 1)
    assert obelisk("execution", "status", execution_id).output == "BlockedByJoinSet o:1-fibo\n"
    document = json.loads(obelisk("execution", "status", execution_id, "-j").output)
    assert document["pending_state"] == {
        "status": "blocked_by_join_set",
        "join_set_id": "o:1-fibo",
        "lock_expires_at": "2026-01-01T00:00:01Z",
        "closing": False,
    }


def test_a_result_that_is_not_there_yet(obelisk, server):
    result = obelisk("execution", "result", submitted(server.engine))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: execution not finished yet")


def test_nobody_is_not_found(obelisk):
    nobody = "E_01K42AJA8QHD7D3GTJAYMASFYZ"
    for command in ("status", "result", "events", "responses", "trace"):
        result = obelisk("execution", command, nobody)
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"there is no execution {nobody}" in result.stderr


def test_executions_in_rows(obelisk, server):
    engine = server.engine
    done = finished(engine, 1)
    engine.advance(1_000_000)
    waiting = submitted(engine, GREET, b'["x"]')
    assert obelisk("execution", "list").output.splitlines() == [
        f"{waiting} `Pending at 2026-01-01T00:00:01.010Z` {GREET} `2026-01-01T00:00:01.010Z`",
        f"{done} `Finished: OK` {FIBOA} `2026-01-01T00:00:00Z`",
    ]

    def ids(*flags):
        return [row["execution_id"] for row in json.loads(obelisk("execution", "list", "--json", *flags).output)]

    assert ids("--limit", "1") == [waiting]
    assert ids("--hide-finished") == [waiting]
    assert ids("--ffqn", "template-fibo:") == [done]
    assert ids("--execution-id", done) == [done]
    assert set(ids("--show-derived")) == {waiting, done, f"{done}.o:1-fibo_1"}


def test_a_long_list_comes_in_pages(obelisk, server, monkeypatch):
    monkeypatch.setattr("obelisk.cli.reading._PAGE", 2)
    done = finished(server.engine, 3)
    assert len(obelisk("execution", "list", "--show-derived", "--limit", "3").output.splitlines()) == 3
    assert len(obelisk("execution", "list", "--show-derived").output.splitlines()) == 4
    assert len(obelisk("execution", "events", done).output.splitlines()) == 12
    assert len(obelisk("execution", "responses", done).output.splitlines()) == 3


def test_events_in_rows_and_as_json(obelisk, server):
    done = finished(server.engine, 1)
    child = f"{done}.o:1-fibo_1"
    rows = obelisk("execution", "events", done).output.splitlines()
    assert [row.partition("` ")[2].partition("(")[0] for row in rows] == [
        "Created", "Locked", "JoinSetCreated", "ChildExecutionRequest", "JoinNext", "Finished",
    ]  # fmt: skip
    assert rows[0] == f"0 `2026-01-01T00:00:00Z` Created({FIBOA}, `[10,1]`)"
    assert rows[3] == f"3 `2026-01-01T00:00:00Z` ChildExecutionRequest({child}, {FIBO}, `[10]`)"
    assert rows[-1] == "5 `2026-01-01T00:00:00.010Z` Finished(OK: 55)"
    assert obelisk("execution", "events", done, "--from", "4", "--limit", "1").output == f"{rows[4]}\n"

    documents = json.loads(obelisk("execution", "events", done, "--json").output)
    assert [document["version"] for document in documents] == [0, 1, 2, 3, 4, 5]
    assert documents[0]["event"]["created"]["params"] == [10, 1]
    assert documents[1]["event"]["locked"]["retry_config"] == {"max_retries": 5, "retry_exp_backoff": "0.100s"}
    assert documents[3]["event"]["history_event"]["event"] == {
        "type": "join_set_request",
        "join_set_id": "o:1-fibo",
        "join_set_request": {
            "child_execution_request": {
                "child_execution_id": child,
                "function_name": FIBO,
                "params": [10],
                "result": {"ok": {}},
            }
        },
    }
    assert documents[5]["event"] == {"finished": {"value": {"ok": 55}, "http_client_traces": []}}


def test_responses_in_rows_and_as_json(obelisk, server):
    done = finished(server.engine, 2)
    rows = obelisk("execution", "responses", done).output.splitlines()
    assert rows[0] == (f"1 `2026-01-01T00:00:00.010Z` o:1-fibo ChildExecutionFinished({done}.o:1-fibo_1, OK: 55)")
    assert obelisk("execution", "responses", done, "--from", "2").output == f"{rows[1]}\n"
    (document,) = json.loads(obelisk("execution", "responses", done, "--limit", "1", "--json").output)
    assert document["cursor"] == 1
    assert document["event"]["response"] == {
        "child_execution_finished": {"child_execution_id": f"{done}.o:1-fibo_1", "value": {"ok": 55}}
    }


# --- trace -----------------------------------------------------------------------------------------------------------


def bars(output):
    """The bar of each row, as (begin, end) in cells."""
    found = []
    for line in output.splitlines():
        match = re.search(r"█+", line)
        if match:
            found.append(match.span())
    return found


def test_sequential_bars_come_one_after_another(obelisk, server, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    done = finished(server.engine, 4)
    result = obelisk("execution", "trace", done)
    assert [line.split()[0] for line in result.output.splitlines()] == [
        "execution", done, "o:1-fibo_1", "o:2-fibo_1", "o:3-fibo_1", "o:4-fibo_1",
    ]  # fmt: skip
    whole, *calls = bars(result.output)
    assert whole[1] - whole[0] > 20
    assert all(one[1] <= other[0] for one, other in pairwise(calls))
    assert result.output.splitlines()[0].endswith("0.040s")


def test_concurrent_bars_stand_together(obelisk, server, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    engine = server.engine
    top = submitted(engine)
    engine.lock(top)
    children = [engine.create(f"{top}.g:1_{index}", FIBO, b"[10]") for index in range(1, 12)]
    for child in children:
        engine.lock(child)
    engine.advance(500_000)
    for child in children:
        engine.append(child, Finished(Ok(Json(b"1"))))
    engine.finish(top, Ok(Json(b"1")))
    result = obelisk("execution", "trace", top)
    assert len(set(bars(result.output))) == 1
    assert [line.split()[0] for line in result.output.splitlines()[2:]] == [f"g:1_{index}" for index in range(1, 12)]
    few = obelisk("execution", "trace", top, "--limit", "3").output.splitlines()
    assert len(few) == 5
    assert "… 9 more" in few[-1]


def test_a_trace_as_json(obelisk, server):
    done = finished(server.engine, 1)
    top, child = json.loads(obelisk("execution", "trace", done, "--json").output)
    assert top["execution_id"] == done
    assert child["execution_id"] == f"{done}.o:1-fibo_1"
    assert child["first_started_at"] == "2026-01-01T00:00:00Z"
    assert child["finished_at"] == "2026-01-01T00:00:00.010Z"
    assert child["failures"] == 0


# --- the process -----------------------------------------------------------------------------------------------------


def test_exit_codes_of_the_process(server):
    def code(*arguments):
        return subprocess.run(
            [*COMMAND, *arguments],
            env={**os.environ, "OBELISK_API_URL": server.url},
            capture_output=True,
            check=False,
            timeout=120,
        ).returncode

    assert code("component", "list") == 0
    assert code("execution", "submit", "a:b/c.d", "[]") == 1
    assert code("execution", "submit", "a:b/c.d", "x") == 2


def test_output_that_cannot_be_written_is_an_error_without_a_traceback(server):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "component", "list", "-a", server.url],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 1
    assert done.stderr == "Error: the output cannot be written: No space left on device\n"


def test_the_tree_on_a_terminal(server):
    seen = bytearray()

    async def drawn(step):
        while step == 3 and b"BlockedByJoinSet o:1-fibo" not in seen:
            await asyncio.sleep(0.001)

    server.engine.script = two_calls(server.engine, drawn)
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "execution", "submit", "-f", FIBOA, "[10,2]"],
        env={**os.environ, "OBELISK_API_URL": server.url, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
        stdout=secondary,
        stderr=secondary,
    )
    os.close(secondary)
    try:
        while chunk := os.read(primary, 65536):
            seen += chunk
    except OSError:
        pass  # how a terminal ends
    os.close(primary)
    assert process.wait(120) == 0
    text = seen.decode()
    for part in ("fiboa", "o:1-fibo_1", "o:2-fibo_1", "BlockedByJoinSet o:1-fibo", "Execution finished: OK: 55"):
        assert part in text
    assert "\x1b[" in text


def test_version_and_help(obelisk):
    assert obelisk("--version").output == f"obelisk {package.__version__}\n"
    assert obelisk("-v").output == obelisk("--version").output
    text = obelisk("-h").output
    assert "server" in text and "execution" in text and "component" in text
    assert "client" not in text


def test_a_client_imports_nothing_of_a_server():
    modules = "obelisk.cli.main, obelisk.cli.execution, obelisk.cli.component, obelisk.cli.live, obelisk.cli.gantt"
    rings = (
        "obelisk.runtime",
        "obelisk.engine",
        "obelisk.store",
        "obelisk.wasm",
        "obelisk.server",
        "obelisk.api",
        "wasmtime",
    )
    code = f"import sys, {modules}; print([name for name in sys.modules if name.startswith({rings})])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout == "[]\n"
