"""Every function of wasi:filesystem and wasi:sockets is there. That they answer what their WIT says, the other tests check at
each call.
"""

from __future__ import annotations

from typing import Any

from obelisk.wasm.wasi import filesystem, sockets
from obelisk.wasm.wasi.tables import ACTIVITY, WORKFLOW, function_of

SUPPLIED = {**filesystem.FUNCTIONS, **sockets.FUNCTIONS}


def test_every_function_is_supplied(fixture_module: Any) -> None:
    fixture_module("components")
    wanted = {
        key for key in fixture_module("signatures").signatures() if key[0].startswith(("wasi:files", "wasi:sock"))
    }
    wanted.add(("wasi:sockets/network", "network-error-code"))  # not stable, so not in the packages
    assert wanted == {(interface, function) for interface, functions in SUPPLIED.items() for function in functions}


def test_all_versions_are_the_same() -> None:
    for table in (WORKFLOW, ACTIVITY):
        for version in ("0.2.0", "0.2.3", "0.2.12"):
            found = function_of(table, f"wasi:filesystem/types@{version}", "[method]descriptor.open-at")
            assert found is filesystem.FUNCTIONS["wasi:filesystem/types"]["[method]descriptor.open-at"]
        assert function_of(table, "wasi:filesystem/types@0.3.0", "[method]descriptor.open-at") is None
