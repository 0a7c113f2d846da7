"""Responses: outside facts addressed to a join set of an execution.

Responses of one execution are totally ordered by `seq` (1, 2, 3, …), assigned in the transaction that writes them. They
are not part of the versioned log: each await consumes the lowest-numbered unprocessed response of its join set.
"""

from __future__ import annotations

import msgspec

from obelisk.core.ids import ChildId, DelayRef, JoinSetId
from obelisk.core.instants import Instant
from obelisk.core.values import Outcome


class ChildFinished(msgspec.Struct, frozen=True, tag="child_finished", gc=False):
    """A child ended; its `finished` event has `version`. Stores may keep a reference instead of the outcome's copy."""

    child: ChildId
    version: int
    outcome: Outcome


class DelayFinished(msgspec.Struct, frozen=True, tag="delay_finished", gc=False):
    """A delay expired (`ok`), or was cancelled."""

    delay: DelayRef
    ok: bool


class Response(msgspec.Struct, frozen=True, gc=False):
    """One row of an execution's responses."""

    seq: int
    created_at: Instant
    join_set: JoinSetId
    body: ChildFinished | DelayFinished


def member_of(response: Response) -> tuple[ChildId | DelayRef, bool]:
    """Whose it is, and whether that is a delay: children and delays are counted apart, `g:1_1` may be both."""
    body = response.body
    return (body.child, False) if isinstance(body, ChildFinished) else (body.delay, True)
