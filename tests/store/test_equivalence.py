"""Random batches: the memory store and the SQLite store answer the same and hold the same."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from obelisk.core.batch import CancelRequest, Delay, Expect, NewEvent, NewResponse, Request, StoreFailed, Unit
from obelisk.core.events import Created, Finished, JoinSetCreated
from obelisk.core.ids import ExecutionId, is_top_level, join_set_of, relative, ulid
from obelisk.core.reading import ExecutionFilter, Page, StateFilter
from obelisk.core.responses import ChildFinished, DelayFinished, Response
from obelisk.core.state import ExecutionState, Status
from obelisk.core.transitions import create
from obelisk.core.values import Json, Ok
from obelisk.store.fences import MalformedUnit
from obelisk.store.memory import MemoryStore
from obelisk.store.sqlite import SqliteStore

ROOTS = [ExecutionId("E_" + ulid(1, number.to_bytes(10))) for number in range(3)]
IDS = [*ROOTS, *(ExecutionId(f"{root}.{member}") for root in ROOTS for member in ("g:1_1", "g:1_2", "g:1_1.n:a_1"))]
OWNERS = ["Exr_a", "Exr_b", None]

ids = st.sampled_from(IDS)
owners = st.sampled_from(OWNERS)
instants = st.integers(0, 9)
off = st.integers(0, 19).map(lambda number: {18: -1, 19: 1}.get(number, 0))
"""How far an expectation is off: mostly not at all."""
actions = st.fixed_dictionaries({
    "id": ids,
    "version": off,
    "epoch": off,
    "responses": st.one_of(st.none(), off),
    "events": st.integers(0, 2),
    "finish": st.integers(0, 5).map(lambda number: number >= 4),
    "owner": owners,
    "at": instants,
    "status": st.sampled_from([Status.PENDING, Status.LOCKED, Status.BLOCKED]),
    "response": st.sampled_from([None, "posted", "held", "child", "child"]),
    "delay": st.sampled_from([None, None, "add", "done"]),
    "request": st.booleans(),
})  # fmt: skip
batches = st.lists(
    st.tuples(st.lists(actions, min_size=1, max_size=2), st.sets(st.integers(0, 5), max_size=1)), min_size=1, max_size=6
)


class Stores(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.memory = MemoryStore()
        self.open()
        self.batch = 0
        self.delays = 0
        step = {"version": 0, "epoch": 0, "responses": None, "events": 1, "finish": False, "owner": None, "at": 1}
        step |= {"status": Status.LOCKED, "response": None, "delay": None, "request": False}
        self.commit_both([[{"id": root, **step}] for root in ROOTS], [set()] * len(ROOTS))

    def open(self) -> None:
        # Durability is tested elsewhere; without it there is time for more batches.
        self.sqlite = SqliteStore(self.directory / "obelisk.sqlite", pragmas={"synchronous": "OFF"})
        self.reader = self.sqlite.reader()

    def teardown(self) -> None:
        self.reader.close()
        self.sqlite.close()
        shutil.rmtree(self.directory)

    def unit(self, index: int, steps: list[dict], after: set[int], drafts: dict[ExecutionId, ExecutionState]) -> Unit:
        """A well-formed unit, decided on `drafts`: what the units before it lead to if none is refused."""
        unit = Unit([], after=sorted(number for number in after if number < index))
        for step in {step["id"]: step for step in steps}.values():
            self.act(unit, drafts, **step)
        return unit

    def act(
        self, unit, drafts, id, version, epoch, responses, events, finish, owner, at, status, response, delay, request
    ):
        state = drafts.get(id)
        if state is None or state.next_version + version <= 0:
            join_set = None if is_top_level(id) else join_set_of(relative(id))
            event = Created("a:b/c.d", Json(b"[]"), "sha256:1", "Dep_1", at, join_set)
            state = create(id, event, at, owner)
            state.lease_expires_at = None if at % 2 else at
            unit.expects.append(Expect(id, 0))
            unit.events.append(NewEvent(id, 0, at, event))
            if id in drafts:
                unit.states.append(state)
                return
        else:
            state = state.copy()
            count = None if responses is None else max(state.response_count + responses, 0)
            unit.expects.append(Expect(id, state.next_version + version, state.lease_epoch + epoch, count))
            state.next_version += version
            new = [JoinSetCreated("g:9")] * events + [Finished(Ok(Json(b"1")))] * finish
            for event in new:
                unit.events.append(NewEvent(id, state.next_version, at, event))
                state.next_version += 1
            state.status, state.owner, state.pending_at = status, owner, at
            if finish:
                state.status, state.owner, state.finish_kind, state.finished_at = Status.FINISHED, None, "ok", at
            elif state.finish_kind is not None:
                state.status = Status.FINISHED
        unit.states.append(state)
        drafts[id] = state.copy()
        if response is not None:
            seq = 0 if response == "posted" else state.response_count + 1
            body = DelayFinished("g:1_1", ok=bool(at % 2))
            child = ExecutionId(f"{id}.g:1_1")
            if response == "child" and self.memory.result(child) is not None:
                body = ChildFinished("g:1_1", self.memory.state(child).next_version - 1, Ok(Json(b"1")))
            unit.responses.append(NewResponse(id, Response(seq, at, "g:1", body)))
            drafts[id].response_count += 1
        if delay == "add":
            self.delays += 1
            unit.delays.append(Delay(id, f"g:1_{self.delays}", at))
        elif delay == "done":
            unit.delays_done.append((id, f"g:1_{self.delays}"))
        if request:
            unit.requests.append(Request(id, at, CancelRequest()))
        elif at == 0:
            unit.requests_done.append(1)

    def result(self, one):
        try:
            return self.reader.result(one)
        except StoreFailed:  # this machine may append to a finished log, an engine does not
            return None

    @rule(batch=batches)
    def commit(self, batch) -> None:
        self.commit_both([steps for steps, _ in batch], [after for _, after in batch])

    def commit_both(self, steps, after) -> None:
        drafts = {state.execution_id: state for state in self.memory.states(IDS)}
        units = [self.unit(index, *both, drafts) for index, both in enumerate(zip(steps, after, strict=True))]
        self.batch += 1
        answers = [self.answer(store, units) for store in (self.memory, self.sqlite)]
        assert answers[0] == answers[1]

    def answer(self, store, units):
        try:
            return store.commit(str(self.batch), units)
        except MalformedUnit as error:
            return str(error)

    @rule(owner=owners.filter(bool), started=st.frozensets(ids))
    def take_over(self, owner, started) -> None:
        assert self.memory.take_over(owner, started) == self.sqlite.take_over(owner, started)

    @rule(owner=owners.filter(bool), now=instants, count=st.integers(0, 4))
    def claim(self, owner, now, count) -> None:
        assert self.memory.claim(owner, now, now + 3, count) == self.sqlite.claim(owner, now, now + 3, count)

    @rule(owner=owners.filter(bool), at=instants)
    def renew(self, owner, at) -> None:
        self.memory.renew(owner, at)
        self.sqlite.renew(owner, at)

    @rule()
    def reopen(self) -> None:
        self.reader.close()
        self.sqlite.close()
        self.open()

    @rule(
        where=st.builds(
            ExecutionFilter,
            top_level_only=st.booleans(),
            root=st.none() | ids,
            id_prefix=st.none() | ids.map(lambda text: text[:-2]),
            hide_finished=st.booleans(),
            states=st.lists(st.sampled_from(StateFilter), max_size=3).map(tuple),
        ),
        page=st.builds(
            Page,
            length=st.integers(0, 4),
            cursor=st.none() | ids | st.tuples(instants, st.none() | ids),
            newer=st.booleans(),
            including_cursor=st.booleans(),
        ),
        now=instants,
    )
    def list(self, where, page, now) -> None:
        assert self.memory.executions(where, page, now) == self.reader.executions(where, page, now)

    @invariant()
    def both_hold_the_same(self) -> None:
        for one in IDS:
            assert self.memory.load(one) == self.sqlite.load(one)
            assert self.memory.result(one) == self.result(one)
        for owner in OWNERS[:2]:
            assert self.memory.news(owner) == self.sqlite.news(owner)


TestStores = Stores.TestCase
TestStores.settings = settings(max_examples=40, stateful_step_count=15, derandomize=True)
