"""How a function's result in WIT and an outcome of the engine correspond.

Decides which return types make a function callable as an execution, what a `Failure` looks like to a caller whose WIT
does not know of failures, and which errors are permanent. The four return forms: `result`, `result<T>`, and with
`string` or a variant that has the case `execution-failed` as the error.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from obelisk.core.values import NO_VALUE, Err, ErrForm, Failure, Json, Ok, Outcome
from obelisk.wit.codec import ValueCodec, value_codec
from obelisk.wit.types import (
    Borrow,
    Enum,
    Flags,
    List,
    Option,
    Own,
    Prim,
    Record,
    Result,
    Signature,
    Tuple,
    Type,
    Value,
    Variant,
)
from obelisk.wit.writer import json_name

EXECUTION_FAILED: Final = "execution-failed"
"""The string, or the variant case, that a caller gets in place of a failure."""
_PERMANENT: Final = "permanent"
_FAILURE_JSON: Final[dict[ErrForm, tuple[str] | None]] = {
    ErrForm.NONE: None,
    ErrForm.STRING: (f'"{EXECUTION_FAILED}"',),
    ErrForm.VARIANT: (f'"{json_name(EXECUTION_FAILED)}"',),
}


def err_form_of(result: Type | None) -> ErrForm | None:
    """Which return form `result` is; None when it is none of them."""
    match result:
        case Result(_, None):
            return ErrForm.NONE
        case Result(_, Prim.STRING):
            return ErrForm.STRING
        case Result(_, Variant(cases)) if (EXECUTION_FAILED, None) in cases:
            return ErrForm.VARIANT
    return None


def err_form(signature: Signature) -> ErrForm | None:
    """How failures of the function are shown; None when it cannot be an execution (its return form, or a handle)."""
    if has_handles(signature):
        return None
    return err_form_of(signature.result)


def has_handles(signature: Signature) -> bool:
    """Whether a parameter or the result contains a resource: those cannot be stored."""
    types = [type_ for _, type_ in signature.params]
    return any(map(_contains_handle, types)) or _contains_handle(signature.result)


def _contains_handle(type_: Type | None) -> bool:
    match type_:
        case None | Prim() | Enum() | Flags():
            return False
        case List(inner) | Option(inner):
            return _contains_handle(inner)
        case Tuple(items):
            return any(map(_contains_handle, items))
        case Record(members) | Variant(members):
            return any(_contains_handle(member) for _, member in members)
        case Result(ok, err):
            return _contains_handle(ok) or _contains_handle(err)
        case Own() | Borrow():
            return True
    raise AssertionError(f"not a WIT type: {type_!r}")


class OutcomeCodec:
    """The result of one return type, as a WIT value `(ok?, payload)` and as an outcome.

    `permanent`: cases of the error that are permanent, besides those whose names say so. `ValueError` when the type is not one
    of the return forms; `UnsupportedType` when it contains handles.
    """

    __slots__ = ("_err", "_failure", "_ok", "_permanent", "form", "type")

    def __init__(self, type_: Type | None, permanent: tuple[str, ...] = ()) -> None:
        form = err_form_of(type_)
        if form is None or not isinstance(type_, Result):
            raise ValueError(f"not a return type of an execution: {type_!r}")
        self.type = type_
        self.form = form
        self._ok = None if type_.ok is None else value_codec(type_.ok)
        self._err = None if type_.err is None else value_codec(type_.err)
        self._permanent: frozenset[int] = frozenset()
        self._failure: Value = None
        if form is ErrForm.STRING:
            self._failure = EXECUTION_FAILED
        elif isinstance(type_.err, Variant):
            self._failure = (type_.err.cases.index((EXECUTION_FAILED, None)), None)
            self._permanent = frozenset(
                i for i, (name, _) in enumerate(type_.err.cases) if _PERMANENT in name or name in permanent
            )

    def outcome(self, value: Value) -> Ok | Err:
        """What the function returned, to be stored."""
        ok, payload = value
        if ok:
            return Ok(_write(self._ok, payload))
        return Err(_write(self._err, payload), permanent=bool(self._permanent) and payload[0] in self._permanent)

    def value(self, outcome: Outcome) -> Value:
        """What the caller of the function gets; a `Failure` as an error of the declared type."""
        match outcome:
            case Ok(value):
                return (True, None if self._ok is None else self._ok.load(value))
            case Err(value):
                return (False, None if self._err is None else self._err.load(value))
            case Failure():
                return (False, self._failure)

    def payload(self, is_ok: bool) -> Type | None:
        """The type of a side's payload; None: it has none."""
        return self.type.ok if is_ok else self.type.err

    def side(self, is_ok: bool, data: bytes) -> Ok | Err:
        """A result of which the side is known, its payload as JSON; a side without payload takes none of it. `InvalidJson` or
        `ValueMismatch`.
        """
        codec = self._ok if is_ok else self._err
        return self.outcome((is_ok, None if codec is None else codec.decode(data)))

    def decode(self, data: bytes | str | Json) -> Ok | Err:
        """A result that a user wrote, `{"ok": …}` or `{"err": …}`. `InvalidJson` or `ValueMismatch`."""
        return self.outcome(value_codec(self.type).decode(data))


@cache
def outcome_codec(type_: Type | None, permanent: tuple[str, ...] = ()) -> OutcomeCodec:
    """The codec of a return type, compiled once. Arguments and errors as `OutcomeCodec`."""
    return OutcomeCodec(type_, permanent)


def json_result(outcome: Outcome, form: ErrForm) -> Value:
    """An outcome as the WIT value `result<option<string>, option<string>>`, for callers who do not know its type: payloads
    as JSON, none where there is no payload. A `Failure` is shown as the function's `form` says.
    """
    match outcome:
        case Ok(value):
            return (True, _text(value))
        case Err(value):
            return (False, _text(value))
        case Failure():
            return (False, _FAILURE_JSON[form])


def _text(value: Json) -> tuple[str] | None:
    return (bytes(value).decode(),) if value else None


def _write(codec: ValueCodec | None, payload: Value) -> Json:
    return NO_VALUE if codec is None else Json(codec.encode(payload))
