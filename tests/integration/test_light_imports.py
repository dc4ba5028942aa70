"""Whoever only looks at a fleet does not pay for LangGraph, which takes seconds to import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import baton

LOOK = """
import sys
import baton
from baton.cli import main
from baton.observe.collector import StoreCollector
from baton.observe.source import StoreSource
url = sys.argv[1]
assert main(["tasks", "list", "--store", url]) == 0
assert main(["ledger", "verify", "--store", url]) == 0
assert main(["ledger", "timeline", "--store", url]) == 0
assert main(["report", "--store", url, "--out", sys.argv[2]]) == 0
assert StoreCollector(StoreSource(url)).collect()
assert baton.open and baton.LeaseHeld
heavy = {"langgraph", "langchain_core", "pydantic"} & set(sys.modules)
assert not heavy, heavy
from baton import LeaseLost
from langgraph.errors import GraphBubbleUp
assert issubclass(LeaseLost, GraphBubbleUp)
"""


def test_looking_at_a_fleet_imports_no_langgraph(tmp_path: Path) -> None:
    """Neither do the commands an operator types nor the exporter."""
    url = f"sqlite:///{tmp_path / 'fleet.db'}"
    with baton.open(url) as fleet:
        fleet.submit("review", {"path": "json"})
    done = subprocess.run(
        [sys.executable, "-c", LOOK, url, str(tmp_path / "report")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_what_is_published_is_there() -> None:
    """Each name of ``__all__``, and no other."""
    for name in baton.__all__:
        assert getattr(baton, name).__name__ == name
    assert dir(baton) == sorted(baton.__all__)
    assert not hasattr(baton, "nonsense")
    assert not hasattr(baton.errors, "nonsense")
