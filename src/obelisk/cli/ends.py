"""How executions end, for whoever waits for it: followed, printed, and as an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import click

from obelisk.cli import documents, texts
from obelisk.cli.connection import Connection
from obelisk.cli.following import Follower
from obelisk.proto import obelisk_pb2 as pb


def tell_created(connection: Connection, execution_id: str, *, follow: bool, no_reconnect: bool, as_json: bool) -> int:
    """Prints the id of an execution that was just created; follows it to its end if that is wanted. The exit code."""
    if not as_json:
        click.echo(execution_id)
    elif not follow:
        click.echo(documents.dumps({"ok": execution_id}))
    if not follow:
        return 0
    follower = Follower(connection, execution_id, reconnect=not no_reconnect, known=True)
    with follower.leaving():
        return follow_to_the_end(follower, execution_id, as_json=as_json)


def follow_to_the_end(follower: Follower, execution_id: str, *, as_json: bool) -> int:
    """Follows to the end and prints it; the exit code."""
    if not as_json and _is_terminal():
        from rich.console import Console

        from obelisk.cli.live import LiveTree

        LiveTree(Console(), execution_id).follow(follower.tree())
        finished = finished_of(follower.states())
        print_end(finished)
    elif as_json:
        finished = finished_of(follower.states())
        click.echo(documents.dumps(documents.document(finished.value)))
    else:
        finished = finished_of(_printing(follower.states()))
        print_end(finished)
    return exit_code(finished)


def _is_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _printing(states: Iterator[Any]) -> Iterator[Any]:
    """Prints a line whenever the state is another one."""
    last = None
    for message in states:
        if not isinstance(message, pb.FinishedStatus):
            status = message.current_status if isinstance(message, pb.ExecutionSummary) else message
            line = texts.status(status)
            if line != last:
                click.echo(line)
            last = line
        yield message


def finished_of(states: Iterator[Any]) -> pb.FinishedStatus:
    """The last message of a stream that is followed to its end."""
    for message in states:
        if isinstance(message, pb.FinishedStatus):
            return message
    raise click.ClickException("the server ended the stream before the execution had finished; ask again")


def print_end(finished: pb.FinishedStatus) -> None:
    """How it ended, and how long it took."""
    took = finished.finished_at.ToMicroseconds() - finished.created_at.ToMicroseconds()
    click.echo(f"Execution finished: {texts.result(finished.value)}\n\nExecution took {texts.seconds(took)}.")


def exit_code(finished: pb.FinishedStatus) -> int:
    """0 if it ended well."""
    return 0 if finished.value.WhichOneof("value") == "ok" else 1
