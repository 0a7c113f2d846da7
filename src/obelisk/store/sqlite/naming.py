"""Naming: long texts that repeat are written once.

Decides which fields of events and state rows are kept as numbers: functions, digests, deployments, executors. In the JSON of
an event such a field is `"#12"`; it stays JSON, and 12 is a key of the table `names`. This saves about 280 bytes for each
child execution. A function that was rejected is not among them: guests may write any number of names that nobody has.
Must not be seen outside this package: what is loaded is what was written.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from obelisk.core.events import (
    ChildRequested,
    ComponentUpgraded,
    Created,
    Event,
    JoinNext,
    JoinNextTooMany,
    Locked,
    Scheduled,
    decode_event,
    encode_event,
)
from obelisk.core.ids import DeploymentId, Digest, ExecutorId
from obelisk.core.names import FunctionName
from obelisk.store.sqlite.connection import Connection
from obelisk.store.sqlite.queries import sql

_ALL: Final = sql("names_all")
_ADD: Final = sql("name_add")


class Names:
    """The interned texts of one database, in memory. There are few: they grow with deployments, not with executions.

    The writer interns with `key` and `mark`, `write`s in its transaction, and then either `settle`s or `forget`s. A reader
    calls `refresh` when it meets a key that it does not know.
    """

    def __init__(self) -> None:
        self._keys: dict[str, int] = {}
        self._marks: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._added: list[tuple[int, str]] = []

    def refresh(self, connection: Connection) -> None:
        """Reads what others interned."""
        for key, name in connection.execute(_ALL, (len(self._keys),)).fetchall():
            self._learn(key, name)

    def _learn(self, key: int, name: str) -> None:
        self._names[f"#{key}"] = name
        self._marks[name] = f"#{key}"
        self._keys[name] = key

    def key(self, name: str) -> int:
        """The number of `name`, interned when it is new. They rise by one, from 1."""
        key = self._keys.get(name)
        if key is None:
            key = len(self._keys) + 1
            self._learn(key, name)
            self._added.append((key, name))
        return key

    def key_or_none(self, name: str | None) -> int | None:
        """The number of `name`; None for None."""
        return None if name is None else self.key(name)

    def mark(self, name: str) -> str:
        """How `name` is written in events."""
        mark = self._marks.get(name)
        return mark if mark is not None else f"#{self.key(name)}"

    def name(self, mark: str) -> str:
        """What `mark` stands for; `KeyError` when it is not known yet."""
        return self._names[mark]

    def write(self, connection: Connection) -> None:
        """Writes what was interned since the last `settle`; in the caller's transaction."""
        if self._added:
            connection.executemany(_ADD, self._added)

    def settle(self) -> None:
        """Lets go on from here: what was written is durable."""
        self._added.clear()

    def forget(self) -> None:
        """Takes back what was interned since the last `settle`."""
        for key, name in self._added:
            del self._names[f"#{key}"], self._marks[name], self._keys[name]
        self._added.clear()


def encode(event: Event, names: Names) -> bytes:
    """The event as it is written."""
    mark = names.mark
    match event:
        case ChildRequested() | Scheduled():
            event = replace(event, ffqn=mark(event.ffqn))
        case JoinNext() | JoinNextTooMany():
            if event.ffqn is not None:
                event = replace(event, ffqn=mark(event.ffqn))
        case ComponentUpgraded():
            event = replace(event, component=mark(event.component), deployment=mark(event.deployment))
        case Created():
            event = replace(
                event, ffqn=mark(event.ffqn), component=mark(event.component), deployment=mark(event.deployment)
            )
        case Locked():
            event = replace(
                event,
                executor=mark(event.executor),
                component=None if event.component is None else mark(event.component),
                deployment=None if event.deployment is None else mark(event.deployment),
            )
    return encode_event(event)


def decode(data: bytes, format: int, names: Names) -> Event:
    """The event that was written; `KeyError` for a name that is not known yet."""
    event = decode_event(data, format)
    name = names.name
    match event:
        case ChildRequested() | Scheduled():
            return replace(event, ffqn=FunctionName(name(event.ffqn)))
        case JoinNext() | JoinNextTooMany():
            return event if event.ffqn is None else replace(event, ffqn=FunctionName(name(event.ffqn)))
        case ComponentUpgraded():
            return replace(
                event, component=Digest(name(event.component)), deployment=DeploymentId(name(event.deployment))
            )
        case Created():
            return replace(
                event,
                ffqn=FunctionName(name(event.ffqn)),
                component=Digest(name(event.component)),
                deployment=DeploymentId(name(event.deployment)),
            )
        case Locked():
            return replace(
                event,
                executor=ExecutorId(name(event.executor)),
                component=None if event.component is None else Digest(name(event.component)),
                deployment=None if event.deployment is None else DeploymentId(name(event.deployment)),
            )
    return event
