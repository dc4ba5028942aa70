"""A real Prometheus beside a trial: what it saw, what it did not, and that it leaves nobody."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.support.processes import marked
from tests.support.runs import wait_until

import baton
from baton.prove.proc.watchtower import WATCHDOG, NotWatched, Watchtower


def test_a_real_prometheus_tells_what_fired_and_what_it_did_not_see(
    prometheus: str, tmp_path: Path, mark: str
) -> None:
    """A real Prometheus tells what fired, and that silence it did not watch is no silence."""
    url = f"sqlite:///{tmp_path / 'fleet.db'}"
    began = time.time()
    with baton.open(url):
        tower = Watchtower(prometheus, url, tmp_path / "watch", ttl_seconds=0.6, workers=1)
        try:
            tower.ready()
            since = time.time()
            # Nobody works here, and one is expected.
            wait_until(lambda: len(tower.firing()) > 1, what="an alert fires")
            names = tower.firing() - {WATCHDOG}
            until = time.time() + tower.scale.scrape_seconds
            wait_until(lambda: time.time() > until, what="it was evaluated once more")
            assert {fact.name for fact in tower.seen(since, until)} >= names
            with pytest.raises(NotWatched, match=r"evaluated the rules for \d+% of the trial only"):
                tower.seen(began - 60, until)
        finally:
            tower.close()
    assert marked(mark) == []
    with pytest.raises(NotWatched, match="Prometheus gives no answer"):
        tower.seen(since, until)
