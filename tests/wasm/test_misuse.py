"""What would end the process raises instead: each case in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = {
    "store_before_future": "FiberMisuse: a store was deleted before its future",
    "raising_callback": "CallbackFailed: a host call failed: a decoder broke",
    "re_entry": "CallbackFailed: a host call failed: a fiber was resumed from inside a callback",
    "second_thread": "FiberMisuse: a fiber was resumed during a step on another thread",
    "borrow_not_lifted": "CallbackFailed: a host call failed: before the borrow was lifted",
    "call_after_trap": "FiberMisuse: a fiber was resumed while trapped",
    "forgotten": "ResourceWarning: and freed by the next",
    "collected_in_callback": "ResourceWarning: queued, not freed inside the callback",
}


@pytest.mark.parametrize("case", CASES)
def test_a_misuse_raises_and_the_process_lives(case, script_path):
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("misuse.py")), case, str(script_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    assert done.stdout.startswith(CASES[case]), done.stdout
    assert done.stdout.endswith("unharmed\n")
