"""Parameters of a function as they are written on a command line.

    (none)            []
    '[40, 10]'        one argument is the whole JSON array
    40 10             several are one JSON value each
    -- 40             so is a single one after --
    @FILE             in place of any of these: what FILE holds

Decides the grammar only; whether the values fit the function is checked by the server.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


class NotJson(click.UsageError):
    """A parameter that is not JSON: the command line is wrong."""


def params_json(arguments: tuple[str, ...], *, separate: bool) -> bytes:
    """The JSON array that the arguments mean, in the user's own spelling.

    `separate`: there was a `--` before them, so that even a single one is a value of its own. `NotJson`.
    """
    texts = [_content(argument) for argument in arguments]
    if len(texts) == 1 and not separate:
        if not isinstance(_parse(texts[0], "Parameters"), list):
            one = _shortened(texts[0])
            raise NotJson(f"Parameter provided as JSON must be a JSON array: write '[{one}]', or {one} after --")
        return texts[0].encode()
    for number, text in enumerate(texts, 1):
        _parse(text, f"{number}-th parameter")
    return f"[{','.join(texts)}]".encode()


def value_json(argument: str, what: str) -> bytes:
    """One JSON value, or what a file holds, in the user's own spelling. `NotJson`."""
    text = _content(argument)
    _parse(text, what)
    return text.encode()


def _content(argument: str) -> str:
    if not argument.startswith("@"):
        try:
            argument.encode()
        except UnicodeEncodeError:  # bytes that Python could not decode are surrogates
            raise NotJson(f"{_shortened(argument)!a} is not UTF-8") from None
        return argument
    try:
        return Path(argument[1:]).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise NotJson(f"cannot read {argument[1:]}: {error}") from None


def _parse(text: str, what: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise NotJson(f"cannot parse {what} as JSON: {error}; it was: {_shortened(text)}") from None


def _refuse(constant: str) -> None:
    raise ValueError(f'{constant} is not JSON, write "{constant}"')


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
