"""Rows of the table of features: programs of the host."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

SPAWNING = "testing:spawning/spawning.run"


def test_m36_an_activity_spawns_a_process_and_reads_its_output(serve: Any, spawning_component: Path) -> None:
    echo = shutil.which("echo")
    assert echo is not None
    digest = hashlib.sha256(Path(echo).read_bytes()).hexdigest()
    table = f"""
    [[activity_wasm]]
    name = "spawning"
    location = "{spawning_component}"
    directories.process_provider = "native"
    """
    served = serve(f'allow_exec_activities = {{ echo = "sha256:{digest}" }}', table)
    served.server.start()
    assert served.run(SPAWNING, "echo", ["-n", "hi"], "")[1] == ("ok", "hi")
    kind, why = served.run(SPAWNING, "cat", [], "hi")[1]
    assert kind == "err"
    assert "allow_exec_activities.cat = " in why
