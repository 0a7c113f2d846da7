"""Environment variables of guests: which ones they see, and with which values.

Decides what each form of an entry means. The server's own environment is only read where an entry names a variable of it;
what is not there is a problem of the configuration, unless the reader may do without.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from obelisk.config.kinds import Unfit, describe
from obelisk.config.places import Places

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TEMPLATE: Final = re.compile(r"\$\{([^}:-]*)(?:(:?-)([^}]*))?\}")


class EnvironmentVariables(msgspec.Struct, frozen=True):
    """Variables by name, as (name, value)."""

    expected: str = 'an array of "NAME", "NAME=value" and { key = "NAME", value = "…${OTHER}…" }'

    # `expected` and `read` are described once, in the protocol `Kind`.
    def read(self, value: Any, places: Places) -> tuple[tuple[str, str], ...]:  # noqa: D102
        if not isinstance(value, list):
            raise Unfit.of(self.expected, value)
        variables: dict[str, str] = {}
        for index, item in enumerate(value):
            try:
                name, text = self._entry(item, places)
            except Unfit as unfit:
                raise Unfit(str(unfit), f"[{index}]") from None
            if name in variables:
                raise Unfit(f"{name} is set twice; keep one of the two", f"[{index}]")
            variables[name] = text
        return tuple(variables.items())

    def _entry(self, item: Any, places: Places) -> tuple[str, str]:
        match item:
            case str():
                name, given, text = item.partition("=")
                return _checked(name), text if given else _forwarded(name, places)
            case {"key": str() as name, "value": str() as template} if len(item) == 2:
                return _checked(name), _TEMPLATE.sub(lambda found: _interpolated(found, places), template)
        raise Unfit(f'expected "NAME", "NAME=value" or {{ key, value }}; found {describe(item)}')


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise Unfit(f"expected a name of letters, digits and _; found {describe(name)}")
    return name


def _forwarded(name: str, places: Places) -> str:
    found = places.variables.get(name)
    if found is not None:
        return found
    if places.variables_may_be_missing:
        return ""
    raise Unfit(f'the server has no environment variable {name}; set it, or write "{name}=" and a value')


def _interpolated(found: re.Match[str], places: Places) -> str:
    """`${NAME}`, `${NAME-default}` (unset) or `${NAME:-default}` (unset or empty)."""
    name, operator, default = found.groups()
    _checked(name)
    if operator is None:
        return _forwarded(name, places)
    value = places.variables.get(name)
    if value is None or (operator == ":-" and not value):
        return str(default)
    return value
