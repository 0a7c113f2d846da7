"""Component files: what is refused and why, what is cached, and which engine they land on."""

import hashlib
import logging
import time
from pathlib import Path

import pytest

from obelisk.core.values import Json
from obelisk.testing.hosts import LoggingHost
from obelisk.wasm import tools
from obelisk.wasm.activity import ActivityRun
from obelisk.wasm.binary import Layer, initial_memories, layer_of
from obelisk.wasm.cache import ComponentCache
from obelisk.wasm.component import TRIMMED_FROM, ComponentError, ComponentLoader
from obelisk.wasm.engine import EngineConfig, Engines, Placement
from obelisk.wasm.link import link_activity, link_workflow

FIBO = "template-fibo:activity/fibo-activity-ifc.fibo"
PLAIN_WIT = """package any:any;
world plain { export testing:plain/plain; }
package testing:plain { interface plain { go: func() -> result; } }"""


# (module (import "a" "b" (func))): what is imported here, no WIT says.
IMPORTING_MODULE = b"\0asm\x01\0\0\0" + b"\x01\x04\x01\x60\0\0" + b"\x02\x07\x01\x01a\x01b\0\0"


def plain(memory="(memory 1)"):
    return f'(module {memory} (func (export "testing:plain/plain#go") (result i32) i32.const 0))'


def fibo(loaded):
    run = ActivityRun(link_activity(loaded).entries[FIBO], LoggingHost())
    try:
        return bytes(run.start(Json(b"[10]")).outcome.value)
    finally:
        run.close()


def test_a_component_knows_its_digest_its_wit_and_its_size(loader, fibo_components):
    loaded = loader.load(fibo_components.activity)
    content = fibo_components.activity.read_bytes()
    assert loaded.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert loaded.size == len(content) and loaded.path == fibo_components.activity
    assert [interface.name for interface in loaded.wit.exports] == ["template-fibo:activity/fibo-activity-ifc"]
    assert fibo(loaded) == b"55"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file"),
        (b"", "it is not a WASM binary"),
        (b"#!/bin/sh\n", "it is not a WASM binary"),
        (b"\0asm\x02\x00\x00\x00", "it is not a WASM binary"),
        (IMPORTING_MODULE, "it is a core module that cannot be made a component"),
        (b"\0asm\x0d\x00\x01\x00\xff\xff", "it is not a valid component"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name_and_reason(loader, tmp_path, content, reason):
    path = tmp_path / "broken.wasm"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ComponentError) as refused:
        loader.load(path)
    assert str(refused.value).startswith(f"{path}: {reason}")


def test_a_truncated_component_is_refused(loader, fibo_components, tmp_path):
    content = fibo_components.workflow.read_bytes()
    for size in (9, 100, len(content) // 2, len(content) - 1):
        path = tmp_path / f"{size}.wasm"
        path.write_bytes(content[:size])
        with pytest.raises(ComponentError, match="not a valid component"):
            loader.load(path)


def test_a_folder_is_not_a_component(loader, tmp_path):
    with pytest.raises(ComponentError, match="cannot be read: Is a directory"):
        loader.load(tmp_path)


def test_a_core_module_that_carries_its_wit_becomes_a_component(loader, core_module, tmp_path):
    path = tmp_path / "core.wasm"
    path.write_bytes(core_module(PLAIN_WIT, "plain", plain()))
    assert layer_of(path.read_bytes()) is Layer.MODULE
    loaded = loader.load(path)
    assert loaded.digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert list(link_activity(loaded).entries) == ["testing:plain/plain.go"]


def test_an_import_that_nothing_supplies_is_refused_by_name(loader, dummy_component):
    wit = """package any:any; world any { import obelisk:workflow/workflow-support@5.1.0; }
    package obelisk:workflow@5.1.0 { interface workflow-support { unheard-of: func(); } }"""
    with pytest.raises(ComponentError, match=r"workflow-support@5\.1\.0\.unheard-of is not supplied to workflows"):
        link_workflow(loader.load(dummy_component(wit)))


def test_older_versions_of_the_hosts_interfaces_are_supplied(loader, dummy_component):
    wit = """package any:any; world any { import obelisk:workflow/workflow-support@5.0.0; export some:one/ifc; }
    package obelisk:workflow@5.0.0 { interface workflow-support { random-u64: func(min: u64, max: u64) -> u64; } }
    package some:one { interface ifc { f: func() -> result; } }"""
    assert list(link_workflow(loader.load(dummy_component(wit))).entries) == ["some:one/ifc.f"]


def anonymous():
    """Bytes of memory that this process has to itself."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) << 10


def test_what_compiling_took_is_given_back(engines, core_module, tmp_path):
    """By components of more than a megabyte. Without that the C library kept 35 MB here, and 260 MB after one of Python."""
    sums = "local.get 0 i32.load i32.const 77 i32.mul local.set 0 " * 40
    many = "".join(f'(func (export "f{n}") (param i32) (result i32) {sums} local.get 0)' for n in range(3_000))
    module = plain().replace("(module", f"(module {many}")
    path = tmp_path / "large.wasm"
    path.write_bytes(core_module(PLAIN_WIT, "plain", module))
    assert len(path.read_bytes()) > TRIMMED_FROM
    loader = ComponentLoader(engines, tmp_path / "cache")
    before = anonymous()
    loader.load(path)
    assert anonymous() - before < 12 << 20


# --- the cache -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_engines():
    return Engines(EngineConfig(pool_instances_max=2, pool_memory_max=1 << 20))


def files(folder, suffix):
    return sorted(path for path in folder.iterdir() if path.name.endswith(suffix))


def test_the_second_load_compiles_nothing_and_runs_no_tool(small_engines, fibo_components, tmp_path, monkeypatch):
    ComponentLoader(small_engines, tmp_path).load(fibo_components.activity)
    (code,) = files(tmp_path, ".cwasm")
    before = code.stat().st_mtime_ns

    def never(*args, **options):
        raise AssertionError("not needed")

    monkeypatch.setattr(tools, "_run", never)
    monkeypatch.setattr("obelisk.wasm.component._compiled", never)
    assert fibo(ComponentLoader(small_engines, tmp_path).load(fibo_components.activity)) == b"55"
    assert code.stat().st_mtime_ns == before and not files(tmp_path, ".tmp")


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "text"])
def test_damaged_code_is_compiled_again(small_engines, fibo_components, tmp_path, damage, caplog):
    ComponentLoader(small_engines, tmp_path).load(fibo_components.activity)
    (code,) = files(tmp_path, ".cwasm")
    content = bytearray(code.read_bytes())
    content[len(content) // 2] ^= 0xFF
    damaged = {"flip": content, "truncate": content[:5000], "empty": b"", "text": b"nonsense"}[damage]
    replacement = tmp_path / "damaged"
    replacement.write_bytes(damaged)
    replacement.rename(code)  # never written in place: it may be mapped
    with caplog.at_level(logging.WARNING):
        assert fibo(ComponentLoader(small_engines, tmp_path).load(fibo_components.activity)) == b"55"
    assert "is damaged" in caplog.text
    (again,) = files(tmp_path, ".cwasm")
    assert again.read_bytes() != bytes(damaged)


def test_code_that_wasmtime_does_not_want_is_compiled_again(small_engines, fibo_components, tmp_path):
    loaded = ComponentLoader(small_engines, tmp_path).load(fibo_components.activity)
    (code,) = files(tmp_path, ".cwasm")
    code.unlink()
    foreign = ComponentCache(tmp_path).keep_code(loaded.digest, loaded.compiled.compiler.key, b"of another program")
    assert foreign is not None
    assert fibo(ComponentLoader(small_engines, tmp_path).load(fibo_components.activity)) == b"55"
    assert not foreign.exists()


def test_a_file_in_use_is_replaced_not_changed(small_engines, fibo_components, tmp_path):
    first = ComponentLoader(small_engines, tmp_path).load(fibo_components.activity)
    (code,) = files(tmp_path, ".cwasm")
    inode = code.stat().st_ino
    cache = ComponentCache(tmp_path)
    again = cache.keep_code(first.digest, first.compiled.compiler.key, code.read_bytes())
    assert again == code and code.stat().st_ino != inode
    code.unlink()
    assert fibo(first) == b"55"


def test_damaged_wit_is_read_again(small_engines, fibo_components, tmp_path):
    ComponentLoader(small_engines, tmp_path).load(fibo_components.activity)
    (wit,) = files(tmp_path, ".wit.json")
    good = wit.read_bytes()
    wit.write_bytes(b"{")
    assert ComponentLoader(small_engines, tmp_path).load(fibo_components.activity).wit.exports
    assert wit.read_bytes() == good


def test_engines_of_other_settings_have_other_code(fibo_components, tmp_path):
    for fuel in (None, 1_000_000):
        engines = Engines(EngineConfig(pool_instances_max=2, pool_memory_max=1 << 20, fuel=fuel))
        assert fibo(ComponentLoader(engines, tmp_path).load(fibo_components.activity)) == b"55"
    assert len(files(tmp_path, ".cwasm")) == 2


def test_a_cache_that_cannot_be_written_is_no_error(small_engines, fibo_components, tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with caplog.at_level(logging.WARNING):
        assert fibo(ComponentLoader(small_engines, blocked).load(fibo_components.activity)) == b"55"
    assert "cannot be kept" in caplog.text


def test_a_relative_cache_folder_works(small_engines, fibo_components, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        loader = ComponentLoader(small_engines, Path("cache"))
        assert fibo(loader.load(fibo_components.activity)) == b"55"


# --- engines ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "memory_max", "placement"),
    [
        ("", None, Placement.POOL),
        ("(memory 1)", None, Placement.POOL),
        ("(memory 9)", None, Placement.ON_DEMAND),
        ("(memory 1)", 512 << 10, Placement.POOL),
        ("(memory 1)", 2 << 20, Placement.ON_DEMAND),
        ("(memory 1) (memory 1) (memory 1)", None, Placement.ON_DEMAND),
    ],
)
def test_guests_that_do_not_fit_the_pool_are_made_on_demand(small_engines, build, memory, memory_max, placement):
    path = build(PLAIN_WIT, "plain", plain(memory))
    loaded = ComponentLoader(small_engines).load(path, memory_max=memory_max)
    assert loaded.compiled.compiler.placement is placement
    run = ActivityRun(link_activity(loaded).entries["testing:plain/plain.go"], LoggingHost(), memory_max=memory_max)
    run.start(Json(b"[]"))
    run.close()


def test_without_a_pool_everything_is_on_demand(build):
    engines = Engines(EngineConfig(pooling=False))
    loaded = ComponentLoader(engines).load(build(PLAIN_WIT, "plain", plain()))
    assert loaded.compiled.compiler.placement is Placement.ON_DEMAND


def test_memories_are_read_from_the_binary(core_module, fibo_components):
    assert initial_memories(core_module(PLAIN_WIT, "plain", plain("(memory 2 8) (memory 300)"))) == (2 << 16, 300 << 16)
    assert initial_memories(fibo_components.workflow.read_bytes()) == (1 << 16,)
    assert initial_memories(fibo_components.workflow.read_bytes()[:50]) == ()
    assert layer_of(b"text") is None


def test_an_activity_costs_microseconds(loader, fibo_components):
    """Loose here; measured in benchmarks: about 25 µs."""
    entry = link_activity(loader.load(fibo_components.activity)).entries[FIBO]
    best = 1.0
    for _ in range(5):
        began = time.thread_time()
        for _ in range(100):
            run = ActivityRun(entry, LoggingHost())
            run.start(Json(b"[10]"))
            run.close()
        best = min(best, (time.thread_time() - began) / 100)
    assert best < 500e-6
