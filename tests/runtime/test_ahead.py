"""What can be seen of an execution while the commit is under way that creates and locks it: nothing, and nothing at all if it fails."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import apsw
import pytest

from obelisk.core.batch import StoreFailed
from obelisk.runtime.changes import ShuttingDown
from obelisk.runtime.marks import Marks
from obelisk.runtime.runtime import Failure
from obelisk.runtime.streams import Streams
from obelisk.store.sqlite import committing
from obelisk.wasm.activity import ActivityRun

SAYS = "testing:wasi-activity/wasi.says"


@pytest.mark.parametrize("fails", [False, True])
def test_it_is_seen_once_it_is_durable(
    running: Any, wasi_components: Any, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    world = running(f"""
        [[activity_wasm]]
        name = "activity"
        location = "{wasi_components.activity}"
        forward_stdout = "stdout"
    """)
    seen: list[str] = []
    commit, run, write, mark = committing.commit, ActivityRun.start, Streams.write, Marks.set

    def slow(cursor: Any) -> None:
        seen.append("commit")
        assert runs.wait(60)
        if fails:
            raise apsw.IOError("disk I/O error")
        commit(cursor)
        seen.append("durable")

    def start(*args: Any) -> Any:
        seen.append("runs")
        runs.set()
        return run(*args)

    runs = threading.Event()
    monkeypatch.setattr(committing, "commit", slow)
    monkeypatch.setattr(ActivityRun, "start", start)
    monkeypatch.setattr(Streams, "write", lambda *args, **named: seen.append("said") or write(*args, **named))
    monkeypatch.setattr(Marks, "set", lambda *args: seen.append("marked") or mark(*args))

    async def go() -> None:
        execution_id = world.runtime.new_execution_id()
        async with world.runtime.watch(execution_id) as changes:
            try:
                await asyncio.wait_for(world.submit(SAYS, "hello", execution_id=execution_id), 60)
            finally:
                seen.append("answered")
            await changes.changed()
            await asyncio.wait_for(world.result(execution_id), 60)

    if not fails:
        asyncio.run(go())
        assert seen[:4] == ["commit", "marked", "runs", "durable"]
        assert "said" in seen[4:]
        return
    with pytest.raises(ShuttingDown):
        asyncio.run(go())
    assert seen == ["commit", "marked", "runs", "answered"]
    assert isinstance(world.failure.error, StoreFailed)
    world.failure = Failure()
    world.stop()
    gc.collect()  # a fiber that was left would be noticed
    world.runtime.stop = lambda: None
    world.runtime.refuse_new_work = lambda: None
