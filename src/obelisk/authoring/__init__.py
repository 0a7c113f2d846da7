"""The authoring loop: a new project out of a template, components out of sources.

    for manifest in find_manifests([Path()]): build(manifest, Toolbox.of(os.environ))

One module each: `manifest` (`component.toml`), `toolbox` (the tools of languages: found, run, told when they are missing),
`languages` (what a language's tool is called with), `guest` (what it finds beside the sources), `building` (a component from its manifest, checked), `projects` (new
projects). Runs tools and writes files; must not know a server, a database or a terminal, and runs no component.
"""

from obelisk.authoring.annotating import Warned
from obelisk.authoring.building import BuildFailed, Built, build, check_tools, write_bindings
from obelisk.authoring.manifest import Manifest, ManifestError, find_manifests
from obelisk.authoring.toolbox import Toolbox, ToolMissing

__all__ = [
    "BuildFailed",
    "Built",
    "Manifest",
    "ManifestError",
    "ToolMissing",
    "Toolbox",
    "Warned",
    "build",
    "check_tools",
    "find_manifests",
    "write_bindings",
]
