"""Files that commands write into a project.

Decides what may be written over: what these commands made themselves, and everything with `--force`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path

import click

from obelisk.cli import documents


class Action(StrEnum):
    """What became of a file."""

    WRITTEN = "created or updated"
    SAME = "up to date"
    REMOVED = "removed"
    KEPT = "kept: it was written by hand (--force replaces it)"


Done = tuple[Path, Action]


def write_packages(output: Path, packages: Mapping[str, Mapping[str, str]], *, force: bool, as_json: bool) -> None:
    """Writes packages, each into its folder below `output`, and reports it. `ClickException` when the disk refuses."""
    done = [each for folder, files in packages.items() for each in _package(output / folder, files, force=force)]
    report(done, as_json=as_json)


def _package(folder: Path, files: Mapping[str, str], *, force: bool) -> list[Done]:
    """One package. All files of a folder are one package, so one that was written by hand stands for all of it."""
    present = _present(folder)
    by_hand = [path for path in present if not _is_ours(path) and files.get(path.name) != _text(path)]
    if by_hand and not force:
        return [(path, Action.KEPT) for path in by_hand]
    if len(present) == len(files) == 1 and not by_hand:  # its name was chosen by somebody else: a template, an author
        (text,) = files.values()
        files = {present[0].name: text}
    done = []
    for path in present:
        if path.name not in files:
            with _told(path, "removed"):
                path.unlink()
            done.append((path, Action.REMOVED))
    return done + [written(folder / name, text) for name, text in files.items()]


def _is_ours(path: Path) -> bool:
    from obelisk.runtime.packages import HEADER

    return _text(path).startswith(HEADER)


def _present(folder: Path) -> list[Path]:
    with _told(folder, "read"):
        return sorted(path for path in folder.glob("*.wit") if path.exists())  # no links that lead nowhere


def _text(path: Path) -> str:
    with _told(path, "read"):
        return path.read_text(encoding="utf-8", errors="replace")


def says(path: Path, text: str) -> bool:
    """Whether that is what the file says. `ClickException` when it cannot be read."""
    return _text(path) == text


def written(path: Path, text: str) -> Done:
    """Writes one file, unless that is what it says already; a link stays one. `ClickException` when the disk refuses."""
    if path.exists() and says(path, text):
        return path, Action.SAME
    target = path.resolve()
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    with _told(path, "written"):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(text, encoding="utf-8")
            draft.replace(target)
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
    return path, Action.WRITTEN


@contextmanager
def _told(path: Path, verb: str) -> Iterator[None]:
    """What the disk refuses, as `ClickException`."""
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"{path} cannot be {verb}: {error.strerror or error}") from None


def shown(path: Path) -> Path:
    """As short as it can be said here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def report(done: list[Done], *, as_json: bool) -> None:
    """Tells what became of files; those that were kept on standard error."""
    if as_json:
        click.echo(documents.dumps([{"path": str(path), "action": action.name.lower()} for path, action in done]))
        return
    for path, action in done:
        text = (
            f'"{path}" {action.value}' if action in {Action.WRITTEN, Action.REMOVED} else f'"{path}" is {action.value}'
        )
        click.echo(text, err=action is Action.KEPT)
    if not done:
        click.echo("There is nothing to generate.")
