"""Function names: `namespace:package/interface[@version].function`.

Decides how a fully qualified function name is split and joined, and how extension packages are called.
"""

from __future__ import annotations

import re
from typing import Final, NewType

FunctionName = NewType("FunctionName", str)
"""A fully qualified function name, for example `template-fibo:workflow/fibo-workflow-ifc.fiboa`."""
InterfaceName = NewType("InterfaceName", str)
"""`namespace:package/interface` or `namespace:package/interface@1.2.3`."""

# Each name matches in one way only: guests write names too, and must not make the search for a match take long.
_KEBAB: Final = r"(?:[a-z][0-9a-z]*|[A-Z][0-9A-Z]*)(?:-(?:[0-9a-z]+|[0-9]*[A-Z][0-9A-Z]*))*"
_INTERFACE: Final = re.compile(rf"{_KEBAB}:{_KEBAB}/{_KEBAB}(?:@[0-9A-Za-z.+-]+)?")
_FUNCTION: Final = re.compile(_KEBAB)

EXT_SUFFIX: Final = "-obelisk-ext"
SCHEDULE_SUFFIX: Final = "-obelisk-schedule"
STUB_SUFFIX: Final = "-obelisk-stub"


class InvalidName(ValueError):
    """The caller passed a text that is not a function or interface name."""


def function_name(interface: str, function: str) -> FunctionName:
    """Joins an interface and a bare function name; both are checked."""
    if not _INTERFACE.fullmatch(interface) or not _FUNCTION.fullmatch(function):
        raise InvalidName(
            f"{interface}.{function} is not a function name; expected namespace:package/interface.function"
        )
    return FunctionName(f"{interface}.{function}")


def parse_function_name(text: str) -> FunctionName:
    """`text` as a fully qualified function name, or `InvalidName`."""
    interface, _, function = text.rpartition(".")
    if not _INTERFACE.fullmatch(interface) or not _FUNCTION.fullmatch(function):
        raise InvalidName(f"{text!r} is not a function name; expected namespace:package/interface.function")
    return FunctionName(text)


def is_word(text: str) -> bool:
    """Whether `text` can be the name of a function, parameter or the like: `first-name`."""
    return _FUNCTION.fullmatch(text) is not None


def interface_of(name: FunctionName) -> InterfaceName:
    """The interface part: everything before the last dot (versions contain dots, function names do not)."""
    return InterfaceName(name.rpartition(".")[0])


def function_of(name: FunctionName) -> str:
    """The bare function name."""
    return name.rpartition(".")[2]
