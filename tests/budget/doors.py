"""The doors over a runtime that is cranked by hand: the rpcs as gRPC calls them, without gRPC."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

from cranked import Cranked

from obelisk.api.service import Service
from obelisk.proto import obelisk_pb2 as pb
from obelisk.runtime.runtime import Runtime
from obelisk.server.services import ExecutionCalls


class _Context:
    """What gRPC gives an rpc, as far as one that succeeds looks at it."""

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("user-agent", "budget"),)


def call(cranked: Cranked, interface: str, function: str, params: bytes, count: int) -> list[bytes]:
    """`SubmitAndWait`, `count` times at once; what was returned."""
    nothing: Any = None
    with ExitStack() as stack:
        runtime = Runtime(
            cranked.store,
            cranked.deployed,
            cranked.driver,
            nothing,
            cranked.clock,
            cranked.changes,
            cranked.line_changes,
            nothing,
            nothing,
            nothing,
            nothing,
            stack,
        )
        service = Service(runtime)
        stack.callback(service.close)
        rpcs = ExecutionCalls(service)

        async def calls() -> list[pb.SubmitAndWaitResponse]:
            running = []
            for _ in range(count):
                request = pb.SubmitRequest(
                    execution_id=pb.ExecutionId(id=cranked.new_id()),
                    function_name=pb.FunctionName(interface_name=interface, function_name=function),
                )
                request.params.value = params
                running.append(asyncio.ensure_future(rpcs.SubmitAndWait(request, _Context())))
            await asyncio.sleep(0)
            cranked.crank()
            return await asyncio.gather(*running)

        return [answer.finished_status.value.ok.return_value.value for answer in asyncio.run(calls())]
