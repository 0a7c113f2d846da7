"""Kinds of values about outgoing HTTP: which hosts are allowed, and which secrets there are.

Like the others, a kind reads one value of TOML. What a policy allows, `obelisk.core.egress` decides.
"""
# ruff: noqa: D102  `expected` and `read` are described once, in the protocol `Kind`

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from obelisk.config.kinds import Unfit, describe
from obelisk.config.places import Places
from obelisk.core.egress import (
    ANY,
    AllowedHost,
    HostPattern,
    InvalidPattern,
    Place,
    parse_host_pattern,
    parse_network,
)

_METHOD: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_SECRET: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEYS: Final = ("pattern", "methods", "request_url_regex", "addresses")
_SECRET_KEYS: Final = ("secrets", "replace_in")


class Secrets(msgspec.Struct, frozen=True):
    """Secrets by name: which variable of the server's environment has the value."""

    expected: str = 'a table of secrets, each NAME = { env = "VARIABLE" }'

    def read(self, value: Any, places: Places) -> dict[str, str]:
        if not isinstance(value, Mapping):
            raise Unfit.of(self.expected, value)
        secrets = {}
        for name, source in value.items():
            if not _SECRET.fullmatch(name):
                raise Unfit(f'expected a name of ASCII letters, digits and _; found "{name}"', f".{name}")
            if not isinstance(source, Mapping) or set(source) != {"env"} or not _is_variable(source["env"]):
                raise Unfit(f'expected {{ env = "VARIABLE" }}; found {describe(source)}', f".{name}")
            secrets[name] = source["env"]
        return secrets


class AllowedHosts(msgspec.Struct, frozen=True):
    """Entries of an egress policy. `secrets`: whether they may name secrets; the operator's own list only allows.

    A secret that is only named, not given a variable, has the empty one: it is one of `[secrets]`.
    """

    with_secrets: bool = True

    @property
    def expected(self) -> str:
        return f"an array of tables with {', '.join(self._keys)}"

    @property
    def _keys(self) -> tuple[str, ...]:
        return (*_KEYS, *_SECRET_KEYS) if self.with_secrets else _KEYS

    def read(self, value: Any, places: Places) -> tuple[AllowedHost, ...]:
        if not isinstance(value, list):
            raise Unfit.of(self.expected, value)
        entries = []
        for index, table in enumerate(value):
            try:
                entries.append(self._entry(table, places))
            except Unfit as unfit:
                raise Unfit(str(unfit), f"[{index}]{unfit.at}") from None
        return tuple(entries)

    def _entry(self, table: Any, places: Places) -> AllowedHost:
        if not isinstance(table, Mapping):
            raise Unfit(f"expected a table with {', '.join(self._keys)}; found {describe(table)}")
        for key in table:
            if key not in self._keys:
                raise Unfit(f"unknown key; known here: {', '.join(self._keys)}", f".{key}")
        if "pattern" not in table:
            raise Unfit('is missing; expected a host such as "https://api.example.com"', ".pattern")
        secrets = _secrets(table.get("secrets", {}), places)
        replace_in = _replace_in(table.get("replace_in", [Place.HEADERS]))
        if "replace_in" in table and not secrets:
            raise Unfit("says where secrets are put, but there are none; add secrets", ".replace_in")
        return AllowedHost(
            pattern=_pattern(table["pattern"]),
            methods=_methods(table.get("methods", [])),
            request_url_regex=_regex(table["request_url_regex"]) if "request_url_regex" in table else None,
            addresses=_addresses(table.get("addresses", [])),
            secrets=secrets,
            replace_in=replace_in,
        )


def _is_variable(value: object) -> bool:
    return isinstance(value, str) and bool(value) and "=" not in value and "\0" not in value


def _pattern(value: Any) -> HostPattern:
    if not isinstance(value, str):
        raise Unfit.of('a host such as "https://api.example.com"', value).within(".pattern")
    try:
        return parse_host_pattern(value)
    except InvalidPattern as invalid:
        raise Unfit(f"expected {invalid}; found {describe(value)}", ".pattern") from None


def _methods(value: Any) -> tuple[str, ...]:
    if value == ANY:
        return (ANY,)
    texts = _texts(value, '"*" or an array of methods', ".methods")
    if not all(map(_METHOD.fullmatch, texts)):
        raise Unfit.of('"*" or an array of methods such as "GET"', value).within(".methods")
    return tuple(dict.fromkeys(text.upper() for text in texts))


def _regex(value: Any) -> str:
    at = ".request_url_regex"
    if not isinstance(value, str):
        raise Unfit.of("a regular expression, as Python's re has them", value).within(at)
    try:
        re.compile(value)
    except re.error as error:
        raise Unfit(f"is not a regular expression: {error}", at) from None
    return value


def _addresses(value: Any) -> tuple[str, ...]:
    expected = 'an array of addresses or networks such as "10.1.0.0/16"'
    try:
        return tuple(map(parse_network, _texts(value, expected, ".addresses")))
    except ValueError as error:
        if isinstance(error, Unfit):
            raise
        raise Unfit(f"expected {expected}; {error}", ".addresses") from None


def _secrets(value: Any, places: Places) -> dict[str, str]:
    if isinstance(value, list):
        names = _texts(value, "an array of names of [secrets]", ".secrets")
        return dict.fromkeys(names, "")
    try:
        return Secrets().read(value, places)
    except Unfit as unfit:
        raise Unfit(str(unfit), f".secrets{unfit.at}") from None


def _replace_in(value: Any) -> tuple[Place, ...]:
    texts = _texts(value, "an array of headers, params and body", ".replace_in")
    try:
        return tuple(dict.fromkeys(map(Place, texts)))
    except ValueError:
        raise Unfit.of("an array of headers, params and body", value).within(".replace_in") from None


def _texts(value: Any, expected: str, at: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Unfit(f"expected {expected}; found {describe(value)}", at)
    return value
