"""Python, by componentize-py: CPython and the source's modules in one component.

Decides that a component has WASI unless its manifest says otherwise (`--stub-wasi`), what the modules of imported interfaces are called, and that the package
`obelisk_guest` is there for the source to import.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from obelisk.authoring.languages.builder import BINDINGS, Job
from obelisk.authoring.toolbox import Tool, Toolbox, ToolFailed
from obelisk.core.names import InterfaceName
from obelisk.wit.component import ComponentWit
from obelisk.wit.extensions import package_suffix

COMPONENTIZE_PY: Final = Tool(
    "componentize-py", "it makes components of Python", "pip install 'componentize-py>=0.25,<0.26'", of_python=True
)
GUEST: Final = Path(__file__).parents[1] / "guest"
"""The folder of `obelisk_guest`, whose modules are data here: they run in components."""
_NOISE: Final = ("\nCaused by:\n", "\nStack backtrace:\n")
_RAISED: Final = "AssertionError: "


class Python:
    """See `Builder`."""

    title = "Python"
    install = (f"{COMPONENTIZE_PY.install} pytest",)
    test_command = "pytest"
    ignored = ("__pycache__/", f"{BINDINGS}/")
    names_sources = True

    def test_file(self, subject: str) -> str:
        """See `Builder`."""
        return f"test_{subject}.py"

    def check(self, tools: Toolbox, folder: Path) -> None:
        """componentize-py is a package of the author's environment."""
        tools.need(COMPONENTIZE_PY, folder)

    def build(self, job: Job) -> None:
        """Runs componentize-py."""
        source = job.manifest.source
        command: list[str | Path] = ["componentize", *(["--stub-wasi"] if job.manifest.stub_wasi else [])]
        command += ["--python-path", source.parent, "--python-path", GUEST]
        _run(job, [*command, "--output", job.made, source.stem])

    def bindings(self, job: Job) -> bool:
        """`wit_world` as componentize-py writes it, the modules that it needs, and `obelisk_guest`."""
        _run(job, ["bindings", job.made])
        shutil.copytree(GUEST, job.made, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        return True


def _run(job: Job, what: list[str | Path]) -> None:
    manifest = job.manifest
    command: list[str | Path] = [job.tools.need(COMPONENTIZE_PY, manifest.folder)]
    command += ["--quiet", "--wit-path", manifest.wit, "--world", manifest.world]
    for interface, module in module_names(job.wit):
        command += ["--import-interface-name", f"{interface}={module}"]
    try:
        job.tools.run([*command, *what], manifest.folder, RUST_BACKTRACE="0", **_packages(job.tools))
    except ToolFailed as failed:
        failed.output = readable(failed.output, manifest.source.parent)
        raise


def _packages(tools: Toolbox) -> dict[str, str]:
    """Where packages that the source imports are looked for. Left alone, componentize-py asks whichever Python is first on
    PATH; the environment that is active, or else Obelisk's own, is what the author means.
    """
    own = tools.beside.parent
    return {"VIRTUAL_ENV": str(own)} if "VIRTUAL_ENV" not in tools.environ and (own / "pyvenv.cfg").exists() else {}


def module_names(wit: ComponentWit) -> Iterator[tuple[InterfaceName, str]]:
    """The modules of `wit_world.imports` that would get a long name because two packages have an interface of that name,
    as an interface and its generated extensions always do: `fibo_activity_ifc` and `fibo_activity_ifc_ext`.
    """
    names = {interface.name: _module_name(interface.name) for interface in wit.imports}
    taken = Counter(names.values())
    short = Counter(_last(name) for name in names)
    for interface, module in names.items():
        if short[_last(interface)] > 1 and taken[module] == 1:
            yield interface, module


def _last(interface: InterfaceName) -> str:
    return interface.partition("/")[2].partition("@")[0]


def _module_name(interface: InterfaceName) -> str:
    suffix = package_suffix(interface)
    return (_last(interface) + ("" if suffix is None else suffix.removeprefix("-obelisk"))).replace("-", "_")


def readable(output: str, folder: Path) -> str:
    """What componentize-py said, without the traceback of itself; paths are those of the author."""
    text = output.partition(_RAISED)[2] or output
    for noise in _NOISE:
        text = text.partition(noise)[0]
    return text.replace('File "/0/', f'File "{folder}/').strip("\n")
