"""What is recorded of an HTTP request that an activity sent: opaque to the engine, kept with the attempt's end."""

from __future__ import annotations

import msgspec

from obelisk.core.instants import Instant


class HttpTrace(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One request of one attempt."""

    method: str
    uri: str
    """The whole URL; secrets stand in it as `{NAME}`."""
    sent_at: Instant
    finished_at: Instant | None = None
    """When its response had been received, or it failed; None: the attempt ended before that."""
    status: int | None = None
    """Of the response; None: there was none (yet)."""
    error: str | None = None
    """Why it failed; with a `status`: while its body was received."""
    span_id: str | None = None
    """Of the span that was sent along as its parent; None: none was, or the guest's own."""
