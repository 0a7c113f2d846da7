"""Kinds of values: what the value of a key must look like, and the plain data that it becomes.

A kind reads one value of TOML and either returns what it means or raises `Unfit` with a message that says what was
expected and what was found. It knows nothing of keys, tables and files.
"""
# ruff: noqa: D102  `expected` and `read` are described once, in the protocol `Kind`

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from obelisk.config.places import Places, UnknownPlace
from obelisk.config.settings import SUFFIX, Address, LogFilter
from obelisk.core.calls import LogLevel
from obelisk.core.ids import Digest, InvalidId, parse_digest
from obelisk.core.names import FunctionName, InvalidName, is_word, parse_function_name
from obelisk.core.policy import AllowedPrograms, Blocking

NOT_YET: Final = "known, not available in this version"

COUNT_MAX: Final = 2**63 - 1
_DURATION_US: Final = {"milliseconds": 1_000, "seconds": 1_000_000, "minutes": 60_000_000, "hours": 3_600_000_000}
_DURATION_US_MAX: Final = 100 * 366 * 24 * _DURATION_US["hours"]
_LEVELS: Final = (*LogLevel, "off")
_ADDRESS: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})")
_ENDPOINT: Final = re.compile(r"https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})/?")
_NAME: Final = re.compile(r"[A-Za-z0-9_]+")
_PRAGMA_VALUE: Final = re.compile(r"-?[A-Za-z0-9_]+")
_WORD_OR_NUMBER: Final[tuple[str, ...]] = ()
_PRAGMAS: Final = {
    "cache_size": _WORD_OR_NUMBER,
    "cache_spill": _WORD_OR_NUMBER,
    "busy_timeout": _WORD_OR_NUMBER,
    "checkpoint_fullfsync": _WORD_OR_NUMBER,
    "foreign_keys": _WORD_OR_NUMBER,
    "fullfsync": _WORD_OR_NUMBER,
    "hard_heap_limit": _WORD_OR_NUMBER,
    "journal_mode": ("wal",),
    "journal_size_limit": _WORD_OR_NUMBER,
    "mmap_size": _WORD_OR_NUMBER,
    "page_size": _WORD_OR_NUMBER,
    "secure_delete": _WORD_OR_NUMBER,
    "soft_heap_limit": _WORD_OR_NUMBER,
    "synchronous": ("off", "normal", "full", "extra", "0", "1", "2", "3"),
    "temp_store": _WORD_OR_NUMBER,
    "threads": _WORD_OR_NUMBER,
    "wal_autocheckpoint": _WORD_OR_NUMBER,
}
"""The pragmas that tune, and what they may be set to. SQLite itself takes any name without a word, and some of the others
damage the database or stop the server from using it.
"""
_TARGET: Final = re.compile(r"[A-Za-z0-9_.:-]+")
_TYPE: Final = re.compile(r"[A-Za-z0-9-]+|[<>,_]|\s+")


class Unfit(ValueError):
    """A value that its key cannot have. The message says what was expected and what was found; `at`, which part of the
    value is meant.
    """

    def __init__(self, message: str, at: str = "") -> None:
        super().__init__(message)
        self.at = at

    @classmethod
    def of(cls, expected: str, value: object) -> Unfit:
        """The usual message."""
        return cls(f"expected {expected}; found {describe(value)}")

    def within(self, at: str) -> Unfit:
        """The same, about a part of the value."""
        self.at = at + self.at
        return self


def describe(value: object) -> str:
    """A value of TOML for a message."""
    match value:
        case bool():
            return f"{str(value).lower()} (a boolean)"
        case int():
            return f"{value} (an integer)"
        case float():
            return f"{value} (a float)"
        case str():
            return f'"{value}"'
        case Mapping():
            return f"a table with {', '.join(value)}" if value else "an empty table"
        case list():
            return "an array"
        case _:
            return f"{value} (a date or time)"


class Kind(Protocol):
    """Reads the value of a key."""

    @property
    def expected(self) -> str:
        """What a value must be, for messages and the documentation."""
        ...

    def read(self, value: Any, places: Places) -> Any:
        """What `value` means, or `Unfit`."""
        ...


class Flag(msgspec.Struct, frozen=True):
    """Yes or no."""

    expected: str = "true or false"

    def read(self, value: Any, places: Places) -> bool:
        if not isinstance(value, bool):
            raise Unfit.of(self.expected, value)
        return value


class Count(msgspec.Struct, frozen=True):
    """A whole number; None where it may be, and is, `"unlimited"`."""

    least: int = 0
    most: int = COUNT_MAX
    may_be_unlimited: bool = False

    @property
    def expected(self) -> str:
        bounds = f"{self.least} or more" if self.most == COUNT_MAX else f"{self.least} to {self.most}"
        return f"an integer, {bounds}" + (', or "unlimited"' if self.may_be_unlimited else "")

    def read(self, value: Any, places: Places) -> int | None:
        if self.may_be_unlimited and value == "unlimited":
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not self.least <= value <= self.most:
            raise Unfit.of(self.expected, value)
        return value


class OnlyUnlimited(msgspec.Struct, frozen=True):
    """A limit that can be named already, but not set."""

    expected: str = '"unlimited"'

    def read(self, value: Any, places: Places) -> None:
        if value == "unlimited":
            return
        if isinstance(value, int) and not isinstance(value, bool):
            raise Unfit(f'a limit here is {NOT_YET}; expected "unlimited"; found {describe(value)}')
        raise Unfit.of(self.expected, value)


class Share(msgspec.Struct, frozen=True):
    """A part of a whole."""

    expected: str = "a number, 0 to 1"

    def read(self, value: Any, places: Places) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise Unfit.of(self.expected, value)
        return float(value)


class Choice(msgspec.Struct, frozen=True):
    """One of a few words."""

    of: type[Enum]

    @property
    def expected(self) -> str:
        return "one of " + ", ".join(f'"{member.value}"' for member in self.of)

    def read(self, value: Any, places: Places) -> Enum:
        try:
            return self.of(value)
        except ValueError:
            raise Unfit.of(self.expected, value) from None


class Word(msgspec.Struct, frozen=True):
    """One of a few words that mean nothing to us."""

    words: tuple[str, ...]

    @property
    def expected(self) -> str:
        return "one of " + ", ".join(f'"{word}"' for word in self.words)

    def read(self, value: Any, places: Places) -> str:
        if not isinstance(value, str) or value not in self.words:
            raise Unfit.of(self.expected, value)
        return value


class Duration(msgspec.Struct, frozen=True):
    """A length of time, as microseconds."""

    positive: bool = False

    @property
    def expected(self) -> str:
        more = " above 0" if self.positive else ""
        return f"a duration: exactly one of milliseconds, seconds, minutes, hours, with an integer{more}"

    def read(self, value: Any, places: Places) -> int:
        if not isinstance(value, Mapping) or len(value) != 1:
            raise Unfit.of(self.expected, value)
        ((unit, amount),) = value.items()
        if unit not in _DURATION_US:
            raise Unfit.of(self.expected, value)
        if isinstance(amount, bool) or not isinstance(amount, int) or amount < int(self.positive):
            raise Unfit(f"expected {self.expected}; found {unit} = {describe(amount)}")
        if amount * _DURATION_US[unit] > _DURATION_US_MAX:
            raise Unfit(f"expected a duration of at most 100 years; found {unit} = {describe(amount)}")
        return amount * _DURATION_US[unit]


class SocketAddress(msgspec.Struct, frozen=True):
    """Where to listen."""

    expected: str = 'an address "HOST:PORT" (port 0: any free one)'

    def read(self, value: Any, places: Places) -> Address:
        found = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
        if found is None or int(found[3]) > 65_535:
            raise Unfit.of(self.expected, value)
        return Address(found[1] or found[2], int(found[3]))


class Endpoint(msgspec.Struct, frozen=True):
    """A server to connect to."""

    expected: str = 'a URL "http://HOST:PORT" or "https://HOST:PORT"'

    def read(self, value: Any, places: Places) -> str:
        found = _ENDPOINT.fullmatch(value) if isinstance(value, str) else None
        if found is None or not 1 <= int(found[1]) <= 65_535:
            raise Unfit.of(self.expected, value)
        return str(value).rstrip("/")


class Text(msgspec.Struct, frozen=True):
    """A short text."""

    expected: str = "a text of 1 to 200 characters"

    def read(self, value: Any, places: Places) -> str:
        if not isinstance(value, str) or not 1 <= len(value) <= 200 or not value.isprintable():
            raise Unfit.of(self.expected, value)
        return value


class Folder(msgspec.Struct, frozen=True):
    """A directory, as an absolute path. It need not exist."""

    expected: str = "the path of a directory"

    def read(self, value: Any, places: Places) -> Path:
        return _path(value, places, self.expected)


class ComponentFile(msgspec.Struct, frozen=True):
    """Where a component is: a path, or a table with `path`. References to registries are known, not available yet."""

    expected: str = "the path of a component's file"
    may_be_folder: bool = False

    def read(self, value: Any, places: Places) -> Path:
        if isinstance(value, Mapping) and set(value) in ({"path"}, {"oci"}):
            ((spelling, value),) = value.items()
            if spelling == "oci":
                raise Unfit(f"location.oci is {NOT_YET}; expected {self.expected}")
        for scheme in ("oci://", "gh://"):
            if isinstance(value, str) and value.startswith(scheme):
                raise Unfit(f"{scheme} is {NOT_YET}; expected {self.expected}; found {describe(value)}")
        path = _path(value, places, self.expected)
        if places.files_may_be_missing and not path.exists():
            return path
        if not path.is_file() and not (self.may_be_folder and path.is_dir()):
            what = "a directory" if path.is_dir() else "nothing"
            raise Unfit(f"expected {self.expected}; found {what} at {path}")
        return path


def _path(value: object, places: Places, expected: str) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise Unfit.of(expected, value)
    try:
        return places.resolve(value)
    except UnknownPlace as unknown:
        raise Unfit(f"{unknown}; found {describe(value)}") from None


class Pragmas(msgspec.Struct, frozen=True):
    """Settings of SQLite by name. Numbers and booleans may be written without quotes."""

    expected: str = "a table of SQLite pragmas with words or numbers as values"

    def read(self, value: Any, places: Places) -> dict[str, str]:
        if not isinstance(value, Mapping):
            raise Unfit.of(self.expected, value)
        pragmas = {}
        for written, setting in value.items():
            text = str(setting).lower() if isinstance(setting, bool) else str(setting)
            if not isinstance(setting, (str, int)) or not _PRAGMA_VALUE.fullmatch(text):
                raise Unfit(f"expected {self.expected}; found {written} = {describe(setting)}")
            name = written.lower()
            if name not in _PRAGMAS:
                raise Unfit(f"{written} is not a pragma that can be set here; those are {', '.join(_PRAGMAS)}")
            if _PRAGMAS[name] and text.lower() not in _PRAGMAS[name]:
                raise Unfit(f"expected {name} to be one of {', '.join(_PRAGMAS[name])}; found {describe(setting)}")
            pragmas[name] = text
        return pragmas


class Levels(msgspec.Struct, frozen=True):
    """Which log lines are shown: a level, and levels for some loggers."""

    expected: str = f'levels such as "info" or "info,obelisk.engine=debug" ({", ".join(_LEVELS)})'

    def read(self, value: Any, places: Places) -> LogFilter:
        if not isinstance(value, str):
            raise Unfit.of(self.expected, value)
        default: str | None = None
        targets: dict[str, str] = {}
        for directive in value.split(","):
            target, separator, level = (part.strip() for part in directive.rpartition("="))
            if level.lower() not in _LEVELS or (separator and not _TARGET.fullmatch(target)):
                raise Unfit.of(self.expected, value)
            if separator:
                targets[target] = level.lower()
            elif default is None:
                default = level.lower()
            else:
                raise Unfit(f"expected one level without a logger; found {describe(value)}")
        return LogFilter(default or "off", targets)


class Name(msgspec.Struct, frozen=True):
    """What a component is called."""

    expected: str = "a name of ASCII letters, digits and _"

    def read(self, value: Any, places: Places) -> str:
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise Unfit.of(self.expected, value)
        return value


class Sources(msgspec.Struct, frozen=True):
    """Source files by the paths in debug information. Whether they are there is seen when they are read."""

    expected: str = (
        'a table with paths in debug information, or ".../" and the end of one, as keys, and paths as values'
    )

    def read(self, value: Any, places: Places) -> dict[str, Path]:
        if not isinstance(value, Mapping):
            raise Unfit.of(self.expected, value)
        sources = {}
        for key, path in value.items():
            if not isinstance(path, str) or not path:
                raise Unfit(f"expected a path; found {describe(path)}", f'."{key}"')
            if key in ("", SUFFIX):
                raise Unfit(f"expected {self.expected}; found the key {describe(key)}")
            try:
                sources[key] = places.resolve(path)
            except UnknownPlace as problem:
                raise Unfit(str(problem), f'."{key}"') from None
        return sources


class Function(msgspec.Struct, frozen=True):
    """A fully qualified function name."""

    expected: str = 'a function name "namespace:package/interface.function"'

    def read(self, value: Any, places: Places) -> FunctionName:
        if not isinstance(value, str):
            raise Unfit.of(self.expected, value)
        try:
            return parse_function_name(value)
        except InvalidName:
            raise Unfit.of(self.expected, value) from None


class TypeText(msgspec.Struct, frozen=True):
    """A WIT type without names of its own, as text. Whether there is such a type, the tool that reads the WIT says; here
    it is only made sure that the text is one piece, so that what is wrong with it can be told of its key.
    """

    expected: str = 'a WIT type without braces, such as "list<u8>"'

    def read(self, value: Any, places: Places) -> str:
        if not isinstance(value, str):
            raise Unfit.of(self.expected, value)
        parts = _TYPE.findall(value)
        depth = 0
        for part in parts:
            depth += {"<": 1, ">": -1}.get(part, 0)
            if depth < 0 or (part == "," and not depth):
                raise Unfit.of(self.expected, value)
        if depth or "".join(parts) != value or not value.strip():
            raise Unfit.of(self.expected, value)
        return " ".join(value.split())


class Parameters(msgspec.Struct, frozen=True):
    """The parameters of a function, as (name, type)."""

    expected: str = "an array of { name = …, type = … }"
    type: TypeText = TypeText()

    def read(self, value: Any, places: Places) -> tuple[tuple[str, str], ...]:
        if not isinstance(value, list):
            raise Unfit.of(self.expected, value)
        params: dict[str, str] = {}
        for index, item in enumerate(value):
            if not isinstance(item, Mapping) or set(item) != {"name", "type"}:
                raise Unfit(f"expected {{ name = …, type = … }}; found {describe(item)}", f"[{index}]")
            name = item["name"]
            if not isinstance(name, str) or not is_word(name):
                raise Unfit(f"expected a name such as first-name; found {describe(name)}", f"[{index}].name")
            if name in params:
                raise Unfit(f"{describe(name)} is the name of another parameter too", f"[{index}].name")
            try:
                params[name] = self.type.read(item["type"], places)
            except Unfit as unfit:
                raise Unfit(str(unfit), f"[{index}].type") from None
        return tuple(params.items())


class ContentDigest(msgspec.Struct, frozen=True):
    """What a file's digest must be."""

    expected: str = '"sha256:" and 64 lower-case hexadecimal digits'

    def read(self, value: Any, places: Places) -> Digest:
        if not isinstance(value, str):
            raise Unfit.of(self.expected, value)
        try:
            return parse_digest(value)
        except InvalidId:
            raise Unfit.of(self.expected, value) from None


class Allowed(msgspec.Struct, frozen=True):
    """Which programs of the host may be run."""

    expected: str = 'true, false, or a table { name = "sha256:…" } (or an array of such digests)'

    def read(self, value: Any, places: Places) -> AllowedPrograms:
        if isinstance(value, bool):
            return AllowedPrograms(all=value)
        if not isinstance(value, Mapping):
            raise Unfit.of(self.expected, value)
        digests = {}
        for name, written in value.items():
            several = written if isinstance(written, list) else [written]
            try:
                digests[name] = tuple(ContentDigest().read(each, places) for each in several)
            except Unfit as unfit:
                raise Unfit(str(unfit), f".{name}") from None
        return AllowedPrograms(digests=digests)


class Cgroup(msgspec.Struct, frozen=True):
    """Below which cgroup others are made."""

    expected: str = '"auto", "none", or the absolute path of a cgroup (version 2)'

    def read(self, value: Any, places: Places) -> str:
        if not isinstance(value, str) or not (value in {"auto", "none"} or value.startswith("/")):
            raise Unfit.of(self.expected, value)
        return value


class BlockingStrategy(msgspec.Struct, frozen=True):
    """What happens to an instance that blocks."""

    expected: str = '"await", "interrupt", or { kind = "await", non_blocking_event_batching = N }'

    def read(self, value: Any, places: Places) -> Blocking:
        kind = value
        if isinstance(value, Mapping):
            kind = value.get("kind")
            batching = value.get("non_blocking_event_batching", 0)
            if set(value) - {"kind", "non_blocking_event_batching"} or not isinstance(batching, int):
                raise Unfit.of(self.expected, value)
            if kind != Blocking.AWAIT and "non_blocking_event_batching" in value:
                raise Unfit.of(self.expected, value)
        if not isinstance(kind, str) or kind not in list(Blocking):
            raise Unfit.of(self.expected, value)
        return Blocking(kind)
