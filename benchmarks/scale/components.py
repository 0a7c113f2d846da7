"""Components: what a server with many takes. Each is a small one of its own, with one function."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, Final

import grpc
import wasmtime

from benchmarks.figures import percentile
from benchmarks.machine import memory_mb
from benchmarks.scale.series import Sample, Series
from benchmarks.servers import FIBO, fibo_toml, pid_of, run_s, serving, table
from obelisk.proto import obelisk_pb2 as pb
from obelisk.proto import obelisk_pb2_grpc as rpc

_TEXT: Final = """
(component
  (core module $m (func (export "f") (result i32) (i32.const 0)))
  (core instance $i (instantiate $m))
  (type $r (result))
  (func $f (result $r) (canon lift (core func $i "f")))
  (instance $e (export "f" (func $f)))
  (export "many:n{number}/acts" (instance $e)))
"""


def _measure(count: int) -> Sample:
    with tempfile.TemporaryDirectory(prefix="obelisk-scale-") as folder:
        tables = []
        for number in range(count):
            path = Path(folder) / f"n{number}.wasm"
            path.write_bytes(bytes(wasmtime.wat2wasm(_TEXT.format(number=number))))
            tables.append(table("activity_wasm", f"n{number}", path))
        with serving(fibo_toml() + "".join(tables)) as server:
            server.stop()
            begun = time.perf_counter()
            server.start()
            start = time.perf_counter() - begun
            one = [run_s(server, FIBO + "fiboa", 10, 1) for _ in range(30)]
            memory = memory_mb(pid_of(server))
            listing = [_list_s(server.address) for _ in range(5)]
    return {
        "a start, ms": 1_000 * start,
        "memory, MB": memory,
        "listing them, ms": 1_000 * percentile(listing, 0.5),
        "a one-step workflow, ms": 1_000 * percentile(one, 0.5),
    }


def _list_s(address: str) -> float:
    with grpc.insecure_channel(address) as channel:
        stub: Any = rpc.FunctionRepositoryStub(channel)
        stub.ListComponents(pb.ListComponentsRequest())
        begun = time.perf_counter()
        stub.ListComponents(pb.ListComponentsRequest())
        return time.perf_counter() - begun


COMPONENTS = Series("components", "Deployed components", "components", "", (1, 10, 100, 500), _measure)
