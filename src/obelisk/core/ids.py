"""Identifiers: how each is written, parsed and derived.

Decides the grammar of every id that a user can see. An id is a plain string under a `NewType`; nothing here draws
randomness or reads a clock: new ULIDs are made by the runtime and passed in.

    E_01K42AJA8QHD7D3GTJAYMASFYZ                      a top-level execution: prefix and ULID
    E_01K….o:1-fibo_1                                 its child: parent '.' join set '_' 1-based index in that set
    Delay_01K….g:1_2                                  a delay: the id of its execution with another prefix
    o:1-fibo   g:1   n:batch                          join sets: one-off, generated, named

**Relative and absolute.** Inside an execution's own log, children and delays are written relative to it (`o:1-fibo_1`):
the log is then independent of the execution's id, so that a fork is a change of prefix. At every edge (state rows, APIs,
guests) ids are absolute.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NewType

ExecutionId = NewType("ExecutionId", str)
"""Absolute id of an execution, top-level or derived."""
ChildId = NewType("ChildId", str)
"""Id of a child relative to its parent: `JOINSET_INDEX`, for example `g:1_2`."""
JoinSetId = NewType("JoinSetId", str)
"""`o:IDX-NAME`, `g:N` or `n:NAME`; unique within one execution."""
DelayId = NewType("DelayId", str)
"""Absolute id of a delay."""
DelayRef = NewType("DelayRef", str)
"""Id of a delay relative to its execution: `JOINSET_INDEX`; counted apart from the children of the set."""
RunId = NewType("RunId", str)
"""One attempt at an execution while it is locked: `Run_` and a ULID."""
ExecutorId = NewType("ExecutorId", str)
"""One engine in one process lifetime: `Exr_` and a ULID."""
DeploymentId = NewType("DeploymentId", str)
"""One distinct resolved configuration: `Dep_` and a ULID."""
Digest = NewType("Digest", str)
"""`sha256:` and 64 lower-case hexadecimal digits."""

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = [one + other for one in _ALPHABET for other in _ALPHABET]
_ULID: Final = r"[0-7][0-9A-HJKMNP-TV-Z]{25}"
_SEGMENT: Final = r"[ogn]:[A-Za-z0-9/-]*_[1-9][0-9]*"
_EXECUTION: Final = re.compile(rf"E_{_ULID}(?:\.{_SEGMENT})*")
_TOP_LEVEL: Final = re.compile(rf"E_{_ULID}")
_DELAY: Final = re.compile(rf"Delay_{_ULID}(?:\.{_SEGMENT})+")
_JOIN_SET_NAME: Final = re.compile(r"[A-Za-z0-9/-]*")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


class InvalidId(ValueError):
    """The caller passed a text that is not an id of the wanted kind."""


def ulid(timestamp_ms: int, randomness: bytes) -> str:
    """The 26 characters of a ULID.

    `timestamp_ms`: milliseconds since 1970, below 2**48. `randomness`: exactly 10 bytes.
    """
    if len(randomness) != 10:
        raise ValueError("a ULID is 48 bits of milliseconds and 10 bytes of randomness")
    return _letters_of_time(timestamp_ms) + _letters(int.from_bytes(randomness), 8)


@lru_cache(maxsize=1)  # many are made within one millisecond
def _letters_of_time(timestamp_ms: int) -> str:
    if not 0 <= timestamp_ms < 1 << 48:
        raise ValueError("a ULID is 48 bits of milliseconds and 10 bytes of randomness")
    return _letters(timestamp_ms, 5)


def _letters(number: int, pairs: int) -> str:
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(10 * pairs - 10, -1, -10)])


def ulid_timestamp_ms(top_level: ExecutionId) -> int:
    """The milliseconds since 1970 in the ULID of a top-level execution's id."""
    number = 0
    for letter in top_level[2:12]:
        number = number << 5 | _ALPHABET.index(letter)
    return number


def parse_execution_id(text: str) -> ExecutionId:
    """`text` as an execution id, or `InvalidId`."""
    if not _EXECUTION.fullmatch(text):
        raise InvalidId(
            f"{text!r} is not an execution id; expected E_ and a ULID, for example E_01K42AJA8QHD7D3GTJAYMASFYZ"
        )
    return ExecutionId(text)


def parse_delay_id(text: str) -> DelayId:
    """`text` as a delay id, or `InvalidId`."""
    if not _DELAY.fullmatch(text):
        raise InvalidId(f"{text!r} is not a delay id; expected Delay_ULID.JOINSET_INDEX")
    return DelayId(text)


def parse_digest(text: str) -> Digest:
    """`text` as a content digest, or `InvalidId`."""
    if not _DIGEST.fullmatch(text):
        raise InvalidId(f"{text!r} is not a digest; expected sha256: and 64 hexadecimal digits")
    return Digest(text)


def is_top_level(execution_id: ExecutionId) -> bool:
    """Whether the execution has no parent."""
    return "." not in execution_id


def root_of(execution_id: ExecutionId) -> ExecutionId:
    """The top-level execution of the tree that `execution_id` belongs to."""
    return ExecutionId(execution_id.partition(".")[0])


def parent_of(execution_id: ExecutionId) -> ExecutionId | None:
    """The direct parent, or None for a top-level execution."""
    head, dot, _ = execution_id.rpartition(".")
    return ExecutionId(head) if dot else None


def relative(execution_id: ExecutionId) -> ChildId:
    """A derived execution's id relative to its parent."""
    return ChildId(execution_id.rpartition(".")[2])


def absolute(parent: ExecutionId, child: ChildId) -> ExecutionId:
    """The absolute id of `child` of `parent`."""
    return ExecutionId(f"{parent}.{child}")


def join_set_of(member: ChildId | DelayRef) -> JoinSetId:
    """The join set that a child or delay was submitted into."""
    return JoinSetId(member.rpartition("_")[0])


def member(join_set: JoinSetId, index: int) -> str:
    """The relative id of the `index`-th (from 1) child, or delay, of a join set."""
    return f"{join_set}_{index}"


def absolute_delay(execution_id: ExecutionId, delay: DelayRef) -> DelayId:
    """The absolute id of a delay of `execution_id`."""
    return DelayId(f"Delay_{execution_id[2:]}.{delay}")


def split_delay(delay_id: DelayId) -> tuple[ExecutionId, DelayRef]:
    """The execution that a delay belongs to, and the delay relative to it."""
    head, _, tail = delay_id.rpartition(".")
    return ExecutionId("E_" + head.removeprefix("Delay_")), DelayRef(tail)


def generated(index: int) -> JoinSetId:
    """The `index`-th (from 1) generated join set of an execution."""
    return JoinSetId(f"g:{index}")


def one_off(index: int, name: str) -> JoinSetId:
    """The `index`-th (from 1) one-off join set; `name` is the callee, `sleep`, or a label."""
    return JoinSetId(f"o:{index}-{name}")


def named(name: str) -> JoinSetId:
    """A join set that the guest named; check `is_join_set_name` first."""
    return JoinSetId(f"n:{name}")


def is_join_set_name(name: str) -> bool:
    """Whether `name` consists of ASCII letters, digits, `-` and `/` only (it may be empty)."""
    return bool(_JOIN_SET_NAME.fullmatch(name))
