"""What is read of CPython's memory: lines as CPython itself tells them, and nothing that makes no sense."""

import inspect
import random
import types
from contextlib import suppress

import pytest

from obelisk.core.backtraces import Symbol
from obelisk.wasm import cpython
from obelisk.wasm.cpython import NotCPython, frames_at, place


def codes(code):
    yield code
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from codes(each)


@pytest.mark.parametrize("module", [cpython, inspect, random])
def test_lines_and_columns_are_those_of_cpython(module):
    """The form of the table is that of all versions since 3.11."""
    source = inspect.getsource(module)
    units = 0
    for code in codes(compile(source, "some.py", "exec")):
        for unit, (line, _, column, _) in enumerate(code.co_positions()):
            expected = (line, None if column is None else column + 1)
            assert place(code.co_linetable, code.co_firstlineno, unit) == expected
            units += 1
    assert units > 500


def test_a_unit_behind_the_end_has_no_line():
    code = test_a_unit_behind_the_end_has_no_line.__code__
    assert place(code.co_linetable, code.co_firstlineno, 100_000) == (None, None)


@pytest.mark.parametrize("table", [b"\x80", b"\xf0", b"\xf0\x40\x40", b"\xe8"])
def test_a_table_that_ends_early_is_refused(table):
    with pytest.raises(NotCPython):
        place(table, 1, 5)


@pytest.fixture
def memory(fixture_module):
    return fixture_module("cpython").Memory()


def frames(memory):
    data = memory.bytes()
    return frames_at(lambda address, size: data[address : address + size], memory.state)


def test_frames_have_names_files_and_lines_and_those_of_the_interpreter_are_left_out(memory):
    inner, outer = frames(memory)
    assert (inner.module, inner.func_name) == ("package.inner", "Class.größe")
    assert inner.symbols == (Symbol("Class.größe", "package/inner.py", 11, 5),)
    assert (outer.module, outer.symbols) == ("app", (Symbol("run", "app.py", None, None),))


def change_table(index, value):
    def change(memory):
        memory.table[index] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        change_table(0, 0x030F00F0),
        change_table(0, 0x030D00F0),
        change_table(1, 1),  # without the GIL
        change_table(25, 1 << 40),
        lambda memory: memory.put(memory.state, b"y"),
        lambda memory: memory.point(0x1100 + 24, 0xFFFFFFF0),
        lambda memory: memory.point(0x2008, 0xFFFF0000),
        lambda memory: memory.point(0x2304, 0xFFFFFFFF),
        lambda memory: memory.put(0x2100, b"\0"),
    ],
)
def test_what_is_not_known_or_makes_no_sense_has_no_frames(memory, change):
    change(memory)
    with pytest.raises(NotCPython):
        frames(memory)


def test_frames_that_never_end_are_cut(memory):
    memory.point(0x1280, 0x1200)
    assert len(frames(memory)) == 200
    memory.frame(0x1200, previous=0x1200, code=0, unit=0, owner=3)
    assert frames(memory) == ()


def test_memory_of_any_content_is_refused_or_read(fixture_module):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    for _ in range(300):
        memory = fixture_module("cpython").Memory()
        for _ in range(chance.randrange(1, 60)):
            memory.data[chance.randrange(0x1000, 0x3400)] = chance.randrange(256)
        with suppress(NotCPython):
            frames(memory)
