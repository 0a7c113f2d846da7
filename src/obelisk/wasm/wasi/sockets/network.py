"""The network of one run: what it may reach, which sockets it has.

Decides whether a name is looked up and a connection opened, by its component's policy, and how many sockets a run and the
process may have. A run without a network is denied everything, and nothing is said of it: the libraries of guests ask without
meaning it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Final, Protocol

from obelisk.core import tcp
from obelisk.core.egress import Address, is_public
from obelisk.core.tcp import TcpTarget
from obelisk.wasm.wasi.lookups import PROCESS
from obelisk.wasm.wasi.room import NoRoom, Room
from obelisk.wasm.wasi.sockets.addresses import Endpoint
from obelisk.wasm.wasi.sockets.errors import ErrorCode, Refused

SOCKETS_MAX: Final = 64
"""Sockets that one run may have."""
LOOKUPS_MAX: Final = 8
"""Names that one run may have looked up at the same time."""
EVENTS_MAX: Final = 20
"""Refusals of one run that are told in its log."""

Spawn = Callable[[Coroutine[Any, Any, Any]], "Future[Any]"]
Resolve = Callable[[str], Coroutine[Any, Any, Sequence[str]]]
"""The addresses of a name. `OSError`."""


class Closable(Protocol):
    """Something that ends with the run."""

    def close_now(self) -> None:
        """Closes it, on the loop; also more than once."""
        ...


class Network:
    """What a run may reach. `close` is for the loop's thread, all else for the guest's."""

    def __init__(
        self,
        targets: Iterable[TcpTarget],
        event: Callable[[str], None],
        loop: asyncio.AbstractEventLoop,
        spawn: Spawn,
        room: Room,
        resolve: Resolve | None = None,
    ) -> None:
        """`event` takes a line for the log of the execution."""
        self.targets = tuple(targets)
        self.loop = loop
        self.spawn = spawn
        self.room = room
        self.resolve = resolve or _resolve
        self.lookups = 0
        self._names: dict[Address, frozenset[str]] = {}
        self._sockets: set[Closable] = set()
        self._event = event
        self._events = 0

    # --- policy ------------------------------------------------------------------------------------------------------

    def allow_lookup(self, name: str) -> None:
        """`Refused` when a name must not be looked up."""
        if not tcp.may_look_up(self.targets, name):
            raise Refused(
                ErrorCode.ACCESS_DENIED,
                f'the name {name} may not be looked up: no entry of allowed_tcp is about it; if it should be, add "{name}:PORT"',
            )
        if self.lookups >= LOOKUPS_MAX:
            raise Refused(
                ErrorCode.TEMPORARY_RESOLVER_FAILURE, f"a run may have {LOOKUPS_MAX} names looked up at the same time"
            )

    def learn(self, name: str, addresses: Iterable[Address]) -> None:
        """A name was found to lead there; from the loop's thread."""
        for address in addresses:
            self._names[address] = self._names.get(address, frozenset()) | {name}

    def allow_connection(self, there: Endpoint) -> None:
        """`Refused` when a connection must not be opened."""
        names = sorted(self._names.get(there.address, ()))
        if tcp.may_connect(self.targets, names, there.address, there.port):
            return
        why = f"no entry of allowed_tcp has {there}"
        wanted = str(there)
        if names and is_public(there.address):
            wanted = tcp.written(names[0], there.port)
        elif names:
            why = f"{names[0]} leads there, which is not a public address, and {why}"
        raise Refused(
            ErrorCode.ACCESS_DENIED, f'a connection to {there} is not allowed: {why}; if one should, add "{wanted}"'
        )

    # --- sockets -----------------------------------------------------------------------------------------------------

    def add(self, made: Closable) -> None:
        """A socket there is. `Refused`; then it must not be."""
        if len(self._sockets) >= SOCKETS_MAX:
            raise Refused(ErrorCode.NEW_SOCKET_LIMIT, f"a run may have {SOCKETS_MAX} sockets")
        try:
            self.room.take()
        except NoRoom as full:
            raise Refused(ErrorCode.NEW_SOCKET_LIMIT, str(full)) from None
        self._sockets.add(made)

    def discard(self, gone: Closable) -> None:
        """A socket is closed."""
        if gone in self._sockets:
            self._sockets.discard(gone)
            self.room.give_back()

    def tell(self, refused: Refused, function: str) -> None:
        """Puts a refusal into the log of the execution, if it belongs there."""
        if refused.event is None or self._events > EVENTS_MAX:
            return
        self._events += 1
        if self._events > EVENTS_MAX:
            self._event("wasi:sockets: further refusals of this run are not told")
        else:
            self._event(f"wasi:sockets {function}: {refused.event}: {refused.code.name.lower().replace('_', '-')}")

    def close(self) -> None:
        """The run is over."""
        for each in tuple(self._sockets):
            each.close_now()


async def _resolve(name: str) -> Sequence[str]:
    return await asyncio.wrap_future(PROCESS.ask(name))
