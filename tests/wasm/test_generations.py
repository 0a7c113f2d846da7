"""Workflows of both generations of the host's packages, run by the real machine over real activities, and replayed."""

import json

import pytest

from obelisk.core.decisions import Answered, Blocked, Ended, Mode, Unsettled
from obelisk.core.events import (
    ChildRejected,
    ChildRequested,
    JoinNext,
    JoinNextTry,
    JoinSetCreated,
    LogEntry,
    RejectReason,
    Stubbed,
    StubResult,
    TryOutcome,
)
from obelisk.core.ids import join_set_of
from obelisk.core.machine import Machine
from obelisk.core.policy import ExecutionPolicy
from obelisk.core.ports import Called, FunctionInfo, FunctionKind, Rejection, Returned, Typed
from obelisk.core.responses import ChildFinished, Response
from obelisk.core.values import Err, ErrForm, Failure, FailureKind, Json, Ok
from obelisk.testing.hosts import LoggingHost
from obelisk.wasm.activity import ActivityRun
from obelisk.wasm.guest import WorkflowGuest
from obelisk.wasm.link import link_activity, link_workflow
from obelisk.wit.checks import Component, check
from obelisk.wit.executable import executables
from obelisk.wit.reader import InvalidJson, ValueMismatch

ROOT = "E_01K42AJA8QHD7D3GTJAYMASFYZ"
NOW = 1_700_000_000_000_000


class Alone:
    """As much of an engine as one workflow needs: the machine, its children run at once, nothing durable."""

    def __init__(self, components):
        self.functions = {
            ffqn: (kind, component.digest, function)
            for kind, component, _ in components
            for ffqn, function in executables(component.wit).items()
        }
        self.entries = {ffqn: entry for _, _, entries in components for ffqn, entry in entries.items()}

    def typing(self, ffqn, params):
        if ffqn not in self.functions:
            return Rejection(RejectReason.FUNCTION_NOT_FOUND)
        kind, digest, function = self.functions[ffqn]
        try:
            canonical = Json(function.params.canonical(params))
        except (InvalidJson, ValueMismatch) as error:
            return Rejection(RejectReason.TYPE_CHECK_ERROR, str(error))
        form = function.outcomes.form
        return Typed(canonical, FunctionInfo(ffqn, kind, digest, form, ExecutionPolicy()))

    def child(self, ffqn, params):
        """The outcome of an activity; None of what nothing runs."""
        if self.functions[ffqn][0] is FunctionKind.STUB:
            return None
        run = ActivityRun(self.entries[ffqn], LoggingHost())
        try:
            return run.start(params).outcome
        finally:
            run.close()

    def run(self, ffqn, params, mode=Mode.LIVE, log=(), responses=()):
        """The outcome, the log and the responses."""
        machine = Machine(ROOT, log, responses, mode, self.typing)
        log, responses, done = [*log], [*responses], {}
        guest = WorkflowGuest(self.entries[ffqn])
        step = guest.start(Json(json.dumps(params).encode()))
        try:
            while True:
                if isinstance(step, Called):
                    decision = machine.step(step.call, NOW)
                else:
                    assert isinstance(step, Returned), step
                    decision = machine.end(step.outcome, NOW)
                while True:
                    for write in machine.take_writes().items:
                        log.append(LogEntry(len(log), NOW, write.event))
                        if isinstance(write.event, ChildRequested):
                            done[write.event.child] = self.child(write.event.ffqn, write.event.params)
                    if isinstance(decision, Unsettled):
                        done[decision.call.execution_id.removeprefix(f"{ROOT}.")] = decision.call.outcome
                        decision = machine.settle_stub(StubResult.OK, "", NOW)
                    elif isinstance(decision, Blocked):
                        child = next(
                            c for c, outcome in done.items() if outcome and join_set_of(c) == decision.join_set
                        )
                        body = ChildFinished(child, 2, done.pop(child))
                        responses.append(Response(len(responses) + 1, NOW, decision.join_set, body))
                        machine.deliver(responses[-1])
                        decision = machine.poll(NOW)
                    else:
                        break
                if isinstance(decision, Ended):
                    return decision.outcome, log, responses
                assert isinstance(decision, Answered), decision
                step = guest.send(decision.reply)
        finally:
            guest.close()


@pytest.fixture(scope="session")
def alone(calling_components, testing_components, loader):
    """Both generations beside each other, with the activity and the stub that they use: one sound deployment."""
    linked = [
        (FunctionKind.ACTIVITY, link_activity(loader.load(testing_components.activity))),
        (FunctionKind.WORKFLOW, link_workflow(loader.load(calling_components.flows_five))),
        (FunctionKind.WORKFLOW, link_workflow(loader.load(calling_components.flows_six))),
    ]
    components = [
        (FunctionKind.STUB, loader.load_wit(calling_components.stubs), {}),
        *((kind, each.component, each.entries) for kind, each in linked),
    ]
    assert check([Component(str(n), kind, each.wit) for n, (kind, each, _) in enumerate(components)]) == ()
    return Alone(components)


def told(outcome):
    return type(outcome).__name__, json.loads(bytes(outcome.value))


@pytest.mark.parametrize("number", ["five", "six"])
@pytest.mark.parametrize(
    ("params", "result", "events"),
    [
        ('["é"]', ("Ok", '"é"'), [JoinSetCreated, ChildRequested, JoinNextTry, JoinNext]),
        ('[ "a" ]', ("Ok", '"a"'), [JoinSetCreated, ChildRequested, JoinNextTry, JoinNext]),
        ("[1]", ("Err", "params[0]: expected string, got 1"), [JoinSetCreated, ChildRejected]),
        ("7", ("Err", "params: expected an array, got 7"), [JoinSetCreated]),
    ],
)
def test_a_child_in_json(alone, number, params, result, events):
    outcome, log, responses = alone.run(f"testing:json-{number}/flows.results", [params])
    assert told(outcome) == result
    assert [type(entry.event) for entry in log] == events
    again = alone.run(f"testing:json-{number}/flows.results", [params], Mode.VERIFY, log, responses)
    assert again == (outcome, log, responses)


@pytest.mark.parametrize("number", ["five", "six"])
def test_a_look_before_the_wait_finds_nothing_yet(alone, number):
    _, log, _ = alone.run(f"testing:json-{number}/flows.results", ['["x"]'])
    assert [entry.event.outcome for entry in log if isinstance(entry.event, JoinNextTry)] == [TryOutcome.PENDING]


@pytest.mark.parametrize("number", ["five", "six"])
def test_what_the_guest_wrote_is_kept_beside_the_canonical_form(alone, number):
    _, log, _ = alone.run(f"testing:json-{number}/flows.results", ['[ "\\u0061" ]'])
    (requested,) = (entry.event for entry in log if isinstance(entry.event, ChildRequested))
    assert (bytes(requested.params), bytes(requested.given), requested.form) == (b'["a"]', b"", ErrForm.STRING)


@pytest.mark.parametrize("number", ["five", "six"])
def test_a_stub_is_given_its_result(alone, number):
    ffqn = f"testing:json-{number}/flows.stubbed"
    outcome, log, responses = alone.run(ffqn, ["why?"])
    assert told(outcome) == ("Ok", "true")
    assert [type(entry.event) for entry in log] == [JoinSetCreated, ChildRequested, Stubbed, JoinNext]
    assert log[1].event.form is ErrForm.STRING, "found out, since the guest does not import what would say so"
    assert alone.run(ffqn, ["why?"], Mode.VERIFY, log, responses) == (outcome, log, responses)


def test_why_a_child_was_ended_by_the_platform(alone):
    outcome, log, _ = alone.run("testing:json-six/kinds.kind", [])
    uncategorized = 1 + list(FailureKind).index(FailureKind.UNCATEGORIZED)
    assert told(outcome) == ("Ok", uncategorized)
    # The same log with another end of the child: what the guest is told comes from there.
    for kind in FailureKind:
        body = ChildFinished("g:1_1", 2, Failure(kind))
        replayed, _, _ = alone.run("testing:json-six/kinds.kind", [], Mode.LIVE, log, [Response(1, NOW, "g:1", body)])
        assert told(replayed) == ("Ok", 1 + list(FailureKind).index(kind))
    for returned in (Ok(), Err()):
        body = ChildFinished("g:1_1", 2, returned)
        replayed, _, _ = alone.run("testing:json-six/kinds.kind", [], Mode.LIVE, log, [Response(1, NOW, "g:1", body)])
        assert told(replayed) == ("Ok", 0)


@pytest.mark.parametrize("number", ["five", "six"])
@pytest.mark.parametrize(
    ("outcome", "seen"),
    [
        (Ok(Json(b'"x"')), ("Ok", '"x"')),
        (Err(Json(b'"y"')), ("Err", '"y"')),
        (Failure(FailureKind.CANCELLED), ("Err", '"execution-failed"')),
    ],
)
def test_each_end_of_a_child_is_seen_as_json(alone, number, outcome, seen):
    ffqn = f"testing:json-{number}/flows.results"
    _, log, _ = alone.run(ffqn, ['["x"]'])
    response = Response(1, NOW, "g:1", ChildFinished("g:1_1", 2, outcome))
    replayed, _, _ = alone.run(ffqn, ['["x"]'], Mode.LIVE, log, [response])
    assert told(replayed) == seen
