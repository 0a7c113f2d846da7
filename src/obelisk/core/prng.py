"""Pseudo-random values of an execution.

A draw is a function of the execution's id and of how many draws came before it. Drawn values are recorded and replay
returns the record, so this algorithm is not part of the durable format and may change in any release.
"""

from __future__ import annotations

import hashlib
from typing import Final

from obelisk.core.ids import ExecutionId, root_of, ulid, ulid_timestamp_ms

_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def _block(execution_id: ExecutionId, draw: int, block: int) -> int:
    """256 bits."""
    return int.from_bytes(hashlib.sha256(f"{execution_id}\0{draw}\0{block}".encode()).digest())


def random_between(execution_id: ExecutionId, draw: int, low: int, high: int) -> int:
    """A number in [low, high], for bounds within 64 bits: the bias of reducing 256 bits is below 2**-191."""
    return low + _block(execution_id, draw, 0) % (high - low + 1)


def random_execution_id(execution_id: ExecutionId, draw: int) -> ExecutionId:
    """A top-level id, with the timestamp of the execution's own root."""
    randomness = _block(execution_id, draw, 0) >> 176
    return ExecutionId(f"E_{ulid(ulid_timestamp_ms(root_of(execution_id)), randomness.to_bytes(10))}")


def random_text(execution_id: ExecutionId, draw: int, min_length: int, max_length_exclusive: int) -> str:
    """ASCII letters and digits; the length lies in [min_length, max_length_exclusive)."""
    length = random_between(execution_id, draw, min_length, max_length_exclusive - 1)
    letters: list[str] = []
    block = 0
    while len(letters) < length:
        block += 1
        bits = _block(execution_id, draw, block)
        for _ in range(40):  # 62**40 < 2**239, so the bias stays below 2**-16 of a letter's share
            bits, letter = divmod(bits, len(_LETTERS))
            letters.append(_LETTERS[letter])
    return "".join(letters[:length])
