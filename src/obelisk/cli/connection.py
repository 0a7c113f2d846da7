"""The way to a server: where it is, and what its refusals mean to somebody at a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import click
import grpc
from click.core import ParameterSource

from obelisk.proto import obelisk_pb2_grpc as pb_grpc

DEFAULT_URL: Final = "http://127.0.0.1:5005"

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)

F = TypeVar("F", bound=Callable[..., Any])


class Connection:
    """A channel to one server. Blocking; nothing is sent before the first call."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._channel = _channel(url)
        self.executions = pb_grpc.ExecutionRepositoryStub(self._channel)
        self.functions = pb_grpc.FunctionRepositoryStub(self._channel)
        self.changes = pb_grpc.ExecutionChangesStub(self._channel)
        self.repair = pb_grpc.ExecutionRepairStub(self._channel)

    def close(self) -> None:
        """Ends it, and every call with it."""
        self._channel.close()

    def explained(self, error: grpc.RpcError) -> click.ClickException:
        """The error for the user: whose fault it is, what happened, what to do."""
        return click.ClickException(_explain(error, self.url))


@contextmanager
def connect(url: str) -> Iterator[Connection]:
    """A connection; what the server refuses within ends the command with exit code 1."""
    connection = Connection(url)
    try:
        yield connection
    except grpc.RpcError as error:
        raise connection.explained(error) from None
    finally:
        connection.close()


def api_url_option(function: F) -> F:
    """`-a/--api-url`: the command gets `api_url`."""
    return click.option(
        "-a",
        "--api-url",
        metavar="URL",
        envvar="OBELISK_API_URL",
        callback=_resolve,
        help=f"Where the server is.  [default: {DEFAULT_URL}]",
    )(function)


def _resolve(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    given: str | None = context.meta.get("obelisk.api_url")
    if given is not None and context.get_parameter_source(parameter.name or "") is not ParameterSource.COMMANDLINE:
        return given  # of `obelisk client -a`: what is written counts more than the environment
    return checked_url(value or DEFAULT_URL)


def checked_url(url: str) -> str:
    """The URL if a server can be there, else `click.BadParameter`."""
    try:
        parts = urlsplit(url)
        is_server = url.isascii() and parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        is_server = is_server and parts.path in {"", "/"} and not (parts.username or parts.query or parts.fragment)
    except ValueError:  # brackets, or a port that is not one
        is_server = False
    if not is_server:
        raise click.BadParameter(f"{url!r} is not the URL of a server; expected for example {DEFAULT_URL}")
    return url


def _channel(url: str) -> grpc.Channel:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    target = f"{host}:{port}"
    if parts.scheme == "https":
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(), options=_OPTIONS)
    return grpc.insecure_channel(target, options=_OPTIONS)


def code_of(error: grpc.RpcError) -> grpc.StatusCode:
    """The status code; the errors of calls are calls themselves, which the types do not tell."""
    code: grpc.StatusCode = getattr(error, "code", lambda: grpc.StatusCode.UNKNOWN)()
    return code


def details_of(error: grpc.RpcError) -> str:
    """What the server, or gRPC itself, says."""
    details: str | None = getattr(error, "details", lambda: str(error))()
    return details or ""


def _explain(error: grpc.RpcError, url: str) -> str:
    details = details_of(error)
    match code_of(error):
        case grpc.StatusCode.UNAVAILABLE if details == "server is shutting down":
            return f"the server at {url} is shutting down; try again once it is back"
        case grpc.StatusCode.UNAVAILABLE:
            return (
                f"no server can be reached at {url} ({details}); start one with `obelisk server run`,"
                " or say where it is with --api-url"
            )
        case grpc.StatusCode.ABORTED if details == "server is shutting down":
            return f"the server at {url} ended the call: {details}"
        case grpc.StatusCode.CANCELLED:  # gRPC's, which says nothing else
            return f"the server at {url} cut off the call, as it does when it stops; try again once it is back"
        case grpc.StatusCode.RESOURCE_EXHAUSTED if "larger than max" in details:  # gRPC's words, not the server's
            return f"the request is too big ({details}); parameters must be smaller than 4 MiB"
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return f"the server is busy: {details}"
        case grpc.StatusCode.UNIMPLEMENTED:
            return f"the server at {url} cannot do that: {details}"
        case grpc.StatusCode.INTERNAL if details.startswith("replay failed: "):
            return details  # no fault of the server
        case grpc.StatusCode.INTERNAL | grpc.StatusCode.UNKNOWN:
            return f"the server failed: {details}"
        case _:
            return details
