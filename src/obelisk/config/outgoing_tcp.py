"""The kind of value that says where TCP connections may be opened to.

Like the others, it reads one value of TOML. What an entry allows, `obelisk.core.tcp` decides.
"""
# ruff: noqa: D102  `expected` and `read` are described once, in the protocol `Kind`

from __future__ import annotations

from typing import Any

import msgspec

from obelisk.config.kinds import Unfit, describe
from obelisk.config.places import Places
from obelisk.core.tcp import InvalidTarget, TcpTarget, parse_target


class TcpTargets(msgspec.Struct, frozen=True):
    """Entries of a policy."""

    expected: str = 'an array such as ["db.example.com:5432", "10.1.0.0/16:5432"]'

    def read(self, value: Any, places: Places) -> tuple[TcpTarget, ...]:
        if not isinstance(value, list):
            raise Unfit.of(self.expected, value)
        return tuple(_target(text, f"[{index}]") for index, text in enumerate(value))


def _target(text: Any, at: str) -> TcpTarget:
    if not isinstance(text, str):
        raise Unfit(f'expected an entry such as "db.example.com:5432"; found {describe(text)}', at)
    try:
        return parse_target(text)
    except InvalidTarget as invalid:
        raise Unfit(f"expected {invalid}; found {describe(text)}", at) from None
