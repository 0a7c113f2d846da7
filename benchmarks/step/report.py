"""The report of a step: a table for a terminal, everything as JSON, and a picture."""

from __future__ import annotations

from collections.abc import Iterator
from string import ascii_uppercase
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.step.measuring import Found, Report
from benchmarks.step.parts import PARTS, Kind, Part
from benchmarks.svg import Drawing

_WIDTH: Final = 720
_BAR: Final = 32
_HEAD: Final = 46
"""Pixels of a bar's title, and between bars."""
_ROW: Final = 19
_COLUMN: Final = 110
_LETTER: Final = 10.0
"""Pixels that a letter in a bar needs."""
_STYLES: Final = {Kind.ENGINE: "g0", Kind.GUEST: "g1", Kind.STORE: "g2", Kind.REST: "g3"}


def show(report: Report, console: Console) -> None:
    """Parts of each place, and how they compare with steps that were left alone."""
    table = Table(title="where the time of a step goes, µs of the engine thread", title_justify="left")
    table.add_column("")
    for found in report.places:
        table.add_column(f"{found.title}\nmedian", justify="right")
        table.add_column("\nfastest tenth", justify="right")
    for letter, part in _lettered():
        numbers = [found.parts[part.name] for found in report.places]
        table.add_row(
            f"{letter} {part.title}", *(f"{each:,.1f}" for spent in numbers for each in (spent.median, spent.fastest))
        )
    table.add_section()
    for title, wholes in (
        ("all parts", [found.whole for found in report.places]),
        ("a step that was left alone", [found.alone for found in report.places]),
    ):
        table.add_row(title, *(f"{each:,.1f}" for spent in wholes for each in (spent.median, spent.fastest)))
    console.print(table)
    for found in report.places:
        whole, alone = found.whole, found.alone
        console.print(
            f"{found.title}: {found.steps:,} steps in {found.folder} ({found.file_system}). Each called {found.wrappers:.0f} functions "
            f"that were wrapped; {found.wrapping:.1f} µs were taken off for it. Beside a step that was left alone, the parts come to "
            f"{whole.median / alone.median - 1:+.1%} in the median and {whole.fastest / alone.fastest - 1:+.1%} in the fastest tenth.",
            highlight=False,
        )


def as_json(report: Report) -> str:
    """All of it."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"


def from_json(text: str) -> Report:
    """What `as_json` wrote."""
    return msgspec.json.decode(text, type=Report)


def picture(report: Report) -> str:
    """A bar for each place, of one scale: medians. Under them what the letters in them mean."""
    places = report.places
    table = len(places) * (_BAR + _HEAD)
    drawing = Drawing(
        _WIDTH, table + 30 + (len(PARTS) + 1) * _ROW + 20, "; ".join(_sentence(found) for found in places)
    )
    most = max(found.whole.median for found in places)
    for number, found in enumerate(places):
        y = number * (_BAR + _HEAD) + 14
        whole = f"{found.title} ({found.file_system}): {_us(found.whole.median)} µs"
        drawing.text(0, y, whole, style="title")
        _bar(drawing, y + 20, found, (_WIDTH - _LETTER) / most)
    y = table + 24
    for number, kind in enumerate(Kind):
        drawing.bar(number * _COLUMN, y - 10, 11, 11, _STYLES[kind])
        drawing.text(number * _COLUMN + 17, y, kind.value, style="small")
    columns = [_WIDTH - _COLUMN * (len(places) - 1 - index) for index in range(len(places))]
    for x, found in zip(columns, places, strict=True):
        drawing.text(x, y, f"{found.title}, µs", style="small", anchor="end")
    y += 6
    drawing.line([(0, y), (_WIDTH, y)], "axis")
    for letter, part in _lettered():
        y += _ROW
        drawing.bar(0, y - 12, 18, 15, _STYLES[part.kind])
        drawing.text(9, y - 0.5, letter, style="on", anchor="middle")
        drawing.text(26, y, part.title)
        for x, found in zip(columns, places, strict=True):
            drawing.text(x, y, _us(found.parts[part.name].median), anchor="end")
    drawing.line([(0, y + 7), (_WIDTH, y + 7)], "axis")
    y += 7 + _ROW
    drawing.text(26, y, "a step", style="title")
    for x, found in zip(columns, places, strict=True):
        drawing.text(x, y, _us(found.whole.median), style="title", anchor="end")
    return str(drawing)


def _bar(drawing: Drawing, y: float, found: Found, scale: float) -> None:
    """Letters stand in their parts, or over them where there is no room."""
    x = 0.0
    over: list[tuple[str, float]] = []
    for letter, part in _lettered():
        width = found.parts[part.name].median * scale
        drawing.bar(x, y, width - 1, _BAR, _STYLES[part.kind])
        if width >= _LETTER + 2:
            drawing.text(x + width / 2, y + _BAR / 2 + 4, letter, style="on", anchor="middle")
        else:
            over.append((letter, x + width / 2))
        x += width
    for (letter, _), middle in zip(over, _apart([middle for _, middle in over]), strict=True):
        drawing.text(middle, y - 4, letter, style="small", anchor="middle")


def _apart(middles: list[float]) -> list[float]:
    """Places for letters, no two of them on each other: moved to the right, and back where the picture ends."""
    moved: list[float] = []
    for middle in middles:
        moved.append(max(middle, moved[-1] + _LETTER) if moved else middle)
    end = _WIDTH - _LETTER / 2
    for index in reversed(range(len(moved))):
        moved[index] = min(moved[index], end)
        end = moved[index] - _LETTER
    return moved


def _sentence(found: Found) -> str:
    parts = ", ".join(f"{part.title} {_us(found.parts[part.name].median)}" for part in PARTS)
    return f"a step {found.title} takes {_us(found.whole.median)} µs: {parts}"


def _lettered() -> Iterator[tuple[str, Part]]:
    return zip(ascii_uppercase, PARTS, strict=False)


def _us(value: float) -> str:
    return f"{value:,.0f}"
