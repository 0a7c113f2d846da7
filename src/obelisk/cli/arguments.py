"""Arguments and options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from obelisk.core.ids import InvalidId, is_top_level, parse_delay_id, parse_execution_id
from obelisk.core.names import InvalidName, parse_function_name

SHORT: Final = ".../"
"""What a function's short name begins with."""
_LIMIT: Final = 20

F = TypeVar("F", bound=Callable[..., Any])


class ExecutionIdType(click.ParamType):  # type: ignore[type-arg]  # not generic in every release that fits
    """An execution id; anything else makes the command line wrong."""

    name = "ID"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The id as text."""
        try:
            return parse_execution_id(value)
        except InvalidId as error:
            self.fail(str(error), param, ctx)


class NewIdType(ExecutionIdType):
    """The id of an execution that is to be created: a top-level one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The id as text."""
        execution_id = parse_execution_id(super().convert(value, param, ctx))
        if not is_top_level(execution_id):
            self.fail(f"{execution_id} is a derived id; only top-level executions can be created", param, ctx)
        return execution_id


class ExecutionOrDelayIdType(click.ParamType):  # type: ignore[type-arg]
    """The id of an execution or of a delay."""

    name = "ID"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The id as text."""
        try:
            return parse_delay_id(value) if is_delay(value) else parse_execution_id(value)
        except InvalidId as error:
            self.fail(f"{error}, or Delay_ULID.JOINSET_INDEX for a delay", param, ctx)


def is_delay(some_id: str) -> bool:
    """Whether an id is that of a delay."""
    return some_id.startswith("Delay_")


class FunctionType(click.ParamType):  # type: ignore[type-arg]
    """A function's name, whole or short (`.../ifc.fn`)."""

    name = "FUNCTION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name as text, still short if it was."""
        if value.startswith(SHORT) and value.removeprefix(SHORT).count(".") == 1:
            return str(value)
        try:
            return parse_function_name(value)
        except InvalidName as error:
            self.fail(f"{error}, or .../interface.function for short", param, ctx)


def is_short_for(short: str, interface: str, function: str) -> bool:
    """Whether a short name stands for that function; it may leave out the version."""
    wanted, _, name = short.removeprefix(SHORT).rpartition(".")
    last = interface.rpartition("/")[2]
    return name == function and wanted in {last, last.partition("@")[0]}


class TextType(click.ParamType):  # type: ignore[type-arg]
    """Any text; bytes that are none make the command line wrong."""

    name = "TEXT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text."""
        try:
            str(value).encode()
        except UnicodeEncodeError:  # bytes that Python could not decode are surrogates
            self.fail(f"{value!a} is not UTF-8", param, ctx)
        return str(value)


ID: Final = ExecutionIdType()
json_option: Final = click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")
limit_option: Final = click.option(
    "--limit", metavar="N", type=click.IntRange(1), default=_LIMIT, show_default=True, help="Print at most N."
)
VERSION: Final = click.IntRange(0, 2**32 - 1)
"""A place in a log or among responses."""


def id_argument(function: F) -> F:
    """`ID`: the command gets `execution_id`."""
    return click.argument("execution_id", metavar="ID", type=ID)(function)


def follow_options(what: str) -> Callable[[F], F]:
    """`--follow` and `--no-reconnect`; check them with `check_follow`."""

    def decorate(function: F) -> F:
        function = click.option(
            "--no-reconnect", is_flag=True, help="With --follow: give up when the connection breaks."
        )(function)
        return click.option("-f", "--follow", is_flag=True, help=what)(function)

    return decorate


def check_follow(*, follow: bool, no_reconnect: bool) -> None:
    """Refuses the one without the other."""
    if no_reconnect and not follow:
        raise click.UsageError("--no-reconnect needs --follow")
