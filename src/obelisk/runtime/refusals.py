"""Why a configuration is not taken. A module of its own, since whatever reads a configuration needs it and little else."""

from __future__ import annotations

from collections.abc import Iterable


class DeploymentRefused(Exception):
    """The configuration cannot be deployed; `problems` says everything that is wrong. The operator's to fix."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))
