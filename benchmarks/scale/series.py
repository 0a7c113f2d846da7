"""Series: what is measured at each size, and how fast it grows.

Decides how growth is told: as k of n^k, fitted over the larger half of the sizes, where fixed costs no longer hide it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Sample = Mapping[str, float]
"""What one size costs, by the name of the cost."""
LINEAR = 1.15
"""The k from which on growth is called worse than linear; the rest is noise."""


@dataclass(frozen=True)
class Series:
    """One thing that grows."""

    name: str
    title: str
    grows: str
    """What the sizes count."""
    unit: str
    sizes: Sequence[int]
    measure: Callable[[int], Sample]
    bounds: Mapping[str, float] = field(default_factory=dict)
    """Costs that have a bound at every size."""


def exponent(points: Sequence[tuple[float, float]]) -> float | None:
    """k of n^k over the larger half of the points; None: there are too few."""
    half = [(math.log(x), math.log(y)) for x, y in points[len(points) // 2 - 1 :] if x > 0 and y > 0]
    if len(half) < 2:
        return None
    x_mean = sum(x for x, _ in half) / len(half)
    y_mean = sum(y for _, y in half) / len(half)
    spread = sum((x - x_mean) ** 2 for x, _ in half)
    return sum((x - x_mean) * (y - y_mean) for x, y in half) / spread if spread else None


def findings(series: Series, samples: Mapping[int, Sample]) -> list[str]:
    """What is worse than it may be."""
    found = []
    for cost, points in by_cost(samples).items():
        growth = exponent(points)
        if growth is not None and growth > LINEAR:
            found.append(f"{series.name}: {cost} grows as n^{growth:.2f}, which is worse than linear")
        bound = series.bounds.get(cost, series.bounds.get("*"))
        worst = max(points, key=lambda point: point[1])
        if bound is not None and worst[1] > bound:
            found.append(
                f"{series.name}: {cost} is {worst[1]:,.1f} {series.unit} at {worst[0]:,.0f}; the bound is {bound:g}"
            )
    return found


def by_cost(samples: Mapping[int, Sample]) -> dict[str, list[tuple[float, float]]]:
    """The points of each cost, by size."""
    points: dict[str, list[tuple[float, float]]] = {}
    for size in sorted(samples):
        for cost, value in samples[size].items():
            points.setdefault(cost, []).append((size, value))
    return points
