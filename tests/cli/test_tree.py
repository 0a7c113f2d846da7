"""The tree of a change stream, and how it is drawn, where it is deep or wide."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from obelisk.cli.gantt import gantt
from obelisk.cli.live import LiveTree
from obelisk.cli.tree import Tree
from obelisk.proto import obelisk_pb2 as pb

TOP = "E_01K42AJA8QHD7D3GTJAYMASFYZ"


def progress(execution_id):
    one = pb.ExecutionProgress()
    one.summary.execution_id.id = execution_id
    one.summary.function_name.function_name = "parent"
    one.summary.function_name.interface_name = "a:b/c"
    one.summary.current_status.finished.result_kind.ok.SetInParent()
    one.summary.created_at.FromMicroseconds(1_000_000)
    one.first_started_at.FromMicroseconds(1_000_000)
    one.finished_at.FromMicroseconds(2_000_000)
    return one


def chain(depth):
    """An execution and `depth` more, each the child of the one before."""
    message = pb.WatchExecutionsResponse(snapshot_complete=True)
    message.executions.extend(progress(TOP + ".o:1-parent_1" * level) for level in range(depth + 1))
    return message


def test_a_tree_may_be_deeper_than_python_recurses():
    tree = Tree(TOP)
    tree.update(chain(2_000))
    assert [depth for depth, _ in tree.rows()] == list(range(2_001))


def test_children_come_after_their_parent_and_before_its_next_sibling():
    tree = Tree(TOP)
    ids = [f"{TOP}{end}" for end in (".g:1_2", "", ".g:1_10", ".g:1_2.o:1-f_1", ".g:1_1", ".g:1_1.o:1-f_1")]
    tree.update(pb.WatchExecutionsResponse(executions=map(progress, ids)))
    assert [(depth, node.label) for depth, node in tree.rows()] == [
        (0, TOP),
        (1, "g:1_1"),
        (2, "o:1-f_1"),
        (1, "g:1_2"),
        (2, "o:1-f_1"),
        (1, "g:1_10"),
    ]


@pytest.mark.parametrize("depth", [12, 13, 200])
def test_what_is_deep_can_still_be_read(depth):
    tree = Tree(TOP)
    tree.update(chain(depth))
    live = LiveTree(Console(file=io.StringIO(), width=80, height=depth + 20), TOP)
    live.follow([chain(depth)])
    for picture in (gantt(tree, 1_000), live.picture()):
        console = Console(file=io.StringIO(), width=100)
        console.print(picture)
        assert isinstance(console.file, io.StringIO)
        lines = [line for line in console.file.getvalue().splitlines() if "o:1-parent_1" in line]
        assert len(lines) == depth
        assert all("parent " in line and "1.000s" in line for line in lines)
        assert (f" {depth}·o:1-parent_1" in lines[-1]) == (depth > 12)


def test_a_change_of_somebody_known_orders_nothing_anew():
    tree = Tree(TOP)
    tree.update(chain(2))
    before = tree.rows()
    changed = progress(f"{TOP}.o:1-parent_1")
    changed.summary.current_status.finished.result_kind.error.SetInParent()
    changed.failures = 2
    tree.update(pb.WatchExecutionsResponse(executions=[changed]))
    assert tree.rows() is before  # eight pictures a second of 20,000 executions must not sort them each time
    assert [(node.kind, node.failures) for _, node in before] == [("ok", 0), ("error", 2), ("ok", 0)]


def test_why_somebody_is_parked_does_not_push_the_rest_away():
    parked = progress(TOP)
    parked.summary.current_status.parked.reason = "no active component exports " + "x" * 200
    tree = Tree(TOP)
    tree.update(pb.WatchExecutionsResponse(executions=[parked]))
    console = Console(file=io.StringIO(), width=80)
    console.print(gantt(tree, 10))
    assert isinstance(console.file, io.StringIO)
    row = console.file.getvalue().splitlines()[1]
    assert "Parked " in row
    assert "parent " in row


@pytest.mark.parametrize("width", [80, 120])
def test_a_failure_leaves_room_for_its_bar(width):
    failed = progress(TOP)
    failed.summary.current_status.finished.result_kind.execution_failure_kind = pb.EXECUTION_FAILURE_KIND_UNCATEGORIZED
    tree = Tree(TOP)
    tree.update(pb.WatchExecutionsResponse(executions=[failed]))
    console = Console(file=io.StringIO(), width=width)
    console.print(gantt(tree, 10))
    assert isinstance(console.file, io.StringIO)
    row = console.file.getvalue().splitlines()[1]
    assert "Failed (" in row
    assert row.count("█") >= 8
