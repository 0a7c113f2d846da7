"""`obelisk execution logs` against a real server over the small engine."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from obelisk_tests_small_engine import FIBOA, the_loop

from obelisk.core.calls import Log, LogLevel, Output, StdStream
from obelisk.core.instants import SECOND_US
from obelisk.core.lines import NewLogLine
from obelisk.core.values import Json, Ok

COMMAND = [sys.executable, "-W", "error", "-c", "from obelisk.cli.main import main; main()"]
RUN = "Run_01K42AJA8QHD7D3GTJAYMASFYZ"


def started(engine):
    return engine.create(engine.new_execution_id(), FIBOA, b"[10,1]")


def say(engine, execution_id, text, level=LogLevel.INFO, run=RUN):
    return NewLogLine(execution_id, engine.now(), Log(level, text), run)


def out(engine, execution_id, data, stream=StdStream.STDOUT):
    return NewLogLine(execution_id, engine.now(), Output(stream, data))


@pytest.fixture
def talkative(server):
    """An execution with a child: every level, both streams."""
    engine = server.engine
    one = started(engine)
    engine.lock(one)
    child = engine.call(one, 1)
    engine.log(*[say(engine, one, f"it is {level.value}", level) for level in LogLevel])
    engine.log(out(engine, one, b"printed\n"), out(engine, one, b"shouted", StdStream.STDERR))
    engine.log(say(engine, child, "of the child", run=None))
    return one


def shown(result):
    assert result.exit_code == 0, result.output
    return [line.partition("Z ")[2] for line in result.stdout.splitlines()]


def test_lines_as_text(obelisk, server, talkative):
    result = obelisk("execution", "logs", talkative)
    assert shown(result) == [
        "[DEBUG ] it is debug",
        "[INFO  ] it is info",
        "[WARN  ] it is warn",
        "[ERROR ] it is error",
        "[STDOUT] printed",
        "[STDERR] shouted",
    ]
    stamp = result.output.partition(" ")[0]
    assert len(stamp) == len("2026-04-14T10:00:00.000000000Z")
    assert result.stderr == ""


def test_which_lines(obelisk, talkative):
    def found(*options):
        return [line.split()[-1] for line in shown(obelisk("execution", "logs", talkative, *options))]

    assert found("--level", "warn") == ["warn", "error", "printed", "shouted"]
    assert found("--level", "trace", "--stream-type", "none") == ["trace", "debug", "info", "warn", "error"]
    assert found("--level", "off") == ["printed", "shouted"]
    assert found("--level", "off", "--stream-type", "stderr") == ["shouted"]
    assert found("--level", "error", "--stream-type", "stdout", "--stream-type", "stderr")[1:] == ["printed", "shouted"]
    assert found("--level", "error", "--show-derived") == ["error", "printed", "shouted"]


def test_whose_lines(obelisk, talkative):
    lines = shown(obelisk("execution", "logs", talkative, "--show-derived", "--show-run-id", "--stream-type", "none"))
    assert lines[0] == f"[DEBUG ] {talkative} {RUN} it is debug"
    assert lines[-1] == f"[INFO  ] {talkative}.o:1-fibo_1 - of the child"
    own = shown(obelisk("execution", "logs", talkative, "--show-run-id"))
    assert own[0] == f"[DEBUG ] {RUN} it is debug"


def test_later_ones(obelisk, server, talkative):
    at = datetime.fromtimestamp(server.engine.now() / SECOND_US, UTC).isoformat(timespec="microseconds")
    server.engine.advance(SECOND_US)
    server.engine.log(say(server.engine, talkative, "later"))
    assert shown(obelisk("execution", "logs", talkative, "--after", at)) == ["[INFO  ] later"]
    refused = obelisk("execution", "logs", talkative, "--after", "yesterday")
    assert refused.exit_code == 2
    assert "'yesterday' is no instant such as" in refused.stderr


def test_as_many_as_wanted(obelisk, server):
    engine = server.engine
    one = started(engine)
    engine.log(*[say(engine, one, str(index)) for index in range(450)])
    result = obelisk("execution", "logs", one)
    assert [line.split()[-1] for line in shown(result)] == [str(index) for index in range(20)]
    assert result.stderr == "there are more lines; see --limit, --after and --follow\n"
    everything = obelisk("execution", "logs", one, "--limit", "450")
    assert [line.split()[-1] for line in shown(everything)] == [str(index) for index in range(450)]
    assert everything.stderr == ""


def test_json(obelisk, server, talkative):
    found = json.loads(obelisk("execution", "logs", talkative, "--json", "--level", "error").output)
    assert found[0] | {"created_at": ""} == {
        "type": "log",
        "created_at": "",
        "execution_id": talkative,
        "run_id": RUN,
        "level": "error",
        "message": "it is error",
    }
    assert [(each["stream_type"], base64.b64decode(each["payload"]), each["run_id"]) for each in found[1:]] == [
        ("stdout", b"printed\n", None),
        ("stderr", b"shouted", None),
    ]
    assert json.loads(obelisk("execution", "logs", started(server.engine), "--json").output) == []


def test_what_a_terminal_might_obey_is_shown(obelisk, server):
    engine = server.engine
    one = started(engine)
    engine.log(say(engine, one, "a\x1b[2Jb\tc\nd\r"), out(engine, one, b"\x07bell\r\n"))
    assert obelisk("execution", "logs", one).output.splitlines()[0].endswith("[INFO  ] a\\x1b[2Jb\tc")
    assert obelisk("execution", "logs", one).output.splitlines()[1:2] == ["d\\x0d"]
    assert obelisk("execution", "logs", one).output.endswith("[STDOUT] \\x07bell\n")


def test_nothing_to_show_and_nobody(obelisk, server):
    assert obelisk("execution", "logs", started(server.engine)).output == ""
    nobody = obelisk("execution", "logs", server.engine.new_execution_id())
    assert nobody.exit_code == 1
    assert "there is no execution" in nobody.stderr
    refused = obelisk("execution", "logs", started(server.engine), "--level", "off", "--stream-type", "none")
    assert refused.exit_code == 2


def test_following_to_the_end(server):
    engine = server.engine
    one = started(engine)
    engine.log(say(engine, one, "before"))
    command = [*COMMAND, "execution", "logs", "--follow", one, "--api-url", server.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().endswith("[INFO  ] before\n")

        async def go_on():
            engine.log(*[say(engine, one, f"line {index}") for index in range(30)])
            engine.late_lines.append(say(engine, one, "last"))
            engine.finish(one, Ok(Json(b"55")))

        the_loop().run(go_on())
        output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    texts = [line.partition("] ")[2] for line in output.splitlines()]
    assert texts == [*[f"line {index}" for index in range(30)], "last"]
