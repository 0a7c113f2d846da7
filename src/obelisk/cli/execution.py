"""`obelisk execution`: submitting executions, seeing what became of them, and doing something about it."""

from __future__ import annotations

import click

from obelisk.cli import backtraces, logs, operations, reading, repairing, replaying, submitting


@click.group("execution")
def execution() -> None:
    """Submit executions, see what became of them, and do something about it."""


execution.add_command(submitting.submit)
execution.add_command(reading.status)
execution.add_command(reading.status, "get")
for _command in (
    reading.result,
    reading.list_,
    reading.events,
    reading.responses,
    reading.trace,
    logs.logs,
    operations.cancel,
    operations.pause,
    operations.unpause,
    operations.stub,
    backtraces.backtrace,
    backtraces.persist_backtraces,
    replaying.replay,
    replaying.advance,
    replaying.upgrade,
    repairing.fork,
    repairing.resume,
    repairing.fail,
):
    execution.add_command(_command)
