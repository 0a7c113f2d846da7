"""Naming: long texts that repeat are written once.

Decides which fields of events and state rows are kept as numbers: functions, digests, deployments, executors. In the JSON of
an event such a field is `"#12"`; it stays JSON, and 12 is a key of the table `names`. This saves about 280 bytes for each
child execution. A function that was rejected is not among them: guests may write any number of names that nobody has.
Must not be seen outside this package: what is loaded is what was written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

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
from obelisk.store.sqlite.connection import Connection, Cursor, select
from obelisk.store.sqlite.queries import sql

_ALL: Final = sql("names_all")
_ADD: Final = sql("name_add")


class _Keys(dict[str, int]):
    """Numbers of names; one that is new is interned when it is asked for. They rise by one, from 1."""

    def __init__(self) -> None:
        super().__init__()
        self.added: list[str] = []

    def __missing__(self, name: str) -> int:
        key = self[name] = len(self) + 1
        self.added.append(name)
        return key


class _Marks(dict[str, str]):
    """How names are written in events."""

    def __init__(self, keys: _Keys) -> None:
        super().__init__()
        self._keys = keys

    def __missing__(self, name: str) -> str:
        mark = self[name] = f"#{self._keys[name]}"
        return mark


class Names:
    """The interned texts of one database, in memory. There are few: they grow with deployments, not with executions.

    The writer interns with `keys` and `marks`, `write`s in its transaction, and then either `settle`s or `forget`s. A reader
    calls `refresh` when it meets a key that it does not know.
    """

    def __init__(self) -> None:
        self.keys: Final = _Keys()
        """The number of a name, interned when it is new."""
        self.marks: Final = _Marks(self.keys)
        """How a name is written in events, interned when it is new."""
        self._names: dict[str, str] = {}

    def refresh(self, connection: Connection) -> None:
        """Reads what others interned."""
        for key, name in select(connection, _ALL, (len(self.keys),)):
            self.keys[name] = key
            self._names[f"#{key}"] = name

    def name(self, mark: str) -> str:
        """What `mark` stands for; `KeyError` when it is not known yet."""
        return self._names[mark]

    def write(self, runs: Connection | Cursor) -> None:
        """Writes what was interned since the last `settle`; in the caller's transaction."""
        if self.keys.added:
            runs.executemany(_ADD, [(self.keys[name], name) for name in self.keys.added])

    def settle(self) -> None:
        """Lets go on from here: what was written is durable."""
        for name in self.keys.added:
            self._names[f"#{self.keys[name]}"] = name
        self.keys.added.clear()

    def forget(self) -> None:
        """Takes back what was interned since the last `settle`."""
        for name in self.keys.added:
            del self.keys[name]
            self.marks.pop(name, None)
        self.keys.added.clear()


def encode(event: Event, marks: Marks) -> bytes:
    """The event as it is written."""
    marked = _MARKED.get(type(event))
    return encode_event(event if marked is None else marked(event, marks))


def _with_function(event: ChildRequested | Scheduled, marks: Marks) -> Event:
    return replace(event, ffqn=marks[event.ffqn])


def _with_function_if_any(event: JoinNext | JoinNextTooMany, marks: Marks) -> Event:
    return event if event.ffqn is None else replace(event, ffqn=marks[event.ffqn])


def _upgraded(event: ComponentUpgraded, marks: Marks) -> Event:
    return replace(event, component=marks[event.component], deployment=marks[event.deployment])


def _created(event: Created, marks: Marks) -> Event:
    return replace(event, ffqn=marks[event.ffqn], component=marks[event.component], deployment=marks[event.deployment])


def _locked(event: Locked, marks: Marks) -> Event:
    return replace(
        event,
        executor=marks[event.executor],
        component=None if event.component is None else marks[event.component],
        deployment=None if event.deployment is None else marks[event.deployment],
    )


Marks = Mapping[str, str]
_MARKED: Final[Mapping[type, Callable[[Any, Marks], Event]]] = {
    ChildRequested: _with_function,
    Scheduled: _with_function,
    JoinNext: _with_function_if_any,
    JoinNextTooMany: _with_function_if_any,
    ComponentUpgraded: _upgraded,
    Created: _created,
    Locked: _locked,
}
"""By the kind of event: a chain of `match` costs as much as the encoding."""


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
