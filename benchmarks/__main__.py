"""`make bench`: the cases; `make bench ARGS=scale`: what grows; `make bench ARGS=step`: where the time of a step goes.
docs/internals/benchmarks.md says more.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "fixtures"))  # the test components, and the harness for servers

from rich.console import Console  # noqa: E402

from benchmarks import chart, machine, report, rounds  # noqa: E402
from benchmarks.contenders import contenders  # noqa: E402
from benchmarks.figures import BY_NAME, CASES, Results  # noqa: E402
from benchmarks.scale.measuring import SERIES, scale  # noqa: E402
from benchmarks.step import measuring as step_measuring  # noqa: E402
from benchmarks.step import report as step_report  # noqa: E402


def main() -> int:
    """Measures what was asked for, or draws what was measured before."""
    arguments = _arguments()
    console = Console(width=None if sys.stdout.isatty() else 160)
    progress = Console(stderr=True, highlight=False)
    if arguments.scale is not None:
        text, drawings, problems = scale(arguments.scale or list(SERIES), console, progress.print)
        _write(arguments.json, text)
        for name, drawing in drawings.items():
            _write(arguments.charts and arguments.charts / f"scale-{name}.svg", drawing)
        return 1 if problems else 0
    if arguments.step:
        if arguments.draw is not None:
            found = step_report.from_json(arguments.draw.read_text(encoding="utf-8"))
        else:
            found = step_measuring.measure(arguments.steps, arguments.rounds, progress.print, rounds.wait_for_quiet)
            _write(arguments.json, step_report.as_json(found))
        step_report.show(found, console)
        _write(arguments.chart, step_report.picture(found))
        return 0
    if arguments.draw is not None:
        results, notes = report.from_json(arguments.draw.read_text(encoding="utf-8"))
    else:
        results, notes = _measure(arguments, progress)
        _write(arguments.json, report.as_json(results, notes, machine.describe()))
    report.show(results, notes, console)
    _write(arguments.chart, chart.bars(results))
    return 1 if any(" in " in name for name in results.absent) else 0


def _measure(arguments: argparse.Namespace, progress: Console) -> tuple[Results, dict[str, str]]:
    there, absent = contenders(peers=not arguments.no_peers)
    if arguments.only:
        there = [each for each in there if each.name in {*arguments.only, report.OURS, "floor"}]
    progress.print(", ".join(f"{name} {value}" for name, value in machine.describe().items()))
    for name, why in absent.items():
        progress.print(f"without {name}: {why}")
    try:
        results = rounds.run(_chosen(arguments.case), there, arguments.rounds, progress.print)
    finally:
        for each in there:
            each.close()
    results.absent |= absent
    return results, {each.name: each.note for each in there}


def _chosen(wanted: list[str]) -> list[str]:
    """Cases by name or letter: the floors always, and first, beside A, which is compared with them."""
    letters = {case.letter: case.name for case in CASES}
    names = {letters.get(name.upper(), name) for name in wanted} or set(BY_NAME)
    return ["floors", *(case.name for case in CASES if case.name in names - {"floors"})]


def _arguments() -> argparse.Namespace:
    names = [*BY_NAME, *(case.letter for case in CASES), *(case.letter.lower() for case in CASES)]
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument(
        "case", nargs="*", choices=[[], *names], metavar="CASE", help=f"{', '.join(BY_NAME)}; default: all"
    )
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--no-peers", action="store_true", help="Obelisk and the floors only")
    parser.add_argument("--only", action="append", metavar="NAME", help="Obelisk and this contender; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value of every round")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw the chart of the README")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="show a JSON file of --json again, measuring nothing")
    parser.add_argument("--charts", type=Path, metavar="FOLDER", help="of scale: a chart for each series")
    if len(sys.argv) > 1 and sys.argv[1] == "scale":
        parser.set_defaults(scale=[])
        scaling = argparse.ArgumentParser(prog="benchmarks scale", description="Costs as work grows.")
        scaling.add_argument(
            "scale", nargs="*", choices=[[], *SERIES], metavar="SERIES", help=f"{', '.join(SERIES)}; default: all"
        )
        scaling.add_argument("--json", type=Path, metavar="FILE")
        scaling.add_argument("--charts", type=Path, metavar="FOLDER")
        scaling.set_defaults(step=False)
        return scaling.parse_args(sys.argv[2:])
    if len(sys.argv) > 1 and sys.argv[1] == "step":
        return _step_arguments(sys.argv[2:])
    parser.set_defaults(scale=None, step=False)
    return parser.parse_args()


def _step_arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks step", description="Where the time of a step goes.")
    parser.add_argument("--steps", type=int, default=step_measuring.STEPS, help="of a round; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=step_measuring.ROUNDS, help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw them")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="show a JSON file of --json again, measuring nothing")
    parser.set_defaults(scale=None, step=True)
    return parser.parse_args(words)


def _write(path: Path | None, text: str) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
