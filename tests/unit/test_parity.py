"""Parity of two engines: what has to agree, and what may differ."""

from __future__ import annotations

import pytest

from baton.prove.scenarios.judging import Judgement, Result
from baton.prove.scenarios.parity import Projection, apart, compared
from baton.prove.scenarios.parse import parse

ONE = parse(
    "one",
    """
    {id: one, title: One, hypothesis: One of two words is right., tags: [test],
    topology: {workers: 2, tasks: {chain: 1, pace: 1}},
    faults: [{name: kill, do: sigkill, at: step.begin}],
    expect: {lease: {chain-1: [H1 D, H1 X H2 D]}}}""",
)


def side(chain: str, pace: str, **outcomes: str) -> Projection:
    """What one engine came to."""
    return Projection(lease={"chain-1": chain, "pace-1": pace}, outcomes=outcomes)


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (side("H1 D", "H1 D", C1="pass"), side("H1 D", "H1 D", C1="pass")),
        (side("H1 D", "H1 D"), side("H1 X H2 D", "H1 D")),
        (side("H1 D", "H1 D"), side("H1 D", "H1 F H2 D")),
    ],
    ids=["the same", "both right", "the same end where no word is named"],
)
def test_engines_agree(here: Projection, there: Projection) -> None:
    """Engines agree."""
    assert list(apart(ONE, here, there)) == []


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (side("H1 F H2 D", "H1 D"), "chain-1 reads H1 D here, and H1 F H2 D there"),
        (side("", "H1 D"), "chain-1 reads H1 D here, and nothing there"),
        (side("H1 D", "H1 X Q"), "pace-1 reads H1 D here, and H1 X Q there"),
        (side("H1 D", "H1 D", C1="fail"), "C1 is nothing here, and fail there"),
    ],
    ids=["a wrong word", "no word", "another end", "another outcome"],
)
def test_engines_disagree(there: Projection, words: str) -> None:
    """Engines disagree."""
    assert list(apart(ONE, side("H1 D", "H1 D"), there)) == [words]


def test_a_difference_fails_what_passed_and_nothing_hides_a_failure() -> None:
    """A difference fails what passed and nothing hides a failure."""
    passed, failed = (Result(judgement=one, reason="") for one in (Judgement.PASS, Judgement.FAIL))
    assert compared(passed, "sim", ()).judgement is Judgement.PASS
    assert compared(passed, "sim", None).expectations[0].met is None
    found = compared(passed, "sim", ("t-1 differs",))
    assert (found.judgement, found.reason) == (Judgement.FAIL, "parity with sim: t-1 differs")
    assert compared(failed, "sim", ()).judgement is Judgement.FAIL
