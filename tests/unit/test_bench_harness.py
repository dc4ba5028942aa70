"""How benchmarks compare: minimum with minimum, and nothing where one try was lucky."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from benchmarks import harness
from benchmarks.harness import NOISE_MAX, PATIENCE, Cost, Paired


def paired(
    monkeypatch: pytest.MonkeyPatch, base: Iterator[float], candidate: Iterator[float]
) -> tuple[Paired, int]:
    """Compare what takes so long each time; returns the figures and how often each was tried."""
    tries = {"base": 0, "candidate": 0}
    clock = [0.0]

    def work(name: str, costs: Iterator[float]) -> None:
        tries[name] += 1
        clock[0] = next(costs)

    def measure(call: object) -> Cost:
        assert callable(call)
        call()
        return Cost(wall=clock[0], cpu=clock[0])

    monkeypatch.setattr(harness, "measure", measure)
    found = harness.paired(lambda: work("base", base), lambda: work("candidate", candidate), 3)
    assert tries["base"] == tries["candidate"]
    return found, tries["base"]


def costs(*first: float) -> Iterator[float]:
    """These, and then the last of them for good."""
    yield from first
    while True:
        yield first[-1]


def test_minimum_is_compared_with_minimum_and_median_with_median(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The minimum is compared with the minimum, and the median with the median."""
    found, tries = paired(monkeypatch, costs(1.0, 1.0, 9.0), costs(2.0, 2.0, 3.0))
    assert (found.wall, found.cpu, found.base_wall) == (2.0, 2.0, 1.0)
    assert found.wall_median == pytest.approx(3.0 / 9.0)
    assert (found.wall_noise, tries) == (0.0, 6)


@pytest.mark.parametrize("lucky", ["base", "candidate"])
def test_one_lucky_try_is_noise_on_whichever_side(
    monkeypatch: pytest.MonkeyPatch, lucky: str
) -> None:
    """One lucky try is noise, on whichever side, and no reason to stop."""
    sides = {"base": costs(1.0), "candidate": costs(1.0)}
    sides[lucky] = costs(0.9, 1.0)
    found, tries = paired(monkeypatch, sides["base"], sides["candidate"])
    assert found.wall_noise > NOISE_MAX
    assert tries == 6 * PATIENCE
