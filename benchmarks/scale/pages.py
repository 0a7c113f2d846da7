"""Pages of lists, over gRPC, by every filter that has an index. What is looked for is often rare, and then it is the oldest."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from serving import Server

from benchmarks.figures import percentile
from benchmarks.scale.filling import Filled, fill
from benchmarks.scale.series import Sample, Series
from benchmarks.servers import FIBO, FLOWS, fibo_toml, flows_toml, serving
from obelisk.proto import obelisk_pb2 as pb

BOUND_MS: Final = 20.0
_LENGTH: Final = 20
_ASKED: Final = 20


def _measure(count: int) -> Sample:
    with tempfile.TemporaryDirectory(prefix="obelisk-scale-") as folder:
        filled = fill(Path(folder), count)
        with serving(fibo_toml() + flows_toml(), database=filled.path) as server:
            return {name: _page_ms(server, request) for name, request in _requests(server, filled)}


def _page_ms(server: Server, request: Any) -> float:
    """The median: what else the machine does is not to be measured here."""
    server.executions.ListExecutions(request)
    taken = []
    for _ in range(_ASKED):
        begun = time.perf_counter()
        server.executions.ListExecutions(request)
        taken.append(1_000 * (time.perf_counter() - begun))
    return percentile(taken, 0.5)


def _requests(server: Server, filled: Filled) -> Iterator[tuple[str, Any]]:
    rare = _summary(server, filled.rare["ok"])
    states = pb.ListExecutionsRequest

    def page(
        name: str, *, top_level_only: bool = True, older_than: str | None = None, **filters: Any
    ) -> tuple[str, Any]:
        pagination = states.OlderThan(length=_LENGTH)
        if older_than is not None:
            pagination.cursor.execution_id.id = older_than
        return name, states(top_level_only=top_level_only, older_than=pagination, **filters)

    def function(**scope: str) -> Mapping[str, Any]:
        return {"function_filter": states.ExecutionFunctionFilter(**scope)}

    yield page("newest")
    yield page("newest, with children", top_level_only=False)
    yield page("from the middle", older_than=filled.common)
    yield "oldest", states(top_level_only=True, newer_than=states.NewerThan(length=_LENGTH))
    yield page("open", hide_finished=True)
    yield page("open, with children", hide_finished=True, top_level_only=False)
    for value in states.ExecutionStateFilter.values():
        if value:
            name = states.ExecutionStateFilter.Name(value).removeprefix("EXECUTION_STATE_FILTER_").lower()
            yield page(name.replace("_", " "), state_filters=[value])
    yield page("common function", **function(function_name=FIBO + "fiboa"))
    yield page("rare function", **function(function_name=FLOWS + "current-id"))
    yield page("rare package", **function(package_name="testing:workflow"))
    yield page("rare component", component_digest=rare.component_digest)
    yield page("rare deployment", deployment_id=rare.deployment_id)
    yield page("id", execution_id_prefix=filled.common)
    yield page("common prefix of ids", execution_id_prefix=filled.common[:4])
    yield page("component type", component_type_filters=[pb.COMPONENT_TYPE_WORKFLOW])


def _summary(server: Server, execution_id: str) -> Any:
    request = pb.ListExecutionsRequest(top_level_only=True, execution_id_prefix=execution_id)
    (found,) = server.executions.ListExecutions(request).executions
    return found


PAGES = Series(
    "pages",
    "Pages of lists over gRPC",
    "executions",
    "ms",
    (100, 10_000, 100_000, 1_000_000),
    _measure,
    bounds={"*": BOUND_MS},
)
