"""The functions of a user as a subject: Python functions, and components that are compiled, side by side.

Decides how a Python function becomes a workflow, an activity or a stub activity: a value that it returns is its ok result,
`ReturnedErr` its err, any other exception a trap. A Python function takes the place of a compiled one of the same name; its
parameters and results then have to fit that one's types.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Protocol

import msgspec

from obelisk.core.events import RejectReason
from obelisk.core.ids import Digest, ExecutionId
from obelisk.core.names import FunctionName
from obelisk.core.policy import ExecutionPolicy
from obelisk.core.ports import FunctionInfo, FunctionKind, Guest, Registry, Rejection, Typed
from obelisk.core.values import NO_VALUE, Err, ErrForm, Failure, FailureKind, Json, Ok
from obelisk.engine.effects import StartAttempt
from obelisk.testing.context import Ask, Context, Perform, to_json
from obelisk.testing.errors import ReturnedErr, TypeCheckError
from obelisk.testing.guests import Flow, PythonGuest, StrictGuest, Trap
from obelisk.testing.subject import AttemptEnd, Deployment, Subject, Submission
from obelisk.testing.threads import ThreadGuest

PYTHON: Final = Digest("sha256:" + "c0" * 32)
"""The component that all Python functions are of."""


@dataclass(frozen=True)
class Attempt:
    """What an activity may know of the attempt: its keyword-only parameter `attempt`, if it has one, is this."""

    execution_id: ExecutionId
    number: int
    """From 1: how often the execution is tried, this time included."""


@dataclass(frozen=True)
class PythonFunction:
    """A function that a user wrote. `function` None: a stub activity whose result a workflow gives."""

    ffqn: FunctionName
    kind: FunctionKind
    function: Callable[..., Any] | None
    policy: ExecutionPolicy


class Compiled(Protocol):
    """Functions of compiled components; see `components.py`."""

    def deployment(self) -> Deployment:
        """The functions for a new process."""
        ...

    def attempt(self, start: StartAttempt) -> AttemptEnd:
        """Runs an attempt at an activity, to its end."""
        ...


class Functions(Subject):
    """Functions of a user, and what a client submits."""

    def __init__(
        self,
        python: Mapping[FunctionName, PythonFunction],
        compiled: Compiled | None = None,
        submissions: Sequence[Submission] = (),
    ) -> None:
        self._python: Final = dict(python)
        self._compiled: Final = compiled
        self._submissions: Final = tuple(submissions)
        self._types: Final = None if compiled is None else compiled.deployment()

    @property
    def submissions(self) -> tuple[Submission, ...]:
        """What a client submits."""
        return self._submissions

    def submitting(self, *submissions: Submission) -> Functions:
        """The same functions, with other submissions."""
        return Functions(self._python, self._compiled, submissions)

    def deployment(self) -> FunctionsRegistry:
        """The functions for a new process. What Python functions keep between two runs, they keep."""
        compiled = None if self._compiled is None else self._compiled.deployment()
        return FunctionsRegistry(self._python, compiled)

    def attempt(self, start: StartAttempt, failures: int) -> AttemptEnd:
        """Runs an activity."""
        python = self._python.get(start.ffqn) if start.component == PYTHON else None
        if python is None:
            assert self._compiled is not None
            return self._compiled.attempt(start)
        assert python.function is not None
        given = {"attempt": Attempt(start.execution_id, failures + 1)} if _wants_attempt(python.function) else {}
        try:
            value = python.function(*_arguments(start.params), **given)
        except ReturnedErr as err:
            return AttemptEnd(self._result(python, err))
        except Exception as error:  # noqa: BLE001 - an activity may raise anything
            reason = f"activity trap: {_text(error)}"
            return AttemptEnd(Failure(FailureKind.UNCATEGORIZED, reason, _trace(error)))
        return AttemptEnd(self._result(python, value))

    def given_result(self, execution_id: ExecutionId, ffqn: FunctionName, params: Json) -> Ok | Err | None:
        """What the stub's function says."""
        python = self._python.get(ffqn)
        if python is None or python.function is None:
            return None
        try:
            value = python.function(*_arguments(params))
        except ReturnedErr as err:
            return self._result(python, err)
        return self._result(python, value)

    def _result(self, python: PythonFunction, value: object) -> Ok | Err:
        return result_of(value, self._types, python.ffqn)


class FunctionsRegistry:
    """Implements `core.ports.Registry` for one process."""

    def __init__(self, python: Mapping[FunctionName, PythonFunction], compiled: Deployment | None) -> None:
        self._python: Final = python
        self._compiled: Final = compiled
        self.guests: Final[set[StrictGuest]] = set() if compiled is None else compiled.guests
        """Guests that were started and not closed."""
        self._infos: Final = {ffqn: self._info(function) for ffqn, function in python.items()}

    def _info(self, function: PythonFunction) -> FunctionInfo:
        known = None if self._compiled is None else self._compiled.active(function.ffqn)
        form = ErrForm.NONE if known is None else known.err_form
        return FunctionInfo(function.ffqn, function.kind, PYTHON, form, function.policy)

    def active(self, ffqn: FunctionName) -> FunctionInfo | None:
        """The function, the Python one first."""
        found = self._infos.get(ffqn)
        return found if found is not None or self._compiled is None else self._compiled.active(ffqn)

    def pinned(self, component: Digest, ffqn: FunctionName) -> FunctionInfo | None:
        """The function of that component."""
        if component == PYTHON:
            return self._infos.get(ffqn)
        return None if self._compiled is None else self._compiled.pinned(component, ffqn)

    def typed_params(self, ffqn: FunctionName, params: Json) -> Typed | Rejection:
        """Parameters as a compiled function takes them. A Python function that is alone takes any that its own
        parameters have room for.
        """
        info = self.active(ffqn)
        if info is None:
            return Rejection(RejectReason.FUNCTION_NOT_FOUND)
        if self._compiled is not None and self._compiled.active(ffqn) is not None:
            typed = self._compiled.typed_params(ffqn, params)
            return Typed(typed.params, info) if isinstance(typed, Typed) else typed
        try:
            arguments = _arguments(params)
        except msgspec.MsgspecError as error:
            return Rejection(RejectReason.TYPE_CHECK_ERROR, f"expected a JSON array: {error}")
        function = self._python[ffqn].function
        signature = None if function is None else _signature(function)
        if function is not None and signature is not None:
            first = [None] if info.kind is FunctionKind.WORKFLOW else []
            given = {"attempt": None} if _wants_attempt(function) else {}
            try:
                signature.bind(*first, *arguments, **given)
            except TypeError as error:
                return Rejection(RejectReason.TYPE_CHECK_ERROR, str(error))
        return Typed(to_json(arguments), info)

    def typed_result(self, component: Digest, ffqn: FunctionName, result: Json) -> Ok | Err | Rejection:
        """A result in JSON, `{"ok": …}` or `{"err": …}`."""
        if component != PYTHON:
            assert self._compiled is not None
            return self._compiled.typed_result(component, ffqn, result)
        return _typed_result(self._compiled, ffqn, result)

    def guest(self, component: Digest, ffqn: FunctionName, execution_id: ExecutionId) -> Guest:
        """A guest of a workflow."""
        if component != PYTHON:
            assert self._compiled is not None
            return self._compiled.guest(component, ffqn, execution_id)
        function = self._python[ffqn].function
        assert function is not None
        if inspect.isgeneratorfunction(function):
            return PythonGuest(
                execution_id, lambda _, params: self._flow(ffqn, function, execution_id, params), self.guests
            )
        return ThreadGuest(
            execution_id, lambda perform, params: self._run(ffqn, function, execution_id, perform, params), self.guests
        )

    def _context(self, execution_id: ExecutionId, perform: Perform) -> Context:
        return Context(execution_id, self.typed_params, perform)

    def _run(
        self,
        ffqn: FunctionName,
        function: Callable[..., Any],
        execution_id: ExecutionId,
        perform: Perform,
        params: Json,
    ) -> Ok | Err:
        """A plain function, whose host calls block."""
        try:
            return self._result(ffqn, function(self._context(execution_id, perform), *_arguments(params)))
        except ReturnedErr as err:
            return self._result(ffqn, err)
        except Trap:
            raise
        except Exception as error:
            raise _trap(error) from error

    def _flow(self, ffqn: FunctionName, function: Callable[..., Any], execution_id: ExecutionId, params: Json) -> Flow:
        """A generator, whose host calls are yielded."""
        running: Generator[Any, Any, Any] | None = None
        try:
            running = function(self._context(execution_id, _yielded), *_arguments(params))
            wanted = next(running)
            while True:
                if not isinstance(wanted, Ask):
                    wanted = running.throw(TypeError(f"a workflow yields its host calls, not {wanted!r:.200}"))
                    continue
                reply = yield wanted.call
                try:
                    value = wanted.take(reply)
                except Exception as answer:  # noqa: BLE001 - it is the workflow's to catch
                    wanted = running.throw(answer)
                else:
                    wanted = running.send(value)
        except StopIteration as stop:
            return self._result(ffqn, stop.value)
        except ReturnedErr as err:
            return self._result(ffqn, err)
        except Trap:
            raise
        except Exception as error:
            raise _trap(error) from error
        finally:
            if running is not None:
                running.close()

    def _result(self, ffqn: FunctionName, value: object) -> Ok | Err:
        try:
            return result_of(value, self._compiled, ffqn)
        except (TypeCheckError, TypeError) as error:
            raise _trap(error) from error


def _yielded(ask: Ask[Any], /) -> Any:
    """A generator yields its host calls itself."""
    return ask


def result_of(value: object, types: Registry | None, ffqn: FunctionName) -> Ok | Err:
    """A Python result: a value, or a `ReturnedErr`. `TypeCheckError` when it does not fit the function of that name in
    `types`.
    """
    permanent = isinstance(value, ReturnedErr) and value.permanent
    sides = {"err": value.value} if isinstance(value, ReturnedErr) else {"ok": value}
    typed = _typed_result(types, ffqn, to_json(sides))
    if isinstance(typed, Rejection):
        raise TypeCheckError(f"the result of {ffqn} does not fit its type: {typed.message}")
    return Err(typed.value, permanent=True) if isinstance(typed, Err) and permanent else typed


def _typed_result(types: Registry | None, ffqn: FunctionName, result: Json) -> Ok | Err | Rejection:
    known = None if types is None else types.active(ffqn)
    if types is not None and known is not None:
        return types.typed_result(known.component, ffqn, result)
    try:
        sides = _sides(result)
    except msgspec.MsgspecError as error:
        return Rejection(RejectReason.TYPE_CHECK_ERROR, str(error))
    match list(sides.items()):
        case [("ok", value)]:
            return Ok(_present(value))
        case [("err", value)]:
            return Err(_present(value))
    return Rejection(RejectReason.TYPE_CHECK_ERROR, 'expected {"ok": …} or {"err": …}')


_array: Final = msgspec.json.Decoder(list[Any]).decode
_sides: Final = msgspec.json.Decoder(dict[str, Json]).decode


def _present(value: Json) -> Json:
    return NO_VALUE if bytes(value) == b"null" else Json(bytes(value))


def _arguments(params: Json) -> list[Any]:
    return _array(params)


@cache
def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    """Which parameters a function has; None for a built-in one that does not tell."""
    try:
        return inspect.signature(function)
    except ValueError:
        return None


def _wants_attempt(function: Callable[..., Any]) -> bool:
    signature = _signature(function)
    parameter = None if signature is None else signature.parameters.get("attempt")
    return parameter is not None and parameter.kind is inspect.Parameter.KEYWORD_ONLY


def _text(error: BaseException) -> str:
    said = str(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _trace(error: BaseException) -> str:
    """Where it happened, beginning with the user's own function."""
    at = error.__traceback__
    return "".join(traceback.format_exception(type(error), error, at and at.tb_next)).rstrip()


def _trap(error: Exception) -> Trap:
    return Trap(_text(error), detail=_trace(error))
