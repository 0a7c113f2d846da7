"""wasi:random: bytes of the host, in the interface's forms. What they are a function of, the host decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from obelisk.wasm.wasi.host import Answer, GuestTrap, Host, WasiFunction, then

BYTES_MAX: Final = 1 << 20
"""Random bytes that one call may ask for."""


def _bytes(host: Host, count: int) -> Answer:
    if count > BYTES_MAX:
        raise GuestTrap(f"wasi:random: {count} bytes were asked for at once; at most {BYTES_MAX} are given")
    return host.random_bytes(count)


def _u64(host: Host) -> Answer:
    return then(host.random_bytes(8), lambda data: int.from_bytes(data, "little"))


def _seed(host: Host) -> Answer:
    return then(
        host.random_bytes(16), lambda data: (int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little"))
    )


FUNCTIONS: Final[Mapping[str, Mapping[str, WasiFunction]]] = {
    "wasi:random/random": {"get-random-bytes": _bytes, "get-random-u64": _u64},
    "wasi:random/insecure": {"get-insecure-random-bytes": _bytes, "get-insecure-random-u64": _u64},
    "wasi:random/insecure-seed": {"insecure-seed": _seed},
}
