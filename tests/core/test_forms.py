"""How a child declares errors, where the guest that submits it does not say."""

from __future__ import annotations

import msgspec

from obelisk.core import calls
from obelisk.core.decisions import Answered, Mode, Write
from obelisk.core.events import ChildRequested, LogEntry, RejectReason
from obelisk.core.ids import ChildId, Digest, ExecutionId, JoinSetId
from obelisk.core.instants import Instant
from obelisk.core.machine import Machine
from obelisk.core.names import FunctionName
from obelisk.core.ports import FunctionInfo, FunctionKind, Rejection, Typed
from obelisk.core.responses import ChildFinished, Response
from obelisk.core.values import ErrForm, Failure, FailureKind, Json

ROOT = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYZ")
F = FunctionName("t:acts/acts.work")
NOW = Instant(1_000)
SET = JoinSetId("g:1")
SUBMIT = calls.Submit(SET, F, Json(b"[1]"), None)


def typed(ffqn: FunctionName, params: Json) -> Typed | Rejection:
    return Typed(params, FunctionInfo(ffqn, FunctionKind.ACTIVITY, Digest("sha256:0"), ErrForm.STRING))


def gone(ffqn: FunctionName, params: Json) -> Typed | Rejection:
    return Rejection(RejectReason.FUNCTION_NOT_FOUND)


def form_seen(machine: Machine) -> ErrForm:
    """What is said of the child when it fails."""
    machine.deliver(Response(1, NOW, SET, ChildFinished(ChildId("g:1_1"), 2, Failure(FailureKind.CANCELLED))))
    decision = machine.step(calls.JoinNext(SET), NOW)
    assert isinstance(decision, Answered)
    assert isinstance(decision.reply, calls.MemberDone)
    return decision.reply.form


def test_it_is_found_out_and_kept_in_the_log() -> None:
    machine = Machine(ROOT, typing=typed)
    machine.step(calls.JoinSetCreate(), NOW)
    assert machine.step(SUBMIT, NOW) == Answered(f"{ROOT}.g:1_1")
    assert form_seen(machine) is ErrForm.STRING
    events = [item.event for item in machine.take_writes().items if isinstance(item, Write)]
    assert events[1] == ChildRequested(ChildId("g:1_1"), F, Json(b"[1]"), form=ErrForm.STRING)

    log = [LogEntry(version, NOW, event) for version, event in enumerate(events)]
    replayed = Machine(ROOT, log, (), Mode.VERIFY, gone)
    replayed.step(calls.JoinSetCreate(), NOW)
    assert replayed.step(SUBMIT, NOW) == Answered(f"{ROOT}.g:1_1")
    assert form_seen(replayed) is ErrForm.STRING
    assert replayed.take_writes().items == []


def test_what_the_guest_says_itself_is_believed() -> None:
    machine = Machine(ROOT, typing=typed)
    machine.step(calls.JoinSetCreate(), NOW)
    machine.step(msgspec.structs.replace(SUBMIT, form=ErrForm.VARIANT), NOW)
    assert form_seen(machine) is ErrForm.VARIANT
    events = [item.event for item in machine.take_writes().items if isinstance(item, Write)]
    assert events[1] == ChildRequested(ChildId("g:1_1"), F, Json(b"[1]"))


def test_of_a_function_that_nothing_exports_it_is_the_least() -> None:
    machine = Machine(ROOT, typing=gone)
    machine.step(calls.JoinSetCreate(), NOW)
    assert machine.step(SUBMIT, NOW) == Answered(f"{ROOT}.g:1_1")
    assert form_seen(machine) is ErrForm.NONE
