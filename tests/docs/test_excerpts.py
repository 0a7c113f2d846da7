"""The logs that the concepts show come from real runs: each is run again, and compared with what the page shows.

A page says before a block what it shows: `<!-- events of ID: FUNCTION PARAMS -->` runs the function under that id (with
`with interrupt` before the colon: on a server whose workflows are unloaded when they block), `<!-- events of ID -->` and
`<!-- responses of ID -->` show one that was run before, or a child of it. `OBELISK_WRITE_DOCS=1` writes the pages anew.
Instants and ids of runs are shown as `…`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from obelisk.cli import texts
from obelisk.proto import obelisk_pb2 as pb

CONCEPTS = Path(__file__).resolve().parents[2] / "docs" / "concepts"
EXCERPT = re.compile(
    r"<!-- (?P<what>events|responses) of (?P<id>\S+?)(?P<interrupt> with interrupt)?(?:: (?P<call>.+?))? -->\n\n"
    r"```text\n(?P<shown>.*?)```",
    re.DOTALL,
)
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z|(?<=Run_)[0-9A-Z]{26}|\b1\d{12}\b")


class Servers:
    """The two servers, each started when it is first needed."""

    def __init__(self, make: Callable[[str], Any], toml: str) -> None:
        self._make = make
        self._toml = toml
        self._started: dict[bool, Any] = {}

    def get(self, interrupt: bool) -> Any:
        if interrupt not in self._started:
            strategy = "interrupt" if interrupt else "await"
            server = self._make(f'{self._toml}\nblocking_strategy = "{strategy}"\n')
            server.start()
            self._started[interrupt] = server
        return self._started[interrupt]


@pytest.fixture
def servers(server: Callable[[str], Any], testing_components: Any, fibo_components: Any) -> Servers:
    return Servers(
        server,
        f"""
        [[activity_wasm]]
        name = "fibo"
        location = "{fibo_components.activity}"
        [[activity_wasm]]
        name = "acts"
        location = "{testing_components.activity}"
        max_retries = 1
        retry_exp_backoff.milliseconds = 10
        [[workflow]]
        name = "flows"
        location = "{testing_components.workflow}"
        exec.lock_expiry.minutes = 1
        [[workflow]]
        name = "fibo_workflow"
        location = "{fibo_components.workflow}"
        exec.lock_expiry.minutes = 1
        """,
    )


def rendered(server: Any, what: str, execution_id: str) -> str:
    """What `obelisk execution events` and `… responses` print."""
    if what == "events":
        lines = [texts.event(event) for event in server.events(execution_id)]
    else:
        request = pb.ListResponsesRequest(execution_id=pb.ExecutionId(id=execution_id), length=1000)
        lines = [texts.response(response) for response in server.executions.ListResponses(request).responses]
    return "".join(f"{INSTANT.sub('…', line)}\n" for line in lines)


def parameters(text_of_params: str) -> list[Any]:
    return [int(text) if text.isdigit() else text for text in text_of_params.split()]


def test_the_concepts_show_what_runs_write(servers: Servers) -> None:
    used: dict[str, Any] = {}

    def again(found: re.Match[str]) -> str:
        chosen = found["id"]
        root = chosen.partition(".")[0]
        if found["call"] is not None:
            assert root not in used, f"{root} is used twice"
            function, _, params = found["call"].partition(" ")
            used[root] = servers.get(found["interrupt"] is not None)
            used[root].submit(function, *parameters(params), execution_id=chosen)
            used[root].finished(chosen)
        start, end = found.start("shown") - found.start(), found.end("shown") - found.start()
        return found[0][:start] + rendered(used[root], found["what"], chosen) + found[0][end:]

    differing = []
    for page in sorted(CONCEPTS.glob("*.md")):
        text = page.read_text()
        assert text.count("<!--") == len(EXCERPT.findall(text)), f"{page.name} has a comment that is not understood"
        now = EXCERPT.sub(again, text)
        if os.environ.get("OBELISK_WRITE_DOCS"):
            page.write_text(now)
        elif now != text:
            differing.append(page.name)
    assert used
    assert not differing
