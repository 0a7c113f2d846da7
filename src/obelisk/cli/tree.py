"""A tree of executions, put together from a change stream.

Decides the order of its rows: an execution before its children, children by creation. Draws nothing.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Final, Literal

from google.protobuf.timestamp_pb2 import Timestamp

from obelisk.cli import texts
from obelisk.proto import obelisk_pb2 as pb

_INDENTS_MAX: Final = 12
_NUMBER: Final = re.compile(r"(\d+)")


@dataclass(slots=True)
class Node:
    """One execution, as last heard of. Instants are microseconds since 1970."""

    execution_id: str
    parent_id: str | None
    label: str
    """The whole id for the top, relative to its parent for all others."""
    function: str
    """Without its interface."""
    ffqn: str
    created_us: int
    status: pb.ExecutionStatus = field(default_factory=pb.ExecutionStatus)
    started_us: int | None = None
    finished_us: int | None = None
    failures: int = 0

    @property
    def state(self) -> str:
        """`OK`, `Error`, `Failed (timed_out)`, `Locked` and so on. Short: a row has no room for why somebody is parked."""
        match self.kind:
            case "parked":
                return "Parked"
            case "failed":
                return f"Failed ({texts.failure_kind(self.status.finished.result_kind.execution_failure_kind)})"
            case _:
                return texts.status(self.status).removeprefix("Finished: ")

    @property
    def kind(self) -> str:
        """Which of the states: `locked`, `finished` …, with `ok`, `error` or `failed` for how it finished."""
        name = self.status.WhichOneof("status") or "unknown"
        if name != "finished":
            return name
        value = self.status.finished.result_kind.WhichOneof("value")
        return "failed" if value == "execution_failure_kind" else str(value)

    def took_us(self, now_us: int) -> int:
        """How long it ran, or has been running."""
        begun = self.created_us if self.started_us is None else self.started_us
        return max(0, (now_us if self.finished_us is None else self.finished_us) - begun)


class Tree:
    """All executions heard of."""

    def __init__(self, top_id: str) -> None:
        self.top_id = top_id
        self._nodes: dict[str, Node] = {}
        self._rows: list[tuple[int, Node]] | None = None
        """What `rows` returned, until somebody new comes."""
        self._heard_us = 0
        self._heard_at = 0.0

    def update(self, message: pb.WatchExecutionsResponse) -> None:
        """Takes in one message of the change stream."""
        self._heard_us, self._heard_at = message.sent_at.ToMicroseconds(), time.monotonic()
        for progress in message.executions:
            self._put(progress)

    def now_us(self) -> int:
        """What the server's clock says by now."""
        return self._heard_us + int((time.monotonic() - self._heard_at) * 1e6)

    def _put(self, progress: pb.ExecutionProgress) -> None:
        summary = progress.summary
        execution_id = summary.execution_id.id
        node = self._nodes.get(execution_id)
        if node is None:
            is_top = execution_id == self.top_id
            node = self._nodes[execution_id] = Node(
                execution_id=execution_id,
                parent_id=None if is_top else execution_id.rpartition(".")[0],
                label=execution_id if is_top else execution_id.rpartition(".")[2],
                function=summary.function_name.function_name,
                ffqn=texts.ffqn(summary.function_name),
                created_us=summary.created_at.ToMicroseconds(),
            )
            self._rows = None
        node.status = summary.current_status
        node.started_us = _us(progress, "first_started_at")
        node.finished_us = _us(progress, "finished_at")
        node.failures = progress.failures

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def top(self) -> Node | None:
        """The top, once it was heard of."""
        return self._nodes.get(self.top_id)

    def rows(self) -> list[tuple[int, Node]]:
        """Depth and node of each execution. The list is not the caller's to change."""
        if self._rows is None:
            self._rows = self._in_order()
        return self._rows

    def _in_order(self) -> list[tuple[int, Node]]:
        children: dict[str | None, list[Node]] = {}
        for node in self._nodes.values():
            children.setdefault(node.parent_id, []).append(node)
        for siblings in children.values():
            siblings.sort(key=lambda node: (node.created_us, _natural(node.label)))

        found: list[tuple[int, Node]] = []
        # By hand: a tree may be deeper than Python recurses.
        waiting = [(0, node) for node in reversed(children.get(None, []))]
        while waiting:
            depth, node = waiting.pop()
            found.append((depth, node))
            waiting += [(depth + 1, child) for child in reversed(children.get(node.execution_id, []))]
        return found


def indented(depth: int, node: Node) -> str:
    """The node's label below its parent's. What is very deep is told by a number, to leave room for all else."""
    if depth <= _INDENTS_MAX:
        return f"{'  ' * depth}{node.label}"
    return f"{'  ' * _INDENTS_MAX}{depth}·{node.label}"


def _us(progress: pb.ExecutionProgress, name: Literal["first_started_at", "finished_at"]) -> int | None:
    if not progress.HasField(name):
        return None
    at: Timestamp = getattr(progress, name)
    return at.ToMicroseconds()


def _natural(label: str) -> list[tuple[int, str]]:
    """Numbers in a label count as numbers: `g:1_10` comes after `g:1_9`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in _NUMBER.split(label)]
