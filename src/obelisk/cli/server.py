"""`obelisk server`: running one, here and now, and looking whether it would run."""

from __future__ import annotations

from pathlib import Path

import click


@click.group("server")
def server() -> None:
    """The server."""


_config_option = click.option(
    "-c",
    "--config",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="The configuration. Without it: ./obelisk.toml, then $XDG_CONFIG_HOME/obelisk/obelisk.toml, then"
    " /etc/obelisk/obelisk.toml, then defaults.",
)


@server.command("run")
@_config_option
def run(config: Path | None) -> None:
    """Run a server until SIGINT or SIGTERM."""
    from obelisk.server import process

    try:
        process.run(config, announce=click.echo)
    except process.ServerFailed as error:
        raise click.ClickException(str(error)) from None


@server.command("verify")
@_config_option
@click.option(
    "-i",
    "--ignore-missing-env-vars",
    is_flag=True,
    help="Environment variables that the configuration names need not be set here.",
)
def verify(config: Path | None, ignore_missing_env_vars: bool) -> None:
    """Check the configuration and its components, as `run` does, and start nothing."""
    from obelisk.server import process

    try:
        process.verify(config, variables_may_be_missing=ignore_missing_env_vars)
    except process.ServerFailed as error:
        raise click.ClickException(str(error)) from None
    click.echo("Obelisk configuration was verified")
