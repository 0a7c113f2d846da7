"""wasi:clocks: the host's clocks, in the interface's units.

A clock's answer may be still to come (a workflow asks the machine), so nothing here may assume that it is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from obelisk.wasm.wasi.host import Answer, Host, WasiFunction, then

_SECOND_NS: Final = 1_000_000_000
_RESOLUTION_NS: Final = 1_000
"""Workflows have microseconds; activities say the same, so that a guest cannot tell."""


def _datetime(wall_ns: int) -> tuple[int, int]:
    return divmod(wall_ns, _SECOND_NS)


def _wall_now(host: Host) -> Answer:
    return then(host.wall_now(), _datetime)


def _wall_resolution(host: Host) -> Answer:
    return 0, _RESOLUTION_NS


def _monotonic_now(host: Host) -> Answer:
    return host.monotonic_now()


def _monotonic_resolution(host: Host) -> Answer:
    return _RESOLUTION_NS


def _subscribe_instant(host: Host, when_ns: int) -> Answer:
    return host.at(when_ns)


def _subscribe_duration(host: Host, duration_ns: int) -> Answer:
    return then(host.monotonic_now(), lambda now_ns: host.at(now_ns + duration_ns))


def _timezone_display(host: Host, when: tuple[int, int]) -> Answer:
    return 0, "UTC", False


def _timezone_utc_offset(host: Host, when: tuple[int, int]) -> Answer:
    return 0


FUNCTIONS: Final[Mapping[str, Mapping[str, WasiFunction]]] = {
    "wasi:clocks/wall-clock": {"now": _wall_now, "resolution": _wall_resolution},
    "wasi:clocks/monotonic-clock": {
        "now": _monotonic_now,
        "resolution": _monotonic_resolution,
        "subscribe-instant": _subscribe_instant,
        "subscribe-duration": _subscribe_duration,
    },
    "wasi:clocks/timezone": {"display": _timezone_display, "utc-offset": _timezone_utc_offset},
}
