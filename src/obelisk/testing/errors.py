"""What a host call of a Python workflow may raise: the ways in which a call does not give a value.

A workflow may catch all of these. What it does not catch ends it: `ReturnedErr` as its own `err`, anything else as a trap.
"""

from __future__ import annotations

from typing import Any

from obelisk.core.ids import DelayId, ExecutionId
from obelisk.core.names import FunctionName
from obelisk.core.values import FailureKind


class ReturnedErr(Exception):
    """The function returned `err`. A workflow or an activity raises it to return `err`, and gets it when a child did.

    `value` is what JSON can say. `permanent`: of an activity, that trying again is useless.
    """

    def __init__(self, value: Any = None, *, permanent: bool = False, execution_id: ExecutionId | None = None) -> None:
        super().__init__(value)
        self.value = value
        self.permanent = permanent
        self.execution_id = execution_id
        """Of the child that returned it; None for one's own."""


class ExecutionFailed(Exception):
    """The platform ended the child: a trap that retries did not help, a timeout, a cancellation. A workflow in another
    language sees a bare `err`, or `execution-failed`, where its WIT has it.
    """

    def __init__(self, kind: FailureKind, reason: str, execution_id: ExecutionId | None = None) -> None:
        super().__init__(f"{kind}: {reason}")
        self.kind = kind
        self.reason = reason
        self.execution_id = execution_id


class CallRefused(Exception):
    """The call was answered, but not with what it asked for; the subclass says why."""


class AllProcessed(CallRefused):
    """Every member of the join set has been awaited."""


class NotProcessed(CallRefused):
    """No such response has been awaited by this execution."""


class FunctionMismatch(CallRefused):
    """The response belongs to another function (`actual`), or to a delay (`actual` None). If it was awaited, it counts as
    processed.
    """

    def __init__(self, specified: FunctionName, actual: FunctionName | None, member: ExecutionId | DelayId) -> None:
        super().__init__(f"{member} is of {actual or 'a delay'}, not of {specified}")
        self.specified = specified
        self.actual = actual
        self.member = member


class FunctionNotFound(CallRefused):
    """There is no such function."""


class TypeCheckError(CallRefused):
    """A value does not fit the function's type."""


class ExecutionNotFound(CallRefused):
    """There is no such execution."""


class Conflict(CallRefused):
    """The name is taken; or the execution has another result already."""


class InvalidName(CallRefused):
    """A label or name with characters other than ASCII letters, digits, `-` and `/`."""


class DelayCancelled(CallRefused):
    """The sleep was cancelled."""
