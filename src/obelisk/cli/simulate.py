"""`obelisk simulate`: a workflow of a configuration in simulated worlds, here and now, without a server.

Decides how the simulator is asked for on a command line, and how its findings are told. It is the one door that needs
`obelisk.testing`; see docs/design/0012-simulate-is-a-door.md.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from obelisk.cli.arguments import SHORT, FunctionType, is_short_for
from obelisk.cli.params import value_json
from obelisk.core.names import FunctionName, InvalidName, function_of, interface_of, parse_function_name

_SEEDS: Final = 100
_CRASH_RATE: Final = 0.1


class ShareType(click.FloatRange):
    """A number from 0 to 1."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; `nan` is in every range, as click sees it."""
        share: float = super().convert(value, param, ctx)
        if math.isnan(share):
            self.fail(f"{value} is not a number from 0 to 1", param, ctx)
        return share


class GivenResultType(click.ParamType):  # type: ignore[type-arg]  # not generic in every release that fits
    """`FFQN=JSON`: a function and its result."""

    name = "FFQN=JSON"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[FunctionName, dict[str, Any]]:
        """The name, and `{"ok": …}` or `{"err": …}`."""
        name, equals, text = str(value).partition("=")
        if not equals:
            self.fail(f'{value} has no "="; write FFQN={{"ok": VALUE}} or FFQN={{"err": VALUE}}', param, ctx)
        try:
            ffqn = parse_function_name(name)
            result = json.loads(text)
        except InvalidName as error:
            self.fail(str(error), param, ctx)
        except (ValueError, RecursionError) as error:
            self.fail(f"cannot parse {text} as JSON: {error}", param, ctx)
        if not isinstance(result, dict) or len(result) != 1 or not result.keys() <= {"ok", "err"}:
            self.fail(f'the result of {ffqn} must be {{"ok": VALUE}} or {{"err": VALUE}}; it was {text}', param, ctx)
        return ffqn, result


@click.command("simulate")
@click.option(
    "-c",
    "--config",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="The configuration; without it the one that a server would find.",
)
@click.option("--function", "function", metavar="FUNCTION", type=FunctionType(), required=True, help="What to run.")
@click.option(
    "--params", metavar="JSON", default="[]", show_default=True, help="Its parameters, a JSON array; or @FILE."
)
@click.option("--seeds", metavar="N", type=click.IntRange(1), default=_SEEDS, show_default=True, help="Try N seeds.")
@click.option("--seed", metavar="K", type=click.IntRange(0), help="Repeat this one seed.")
@click.option(
    "--crash-rate",
    metavar="P",
    type=ShareType(0, 1),
    default=_CRASH_RATE,
    show_default=True,
    help="The share of commits, attempts and moments at which something goes wrong.",
)
@click.option(
    "--nodes", metavar="N", type=click.IntRange(1, 2), help="One engine, or two on one store; without it, both."
)
@click.option(
    "--activity",
    "given",
    type=GivenResultType(),
    multiple=True,
    help="The result of an activity that sends HTTP or has files, or of a stub activity. May be repeated.",
)
@click.option("--any-result", is_flag=True, help="Accept results that depend on the order in which responses arrive.")
@click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def simulate(
    context: click.Context,
    *,
    config: Path | None,
    function: str,
    params: str,
    seeds: int,
    seed: int | None,
    crash_rate: float,
    nodes: int | None,
    given: tuple[tuple[FunctionName, dict[str, Any]], ...],
    any_result: bool,
    as_json: bool,
) -> None:
    """Run a workflow under simulated faults, and tell the first seed that breaks it.

    The workflow runs undisturbed, then with each seed in a simulated world with crashes, lost acknowledgements, late and
    repeated completions, clock jumps and more. Whatever happens, it must replay, keep every invariant, and have the same
    result. Nothing is written but compiled code into its cache, and no time passes but that of computing. Activities
    really run, unless they send HTTP or are given files or addresses.
    """
    data = _params(params)
    from obelisk.testing import ConfigRefused, Simulation, SimulationFailed

    simulation = Simulation()
    try:
        components = simulation.load(config)
    except ConfigRefused as error:
        raise click.ClickException(str(error)) from None
    ffqn = _resolve(function, components.functions())
    for name, result in given:
        try:
            simulation.give(name, result)
        except (LookupError, ValueError) as error:
            raise click.UsageError(f"--activity: {error.args[0]}") from None
    missing = [name for name in components.needed_results(ffqn) if name not in dict(given)]
    if missing:
        wanted = " ".join(f"--activity '{name}={{\"ok\": VALUE}}'" for name in missing)
        raise click.UsageError(
            f"{ffqn} calls what the simulator cannot run (activities that reach something outside, stub activities); give"
            f" the results: {wanted}"
        )
    with _progress(1 if seed is not None else seeds) as after_seed:
        try:
            report = simulation.run(
                ffqn,
                data,
                seeds=seeds,
                seed=seed,
                crash_rate=crash_rate,
                nodes=nodes,
                any_result=any_result,
                progress=after_seed,
            )
        except (LookupError, ValueError) as error:
            raise click.UsageError(error.args[0]) from None
        except SimulationFailed as failed:
            failure: SimulationFailed = failed
        else:
            click.echo(_dumps({"ok": report.document()}) if as_json else str(report))
            return
    if as_json:
        click.echo(_dumps({"failed": failure.document()}))
    else:
        click.echo(str(failure))
        if failure.seed is not None:
            click.echo(f"\nRepeat it with --seed {failure.seed} --nodes {failure.nodes}.")
    context.exit(1)


def _params(argument: str) -> bytes:
    data = value_json(argument, "--params")
    if not isinstance(json.loads(data), list):
        raise click.UsageError(f"--params must be a JSON array, '[]' for none; it was: {argument:.80}")
    return data


def _dumps(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)


def _resolve(function: str, known: list[FunctionName]) -> FunctionName:
    """The name in full; a short one must fit exactly one function."""
    if not function.startswith(SHORT):
        return FunctionName(function)
    found = [ffqn for ffqn in known if is_short_for(function, interface_of(ffqn), function_of(ffqn))]
    if len(found) == 1:
        return found[0]
    if found:
        raise click.UsageError(f"{function} could be any of {', '.join(found)}; write the one that is meant in full")
    raise click.UsageError(f"no component of the configuration exports {function}; there are: {', '.join(known)}")


@contextmanager
def _progress(seeds: int) -> Iterator[Callable[[int], None]]:
    """Shows how far it is on standard error, if that is a terminal, and takes it away again. Ctrl-C ends the run after
    the seed that is being tried: as an exception it could land inside a callback from wasm. A second one ends the process.
    """
    done, shows = itertools.count(1), _is_terminal()
    interrupts: list[int] = []

    def interrupted(number: int, _frame: object) -> None:
        if interrupts:
            os._exit(130)
        interrupts.append(number)

    def after_seed(_seed: int) -> None:
        if interrupts:
            raise click.Abort
        if shows:
            click.echo(f"\r{next(done)} of {seeds} seeds", nl=False, err=True)

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield after_seed
    finally:
        signal.signal(signal.SIGINT, before)
        if shows:
            click.echo(f"\r{' ' * len(f'{seeds} of {seeds} seeds')}\r", nl=False, err=True)


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
