"""A workflow in Python that uses its language's own clock, chance and output, killed and replayed many times.

Needs componentize-py, which `make acceptance` installs, and a minute to build the component.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from obelisk.core.calls import Output
from obelisk.core.events import kind_of
from obelisk.core.ids import ExecutionId
from obelisk.core.lines import LineFilter, LinePage
from obelisk.core.ports import FunctionKind
from obelisk.runtime.packages import support

MANIFEST = """
language = "python"
source = "app.py"
world = "any"
output = "app.wasm"
"""
WIT = """
package any:any;
world any {
  import obelisk:log/log@1.0.0;
  export testing:python/flows;
}
package testing:python {
  interface flows { run: func(rounds: u32) -> result<list<string>, string>; }
}
"""
APP = """
import random, secrets, time, uuid
from datetime import datetime
from obelisk_guest import exported

@exported
class Flows:
    def run(self, rounds: int) -> list[str]:
        found, before = [], time.monotonic()
        for n in range(rounds):
            time.sleep(0.05)
            drawn = f"{random.random()} {random.randrange(6)} {uuid.uuid4()} {secrets.token_hex(4)}"
            now = time.monotonic()
            assert now - before > 0.049, (before, now)
            assert abs(datetime.now().timestamp() - time.time()) < 0.001
            before = now
            print(n, drawn)
            found.append(drawn)
        return found
"""
RUN = "testing:python/flows.run"
ROUNDS = 400
KILLS = 50
ALL = 1 << 30


@pytest.fixture(scope="module")
def component(tmp_path_factory: pytest.TempPathFactory, componentize_py: Path) -> Path:
    folder = tmp_path_factory.mktemp("python")
    (folder / "component.toml").write_text(MANIFEST)
    (folder / "app.py").write_text(APP)
    for package, files in {**support(FunctionKind.WORKFLOW), ".": {"world.wit": WIT}}.items():
        target = folder / "wit" / ("deps" if package != "." else "") / package
        target.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (target / name).write_text(text)
    subprocess.run([sys.executable, "-m", "obelisk", "build"], cwd=folder, check=True, timeout=600)
    return folder / "app.wasm"


def seen(server: Any, execution_id: str) -> tuple[list[str], list[bytes]]:
    """The kinds of its events but `locked`, and what it wrote."""
    with closing(server.reader()) as reader:
        log = reader.events(ExecutionId(execution_id), 0, ALL)
        lines = reader.lines(LineFilter(ExecutionId(execution_id), False), LinePage(ALL))
    kinds = [kind_of(entry.event) for entry in log]
    written = b"".join(each.line.data for each in lines if isinstance(each.line, Output))
    return [kind for kind in kinds if kind != "locked"], written.splitlines()


@pytest.mark.timeout(1_800)
def test_a_workflow_in_python_killed_fifty_times_has_the_log_of_one_that_was_left_alone(
    server: Any, component: Path
) -> None:
    toml = f'log.console.enabled = false\n[[workflow]]\nname = "flows"\nlocation = "{component}"\n'
    alone, killed = server(toml), server(toml)
    alone.start()
    execution_id = alone.submit(RUN, ROUNDS)
    expected = alone.result(execution_id, 300)
    assert alone.stop() == 0
    assert expected[0] == "ok", expected
    assert len(set(expected[1])) == ROUNDS

    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print("seed", seed)
    killed.start()
    killed.submit(RUN, ROUNDS, execution_id=execution_id)  # randomness follows from the id
    for _ in range(KILLS):
        before = len(seen(killed, execution_id)[0])
        while len(seen(killed, execution_id)[0]) == before:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.1))
        killed.kill()
        kinds, written = seen(killed, execution_id)
        assert "finished" not in kinds  # else there was nothing to replay
        assert written == [f"{n} {drawn}".encode() for n, drawn in enumerate(expected[1][: len(written)])]
        killed.start()
    assert killed.result(execution_id, 300) == expected
    assert killed.stop() == 0
    assert seen(killed, execution_id) == seen(alone, execution_id)
