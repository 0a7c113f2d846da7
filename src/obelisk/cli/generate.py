"""`obelisk generate`: files and ids for authors and operators, without a server."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from obelisk.cli import documents
from obelisk.cli.kinds import ComponentType
from obelisk.cli.writing import Action, report, says, shown, write_packages, written
from obelisk.core.ports import FunctionKind
from obelisk.wit.generated import TYPES_VERSIONS

F = TypeVar("F", bound=Callable[..., Any])


@click.group("generate")
def generate() -> None:
    """Files for authors and operators."""


def _options(command: F) -> F:
    for option in (
        click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("-f", "--force", is_flag=True, help="Write over files that were written by hand, too."),
    ):
        command = option(command)
    return command


_types_version_option: Final = click.option(
    "--types-version",
    type=click.Choice(TYPES_VERSIONS),
    default=TYPES_VERSIONS[0],
    show_default=True,
    help="The version of obelisk:types that the component is written against.",
)
_folder: Final = click.Path(path_type=Path, file_okay=False)


@generate.command("wit-support")
@click.argument("kind", metavar="COMPONENT_TYPE", type=ComponentType())
@click.argument("output", metavar="OUTPUT_DIRECTORY", type=_folder)
@_types_version_option
@click.option("--wasi", is_flag=True, help="Write the packages of WASI too.")
@_options
def wit_support(
    kind: FunctionKind, output: Path, types_version: str, *, wasi: bool, force: bool, as_json: bool
) -> None:
    """Write the WIT packages of Obelisk that a component of a type may import (usually to wit/deps)."""
    from obelisk.runtime import packages

    write_packages(output, packages.support(kind, types_version, wasi=wasi), force=force, as_json=as_json)


@generate.command("wit-deps")
@click.argument("output", metavar="OUTPUT_DIRECTORY", type=_folder)
@click.option(
    "-c",
    "--config",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="The configuration; found as `obelisk server run` finds it.",
)
@_types_version_option
@_options
def wit_deps(output: Path, config: Path | None, types_version: str, *, force: bool, as_json: bool) -> None:
    """Write the WIT packages of the components of a configuration, and what is generated for them (usually to wit/deps)."""
    from obelisk.config import ConfigError, load
    from obelisk.runtime import packages

    try:
        loaded = load(config, os.environ, Path.cwd(), files_may_be_missing=True)
        cache = loaded.codegen_cache.directory if loaded.codegen_cache.enabled else None
        found, missing = packages.dependencies(loaded.components, cache, types_version)
    except (ConfigError, OSError, packages.PackagesRefused) as error:
        raise click.ClickException(str(error)) from None
    for component in missing:
        click.echo(f"{component.title} is left out: {component.source} is not there yet", err=True)
    write_packages(output, found, force=force, as_json=as_json)


@generate.command("wit-extensions")
@click.argument("kind", metavar="COMPONENT_TYPE", type=ComponentType())
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path, exists=True))
@click.argument("output", metavar="[OUTPUT_DIRECTORY]", type=_folder, required=False)
@click.option("-w", "--world", metavar="NAME", help="The world whose exports are meant, where INPUT has several.")
@_types_version_option
@_options
def wit_extensions(
    kind: FunctionKind,
    source: Path,
    output: Path | None,
    world: str | None,
    types_version: str,
    *,
    force: bool,
    as_json: bool,
) -> None:
    """Write the extension packages of what a folder of WIT, or a component, exports.

    Without OUTPUT_DIRECTORY they are written into INPUT, which is a folder then.
    """
    from obelisk.runtime import packages
    from obelisk.wasm.source import ComponentError

    if output is None:
        if not source.is_dir():
            raise click.UsageError(f"{source} is no folder, so OUTPUT_DIRECTORY must say where to write")
        output = source
    try:
        found = packages.extensions(source, kind, types_version, world)
    except ComponentError as error:
        raise click.ClickException(str(error)) from None
    write_packages(output, found, force=force, as_json=as_json)


@generate.command("bindings")
@click.argument("folders", metavar="[DIR]...", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")
def bindings(folders: tuple[Path, ...], *, as_json: bool) -> None:
    """Write what editors, type checkers and unit tests are to know of components in Python, into .bindings beside each
    component.toml in or below each DIR (here, when none is given).
    """
    from obelisk.authoring import BuildFailed, ManifestError, Toolbox, ToolMissing, find_manifests, write_bindings

    toolbox = Toolbox.of(os.environ)
    folders = folders or (Path(),)
    made: list[Path | None] = []
    try:
        for manifest in find_manifests(folders):
            try:
                made.append(write_bindings(manifest, toolbox))
            except BuildFailed as failed:
                raise click.ClickException(f"{shown(manifest.file)}: {failed}") from None
    except (ManifestError, ToolMissing) as error:
        raise click.ClickException(str(error)) from None
    report([(shown(folder), Action.WRITTEN) for folder in made if folder is not None], as_json=as_json)


@generate.command("config")
@click.argument("file", metavar="[FILE]", type=click.Path(path_type=Path, dir_okay=False), default=Path("obelisk.toml"))
@_options
def config(file: Path, *, force: bool, as_json: bool) -> None:
    """Write a configuration with every key, its meaning and its default (to ./obelisk.toml)."""
    from obelisk.config.template import template

    if file.exists() and not file.is_file():
        raise click.ClickException(f"{file} is no file; expected the path of one")  # a terminal or a pipe
    if file.exists() and not force and not says(file, template()):
        raise click.ClickException(f"{file} is there already, and is something else; --force writes over it")
    report([written(file, template())], as_json=as_json)


@generate.command("execution-id")
@click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")
def execution_id(*, as_json: bool) -> None:
    """Print a new execution id, for `obelisk execution submit --execution-id`."""
    from obelisk.runtime import entropy
    from obelisk.runtime.clock import Clock

    new = entropy.execution_id(Clock().now())
    click.echo(documents.dumps({"execution_id": new}) if as_json else new)
