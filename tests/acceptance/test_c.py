"""C by the real clang: values of every type cross the border and come back, and new projects are built and run."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from wasmtime import component as wasm

from obelisk.authoring import Toolbox, build, find_manifests
from obelisk.authoring.languages import BUILDERS, Job
from obelisk.authoring.languages.c import C
from obelisk.authoring.manifest import Language, read_manifest
from obelisk.authoring.projects import TEMPLATES, create_project
from obelisk.wit.component import ComponentWit

pytestmark = pytest.mark.acceptance

ECHO = Path(__file__).resolve().parents[1] / "fixtures" / "c"


def record(**fields: Any) -> wasm.Record:
    """A record as wasmtime takes it."""
    made = wasm.Record()
    for name, value in fields.items():
        setattr(made, name.replace("_", "-"), value)
    return made


def plain(value: Any) -> Any:
    """A value that can be compared."""
    match value:
        case wasm.Record():
            return {name: plain(field) for name, field in vars(value).items()}
        case wasm.Variant():
            return (value.tag, plain(value.payload))
        case list() | tuple():
            return type(value)(map(plain, value))
    return value


def point(y: int = 65535) -> wasm.Record:
    """Negative, unsigned and a bool."""
    return record(x=-7, y=y, far=True)


SHAPES: list[Any] = [None, point(), 1.5, (point(3), math.pi), "héllo", 2**64 - 1]
EVERYTHING = {
    "a_bool": True,
    "a_u8": 255,
    "an_s16": -32768,
    "a_u32": 2**32 - 1,
    "an_s64": -(2**63),
    "an_f32": 0.25,
    "an_f64": -math.e,
    "a_char": "𝄞",
    "a_string": "",
    "a_list": [1, 2, 65535],
    "a_tuple": (9, 2**63),
    "an_option": -5,
    "a_result": 7,
    "a_colour": "dark-blue",
    "some_rights": {"read", "smell"},
}
VALUES: list[tuple[str, Any]] = [
    *(("bools", each) for each in (True, False)),
    *(("u8s", each) for each in (0, 255)),
    *(("s8s", each) for each in (-128, 127)),
    *(("u16s", each) for each in (0, 65535)),
    *(("s16s", each) for each in (-32768, 32767)),
    *(("u32s", each) for each in (0, 2**32 - 1)),
    *(("s32s", each) for each in (-(2**31), 2**31 - 1)),
    *(("u64s", each) for each in (0, 2**64 - 1)),
    *(("s64s", each) for each in (-(2**63), 2**63 - 1)),
    *(("f32s", each) for each in (0.5, -(2.0**100), math.inf)),
    *(("f64s", each) for each in (0.1, -math.inf)),
    *(("chars", each) for each in ("a", "𝄞")),
    *(("strings", each) for each in ("", "héllo", "x" * 200_000)),
    *(("colours", each) for each in ("red", "dark-blue")),
    *(("rights-held", each) for each in (set(), {"write"}, {"read", "double", "smell"})),
    ("points", point()),
    *(("shapes", each) for each in SHAPES),
    *(("narrows", each) for each in (2**32 - 1, -0.5)),
    *(
        ("wides", wasm.Variant(*each))
        for each in (("count", 2**64 - 1), ("real", math.pi), ("small", -0.25), ("number", -9))
    ),
    ("own-name", 7),
    *(("lists", each) for each in ([], SHAPES)),
    *(("options", each) for each in (wasm.Variant("none"), wasm.Variant("some", None), wasm.Variant("some", 0.25))),
    *(("mixed", each) for each in (None, (0.25, 3, None), (-0.5, 255, math.pi))),
    *(("all-of-it", record(**EVERYTHING, a_shape=shape)) for shape in SHAPES),
]
RESULTS: list[tuple[str, list[Any], Any]] = [
    ("plain", [True], ("ok", None)),
    ("plain", [False], ("err", None)),
    ("with-ok", [True, 2**64 - 1], 2**64 - 1),
    ("with-ok", [False, 5], None),
    ("with-err", [True, "unused"], None),
    ("with-err", [False, "it is Monday"], "it is Monday"),
    *(("with-both", [True, shape, "red"], ("ok", plain(shape))) for shape in SHAPES),
    ("with-both", [False, None, "dark-blue"], ("err", "dark-blue")),
]


class Echo:
    """The component, and a host that gives back what it is given."""

    def __init__(self, made: Path) -> None:
        engine = wasmtime.Engine()
        self._store = wasmtime.Store(engine)
        self._component = wasm.Component.from_file(engine, str(made))
        self.heard: list[tuple[str, Any]] = []
        linker = wasm.Linker(engine)
        with linker.root() as root, root.add_instance("test:host/echo@1.0.0") as host:
            for name in {name for name, _ in VALUES}:
                host.add_func(name, self._echoing(name))
            host.add_func("plain", lambda _, fine: wasm.Variant("ok" if fine else "err"))
            host.add_func("with-ok", lambda _, fine, value: value if fine else None)
            host.add_func("with-err", lambda _, fine, value: None if fine else value)
            host.add_func(
                "with-both", lambda _, fine, ok, err: wasm.Variant("ok", ok) if fine else wasm.Variant("err", err)
            )
            host.add_func("nothing", lambda _: self.heard.append(("nothing", None)))
        self._instance = linker.instantiate(self._store, self._component)

    def _echoing(self, name: str) -> Any:
        def echo(_store: Any, value: Any) -> Any:
            self.heard.append((name, plain(value)))
            return value

        return echo

    def call(self, name: str, *params: Any) -> Any:
        """A call of one of its functions."""
        interface = self._instance.get_export_index(self._store, "test:guest/echo@1.0.0")
        index = self._instance.get_export_index(self._store, name, interface)
        function = self._instance.get_func(self._store, index)
        answer = function(self._store, *params)
        function.post_return(self._store)
        return plain(answer)


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Echo:
    """Built out of a world of everything."""
    folder = tmp_path_factory.mktemp("c") / "echo"
    shutil.copytree(ECHO, folder)
    manifest = read_manifest(folder / "component.toml")
    C().build(Job(manifest, ComponentWit(), manifest.output, Toolbox.of(os.environ)))
    return Echo(manifest.output)


@pytest.mark.parametrize(("name", "value"), VALUES)
def test_a_value_goes_in_and_out_and_comes_back(echo: Echo, name: str, value: Any) -> None:
    echo.heard.clear()
    assert echo.call(name, value) == plain(value)
    assert echo.heard == [(name, plain(value))]


@pytest.mark.parametrize(("name", "params", "expected"), RESULTS)
def test_a_result_is_what_is_returned_and_what_the_pointers_got(
    echo: Echo, name: str, params: list[Any], expected: Any
) -> None:
    assert echo.call(name, *params) == expected


def test_a_function_without_anything(echo: Echo) -> None:
    echo.heard.clear()
    echo.call("nothing")
    assert echo.heard == [("nothing", None)]


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_project_is_built_and_passes_its_own_tests(tmp_path: Path, template: str) -> None:
    folder = tmp_path / "project"
    create_project(TEMPLATES[template], Language.C, folder)
    first = [build(manifest, Toolbox.of(os.environ)).digest for manifest in find_manifests([folder])]
    assert [build(manifest, Toolbox.of(os.environ)).digest for manifest in find_manifests([folder])] == first
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "obelisk"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m obelisk "$@"\n')
    command.chmod(0o755)
    environ = {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"}
    test = [*BUILDERS[Language.C].test_command.split()]
    done = subprocess.run(test, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert len(lines) >= 4
    assert all(line.startswith("ok: ") for line in lines)


def test_an_error_that_the_wit_says_is_permanent_is_so_in_the_component(tmp_path: Path) -> None:
    (tmp_path / "wit").mkdir()
    (tmp_path / "component.toml").write_text('language = "c"\nsource = "pay.c"\nworld = "pay"\noutput = "pay.wasm"\n')
    (tmp_path / "wit" / "pay.wit").write_text("""
        package any:any;
        world pay { export demo:acts/pay; }
        package demo:acts {
          interface pay {
            variant pay-error {
              // @permanent
              card-declined(string),
              network,
              execution-failed,
            }
            charge: func(n: u8) -> result<u8, pay-error>;
          }
        }
    """)
    (tmp_path / "pay.c").write_text("""
        #include "bindings/pay.h"
        bool charge(uint8_t n, uint8_t *ok, pay_error_t *err) {
          *ok = n;
          err->tag = PAY_ERROR_NETWORK;
          return n > 1;
        }
    """)
    built = build(read_manifest(tmp_path / "component.toml"), Toolbox.of(os.environ))
    assert [function.permanent for each in built.wit.exports for function in each.functions] == [("card-declined",)]
    wasmtime.component.Component.from_file(wasmtime.Engine(), str(built.manifest.output))
