"""Exported functions whose mistakes can be read.

An exception that leaves a component is a trap, which has no text. What it says is logged before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import wraps
from types import FunctionType, TracebackType
from typing import Any, Final, TypeVar

from obelisk_guest.world import Err, imported

C = TypeVar("C", bound=type)

_SHOWN: Final = 20
"""Calls of one exception; of a deeper one the last ones are shown."""


def exported(cls: C) -> C:
    """For the class of an exported interface: an exception other than `Err` that leaves a method is logged with its traceback
    before it traps, as an error. `Err` is a result, and passes. The world must import `obelisk:log/log`.
    """
    log = imported("log", "exported")
    depth = 0

    def logged(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal depth
            depth += 1
            try:
                return method(*args, **kwargs)
            except Err:
                raise
            except BaseException as error:
                if depth == 1:  # else it only leaves one method for another, which may catch it
                    with suppress(NotImplementedError):  # in plain Python the bindings are only signatures
                        log.error(told(error))
                raise
            finally:
                depth -= 1

        return call

    for base in reversed(cls.__mro__[:-1]):
        for name, each in list(vars(base).items()):
            if name.startswith("_"):
                continue
            if isinstance(each, FunctionType):
                setattr(cls, name, logged(each))
            elif isinstance(each, staticmethod | classmethod):
                setattr(cls, name, type(each)(logged(each.__func__)))
    return cls


def told(error: BaseException) -> str:
    """An exception as Python prints it. Not by `traceback`: that reads the sources, which a component does not have."""
    parts: list[str] = []
    known: list[BaseException] = []
    link = ""
    before: BaseException | None = error
    while before is not None and not any(each is before for each in known):
        known.append(before)
        frames = list(_frames(before.__traceback__))
        left_out = [f"  ... {len(frames) - _SHOWN} more"] if len(frames) > _SHOWN else []
        lines = ["Traceback (most recent call last):", *left_out, *frames[-_SHOWN:], _last_line(before)]
        parts = ["\n".join(lines), *([link] if link else []), *parts]
        if before.__cause__ is not None:
            before, link = before.__cause__, "The above exception was the direct cause of the following exception:"
        else:
            before = None if before.__suppress_context__ else before.__context__
            link = "During handling of the above exception, another exception occurred:"
    return "\n\n".join(parts)


def _frames(traceback: TracebackType | None) -> Iterator[str]:
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename != __file__:
            yield f'  File "{_path(code.co_filename)}", line {traceback.tb_lineno}, in {code.co_qualname}'
        traceback = traceback.tb_next


def _path(path: str) -> str:
    """Without the folder that the source was in when it was built: componentize-py numbers them, `/0/app.py`."""
    parts = path.split("/", 2)
    return parts[2] if len(parts) == 3 and parts[1].isdigit() else path


def _last_line(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - whatever it is, the rest must be told
        text = "<its text cannot be made>"
    return f"{type(error).__qualname__}: {text}" if text else type(error).__qualname__
