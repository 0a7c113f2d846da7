"""The WIT packages of the host that guests are written against, as text: `obelisk:*`, and WASI.

Decides where the packaged texts are found, and which of them a component of a kind can use; their content is in `packages/`,
one folder per package as it is laid into a project's `wit/deps/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from obelisk.core.ports import FunctionKind
from obelisk.wit.host import TYPES_VERSION, TYPES_VERSION_5
from obelisk.wit.wasi import SUPPLIED

PACKAGES: Final = (
    "obelisk_types@4.2.0",
    "obelisk_workflow@5.1.0",
    "obelisk_types@5.0.0",
    "obelisk_workflow@6.0.0",
    "obelisk_log@1.0.0",
)
"""Folder names, dependencies first."""
ACTIVITY_PACKAGES: Final = ("obelisk_activity@1.0.0",)
"""Those that activities may import and that are written against WASI's."""
WASI_PACKAGES: Final = tuple(
    f"wasi_{name}@0.2.12" for name in ("io", "clocks", "random", "filesystem", "sockets", "cli", "http")
)
"""Those of WASI, dependencies first. Components written against any other version 0.2.x are supplied too."""


_LOG: Final = ("obelisk_log@1.0.0",)
_WORKFLOWS: Final = {
    TYPES_VERSION: ("obelisk_types@4.2.0", "obelisk_workflow@5.1.0", *_LOG),
    TYPES_VERSION_5: ("obelisk_types@5.0.0", "obelisk_workflow@6.0.0", *_LOG),
}


def support_packages(kind: FunctionKind, types_version: str = TYPES_VERSION) -> tuple[str, ...]:
    """Those of `PACKAGES` that a component of that kind may import, workflows in the generation of that version of
    `obelisk:types`. A stub imports none.
    """
    match kind:
        case FunctionKind.WORKFLOW:
            return _WORKFLOWS[types_version]
        case FunctionKind.ACTIVITY:
            return _LOG
        case FunctionKind.STUB:
            return ()


def wasi_packages(kind: FunctionKind) -> tuple[str, ...]:
    """Those of `WASI_PACKAGES` that a component of that kind may import something of, and those that need them."""
    names = {name.partition("/")[0].replace(":", "_") for name in SUPPLIED.get(kind, ())}
    own = ACTIVITY_PACKAGES if kind is FunctionKind.ACTIVITY else ()
    return (*(package for package in WASI_PACKAGES if package.partition("@")[0] in names), *own)


def package_files(package: str) -> dict[str, str]:
    """The `.wit` files of one of these packages: file name to text. `KeyError` for any other name."""
    if package not in (*PACKAGES, *ACTIVITY_PACKAGES, *WASI_PACKAGES):
        raise KeyError(package)
    folder = Path(__file__).with_name("packages") / package
    return {
        entry.name: entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir())
        if entry.name.endswith(".wit")
    }
