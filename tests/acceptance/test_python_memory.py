"""What guests in Python take while they wait: the project that `obelisk new` makes, on a real server.

Needs componentize-py, which `make acceptance` installs, and a minute to build the component.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from obelisk.authoring import Toolbox, build, find_manifests
from obelisk.authoring.manifest import Language
from obelisk.authoring.projects import TEMPLATES, create_project

FETCH = "template-http:activity/http-activity-ifc.fetch"
GUESTS = 100
MEMORY_MAX_MB = 450
"""Seen: 325. With a copy of its initial memory for each guest it would be 1,400; with what compiling takes kept, 560."""


def memory_mb(pid: int) -> tuple[int, int]:
    """What a process takes of the machine's memory, and what `ps` says: that counts a page as often as it is mapped. See
    docs/design/0028.
    """
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {name: int(rest.split()[0]) // 1024 for name, _, rest in (line.partition(":") for line in lines)}
    return sizes["Pss"], sizes["Rss"]


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("componentize_py")
def test_a_hundred_guests_in_python_that_wait_share_what_they_do_not_change(
    server: Any, fixture_module: Callable[[str], Any], tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    create_project(TEMPLATES["http-activity"], Language.PYTHON, folder)
    for manifest in find_manifests([folder]):
        build(manifest, Toolbox.of(os.environ))
    waiting: list[Any] = []
    answered = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.head()
        waiting.append(peer)
        await answered.wait()
        await peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")

    made = server(
        f"""
        [[activity_wasm]]
        name = "fetch"
        location = "{folder}/http_activity.wasm"
        exec.lock_expiry.minutes = 5
        max_retries = 0
        [[activity_wasm.allowed_host]]
        pattern = "http://127.0.0.1:*"
        methods = ["GET"]
        """
    )
    web = fixture_module("web").ServerThread(script)
    with web as there:
        made.start()  # compiles it
        submitted = [made.submit(FETCH, f"http://{there.authority}/") for _ in range(GUESTS)]
        while len(waiting) < GUESTS:
            time.sleep(0.01)
        taken, mapped = memory_mb(made.process.pid)
        print(f"{GUESTS} guests wait: {taken} MB, {mapped} MB mapped")
        web.loop.call_soon_threadsafe(answered.set)
        assert [made.result(one) for one in submitted] == [("ok", {"status": 200, "body": "ok"})] * GUESTS
    assert taken < MEMORY_MAX_MB
