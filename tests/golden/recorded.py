"""One recorded execution: how it is kept in a file, and how it is replayed.

Decides the form of the files of this folder, see README.md. What is durable in Obelisk (events, outcomes) stands there as
the bytes that were stored; the rest is told in words of this module, so that only it must follow when a class changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from obelisk.core.batch import Snapshot
from obelisk.core.events import FORMAT, Event, Finished, LogEntry, decode_event, encode_event, kind_of
from obelisk.core.instants import Instant
from obelisk.core.ports import Guest
from obelisk.core.replay import Replayed, replay, replayable
from obelisk.core.responses import ChildFinished, DelayFinished, Response
from obelisk.core.state import ExecutionState
from obelisk.core.values import NO_VALUE, Failure, Json, Outcome
from obelisk.wasm.component import ComponentLoader
from obelisk.wasm.engine import EngineConfig, Engines
from obelisk.wasm.epochs import EpochTicker
from obelisk.wasm.guest import WorkflowGuest
from obelisk.wasm.link import LinkedComponent, link_workflow

MEMORY_MAX = 4 << 20
"""Bytes that a recorded workflow may have."""
_CPU_MAX_NS = 300_000_000
"""CPU time after which a replay is given up. All but the one that never ends need a few milliseconds."""


class Answer(msgspec.Struct, omit_defaults=True):
    """A response: of a child (`version`, `outcome`) or of a delay (`ok`)."""

    seq: int
    created_at: int
    join_set: str
    child: str | None = None
    version: int | None = None
    outcome: Json = NO_VALUE
    delay: str | None = None
    ok: bool | None = None


class CameTo(msgspec.Struct, omit_defaults=True):
    """What a replay came to. Nothing at all: the workflow waits."""

    outcome: Json = NO_VALUE
    """It ended."""
    diverges_at: int | None = None
    """It does not do what the log says at this version."""
    goes_on_with: list[str] = []
    """The events of its next host call, which the log has not."""
    gave_up: bool = False
    """It computes for ever."""


class Recording(msgspec.Struct, omit_defaults=True):
    """One file."""

    about: str
    execution_id: str
    ffqn: str
    component: str
    """File of the component that it is pinned to; empty for an activity."""
    format: int
    state: dict[str, Any]
    """The state row."""
    log: list[tuple[int, int, Json]]
    """Version, instant and event."""
    responses: list[Answer]
    replays: dict[str, CameTo]
    """By file of the component; empty for an activity."""
    outcome: Json = NO_VALUE
    """How it ended, if it has."""

    def snapshot(self) -> Snapshot:
        """As a store has it."""
        state = msgspec.convert(self.state, ExecutionState)
        return Snapshot(state, self.entries(), [_response(answer) for answer in self.responses], [], [])

    def entries(self) -> list[LogEntry]:
        """The log."""
        return [
            LogEntry(version, Instant(at), decode_event(bytes(event), self.format)) for version, at, event in self.log
        ]


def take(
    about: str, snapshot: Snapshot, components: dict[str, str], guest: Callable[[str, str], Guest], also: str = ""
) -> Recording:
    """Records an execution. `components`: file by digest; `also`: a file that it is replayed on besides its own."""
    state = snapshot.state
    file = components.get(state.component, "")
    last = snapshot.log[-1].event
    return Recording(
        about=about,
        execution_id=state.execution_id,
        ffqn=state.ffqn,
        component=file,
        format=FORMAT,
        state=msgspec.to_builtins(state),
        log=[(entry.version, entry.created_at, Json(encode_event(entry.event))) for entry in snapshot.log],
        responses=[_answer(response) for response in snapshot.responses],
        outcome=_raw(last.outcome) if isinstance(last, Finished) else NO_VALUE,
        replays={each: came_to(snapshot, guest(each, state.ffqn)) for each in (file, also) if each},
    )


def came_to(snapshot: Snapshot, guest: Guest) -> CameTo:
    """Replays an execution on a guest."""
    begun = time.thread_time_ns()
    replayed = replay(
        snapshot.state.execution_id,
        snapshot.log,
        snapshot.responses,
        guest,
        Instant(0),
        may_go_on=lambda: time.thread_time_ns() - begun < _CPU_MAX_NS,
    )
    return CameTo(
        outcome=NO_VALUE if replayed.outcome is None else _raw(replayed.outcome),
        diverges_at=None if replayed.divergence is None else replayed.divergence.version,
        goes_on_with=_next(replayed),
        gave_up=replayed.gave_up,
    )


def own_part(snapshot: Snapshot) -> bool:
    """Whether all of a log was caused by its workflow, none by whoever ended it."""
    return len(replayable(snapshot.log)) == len(snapshot.log)


def told(outcome: Json) -> object:
    """What of an outcome must stay the same. Of a failure its kind: the text of a trap is that of the WASM runtime."""
    if not outcome:
        return None
    read = msgspec.json.decode(outcome, type=Outcome)
    return read.kind if isinstance(read, Failure) else bytes(outcome)


def written(event: Event) -> bytes:
    """An event as it would be stored today."""
    return encode_event(event)


def kinds(recordings: list[Recording]) -> set[str]:
    """All kinds of events in them."""
    return {kind_of(entry.event) for recording in recordings for entry in recording.entries()}


# --- files -----------------------------------------------------------------------------------------------------------


def write(path: Path, recording: Recording) -> None:
    """One line an event and a response, so that a person can read it."""
    lines = []
    for field in msgspec.structs.fields(Recording):
        value = getattr(recording, field.name)
        if value is NO_VALUE:
            continue
        if field.name in {"log", "responses"} and value:
            rows = ",\n".join(f"    {msgspec.json.encode(each).decode()}" for each in value)
            lines.append(f'  "{field.name}": [\n{rows}\n  ]')
        else:
            lines.append(f'  "{field.name}": {msgspec.json.encode(value).decode()}')
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def read(path: Path) -> Recording:
    return msgspec.json.decode(path.read_bytes(), type=Recording)


def all_of(release: Path) -> Iterator[Path]:
    """The recordings of a release."""
    return iter(sorted(release.glob("*.json")))


# --- components ------------------------------------------------------------------------------------------------------


class Workflows:
    """The workflow components of a folder, compiled when they are first needed."""

    def __init__(self, directory: Path, cache: Path | None = None) -> None:
        self._directory = directory
        engines = Engines(EngineConfig(pooling=False))
        self._loader = ComponentLoader(engines, cache)
        self._linked: dict[str, LinkedComponent] = {}
        self._ticker = EpochTicker(engines)
        self._ticker.start()

    def digest(self, file: str) -> str:
        return self._of(file).component.digest

    def guest(self, file: str, ffqn: str) -> Guest:
        """A workflow that has not begun."""
        entry = self._of(file).entries[ffqn]
        return _Polled(WorkflowGuest(entry, memory_max=MEMORY_MAX), self._ticker)

    def close(self) -> None:
        self._ticker.stop()

    def _of(self, file: str) -> Any:
        if file not in self._linked:
            self._linked[file] = link_workflow(self._loader.load(self._directory / file))
        return self._linked[file]


class _Polled:
    """A guest that is interrupted now and then while it computes."""

    def __init__(self, guest: Guest, ticker: EpochTicker) -> None:
        self._guest = guest
        self._ticker = ticker
        self.close = guest.close

    def start(self, params: Any) -> Any:
        with self._ticker.polling():
            return self._guest.start(params)

    def send(self, reply: Any) -> Any:
        with self._ticker.polling():
            return self._guest.send(reply)

    def resume(self) -> Any:
        with self._ticker.polling():
            return self._guest.resume()


def _raw(outcome: Outcome) -> Json:
    return Json(msgspec.json.encode(outcome))


def _next(replayed: Replayed) -> list[str]:
    return [kind_of(each.event) for each in replayed.new[0]] if replayed.new else []


def _answer(response: Response) -> Answer:
    answer = Answer(response.seq, response.created_at, response.join_set)
    match response.body:
        case ChildFinished(child, version, outcome):
            answer.child, answer.version, answer.outcome = child, version, _raw(outcome)
        case DelayFinished(delay, ok):
            answer.delay, answer.ok = delay, ok
    return answer


def _response(answer: Answer) -> Response:
    body: Any
    if answer.child is not None:
        body = ChildFinished(answer.child, answer.version, msgspec.json.decode(answer.outcome, type=Outcome))
    else:
        body = DelayFinished(answer.delay, answer.ok)
    return Response(answer.seq, Instant(answer.created_at), answer.join_set, body)
