"""The parts of a step, and the functions of the engine thread whose time each is.

The only module here that knows what the program calls its functions: who renames one finds it here.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from benchmarks.step.timing import Target, Turn
from obelisk.engine.engine import Engine
from obelisk.runtime.ahead import Ahead
from obelisk.runtime.attempts import Attempts
from obelisk.runtime.driver import Driver
from obelisk.runtime.marked_guest import MarkedGuest
from obelisk.store.sqlite import store
from obelisk.store.sqlite.committing import Committer
from obelisk.store.sqlite.store import SqliteStore
from obelisk.store.sqlite.writing import Plan
from obelisk.wasm.activity import ActivityRun


class Kind(Enum):
    """Who a part belongs to."""

    ENGINE = "engine"
    GUEST = "WASM"
    STORE = "store"
    REST = "neither"


class Part(NamedTuple):
    """What these functions take, without what they call of other parts."""

    name: str
    title: str
    kind: Kind
    targets: tuple[Target, ...]


PARTS: Final = (
    Part("decide", "decide: take in an end, build units", Kind.ENGINE, (Target(Engine, "decide"),)),
    Part("workflow", "the workflow, to its next call", Kind.GUEST, (Target(MarkedGuest, "send"),)),
    Part("judge", "judge: versions, leases, rows, JSON", Kind.STORE, (Target(Plan, "judge"),)),
    Part("write", "write: BEGIN and the statements", Kind.STORE, (Target(store, "begin"), Target(Plan, "write"))),
    Part("commit", "COMMIT: handing it over, and what is left to wait for", Kind.STORE, (Target(Committer, "commit"),)),
    Part("store", "the rest of the store", Kind.STORE, (Target(SqliteStore, "commit"),)),
    Part(
        "settle",
        "settle, and the effects",
        Kind.ENGINE,
        (Target(Engine, "settle"), Target(Ahead, "__call__"), Target(Driver, "_carry_out")),
    ),
    Part("slice", "the activity's first slice: around it", Kind.ENGINE, (Target(Attempts, "run_queued"),)),
    Part("call", "the activity: instance and call", Kind.GUEST, (Target(ActivityRun, "start"),)),
    Part("free", "the activity: freeing it", Kind.GUEST, (Target(ActivityRun, "close"),)),
    Part("rest", "the rest", Kind.REST, (Target(Driver, "_turn"),)),
)
"""In the order in which they happen."""

TURN: Final = Target(Driver, "_turn")
TARGETS: Final = (TURN, *(target for part in PARTS for target in part.targets if target != TURN))
_OF: Final = {part.name: tuple(TARGETS.index(target) for target in part.targets) for part in PARTS}
_ONCE: Final = tuple(
    TARGETS.index(Target(*each)) for each in ((SqliteStore, "commit"), (MarkedGuest, "send"), (ActivityRun, "start"))
)


def is_step(turn: Turn) -> bool:
    """Whether one child ended, its parent went on, and the next was committed."""
    return all(turn.calls[number] == 1 for number in _ONCE)


def by_part(own_ns: tuple[float, ...]) -> dict[str, float]:
    """ns of each part, from those of each target."""
    return {name: sum(own_ns[number] for number in numbers) for name, numbers in _OF.items()}
