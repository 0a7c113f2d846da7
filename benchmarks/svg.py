"""SVG: the few shapes that charts are made of, as text. Light and dark follow the reader's browser.

Decides colours and fonts; must not know what is drawn.
"""

from __future__ import annotations

from typing import Final
from xml.sax.saxutils import escape

_STYLE: Final = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.small { font-size: 11px; fill: #57606a }
.title { font-weight: 600 }
.axis { stroke: #d0d7de; stroke-width: 1 }
.s0 { fill: #0b7a75 } .s1 { fill: #8c959f } .s2 { fill: #b1bac4 } .s3 { fill: #6e7781 }
.l0 { stroke: #0b7a75 } .l1 { stroke: #bf5700 } .l2 { stroke: #6e7781 } .l3 { stroke: #8250df }
.l4 { stroke: #0969da } .l5 { stroke: #cf222e } .l6 { stroke: #57606a } .l7 { stroke: #1a7f37 }
.g0 { fill: #0b7a75 } .g1 { fill: #bf5700 } .g2 { fill: #0969da } .g3 { fill: #6e7781 }
.on { font-size: 11px; font-weight: 600; fill: #ffffff }
path { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #8b949e } .axis { stroke: #30363d }
  .s0 { fill: #2dd4bf } .s1 { fill: #6e7681 } .s2 { fill: #484f58 } .s3 { fill: #8b949e }
  .g0 { fill: #2dd4bf } .g1 { fill: #f0883e } .g2 { fill: #58a6ff } .g3 { fill: #8b949e } .on { fill: #0d1117 }
  .l0 { stroke: #2dd4bf } .l2 { stroke: #8b949e } .l6 { stroke: #c9d1d9 }
}
"""


class Drawing:
    """A picture of `width` by `height` pixels. Shapes are added from the back to the front."""

    def __init__(self, width: int, height: int, description: str) -> None:
        """`description`: what it says, for those who do not see it."""
        self._width = width
        self._height = height
        self._description = description
        self._shapes: list[str] = []

    def text(self, x: float, y: float, text: str, *, style: str = "", anchor: str = "start") -> None:
        """One line, on the baseline `y`."""
        self._shapes.append(
            f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def bar(self, x: float, y: float, width: float, height: float, style: str) -> None:
        """A filled rectangle."""
        self._shapes.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="{height:.1f}" rx="2" class="{style}"/>'
        )

    def line(self, points: list[tuple[float, float]], style: str) -> None:
        """Straight from point to point."""
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self._shapes.append(f'<path d="{path}" class="{style}"/>')

    def __str__(self) -> str:
        shapes = "\n".join(self._shapes)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self._width}" height="{self._height}" '
            f'viewBox="0 0 {self._width} {self._height}" role="img" aria-label="{escape(self._description, {chr(34): "&quot;"})}">\n'
            f"<style>{_STYLE}</style>\n{shapes}\n</svg>\n"
        )
