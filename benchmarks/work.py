"""How much work each case is, the same for every contender. Imports the standard library only: peers run it in their environment."""

from __future__ import annotations

from typing import Final

STEPS: Final = 500
"""One after another, at once, and when somebody is killed amid them."""
WORKFLOWS: Final = 200
STEPS_EACH: Final = 10
"""Of each of `WORKFLOWS`."""
LATENCIES: Final = 200
WARM_UP: Final = 20
"""Round trips before those that count."""
