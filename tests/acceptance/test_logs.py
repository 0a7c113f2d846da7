"""Logs of executions of a real server: killed at any moment, and flooded."""

from __future__ import annotations

import random
import time
from contextlib import closing
from typing import Any

import pytest

from obelisk.core.calls import Log
from obelisk.core.ids import ExecutionId
from obelisk.core.lines import NOTE, LineFilter, LinePage, StoredLogLine

TALK = "testing:talk-workflow/talk."
ACTIVITY = "testing:talk-activity/talk."
ALL = 1 << 30


@pytest.fixture
def talking(server: Any, feature_components: Any) -> Any:
    made = server(
        f"""
        log.console.enabled = false
        [[activity_wasm]]
        name = "talk_activity"
        location = "{feature_components.talk_activity}"
        exec.lock_expiry.seconds = 60
        [[workflow]]
        name = "talk_workflow"
        location = "{feature_components.talk_workflow}"
        """
    )
    made.start()
    return made


def lines_of(server: Any, execution_id: str, *, derived: bool = False) -> list[StoredLogLine]:
    with closing(server.reader()) as reader:
        found: list[StoredLogLine] = reader.lines(LineFilter(ExecutionId(execution_id), derived), LinePage(ALL))
    return found


def texts(found: list[StoredLogLine]) -> list[str]:
    return [each.line.message for each in found if isinstance(each.line, Log)]


@pytest.mark.timeout(300)
def test_killed_many_times_each_line_of_a_workflow_is_there_once(talking: Any) -> None:
    steps = 400
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print("seed", seed)
    execution_id = talking.submit(TALK + "works", steps, 1)
    for _ in range(15):
        before = len(lines_of(talking, execution_id))
        while len(lines_of(talking, execution_id)) == before:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.05))
        talking.kill()
        said = texts(lines_of(talking, execution_id))
        assert said == [f"step {index}" for index in range(len(said))]
        talking.start()
    assert talking.result(execution_id, 120) == ("ok", steps)
    assert talking.stop() == 0
    assert texts(lines_of(talking, execution_id)) == [f"step {index}" for index in range(steps)]
    # An attempt that was lost with the server may have said its line, and its repetition said it again.
    children = texts(lines_of(talking, execution_id, derived=True)).count("said 0")
    assert steps <= children <= steps + 15


@pytest.mark.timeout(120)
def test_killed_in_a_flood_that_no_event_follows_each_line_is_there_once(talking: Any) -> None:
    count = 9_000
    for pause in (0.0, 0.05, 0.1, 0.2):
        execution_id = talking.submit(TALK + "floods", count, 1)
        time.sleep(pause)
        talking.kill()
        said = texts(lines_of(talking, execution_id))
        assert said == [f"step {index}" for index in range(len(said))]
        talking.start()
        assert talking.result(execution_id) == ("ok", count)
        assert texts(lines_of(talking, execution_id)) == [f"step {index}" for index in range(count)]


@pytest.mark.timeout(120)
def test_a_flood_is_contained_and_holds_nobody_up(talking: Any) -> None:
    """A clean stop in the middle stores what was logged until then; what was too much is counted."""
    flood = talking.submit(ACTIVITY + "says", 200_000)
    begun = time.monotonic()
    other = talking.submit(TALK + "works", 20, 1)
    assert talking.result(other) == ("ok", 20)
    print(f"20 steps beside a flood: {time.monotonic() - begun:.2f} s")
    assert talking.result(flood) == ("ok", 200_000)
    assert talking.stop() == 0
    said = texts(lines_of(talking, flood))
    notes = [text for text in said if text.startswith(NOTE)]
    stored = [text for text in said if not text.startswith(NOTE)]
    assert len(stored) <= 10_000
    assert stored == sorted(stored, key=lambda text: int(text.removeprefix("said ")))
    assert f"{NOTE}190000 lines of this run were not stored" in notes
    assert texts(lines_of(talking, other)) == [f"step {index}" for index in range(20)]
