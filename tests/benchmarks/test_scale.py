"""How growth is told; the measuring itself is `make bench ARGS=scale`."""

from __future__ import annotations

import pytest
from benchmarks.scale.series import Series, by_cost, exponent, findings

SIZES = (10, 100, 1_000, 10_000)


def series(**bounds: float) -> Series:
    return Series("things", "Things", "things", "ms", SIZES, dict, bounds)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_is_that_power(power: float) -> None:
    assert exponent([(size, 3 * size**power) for size in SIZES]) == pytest.approx(power, abs=1e-9)


def test_a_fixed_cost_does_not_hide_what_grows_later() -> None:
    growth = exponent([(size, 100 + size) for size in (1, 10, 100, 1_000, 10_000, 100_000)])
    assert growth is not None
    assert 0.75 < growth < 1.0


def test_one_point_has_no_exponent() -> None:
    assert exponent([(10, 1.0)]) is None


def test_linear_is_well_and_more_is_not() -> None:
    samples = {size: {"linear": size * 2.0, "square": size * size * 1.0} for size in SIZES}
    assert findings(series(), samples) == ["things: square grows as n^2.00, which is worse than linear"]


def test_a_bound_holds_at_every_size() -> None:
    samples = {10: {"page": 25.0}, 100: {"page": 2.0}, 1_000: {"page": 2.0}}
    assert findings(series(), samples) == []
    (problem,) = findings(series(**{"*": 20.0}), samples)
    assert problem == "things: page is 25.0 ms at 10; the bound is 20"


def test_points_are_in_the_order_of_sizes() -> None:
    assert by_cost({100: {"a": 2.0}, 10: {"a": 1.0}}) == {"a": [(10, 1.0), (100, 2.0)]}
