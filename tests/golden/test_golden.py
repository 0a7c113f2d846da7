"""Logs that earlier releases wrote are read, written and replayed by this one as they were by theirs."""

from __future__ import annotations

import importlib.util
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from obelisk.core import nondeterminism
from obelisk.core.events import Event, LogEntry, PersistExecutionId, PersistRandomString, PersistRandomU64
from obelisk.core.instants import At, Instant, ScheduleAt
from obelisk.core.replay import replayable
from obelisk.core.values import NO_VALUE, Failure, Json, Ok
from obelisk.testing import invariants

HERE = Path(__file__).resolve().parent


def loaded(stem: str) -> Any:
    """A module of this folder: test folders are not packages."""
    name = f"golden_golden_{stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE / f"{stem}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


recorded = loaded("recorded")
make = loaded("make")


def order(folder: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in folder.name.split("."))


RELEASES = sorted((path for path in HERE.iterdir() if path.is_dir() and path.name[0].isdigit()), key=order)
FILES = [path for release in RELEASES for path in recorded.all_of(release)]
KINDS = {str(event.__struct_config__.tag) for event in typing.get_args(Event)}


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


every_file = pytest.mark.parametrize("path", FILES, ids=name_of)


@pytest.fixture(scope="session")
def workflows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], Any]]:
    """A function: folder of a release -> its components."""
    made: dict[Path, Any] = {}
    cache = tmp_path_factory.mktemp("code")

    def of(release: Path) -> Any:
        if release not in made:
            made[release] = recorded.Workflows(release, cache)
        return made[release]

    yield of
    for each in made.values():
        each.close()


def check(recording: Any, workflows: Any) -> None:
    """All that must hold of a recording."""
    snapshot = recording.snapshot()
    again = [recorded.written(entry.event) for entry in snapshot.log]
    assert again == [bytes(event) for _, _, event in recording.log]
    invariants.log_is_whole(snapshot)
    invariants.state_follows(snapshot)
    invariants.awaits_match(snapshot)
    ended = invariants.outcome_of(snapshot)
    assert (None if ended is None else msgspec.json.encode(ended)) == (bytes(recording.outcome) or None)
    for file, expected in recording.replays.items():
        came_to = recorded.came_to(snapshot, workflows.guest(file, recording.ffqn))
        assert recorded.told(came_to.outcome) == recorded.told(expected.outcome)
        came_to.outcome = expected.outcome
        assert came_to == expected
    if recording.component:
        assert workflows.digest(recording.component) == snapshot.state.component, "the file is the one that it ran on"
        check_end(recording, snapshot)


def check_end(recording: Any, snapshot: Any) -> None:
    """What was expected of the replay is what happened, unless the end came from outside."""
    own = recording.replays[recording.component]
    if not recorded.own_part(snapshot):
        assert not own.outcome, "it was ended from outside"
    elif not recording.outcome:
        assert own.diverges_at is None or snapshot.state.lifecycle == "parked"
    elif own.gave_up:
        assert snapshot.state.finish_kind == "out_of_fuel"
    else:
        assert recorded.told(own.outcome) == recorded.told(recording.outcome)


def test_this_release_has_logs() -> None:
    assert make.folder_of(make.obelisk.__version__) in {release.name for release in RELEASES}, (
        "python tests/golden/make.py makes them"
    )


@every_file
def test_it_is_read_written_and_replayed_as_it_was(path: Path, workflows: Callable[[Path], Any]) -> None:
    check(recorded.read(path), workflows(path.parent))


def test_every_kind_of_event_occurs_in_the_newest_release() -> None:
    newest = [recorded.read(path) for path in FILES if path.parent == RELEASES[-1]]
    assert recorded.kinds(newest) == KINDS


def test_what_is_made_now_is_as_good(tmp_path: Path) -> None:
    made = tmp_path / "made"
    make.make(made)
    workflows = recorded.Workflows(made)
    recordings = [recorded.read(path) for path in recorded.all_of(made)]
    try:
        for recording in recordings:
            check(recording, workflows)
    finally:
        workflows.close()
    assert recorded.kinds(recordings) == KINDS


def test_a_release_is_made_once(capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in FILES}
    assert make.main() == 1
    assert "is there already" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in FILES} == before


# --- that the above can fail ------------------------------------------------------------------------------------------


def changed(value: Any) -> Any:
    """Something else of the same type."""
    match value:
        case bool():
            return not value
        case None:
            return 1
        case int():
            return value + 1
        case str():
            return value[:-1] + ("7" if value[-1] != "7" else "8")
        case Json():
            return Json(b'["changed"]')
        case PersistRandomU64(min, max_inclusive):
            return PersistRandomU64(min, max_inclusive + 1)
        case PersistRandomString(min_length, max_length):
            return PersistRandomString(min_length + 1, max_length)
        case PersistExecutionId():
            return PersistRandomU64(0, 0)
    assert isinstance(value, ScheduleAt)
    return At(Instant(1))


def changes(log: list[LogEntry]) -> Iterator[tuple[int, str, Any]]:
    """Every field that replay compares, of every event."""
    for entry in replayable(log):
        for field in nondeterminism._COMPARED[type(entry.event)] if entry.event.history else ():
            value = getattr(entry.event, field)
            if field == "params" and getattr(entry.event, "given", NO_VALUE):
                field, value = "given", entry.event.given  # what the guest gave is compared
            yield entry.version, field, "a:b/c.d" if field == "ffqn" else changed(value)


def is_changed(recording: Any) -> bool:
    """Whether the test below makes changes to it: it replays to the end of its log."""
    return bool(recording.component) and recording.replays[recording.component].diverges_at is None


@every_file
def test_a_change_of_what_is_compared_is_noticed_where_it_is(path: Path, workflows: Callable[[Path], Any]) -> None:
    recording = recorded.read(path)
    if not is_changed(recording):
        assert path.stem.startswith(("acts-", "cancelled-child", "parked"))
        return
    for version, field, value in changes(recording.entries()):
        snapshot = recording.snapshot()
        entry = snapshot.log[version]
        event = msgspec.structs.replace(entry.event, **{field: value})
        snapshot.log[version] = msgspec.structs.replace(entry, event=event)
        guest = workflows(path.parent).guest(recording.component, recording.ffqn)
        came_to = recorded.came_to(snapshot, guest)
        if field == "execution_id" and path.stem.endswith("-schedule"):
            assert value.encode() in recorded.told(came_to.outcome), "the id was chosen for it: it is what it is told"
        else:
            assert came_to.diverges_at == version, f"{field} of version {version}: {value!r}"


def test_every_field_that_is_compared_is_changed_above() -> None:
    tried = set()
    for recording in map(recorded.read, FILES):
        if not is_changed(recording):
            continue
        log = recording.entries()
        tried |= {(type(log[version].event), field) for version, field, _ in changes(log)}
    assert tried >= {(kind, field) for kind, fields in nondeterminism._COMPARED.items() for field in fields}


def test_a_changed_answer_leads_to_another_end(workflows: Callable[[Path], Any]) -> None:
    path = RELEASES[0] / "flows-parent.json"
    recording = recorded.read(path)
    recording.responses[0].outcome = Json(msgspec.json.encode(Ok(Json(b"70"))))
    came_to = recorded.came_to(recording.snapshot(), workflows(path.parent).guest(recording.component, recording.ffqn))
    assert recorded.told(came_to.outcome) == b'{"type":"ok","value":71}'


def test_a_log_that_was_cut_is_noticed(workflows: Callable[[Path], Any]) -> None:
    path = RELEASES[0] / "flows-random.json"
    recording = recorded.read(path)
    del recording.log[5]
    snapshot = recording.snapshot()
    with pytest.raises(invariants.Violation, match="versions have gaps"):
        invariants.log_is_whole(snapshot)
    assert (
        recorded.came_to(snapshot, workflows(path.parent).guest(recording.component, recording.ffqn)).diverges_at == 6
    )


def test_failures_are_compared_by_kind() -> None:
    one, two = (Json(msgspec.json.encode(Failure("uncategorized", reason))) for reason in ("this", "that"))
    other = Json(msgspec.json.encode(Failure("timed_out", "this")))
    assert recorded.told(one) == recorded.told(two) != recorded.told(other)
