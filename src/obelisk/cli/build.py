"""`obelisk build`: components out of sources, with the tools of their languages."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from obelisk.authoring import (
    BuildFailed,
    Built,
    Manifest,
    ManifestError,
    Toolbox,
    ToolMissing,
    build,
    check_tools,
    find_manifests,
)
from obelisk.cli.arguments import json_option
from obelisk.cli.writing import shown


@click.command("build")
@click.argument("folders", metavar="[DIR]...", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
@click.pass_context
def build_command(context: click.Context, *, folders: tuple[Path, ...], as_json: bool) -> None:
    """Build the components whose component.toml is in or below each DIR (here, when none is given)."""
    folders = folders or (Path(),)
    try:
        manifests = find_manifests(folders)
    except ManifestError as error:
        raise click.ClickException(str(error)) from None
    if not manifests:
        raise click.UsageError(
            f"there is no component.toml in or below {', '.join(map(str, folders))}; `obelisk new` makes a project that has one"
        )
    toolbox = Toolbox.of(os.environ)
    _check_tools(manifests, toolbox)
    documents: list[dict[str, Any]] = []
    for manifest in manifests:
        told = not as_json
        if told:
            click.echo(f"{shown(manifest.file)}: building {shown(manifest.output)} from {shown(manifest.source)}")
        try:
            built = build(manifest, toolbox)
        except BuildFailed as failed:
            documents.append({"component": str(manifest.file), "failed": str(failed)})
            if told:
                click.echo(f"Error: {shown(manifest.file)}: {failed}", err=True)
        else:
            documents.append({"component": str(manifest.file), "ok": _document(built)})
            if told:
                click.echo(_text(built))
                for warned in built.warnings:
                    click.echo(f"Warning: {shown(warned.path)}{warned.rest}", err=True)
    if as_json:
        click.echo(json.dumps(documents, indent=2, ensure_ascii=False))
    if any("failed" in document for document in documents):
        context.exit(1)


def _check_tools(manifests: list[Manifest], toolbox: Toolbox) -> None:
    """Everything that is missing, before anything is built."""
    missing: dict[str, str] = {}
    for manifest in manifests:
        try:
            check_tools(manifest, toolbox)
        except ToolMissing as error:
            missing.setdefault(error.tool.command, str(error))
    if missing:
        raise click.ClickException("\n".join(missing.values()))


def _text(built: Built) -> str:
    lines = [f"  {built.size:,} bytes, {built.digest}, in {built.seconds:.1f} s"]
    for interface in built.wit.exports:
        lines += [f"  {interface.ffqn(function)} : {function.text}" for function in interface.functions]
    return "\n".join(lines)


def _document(built: Built) -> dict[str, Any]:
    return {
        "output": str(built.manifest.output),
        "digest": built.digest,
        "size_bytes": built.size,
        "seconds": round(built.seconds, 3),
        "exports": [interface.ffqn(function) for interface in built.wit.exports for function in interface.functions],
        "warnings": [str(warned) for warned in built.warnings],
    }
