"""Kinds of values about the files of activities.

Like the others, a kind reads one value of TOML.
"""
# ruff: noqa: D102  `expected` and `read` are described once, in the protocol `Kind`

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

import msgspec

from obelisk.config.kinds import Flag, Folder, Unfit, describe
from obelisk.config.places import Places
from obelisk.core.policy import MappedDirectory

_KEYS: Final = ("host", "guest", "read_only")


class MappedDirectories(msgspec.Struct, frozen=True):
    """Directories of the host, and what guests call them."""

    expected: str = "an array of tables with host, guest, and read_only"

    def read(self, value: Any, places: Places) -> tuple[MappedDirectory, ...]:
        if not isinstance(value, list):
            raise Unfit.of(self.expected, value)
        mapped: list[MappedDirectory] = []
        for index, table in enumerate(value):
            one = _read_one(table, places, f"[{index}]")
            if any(one.guest == other.guest for other in mapped):
                raise Unfit(f"{describe(one.guest)} is another directory too", f"[{index}].guest")
            mapped.append(one)
        return tuple(mapped)


def _read_one(table: Any, places: Places, at: str) -> MappedDirectory:
    if not isinstance(table, Mapping):
        raise Unfit(f"expected a table with {', '.join(_KEYS)}; found {describe(table)}", at)
    for key in table:
        if key not in _KEYS:
            raise Unfit(f"unknown key; known here: {', '.join(_KEYS)}", f"{at}.{key}")
    for key in ("host", "guest"):
        if key not in table:
            raise Unfit("is missing; expected the path of a directory", f"{at}.{key}")
    try:
        host = Folder().read(table["host"], places)
    except Unfit as unfit:
        raise Unfit(str(unfit), f"{at}.host") from None
    if not host.is_dir() and not places.files_may_be_missing:
        what = "a file" if host.exists() else "nothing"
        raise Unfit(f"expected the path of a directory; found {what} at {host}", f"{at}.host")
    try:
        read_only = Flag().read(table.get("read_only", True), places)
    except Unfit as unfit:
        raise Unfit(str(unfit), f"{at}.read_only") from None
    return MappedDirectory(str(host), _guest_path(table["guest"], f"{at}.guest"), read_only)


def _guest_path(value: Any, at: str) -> str:
    expected = "an absolute path such as /data, without . and .."
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value or ".." in value.split("/"):
        raise Unfit(f"expected {expected}; found {describe(value)}", at)
    return str(PurePosixPath("/" + value.lstrip("/")))
