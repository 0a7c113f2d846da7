"""wasi:sockets/ip-name-lookup: the addresses of a name.

An address that is written as one is given back, and asks nobody. A name is looked up by the system's resolver, in a thread of
the loop's, where the policy allows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Final

from obelisk.core.egress import Address, address_of
from obelisk.core.tcp import normal_name
from obelisk.wasm.wasi.host import Answer, Subscription, WasiFunction
from obelisk.wasm.wasi.io import Ready
from obelisk.wasm.wasi.sockets.addresses import ip_address
from obelisk.wasm.wasi.sockets.errors import ErrorCode, Refused, code_of
from obelisk.wasm.wasi.sockets.network import Network
from obelisk.wit.types import Value


class Addresses:
    """`resolve-address-stream`: of what was known at once."""

    def __init__(self, found: list[Address]) -> None:
        self._found = found

    def next_address(self) -> Value:
        """`result<option<ip-address>, error-code>`."""
        return True, (ip_address(self._found.pop(0)),) if self._found else None

    def subscribe(self) -> Any:
        """Ready when `next_address` has an answer."""
        return Ready()


class Lookup(Addresses):
    """`resolve-address-stream`: of what the resolver says."""

    def __init__(self, network: Network, name: str) -> None:
        super().__init__([])
        self._network = network
        self._name = name
        self._code: ErrorCode | None = None
        self._done = False
        network.lookups += 1
        self._task: Future[Any] = network.spawn(self._look_up())
        self._task.add_done_callback(self._end)

    def next_address(self) -> Value:
        """See `Addresses`."""
        if not self._done:
            return False, int(ErrorCode.WOULD_BLOCK)
        if self._code is not None:
            return False, int(self._code)
        return super().next_address()

    def subscribe(self) -> Any:
        """See `Addresses`."""
        return Subscription(self)

    def ready(self) -> bool:
        """See `Pollable`."""
        return self._done

    async def wait(self) -> None:
        """See `Pollable`."""
        if not self._task.done():
            await asyncio.wait([asyncio.wrap_future(self._task)])

    def close(self) -> None:
        """The guest has dropped it. The resolver cannot be stopped: until it is done, it counts as a lookup."""

    async def _look_up(self) -> None:
        try:
            await self._ask()
        except OSError as error:
            self._code = code_of(error)
        except UnicodeError:
            self._code = ErrorCode.INVALID_ARGUMENT
        finally:
            self._done = True

    async def _ask(self) -> None:
        texts = await self._network.resolve(self._name)
        self._found = [address for text in texts if (address := address_of(text.partition("%")[0])) is not None]
        self._network.learn(self._name, self._found)
        if not self._found:
            self._code = ErrorCode.NAME_UNRESOLVABLE

    def _end(self, _: Any) -> None:
        self._network.lookups -= 1


def resolve_addresses(host: Any, network: Any, text: str) -> Answer:
    """`resolve-addresses`."""
    allowed: Network | None = getattr(host, "network", None)
    if allowed is None:
        return False, int(ErrorCode.ACCESS_DENIED)
    address = address_of(text)
    if address is not None and "%" not in text:
        return True, Addresses([address])
    name = _ascii(text)
    if name is None:
        return False, int(ErrorCode.INVALID_ARGUMENT)
    try:
        allowed.allow_lookup(name)
    except Refused as refused:
        allowed.tell(refused, "resolve-addresses")
        return False, int(refused.code)
    return True, Lookup(allowed, name)


def _ascii(text: str) -> str | None:
    """A name as resolvers take it; None: it is none."""
    try:
        return normal_name(text if text.isascii() else text.encode("idna").decode())
    except UnicodeError:
        return None


def _resolve_next_address(host: Any, this: Addresses) -> Answer:
    return this.next_address()


def _subscribe(host: Any, this: Addresses) -> Answer:
    return this.subscribe()


METHODS: Final[Mapping[str, WasiFunction]] = {
    "resolve-next-address": _resolve_next_address,
    "subscribe": _subscribe,
}
"""The methods of `resolve-address-stream`."""
