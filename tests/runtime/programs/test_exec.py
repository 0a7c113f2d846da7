"""Exec activities in a whole runtime: how a program is called, and what its end means."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from obelisk.core.batch import CancelRequest
from obelisk.core.calls import Output, StdStream
from obelisk.core.events import kind_of
from obelisk.core.lines import LineFilter, LinePage
from obelisk.runtime.programs.copies import digest_of_file
from obelisk.runtime.refusals import DeploymentRefused

ALL = 1 << 30
RETRIES = "max_retries = 1\nretry_exp_backoff.milliseconds = 10\n"


def toml(path: Path, returns: str, params: str = "[]", more: str = RETRIES, allowed: str = "true") -> str:
    return (
        f'allow_exec_activities = {allowed}\n[[activity_exec]]\nname = "prog"\nlocation = "{path}"\n'
        f'ffqn = "test:exec/all.go"\nparams = {params}\nreturn_type = "{returns}"\nexec.lock_expiry.seconds = 60\n{more}'
    )


def lines(running: Any, execution_id: Any, stream: StdStream) -> list[bytes]:
    """What is stored of a stream, as lines."""
    found = running.runtime.reader.lines(LineFilter(execution_id, streams=(stream,)), LinePage(ALL))
    return b"".join(each.line.data for each in found if isinstance(each.line, Output)).splitlines()


@pytest.fixture
def go(running: Callable[[str], Any], script: Callable[[str], Path]) -> Callable[..., Any]:
    """A function: script, return type, parameters with their declaration -> the result."""

    def run(text: str, returns: str, *params: Any, declared: str = "[]", more: str = RETRIES) -> Any:
        return running(toml(script(text), returns, declared, more)).run("test:exec/all.go", *params)

    return run


TEXTS = '[{name = "a", type = "string"}, {name = "b", type = "u32"}]'


def test_parameters_are_arguments_in_json(go: Any) -> None:
    text = """printf '[%d,%s,%s]' $# "$1" "$2" """
    assert go(text, "result<tuple<u8, string, u32>>", 'it\'s "x"', 7, declared=TEXTS) == ("ok", [2, 'it\'s "x"', 7])


def test_parameters_go_to_standard_input_where_that_is_wanted(go: Any) -> None:
    more = RETRIES + "params_via_stdin = true\nmax_output_bytes = 400000"
    big = "x" * 300_000  # more than an argument may have, and than a pipe holds
    text = """printf '[%d,"' $#; tr -d '"'; printf '"]' """
    result = go(text, "result<tuple<u8, string>>", big, 7, declared=TEXTS, more=more)
    assert result == ("ok", [0, f"{{params:[{big},7]}}"])
    assert go("exec true", "result", big, 7, declared=TEXTS, more=more) == ("ok", None)  # nobody reads it


def test_a_parameter_that_no_argument_holds_is_told(go: Any) -> None:
    kind, _, reason = go("exec true", "result", "x" * 200_000, 7, declared=TEXTS)
    assert kind == "failure"
    assert "params_via_stdin" in reason


def several(script: Callable[[str], Path], cases: list[tuple[str, str]]) -> str:
    """A component for each script and return type; their functions are go-0, go-1 and so on."""
    tables = [toml(script(text), returns).partition("\n")[2] for text, returns in cases]
    renamed = [
        table.replace('"prog"', f'"prog{number}"').replace("all.go", f"all.go-{number}")
        for number, table in enumerate(tables)
    ]
    return "\n".join(["allow_exec_activities = true", *renamed])


def test_how_it_ends(running: Any, script: Any) -> None:
    cases = {
        ("echo '  5 '", "result<u8, string>"): ("ok", 5),
        ("echo '\"no\"'; exit 3", "result<u8, string>"): ("err", "no"),
        ("echo anything", "result"): ("ok", None),
        ("echo anything; exit 1", "result"): ("err", None),
        ("echo 7; exit 1", "result<u8>"): ("err", None),
        ("true", "result<_, string>"): ("ok", None),
        ("yes | head -c 1000000", "result<_, string>"): ("ok", None),  # nobody wants it
    }
    runtime = running(several(script, list(cases)))
    assert {case: runtime.run(f"test:exec/all.go-{number}") for number, case in enumerate(cases)} == cases


def test_what_is_no_result_is_a_failure_that_is_not_tried_again(running: Any, script: Any) -> None:
    cases = {
        ("true", "result<u8>"): "wrote none",
        ("echo 300", "result<u8>"): "expected was JSON of the type u8; found 300",
        ("echo nonsense", "result<u8>"): "found nonsense",
        ("echo '1},\"err\":{'", "result<u8>"): "which it is not",
        ("false", "result<u8, string>"): "exited with 1",
        ("yes", "result<u8, string>"): "more than 4096 bytes",
        ("(head -c 5000 /dev/zero & yes $(printf '%01000d' 0) >&2)", "result<string, string>"): "more than 4096 bytes",
    }
    runtime = running(several(script, list(cases)))
    for number, expected in enumerate(cases.values()):
        execution_id, (kind, _, reason) = runtime.run_id(f"test:exec/all.go-{number}")
        assert kind == "failure"
        assert expected in reason
        assert [kind_of(entry.event) for entry in runtime.log(execution_id)] == ["created", "locked", "finished"]


def test_a_signal_is_tried_again(running: Any, script: Any) -> None:
    runtime = running(toml(script("kill -SEGV $$"), "result<u8>"))
    execution_id, result = runtime.run_id("test:exec/all.go")
    assert result == ("failure", "uncategorized", "the program was ended by SIGSEGV (11)")
    assert [kind_of(entry.event) for entry in runtime.log(execution_id)].count("locked") == 2


def test_what_it_finds_around_it(go: Any) -> None:
    text = """
    exec 3< /proc/self/status
    while read -r name value; do case $name in NoNewPrivs:) nnp=$value;; esac; done <&3
    exec 3<&-
    printf '["%s","%s",%s,"%s"]' "$(env | grep -v -e ^PWD -e ^_ -e ^SHLVL -e ^OLDPWD | wc -l)" "$(ls -A | wc -l)" "$nnp" \
        "$(cd /proc/$$/fd && echo *)"
    """
    kind, value = go(text, "result<tuple<string, string, u8, string>>")
    assert kind == "ok"
    assert value[:3] == ["0", "0", 1]
    assert set(value[3].split()) <= {
        "0",
        "1",
        "2",
        "3",
        "10",
        "255",
    }  # the shell keeps its script open, and has a pipe to what asks


def test_floods_keep_nobody_else_waiting(running: Any, script: Any) -> None:
    """One writes without end to both streams, and nobody wants it; others are carried out all the same."""
    flood = script("yes $(printf '%0900d' 0) >&2 & yes $(printf '%0900d' 0)")
    other = (
        toml(script("echo 5"), "result<u8>")
        .partition("\n")[2]
        .replace("prog", "quick")
        .replace("all.go", "all.be-quick")
    )
    runtime = running(f"{toml(flood, 'result<_, string>')}\n{other}")
    flooding = asyncio.run(runtime.submit("test:exec/all.go"))
    time.sleep(0.5)
    begun = time.monotonic()
    assert runtime.run("test:exec/all.be-quick") == ("ok", 5)
    assert time.monotonic() - begun < 30
    assert lines(runtime, flooding, StdStream.STDERR)[0] == b"0" * 900


def test_the_environment_is_what_the_configuration_says(running: Any, script: Any) -> None:
    more = 'max_retries = 0\nenv_vars = ["ONE=1", { key = "TWO", value = "2" }]'
    text = "printf '\"%s\"' \"$(env | sort | grep -v -e ^PWD -e ^_ -e ^SHLVL -e ^OLDPWD | tr '\\n' ' ')\""
    assert running(toml(script(text), "result<string>", more=more)).run("test:exec/all.go") == ("ok", "ONE=1 TWO=2 ")


def test_standard_error_is_logged(running: Any, script: Any) -> None:
    runtime = running(toml(script("echo one >&2; printf two >&2; echo 1"), "result<u8>"))
    execution_id, result = runtime.run_id("test:exec/all.go")
    assert result == ("ok", 1)
    assert lines(runtime, execution_id, StdStream.STDERR) == [b"one", b"two"]
    assert lines(runtime, execution_id, StdStream.STDOUT) == []


def test_a_runaway_is_ended_at_its_deadline_with_all_that_it_started(running: Any, script: Any, traces: Any) -> None:
    text = f"""
    trap '' TERM INT HUP
    touch {traces.folder}/$$
    sh -c 'touch {traces.folder}/$$; sleep 100; true' &
    setsid sh -c '(trap "" TERM; setsid sh -c "touch {traces.folder}/\\$\\$; sleep 100; true") &'
    exec >&-
    sleep 100
    true
    """
    runtime = running(
        toml(script(text), "result<u8>", more="max_retries = 0\nexec.lock_expiry.milliseconds = 3_000").replace(
            "exec.lock_expiry.seconds = 60\n", ""
        )
    )
    kind, which, reason = runtime.run("test:exec/all.go")
    assert (kind, which) == ("failure", "timed_out")
    assert "3000 ms (exec.lock_expiry)" in reason
    assert len(traces.pids(3)) == 3
    assert traces.alive() == []  # not later: by the time that it is told


def test_cancelling_ends_all_of_it(running: Any, script: Any, traces: Any) -> None:
    text = f"touch {traces.folder}/$$; sh -c 'touch {traces.folder}/$$; sleep 100; true' & sleep 100; true"
    runtime = running(toml(script(text), "result<u8>"))

    async def run() -> Any:
        execution_id = await runtime.submit("test:exec/all.go")
        await asyncio.to_thread(traces.pids, 2)
        await runtime.runtime.operate(execution_id, CancelRequest())
        return await runtime.result(execution_id)

    assert asyncio.run(run()).outcome.kind == "cancelled"
    assert traces.alive() == []


def test_stopping_the_server_ends_all_of_it(running: Any, script: Any, traces: Any) -> None:
    text = f"touch {traces.folder}/$$; setsid sh -c 'touch {traces.folder}/$$; sleep 100; true' & sleep 100; true"
    runtime = running(toml(script(text), "result<u8>"))
    asyncio.run(runtime.submit("test:exec/all.go"))
    traces.pids(2)
    begun = time.monotonic()
    runtime.stop()
    assert traces.alive() == []
    assert time.monotonic() - begun < 30
    runtime.runtime.stop = lambda: None


def test_what_outlives_the_program_ends_with_it(go: Any, traces: Any) -> None:
    text = f"setsid sh -c 'touch {traces.folder}/$$; sleep 100; true' & while [ -z \"$(ls {traces.folder})\" ]; do :; done; echo 5"
    assert go(text, "result<u8>") == ("ok", 5)
    assert traces.pids(1)
    assert traces.alive() == []


def test_only_so_many_run_at_once_and_waiting_for_a_turn_is_not_held_against_the_deadline(
    running: Any, script: Any, traces: Any
) -> None:
    text = f"touch {traces.folder}/$$; sleep 0.3; ls {traces.folder} | wc -l; rm {traces.folder}/$$"
    path = script(text)
    more = "max_retries = 0\nexec.lock_expiry.milliseconds = 2_500"
    runtime = running(
        "programs.running_max = 2\n"
        + toml(path, "result<u8>", more=more).replace("exec.lock_expiry.seconds = 60\n", "")
    )

    async def run() -> list[Any]:
        ids = [await runtime.submit("test:exec/all.go") for _ in range(20)]  # one after another, in pairs: 3 s
        return [await runtime.result(each) for each in ids]

    outcomes = [bytes(each.outcome.value) for each in asyncio.run(run())]
    assert len(outcomes) == 20
    assert set(outcomes) <= {b"1", b"2"}


# --- which programs --------------------------------------------------------------------------------------------------


def test_without_a_word_no_program_is_run(running: Any, script: Any) -> None:
    path = script("echo 5")
    digest = digest_of_file(path)
    for allowed in ("false", "{}", f'{{ other = "{digest}" }}'):
        with pytest.raises(DeploymentRefused, match=f'allow_exec_activities.prog = "{digest}"'):
            running(toml(path, "result<u8>", allowed=allowed))
    with pytest.raises(
        DeploymentRefused, match=f"has the digest {digest}, but allow_exec_activities.prog allows sha256:0"
    ):
        running(toml(path, "result<u8>", allowed=f'{{ prog = "sha256:{"0" * 64}" }}'))
    assert running(toml(path, "result<u8>", allowed=f'{{ prog = "{digest}" }}')).run("test:exec/all.go") == ("ok", 5)


def test_what_runs_is_what_was_looked_at(running: Any, script: Any) -> None:
    path = script("echo 5")
    runtime = running(toml(path, "result<u8>", allowed=f'{{ prog = "{digest_of_file(path)}" }}'))
    path.write_text("#!/bin/sh\necho 6\n")
    assert runtime.run("test:exec/all.go") == ("ok", 5)
    (copy,) = (runtime.directory / "db" / "components" / "programs").iterdir()
    copy.chmod(0o700)
    copy.write_text("#!/bin/sh\necho 7\n")
    kind, _, reason = runtime.run("test:exec/all.go")
    assert kind == "failure"
    assert "was changed" in reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"echo 5\n", "expected a script that begins with #!"), (b"", "it is no program"), (None, "found nothing at")],
)
def test_what_is_no_program_is_refused(running: Any, tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "it"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Exception, match=reason):
        running(toml(path, "result<u8>"))


def test_a_missing_interpreter_is_told(running: Any, tmp_path: Path) -> None:
    path = tmp_path / "it"
    path.write_bytes(b"#!/no/such/interpreter\n")
    kind, _, reason = running(toml(path, "result<u8>")).run("test:exec/all.go")
    assert kind == "failure"
    assert reason.startswith("the program it was not started: it cannot be executed: No such file")


def test_an_execution_goes_on_with_the_program_that_it_began_with(
    running: Any, script: Any, tmp_path: Path, traces: Any
) -> None:
    """Two lives of one server: in the second the program is another one."""
    first = script(f"touch {traces.folder}/$$; [ -e {tmp_path}/go ] || sleep 100; echo 5")
    runtime = running(
        toml(first, "result<u8>", more="max_retries = 0\nexec.lock_expiry.seconds = 20").replace(
            "exec.lock_expiry.seconds = 60\n", ""
        )
    )
    execution_id = asyncio.run(runtime.submit("test:exec/all.go"))
    traces.pids(1)
    runtime.stop()
    (tmp_path / "go").touch()
    text = (runtime.directory / "obelisk.toml").read_text().replace(str(first), str(script("echo 6")))
    (runtime.directory / "obelisk.toml").write_text(text)
    again = type(runtime)(runtime.directory, text)
    try:
        assert bytes(asyncio.run(again.result(execution_id)).outcome.value) == b"5"
        assert again.run("test:exec/all.go") == ("ok", 6)
    finally:
        again.stop()
    runtime.runtime.stop = lambda: None
