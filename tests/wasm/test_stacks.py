"""Stacks that are taken in passing: what they show, and that the guest does not notice."""

import pytest

from obelisk.core.backtraces import Frame
from obelisk.core.calls import DONE, JoinSetClose, JoinSetCreate, Log, RandomU64
from obelisk.core.ids import JoinSetId
from obelisk.core.ports import Called, Returned, Yielded
from obelisk.core.values import Json, Ok
from obelisk.wasm.component import ComponentLoader
from obelisk.wasm.engine import EngineConfig, Engines
from obelisk.wasm.fiber import Fiber, State
from obelisk.wasm.frames import frames_of
from obelisk.wasm.guest import PoolIsFull, WorkflowGuest
from obelisk.wasm.link import link_workflow
from obelisk.wasm.stacks import Stacks

CREATE, DROP, RANDOM, LOG = 0, 1, 5, 6
"""Steps of fixtures/script.wat."""
pytestmark = pytest.mark.usefixtures("ticking")
RUN = (Frame("<unknown>", "<wasm function 14>"),)
REPLIES = {JoinSetCreate: JoinSetId("g:1"), RandomU64: 4, Log: DONE, JoinSetClose: DONE}


def stepped(guest, params):
    """Each call with the stack in it, then the last step."""
    seen = []
    step = guest.start(params)
    while not isinstance(step, Returned):
        if isinstance(step, Yielded):
            step = guest.resume()
            continue
        assert isinstance(step, Called), step
        seen.append((type(step.call), guest.stack()))
        step = guest.send(REPLIES[type(step.call)])
    assert guest.stack() is None
    return seen, step


def test_a_guest_goes_on_after_each_look(script):
    guest = WorkflowGuest(script)
    guest.look()
    steps = [CREATE, 0, CREATE, 1, DROP, 0, DROP, 1, RANDOM, 9, LOG, 0]
    seen, end = stepped(guest, Json(b"[%s]" % str(steps).encode()))
    calls = [JoinSetCreate, JoinSetCreate, JoinSetClose, JoinSetClose, RandomU64, Log]
    assert seen == [(call, RUN) for call in calls]
    assert end == Returned(Ok(Json(b"4")))
    guest.close()


def test_each_place_has_its_own_text_and_equal_ones_are_equal(script):
    fiber = Fiber(script.program)
    stacks, texts = Stacks(script.program.compiler), []
    answers = {"join-set-create": "g:1", "random-u64": 1}
    fiber.look = lambda context: texts.append(stacks.take(context))
    state = fiber.start(([CREATE, 0, RANDOM, 9, RANDOM, 9, DROP, 0],))
    while state is not State.RETURNED:
        state = fiber.resume() if state is State.RUNNABLE else fiber.answer(answers[fiber.call.name.rpartition(".")[2]])
    created, first, second, dropped = texts
    assert first == second
    assert len({created, first, dropped}) == 3
    assert frames_of(first) == RUN
    fiber.close()


def test_a_thousand_looks_leave_nothing_behind(script):
    """No stack of the pool of 64 is kept."""
    for _ in range(10):
        guest = WorkflowGuest(script)
        guest.look()
        seen, _ = stepped(guest, Json(b"[%s]" % str([RANDOM, 9] * 100).encode()))
        assert [stack for _, stack in seen] == [RUN] * 100
        guest.close()


def test_looks_cost_no_fuel(script_path):
    def left(look):
        entry = link_workflow(ComponentLoader(Engines(EngineConfig(pooling=False, fuel=fuel)), None).load(script_path))
        guest = WorkflowGuest(entry.entries["testing:script/script.run"])
        if look:
            guest.look()
        try:
            return stepped(guest, Json(b"[%s]" % str([RANDOM, 9] * 50).encode()))[1]
        except AssertionError:
            return None
        finally:
            guest.close()

    low, high = 0, 100_000
    while high - low > 1:  # the least that the run needs
        fuel = (low + high) // 2
        low, high = (fuel, high) if left(False) is None else (low, fuel)
    fuel = high
    assert left(True) is not None


def test_without_room_there_is_no_stack_but_the_guest_goes_on(script_path, tmp_path):
    engines = Engines(EngineConfig(pool_instances_max=1, pool_memory_max=16 << 20))
    entry = link_workflow(ComponentLoader(engines, tmp_path).load(script_path)).entries["testing:script/script.run"]
    guest = WorkflowGuest(entry)
    guest.look()
    step = guest.start(Json(b"[[5,9]]"))
    while isinstance(step, Yielded):
        step = guest.resume()
    with pytest.raises(PoolIsFull, match="maximum concurrent"):
        guest.stack()
    assert guest.send(4) == Returned(Ok(Json(b"4")))
    guest.close()
