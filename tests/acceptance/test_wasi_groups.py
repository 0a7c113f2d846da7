"""A program in C for each group of WASI's functions, run as an activity of a real server: results, errors and waiting.

Each test is an execution; the function of the program says which of its checks did not hold.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from obelisk.core.calls import Output
from obelisk.core.ids import ExecutionId
from obelisk.core.lines import LineFilter, LinePage
from obelisk.proto import obelisk_pb2 as pb

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]

VARIABLES = [["EMPTY", ""], ["GREETING", "grüß = dich"]]


@pytest.fixture(scope="module")
def groups(
    tmp_path_factory: pytest.TempPathFactory, wasi_programs: dict[str, Path], fixture_module: Callable[[str], Any]
) -> Iterator[Any]:
    """A server with all of them."""
    folder = tmp_path_factory.mktemp("groups")
    for name in ("data", "state", "server"):
        (folder / name).mkdir()
    (folder / "data" / "a.txt").write_text("of the host")
    given = {
        "io": 'allowed_tcp = ["127.0.0.1:*"]',
        "cli": 'env_vars = [{ key = "EMPTY", value = "" }, { key = "GREETING", value = "grüß = dich" }]',
        "sockets": 'allowed_tcp = ["127.0.0.1:*", "[::1]:*", "localhost:*"]',
        "filesystem": f"""
            directories.enabled = true
            directory = [
              {{ host = "{folder}/data", guest = "/data" }},
              {{ host = "{folder}/state", guest = "/state", read_only = false }},
            ]
            """,
    }
    tables = [
        f'[[activity_wasm]]\nname = "{name}"\nlocation = "{path}"\nmax_retries = 0\n'
        f"exec.lock_expiry.seconds = 60\n{given.get(name, '')}"
        for name, path in wasi_programs.items()
    ]
    directories = f"""
        activities.directories.enabled = true
        activities.directories.parent_directory = "{folder}/directories"
        activities.directories.bytes_max = {1 << 20}
        activities.directories.entries_max = 100
        """
    made = fixture_module("serving").Server(folder / "server", "\n".join([directories, *tables]))
    made.start()
    before = len(os.listdir(f"/proc/{made.process.pid}/fd"))
    yield made
    # What guests had open is closed; the test's own channel and the server's readers are not.
    assert len(os.listdir(f"/proc/{made.process.pid}/fd")) < before + 40
    assert made.stop() == 0
    assert list((folder / "state").iterdir()) == []


@pytest.fixture
def run(groups: Any) -> Callable[..., Any]:
    """A function: runs a function of a program and gives what it returned."""

    def run(function: str, *params: Any) -> Any:
        group, _, name = function.partition(".")
        return groups.result(groups.submit(f"testing:groups/{group}.{name}", *params))

    return run


@pytest.fixture
def checked(run: Callable[..., Any]) -> Callable[..., None]:
    """A function: every check of that function of a program holds."""

    def checked(function: str, *params: Any) -> None:
        kind, *said = run(function, *params)
        assert kind == "ok", said
        assert said[0] > 0

    return checked


@pytest.fixture
def port(fixture_module: Callable[[str], Any]) -> Iterator[int]:
    """Of a peer of the programs."""
    with fixture_module("web").ServerThread(fixture_module("groups").peer) as there:
        yield there.port


# --- wasi:io ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    ["reading", "skipping", "large-reads", "ends", "writing", "back-pressure", "splicing", "errors", "polling"],
)
def test_io(checked: Any, port: int, function: str) -> None:
    checked(f"io.{function}", port)


@pytest.mark.parametrize(
    ("which", "said"),
    [
        (0, "poll was called with an empty list"),
        (1, "65537 bytes were written where 65536 were permitted"),
        (2, "a blocking write may have at most 4096 bytes; it had 4097"),
        (3, "65537 zeroes were written where 65536 bytes were permitted"),
        (4, "a blocking write may have at most 4096 bytes; it had 4097"),
    ],
)
def test_io_traps_where_the_interface_forbids_something(run: Any, port: int, which: int, said: str) -> None:
    kind, _, reason = run("io.traps", port, which)
    assert kind == "failure"
    assert said in reason


# --- wasi:clocks -----------------------------------------------------------------------------------------------------


def test_clocks(checked: Any) -> None:
    checked("clocks.wall", int(time.time()))
    for function in ("monotonic", "instants", "durations"):
        checked(f"clocks.{function}")


# --- wasi:random -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["secure", "insecure", "seed"])
def test_random(checked: Any, function: str) -> None:
    checked(f"random.{function}")


@pytest.mark.parametrize("which", [0, 1, 2])
def test_random_is_another_in_each_run(run: Any, which: int) -> None:
    drawn = [run("random.draw", which) for _ in range(5)]
    assert {kind for kind, _ in drawn} == {"ok"}
    assert len({value for _, value in drawn}) == len(drawn)


@pytest.mark.parametrize(("which", "count"), [(0, 2**20 + 1), (1, 2**64 - 1)])
def test_random_traps_where_too_much_is_asked_for(run: Any, which: int, count: int) -> None:
    kind, _, reason = run("random.too-many", which)
    assert kind == "failure"
    assert f"{count} bytes were asked for at once; at most 1048576 are given" in reason


# --- wasi:cli --------------------------------------------------------------------------------------------------------


def test_cli(checked: Any) -> None:
    checked("cli.environment", VARIABLES)
    for function in ("standard-input", "terminals"):
        checked(f"cli.{function}")


def output_of(server: Any, execution_id: str, stream: str) -> bytes:
    """What a run wrote, as it is stored."""
    ends = time.monotonic() + 60
    while True:
        with closing(server.reader()) as reader:
            lines = reader.lines(LineFilter(ExecutionId(execution_id), False), LinePage(1_000))
        found = [each.line.data for each in lines if isinstance(each.line, Output) and each.line.stream == stream]
        if found or time.monotonic() > ends:
            return b"".join(found)
        time.sleep(0.05)


def test_cli_output_is_in_the_log(groups: Any) -> None:
    execution_id = groups.submit("testing:groups/cli.standard-output")
    kind, *said = groups.result(execution_id)
    assert kind == "ok", said
    assert output_of(groups, execution_id, "stdout") == b"out: first\nout: two halves\nout: together\nout: no line end"
    assert output_of(groups, execution_id, "stderr") == b"err: first\nerr: two halves\n"


@pytest.mark.parametrize(("which", "said"), list(enumerate(["success", "failure", "code 0", "code 7"])))
def test_cli_exit_ends_a_run_and_keeps_its_output(groups: Any, which: int, said: str) -> None:
    execution_id = groups.submit("testing:groups/cli.ends-with", which)
    kind, _, reason = groups.result(execution_id)
    assert kind == "failure"
    assert f"the guest called exit, with {said}, instead of returning" in reason
    assert output_of(groups, execution_id, "stdout") == b"out: before the end"


# --- wasi:filesystem -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        "preopened",
        "opening",
        "rights",
        "reading-and-writing",
        "streams-in",
        "streams-out",
        "listing",
        "directories",
        "renaming",
        "links",
        "escapes",
        "identity",
        "read-only",
        "syncing",
        "quota",
        "handles",
        "names",
    ],
)
def test_filesystem(checked: Any, function: str) -> None:
    checked(f"filesystem.{function}")


def test_filesystem_sizes_and_times(checked: Any) -> None:
    checked("filesystem.sizes-and-times", int(time.time()))


# --- wasi:sockets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function", ["lookups", "connecting", "denied", "options", "shutting-down", "resets", "conversation", "many"]
)
def test_sockets(checked: Any, port: int, function: str) -> None:
    checked(f"sockets.{function}", port)


def test_sockets_where_nobody_listens(checked: Any) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        checked("sockets.refused", bound.getsockname()[1])


def test_sockets_where_nobody_answers(checked: Any) -> None:
    """The system takes no more connections for somebody who has accepted none."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        address = listening.getsockname()
        waiting = []
        try:
            for _ in range(10):
                each = socket.socket()
                each.setblocking(False)
                each.connect_ex(address)
                waiting.append(each)
            time.sleep(0.1)
            checked("sockets.pending", address[1])
        finally:
            for each in waiting:
                each.close()


def test_sockets_over_ipv6(checked: Any, fixture_module: Callable[[str], Any]) -> None:
    fixture_module("loopback").need_six()
    with fixture_module("web").ServerThread(fixture_module("groups").peer, host="::1") as there:
        checked("sockets.over-six", there.port)


def test_sockets_of_a_run_that_is_cancelled_while_it_waits_are_closed(
    groups: Any, fixture_module: Callable[[str], Any]
) -> None:
    hung_up = []

    async def script(peer: Any) -> None:
        hung_up.append(False)
        hung_up[-1] = await peer.closed()

    with fixture_module("web").ServerThread(script) as there:
        waiting = groups.submit("testing:groups/sockets.waits", there.port)
        while not hung_up:
            time.sleep(0.01)
        groups.executions.CancelExecution(pb.CancelExecutionRequest(execution_id=pb.ExecutionId(id=waiting)))
        assert groups.result(waiting)[:2] == ("failure", "cancelled")
        while not hung_up[-1]:
            time.sleep(0.01)


def test_sockets_datagrams_are_refused(checked: Any) -> None:
    checked("sockets.datagrams")


# --- in a workflow ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workflows(
    tmp_path_factory: pytest.TempPathFactory, wasi_programs: dict[str, Path], fixture_module: Callable[[str], Any]
) -> Iterator[Any]:
    """A server with the same components as workflows: those whose interfaces a workflow is supplied with."""
    folder = tmp_path_factory.mktemp("workflows") / "server"
    folder.mkdir()
    tables = [
        f'[[workflow]]\nname = "{name}"\nlocation = "{wasi_programs[name]}"'
        for name in ("clocks", "random", "cli", "filesystem", "sockets")
    ]
    made = fixture_module("serving").Server(folder, "\n".join(tables))
    made.start()
    yield made
    assert made.stop() == 0


@pytest.fixture
def replayed(workflows: Any) -> Callable[..., Any]:
    """A function: runs a function of a program and gives id and result; a replay has come to the same."""

    def replayed(function: str, *params: Any) -> Any:
        group, _, name = function.partition(".")
        execution_id = workflows.submit(f"testing:groups/{group}.{name}", *params)
        result = workflows.result(execution_id)
        request = pb.ReplayExecutionRequest(execution_id=pb.ExecutionId(id=execution_id))
        again = workflows.executions.ReplayExecution(request)
        assert again.WhichOneof("outcome") == "finished"
        assert again.finished.result == workflows.finished(execution_id).value
        return execution_id, result

    return replayed


@pytest.mark.parametrize(
    "function",
    [
        "clocks.stands-still",
        "clocks.instants",
        "clocks.durations",
        "random.secure",
        "random.insecure",
        "random.seed",
        "cli.standard-input",
        "cli.terminals",
        "filesystem.nothing-given",
        "sockets.nothing-allowed",
    ],
)
def test_in_a_workflow(replayed: Any, function: str) -> None:
    _, (kind, *said) = replayed(function)
    assert kind == "ok", said
    assert said[0] > 0


def test_in_a_workflow_the_wall_clock_and_the_environment(replayed: Any) -> None:
    for function, param in (("clocks.wall", int(time.time())), ("cli.environment", [])):
        _, (kind, *said) = replayed(function, param)
        assert kind == "ok", said


def test_in_a_workflow_output_is_in_the_log_once(replayed: Any, workflows: Any) -> None:
    execution_id, (kind, *said) = replayed("cli.standard-output")
    assert kind == "ok", said
    assert (
        output_of(workflows, execution_id, "stdout") == b"out: first\nout: two halves\nout: together\nout: no line end"
    )
    assert output_of(workflows, execution_id, "stderr") == b"err: first\nerr: two halves\n"


@pytest.mark.parametrize("which", [0, 1, 2])
def test_in_a_workflow_randomness_follows_from_the_execution(replayed: Any, which: int) -> None:
    drawn = [replayed("random.draw", which)[1] for _ in range(5)]
    assert {kind for kind, _ in drawn} == {"ok"}
    assert len({value for _, value in drawn}) == len(drawn)


@pytest.mark.parametrize(("which", "said"), list(enumerate(["success", "failure", "code 0", "code 7"])))
def test_in_a_workflow_exit_is_a_trap(workflows: Any, which: int, said: str) -> None:
    execution_id = workflows.submit("testing:groups/cli.ends-with", which)
    kind, _, reason = workflows.result(execution_id)
    assert kind == "failure"
    assert f"the guest called exit, with {said}, instead of returning" in reason
    assert output_of(workflows, execution_id, "stdout") == b"out: before the end"
