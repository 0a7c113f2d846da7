"""Guests that are looked into while they stand in a host call: their own memory, and nobody else's."""

from pathlib import Path

import pytest

from obelisk.core.calls import RandomU64
from obelisk.core.ports import Called, Returned, Yielded
from obelisk.core.values import Json
from obelisk.wasm import peek
from obelisk.wasm.component import ComponentLoader
from obelisk.wasm.guest import WorkflowGuest
from obelisk.wasm.link import link_workflow

WIT = """package any:any;
world any { import obelisk:workflow/workflow-support@5.1.0; export testing:plain/plain; }
package testing:plain { interface plain { go: func(which: u32) -> result; } }"""
GO = "testing:plain/plain.go"
PYTHON = ["Class.größe", "run"]


def module(image, pages):
    """Calls twice. With 0 it has no interpreter any more when it makes the second call."""
    data = "".join(f"\\{byte:02x}" for byte in image)
    return f"""(module
      (import "obelisk:workflow/workflow-support@5.1.0" "random-u64" (func $draw (param i64 i64) (result i64)))
      (memory (export "memory") {pages})
      (data (i32.const 0) "{data}")
      (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 65536)
      (func $go (param i32) (result i32)
        (drop (call $draw (i64.const 0) (i64.const 9)))
        (if (i32.eqz (local.get 0)) (then (i64.store (i32.const 0x400) (i64.const 0))))
        (drop (call $draw (i64.const 0) (i64.const 9)))
        i32.const 0)
      (export "testing:plain/plain#go" (func $go)))"""


@pytest.fixture(params=["cached", "not cached"])
def entry(request, engines, core_module, fixture_module, tmp_path):
    """On demand, like everything large."""
    path = tmp_path / "interpreter.wasm"
    path.write_bytes(core_module(WIT, "any", module(fixture_module("cpython").Memory().bytes(), 200)))
    loader = ComponentLoader(engines, tmp_path / "cache" if request.param == "cached" else None)
    return link_workflow(loader.load(path)).entries[GO]


def run_on(guest, step):
    """What it stops for. On a busy machine a slice ends before that."""
    while isinstance(step, Yielded):
        step = guest.resume()
    return step


def drawn(step):
    assert isinstance(step, Called) and isinstance(step.call, RandomU64), step


def names(guest):
    return [frame.func_name for frame in guest.stack()]


def stopped(entry, call, which):
    guest = WorkflowGuest(entry)
    guest.look()
    step = run_on(guest, guest.start(Json(b"[%d]" % which)))
    if call == 2:
        drawn(step)
        step = run_on(guest, guest.send(4))
    drawn(step)
    return guest


def mapped():
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if "/.apart-" in line]


@pytest.mark.usefixtures("ticking")
def test_the_frames_of_an_interpreter_are_those_in_its_own_memory(entry):
    """Three guests live that have the same code; each knows by itself whether there is an interpreter."""
    other = WorkflowGuest(entry)
    drawn(run_on(other, other.start(Json(b"[1]"))))
    with_it, without = stopped(entry, 2, 1), stopped(entry, 2, 0)
    assert names(with_it) == PYTHON
    assert "go" in names(without) and PYTHON[0] not in names(without)
    first = stopped(entry, 1, 0)
    assert names(first) == PYTHON
    drawn(run_on(first, first.send(4)))
    assert "go" in names(first)
    for guest in (with_it, without, first):
        assert isinstance(run_on(guest, guest.send(4)), Returned), "it goes on"
    for guest in (other, with_it, without, first):
        guest.close()


@pytest.mark.usefixtures("ticking")
def test_nothing_is_left_of_a_look(entry, tmp_path):
    before = len(list(tmp_path.rglob("*")))
    guest = stopped(entry, 1, 1)
    assert mapped()
    guest.close()
    del guest
    assert not mapped()
    assert len(list(tmp_path.rglob("*"))) == before


@pytest.mark.usefixtures("ticking")
@pytest.mark.parametrize("missing", ["_MAPS", "_MEMORY"])
def test_a_system_that_does_not_show_memory_leaves_the_frames_of_wasm(entry, monkeypatch, missing):
    monkeypatch.setattr(peek, missing, "/nowhere")
    guest = stopped(entry, 1, 1)
    assert "go" in names(guest)
    guest.close()


@pytest.mark.usefixtures("ticking")
def test_without_room_for_a_file_there_are_the_frames_of_wasm(entry, monkeypatch):
    def full(*_args, **_options):
        raise OSError("no space left on device")

    monkeypatch.setattr("tempfile.TemporaryDirectory", full)
    guest = stopped(entry, 1, 1)
    assert "go" in names(guest)
    guest.close()


def test_memories_are_found_with_what_lies_right_before_and_behind(monkeypatch, tmp_path):
    maps = tmp_path / "maps"
    maps.write_text(
        "1000-2000 rw-p 00000000 00:00 0 \n"
        "3000-4000 ---p 00000000 00:00 0 \n"
        "4000-5000 rw-p 00000000 00:00 0 \n"
        "5000-7000 rw-p 00002000 fe:00 77 /a cache/code (deleted)\n"
        "7000-8000 rw-p 00000000 00:00 0 \n"
        "8000-9000 ---p 00000000 00:00 0 \n"
        "9000-a000 rw-p 00002000 fe:00 78 /another/code\n"
        "b000-c000 r--p 00000000 fe:00 77 /a cache/code (deleted)\n"
        "d000-e000 rw-p 00002000 fe:00 77 /a cache/code\n"
    )
    monkeypatch.setattr(peek, "_MAPS", str(maps))
    assert peek.memories("/a cache/code") == [(0x4000, 0x8000), (0xD000, 0xE000)]
    assert peek.memories("code") == []
