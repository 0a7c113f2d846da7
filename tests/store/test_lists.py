"""Lists of the SQLite store: whichever index a page follows, it shows what the memory store shows, and costs no more when there is
more of everything else.
"""

from __future__ import annotations

import itertools
import random
from contextlib import closing

import pytest

from obelisk.core.batch import Unit
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.reading import ExecutionFilter, Page, StateFilter
from obelisk.core.state import Lifecycle, Status
from obelisk.store.memory import MemoryStore
from obelisk.store.sqlite import SqliteStore, pages

FUNCTIONS = ("a:b/c.one", "a:b/c.two", "a:b/d.one", "x:y/z.f")
COMPONENTS = ("sha256:" + "11" * 32, "sha256:" + "22" * 32, "sha256:" + "33" * 32)
DEPLOYMENTS = ("Dep_1", "Dep_2")
ENDS = ("ok", "err", "timed_out", None, None)


def populate(stores, author, roots: int, seed: int = 7) -> list[ExecutionId]:
    """Roots of all sorts, oldest first, some with children."""
    chance, ids = random.Random(seed), []
    for number in range(roots):
        author.now = Instant(author.now + chance.choice((0, 1, 5)))
        root = author.id(chance.randrange(1 << 40))
        for one in [root, *(ExecutionId(f"{root}.g:1_{child}") for child in range(1, chance.randrange(1, 4)))]:
            names = {
                "ffqn": chance.choice(FUNCTIONS),
                "component": chance.choice(COMPONENTS),
                "deployment": chance.choice(DEPLOYMENTS),
            }
            made = author.create(one, **names)
            state = author.states[one]
            state.finish_kind = chance.choice(ENDS)
            state.status = chance.choice((Status.PENDING, Status.LOCKED, Status.BLOCKED))
            state.lifecycle = chance.choice((*Lifecycle, Lifecycle.ACTIVE))
            if state.finish_kind is not None:
                state.status, state.finished_at = Status.FINISHED, author.now
            moved = Unit([author.expect(one)], states=[state.copy()])
            for store in stores:
                store.commit(f"{number}", [made, moved])
            ids.append(one)
    return ids


FILTERS = [
    {"top_level_only": top, **names, **states}
    for top, names, states in itertools.product(
        (True, False),
        (
            {},
            {"ffqn": FUNCTIONS[0]},
            {"ffqn": "no:such/function.f"},
            {"ffqn_prefix": "a:b/"},
            {"ffqn_prefix": "a:b/c.", "ffqn": FUNCTIONS[3]},
            {"components": COMPONENTS[:1]},
            {"components": (*COMPONENTS[1:], "sha256:" + "44" * 32)},
            {"components": ("sha256:" + "44" * 32,)},
            {"deployment": DEPLOYMENTS[1]},
            {"deployment": "Dep_3"},
            {"ffqn_prefix": "a:", "components": COMPONENTS[:2], "deployment": DEPLOYMENTS[0]},
            {"id_prefix": "E_"},
        ),
        (
            {},
            {"hide_finished": True},
            {"states": (StateFilter.BLOCKED, StateFilter.PAUSED)},
            {"states": (StateFilter.FINISHED_ERR,)},
            {"states": (StateFilter.FINISHED_ERR, StateFilter.FINISHED_FAILURE)},
            {"states": (StateFilter.FINISHED_FAILURE, StateFilter.LOCKED)},
            {"states": (StateFilter.FINISHED_ERR,), "hide_finished": True},
        ),
    )
]


@pytest.mark.parametrize("common", [0, 5, 1_000])
def test_every_filter_shows_what_the_memory_store_shows(tmp_path, author, monkeypatch, common):
    monkeypatch.setattr(pages, "_COMMON", common)
    memory = MemoryStore()
    with closing(SqliteStore(tmp_path / "obelisk.sqlite")) as store, closing(store.reader()) as reader:
        ids = populate([memory, store], author, 40)
        middle = ids[len(ids) // 2]
        for where in FILTERS:
            for page in (Page(), Page(3), Page(5, cursor=middle), Page(5, cursor=middle, newer=True)):
                chosen = ExecutionFilter(**where)
                assert reader.executions(chosen, page, author.now) == memory.executions(chosen, page, author.now), where


def steps_of(reader, where: ExecutionFilter, now: Instant) -> int:
    """Instructions of SQLite's machine that a page takes, and how it begins."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    with reader._connection() as connection:
        connection.set_progress_handler(count, 1)
    reader.executions(where, Page(), now)
    with reader._connection() as connection:
        connection.set_progress_handler(None, 1)
    return counted


INDEXED = {
    "top level": {},
    "all": {"top_level_only": False},
    "open": {"hide_finished": True},
    "open, with children": {"hide_finished": True, "top_level_only": False},
    **{str(state): {"states": (state,)} for state in StateFilter if state is not StateFilter.FINISHED},
    "failed, with children": {"states": (StateFilter.FINISHED_FAILURE,), "top_level_only": False},
    "function": {"ffqn": "rare:f/f.f"},
    "common function": {"ffqn": FUNCTIONS[0]},
    "common component": {"components": COMPONENTS[:1]},
    "function that there is not": {"ffqn": "rare:f/f.g"},
    "package": {"ffqn_prefix": "rare:f/"},
    "component": {"components": ("sha256:" + "99" * 32,)},
    "deployment": {"deployment": "Dep_9"},
    "function and deployment": {"ffqn": FUNCTIONS[0], "deployment": "Dep_9"},
    "component and state": {"components": COMPONENTS[:1], "states": (StateFilter.PARKED,)},
}


def test_what_is_rare_and_old_is_found_without_looking_at_the_rest(tmp_path, author):
    rare = {"ffqn": "rare:f/f.f", "component": "sha256:" + "99" * 32, "deployment": "Dep_9"}

    def add(store, one: ExecutionId, status: Status, kind: str | None, lifecycle: Lifecycle, **names: str) -> None:
        author.now = Instant(author.now + 1)
        made = author.create(one, **names)
        state = author.states[one]
        state.status, state.finish_kind, state.lifecycle = status, kind, lifecycle
        state.finished_at = None if kind is None else author.now
        store.commit("b", [made, Unit([author.expect(one)], states=[state.copy()])])

    with closing(SqliteStore(tmp_path / "obelisk.sqlite")) as store, closing(store.reader()) as reader:
        for number, lifecycle in enumerate(Lifecycle):
            for offset, status in enumerate((Status.PENDING, Status.LOCKED, Status.BLOCKED)):
                add(store, author.id(10 * number + offset), status, None, lifecycle, **rare)
        add(store, author.id(101), Status.FINISHED, "err", Lifecycle.ACTIVE, **rare)
        add(store, author.id(102), Status.FINISHED, "timed_out", Lifecycle.ACTIVE, **rare)
        costs = []
        for first in (1_000, 2_000):
            for number in range(first, first + 200):
                names = {"ffqn": FUNCTIONS[0], "component": COMPONENTS[0], "deployment": DEPLOYMENTS[0]}
                add(store, author.id(number), Status.FINISHED, "ok", Lifecycle.ACTIVE, **names)
                child = ExecutionId(f"{author.id(number)}.g:1_1")
                add(store, child, Status.FINISHED, "ok", Lifecycle.ACTIVE, **names)
            costs.append(
                {name: steps_of(reader, ExecutionFilter(**where), author.now) for name, where in INDEXED.items()}
            )
        # What is common is counted, up to a bound, to see what is rarest.
        counted = 200 * 10
        allowed = dict.fromkeys(("function and deployment", "common function", "common component"), counted)
        dearer = {
            name: (few, costs[1][name])
            for name, few in costs[0].items()
            if costs[1][name] > few + 50 + allowed.get(name, 0)
        }
    assert not dearer


def test_an_upgraded_execution_is_found_by_its_new_component(tmp_path, author):
    with closing(SqliteStore(tmp_path / "obelisk.sqlite")) as store, closing(store.reader()) as reader:
        one = author.id(1)
        store.commit("b", [author.create(one, component=COMPONENTS[0], deployment=DEPLOYMENTS[0])])
        state = author.states[one]
        state.component, state.deployment = COMPONENTS[1], DEPLOYMENTS[1]
        store.commit("b", [Unit([author.expect(one)], states=[state.copy()])])

        def found(**where):
            return [each.execution_id for each in reader.executions(ExecutionFilter(**where), Page(), author.now)]

        assert found(components=COMPONENTS[:1]) == found(deployment=DEPLOYMENTS[0]) == []
        assert found(components=COMPONENTS[1:2]) == found(deployment=DEPLOYMENTS[1]) == [one]
        assert reader.state(one) == state
