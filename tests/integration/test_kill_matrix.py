"""The kill matrix still holds: each planted bug is caught again where it was caught before."""

from __future__ import annotations

import pytest
from tests.support.bugs import BUGS, Bug
from tools import kill_matrix as matrix

DATA = matrix.load()


@pytest.mark.parametrize("bug", [bug for bug in BUGS if not bug.same], ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught_again(bug: Bug) -> None:
    """A planted bug is caught again."""
    caught = DATA["bugs"][bug.name]
    (scenario,) = matrix.chosen([matrix.best(caught)])
    assert matrix.caught_in([], scenario) == []
    assert matrix.caught_in([bug], scenario) == caught[scenario.id]


def test_the_page_and_the_evidence_agree() -> None:
    """The page and the evidence agree."""
    assert list(matrix.wrong_with(DATA)) == []
    assert matrix.PAGE.read_text(encoding="utf-8") == matrix.render(DATA)


def test_a_blind_checker_is_missed_in_the_matrix() -> None:
    """A blind checker is missed in the matrix."""
    found = {"other_digest": {"K01": ["C4"]}, "unchained": {"K01": ["C10"]}}
    assert matrix.killed(found) == {"C4", "C10"}
    assert matrix.with_a_blind_checker(found) == {"C10"}
    everything = frozenset(matrix.ASSERTIONS) - {"C4"}
    assert matrix.oracle(everything).outcome == "fail"
    assert matrix.oracle({*everything, "C4"}).outcome == "pass"


def test_a_survivor_without_a_reason_is_told() -> None:
    """A survivor without a reason is told."""
    bugs = {**DATA["bugs"], "no_idem": {}}
    assert "nothing caught no_idem" in list(matrix.wrong_with({**DATA, "bugs": bugs}))
    fewer = {name: caught for name, caught in bugs.items() if name != "no_idem"}
    (line,) = matrix.wrong_with({**DATA, "bugs": fewer})
    assert "differ in no_idem" in line
