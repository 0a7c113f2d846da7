"""The gRPC door: a port, the services behind it, reflection and health.

Decides how the port is taken and given back. It is taken before anything else starts, so that a server whose port is in
use has touched nothing; it answers once `serve` is called.
"""

from __future__ import annotations

import logging
import socket
from typing import Any, Final

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from obelisk.api.ports import Catalogue
from obelisk.api.service import Service
from obelisk.proto import obelisk_pb2 as pb
from obelisk.proto import obelisk_pb2_grpc as pb_grpc
from obelisk.server import operations, services

_GRPC_LOG: Final = logging.getLogger("grpc._cython.cygrpc")
REFLECTION: Final = "grpc.reflection.v1.ServerReflection"
RECEIVE_MAX_BYTES: Final = 4 << 20
"""Of one request."""
PENDING_CALLS_MAX: Final = 100_000
"""Calls that were received and not yet begun."""
_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # two servers on one port would share its clients
    ("grpc.max_receive_message_length", RECEIVE_MAX_BYTES),
    ("grpc.max_send_message_length", -1),
    # Beyond this many calls that wait for the loop gRPC answers CANCELLED, which says nothing; the inbox has a limit of
    # its own, and says RESOURCE_EXHAUSTED.
    ("grpc.server.max_pending_requests", PENDING_CALLS_MAX),
    ("grpc.server.max_pending_requests_hard_limit", PENDING_CALLS_MAX),
)


class PortUnavailable(Exception):
    """The operator's address cannot be listened on."""


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a line of gRPC's is about us: clients that go away, or send what is no message, are not worth a line; nor are
    calls that are cut off when the server stops.
    """
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ not in {"ExecuteBatchError", "DecodeError", "CancelledError"}


class GrpcDoor:
    """One port. Made and used on the event loop's thread."""

    def __init__(self) -> None:
        _GRPC_LOG.addFilter(_is_ours)  # once, however often: it is the same function
        self._server = grpc.aio.server(options=_OPTIONS)
        self._health = health.aio.HealthServicer()

    def bind(self, host: str, port: int) -> int:
        """Takes the port; 0 takes any. Returns the one taken. `PortUnavailable`."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            return self._server.add_insecure_port(address)
        except RuntimeError:
            raise PortUnavailable(
                f"cannot listen on {address}: {_why(host, port)}; stop what listens there, or choose another"
                " api.listening_addr"
            ) from None

    async def serve(self, service: Service, catalogue: Catalogue) -> None:
        """Begins to answer."""
        methods: Any = _Methods()
        pb_grpc.add_ExecutionRepositoryServicer_to_server(services.ExecutionRepository(service, catalogue), methods)
        pb_grpc.add_FunctionRepositoryServicer_to_server(services.FunctionRepository(service), methods)
        pb_grpc.add_ExecutionCallsServicer_to_server(services.ExecutionCalls(service), methods)
        pb_grpc.add_ExecutionChangesServicer_to_server(services.ExecutionChanges(service), methods)
        pb_grpc.add_ExecutionRepairServicer_to_server(operations.ExecutionRepair(service), methods)
        names = [each.full_name for each in pb.DESCRIPTOR.services_by_name.values()]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, methods)
        _add_reflection([*names, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name], methods)
        self._server.add_generic_rpc_handlers((methods,))
        for name in ["", *names]:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Refuses new calls, gives open ones `grace_s` seconds to end, then ends them."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)


class _Methods(grpc.GenericRpcHandler):
    """The methods of all services, in one table.

    In the place of a server for the code that adds services to one. That would register each method with gRPC's core, which
    then has one open request for each method, and `grpc.aio` looks at all of them again for each call: with 50 methods that
    is dearer than the rest of a call. So there is one request, for whatever comes.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """The same that `add_registered_method_handlers` is given."""

    def add_registered_method_handlers(
        self, service: str, handlers: dict[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Takes the methods of a service."""
        for name, handler in handlers.items():
            self._handlers[f"/{service}/{name}"] = handler

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The method that is called."""
        return self._handlers.get(handler_call_details.method)


def _add_reflection(names: list[str], methods: _Methods) -> None:
    """Both versions of the protocol: they differ in the name of their package only."""
    known = [*names, reflection.SERVICE_NAME, REFLECTION]
    handler = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer(known).ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for version in (reflection.SERVICE_NAME, REFLECTION):
        methods.add_registered_method_handlers(version, {"ServerReflectionInfo": handler})


def _why(host: str, port: int) -> str:
    """The system's reason for refusing the address; gRPC tells none."""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                probe.listen(1)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return "it was in use a moment ago"
