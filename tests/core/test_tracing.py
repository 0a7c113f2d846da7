"""Which host call left an event, and on which component: with guests of Python that number their calls."""

from __future__ import annotations

import msgspec

from obelisk.core.backtraces import Frame
from obelisk.core.batch import Snapshot
from obelisk.core.calls import CallChild, CurrentExecutionId, JoinSetCreate, Misuse, RandomU64, Submit, SubmitDelay
from obelisk.core.events import (
    CancellationRequested,
    ChildRequested,
    ComponentUpgraded,
    Created,
    DelayRequested,
    JoinNext,
    JoinSetCreated,
    Locked,
    LogEntry,
    Paused,
    Persist,
    PersistRandomU64,
)
from obelisk.core.ids import Digest
from obelisk.core.instants import In, Instant
from obelisk.core.names import FunctionName
from obelisk.core.ports import Called
from obelisk.core.responses import ChildFinished, Response
from obelisk.core.tracing import FIRST, LAST, HostCall, find_call, recorded_by_calls, trace_calls, written_on
from obelisk.core.transitions import create
from obelisk.core.values import Json, Ok
from obelisk.testing.guests import PythonGuest

ID = "E_01K42AJA8QHD7D3GTJAYMASFYZ"
FIBO = FunctionName("template-fibo:activity/fibo-activity-ifc.fibo")
A, B, C = (Digest("sha256:" + letter * 64) for letter in "abc")
DEPLOYMENT = "Dep_01K42AJA8QHD7D3GTJAYMASFYZ"
NOW = Instant(1_000_000)
CREATED = Created(FIBO, Json(b"[]"), A, DEPLOYMENT, NOW)
LOCKED = Locked("Exr_01K42AJA8QHD7D3GTJAYMASFYZ", "Run_01K42AJA8QHD7D3GTJAYMASFYZ", NOW)
CALLED = (JoinSetCreated("o:1-fibo"), ChildRequested("o:1-fibo_1", FIBO, Json(b"[1]")), JoinNext("o:1-fibo", NOW, FIBO))
ANSWER = Response(1, NOW, "o:1-fibo", ChildFinished("o:1-fibo_1", 1, Ok(Json(b"55"))))


def snapshot(*events, responses=(ANSWER,)):
    log = [LogEntry(version, NOW, event) for version, event in enumerate((CREATED, LOCKED, *events))]
    return Snapshot(create(ID, CREATED, NOW, None), log, list(responses), [], [])


class Numbering:
    """A guest and its `Inside`. Its stack is the number of the call, from 1; one that is answered on the spot is counted too."""

    def __init__(self, flow):
        self._guest = PythonGuest(ID, flow)
        self._number = 0
        self._in_call = False
        self._looks = False

    def start(self, params):
        return self._note(self._guest.start(params))

    def send(self, reply):
        return self._note(self._guest.send(reply))

    def resume(self):
        return self._note(self._guest.resume())

    def close(self):
        self._guest.close()

    def _note(self, step):
        self._in_call = isinstance(step, Called)
        self._number += self._in_call
        return step

    def look(self):
        assert self._number == 0
        self._looks = True

    def stack(self):
        assert self._looks
        return frames(self._number) if self._in_call else None


def frames(number):
    return (Frame("m", f"call {number}"),)


def flow(execution_id, params):
    yield CurrentExecutionId()
    yield CallChild(FIBO, Json(b"[1]"))
    yield RandomU64(0, 9)
    join_set = yield JoinSetCreate()
    yield SubmitDelay(join_set, In(5))
    return Ok()


DREW = Persist(PersistRandomU64(0, 9), Json(b"4"))
OPENED = JoinSetCreated("g:1")
DELAYED = DelayRequested("g:1_1", In(5), Instant(NOW + 5))
WHOLE = (*CALLED, LOCKED, DREW, OPENED, DELAYED, JoinNext("g:1", NOW, closing=True))
"""Versions 2 to 4, then a run, 6, 7, 8, and 9: the end of the function closes g:1."""


def found(version, *events, flow=flow, **fields):
    guest = Numbering(flow)
    return find_call(snapshot(*events, **fields), version, guest, guest, NOW)


def test_each_event_belongs_to_the_call_that_left_it():
    assert [found(version, *WHOLE).call for version in (2, 3, 4)] == [HostCall(2, 5, frames(2))] * 3
    assert [found(version, *WHOLE).call for version in (6, 7, 8)] == [
        HostCall(6, 7, frames(3)),
        HostCall(7, 8, frames(4)),
        HostCall(8, 9, frames(5)),
    ]
    assert found(FIRST, *WHOLE).call == HostCall(2, 5, frames(2))
    assert found(LAST, *WHOLE).call == HostCall(8, 9, frames(5))


def test_the_replay_ends_with_the_call():
    """What comes after it need not replay."""
    other = Persist(PersistRandomU64(0, 8), Json(b"4"))
    assert found(4, *CALLED, other).call == HostCall(2, 5, frames(2))
    strayed = found(5, *CALLED, other)
    assert strayed.call is None
    assert strayed.replayed.divergence.version == 5
    assert found(LAST, *CALLED, other).call is None


def test_events_that_no_call_left_have_a_nearest_one():
    for version, nearest in ((0, 2), (1, 2), (5, 4)):
        result = found(version, *WHOLE)
        assert (result.call, result.nearest, result.closing) == (None, nearest, False)


def test_what_the_end_of_the_function_closes_is_of_no_call():
    result = found(9, *WHOLE)
    assert (result.call, result.nearest, result.closing) == (None, 8, True)


def test_a_call_that_blocks_has_left_its_events():
    assert found(LAST, *CALLED, responses=()).call == HostCall(2, 5, frames(2))


def test_nothing_was_called():
    result = found(LAST)
    assert (result.call, result.nearest) == (None, None)
    assert found(FIRST).call is None
    assert found(1).nearest is None


def test_what_a_refused_call_closes_is_its_own():
    def refused(execution_id, params):
        join_set = yield JoinSetCreate()
        yield Submit(join_set, FIBO, Json(b"[1]"))
        yield Misuse("it may not")

    events = (OPENED, ChildRequested("g:1_1", FIBO, Json(b"[1]")), JoinNext("g:1", NOW, closing=True))
    assert found(4, *events, flow=refused, responses=()).call == HostCall(4, 5, frames(3))


def test_after_a_cancellation_the_platform_writes():
    events = (OPENED, DELAYED, CancellationRequested(), JoinNext("g:1", NOW, closing=True))
    assert recorded_by_calls(snapshot(*events).log) == [2, 3]


def traced(versions, *events, **fields):
    guest, heard = Numbering(flow), []
    replayed = trace_calls(snapshot(*events, **fields), versions, guest, guest, NOW, heard.append)
    return heard, replayed


def test_one_replay_finds_all_calls():
    heard, replayed = traced({2, 3, 4, 6, 7, 8, 9}, *WHOLE)
    assert heard == [
        HostCall(2, 5, frames(2)),
        HostCall(6, 7, frames(3)),
        HostCall(7, 8, frames(4)),
        HostCall(8, 9, frames(5)),
    ]
    assert replayed.divergence is None


def test_only_calls_that_left_what_is_wanted_are_heard_of():
    assert traced({4, 7}, *WHOLE)[0] == [HostCall(2, 5, frames(2)), HostCall(7, 8, frames(4))]


def test_nothing_behind_the_last_that_is_wanted_is_replayed():
    other = Persist(PersistRandomU64(0, 8), Json(b"4"))
    heard, replayed = traced({3}, *CALLED, other)
    assert (heard, replayed.divergence) == ([HostCall(2, 5, frames(2))], None)
    heard, replayed = traced({3, 5}, *CALLED, other)
    assert heard == [HostCall(2, 5, frames(2))]
    assert replayed.divergence.version == 5


def test_the_component_is_that_of_the_run_or_the_upgrade_before():
    log = snapshot(
        *CALLED,
        Paused(),
        msgspec.structs.replace(LOCKED, component=B),
        DREW,
        ComponentUpgraded(C, DEPLOYMENT),
        LOCKED,
        OPENED,
    ).log
    assert [written_on(log, version) for version in range(len(log))] == [A] * 7 + [B] * 2 + [C] * 2
