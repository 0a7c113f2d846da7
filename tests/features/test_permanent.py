"""Rows of the table of features: errors that are not tried again, as the author of an activity says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from obelisk.authoring import Toolbox, build
from obelisk.authoring.manifest import read_manifest

MANIFEST = """
language = "python"
source = "pay.py"
world = "pay"
output = "pay.wasm"
"""
WIT = """
package any:any;
world pay { export demo:acts/pay; }
package demo:acts {
  interface pay {
    variant pay-error {
      /// The card is invalid. @permanent
      card-declined(string),
      /// Nobody answers.
      network,
      permanently-closed,
      execution-failed,
    }
    /// err(the case with that number)
    charge: func(n: u8) -> result<u8, pay-error>;
  }
}
"""
WAT = """
(module
  (memory (export "memory") 1)
  (data (i32.const 64) "stolen")
  ;; result<u8, pay-error>: its tag at 16, that of the error at 20, the string's address and length at 24
  (func (export "demo:acts/pay#charge") (param $n i32) (result i32)
    (i32.store8 (i32.const 16) (i32.const 1))
    (i32.store8 (i32.const 20) (local.get $n))
    (i32.store (i32.const 24) (i32.const 64))
    (i32.store (i32.const 28) (i32.const 6))
    (i32.const 16)))
"""


@pytest.fixture
def paying(tmp_path: Path, fixture_module: Any) -> Path:
    """Built by `obelisk build`, with a tool of the language that has nothing to do but to hand out a component."""
    folder = tmp_path / "project"
    (folder / "wit").mkdir(parents=True)
    for name, text in (("component.toml", MANIFEST), ("pay.py", ""), ("wit/pay.wit", WIT), ("pay.wat", WAT)):
        (folder / name).write_text(text)
    made = fixture_module("components").component(folder / "pay.wat", folder / "wit", "pay")
    (folder / "made.wasm").write_bytes(made)
    tool = folder / "componentize-py"
    tool.write_text(f"""#!/bin/sh
        while [ "$1" != --output ]; do shift; done
        cp {folder}/made.wasm "$2"
        """)
    tool.chmod(0o755)
    return build(
        read_manifest(folder / "component.toml"), Toolbox({"PATH": f"{folder}:/usr/bin:/bin"}, folder)
    ).manifest.output


def test_f24_an_error_that_its_wit_says_is_permanent_is_not_tried_again(serve: Any, paying: Path) -> None:
    served = serve(f"""
        [[activity_wasm]]
        name = "pay"
        location = "{paying}"
        max_retries = 2
        retry_exp_backoff.milliseconds = 1
    """)
    served.server.start()
    once = ["created", "locked", "finished"]
    ends = {
        0: ({"card_declined": "stolen"}, once),
        1: ("network", ["created", *["locked", "temporarily_failed"] * 2, "locked", "finished"]),
        2: ("permanently_closed", once),
    }
    for case, (error, kinds) in ends.items():
        execution_id, outcome = served.run("demo:acts/pay.charge", case)
        assert outcome == ("err", error)
        assert served.kinds(execution_id) == kinds
    text = served.done("component", "wit", "pay")
    assert "      /// @permanent\n      card-declined(string),\n      network,\n" in text
    assert text == served.done("component", "inspect", "--wit", str(paying))
