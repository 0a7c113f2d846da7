"""What a use case may answer instead of a result, split first by whose fault it is.

    ApiError
    ├── CallerError            the request is at fault: repeating it is useless
    │   ├── InvalidArgument    it makes no sense, or does not fit the function's type
    │   │   └── HasFinished    the execution is over, so nothing can be done to it
    │   ├── NotFound           it names what is not there
    │   ├── Conflict           what it wants to create is there already, and is something else
    │   ├── NotReady           something else must be done before
    │   ├── ReplayFailed       a log does not replay on the component that was asked for
    │   └── NotAvailable       it asks for a feature that this version does not have
    └── TryAgain               the request is fine, the moment is not
        ├── Overloaded         too much is waiting
        ├── Moved              what it is about changed while it was looked at
        └── Stopping           this server is going away

The message is for the caller: what happened, what was expected, what to do. Doors map classes to codes of their own.
"""

from __future__ import annotations


class ApiError(Exception):
    """Base; only its subclasses are raised."""


class CallerError(ApiError):
    """The caller's fault."""


class InvalidArgument(CallerError):
    """The request makes no sense."""


class HasFinished(InvalidArgument):
    """The execution is over."""


class NotFound(CallerError):
    """The request names what does not exist."""


class Conflict(CallerError):
    """Something else has that name already."""


class NotReady(CallerError):
    """Something else must be done before; the message says what."""


class ReplayFailed(CallerError):
    """A log does not replay on the component that was asked for; the message says where it leaves it, and how."""


class NotAvailable(CallerError):
    """This version cannot do that."""


class TryAgain(ApiError):
    """Nobody's fault: the same request may succeed later, or elsewhere."""


class Overloaded(TryAgain):
    """Too many requests are waiting."""


class Moved(TryAgain):
    """What the request is about changed while it was looked at."""


class Stopping(TryAgain):
    """The server is stopping."""

    def __init__(self) -> None:
        super().__init__("server is shutting down")
