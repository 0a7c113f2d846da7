"""Real components, loaded and linked; a ticking epoch."""

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

from obelisk.core.ports import Called, Yielded
from obelisk.wasm import tools
from obelisk.wasm.component import ComponentLoader
from obelisk.wasm.engine import EngineConfig, Engines
from obelisk.wasm.epochs import EpochTicker
from obelisk.wasm.link import link_activity, link_workflow
from obelisk.wit.packages import PACKAGES, package_files

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="session")
def engines():
    """A pool of 64 instances of at most 16 MiB; 64 MiB on demand."""
    return Engines(EngineConfig(pool_instances_max=64, pool_memory_max=16 << 20, memory_max=64 << 20))


@pytest.fixture(scope="session")
def loader(engines, tmp_path_factory):
    return ComponentLoader(engines, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def ticking(engines):
    """The epoch advances every 2 ms while the test runs."""
    ticker = EpochTicker(engines, period_s=0.002)
    ticker.start()
    with ticker.polling():
        yield ticker
    ticker.stop()


@pytest.fixture(scope="session")
def wasm_tools():
    """Runs wasm-tools; returns what it prints."""

    def run(*args, given=None):
        return subprocess.run(
            [tools.executable(), *map(str, args)], input=given, capture_output=True, check=True
        ).stdout

    return run


@pytest.fixture(scope="session")
def core_module(wasm_tools, tmp_path_factory):
    """(WIT text, world, core module as WAT or bytes) -> a core module that carries its WIT, as bytes."""
    folder = tmp_path_factory.mktemp("wit")
    for package in PACKAGES:
        (folder / "deps" / package).mkdir(parents=True)
        for name, text in package_files(package).items():
            (folder / "deps" / package / name).write_text(text)
    numbers = itertools.count()

    def make(wit, world, wat):
        here = folder / str(next(numbers))
        shutil.copytree(folder / "deps", here / "deps")
        (here / "world.wit").write_text(wit)
        source = here.with_suffix(".wat")
        source.write_bytes(wat if isinstance(wat, bytes) else wat.encode())
        return wasm_tools("component", "embed", "--world", world, here, source)

    return make


@pytest.fixture(scope="session")
def build(core_module, wasm_tools, tmp_path_factory):
    """(WIT text, world, core WAT) -> the path of a component."""
    folder = tmp_path_factory.mktemp("components")
    numbers = itertools.count()

    def make(wit, world, wat):
        path = folder / f"{world}-{next(numbers)}.wasm"
        path.write_bytes(wasm_tools("component", "new", "-", given=core_module(wit, world, wat)))
        return path

    return make


@pytest.fixture(scope="session")
def script_path(build):
    """The component of fixtures/script.wat."""
    return build((FIXTURES / "script.wit").read_text(), "script", (FIXTURES / "script.wat").read_text())


@pytest.fixture(scope="session")
def script(script_path, loader):
    """The entry point `run(list<u8>)` of that component."""
    linked = link_workflow(loader.load(script_path))
    return linked.entries["testing:script/script.run"]


@pytest.fixture(scope="session")
def flows(testing_components, loader):
    """The functions of testing:workflow/flows, by bare name."""
    entries = link_workflow(loader.load(testing_components.workflow)).entries
    return {name.rpartition(".")[2]: entry for name, entry in entries.items()}


@pytest.fixture(scope="session")
def acts(testing_components, loader):
    """The functions of testing:activity/acts, by bare name."""
    entries = link_activity(loader.load(testing_components.activity)).entries
    return {name.rpartition(".")[2]: entry for name, entry in entries.items()}


@pytest.fixture
def drive():
    """Runs a guest to its end; `replies` maps the type of a call to a reply or a function of the call. Gives the calls
    and the last step; closes the guest.
    """

    def run(guest, params, replies):
        calls = []
        step = guest.start(params)
        try:
            while isinstance(step, (Called, Yielded)):
                if isinstance(step, Yielded):
                    step = guest.resume()
                    continue
                calls.append(step.call)
                reply = replies[type(step.call)]
                step = guest.send(reply(step.call) if callable(reply) else reply)
        finally:
            guest.close()
        return calls, step

    return run
