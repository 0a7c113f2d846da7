"""Random workflows, as data: what the simulator runs.

A `Program` is a list of statements without branches, interpreted by a generator guest. It never looks at a result before
it ends, so the history events of a program are the same in every run, whatever arrives in which order, unless it asks
without waiting (`erratic`). Its result lists what it was answered, sorted within each join set. It may then depend on the
order of arrival only where a join set is closed with members that nobody awaited, or where `-get` asks early: such a
program is `sensitive`, and so is its caller.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from random import Random
from typing import Final, assert_never

import msgspec

from obelisk.core import calls
from obelisk.core.batch import Snapshot
from obelisk.core.events import ComponentUpgraded, Created, Persist, PersistExecutionId, Resumed
from obelisk.core.ids import Digest, ExecutionId, JoinSetId
from obelisk.core.instants import At, In, Instant, Now
from obelisk.core.lines import LineFilter, LinePage, lines_of
from obelisk.core.names import FunctionName
from obelisk.core.policy import Blocking, ExecutionPolicy, RetryPolicy
from obelisk.core.values import Err, Failure, FailureKind, Json, Ok
from obelisk.engine.effects import EmitLog, StartAttempt
from obelisk.testing import invariants
from obelisk.testing.deployment import SimulatedRegistry, json_array
from obelisk.testing.guests import BURN, Flow, Trap
from obelisk.testing.invariants import Memory, Violation
from obelisk.testing.subject import AttemptEnd, Subject, Submission

RUN: Final = FunctionName("sim:flows/flows.run")
"""The workflow function; its only parameter is the index of a program."""
STUB: Final = FunctionName("sim:stubs/stubs.asked")
"""A stub activity; its parameter says whether a client has its result."""
NOWHERE: Final = FunctionName("sim:no/no.nowhere")
"""A function that is not deployed."""
LIKE: Final = Digest("sha256:" + "11" * 32)
"""Another component, whose programs are the same."""
UNLIKE: Final = Digest("sha256:" + "00" * 32)
"""Another component, whose programs begin with something that the others do not do."""
SHORTER: Final = Digest("sha256:" + "22" * 32)
"""Another component, whose programs return after half of what the others do."""
MILLISECOND: Final = 1_000


class Activity(msgspec.Struct, frozen=True):
    """How a simulated activity behaves: it fails `failures` times, then ends with `result`."""

    ffqn: FunctionName
    result: Ok | Err | Failure
    failures_max: int = 0
    """It fails 0 to `failures_max` times first, depending on the execution's id."""

    def outcome(self, execution_id: ExecutionId, failures: int) -> Ok | Err | Failure:
        """What the attempt after `failures` failed ones comes to."""
        if self.failures_max and failures < sum(execution_id.encode()) % (self.failures_max + 1):
            return Failure(FailureKind.UNCATEGORIZED, "activity trap: not yet")
        return self.result


_OK: Final = Json(b'"done"')
ACTIVITIES: Final = {
    activity.ffqn: activity
    for activity in (
        Activity(FunctionName("sim:acts/acts.steady"), Ok(_OK)),
        Activity(FunctionName("sim:acts/acts.brisk"), Ok()),
        Activity(FunctionName("sim:acts/acts.flaky"), Ok(_OK), failures_max=2),
        Activity(FunctionName("sim:acts/acts.erring"), Err(Json(b'"no"'))),
        Activity(FunctionName("sim:acts/acts.refusing"), Err(Json(b'"never"'), permanent=True)),
        Activity(FunctionName("sim:acts/acts.trapping"), Failure(FailureKind.UNCATEGORIZED, "activity trap: boom")),
    )
}
STEADY, BRISK, FLAKY, ERRING, REFUSING, TRAPPING = ACTIVITIES


# --- statements ------------------------------------------------------------------------------------------------------


class _Statement(msgspec.Struct, frozen=True, tag_field="do"):
    pass


class Callee(msgspec.Struct, frozen=True):
    """An activity (`program` None), or another program."""

    ffqn: FunctionName
    program: int | None = None

    @property
    def params(self) -> Json:
        """What it is called with."""
        return json_array() if self.program is None else json_array(self.program)


class Direct(_Statement, frozen=True):
    """A direct call, or `-invoke` with a label."""

    callee: Callee
    label: str | None = None


class Create(_Statement, frozen=True):
    """A join set in `slot`, generated or named."""

    slot: int
    name: str | None = None


class Submit(_Statement, frozen=True):
    """A child into a join set."""

    slot: int
    callee: Callee


class SubmitDelay(_Statement, frozen=True):
    """A delay into a join set; 0: due at once."""

    slot: int
    us: int


class AwaitNext(_Statement, frozen=True):
    """`-await-next`."""

    slot: int
    ffqn: FunctionName


class JoinNext(_Statement, frozen=True):
    """`join-next`."""

    slot: int


class Close(_Statement, frozen=True):
    """`join-set-close`."""

    slot: int


class Get(_Statement, frozen=True):
    """`-get` of the `index`-th submitted child."""

    index: int


class DirectJson(_Statement, frozen=True):
    """`call-json`; a function that is not there, and parameters that do not fit, are answered with why."""

    callee: Callee
    fits: bool = True


class SubmitJson(_Statement, frozen=True):
    """`submit-json`."""

    slot: int
    callee: Callee
    fits: bool = True


class GetJson(_Statement, frozen=True):
    """`get-result-json` of the `index`-th submitted child."""

    index: int


class Try(_Statement, frozen=True):
    """`join-next-try`."""

    slot: int


class Last(_Statement, frozen=True):
    """`last-id` of a join set, and those of direct calls and one-off sets."""

    slot: int


class Later(_Statement, frozen=True):
    """`-schedule`, and `schedule-json` under a generated id: the same once more, and something else under that id."""

    callee: Callee
    us: int


class Ask(_Statement, frozen=True):
    """A stub activity in a join set. `answered`: by the workflow itself, which says it twice and then something else, or by
    a client.
    """

    slot: int
    answered: bool


class Sleep(_Statement, frozen=True):
    """A durable sleep; 0: due at once."""

    us: int


class Draw(_Statement, frozen=True):
    """A random number and a random string."""

    below: int


class Say(_Statement, frozen=True):
    """A log line."""

    message: str


class Print(_Statement, frozen=True):
    """Output on one of its streams, of any number of lines."""

    stream: calls.StdStream
    text: str


class Look(_Statement, frozen=True):
    """Its clock, which never goes back, and what its own randomness follows from; both twice, since they stand still between
    two events.
    """


class Until(_Statement, frozen=True):
    """A durable sleep until an instant that follows from its clock: a clock that says something else in a replay is told by
    the log.
    """

    us: int


class Compute(_Statement, frozen=True):
    """Uses up some slices of CPU."""

    slices: int


class Fail(_Statement, frozen=True):
    """Ends with `err`."""


class Die(_Statement, frozen=True):
    """Traps."""


Statement = (
    Direct
    | Create
    | Submit
    | SubmitDelay
    | AwaitNext
    | JoinNext
    | Close
    | Get
    | DirectJson
    | SubmitJson
    | GetJson
    | Try
    | Last
    | Later
    | Ask
    | Sleep
    | Draw
    | Say
    | Print
    | Look
    | Until
    | Compute
    | Fail
    | Die
)


class Program(msgspec.Struct, frozen=True):
    """What a workflow does."""

    statements: tuple[Statement, ...]
    sensitive: bool = False
    """Whether its result may depend on the order in which responses arrive."""
    erratic: bool = False
    """Whether its history may."""


# --- interpreting ----------------------------------------------------------------------------------------------------


class Programs(Subject):
    """Programs by their index, and a client for each that is wanted: `(execution id, index, at_us)`."""

    def __init__(
        self,
        programs: Sequence[Program],
        wanted: Iterable[tuple[ExecutionId, int, int]],
        workflow: ExecutionPolicy | None = None,
        activity: ExecutionPolicy | None = None,
    ) -> None:
        self.programs: Final = tuple(programs)
        self._workflow: Final = workflow or ExecutionPolicy()
        self._activity: Final = activity or ACTIVITY_POLICY
        self._submissions: Final = tuple(
            Submission(execution_id, RUN, json_array(index), at_us) for execution_id, index, at_us in wanted
        )

    @property
    def submissions(self) -> tuple[Submission, ...]:
        """What clients submit."""
        return self._submissions

    def deployment(self) -> SimulatedRegistry:
        """The activities, and the function that runs the programs."""
        registry = SimulatedRegistry()
        for ffqn in ACTIVITIES:
            registry.add_activity(ffqn, self._activity)
        registry.add_stub(STUB)

        def run(execution_id: ExecutionId, params: Json) -> Flow:
            return interpret(self.programs[_index(params)], execution_id)

        def run_otherwise(execution_id: ExecutionId, params: Json) -> Flow:
            yield calls.RandomString(1, 3)
            return (yield from interpret(self.programs[_index(params)], execution_id))

        def run_shorter(execution_id: ExecutionId, params: Json) -> Flow:
            statements = self.programs[_index(params)].statements
            return interpret(Program(statements[: len(statements) // 2]), execution_id)

        registry.add_workflow(RUN, run_otherwise, self._workflow, UNLIKE)
        registry.add_workflow(RUN, run_shorter, self._workflow, SHORTER)
        registry.add_workflow(RUN, run, self._workflow, LIKE)
        registry.add_workflow(RUN, run, self._workflow)  # the active one
        return registry

    def given_result(self, execution_id: ExecutionId, ffqn: FunctionName, params: Json) -> Ok | Err | None:
        """Clients have the results that no workflow gives."""
        (answered,) = msgspec.json.decode(params, type=list[int])
        return None if answered else Ok(Json(b'"by a client"'))

    def attempt(self, start: StartAttempt, failures: int) -> AttemptEnd:
        """As `ACTIVITIES` says."""
        return AttemptEnd(ACTIVITIES[start.ffqn].outcome(start.execution_id, failures))

    def program_of(self, created: Created) -> Program | None:
        """The program that an execution runs; None for an activity."""
        return self.programs[_index(created.params)] if created.ffqn == RUN else None

    def check(self, store: Memory, lines: Sequence[EmitLog], *, calm: bool) -> None:
        """A workflow was answered the random values that are in its log, and no others are there. Each of its log lines is
        stored once, in order; in an undisturbed run it also leaves once.
        """
        for execution_id in invariants.everything(store):
            created = store.created(execution_id)
            program = None if created is None else self.program_of(created)
            if program is None:
                continue
            snapshot = invariants.snapshot_of(store, execution_id)
            _drew_what_is_logged(snapshot)
            _looked_at_its_own(snapshot)
            said = _lines_of(program)
            stored = [each.line for each in store.lines(LineFilter(execution_id), LinePage(len(said) * 10))]
            _stored_what_it_said(snapshot, stored, said)
            if not calm:
                continue
            told = [line for line in lines if line.execution_id == execution_id]
            places = [(line.version, line.ordinal) for line in told]
            if [each.line for each in told] != said or sorted(set(places)) != places:
                raise Violation(f"{execution_id} said {said}, told was {told}")


def _lines_of(program: Program) -> list[calls.LogLine]:
    found: list[calls.LogLine] = []
    for statement in program.statements:
        match statement:
            case Say(message):
                found.append(calls.Log(calls.LogLevel.INFO, message))
            case Print(stream, text):
                found += lines_of(calls.Output(stream, text.encode()))
    return found


def _stored_what_it_said(snapshot: Snapshot, stored: list[calls.LogLine], said: list[calls.LogLine]) -> None:
    """One that was let go on after it was parked, or on another component, or that goes on as another one did, may have said
    something twice, or not have said the beginning.
    """
    log = [entry.event for entry in snapshot.log]
    if any(isinstance(event, Resumed | ComponentUpgraded) for event in log) or snapshot.state.component == UNLIKE:
        return
    created = log[0]
    if isinstance(created, Created) and created.forked_from is not None:
        return
    has_ended = isinstance(invariants.outcome_of(snapshot), Ok)
    if stored != (said if has_ended else said[: len(stored)]):
        raise Violation(f"{snapshot.state.execution_id} said {said}, stored was {stored}", snapshot.state.execution_id)


def _looked_at_its_own(snapshot: Snapshot) -> None:
    """What its randomness follows from is its id; that of a fork is the id of what it goes back to."""
    outcome, created = invariants.outcome_of(snapshot), snapshot.log[0].event
    if not isinstance(outcome, Ok) or not isinstance(created, Created):
        return
    origin = created.forked_from
    own = snapshot.state.execution_id if origin is None else origin.first or origin.execution_id
    told = {text for replies in msgspec.json.decode(outcome.value) for text in replies if text.startswith(_SEED)}
    if not told <= {f"{_SEED}{own}"}:
        raise Violation(f"{snapshot.state.execution_id} drew as {told}", snapshot.state.execution_id)


def _drew_what_is_logged(snapshot: Snapshot) -> None:
    outcome = invariants.outcome_of(snapshot)
    if not isinstance(outcome, Ok):
        return
    logged = [
        _plain(msgspec.json.decode(event.value), snapshot.state.execution_id)
        for event in (entry.event for entry in snapshot.log)
        if isinstance(event, Persist) and not isinstance(event.kind, PersistExecutionId)
    ][snapshot.state.component == UNLIKE :]  # what those begin with, they do not tell
    told = iter([text for replies in msgspec.json.decode(outcome.value) for text in replies])
    if not all(text in told for text in logged):
        what = f"{snapshot.state.execution_id} has drawn {logged}, but was answered otherwise"
        raise Violation(what, snapshot.state.execution_id, str(outcome))


def _index(params: Json) -> int:
    (index,) = msgspec.json.decode(params, type=list[int])
    return index


def interpret(program: Program, execution_id: ExecutionId) -> Flow:
    """Runs a program as a guest."""
    slots: dict[int, JoinSetId] = {}
    seen: dict[int, list[str]] = {}
    children: list[tuple[ExecutionId, FunctionName]] = []
    latest = 0

    def note(slot: int, reply: calls.Reply | None) -> None:
        seen.setdefault(slot, []).append(_plain(reply, execution_id))

    for statement in program.statements:
        match statement:
            case Direct(callee, label):
                note(-1, (yield calls.CallChild(callee.ffqn, callee.params, label)))
            case Create(slot, name):
                reply = yield calls.JoinSetCreate(name)
                note(-1, reply)
                if isinstance(reply, str):
                    slots[slot] = JoinSetId(reply)
            case Submit(slot, callee):
                reply = yield calls.Submit(slots[slot], callee.ffqn, callee.params)
                assert isinstance(reply, str)
                children.append((ExecutionId(reply), callee.ffqn))
            case SubmitDelay(slot, us):
                yield calls.SubmitDelay(slots[slot], In(us) if us else Now())
            case AwaitNext(slot, ffqn):
                note(slot, (yield calls.AwaitNext(slots[slot], ffqn)))
            case JoinNext(slot):
                note(slot, (yield calls.JoinNext(slots[slot])))
            case Close(slot):
                yield calls.JoinSetClose(slots[slot])
            case Get(index):
                child, ffqn = children[index]
                note(-1, (yield calls.Get(child, ffqn)))
            case DirectJson(callee, fits):
                note(-1, (yield calls.CallJson(callee.ffqn, callee.params if fits else _UNFIT)))
            case SubmitJson(slot, callee, fits):
                reply = yield calls.SubmitJson(slots[slot], callee.ffqn, callee.params if fits else _UNFIT)
                if isinstance(reply, str):
                    children.append((ExecutionId(reply), callee.ffqn))
                else:
                    note(-1, reply)
            case GetJson(index):
                note(-1, (yield calls.GetJson(children[index][0])))
            case Try(slot):
                note(slot, (yield calls.JoinNextTry(slots[slot])))
            case Last(slot):
                note(slot, (yield calls.LastOfSet(slots[slot])))
                note(-1, (yield calls.LastDirectCall()))
                note(-1, (yield calls.LastOneOff()))
            case Later(callee, us):
                at = In(us) if us else Now()
                note(-1, (yield calls.Schedule(callee.ffqn, callee.params, at)))
                generated = yield calls.GenerateExecutionId()
                assert isinstance(generated, str)
                chosen = ExecutionId(generated)
                note(-1, (yield calls.ScheduleJson(chosen, callee.ffqn, callee.params, at)))
                note(-1, (yield calls.ScheduleJson(chosen, callee.ffqn, callee.params, at)))
                note(-1, (yield calls.ScheduleJson(chosen, callee.ffqn, json_array("other"), at)))
            case Ask(slot, answered):
                asked = yield calls.Submit(slots[slot], STUB, json_array(int(answered)))
                assert isinstance(asked, str)
                stub = ExecutionId(asked)
                children.append((stub, STUB))
                if answered:
                    note(-1, (yield calls.Stub(stub, STUB, Ok(Json(b'"given"')))))
                    note(-1, (yield calls.StubJson(stub, Json(b'{"ok":"given"}'))))
                    note(-1, (yield calls.Stub(stub, STUB, Err())))
            case Sleep(us):
                reply = yield calls.Sleep(In(us) if us else Now(), "nap" if us > MILLISECOND else None)
                note(-1, type(reply).__name__)
            case Draw(below):
                note(-1, (yield calls.RandomU64(0, below - 1)))
                note(-1, (yield calls.RandomString(1, below)))
            case Say(message):
                yield calls.Log(calls.LogLevel.INFO, message)
            case Print(stream, text):
                yield calls.Output(stream, text.encode())
            case Look():
                latest = yield from _look(execution_id, latest)
                seed, again = (yield calls.RandomSeed()), (yield calls.RandomSeed())
                if seed != again:
                    raise Violation(f"{execution_id} drew as {seed}, then as {again}", execution_id)
                seen.setdefault(-1, []).append(f"{_SEED}{seed}")
            case Until(us):
                latest = yield from _look(execution_id, latest)
                due = Instant(latest + us)
                reply = yield calls.Sleep(At(due))
                note(-1, type(reply).__name__)
                latest = yield from _look(
                    execution_id, max(latest, due) if isinstance(reply, calls.WokenAt) else latest
                )
            case Compute(slices):
                for _ in range(slices):
                    yield BURN
            case Fail():
                return Err(Json(b'"failed on purpose"'))
            case Die():
                raise Trap("died on purpose")
            case _:
                assert_never(statement)
    return Ok(json_array(*[sorted(replies) if slot >= 0 else replies for slot, replies in sorted(seen.items())]))


def _look(execution_id: ExecutionId, latest: int) -> Generator[calls.Call, calls.Reply | None, int]:
    """Its clock; `latest`: what it cannot be before."""
    now, again = (yield calls.CurrentTime()), (yield calls.CurrentTime())
    if not isinstance(now, int) or now != again or now < latest:
        raise Violation(f"{execution_id} was told that it is {now}, then {again}; before, {latest}", execution_id)
    return now


_UNFIT: Final = Json(b"7")
_SEED: Final = "seed "


def _plain(reply: calls.Reply | None, execution_id: ExecutionId) -> str:
    """A reply as text, without times."""
    if isinstance(reply, calls.WokenAt):
        return "woken"
    return msgspec.json.encode([type(reply).__name__, reply], enc_hook=str).decode()


# --- making ----------------------------------------------------------------------------------------------------------


def random_policy(random: Random) -> ExecutionPolicy:
    """How workflows are run."""
    return ExecutionPolicy(
        lock_expiry_us=random.choice([1, 5, 50, 1_000]) * MILLISECOND,
        blocking=random.choice([Blocking.AWAIT, Blocking.AWAIT, Blocking.INTERRUPT]),
    )


ACTIVITY_POLICY: Final = ExecutionPolicy(
    lock_expiry_us=200 * MILLISECOND, retry=RetryPolicy(max_retries=4, exp_backoff_us=5 * MILLISECOND)
)


def random_programs(random: Random, count: int, length_max: int) -> list[Program]:
    """Programs that may call those before them."""
    programs: list[Program] = []
    for _ in range(count):
        programs.append(_Maker(random, programs).make(random.randint(1, length_max)))
    return programs


def random_family(random: Random) -> Program:
    """A fan-out with nothing else to do than to await it, twice; some of it may be left to the end."""
    statements: list[Statement] = []
    sensitive = False
    for slot in range(2):
        members, left = random.randint(3, 8), random.choice([0, 0, 0, 2])
        sensitive |= left > 0
        statements += [Create(slot), *[Submit(slot, Callee(random.choice([STEADY, FLAKY]))) for _ in range(members)]]
        statements += [SubmitDelay(slot, 10 * MILLISECOND), *[JoinNext(slot) for _ in range(members + 1 - left)]]
    return Program(tuple(statements), sensitive)


class _Slot(msgspec.Struct):
    """A join set while its program is being made."""

    callee: Callee | None
    """Awaited by `-await-next`, as this function; None: by `join-next`."""
    drained: bool
    members: int = 0
    awaited: int = 0
    closed: bool = False


class _Maker:
    """Makes one program."""

    def __init__(self, random: Random, before: list[Program]) -> None:
        self._random = random
        self._before = before
        self._statements: list[Statement] = []
        self._slots: list[_Slot] = []
        self._children = 0
        self._names: set[str] = set()
        self._sensitive = False
        self._erratic = False

    def make(self, length: int) -> Program:
        for _ in range(length):
            self._random.choice(
                [
                    self._direct, self._direct, self._create, self._create, self._submit, self._submit, self._submit,
                    self._submit_delay, self._await, self._await, self._close, self._get, self._sleep, self._draw,
                    self._say, self._compute, self._direct_json, self._submit_json, self._get_json, self._try,
                    self._last, self._later, self._ask, self._ask, self._print, self._look, self._until,
                ]
            )()  # fmt: skip
        dice = self._random.random()
        for slot in range(len(self._slots)):
            if dice < 0.1 and self._slots[slot].members > self._slots[slot].awaited:
                self._sensitive = True  # ends with an open join set
            else:
                self._drain(slot)
        if dice < 0.1:
            last: Statement = Fail() if self._random.random() < 0.5 else Die()
            self._statements.append(last)
        return Program(tuple(self._statements), self._sensitive, self._erratic)

    def _callee(self) -> Callee:
        if self._before and self._random.random() < 0.3:
            index = self._random.randrange(len(self._before))
            self._sensitive |= self._before[index].sensitive or self._before[index].erratic
            return Callee(RUN, index)
        return Callee(self._random.choice(list(ACTIVITIES)))

    def _open(self) -> int | None:
        slots = [index for index, slot in enumerate(self._slots) if not slot.closed]
        return self._random.choice(slots) if slots else None

    def _direct(self) -> None:
        label = self._random.choice([None, None, "label", "not valid!"])
        self._statements.append(Direct(self._callee(), label))

    def _create(self) -> None:
        name = self._random.choice([None, None, "batch", "x/1"])
        if name in self._names:
            self._statements.append(Create(99, name))  # a conflict
            return
        if name is not None:
            self._names.add(name)
        self._statements.append(Create(len(self._slots), name))
        callee = Callee(self._random.choice(list(ACTIVITIES))) if self._random.random() < 0.5 else None
        self._slots.append(_Slot(callee, drained=self._random.random() < 0.8))

    def _submit(self) -> None:
        slot = self._open()
        for _ in range(self._random.choice([1, 1, 4]) if slot is not None else 0):
            assert slot is not None
            known = self._slots[slot].callee
            callee = known if known is not None and self._random.random() < 0.8 else self._callee()
            self._statements.append(Submit(slot, callee))
            self._slots[slot].members += 1
            self._children += 1

    def _submit_delay(self) -> None:
        slot = self._open()
        if slot is not None:
            self._statements.append(SubmitDelay(slot, self._random.choice([0, 1, 10, 100]) * MILLISECOND))
            self._slots[slot].members += 1

    def _await(self) -> None:
        slot = self._open()
        if slot is not None:
            self._await_in(slot)

    def _await_in(self, index: int) -> None:
        slot = self._slots[index]
        self._statements.append(JoinNext(index) if slot.callee is None else AwaitNext(index, slot.callee.ffqn))
        slot.awaited = min(slot.awaited + 1, slot.members)

    def _drain(self, index: int) -> None:
        slot = self._slots[index]
        if slot.drained:
            while not slot.closed and slot.awaited < slot.members:
                self._await_in(index)
        elif slot.awaited < slot.members:
            self._sensitive = True

    def _close(self) -> None:
        index = self._open()
        if index is not None:
            self._drain(index)
            self._slots[index].closed = True
            self._statements.append(Close(index))

    def _get(self) -> None:
        if self._children:
            self._sensitive = True
            self._statements.append(Get(self._random.randrange(self._children)))

    def _direct_json(self) -> None:
        callee = self._random.choice([self._callee(), Callee(NOWHERE)])
        self._statements.append(DirectJson(callee, fits=self._random.random() < 0.7))

    def _submit_json(self) -> None:
        slot = self._open()
        if slot is not None and self._slots[slot].callee is None:
            callee, fits = self._random.choice([self._callee(), Callee(NOWHERE)]), self._random.random() < 0.7
            self._statements.append(SubmitJson(slot, callee, fits))
            if fits and callee.ffqn != NOWHERE:
                self._slots[slot].members += 1
                self._children += 1

    def _get_json(self) -> None:
        if self._children:
            self._sensitive = True
            self._statements.append(GetJson(self._random.randrange(self._children)))

    def _try(self) -> None:
        slot = self._open()
        if slot is not None and self._random.random() < 0.3:
            self._erratic = self._sensitive = True
            self._statements.append(Try(slot))

    def _last(self) -> None:
        slot = self._open()
        if slot is not None:
            self._sensitive = True
            self._statements.append(Last(slot))

    def _later(self) -> None:
        if self._random.random() < 0.3:
            callee = Callee(self._random.choice(list(ACTIVITIES)))
            self._statements.append(Later(callee, self._random.choice([0, 1, 100]) * MILLISECOND))

    def _ask(self) -> None:
        slot = self._open()
        if slot is not None and self._slots[slot].callee is None:
            self._statements.append(Ask(slot, answered=self._random.random() < 0.5))
            self._slots[slot].members += 1
            self._children += 1

    def _sleep(self) -> None:
        self._statements.append(Sleep(self._random.choice([0, 1, 10, 300]) * MILLISECOND))

    def _draw(self) -> None:
        self._statements.append(Draw(self._random.randint(2, 9)))

    def _say(self) -> None:
        self._statements.append(Say(f"line {len(self._statements)}"))

    def _print(self) -> None:
        stream = self._random.choice(list(calls.StdStream))
        text = self._random.choice(["one\n", "one\ntwo\n\nfour\n", "no end", "an end\nand none"])
        self._statements.append(Print(stream, f"{len(self._statements)} {text}"))

    def _look(self) -> None:
        self._statements.append(Look())

    def _until(self) -> None:
        self._statements.append(Until(self._random.choice([0, 1, 100]) * MILLISECOND))

    def _compute(self) -> None:
        self._statements.append(Compute(self._random.randint(1, 3)))
