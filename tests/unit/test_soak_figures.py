"""The soak's numbers: bounds, intervals and slopes, held against what they claim."""

from __future__ import annotations

from random import Random

import pytest

from baton.domain.figures import (
    POINTS_MAX,
    failure_bound,
    median_interval,
    slope,
    thinned,
)


@pytest.mark.parametrize(("cycles", "bound"), [(24, 0.117), (300, 0.01), (100_000, 3e-5)])
def test_no_failure_is_a_bound_and_not_a_zero(cycles: int, bound: float) -> None:
    """No failure is a bound and not a zero."""
    assert failure_bound(0, cycles) == pytest.approx(bound, rel=0.02)


def test_a_failure_raises_the_bound_above_its_share() -> None:
    """A failure raises the bound above its share."""
    assert 0.01 < failure_bound(1, 100) < 0.06
    assert failure_bound(0, 100) < failure_bound(1, 100) < failure_bound(2, 100)
    assert failure_bound(5, 5) == pytest.approx(1)


def test_a_median_of_few_has_no_interval() -> None:
    """A median of few has no interval."""
    assert median_interval([1.0, 2.0, 9.0]).low is None
    six = median_interval([6, 1, 5, 2, 4, 3])
    assert (six.estimate, six.low, six.high) == (3.5, 1, 6)


def test_the_interval_of_a_median_holds_it_as_often_as_it_says() -> None:
    """The interval of a median holds it as often as it says."""
    chance = Random(4)  # noqa: S311 - replayed, not secret
    held = 0
    for _ in range(1000):
        found = median_interval([chance.lognormvariate(0, 1) for _ in range(25)])
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 1.0 <= found.high
    assert held >= 940


def test_a_leak_has_a_slope_and_noise_has_none() -> None:
    """A leak has a slope and noise has none."""
    chance = Random(5)  # noqa: S311 - replayed, not secret
    noise = [chance.gauss(1000, 50) for _ in range(150)]
    flat = slope(noise)
    assert flat.low is not None
    assert flat.high is not None
    assert flat.low <= 0 <= flat.high
    leak = slope([value + 3 * n for n, value in enumerate(noise)])
    assert leak.low is not None
    assert leak.high is not None
    assert 0 < leak.low <= 3 <= leak.high
    # One wild value moves neither, as it would a line of least squares.
    assert slope([*noise[:-1], 1e9]).estimate == pytest.approx(flat.estimate, abs=0.2)


def test_many_values_are_thinned_evenly() -> None:
    """Many values are thinned evenly."""
    kept, apart = thinned([float(n) for n in range(1001)])
    assert len(kept) <= POINTS_MAX
    assert slope(kept, apart).estimate == pytest.approx(1)
