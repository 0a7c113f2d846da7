"""Following an execution over a connection that may break.

Decides when a broken stream is opened again: when it broke because the server went away, after a second, for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import click
import grpc

from obelisk.cli.connection import Connection, code_of, details_of
from obelisk.proto import obelisk_pb2 as pb

RECONNECT_S: Final = 1.0

# CANCELLED by the server, which gives calls that do not end this answer when it stops.
_GONE: Final = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.CANCELLED}

T = TypeVar("T")


class Follower:
    """Streams of one execution. `known`: the server was reached before, so that it is worth waiting for."""

    def __init__(self, connection: Connection, execution_id: str, *, reconnect: bool, known: bool = False) -> None:
        self._connection = connection
        self._execution_id = pb.ExecutionId(id=execution_id)
        self._reconnect = reconnect
        self._known = known

    @contextmanager
    def leaving(self) -> Iterator[None]:
        """Around following: who leaves early, or loses the server, is told that the execution does not end with that."""
        try:
            yield
            return
        except KeyboardInterrupt:
            click.echo(err=True)  # below ^C
            happened = "stopped following"
        except grpc.RpcError as error:
            if not self._known or code_of(error) not in _GONE:
                raise
            happened = f"lost the server at {self._connection.url} ({details_of(error)})"
        again = f"obelisk execution status --follow {self._execution_id.id}"
        raise click.ClickException(f"{happened}. The execution does not end with that; to see how it does: {again}")

    def states(self) -> Iterator[pb.ExecutionSummary | pb.ExecutionStatus | pb.FinishedStatus]:
        """The summary, each new state, and in the end how it finished. After a break it begins anew."""
        request = pb.GetStatusRequest(execution_id=self._execution_id, follow=True, send_finished_status=True)
        for message in self._unbroken(lambda: self._connection.executions.GetStatus(request)):
            match message.WhichOneof("message"):
                case "summary":
                    yield message.summary
                case "current_status":
                    yield message.current_status
                case "finished_status":
                    yield message.finished_status

    def tree(self) -> Iterator[pb.WatchExecutionsResponse]:
        """The change stream of the execution's tree. After a break it begins anew, with a snapshot."""
        request = pb.WatchExecutionsRequest(execution_id=self._execution_id)
        return self._unbroken(lambda: self._connection.changes.WatchExecutions(request))

    def logs(self, request: pb.ListLogsRequest) -> Iterator[pb.ListLogsResponse.LogEntry]:
        """What was logged, and what is. After a break it goes on where it was."""
        for message in self._unbroken(lambda: self._connection.changes.FollowLogs(request)):
            request.page_token = message.next_page_token
            yield from message.logs

    def _unbroken(self, stream: Callable[[], Iterable[T]]) -> Iterator[T]:
        told = None
        while True:
            try:
                for message in stream():
                    self._known, told = True, None
                    yield message
                return
            except grpc.RpcError as error:
                if not self._reconnect or not self._known or code_of(error) not in _GONE:
                    raise
                reason = details_of(error)
                if reason != told:  # a server may be away for hours
                    click.echo(f"Got error while polling the status, reconnecting - {reason}", err=True)
                told = reason
            time.sleep(RECONNECT_S)
