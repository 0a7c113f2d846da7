"""Submitting: new top-level executions.

Decides what may be submitted: functions of workflows and activities, now or, by their `-schedule` extension, later; and
when the same again is no error. The engine decides nothing of that: it gets parameters that fit.
"""

from __future__ import annotations

from difflib import get_close_matches
from enum import StrEnum
from typing import Final

import msgspec

from obelisk.api.asking import asking
from obelisk.api.errors import Conflict, InvalidArgument, NotFound
from obelisk.api.ports import AnswerKind, Ending, Engine, FunctionNotFound, FunctionView
from obelisk.api.reads import Reads
from obelisk.core.ids import ExecutionId, is_top_level
from obelisk.core.instants import Instant, InstantOutOfRange, due_at
from obelisk.core.names import FunctionName, interface_of
from obelisk.core.values import Json
from obelisk.wit.codec import value_codec
from obelisk.wit.extensions import ExtensionKind, classify
from obelisk.wit.host import SCHEDULE_AT
from obelisk.wit.reader import InvalidJson, ValueMismatch
from obelisk.wit.schedules import schedule_at

_WHEN: Final = '"now", {"in":{"seconds":5}} or {"at":{"seconds":1767225600,"nanoseconds":0}}'
_decode_items: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Submitted(StrEnum):
    """What became of a submission."""

    CREATED = "created"
    EXISTS = "exists"
    """The same had been submitted before; nothing was changed."""


class Submitting:
    """On the event loop's thread."""

    def __init__(self, engine: Engine, reads: Reads) -> None:
        self._engine = engine
        self._reads = reads

    def new_id(self) -> ExecutionId:
        """A fresh top-level id."""
        return self._engine.new_execution_id()

    async def submit(
        self,
        execution_id: ExecutionId,
        ffqn: FunctionName,
        params: bytes,
        *,
        metadata: dict[str, str] | None = None,
        paused: bool = False,
        ending: Ending | None = None,
    ) -> Submitted:
        """Creates an execution with the id that the client chose; `params` is a JSON array. Of a `-schedule` function its
        first item says when, and the execution is one of the function that it extends.

        Durable when it returns. The same again (id, function, parameters; when does not matter) is no error, so a client
        that lost the answer may repeat it. `ending`, of the same execution: when it is created, may return as late as at its
        end. `InvalidArgument`, `NotFound`, `Conflict`, `Overloaded` or `Stopping`.
        """
        if not is_top_level(execution_id):
            raise InvalidArgument(f"{execution_id} is a derived id; only top-level executions can be submitted")
        function = self._engine.catalogue.function(ffqn)
        if function is None or not function.submittable:
            raise self._unknown(ffqn, function)
        scheduled_at: Instant | None = None
        if function.extension is ExtensionKind.SCHEDULE:
            ffqn, params, scheduled_at = self._scheduled(function, params)
            try:
                canonical = self._check(ffqn, params, self._engine.catalogue.function(ffqn))
            except InvalidArgument as error:
                raise InvalidArgument(f"after the first parameter, which says when: {error}") from None
        else:
            canonical = self._check(ffqn, params, function)
        with asking():
            answer = await self._engine.submit(
                execution_id, ffqn, canonical, metadata or {}, scheduled_at, paused=paused, ending=ending
            )
        match answer:
            case AnswerKind.CREATED:
                return Submitted.CREATED
            case AnswerKind.EXISTS:
                return await self._reads.run(self._same, execution_id, ffqn, canonical)
            case _:
                raise self._unknown(ffqn, None)

    def _scheduled(self, function: FunctionView, params: bytes) -> tuple[FunctionName, bytes, Instant]:
        """The function that is extended, its own parameters, and when."""
        items = _items(params)
        if not items:
            count = len(function.params)
            raise InvalidArgument(f"params: expected {count} parameters, got none; the first one says when: {_WHEN}")
        try:
            value = value_codec(SCHEDULE_AT).decode(items[0])
        except ValueMismatch as error:
            where = ValueMismatch(error.path.replace("value", "params[0]", 1), error.expected, error.got)
            raise InvalidArgument(f"{where}; for example {_WHEN}") from None
        try:
            at = due_at(schedule_at(value), self._engine.now())
        except InstantOutOfRange as error:
            raise InvalidArgument(f"params[0]: {error}") from None
        known = classify(interface_of(function.ffqn), function.ffqn.rpartition(".")[2])
        assert known is not None, "an extension function has a function that it extends"
        return known[0], msgspec.json.encode(items[1:]), at

    def _check(self, ffqn: FunctionName, params: bytes, function: FunctionView | None) -> Json:
        if function is None:
            raise self._unknown(ffqn, None)
        try:
            return self._engine.catalogue.check_params(ffqn, params)
        except FunctionNotFound:  # it was there a moment ago
            raise self._unknown(ffqn, None) from None
        except InvalidJson as error:
            raise InvalidArgument(f"params are not JSON: {error}") from None
        except ValueMismatch as error:
            raise InvalidArgument(f"{error}; {_of(function)}") from None

    def _unknown(self, ffqn: FunctionName, function: FunctionView | None) -> NotFound:
        if function is not None:
            if function.extension is not None:
                return NotFound(f"function not found: {ffqn} can be called by workflows only, not submitted")
            return NotFound(
                f"function not found: {ffqn} cannot be submitted; an execution of a stub activity is created by the"
                " workflow that calls it, and is given its result from outside"
            )
        known = [
            view.ffqn
            for component in self._engine.catalogue.components()
            for view in component.exports
            if view.submittable
        ]
        near = get_close_matches(ffqn, known, n=1)
        hint = f"; did you mean {near[0]}?" if near and near[0] != ffqn else ""
        return NotFound(f"function not found: no deployed component exports {ffqn}{hint}")

    def _same(self, execution_id: ExecutionId, ffqn: FunctionName, params: Json) -> Submitted:
        created = self._engine.reader.created(execution_id)
        if created is not None and created.ffqn == ffqn and bytes(created.params) == bytes(params):
            return Submitted.EXISTS
        what = "with other parameters" if created is not None and created.ffqn == ffqn else "of another function"
        raise Conflict(f"{execution_id} exists already, as an execution {what}")


def _of(function: FunctionView) -> str:
    return f"{function.ffqn} is {function.signature}"


def _items(params: bytes) -> list[msgspec.Raw]:
    try:
        return _decode_items(params)
    except msgspec.ValidationError:
        raise InvalidArgument("params: expected a JSON array") from None
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"params are not JSON: {error}") from None
