"""`obelisk server`: running one, here and now."""

from __future__ import annotations

from pathlib import Path

import click


@click.group("server")
def server() -> None:
    """The server."""


@server.command("run")
@click.option(
    "-c",
    "--config",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="The configuration. Without it: ./obelisk.toml, then $XDG_CONFIG_HOME/obelisk/obelisk.toml, then"
    " /etc/obelisk/obelisk.toml, then defaults.",
)
def run(config: Path | None) -> None:
    """Run a server until SIGINT or SIGTERM."""
    from obelisk.server import process

    try:
        process.run(config, announce=click.echo)
    except process.ServerFailed as error:
        raise click.ClickException(str(error)) from None
