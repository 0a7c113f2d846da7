"""Small worlds, in every order of arrival and with a crash at every commit: those that take seconds. `make sim` has all."""

from __future__ import annotations

import pytest

from obelisk.core.batch import Recovered
from obelisk.engine.recovery import Recovery
from obelisk.testing.exhaustive import Count, Ending, Small, all_small, explore
from obelisk.testing.invariants import Violation


@pytest.mark.parametrize("engines", [1, 2])
def test_every_order_and_every_crash_with_one_join_set(engines: int) -> None:
    count = Count()
    for small in all_small((engines,), sets_max=1):
        if len(small.members) < 4:
            explore(small, count)
    assert (count.worlds, count.orders) == (19, 58)
    assert count.runs > 500


def test_there_is_one_world_for_each_shape() -> None:
    worlds = list(all_small())
    assert len(set(worlds)) == len(worlds) == 2 * 2 * 2 * 2 * len(Ending)


def test_what_is_lost_in_a_crash_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery that forgets unresolved delays."""
    on_claimed = Recovery.on_claimed

    def forgetful(self, recovered, draft):
        on_claimed(self, Recovered(recovered.states, []), draft)

    monkeypatch.setattr(Recovery, "on_claimed", forgetful)
    with pytest.raises(Violation, match="never ends"):
        explore(Small(1, 1, True, Ending.AWAITS, 1), Count())
