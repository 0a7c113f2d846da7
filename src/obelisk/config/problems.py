"""What is wrong with a configuration, told so that an operator can put it right. All of it at once, never only the
first one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong, and where."""

    source: str
    """Path of the file, or `environment`."""
    table: str
    """The component's table and name, for example `[[workflow]] "myworkflow"`; empty for all other keys."""
    key: str
    """Dotted path, as it was written; inside a component's table relative to it. Empty when no key is at fault."""
    message: str
    """What was expected and what was found."""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.source, self.table, self.key, self.message) if part)


class ConfigError(Exception):
    """The operator's configuration cannot be used. `problems` is never empty."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        assert problems
        super().__init__(*problems)
        self.problems: tuple[Problem, ...] = tuple(problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        lines = [f"the configuration has {len(self.problems)} problems:", *map(str, self.problems)]
        return "\n  ".join(lines)
