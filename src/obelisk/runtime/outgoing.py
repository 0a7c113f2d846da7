"""HTTP of activities, as a process has it: connections, and the operator's secrets.

Decides where the values of secrets come from and when: from the environment of the process, at a start or a redeployment;
each variable is taken out of it, so that no child process has it. They are kept in memory and nowhere else.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING

from obelisk.config.settings import Config
from obelisk.core.egress import EgressPolicy
from obelisk.core.events import TRACING
from obelisk.core.ids import ExecutionId
from obelisk.core.spans import Traceparent, execution_span, trace_of
from obelisk.runtime.clock import Clock
from obelisk.runtime.io_loop import IoLoop

if TYPE_CHECKING:  # imported with the first component that has a use for it, see `wasm.wasi.tables`
    from obelisk.wasm.wasi.http.client import HttpClient
    from obelisk.wasm.wasi.http.connecting import Connections


class Secrets:
    """The values of secrets, by variable."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._environ = environ
        self._values: dict[str, bytes] = {}

    def take(self, config: Config) -> list[str]:
        """Takes those that the components of a configuration may send; what is wrong with them."""
        problems = []
        for component in config.components:
            for name, variable in _named(component.sandbox.http):
                problem = self._take(variable)
                if problem is not None:
                    problems.append(f"{component.title}: secret {name}: {problem}")
        return problems

    def of(self, policy: EgressPolicy) -> dict[str, bytes]:
        """Those of a policy whose secrets were taken, by name."""
        return {name: self._values[variable] for name, variable in _named(policy)}

    def _take(self, variable: str) -> str | None:
        value = self._environ.get(variable)
        if value is None:
            if variable in self._values:
                return None
            return (
                f"the environment variable {variable} is not set; set it, or take the secret out of the configuration"
            )
        from obelisk.wasm.wasi.http.placeholders import unfit_value

        encoded = value.encode(errors="surrogateescape")
        unfit = unfit_value(encoded)
        if unfit is not None:
            return f"the value of the environment variable {variable} cannot be one: {unfit}"
        self._values[variable] = encoded
        del self._environ[variable]
        return None


class Outgoing:
    """What all attempts of a process share."""

    def __init__(self, io: IoLoop, clock: Clock, secrets: Secrets, *, traces_all: bool = False) -> None:
        """`traces_all`: executions that no client put into a trace send one along too, their own."""
        self._io = io
        self._now = clock.now
        self._secrets = secrets
        self._connections: Connections | None = None
        self._one_makes_them = threading.Lock()
        self._traces_all = traces_all

    def client(self, policy: EgressPolicy, execution_id: ExecutionId, trace_context: Mapping[str, str]) -> HttpClient:
        """For one attempt; from any thread. `trace_context`: metadata of its execution."""
        from obelisk.wasm.wasi.http.client import HttpClient

        context = {key.removeprefix(TRACING): value for key, value in trace_context.items()}
        if self._traces_all:
            trace = trace_of(execution_id, trace_context)
            parent = Traceparent(trace.trace_id, execution_span(execution_id), trace.flags)
            context = {"traceparent": str(parent), "tracestate": trace.state}
        return HttpClient(self._shared(), policy, self._now, self._secrets.of(policy), context)

    def _shared(self) -> Connections:
        from obelisk.wasm.wasi.http.connecting import Connections

        with self._one_makes_them:
            if self._connections is None:
                self._connections = Connections()
            return self._connections

    def stop(self) -> None:
        """Closes the connections that were kept. The attempts must have ended."""
        if self._connections is not None and self._io.is_running:
            self._io.run(_close(self._connections))


async def _close(connections: Connections) -> None:
    connections.close()
    await asyncio.sleep(0)


def _named(policy: EgressPolicy) -> Iterator[tuple[str, str]]:
    for entry in policy.allowed:
        yield from entry.secrets.items()
