"""What values are read with: where `obelisk.toml` is looked for, what a path in it means, which variables there are.

Follows the XDG base directories of the environment that it is given. Creates nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

FILE_NAME: Final = "obelisk.toml"


class UnknownPlace(ValueError):
    """A path begins with a prefix that there is not."""


class Places(msgspec.Struct, frozen=True):
    """The folders that a path may begin with, and the environment that a value may name."""

    cwd: Path
    home: Path
    data: Path
    cache: Path
    config: Path
    temp: Path
    toml: Path | None = None
    """Folder of the configuration file; None without one."""
    files_may_be_missing: bool = False
    """Whether a component's file may be one that is still to be built."""
    variables: Mapping[str, str] = {}
    """The server's environment variables, which values may name."""
    variables_may_be_missing: bool = False
    """Whether a value may name one that is not set."""

    @classmethod
    def of(cls, environ: Mapping[str, str], cwd: Path) -> Places:
        """The places of an environment. A relative XDG folder is ignored, as its specification says."""
        home = Path(environ.get("HOME") or Path.home())

        def base(variable: str, default: Path) -> Path:
            folder = Path(environ.get(variable, ""))
            return (folder if folder.is_absolute() else default) / "obelisk"

        return cls(
            cwd=cwd,
            home=home,
            data=base("XDG_DATA_HOME", home / ".local/share"),
            cache=base("XDG_CACHE_HOME", home / ".cache"),
            config=base("XDG_CONFIG_HOME", home / ".config"),
            temp=Path(environ.get("TMPDIR") or "/tmp"),  # noqa: S108
            variables=dict(environ),
        )

    def beside(self, file: Path) -> Places:
        """The same places, with `${OBELISK_TOML_DIR}` the folder of `file`, links resolved."""
        return msgspec.structs.replace(self, toml=file.resolve().parent)

    def candidates(self) -> tuple[Path, ...]:
        """Where the configuration is looked for when no path is given; the first that exists is taken."""
        return self.cwd / FILE_NAME, self.config / FILE_NAME, Path("/etc/obelisk") / FILE_NAME

    def resolve(self, text: str) -> Path:
        """The absolute path that `text` means; one without a prefix is relative to the working directory.

        `UnknownPlace` for a prefix that is not one of ours, or `${…}` anywhere but at the start.
        """
        prefix, _, rest = text.partition("/")
        if "${" in rest or ("${" in prefix and not (prefix.startswith("${") and prefix.endswith("}"))):
            raise UnknownPlace("${…} may only stand at the start of a path, followed by /")
        if prefix == "~":
            return self.home / rest
        if not prefix.startswith("${"):
            return self.cwd / text
        folders = {
            "${OBELISK_TOML_DIR}": self.toml,
            "${DATA_DIR}": self.data,
            "${CACHE_DIR}": self.cache,
            "${CONFIG_DIR}": self.config,
            "${TEMP_DIR}": self.temp,
        }
        if prefix not in folders:
            raise UnknownPlace(f"{prefix} is not known; known are {', '.join(folders)} and ~")
        folder = folders[prefix]
        if folder is None:
            raise UnknownPlace(f"{prefix} means nothing without a configuration file")
        return folder / rest
