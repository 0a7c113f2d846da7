"""JavaScript, by componentize-qjs: QuickJS and the source's modules in one component.

Decides that a component has WASI unless its manifest says otherwise (`--stub-wasi`), and does not use the asynchronous ABI (`--sync`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from obelisk.authoring.languages.builder import Job
from obelisk.authoring.toolbox import Tool, Toolbox, ToolFailed

NODE: Final = Tool("node", "it runs componentize-qjs", "apt-get install nodejs npm")
COMPONENTIZE_QJS: Final = Tool(
    "componentize-qjs",
    "it makes components of JavaScript",
    "npm install --save-dev componentize-qjs@0.4.5",
    of_node=True,
)
_ERROR: Final = "Error: : "


class JavaScript:
    """See `Builder`."""

    title = "JavaScript"
    install = (NODE.install, "npm install")
    test_file = "fibo.test.js"
    test_command = "npm test"
    ignored = ("node_modules/",)

    def check(self, tools: Toolbox, folder: Path) -> None:
        """Node.js is the system's, componentize-qjs a package of the project."""
        tools.need(NODE, folder)
        tools.need(COMPONENTIZE_QJS, folder)

    def bindings(self, job: Job) -> bool:
        """There are none: componentize-qjs writes no types."""
        return False

    def build(self, job: Job) -> None:
        """Runs componentize-qjs."""
        manifest = job.manifest
        tool = job.tools.need(COMPONENTIZE_QJS, manifest.folder)
        command: list[str | Path] = [tool, "--wit", manifest.wit, "--world", manifest.world, "--js", manifest.source]
        try:
            stubs = ["--stub-wasi"] if manifest.stub_wasi else []
            job.tools.run([*command, "--sync", *stubs, "--output", job.made], manifest.folder)
        except ToolFailed as failed:
            failed.output = readable(failed.output)
            raise


def readable(output: str) -> str:
    """What componentize-qjs said, without how it began."""
    return (output.partition(_ERROR)[2] or output).strip("\n")
