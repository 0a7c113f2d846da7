"""The languages that components can be written in: one module each.

A language decides which tools it needs and what they are called with. It does not look at manifests' errors, at what the
component is like, or at where it goes: `building` gives it a path to write to.
"""

from __future__ import annotations

from typing import Final

from obelisk.authoring.languages import c, javascript, python, rust
from obelisk.authoring.languages.builder import BINDINGS, Builder, Job
from obelisk.authoring.manifest import Language

__all__ = ["BINDINGS", "BUILDERS", "Builder", "Job"]

BUILDERS: Final[dict[Language, Builder]] = {
    Language.PYTHON: python.Python(),
    Language.JAVASCRIPT: javascript.JavaScript(),
    Language.RUST: rust.Rust(),
    Language.C: c.C(),
}
