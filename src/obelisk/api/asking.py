"""Asking the engine: what keeps it from answering, as an error of the use cases."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final

from obelisk.api.errors import Overloaded, Stopping
from obelisk.api.ports import InboxFull, ReplaysBusy, ShuttingDown


class _Asking:
    """Holds nothing, so that one does for all."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, InboxFull | ReplaysBusy):
            raise Overloaded(f"{error}; try again later") from None
        if isinstance(error, ShuttingDown):
            raise Stopping from None


_ASKING: Final = _Asking()


def asking() -> AbstractContextManager[None]:
    """Around a question to the engine: `Overloaded` or `Stopping` when there is no answer."""
    return _ASKING
