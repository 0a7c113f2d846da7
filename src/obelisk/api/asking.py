"""Asking the engine: what keeps it from answering, as an error of the use cases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from obelisk.api.errors import Overloaded, Stopping
from obelisk.api.ports import InboxFull, ReplaysBusy, ShuttingDown


@contextmanager
def asking() -> Iterator[None]:
    """Around a question to the engine: `Overloaded` or `Stopping` when there is no answer."""
    try:
        yield
    except (InboxFull, ReplaysBusy) as error:
        raise Overloaded(f"{error}; try again later") from None
    except ShuttingDown:
        raise Stopping from None
