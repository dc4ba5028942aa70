"""A heartbeat renews the session, so it costs the same however many leases hang on it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack

from baton.fleet.fleet import open as open_fleet
from baton.fleet.model import ClaimRequest, SessionSpec
from baton.fleet.store import Store
from baton.prove.local_postgres import local_postgres
from benchmarks.harness import NOISE_MAX, Figure, paired, say

LEASES = 1000
BAR = 1.2

#: Heartbeats in one try. SQLite's log is written back each thousand pages, so a try must be long
#: enough to hold several of those, or a minimum tells who was spared one.
_BEATS = {"SQLite": 2000, "PostgreSQL": 500}


def _session(store: Store, name: str, leases: int, beats: int) -> Callable[[], None]:
    spec = SessionSpec(
        session_id=name,
        worker_id=name,
        pool=name,
        kind="worker",
        interval_us=5_000_000,
        ttl_us=15_000_000,
    )
    store.start_session(spec)
    for index in range(leases):
        store.submit(f"{name}-{index}", graph="g", pool=name, input_=("null", b""), input_digest="")
    held = 0
    while held < leases:
        # One transaction claims no more than its bound.
        won = store.claim(
            ClaimRequest(
                session_id=name,
                worker_id=name,
                pool=name,
                graphs=("g",),
                limit=leases - held,
                running=held,
            )
        ).won
        assert won
        held += len(won)

    def beat() -> None:
        for _ in range(beats):
            assert store.heartbeat(name).accepted

    return beat


def _on(kind: str, url: str, rounds: int) -> Figure:
    with open_fleet(url) as fleet:
        say(f"{kind}: one session with {LEASES} leases, another with one")
        beats = _BEATS[kind]
        one = _session(fleet.store, "one", 1, beats)
        many = _session(fleet.store, "many", LEASES, beats)
        one()
        many()
        result = paired(one, many, rounds)
    return Figure(
        f"{kind}: heartbeat with {LEASES} leases / with 1",
        result.wall,
        BAR,
        at_most=True,
        detail=f"{result.base_wall / beats * 1e6:.0f} µs a heartbeat, each against itself "
        f"{result.wall_noise:.1%}",
        void=result.wall_noise > NOISE_MAX,
    )


def figures(rounds: int) -> list[Figure]:
    """One session with one lease, another with a thousand, on both stores."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="baton-bench-"))
        url = f"sqlite:///{folder}/fleet.db?synchronous=off"
        found = [_on("SQLite", url, rounds)]
        return [*found, _on("PostgreSQL", stack.enter_context(local_postgres()), rounds)]
