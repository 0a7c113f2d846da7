"""The follow view on a terminal: a tree of the execution and its children, redrawn while they run.

Decides what is shown when there is more than fits: those that run, then those that ended last.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterable
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from obelisk.cli import texts
from obelisk.cli.gantt import state
from obelisk.cli.tree import Node, Tree, indented
from obelisk.proto import obelisk_pb2 as pb

_PER_SECOND: Final = 8
_LINES_KEPT: Final = 4
"""Lines of the terminal that the tree leaves free."""


class LiveTree:
    """A tree on a terminal."""

    def __init__(self, console: Console, top_id: str) -> None:
        self._console = console
        self._tree = Tree(top_id)
        self._lock = threading.Lock()  # messages come on one thread, pictures are drawn on another

    def follow(self, messages: Iterable[pb.WatchExecutionsResponse]) -> None:
        """Shows the tree until the stream ends; the last picture stays."""
        with Live(get_renderable=self.picture, console=self._console, refresh_per_second=_PER_SECOND, transient=False):
            for message in messages:
                with self._lock:
                    self._tree.update(message)

    def picture(self) -> RenderableType:
        """The tree as it is now."""
        with self._lock:
            rows, now_us = self._tree.rows(), self._tree.now_us()
        shown = _most_telling(rows, max(1, self._console.height - _LINES_KEPT))
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for column in ("execution", "function", "state", "took"):
            table.add_column(column, no_wrap=True, justify="right" if column == "took" else "left")
        for depth, node in shown:
            table.add_row(
                Text(indented(depth, node), style="bold" if depth == 0 else ""),
                node.function,
                state(node),
                texts.seconds(node.took_us(now_us)) if node.started_us is not None else "",
            )
        hidden = len(rows) - len(shown)
        if not hidden:
            return table
        return Group(table, Text(f"… {hidden} more; {_counts([node for _, node in rows[1:]])}", style="dim"))


def _most_telling(rows: list[tuple[int, Node]], count_max: int) -> list[tuple[int, Node]]:
    if len(rows) <= count_max:
        return rows

    def rank(item: tuple[int, Node]) -> tuple[bool, bool, int]:
        depth, node = item
        is_open = node.finished_us is None and node.started_us is not None
        return depth == 0, is_open, node.finished_us or 0

    chosen = {id(item) for item in heapq.nlargest(count_max, rows, key=rank)}
    return [item for item in rows if id(item) in chosen]


def _counts(nodes: list[Node]) -> str:
    finished = sum(node.finished_us is not None for node in nodes)
    running = sum(node.finished_us is None and node.started_us is not None for node in nodes)
    waiting = len(nodes) - finished - running
    parts = [(finished, "finished"), (running, "running"), (waiting, "waiting")]
    return f"in all {', '.join(f'{count} {name}' for count, name in parts if count)}"
