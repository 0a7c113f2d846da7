"""A tree of executions against time: one bar per execution, sequential ones one after another, concurrent ones together.

Decides the drawing only. `░` is waiting to be started, `█` is running; each bar is at least one cell.
"""

from __future__ import annotations

from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from obelisk.cli import texts
from obelisk.cli.tree import Node, Tree, indented

COLOURS: Final = {
    "ok": "green",
    "error": "red",
    "failed": "red",
    "locked": "cyan",
    "blocked_by_join_set": "blue",
    "pending_at": "yellow",
    "parked": "magenta",
    "paused": "magenta",
    "cancelling": "red",
}
_WAITING: Final = "░"
_RUNNING: Final = "█"
_BAR_MIN: Final = 20
_BAR_LEAST: Final = 8
"""Even beside a failure, on a terminal of 80 columns."""


class Bar:
    """A bar of one execution, as wide as there is room. Positions are fractions of the whole time."""

    def __init__(self, created: float, started: float, ended: float, colour: str) -> None:
        self._created = created
        self._started = started
        self._ended = ended
        self._style = Style(color=colour)

    def cells(self, width: int) -> tuple[int, int, int]:
        """Cells before it, cells waiting, cells running; together at most `width`."""
        before = min(int(self._created * width), width - 1)
        begin = min(max(before, int(self._started * width)), width - 1)
        end = min(max(begin + 1, int(self._ended * width)), width)
        return before, begin - before, end - begin

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        before, waiting, running = self.cells(options.max_width)
        yield Segment(" " * before)
        yield Segment(_WAITING * waiting, Style(dim=True))
        yield Segment(_RUNNING * running, self._style)
        yield Segment(" " * (options.max_width - before - waiting - running))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(_BAR_MIN, options.max_width), options.max_width)


class Scale:
    """The ends of the time axis, above the bars."""

    def __init__(self, span_us: int) -> None:
        self._end = texts.seconds(span_us)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Segment(f"0s{self._end:>{max(0, options.max_width - 2)}}", Style(dim=True))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(_BAR_MIN, options.max_width), options.max_width)


def gantt(tree: Tree, rows_max: int) -> Table:
    """The tree as a table of at most `rows_max` executions; the last line tells how many more there are."""
    rows, now_us = tree.rows(), tree.now_us()
    begin = min((node.created_us for _, node in rows), default=0)
    end = max((node.finished_us or now_us for _, node in rows), default=0)
    span = max(1, end - begin)
    table = Table(box=None, expand=True, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("execution", no_wrap=True)
    table.add_column("function", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column(Scale(span), ratio=1, min_width=_BAR_LEAST, no_wrap=True)
    for depth, node in rows[:rows_max]:
        table.add_row(
            _label(depth, node),
            node.function,
            state(node),
            texts.seconds(node.took_us(now_us)),
            _bar(node, begin, span, now_us),
        )
    if len(rows) > rows_max:
        table.add_row(f"… {len(rows) - rows_max} more")
    return table


def state(node: Node) -> Text:
    """The state in its colour, with the number of failed attempts."""
    failed = f" (attempt {node.failures + 1})" if node.failures else ""
    return Text(node.state + failed, style=COLOURS.get(node.kind, ""))


def _label(depth: int, node: Node) -> Text:
    return Text(indented(depth, node), style="bold" if depth == 0 else "")


def _bar(node: Node, begin: int, span: int, now_us: int) -> Bar:
    ended = now_us if node.finished_us is None else node.finished_us
    started = node.started_us if node.started_us is not None else ended
    return Bar(
        (node.created_us - begin) / span,
        (started - begin) / span,
        (ended - begin) / span,
        COLOURS.get(node.kind, "white"),
    )
