"""Few measurements say no more than they can."""

from __future__ import annotations

import pytest

from baton.domain.samples import highest_rate, sample


def test_nothing_measured_is_nothing_to_say() -> None:
    """No values have no median."""
    assert sample([]) is None


def test_three_values_have_no_percentile() -> None:
    """Few values are all shown, with the least, the middle and the greatest."""
    found = sample([30, 10, 20])
    assert found is not None
    assert (found.n, found.values) == (3, (10, 20, 30))
    assert (found.least, found.middle, found.greatest) == (10, 20, 30)
    assert (found.middle_between, found.p95) == (None, None)


@pytest.mark.parametrize(
    ("n", "between"), [(5, None), (6, (1, 6)), (8, (1, 8)), (9, (2, 8)), (20, (6, 15))]
)
def test_the_interval_of_a_median_is_that_of_the_tables(
    n: int, between: tuple[int, int] | None
) -> None:
    """By the binomial distribution; below six values there is none that holds so often."""
    found = sample(range(1, n + 1))
    assert found is not None
    assert found.middle_between == between


@pytest.mark.parametrize(("n", "p95"), [(58, None), (59, 57), (100, 95)])
def test_a_percentile_needs_values_enough(n: int, p95: int | None) -> None:
    """Fewer than 59 values may all lie below the true 95th percentile."""
    found = sample(range(1, n + 1))
    assert found is not None
    assert found.p95 == p95
    assert found.values is None


@pytest.mark.parametrize(("n", "rate"), [(1, 0.95), (24, 0.1173), (300, 0.0099), (1000, 0.003)])
def test_no_failure_is_no_proof(n: int, rate: float) -> None:
    """The rule of three, and what is exact where tries are few."""
    assert highest_rate(n) == pytest.approx(rate, abs=5e-5)


def test_no_tries_show_nothing() -> None:
    """Not even a bound."""
    with pytest.raises(ValueError, match="no tries"):
        highest_rate(0)
