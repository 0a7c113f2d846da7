"""What an operator or a caller can get wrong: each is told what and why, with the documented exit code, and nothing is
written.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FIBO = "template-fibo:workflow/fibo-workflow-ifc."


def obelisk(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line."""
    command = [sys.executable, "-m", "obelisk", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def contents(server: Any) -> dict[str, bytes]:
    """What is in the server's data folder, but for SQLite's index of its write-ahead log, and the zeros after that log: a
    server that has just begun still makes room for it.
    """
    files = [path for path in server.database.parent.glob("*") if path.is_file() and not path.name.endswith("-shm")]
    return {path.name: path.read_bytes().rstrip(b"\0") for path in files}


def toml(*components: tuple[str, str, Path]) -> str:
    return "\n".join(f'[[{kind}]]\nname = "{name}"\nlocation = "{path}"' for kind, name, path in components)


@pytest.fixture
def fibo(server: Any, fibo_components: Any) -> Any:
    """A running server with the example."""
    made = server(
        toml(
            ("activity_wasm", "activity_myfibo", fibo_components.activity),
            ("workflow", "myworkflow", fibo_components.workflow),
        )
    )
    made.start()
    return made


def refused(server: Any, *named: str) -> None:
    """The server does not start, says why on stderr, and writes nothing."""
    before = contents(server)
    done = obelisk("server", "run", "--config", str(server.toml))
    assert contents(server) == before
    assert done.returncode == 1, done
    assert done.stdout == ""
    for text in named:
        assert text in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_server_on_the_database(fibo: Any) -> None:
    refused(fibo, "obelisk.sqlite", str(fibo.process.pid))
    assert fibo.result(fibo.submit(FIBO + "fiboa", 10, 1)) == ("ok", 55)
    assert fibo.stop() == 0


def test_a_file_where_the_folder_of_the_database_should_be(server: Any) -> None:
    made = server("")
    made.database.parent.write_text("a file")
    refused(made, f"{made.database.parent}: is there, but is no folder", "sqlite.directory")
    made.toml.write_text(made.toml.read_text().replace('/db"', '/db/deeper"'))
    refused(made, f"{made.database.parent}/deeper: not a directory", "sqlite.directory")


def test_a_folder_where_a_file_of_the_database_should_be(server: Any) -> None:
    made = server("")
    (made.database.parent / "obelisk.running").mkdir(parents=True)
    made.start(wait=False)
    assert made.wait_dead() == 1
    text = made.log.read_text()
    assert f"Error: {made.database.parent}/obelisk.running: is a directory" in text
    assert "Traceback" not in text


def test_more_guests_in_memory_than_the_system_has_room_for(server: Any) -> None:
    refused(server("limits.hot_max = 1000000"), "limits.hot_max (1000000)", "vm.max_map_count")


@pytest.mark.parametrize("allocator", ["auto", "pooling"])
def test_no_address_space_for_the_pool(server: Any, allocator: str) -> None:
    made = server(f'wasm.allocator_config = "{allocator}"')
    limited = ["sh", "-c", 'ulimit -v 4000000; exec "$@"', "-", *made.command()]
    made.command = lambda: limited
    if allocator == "auto":
        made.start()
        assert made.stop() == 0
        assert "reserved on demand" in made.log.read_text()
        return
    made.start(wait=False)
    assert made.wait_dead() == 1
    assert 'Error: there is no address space for the pool of guests that wasm.allocator_config = "pooling"' in (
        made.log.read_text()
    )
    assert not made.database.parent.exists()


def test_a_missing_component(server: Any, tmp_path: Path) -> None:
    refused(server(toml(("workflow", "absent", tmp_path / "no-such.wasm"))), "absent", "no-such.wasm")


def test_a_broken_component(server: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wasm"
    broken.write_bytes(b"\0asm\x0d\0\x01\0garbage")
    refused(server(toml(("workflow", "bad", broken))), "bad", "broken.wasm")
    text = tmp_path / "text.wasm"
    text.write_text("this is not wasm")
    refused(server(toml(("workflow", "bad", text))), "bad", "text.wasm")


def test_two_components_that_export_one_function(server: Any, fibo_components: Any) -> None:
    made = server(
        toml(
            ("activity_wasm", "one", fibo_components.activity),
            ("activity_wasm", "two", fibo_components.activity),
        )
    )
    refused(made, "one", "two", "template-fibo:activity/fibo-activity-ifc.fibo")


def test_an_import_that_nobody_exports(server: Any, fibo_components: Any) -> None:
    refused(
        server(toml(("workflow", "lonely", fibo_components.workflow))),
        "lonely",
        "template-fibo:activity/fibo-activity-ifc",
    )


def test_an_import_with_another_type(server: Any, fibo_components: Any, dummy_component: Callable[..., Path]) -> None:
    other = dummy_component(
        """
        package any:any;
        world any { export template-fibo:activity/fibo-activity-ifc; }
        package template-fibo:activity { interface fibo-activity-ifc { fibo: func(n: u16) -> result<u64>; } }
        """
    )
    made = server(toml(("activity_wasm", "other", other), ("workflow", "flow", fibo_components.workflow)))
    refused(made, "flow", "func(n: u8) -> result<u64>", "func(n: u16) -> result<u64>")


def test_a_function_that_cannot_fail(server: Any, dummy_component: Callable[..., Path]) -> None:
    path = dummy_component(
        """
        package any:any;
        world any { export a:b/c; }
        package a:b { interface c { f: func() -> u64; } }
        """
    )
    refused(server(toml(("workflow", "sure", path))), "sure", "a:b/c.f", "func() -> u64")


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("nonsense = 1", ["nonsense"]),
        ('api.listening_adr = "127.0.0.1:0"', ["listening_adr", "listening_addr"]),
        ('webui.listening_addr = "127.0.0.1:0"', ["webui", "not available in this version"]),
    ],
)
def test_a_key_that_is_not_known(server: Any, line: str, named: list[str]) -> None:
    made = server("")
    made.toml.write_text(f"{line}\n{made.toml.read_text() if 'api' not in line else ''}")
    refused(made, "obelisk.toml", *named)


def test_a_port_in_use(server: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        made = server("")
        made.toml.write_text(made.toml.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}"))
        refused(made, f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        ((FIBO + "fiboa", "[10]"), 1, ["2 parameters"]),
        ((FIBO + "fiboa", '["x",1]'), 1, ["params[0]", "u8"]),
        ((FIBO + "fiboa", "[300,1]"), 1, ["params[0]", "300"]),
        ((FIBO + "fibob", "[10,1]"), 1, ["fibob"]),
        ((FIBO + "fiboa", "[10,"), 2, ["JSON"]),
        ((FIBO + "fiboa", '{"n":10}'), 2, ["array"]),
        (("not a function", "[]"), 2, ["not a function"]),
        (("-e", "E_wrong", FIBO + "fiboa", "[10,1]"), 2, ["E_wrong"]),
    ],
)
def test_a_submission_that_is_wrong(fibo: Any, arguments: tuple[str, ...], code: int, named: list[str]) -> None:
    done = obelisk("execution", "submit", "-a", f"http://{fibo.address}", *arguments)
    assert done.returncode == code, done
    for text in named:
        assert text in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert obelisk("execution", "list", "-a", f"http://{fibo.address}").stdout.strip() == ""


def test_no_server(tmp_path: Path) -> None:
    done = obelisk("component", "list", "-a", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr
    assert "obelisk server run" in done.stderr


def test_from_submission_to_result(fibo: Any) -> None:
    """The seed's own example, by hand."""
    url = f"http://{fibo.address}"
    listed = obelisk("component", "list", "-a", url)
    assert listed.returncode == 0
    assert "myworkflow\tworkflow:myworkflow\nExports:\n" in listed.stdout
    assert f"\t{FIBO}fiboa : func(n: u8, iterations: u32) -> result<u64>\n" in listed.stdout
    assert "\ttemplate-fibo:activity/fibo-activity-ifc.fibo : func(n: u8) -> result<u64>\n" in listed.stdout
    followed = obelisk("execution", "submit", "-a", url, "--follow", FIBO + "fiboa", "[10,5]")
    assert followed.returncode == 0
    assert "Execution finished: OK: 55" in followed.stdout
    as_json = obelisk("execution", "submit", "-a", url, "--follow", "--json", FIBO + "fiboa-concurrent", "[10,5]")
    assert as_json.returncode == 0
    json.loads(as_json.stdout)
    short = obelisk("execution", "submit", "-a", url, "--follow", ".../fibo-workflow-ifc.fiboa", "10", "2")
    assert short.returncode == 0


def test_a_failing_execution_exits_with_1(server: Any, testing_components: Any) -> None:
    made = server(
        toml(
            ("activity_wasm", "acts", testing_components.activity),
            ("workflow", "flows", testing_components.workflow),
        )
    )
    made.start()
    url = f"http://{made.address}"
    done = obelisk("execution", "submit", "-a", url, "-f", "testing:workflow/flows.returns-err")
    assert done.returncode == 1
    assert "returned by the workflow" in done.stdout
    done = obelisk("execution", "submit", "-a", url, "-f", "testing:workflow/flows.trap")
    assert done.returncode == 1
    assert "workflow trap" in done.stdout
    assert made.stop() == 0
