"""`obelisk dev`: a server beside an editor. What is saved is built, and what was built is deployed.

    a file changes ─▶ build its component ─▶ deploy ─▶ open executions move, if their logs replay

Decides what is told. Until everything is built for the first time, and the configuration can be read, there is no server; after
that a mistake changes nothing: what was deployed goes on.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from obelisk.authoring import (
    BuildFailed,
    Manifest,
    ManifestError,
    Toolbox,
    ToolMissing,
    build,
    find_manifests,
)
from obelisk.authoring.manifest import is_skipped
from obelisk.authoring.watching import NO_SOURCES, Sources
from obelisk.config import Config, ConfigError, load
from obelisk.config.places import FILE_NAME

if TYPE_CHECKING:
    from watchfiles import Change

    from obelisk.api.redeploying import Redeployment
    from obelisk.api.service import Service

_DEBOUNCE_MS: Final = 200
"""Changes that come within this time are one: editors write several files, and one of them several times."""
_LOOK_MS: Final = 500
"""After so long it is looked whether something was saved while it was built, before anything was watched."""


@click.command("dev")
@click.option(
    "-c",
    "--config",
    metavar="PATH",
    type=click.Path(path_type=Path),
    default=Path(FILE_NAME),
    show_default=True,
    help="The configuration. Components are looked for in its folder and below.",
)
def dev(config: Path) -> None:
    """Run a server, and build and deploy components anew whenever their sources are saved."""
    from obelisk.server import process

    if not config.is_file():
        raise click.ClickException(f"there is no {config}; `obelisk new` makes a project that has one")
    project = _Project(config.resolve())
    try:
        while not project.build_outdated():
            project.wait_for_changes()
        process.run(config, announce=click.echo, beside=project.redeploy_for_ever)
    except process.ServerFailed as error:
        raise click.ClickException(str(error)) from None


class _Project:
    """A configuration, and the components in and below its folder."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._root = file.parent
        self._toolbox = Toolbox.of(os.environ)
        self._server_writes: tuple[Path, ...] = ()
        """Folders in the configuration as it was last read."""
        self._built_from: dict[Path, tuple[int, int]] = {}
        """What was there when `build_outdated` began."""
        logging.getLogger("watchfiles").setLevel(logging.WARNING)

    # --- before there is a server ------------------------------------------------------------------------------------

    def build_outdated(self) -> bool:
        """Builds what is older than its sources; whether all is well then, the configuration included."""
        self._built_from = self._files()
        sources = self._sources()
        if sources is None:
            return False
        done = [self._build(manifest) for manifest in sources.outdated()]
        return all(done) and self._load() is not None

    def wait_for_changes(self) -> None:
        """Until somebody does something about it, or has done so since `build_outdated` began."""
        from watchfiles import watch

        click.echo(f"waiting for changes in {self._root}")
        for changed in watch(
            self._root,
            watch_filter=self._is_of_authors,
            debounce=_DEBOUNCE_MS,
            raise_interrupt=True,
            rust_timeout=_LOOK_MS,
            yield_on_timeout=True,
        ):
            if changed or self._changed_since():
                return

    # --- beside a server ---------------------------------------------------------------------------------------------

    async def redeploy_for_ever(self, service: Service) -> None:
        """Builds and deploys what changes."""
        from watchfiles import awatch

        changes = awatch(self._root, watch_filter=self._is_of_authors, debounce=_DEBOUNCE_MS)
        saved = asyncio.ensure_future(anext(changes))
        try:
            await asyncio.sleep(0)  # with its first step it watches: nothing that is saved from here on is missed
            await self._move(service)
            if await asyncio.to_thread(self._built, None):  # what was saved while the server started
                await self._redeploy(service)
            click.echo(f"watching {self._root}")
            while True:
                changed = {Path(path) for _, path in await saved}
                saved = asyncio.ensure_future(anext(changes))
                if await asyncio.to_thread(self._built, changed) or self._file in changed:
                    await self._redeploy(service)
        finally:
            saved.cancel()

    def _built(self, changed: Collection[Path] | None) -> bool:
        """Builds the components that are concerned (None: those that are older than their sources); whether there were any,
        and all could be built.
        """
        sources = self._sources()
        if sources is None:
            return False
        concerned = sources.outdated() if changed is None else sources.concerned(changed)
        done = [self._build(manifest) for manifest in concerned]
        return bool(done) and all(done)

    async def _redeploy(self, service: Service) -> None:
        from obelisk.api.errors import ApiError
        from obelisk.api.redeploying import DeploymentRefused

        config = await asyncio.to_thread(self._load)
        if config is None:
            return
        try:
            _tell(await service.redeploying.redeploy(config))
        except (ApiError, DeploymentRefused) as error:
            click.echo(f"Error: {error}\nWhat was deployed before goes on.", err=True)

    async def _move(self, service: Service) -> None:
        """Executions that were open when the last server ended go on on what was built since then."""
        from obelisk.api.errors import ApiError

        try:
            _tell_executions(await service.redeploying.move())
        except ApiError as error:
            click.echo(f"Error: {error}", err=True)

    # --- both --------------------------------------------------------------------------------------------------------

    def _changed_since(self) -> bool:
        """Whether an author did something since `build_outdated` began."""
        changed = {path for path, _ in self._built_from.items() ^ self._files().items()}
        return any(not any(map(path.is_relative_to, self._server_writes)) for path in changed)

    def _files(self) -> dict[Path, tuple[int, int]]:
        """What is not built, with its size and when it was changed."""
        found = {}
        for above, below, names in os.walk(self._root):
            below[:] = [name for name in below if not is_skipped(Path(above, name))]
            for name in names:
                path = Path(above, name)
                if not name.endswith(NO_SOURCES):
                    with suppress(OSError):
                        is_now = path.stat()
                        found[path] = (is_now.st_size, is_now.st_mtime_ns)
        return found

    def _is_of_authors(self, _: Change, path: str) -> bool:
        """Whether a change may be an author's: not in what the server or a tool writes."""
        below = Path(path)
        if not below.is_relative_to(self._root) or any(below.is_relative_to(folder) for folder in self._server_writes):
            return False
        folders = below.relative_to(self._root).parts[:-1]
        return not any(is_skipped(self._root.joinpath(*folders[:depth])) for depth in range(1, len(folders) + 1))

    def _sources(self) -> Sources | None:
        try:
            manifests = find_manifests((self._root,))
        except ManifestError as error:
            click.echo(f"Error: {error}", err=True)
            return None
        with suppress(ConfigError, OSError):
            config = load(self._file, os.environ, Path.cwd(), files_may_be_missing=True)
            self._server_writes = config.sqlite.directory, config.codegen_cache.directory
        return Sources(manifests, self._server_writes)

    def _load(self) -> Config | None:
        try:
            return load(self._file, os.environ, Path.cwd())
        except (ConfigError, OSError) as error:
            click.echo(f"Error: {error}", err=True)
            return None

    def _build(self, manifest: Manifest) -> bool:
        name = (
            manifest.output.relative_to(self._root) if manifest.output.is_relative_to(self._root) else manifest.output
        )
        click.echo(f"{name}: building")
        try:
            built = build(manifest, self._toolbox)
        except (BuildFailed, ToolMissing) as error:
            click.echo(f"Error: {name}: {error}", err=True)
            return False
        click.echo(f"{name}: built in {built.seconds:.1f} s")
        for warned in built.warnings:
            click.echo(f"Warning: {warned}", err=True)
        return True


def _tell(done: Redeployment) -> None:
    for component in done.replaced:
        if component.new is None:
            click.echo(f"{component.name}: not deployed any more")
        else:
            click.echo(f"{component.name}: {'deployed' if component.old is None else 'deployed anew'}, {component.new}")
    if not done.replaced:
        click.echo("nothing to deploy: every component is what it was")
    _tell_executions(done)


def _tell_executions(done: Redeployment) -> None:
    if done.moved:
        click.echo(f"{_executions(len(done.moved))} moved to it")
    alike: dict[str, list[str]] = {}
    for stayed in done.stayed:
        alike.setdefault(stayed.reason, []).append(stayed.execution_id)
    for reason, stay in alike.items():
        more = f" and {_executions(len(stay) - 1)} more" if stay[1:] else ""
        click.echo(f"{stay[0]}{more} {'go' if more else 'goes'} on on the old one: {reason}")


def _executions(count: int) -> str:
    return f"{count:,} execution{'' if count == 1 else 's'}"
