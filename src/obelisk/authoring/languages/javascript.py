"""JavaScript: an engine and the source's modules in one component. By componentize-qjs, with QuickJS; where the world imports
wasi:http, which that cannot build, by componentize-js, with StarlingMonkey, a SpiderMonkey that has `fetch`.

Decides which of the two it is; that a component of QuickJS has WASI unless its manifest says otherwise (`--stub-wasi`), and does
not use the asynchronous ABI (`--sync`); and that one of StarlingMonkey handles no requests that come in.
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
COMPONENTIZE_JS: Final = Tool(
    "componentize-js",
    "it makes components of JavaScript that send HTTP requests",
    "npm install --save-dev @bytecodealliance/componentize-js@0.23.0",
    of_node=True,
)
_ERROR: Final = "Error: : "


class JavaScript:
    """See `Builder`."""

    title = "JavaScript"
    install = (NODE.install, "npm install")
    test_command = "npm test"
    ignored = ("node_modules/",)
    names_sources = False

    def test_file(self, subject: str) -> str:
        """See `Builder`."""
        return f"{subject}.test.js"

    def check(self, tools: Toolbox, folder: Path) -> None:
        """Node.js is the system's, what makes components a package of the project: which one, the world decides."""
        tools.need(NODE, folder)
        if tools.find(COMPONENTIZE_JS, folder) is None:
            tools.need(COMPONENTIZE_QJS, folder)

    def bindings(self, job: Job) -> bool:
        """There are none: neither tool writes types."""
        return False

    def build(self, job: Job) -> None:
        """Runs the tool that the world needs."""
        manifest = job.manifest
        if any(interface.name.startswith("wasi:http/") for interface in job.wit.imports):
            self._build_with_fetch(job)
            return
        tool = job.tools.need(COMPONENTIZE_QJS, manifest.folder)
        command: list[str | Path] = [tool, "--wit", manifest.wit, "--world", manifest.world, "--js", manifest.source]
        try:
            stubs = ["--stub-wasi"] if manifest.stub_wasi else []
            job.tools.run([*command, "--sync", *stubs, "--output", job.made], manifest.folder)
        except ToolFailed as failed:
            failed.output = readable(failed.output)
            raise

    def _build_with_fetch(self, job: Job) -> None:
        """Runs componentize-js. What it would make a server of, it leaves out."""
        manifest = job.manifest
        if manifest.stub_wasi:
            raise _NotWithoutWasi(f"the world {manifest.world} imports wasi:http; stub_wasi = true takes that away")
        tool = job.tools.need(COMPONENTIZE_JS, manifest.folder)
        command: list[str | Path] = [tool, manifest.source, "--wit", manifest.wit, "--world-name", manifest.world]
        job.tools.run([*command, "--disable", "fetch-event", "--out", job.made], manifest.folder)


class _NotWithoutWasi(ToolFailed):
    """The manifest contradicts its world."""

    def __init__(self, reason: str) -> None:
        Exception.__init__(self, reason)
        self.output = ""


def readable(output: str) -> str:
    """What componentize-qjs said, without how it began."""
    return (output.partition(_ERROR)[2] or output).strip("\n")
