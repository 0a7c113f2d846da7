"""What only the memory store does."""

from __future__ import annotations

from obelisk.core.batch import Expect, Refused, RefusedBy, Unit
from obelisk.store.memory import MemoryStore


def test_outcomes_are_remembered_by_batch(author):
    store = MemoryStore()
    one = author.id(1)
    outcomes = store.commit("first", [author.create(one), Unit([Expect(one, 5)])])
    assert outcomes[1] == Refused(RefusedBy.VERSION, one)
    assert store.outcome_of("first") == outcomes
    assert store.outcome_of("second") is None
    outcomes.clear()
    assert len(store.outcome_of("first")) == 2
