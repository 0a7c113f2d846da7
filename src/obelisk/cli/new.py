"""`obelisk new`: a project to begin with."""

from __future__ import annotations

import json
from pathlib import Path

import click

from obelisk.authoring.languages import BUILDERS
from obelisk.authoring.manifest import Language
from obelisk.authoring.projects import TEMPLATES, NotEmpty, create_project
from obelisk.cli.arguments import json_option


@click.command("new")
@click.argument("template", metavar="TEMPLATE", required=False, type=click.Choice(list(TEMPLATES)))
@click.argument("folder", metavar="DIR", required=False, type=click.Path(path_type=Path))
@click.option(
    "-l",
    "--language",
    type=click.Choice(list(map(str, Language))),
    default=str(Language.PYTHON),
    show_default=True,
    help="What its components are written in.",
)
@click.option("--list", "list_", is_flag=True, help="Show the templates and the languages instead.")
@json_option
def new(*, template: str | None, folder: Path | None, language: str, list_: bool, as_json: bool) -> None:
    """Make a project in DIR, which is empty or not there yet: components to build, and what a server needs to run them."""
    if list_:
        if template is not None:
            raise click.UsageError("--list takes no TEMPLATE")
        click.echo(_list_json() if as_json else _list_text())
        return
    if template is None or folder is None:
        raise click.UsageError("TEMPLATE and DIR are missing; --list shows the templates")
    try:
        paths = create_project(TEMPLATES[template], Language(language), folder)
    except NotEmpty as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or folder} cannot be written: {error.strerror}") from None
    if as_json:
        document = {"folder": str(folder.absolute()), "files": list(map(str, paths))}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        click.echo(f"{folder}: {TEMPLATES[template].summary}, in {BUILDERS[Language(language)].title}")
        click.echo("\n".join(f"  {path}" for path in paths))
        click.echo(f"How to go on is told in {folder / 'README.md'}")


def _list_text() -> str:
    width = max(map(len, TEMPLATES))
    rows = [f"{template.name:{width}}  {template.summary}" for template in TEMPLATES.values()]
    return "\n".join((*rows, f"in {', '.join(Language)}"))


def _list_json() -> str:
    templates = [
        {"name": each.name, "summary": each.summary, "languages": list(Language)} for each in TEMPLATES.values()
    ]
    return json.dumps(templates, indent=2)
