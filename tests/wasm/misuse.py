"""Misuses of a fiber, one for each run: `python misuse.py CASE script.wasm`.

Each is what ends the process when done to wasmtime's C API directly. Here each must raise; what was raised is printed and
the process ends with 0. Run by test_misuse.py, in a process of its own.
"""

import faulthandler
import gc
import sys
import threading
from pathlib import Path

from obelisk.wasm import fiber as fibers
from obelisk.wasm.calls import meaning_of
from obelisk.wasm.component import ComponentLoader
from obelisk.wasm.engine import EngineConfig, Engines
from obelisk.wasm.fiber import CallbackFailed, Fiber, FiberMisuse, State
from obelisk.wasm.link import LinkedComponent

CREATE, DROP, CLOSE, ID, NEXT, RANDOM, TRAP, SPIN = 0, 1, 2, 3, 4, 5, 7, 8


class Rig:
    """The component of fixtures/script.wat."""

    def __init__(self, path):
        self.engines = Engines(EngineConfig(pool_instances_max=8, pool_memory_max=1 << 20))
        component = ComponentLoader(self.engines).load(Path(path))
        self.linked = LinkedComponent(component, meaning_of)
        self.program = self.linked.program("testing:script/script", "run")

    def start(self, *steps):
        fiber = Fiber(self.program)
        state = fiber.start((list(steps),))
        return fiber, state


def raised(kind, action):
    try:
        action()
    except kind as problem:
        print(f"{kind.__name__}: {problem}", flush=True)
        return problem
    raise SystemExit(f"nothing was raised; expected {kind.__name__}")


def relink(rig, name, action):
    """A linked component whose `name` does `action` inside its callback: linkers take callbacks when they are made."""
    original = fibers.HostFunction.__init__

    def patched(self, function_name, codec, meaning):
        if function_name.endswith(name):
            first, *rest = codec.lift_params

            def lift(address, handles):
                action()
                return first(address, handles)

            codec.lift_params = (lift, *rest)
        original(self, function_name, codec, meaning)

    fibers.HostFunction.__init__ = patched
    try:
        rig.linked = LinkedComponent(rig.linked.component, meaning_of)
    finally:
        fibers.HostFunction.__init__ = original
    rig.program = rig.linked.program("testing:script/script", "run")


def store_before_future(rig):
    fiber, state = rig.start(RANDOM, 9)
    assert state is State.WAITING
    raised(FiberMisuse, fiber._store.delete)
    assert fiber.answer(4) is State.RETURNED and fiber.result == (True, 4)
    fiber.close()


def raising_callback(rig):
    for problem in (ValueError("a decoder broke"), KeyboardInterrupt("control-C"), SystemExit(3), MemoryError()):

        def action(problem=problem):
            raise problem

        relink(rig, "random-u64", action)
        fault = raised(CallbackFailed, lambda: rig.start(RANDOM, 9))
        assert fault.__cause__ is problem


def re_entry(rig):
    for deed in (Fiber.resume, Fiber.answer, Fiber.close, lambda fiber: fiber.start(([],))):
        for own in (True, False):
            stepped, other = [], Fiber(rig.program)
            relink(
                rig,
                "random-u64",
                lambda deed=deed, own=own, stepped=stepped, other=other: deed(stepped[0] if own else other),
            )
            stepped.append(Fiber(rig.program))
            fault = raised(CallbackFailed, lambda stepped=stepped: stepped[0].start(([RANDOM, 9],)))
            assert isinstance(fault.__cause__, FiberMisuse)
            assert stepped[0].state is State.TRAPPED
            stepped[0].close()


def second_thread(rig):
    fiber = Fiber(rig.program)
    running = threading.Thread(target=lambda: fiber.start(([SPIN, 0],)))
    running.start()
    while not fibers._polled:
        pass
    raised(FiberMisuse, fiber.resume)
    raised(FiberMisuse, fiber.close)
    raised(FiberMisuse, lambda: fiber.start(([],)))
    while running.is_alive():
        rig.engines.increment_epoch()
    running.join()
    assert fiber.state is State.RUNNABLE
    fiber.close()


def borrow_not_lifted(rig):
    def broken():
        raise ValueError("before the borrow was lifted")

    relink(rig, "join-next", broken)
    fiber, _ = rig.start(CREATE, 0, NEXT, 0)
    raised(CallbackFailed, lambda: fiber.answer("g:1"))
    assert fiber.state is State.TRAPPED
    fiber.close()


def call_after_trap(rig):
    fiber, state = rig.start(TRAP, 0)
    assert state is State.TRAPPED
    raised(FiberMisuse, fiber.resume)
    raised(FiberMisuse, fiber.answer)
    raised(FiberMisuse, lambda: fiber.start(([],)))
    fiber.close()
    raised(FiberMisuse, fiber.resume)


def forgotten(rig):
    fiber, _ = rig.start(RANDOM, 9)
    cycle = [fiber]
    cycle.append(cycle)
    del fiber, cycle
    gc.collect()
    assert len(fibers._orphans) == 1
    fiber, _ = rig.start()
    assert not fibers._orphans
    fiber.close()
    print("ResourceWarning: and freed by the next")


def collected_in_callback(rig):
    gc.disable()  # it is to happen in the callback, not before
    waiting, _ = rig.start(RANDOM, 9)
    cycle = [waiting]
    cycle.append(cycle)
    del waiting, cycle
    relink(rig, "random-u64", gc.collect)
    fiber, state = rig.start(RANDOM, 9)
    assert state is State.WAITING and len(fibers._orphans) == 1
    fiber.close()
    print("ResourceWarning: queued, not freed inside the callback")


if __name__ == "__main__":
    faulthandler.enable()
    case, component = sys.argv[1:]
    globals()[case](Rig(component))
    gc.collect()
    print("unharmed")
