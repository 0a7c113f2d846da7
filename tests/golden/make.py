"""Makes the golden logs of this release: `python tests/golden/make.py`, once, when the release is made.

Decides which executions are recorded. They are executions of real components on a whole runtime; see README.md. It never
touches a folder that is there: what a release wrote stays as it was written.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import obelisk
from obelisk.api.service import Service
from obelisk.core.batch import Snapshot
from obelisk.core.ids import DelayId, ExecutionId
from obelisk.core.names import FunctionName
from obelisk.core.state import ExecutionState, Lifecycle, Status
from obelisk.engine.effects import AnswerKind

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent
FIBO = TESTS.parent / "examples" / "fibo" / "components"

FLOWS = "testing:workflow/flows."
ACTS = "testing:activity/acts."
LONG_MS = 600_000
TIMEOUT_S = 30


@dataclass(frozen=True)
class Generation:
    """How the two generations of the host's packages differ in what is called here."""

    sleep_named: str
    has_optional: bool
    """Whether configs and backtraces may be given, and left out."""

    def optional(self, count: int) -> list[None]:
        return [None] * count if self.has_optional else []


GENERATIONS = {
    "five": Generation("support.sleep-named-bt", has_optional=True),
    "six": Generation("support.sleep", has_optional=False),
}


def module(path: Path) -> Any:
    """A module of the tests, by its path: test folders are not packages."""
    name = f"golden_{path.parent.name}_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


recorded = module(HERE / "recorded.py")


def folder_of(version: str) -> str:
    """The folder of a release: patches write the same logs."""
    return ".".join(version.split(".")[:2])


def main() -> int:
    target = HERE / folder_of(obelisk.__version__)
    if target.exists():
        sys.stderr.write(
            f"{target.name} is there already. What a release wrote is kept as it was written: raise __version__ in\n"
            "src/obelisk/__init__.py for a new release. Only while this one is not out, its folder may be deleted first.\n"
        )
        return 1
    make(target)
    size = sum(path.stat().st_size for path in target.iterdir())
    sys.stdout.write(f"{target}: {len(list(target.glob('*.json')))} executions, {size // 1024} kB\n")
    return 0


def make(target: Path) -> None:
    """Runs and records everything."""
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        stubs = build_components(Path(scratch), made)
        asyncio.run(Making(Path(scratch), made, stubs).everything())
        shutil.copytree(made, target)


def build_components(scratch: Path, made: Path) -> Path:
    """The workflow components, into `made`; the stub activity beside it."""
    tools, calls = module(TESTS / "fixtures" / "components.py"), module(TESTS / "fixtures" / "calls.py")

    def folder(name: str) -> Path:
        path = scratch / name
        path.mkdir()
        return path

    shutil.copyfile(FIBO / "fibo_workflow.wasm", made / "fibo.wasm")
    built = tools.build(folder("fixtures"))
    shutil.copyfile(built.workflow, made / "flows.wasm")
    shutil.copyfile(built.activity, scratch / "acts.wasm")
    source = scratch / "renamed.wat"
    text = (TESTS / "fixtures" / "testing-workflow.wat").read_text()
    assert text.count('"timeout"') == 1
    source.write_text(text.replace('"timeout"', '"renamed"'))
    (made / "renamed.wasm").write_bytes(tools.component(source, scratch / "fixtures" / "wit", "testing-workflow"))
    for generation in (calls.FIVE, calls.SIX):
        number = generation.number
        shutil.copyfile(calls.build(folder(f"calls-{number}"), generation, tools), made / f"calls-{number}.wasm")
        shutil.copyfile(calls.build_flows(folder(f"json-{number}"), generation, tools), made / f"json-{number}.wasm")
    found: Path = calls.build_stubs(folder("stubs"), tools)
    return found


class Making:
    """A runtime, and what is recorded of it."""

    def __init__(self, scratch: Path, made: Path, stubs: Path) -> None:
        self._scratch = scratch
        self._made = made
        self._stubs = stubs
        self._workflows = recorded.Workflows(made)
        self._files = {self._workflows.digest(path.name): path.name for path in made.glob("*.wasm")}
        (scratch / "db").mkdir()

    async def everything(self) -> None:
        try:
            self._start("flows.wasm")
            await self.fibo()
            await self.flows()
            await self.json_flows()
            for number in GENERATIONS:
                await self.host_calls(number)
            await self.only_in_six()
            await self.activities()
            await self.ended_early()
            await self.stood_still()
            await self.forked()
            await self.moved()
        finally:
            self._stop()
            self._workflows.close()

    # --- what is recorded --------------------------------------------------------------------------------------------

    async def fibo(self) -> None:
        for function in ("fiboa", "fiboa-concurrent"):
            await self.run(f"fibo-{function}", f"template-fibo:workflow/fibo-workflow-ifc.{function}", 10, 3)

    async def flows(self) -> None:
        """Every function of the fixture."""
        for function, *params in [
            ("trap",), ("spin",), ("hog",), ("returns-err",), ("current-id",), ("sleeper", 1), ("many-sleeps", 3, 1),
            ("timeout-pattern", 20), ("in-time-pattern", LONG_MS), ("random", 3), ("logs", 5), ("calls-trap",),
            ("calls-fail", 7), ("invoke", "abc"), ("get",), ("get-early",), ("close-then-get",), ("mismatch",),
            ("mismatch-delay",), ("overawait",), ("named-conflict",), ("named", "abc"), ("submit-many", 20), ("parent", 2),
        ]:  # fmt: skip
            await self.run(f"flows-{function}", FLOWS + function, *params)
        await self.run("flows-invoke-refused", FLOWS + "invoke", "not_allowed")
        await self.run("flows-named-refused", FLOWS + "named", "not allowed")

    async def json_flows(self) -> None:
        """Several host calls with JSON and stubs, by both generations."""
        for number in ("five", "six"):
            flows = f"testing:json-{number}/flows."
            await self.run(f"json-{number}-results", flows + "results", '[ "é" ]')
            await self.run(f"json-{number}-results-refused", flows + "results", "[1]")
            await self.run(f"json-{number}-stubbed", flows + "stubbed", "is it?")
            # Paused after each step, so that the child has ended when it is looked at.
            found = await self.submit(flows + "results", '["found"]', paused=True)
            await self.advance(found, 2)
            await self.until(ExecutionId(f"{found}.g:1_1"), lambda state: state.status is Status.FINISHED)
            await self.service.operations.unpause(found)
            await self.end(found)
            self.record(f"json-{number}-results-found", "the child had ended when join-next-try looked", found)
        await self.run("json-six-kind", "testing:json-six/kinds.kind")

    async def host_calls(self, number: str) -> None:
        """One host call each, by a generation of the host's packages."""
        more = GENERATIONS[number]

        async def call(name: str, function: str, *params: Any, optional: int = 1) -> ExecutionId:
            """`optional`: how many parameters more there are in the generation that has them."""
            given = [*params, *more.optional(optional)]
            return await self.run(f"calls-{number}-{name}", f"testing:calls-{number}/{function}", *given)

        echo = {"interface_name": "testing:activity/acts", "function_name": "echo"}
        permanent, nowhere = ({**echo, "function_name": name} for name in ("permanent", "nowhere"))
        for way, function, optional in (("call", "support.call-json", 2), ("submit", "support.submit-json", 1)):
            await call(f"{way}-json", function, echo, '[ "é\\n" ]', optional=optional)
            await call(f"{way}-json-permanent", function, permanent, "[]", optional=optional)
            await call(f"{way}-json-not-found", function, nowhere, "[]", optional=optional)
            await call(f"{way}-json-rejected", function, echo, "[7]", optional=optional)
        at: Any
        for name, at in (
            ("now", "now"),
            ("in", {"in": {"milliseconds": 1}}),
            ("at", {"at": {"seconds": 7, "nanoseconds": 5000}}),
        ):
            new = {"id": self.running.runtime.new_execution_id()}
            await call(f"schedule-json-{name}", "support.schedule-json", new, at, echo, '["x"]', optional=2)
        for name, function, params in (("not-found", nowhere, "[]"), ("rejected", echo, "[7]")):
            new = {"id": self.running.runtime.new_execution_id()}
            await call(f"schedule-json-{name}", "support.schedule-json", new, "now", function, params, optional=2)
        await call("schedule", "acts-schedule.echo-schedule", {"in": {"minutes": 1}}, "later", optional=0)
        await call("execution-id-generate", "support.execution-id-generate")
        for function in ("random-u64", "random-u64-inclusive", "random-string"):
            await call(function, f"support.{function}", 3, 9, optional=0)
        await call("join-next", "support.join-next", optional=0)
        await call("join-next-try", "support.join-next-try", optional=0)
        await call("submit-delay", "support.submit-delay", {"in": {"milliseconds": 1}}, optional=0)
        await self.run(
            f"calls-{number}-sleep-named", f"testing:calls-{number}/{more.sleep_named}", "now", "nap", *more.optional(1)
        )
        await self.stubs(number, call)

    async def stubs(self, number: str, call: Callable[..., Awaitable[ExecutionId]]) -> None:
        """Results for executions of a stub activity, from a workflow, well and badly."""
        waiting = [await self.asks(number) for _ in range(2)]
        target = {"id": f"{waiting[0]}.o:1-decide_1"}
        await call("stub-json-rejected", "support.stub-json", target, '{"ok": "yes"}')
        await call("stub-json", "support.stub-json", target, '{ "ok": true }')
        await call("stub-json-same", "support.stub-json", target, '{"ok":true}')
        await call("stub-json-conflict", "support.stub-json", target, '{"ok":false}')
        await call("stub-json-not-found", "support.stub-json", {"id": f"{waiting[0]}.o:1-decide_2"}, '{"ok":true}')
        await call("stub", "stubs-stub.decide-stub", {"id": f"{waiting[1]}.o:1-decide_1"}, {"err": "no"}, optional=0)
        for name, execution_id in zip(("ok", "err"), waiting, strict=True):
            await self.end(execution_id)
            self.record(
                f"calls-{number}-asks-{name}", "call-json of a stub that another workflow answers", execution_id
            )

    async def asks(self, number: str) -> ExecutionId:
        """A workflow that awaits a stub activity."""
        decide = {"interface_name": "testing:stubs/stubs", "function_name": "decide"}
        optional = GENERATIONS[number].optional(2)
        execution_id = await self.submit(f"testing:calls-{number}/support.call-json", decide, '["?"]', *optional)
        await self.until(execution_id, lambda state: state.status is Status.BLOCKED)
        return execution_id

    async def only_in_six(self) -> None:
        for function in ("sets.set-last-id", "support.last-direct-call-id", "support.last-oneoff-id"):
            await self.run(f"calls-six-{function.rpartition('.')[2]}", f"testing:calls-six/{function}")

    async def activities(self) -> None:
        """Logs without a workflow: only their events are of interest."""
        for function, *params in [("trap",), ("fail", 3), ("echo", "é"), ("permanent",), ("hog",)]:
            await self.run(f"acts-{function}", ACTS + function, *params)
        spin = {"interface_name": "testing:activity/acts", "function_name": "spin"}
        call = "testing:calls-five/support.call-json"
        timed_out = await self.run("calls-five-timeout", call, spin, "[]", {"timeout": {"milliseconds": 20}}, None)
        self.record("acts-spin-timed-out", "an activity that times out twice", ExecutionId(f"{timed_out}.o:1-spin_1"))

    async def ended_early(self) -> None:
        """What waits, and what is cancelled in the middle."""
        execution_id = await self.submit(FLOWS + "timeout-pattern", LONG_MS)
        child = ExecutionId(f"{execution_id}.n:timeout_1")
        await self.until(execution_id, lambda state: state.status is Status.BLOCKED)
        await self.until(child, lambda state: state.status is Status.LOCKED)
        self.record("waits", "a workflow that waits", execution_id)
        await self.service.operations.cancel(execution_id)
        await self.end(execution_id)
        self.record("cancelled", "cancelled while a child and a delay of it were open", execution_id)
        self.record("cancelled-child", "an activity that was cancelled while it ran", child)
        asking = await self.asks("five")
        await self.service.operations.cancel(ExecutionId(f"{asking}.o:1-decide_1"))
        await self.end(asking)
        self.record("child-cancelled", "a workflow whose child was cancelled", asking)
        sleeper = await self.submit(FLOWS + "many-sleeps", 2, LONG_MS)
        await self.until(sleeper, lambda state: state.status is Status.BLOCKED)
        await self.service.operations.cancel_delay(DelayId(f"Delay_{sleeper[2:]}.o:1-sleep_1"))
        await self.end(sleeper)
        self.record("delay-cancelled", "a workflow whose delay was cancelled", sleeper)

    async def stood_still(self) -> None:
        """Paused: before it began, while it waited, while it computed; advanced; let go on."""
        execution_id = await self.submit(FLOWS + "random", 2, paused=True)
        await self.advance(execution_id, 2)
        self.record("advanced", "paused and advanced by two host calls", execution_id)
        await self.service.operations.unpause(execution_id)
        await self.end(execution_id)
        self.record("unpaused", "paused, advanced, and let go on", execution_id)

        sleeper = await self.submit(FLOWS + "sleeper", LONG_MS)
        await self.until(sleeper, lambda state: state.status is Status.BLOCKED)
        await self.service.operations.pause(sleeper)
        await self.service.operations.cancel_delay(DelayId(f"Delay_{sleeper[2:]}.o:1-sleep_1"))
        await self.until(sleeper, lambda state: state.response_count == 1)
        self.record("paused", "paused while it waited; what it waited for came", sleeper)
        await self.service.operations.unpause(sleeper)
        await self.end(sleeper)
        self.record("paused-and-unpaused", "paused while it waited, then let go on", sleeper)

        busy = await self.submit(FLOWS + "spin")
        await self.until(busy, lambda state: state.status is Status.LOCKED)
        await self.service.operations.pause(busy)
        self.record("paused-while-it-ran", "paused while it computed", busy)
        await self.service.operations.cancel(busy)
        await self.end(busy)
        self.record("paused-and-cancelled", "paused while it computed, then cancelled", busy)

    async def forked(self) -> None:
        origin = await self.run("fork-origin", FLOWS + "random", 3)
        fork = (await self.service.forking.fork(origin, 5)).execution_id
        await self.end(fork)
        self.record("fork", "a fork that has its own random values after the third", fork)
        origin = await self.submit(FLOWS + "timeout-pattern", LONG_MS)
        await self.until(origin, lambda state: state.status is Status.BLOCKED)
        fork = (await self.service.forking.fork(origin)).execution_id
        await self.until(fork, lambda state: state.status is Status.BLOCKED)
        self.record("fork-waits", "a fork that waits for a child and a delay of its own", fork)
        for execution_id in (fork, origin):
            await self.service.operations.cancel(execution_id)
            await self.end(execution_id)

    async def moved(self) -> None:
        """Upgraded to a component whose join set `timeout` has another name, checked and by force; then parked."""
        same = await self.submit(FLOWS + "many-sleeps", 2, LONG_MS)
        fine = await self.submit(FLOWS + "sleeper", LONG_MS)
        other = await self.submit(FLOWS + "timeout-pattern", LONG_MS)
        for execution_id in (same, fine, other):
            await self.until(execution_id, lambda state: state.status is Status.BLOCKED)
        self._stop()
        self._start("renamed.wasm")
        for execution_id in (same, fine):
            await self.service.replaying.upgrade(execution_id)
        self.record("upgraded", "upgraded while it waited", same, also="flows.wasm")
        await self.service.operations.cancel_delay(DelayId(f"Delay_{fine[2:]}.o:1-sleep_1"))
        await self.end(fine)
        self.record(
            "upgraded-and-ended", "upgraded while it waited; ended on the new component", fine, also="flows.wasm"
        )
        await self.service.operations.cancel(same)
        await self.end(same)

        await self.service.replaying.upgrade(other, skip_check=True)
        await self.service.operations.cancel_delay(DelayId(f"Delay_{other[2:]}.n:timeout_1"))
        await self.until(other, lambda state: state.lifecycle is Lifecycle.PARKED)
        self.record("parked", "upgraded by force to a component on which it does not replay", other, also="flows.wasm")
        await self.service.operations.resume(other)
        await self.until(other, lambda state: state.lifecycle is Lifecycle.PARKED)
        await self.service.operations.fail(other)
        await self.end(other)
        self.record("parked-and-failed", "parked, resumed in vain, and given up", other, also="flows.wasm")

    # --- how ---------------------------------------------------------------------------------------------------------

    async def run(self, name: str, ffqn: str, *params: Any) -> ExecutionId:
        """Runs it to its end and records it."""
        execution_id = await self.submit(ffqn, *params)
        await self.end(execution_id)
        self.record(name, f"{ffqn.rpartition('.')[2]}({', '.join(json.dumps(each) for each in params)})", execution_id)
        return execution_id

    async def submit(self, ffqn: str, *params: Any, paused: bool = False) -> ExecutionId:
        runtime = self.running.runtime
        execution_id: ExecutionId = runtime.new_execution_id()
        name = FunctionName(ffqn)
        canonical = runtime.catalogue.check_params(name, msgspec.json.encode(params))
        assert await runtime.submit(execution_id, name, canonical, {}, None, paused=paused) is AnswerKind.CREATED
        return execution_id

    async def end(self, execution_id: ExecutionId) -> None:
        await self.until(execution_id, lambda state: state.status is Status.FINISHED)

    async def until(self, execution_id: ExecutionId, condition: Callable[[ExecutionState], bool]) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while (state := self.running.runtime.reader.state(execution_id)) is None or not condition(state):
                await asyncio.sleep(0.002)

    async def advance(self, execution_id: ExecutionId, steps: int) -> None:
        version = self.running.runtime.reader.state(execution_id).next_version
        await self.service.replaying.advance(execution_id, version, steps)
        await self.until(execution_id, lambda state: state.next_version >= version + steps)

    def record(self, name: str, about: str, execution_id: ExecutionId, also: str = "") -> None:
        path = self._made / f"{name}.json"
        assert not path.exists(), name
        snapshot: Snapshot = self.running.runtime.reader.snapshot(execution_id)
        recorded.write(path, recorded.take(about, snapshot, self._files, self._workflows.guest, also))

    def _start(self, flows: str) -> None:
        text = f"""
        sqlite.directory = "{self._scratch}/db"
        codegen_cache.directory = "{self._scratch}/code"

        [[activity_wasm]]
        name = "fibo"
        location = "{FIBO}/fibo_activity.wasm"
        exec.lock_expiry.seconds = 60

        [[activity_wasm]]
        name = "acts"
        location = "{self._scratch}/acts.wasm"
        max_retries = 1
        retry_exp_backoff.milliseconds = 1
        exec.lock_expiry.seconds = 60
        exec.memory_max_bytes = {recorded.MEMORY_MAX}

        [[activity_stub]]
        name = "stubs"
        location = "{self._stubs}"
        """
        for file in ("fibo.wasm", flows, "calls-five.wasm", "calls-six.wasm", "json-five.wasm", "json-six.wasm"):
            text += f"""
            [[workflow]]
            name = "{file.partition(".")[0].replace("-", "_")}_flows"
            location = "{self._made}/{file}"
            exec.memory_max_bytes = {recorded.MEMORY_MAX}
            exec.cpu_budget.seconds = 1
            """
        self.running = module(TESTS / "runtime" / "conftest.py").Running(self._scratch, text)
        self.service = Service(self.running.runtime)

    def _stop(self) -> None:
        self.service.close()
        self.running.stop()


if __name__ == "__main__":
    sys.exit(main())
