"""The command `obelisk`.

Exit codes: 0 done; 1 the server refused, start-up failed, the execution ended in an error, or a replay or a simulation found
something; 2 the command line is wrong.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Final

import click

import obelisk
from obelisk.cli.lazy import LazyGroup

_CLIENT: Final = {
    "component": ("obelisk.cli.component:component", "What is deployed, or could be."),
    "execution": (
        "obelisk.cli.execution:execution",
        "Submit executions, see what became of them, and do something about it.",
    ),
}
_SERVER: Final = {"server": ("obelisk.cli.server:server", "The server.")}
_SIMULATE: Final = {"simulate": ("obelisk.cli.simulate:simulate", "Run a workflow under simulated faults.")}
_GENERATE: Final = {"generate": ("obelisk.cli.generate:generate", "Files for authors and operators.")}
_AUTHORING: Final = {
    "new": ("obelisk.cli.new:new", "Make a project."),
    "dev": ("obelisk.cli.dev:dev", "Run a server that builds and deploys what is saved."),
    "build": ("obelisk.cli.build:build_command", "Build components."),
}
_CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 120}


@click.group(
    "obelisk",
    cls=LazyGroup,
    lazy={**_SERVER, **_CLIENT, **_SIMULATE, **_AUTHORING, **_GENERATE},
    context_settings=_CONTEXT,
)
@click.version_option(obelisk.__version__, "-v", "--version", message="obelisk %(version)s")
def cli() -> None:
    """Obelisk: durable workflows and activities as WASM components."""


@cli.group("client", cls=LazyGroup, lazy=_CLIENT, hidden=True)
@click.option("-a", "--api-url", metavar="URL", help="Where the server is.")
@click.pass_context
def client(context: click.Context, api_url: str | None) -> None:
    """Another way to write the client's commands: obelisk client component list."""
    if api_url is not None:
        from obelisk.cli.connection import checked_url  # imports gRPC

        context.meta["obelisk.api_url"] = checked_url(api_url)


def main() -> None:
    """The entry point."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own messages say nothing that ours do not say better
    try:
        cli(prog_name="obelisk")
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EIO, errno.EDQUOT}:
            raise
        print(f"Error: the output cannot be written: {error.strerror}", file=sys.stderr)
        # What is still buffered cannot be written either, and Python would say so once more on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)


if __name__ == "__main__":
    main()
