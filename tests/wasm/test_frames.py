"""Texts of traps as wasmtime 50 writes them, and frames as guests give them."""

import pytest

from obelisk.core.backtraces import FRAMES_MAX, NAME_LENGTH_MAX, Frame, Symbol
from obelisk.wasm.frames import frames_of, told_frames

NAMES_ONLY = """error while executing at wasm backtrace:
    0:   0x1f4f - wit-component:shim!indirect-obelisk:workflow/workflow-support@5.1.0-join-set-create-named
    1:   0x1462 - <unknown>!timeout_set
    2:   0x14b3 - flows.wasm!<wasm function 45>

Caused by:
    asked for
"""
INLINED = """error while executing at wasm backtrace:
    0:   0x2319 - wit-component:shim!indirect-template-fibo:activity/fibo-activity-ifc-fibo
    1:    0x643 - fibo
                    at /build/bindings/workflow.h:784:3
                - fiboa
                    at /build/fibo workflow.c:10:10
                - exported_0
                    at /build/bindings/workflow.h:845:17

Caused by:
    asked for
"""
PLAIN = """error while executing at wasm backtrace:
    0:    0xb02 - fibo
                    at /build/bindings/workflow.h:784:3
    1:    0xa1b - <workflow::Component as exports::Guest>::fiboa
                    at /build/src/lib.rs:10
    2: 0x123907 - exported_0
                    at C:\\\\build\\\\workflow.h
    3:   0x1001 - name_only!core::ops::function!{{closure}}

Caused by:
    0: one
    1: two
"""


def test_without_debug_information():
    assert frames_of(NAMES_ONLY) == (Frame("<unknown>", "timeout_set"), Frame("flows.wasm", "<wasm function 45>"))


def test_frames_without_an_address():
    text = NAMES_ONLY.replace("1:   0x1462 - ", "1: ")
    assert frames_of(text) == frames_of(NAMES_ONLY)


def test_functions_in_functions_are_one_frame():
    assert frames_of(INLINED) == (
        Frame(
            "<unknown>",
            "exported_0",
            (
                Symbol("fibo", "/build/bindings/workflow.h", 784, 3),
                Symbol("fiboa", "/build/fibo workflow.c", 10, 10),
                Symbol("exported_0", "/build/bindings/workflow.h", 845, 17),
            ),
        ),
    )


def test_a_frame_for_each_function():
    rust = "<workflow::Component as exports::Guest>::fiboa"
    assert frames_of(PLAIN) == (
        Frame("<unknown>", "fibo", (Symbol("fibo", "/build/bindings/workflow.h", 784, 3),)),
        Frame("<unknown>", rust, (Symbol(rust, "/build/src/lib.rs", 10),)),
        Frame("<unknown>", "exported_0", (Symbol("exported_0", "C:\\\\build\\\\workflow.h"),)),
        Frame("name_only", "core::ops::function!{{closure}}"),
    )


@pytest.mark.parametrize("text", ["", "wasm trap: interrupt", "error while executing at wasm backtrace:\n"])
def test_no_frames(text):
    assert frames_of(text) == ()


def test_long_stacks_and_names_are_cut():
    lines = "".join(f"    {number}: 0x{number:x} - m!{'n' * 5_000}\n" for number in range(1_000))
    found = frames_of(f"error while executing at wasm backtrace:\n{lines}")
    assert len(found) == FRAMES_MAX
    assert {len(frame.func_name) for frame in found} == {NAME_LENGTH_MAX}


def test_frames_of_guests():
    assert told_frames(None) is None
    assert told_frames((([],),)) == ()
    symbols = [(None, ("a.js",), (3,), None), (("f",), None, None, (9,))]
    assert told_frames((([("m", "f", symbols), ("", "", [])],),)) == (
        Frame("m", "f", (Symbol(None, "a.js", 3), Symbol("f", col=9))),
        Frame("", ""),
    )
    assert len(told_frames((([("m", "f", [])] * 5_000,),))) == FRAMES_MAX
