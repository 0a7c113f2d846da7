"""`obelisk server run` as a process of its own: what it says, and how it ends."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing

import grpc
import pytest

from obelisk.proto import obelisk_pb2 as pb
from obelisk.proto import obelisk_pb2_grpc as pb_grpc
from obelisk.server.process import OPEN_FILES_MAX, _allow_open_files

COMMAND = [sys.executable, "-W", "error", "-c", "from obelisk.cli.main import main; main()", "server", "run"]


@pytest.fixture
def started(tmp_path):
    """Starts a server without components on a database of its own; `(process, its first line)`."""
    running = []

    def start(config="", address="127.0.0.1:0", flag="--config"):
        file = tmp_path / "obelisk.toml"
        file.write_text(
            f'api.listening_addr = "{address}"\n'
            'sqlite.directory = "${OBELISK_TOML_DIR}/db"\n'
            'codegen_cache.directory = "${OBELISK_TOML_DIR}/cache"\n'
            f"{config}\n"
        )
        process = subprocess.Popen(
            [*COMMAND, flag, str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        running.append(process)
        return process, process.stdout.readline()

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def port_in(line):
    match = re.fullmatch(r"Serving gRPC requests at 127\.0\.0\.1:(\d+)\n", line)
    assert match, line
    return int(match[1])


@pytest.mark.parametrize(("number", "flag"), [(signal.SIGTERM, "--config"), (signal.SIGINT, "-c")])
def test_a_signal_stops_it_cleanly(started, number, flag):
    process, line = started(flag=flag)
    with grpc.insecure_channel(f"127.0.0.1:{port_in(line)}") as channel:
        stub = pb_grpc.FunctionRepositoryStub(channel)
        assert list(stub.ListComponents(pb.ListComponentsRequest()).components) == []
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (0, "")
    assert [line.split("]")[1].strip() for line in err.splitlines()] == ["stopping", "stopped"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_impatient_operator_stops_it_as_cleanly(started, number):
    """Signals that come while it stops change nothing, up to the end of the process."""
    process, _ = started()
    while process.poll() is None:
        process.send_signal(number)
        time.sleep(0.002)
    out, err = process.communicate()
    assert (process.returncode, out) == (0, "")
    assert [line.split("]")[1].strip() for line in err.splitlines()] == ["stopping", "stopped"]


@pytest.mark.parametrize("nowhere", ["a full disk", "a reader that is gone"])
def test_a_server_whose_line_nobody_reads_serves(tmp_path, nowhere):
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = tmp_path / "obelisk.toml"
    file.write_text(f'api.listening_addr = "127.0.0.1:{port}"\nsqlite.directory = "{tmp_path}/db"\n')
    if nowhere == "a full disk":
        stdout = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, stdout = os.pipe()
        os.close(reader)
    process = subprocess.Popen([*COMMAND, "-c", str(file)], stdout=stdout, stderr=subprocess.PIPE, text=True)
    os.close(stdout)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = pb_grpc.FunctionRepositoryStub(channel)
            assert not stub.ListComponents(pb.ListComponentsRequest(), wait_for_ready=True, timeout=120).components
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0
    assert f"serving gRPC requests at 127.0.0.1:{port}, which could not be announced" in stderr
    assert "Traceback" not in stderr


def test_a_port_in_use_touches_nothing(started, tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        process, line = started(address=f"127.0.0.1:{port}")
        _, err = process.communicate(timeout=120)
    assert (process.returncode, line) == (1, "")
    assert err.startswith(f"Error: cannot listen on 127.0.0.1:{port}: address already in use; ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["obelisk.toml"]


def test_a_second_server_on_one_database_is_refused(started):
    _, first = started()
    port_in(first)
    process, line = started()
    _, err = process.communicate(timeout=120)
    assert (process.returncode, line) == (1, "")
    assert err.startswith("Error: ")
    assert "is in use by process" in err


def test_a_wrong_configuration_is_told_whole(started, tmp_path):
    process, line = started(config='api.nonsense = 1\n[[workflow]]\nname = "w"\nlocation = "nowhere.wasm"')
    _, err = process.communicate(timeout=120)
    assert (process.returncode, line) == (1, "")
    assert err.startswith("Error: ")
    assert "nonsense" in err and "nowhere.wasm" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["obelisk.toml"]


# --- what a start does not do ---------------------------------------------------------------------------------------

START = """
import gc, os, signal, sys
from pathlib import Path
from obelisk.server import process

def aside(config):
    print(*sys.modules)
    return make(config)

def announce(line):
    print(*sys.modules)
    print(gc.isenabled())
    os.kill(os.getpid(), signal.SIGTERM)

make, process.make_engines_aside = process.make_engines_aside, aside
assert gc.isenabled()
process.run(Path(sys.argv[1]), announce)
print(gc.isenabled(), gc.get_freeze_count() > 10_000, gc.get_threshold()[0] >= 10_000)
"""


LATE = "asyncio apsw google.protobuf grpc obelisk.api obelisk.engine obelisk.runtime.runtime obelisk.wasm.component"
NEEDLESS = """
    h11 importlib.metadata importlib.resources opentelemetry rich sqlite3 structlog unittest watchfiles
    obelisk.authoring obelisk.runtime.telemetry obelisk.testing obelisk.wasm.wasi.http
"""


def test_a_start_imports_no_more_than_it_needs(tmp_path):
    """Nearly all of a start is imports. Those that take longest have engines made beside them, and must not come before; what only
    some servers need comes with the need.
    """
    toml = tmp_path / "obelisk.toml"
    toml.write_text(f'api.listening_addr = "127.0.0.1:0"\nsqlite.directory = "{tmp_path}/db"\n')
    started = subprocess.run(
        [sys.executable, "-W", "error", "-c", START, str(toml)], capture_output=True, text=True, check=True, timeout=120
    )
    before_engines, ready, collects, *after = started.stdout.splitlines()
    late = set(LATE.split())
    assert not late & set(before_engines.split())
    assert late <= set(ready.split())
    assert not set(NEEDLESS.split()) & set(ready.split())
    # Nor is what it makes looked through for garbage: not until it is ready, and never again; what comes later is not so often.
    assert (collects, after) == ("False", ["True True True"])


# --- what runs beside a server --------------------------------------------------------------------------------------

BESIDE = """
import asyncio, os, signal, sys
from pathlib import Path
from obelisk.server import process

async def {name}(service):
    print("beside", len(service.components.list()), flush=True)
    {body}

try:
    process.run(Path(sys.argv[1]), print, {name})
except process.ServerFailed as error:
    print("failed:", error)
print("over")
"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "raise RuntimeError('no more')",
            ["failed: the engine failed, which is a bug of Obelisk: RuntimeError: no more"],
        ),
        ("os.kill(os.getpid(), signal.SIGTERM); await asyncio.sleep(60)", []),
        ("asyncio.get_running_loop().call_later(0.3, os.kill, os.getpid(), signal.SIGTERM)", []),
    ],
)
def test_what_runs_beside_a_server_ends_with_it(tmp_path, body, said):
    """It may fail, which is the server's end; be cut off; or be over before."""
    toml = tmp_path / "obelisk.toml"
    toml.write_text(f'api.listening_addr = "127.0.0.1:0"\nsqlite.directory = "{tmp_path}/db"\n')
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BESIDE.format(name="beside", body=body), str(toml)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Serving gRPC requests at 127.0.0.1:")
    assert (lines[1], lines[-1]) == ("beside 0", "over")
    assert [line.partition(". Nothing")[0] for line in lines[2:-1]] == said
    assert "never awaited" not in done.stderr


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1024, 4096), (4096, 4096)),
        ((1024, 10**6), (OPEN_FILES_MAX, 10**6)),
        ((1024, resource.RLIM_INFINITY), (OPEN_FILES_MAX, resource.RLIM_INFINITY)),
        ((10**6, 10**6), (10**6, 10**6)),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), (resource.RLIM_INFINITY, resource.RLIM_INFINITY)),
    ],
)
def test_the_limit_of_open_files_is_raised_as_far_as_that_goes(monkeypatch, before, after):
    limits = [before]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, given: limits.append(given))
    _allow_open_files()
    assert limits[-1] == after
