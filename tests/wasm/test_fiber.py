"""Fibers: slices, cancelling, threads, limits, and a fuzz of everything at once."""

import copy
import dataclasses
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from obelisk.wasm import fiber as fibers
from obelisk.wasm.codec import CodecError, FunctionCodec
from obelisk.wasm.component import ComponentLoader
from obelisk.wasm.engine import EngineConfig, Engines, Placement
from obelisk.wasm.fiber import CallbackFailed, Fiber, FiberMisuse, State
from obelisk.wasm.link import LinkedComponent, link_workflow
from obelisk.wit.host import BORROWED_JOIN_SET
from obelisk.wit.types import List, Prim, Record, Result, Signature

CREATE, DROP, CLOSE, ID, NEXT, RANDOM, LOG, TRAP, SPIN, ERR = range(10)
GROW, BAD_DROP, RECURSE, WILD = 12, 13, 15, 16
ANSWERS = {
    "join-set-create": "g:1",
    "[method]join-set.id": "g:1",
    "join-next": (False, (0, None)),
    "random-u64": 1,
    "execution-id-current": ("E_1",),
    "submit-delay": ("Delay_1",),
}


def answer_to(fiber):
    return next((answer for name, answer in ANSWERS.items() if fiber.call.name.endswith("." + name)), None)


def run(fiber, *steps):
    """To the end, answering everything; the names of what was called."""
    called = []
    state = fiber.start((list(steps),))
    while state in (State.WAITING, State.RUNNABLE):
        if state is State.RUNNABLE:
            state = fiber.resume()
        else:
            called.append(fiber.call.name)
            state = fiber.answer(answer_to(fiber))
    return called


@pytest.fixture
def fiber(script):
    fiber = Fiber(script.program)
    yield fiber
    fiber.close()


def test_a_call_waits_and_its_answer_is_what_the_guest_gets(fiber):
    assert fiber.start(([RANDOM, 9, RANDOM, 200],)) is State.WAITING
    assert (fiber.call.name, fiber.arguments) == ("obelisk:workflow/workflow-support@5.1.0.random-u64", (0, 9))
    assert fiber.answer(7) is State.WAITING
    assert fiber.arguments == (0, 200)
    assert fiber.answer(100) is State.RETURNED
    assert fiber.result == (True, 107)


def test_an_endless_loop_yields_and_is_cancelled_at_once(script, ticking):
    for _ in range(20):
        fiber = Fiber(script.program)
        assert fiber.start(([SPIN, 0],)) is State.RUNNABLE
        began = time.thread_time()
        assert fiber.resume() is State.RUNNABLE
        sliced = time.thread_time() - began
        fiber.close()
        assert sliced < 1
        assert time.thread_time() - began - sliced < 0.05


def test_any_thread_may_take_the_next_step(script):
    fiber = Fiber(script.program)
    states = [fiber.start(([RANDOM, 9] * 30,))]
    for number in range(30):
        thread = threading.Thread(target=lambda number=number: states.append(fiber.answer(number)))
        thread.start()
        thread.join()
    assert states[-1] is State.RETURNED and fiber.result == (True, sum(range(30)))
    fiber.close()


def test_two_busy_guests_run_on_two_threads(script, ticking):
    steps = [[SPIN, 0]] * 2
    yields = [0, 0]

    def spin(index):
        fiber = Fiber(script.program)
        state = fiber.start((steps[index],))
        deadline = time.monotonic() + 60
        while min(yields) <= 3 and time.monotonic() < deadline:  # as long as the other needs, too
            assert state is State.RUNNABLE
            yields[index] += 1
            state = fiber.resume()
        fiber.close()

    threads = [threading.Thread(target=spin, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert min(yields) > 3


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ((TRAP, 0), "unreachable"),
        ((WILD, 0), "out of bounds memory access"),
        ((RECURSE, 0), "call stack exhausted"),
        ((BAD_DROP, 99), "unknown handle index"),
        ((CREATE, 0, CLOSE, 0, ID, 0), "unknown handle index"),
        ((GROW, 255, GROW, 255), "unreachable"),
    ],
)
def test_what_a_guest_does_wrong_is_a_trap_of_that_guest_only(script, steps, text):
    for _ in range(30):
        fiber = Fiber(script.program)
        run(fiber, *steps)
        assert fiber.state is State.TRAPPED and fiber.instantiated
        assert text in fiber.trap
        fiber.close()
    fiber = Fiber(script.program)
    run(fiber, RANDOM, 9)
    assert fiber.result == (True, 1)
    fiber.close()


def test_a_memory_limit_holds(script):
    fiber = Fiber(script.program, memory_max=4 << 20)
    run(fiber, GROW, 62)
    assert fiber.state is State.RETURNED
    fiber.close()
    fiber = Fiber(script.program, memory_max=4 << 20)
    run(fiber, GROW, 63)
    assert fiber.state is State.TRAPPED and fiber.instantiated
    fiber.close()
    fiber = Fiber(script.program, memory_max=1 << 16)
    assert fiber.start(([],)) is State.TRAPPED
    assert not fiber.instantiated and "memory limits" in fiber.trap
    fiber.close()


def test_a_full_pool_says_so_and_recovers(script_path):
    engines = Engines(EngineConfig(pool_instances_max=3, pool_memory_max=1 << 20))
    program = link_workflow(ComponentLoader(engines).load(script_path)).entries["testing:script/script.run"].program
    assert program.compiler.placement is Placement.POOL
    crowd = [Fiber(program) for _ in range(4)]
    states = [fiber.start(([RANDOM, 9],)) for fiber in crowd]
    assert states == [State.WAITING] * 3 + [State.TRAPPED]
    assert "maximum concurrent" in crowd[3].trap and not crowd[3].instantiated
    crowd[0].close()
    late = Fiber(program)
    assert late.start(([RANDOM, 9],)) is State.WAITING
    for fiber in [*crowd, late]:
        fiber.close()


def test_fuel_is_counted_when_asked_for(script_path):
    engines = Engines(EngineConfig(fuel=100_000, pool_instances_max=3, pool_memory_max=1 << 20))
    program = link_workflow(ComponentLoader(engines).load(script_path)).entries["testing:script/script.run"].program
    fiber = Fiber(program, fuel=program.compiler.fuel)
    assert fiber.start(([SPIN, 0],)) is State.TRAPPED
    assert "all fuel consumed" in fiber.trap
    fiber.close()
    fiber = Fiber(program, fuel=program.compiler.fuel)
    run(fiber, RANDOM, 9)
    assert fiber.result == (True, 1)
    fiber.close()


def test_fuel_for_an_engine_that_does_not_count_it_is_a_misuse(script):
    fiber = Fiber(script.program, fuel=10)
    with pytest.raises(FiberMisuse, match="does not count"):
        fiber.start(([],))
    fiber.close()


def test_handles_go_in_and_out_and_drops_are_queued_in_order(fiber):
    state = fiber.start(([CREATE, 0, CREATE, 1, DROP, 1, NEXT, 0, DROP, 0, RANDOM, 9],))
    for value in ("g:1", "g:2"):
        assert state is State.WAITING
        state = fiber.answer(value)
    assert fiber.call.name.endswith("join-next") and fiber.arguments == ("g:1",)
    assert fiber.dropped == ["g:2"]
    state = fiber.answer((True, ((0, ("E_1",)), (True, None))))
    assert fiber.call.name.endswith("random-u64") and fiber.dropped == ["g:2", "g:1"]
    assert fiber.answer(3) is State.RETURNED


def test_an_owned_argument_is_consumed_without_a_drop(fiber):
    assert fiber.start(([CREATE, 0, CLOSE, 0],)) is State.WAITING
    fiber.answer("g:1")
    assert fiber.call.name.endswith("join-set-close") and fiber.arguments == ("g:1",)
    assert fiber.answer() is State.RETURNED
    assert fiber.dropped == []


def test_an_answer_to_a_call_without_result_is_refused(fiber):
    fiber.start(([LOG, 0],))
    assert fiber.arguments == ("hello",)
    with pytest.raises(CodecError):
        fiber.answer(1)
    assert fiber.answer() is State.RETURNED


def test_arguments_of_the_wrong_number_are_refused(script):
    fiber = Fiber(script.program)
    for arguments in ((), ([], [])):
        with pytest.raises(CodecError, match="takes 1 argument"):
            fiber.start(arguments)
    assert fiber.start(([],)) is State.RETURNED
    fiber.close()


def test_calls_and_drops_are_looked_at_before_anybody_hears_of_them(script):
    fiber = Fiber(script.program)
    seen = []
    fiber.look = lambda context: seen.append((fiber.made, fiber.state, context == fiber._store.context))
    assert run(fiber, CREATE, 0, RANDOM, 9, DROP, 0, LOG, 0)[-1].endswith(".info")
    assert [number for number, _, _ in seen] == [1, 2, 3, 4]
    assert all(own for _, _, own in seen)
    fiber.close()


def test_closing_is_idempotent_in_every_state(script):
    for steps, answers in (((), 0), ((RANDOM, 9), 0), ((RANDOM, 9), 1), ((TRAP, 0), 0), ((CREATE, 0, CREATE, 1), 1)):
        fiber = Fiber(script.program)
        fiber.start((list(steps),))
        for _ in range(answers):
            fiber.answer(answer_to(fiber))
        fiber.close()
        fiber.close()
        with pytest.raises(FiberMisuse, match="while closed"):
            fiber.resume()
    fiber = Fiber(script.program)
    fiber.close()
    assert fiber.state is State.CLOSED


def test_a_thousand_bad_guests_leave_nothing_behind(script, ticking):
    """Traps, endless loops, exhausted memory and waiting guests that are dropped, 200 of each."""
    for _ in range(200):
        for steps in ((TRAP, 0), (SPIN, 0), (GROW, 255, GROW, 255), (CREATE, 0, NEXT, 0), (RECURSE, 0)):
            fiber = Fiber(script.program, memory_max=4 << 20)
            state = fiber.start((list(steps),))
            if state is State.WAITING:
                state = fiber.answer("g:1")
                assert state in (State.WAITING, State.RUNNABLE)  # a tick may come at any time
            else:
                assert state in (State.TRAPPED, State.RUNNABLE)
            fiber.close()
    assert not fibers._polled and not fibers._orphans


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from([CREATE, DROP, CLOSE, ID, NEXT, RANDOM, LOG, TRAP, SPIN, ERR, 10, 11, 14, BAD_DROP]),
        st.integers(0, 3),
    ),
    max_size=12,
)
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(),
    st.floats(),
    st.lists(st.integers()),
    st.tuples(st.booleans(), st.none()),
)


DECISIONS = st.lists(
    st.sampled_from(["right", "right", "right", "right", "misuse", "close"]) | st.tuples(JUNK), min_size=30, max_size=30
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(operations=OPERATIONS, decisions=DECISIONS)
def test_whatever_happens_the_process_lives(script, ticking, operations, decisions):
    """Any steps, answered right or with junk, closed at any moment."""
    fiber = Fiber(script.program)
    state = fiber.start(([byte for operation in operations for byte in operation],))
    for decision in decisions:
        if decision == "close" or state not in (State.WAITING, State.RUNNABLE):
            break
        if decision == "misuse":
            with pytest.raises(FiberMisuse):
                fiber.start(([],))
        elif state is State.RUNNABLE:
            state = fiber.resume()
        elif decision == "right":
            state = fiber.answer(answer_to(fiber))
        else:
            try:
                state = fiber.answer(*decision)
            except CodecError:
                assert fiber.state is State.WAITING
    fiber.close()


def test_a_broken_decoder_ends_the_guest_not_the_process(script):
    """What the C side must never see; the misuse tests do the same in a process of their own."""
    fiber = Fiber(script.program)
    fiber.start(([CREATE, 0, ID, 0],))
    fiber._next_rep = 99  # the host forgot which handle it gave
    fiber.answer("g:1")
    fiber.close()
    fiber = Fiber(script.program)
    fiber.start(([CREATE, 0, RANDOM, 1, ID, 0],))
    fiber.answer("g:1")
    fiber._handles.clear()
    with pytest.raises(CallbackFailed):
        fiber.answer(1)
    assert fiber.state is State.TRAPPED
    fiber.close()


STEPS, NUMBER = List(Prim.U8), Prim.U64
LIES = {
    "arguments of another type": ("random-u64", Signature((("min", Prim.STRING), ("max", NUMBER)), NUMBER)),
    "a record for a number": ("random-u64", Signature((("min", Record((("a", NUMBER),))), ("max", NUMBER)), NUMBER)),
    "fewer arguments": ("random-u64", Signature((("min", NUMBER),), NUMBER)),
    "more arguments": ("random-u64", Signature((("min", NUMBER),) * 3, NUMBER)),
    "no result": ("random-u64", Signature((("min", NUMBER), ("max", NUMBER)), None)),
    "no handle": ("join-next", Signature((("self", NUMBER),), Result(None, None))),
    "a handle": ("random-u64", Signature((("min", BORROWED_JOIN_SET), ("max", NUMBER)), NUMBER)),
}


@pytest.fixture
def lying(script_path, loader):
    """A program whose host function `name` is thought to have another signature."""
    kept = []

    def make(name, signature):
        component = loader.load(script_path)
        imports = tuple(
            replace(
                interface,
                functions=tuple(
                    replace(function, signature=signature) if function.name == name else function
                    for function in interface.functions
                ),
            )
            for interface in component.wit.imports
        )
        component = dataclasses.replace(component, wit=replace(component.wit, imports=imports))
        kept.append(LinkedComponent(component, lambda interface, function: None))
        return kept[-1].program("testing:script/script", "run")

    return make


@pytest.mark.parametrize("lie", LIES)
def test_a_signature_that_is_not_the_imports_ends_the_guest_only(lying, lie):
    name, signature = LIES[lie]
    fiber = Fiber(lying(name, signature))
    with pytest.raises(CallbackFailed):
        if fiber.start(([CREATE, 0, NEXT, 0] if name == "join-next" else [RANDOM, 9],)) is State.WAITING:
            fiber.answer("g:1")
    assert fiber.state is State.TRAPPED
    fiber.close()


@pytest.mark.parametrize(("type_", "value"), [(Prim.U8, 3), (Prim.STRING, "3"), (Record((("a", NUMBER),)), (3,))])
def test_a_result_of_another_type_is_a_trap(lying, type_, value):
    fiber = Fiber(lying("random-u64", Signature((("min", NUMBER), ("max", NUMBER)), type_)))
    assert fiber.start(([RANDOM, 9],)) is State.WAITING
    assert fiber.answer(value) is State.TRAPPED
    assert "type mismatch" in fiber.trap
    fiber.close()


@pytest.mark.parametrize(
    ("params", "arguments"), [((), ()), ((STEPS, STEPS), ([], [])), ((NUMBER,), (3,)), ((List(Prim.STRING),), (["a"],))]
)
def test_an_export_called_with_another_signature_is_a_trap(script, params, arguments):
    program = copy.copy(script.program)
    program.codec = FunctionCodec(Signature(tuple(("x", type_) for type_ in params), None), exported=True)
    program.codec.lift_result = script.program.codec.lift_result
    fiber = Fiber(program)
    assert fiber.start(arguments) is State.TRAPPED
    assert "argument(s)" in fiber.trap or "type mismatch" in fiber.trap
    fiber.close()
