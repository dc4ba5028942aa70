"""A scrape among a million finished tasks beside none, and one with a million active tasks.

With ten thousand active in both, the first must not cost what is over; the second costs what there
is, and has to be ready by the deadline that the exporter gives itself.

The tasks are made by SQL in the store's own tables. What is measured is one whole collection and
its text, as a Prometheus would get it, once the ledger was read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from baton.fleet.fleet import Fleet
from baton.fleet.fleet import open as open_fleet
from baton.fleet.model import SessionSpec
from baton.observe.collector import DEADLINE_SECONDS, StoreCollector
from baton.observe.exposition import render
from benchmarks.claims import fill, postgres_databases
from benchmarks.harness import NOISE_MAX, Figure, measure, paired, say

FINISHED, ACTIVE = 1_000_000, 10_000
BAR = 1.5

_WORKERS = 50

#: With everything active; each takes a while.
_SCRAPES = 10


def _scrapes(fleet: Fleet) -> Callable[[], None]:
    collector = StoreCollector(fleet.store)
    collector.catch_up()

    def run() -> None:
        assert render(collector.collect(), "text/plain")[0]

    return run


def _people(fleet: Fleet) -> list[str]:
    """Sessions that live; the tasks hang on them."""
    names = [f"worker-{number}" for number in range(_WORKERS)]
    for name in names:
        fleet.store.start_session(
            SessionSpec(
                session_id=name,
                worker_id=name,
                pool="default",
                kind="worker",
                interval_us=5_000_000,
                ttl_us=600_000_000,
            )
        )
    return names


def _figure(kind: str, urls: list[str], rounds: int) -> Figure:
    with ExitStack() as stack:
        fleets = [stack.enter_context(open_fleet(url)) for url in urls]
        for fleet, finished in zip(fleets, (0, FINISHED), strict=True):
            say(f"{kind}: {finished:,} finished tasks, {ACTIVE:,} active")
            _people(fleet)
            fill(fleet.store.url, active=ACTIVE, done=finished, sessions=_WORKERS)
        base, candidate = map(_scrapes, fleets)
        base()
        candidate()
        result = paired(base, candidate, rounds)
    return Figure(
        f"{kind}: scrape with {FINISHED:,} finished + {ACTIVE:,} active / with 0 finished",
        result.wall,
        BAR,
        at_most=True,
        detail=f"{result.base_wall * 1e3:.1f} ms a scrape, each against itself "
        f"{result.wall_noise:.1%}",
        void=result.wall_noise > NOISE_MAX,
    )


def _all_active(kind: str, url: str) -> Figure:
    with open_fleet(url) as fleet:
        say(f"{kind}: {FINISHED:,} active tasks")
        _people(fleet)
        fill(fleet.store.url, active=FINISHED, sessions=_WORKERS)
        scrape = _scrapes(fleet)
        scrape()
        seconds = [measure(scrape).wall for _ in range(_SCRAPES)]
    return Figure(
        f"{kind}: a scrape's deadline / the longest with {FINISHED:,} active",
        DEADLINE_SECONDS / max(seconds),
        1.0,
        at_most=False,
        detail=f"{min(seconds) * 1e3:.0f} to {max(seconds) * 1e3:.0f} ms of {_SCRAPES}, deadline "
        f"{DEADLINE_SECONDS:g} s",
    )


def figures(rounds: int) -> list[Figure]:
    """On both stores."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="baton-bench-")))
        names = ("none", "many", "active")
        found = []
        for kind, urls in (
            ("SQLite", [f"sqlite:///{folder}/{name}.db" for name in names]),
            ("PostgreSQL", stack.enter_context(postgres_databases(names))),
        ):
            found += [_figure(kind, urls[:2], rounds), _all_active(kind, urls[2])]
        return found
