"""Guardrails are broken one at a time, in Baton itself: exactly the broken row fails.

Every check is asked under its own breakage, and the quick ones under all others too. The whole
cross product takes minutes: ``python tools/charter.py --break``, whose result is kept in
docs/reports/broken-guardrails.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.breakages import BREAKAGES
from tests.support.breaking import ROOT, failing_rows, guardrails, is_of
from tools import charter as tool

KEPT = json.loads((ROOT / "docs" / "reports" / "broken-guardrails.json").read_text())


def test_every_guardrail_has_its_breakage() -> None:
    """In the order of the charter, each with a check that the charter names for its row."""
    assert [one.row for one in BREAKAGES] == [row.id for row in guardrails()]
    for row, one in zip(guardrails(), BREAKAGES, strict=True):
        assert any(is_of(one.check, check) for check in row.checks), row.id
        assert one.what


@pytest.mark.timeout(300)
def test_exactly_the_broken_row_fails(tmp_path: Path) -> None:
    """In a process of its own, which forks for each breakage."""
    kept = tmp_path / "found.json"
    command = [sys.executable, "-m", "tests.support.breaking", "--out", str(kept)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(kept.read_text())
    assert list(found) == [one.row for one in BREAKAGES]
    charter, quick = guardrails(), [one.check for one in BREAKAGES if not (one.costly or one.apart)]
    assert len(quick) >= 20
    for one in BREAKAGES:
        outcomes = found[one.row]
        for check in {one.check, *quick}:
            assert any(is_of(node, check) for node in outcomes), f"{check} was not asked"
        assert failing_rows(charter, outcomes) == [one.row], outcomes


def test_the_whole_cross_product_was_kept() -> None:
    """Of the breakages and checks there are: every check held but that of the broken row."""
    assert tool.wrong_with_broken(KEPT) == []
    spoilt = {**KEPT, "broken": KEPT["broken"][1:]}
    assert tool.wrong_with_broken(spoilt) != []
