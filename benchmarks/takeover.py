"""How fast a standby takes over, on both stores: from a killed worker, and from a frozen one.

Both are real: workers are killed with SIGKILL, and others are frozen with SIGSTOP so that only
the TTL can tell. Beside it, pollers look once a second at whether the frozen worker's lease has
expired, a tenth of a second apart from each other. All times are the store's own.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from baton.domain.ledger import Event, task_chain
from baton.fleet.fleet import Fleet
from baton.fleet.fleet import open as open_fleet
from baton.fleet.store import Store
from baton.prove.local_postgres import local_postgres
from benchmarks.harness import Figure, say

TTL_SECONDS = 15.0

#: SIGKILL to claim committed, and to graph restored: how many times faster than the TTL.
BARS = {
    "SQLite": {"claim committed": 500.0, "graph restored": 80.0},
    "PostgreSQL": {"claim committed": 100.0, "graph restored": 80.0},
}

#: The end of a frozen worker's lease to its claim: how many times faster than polling each second.
EXPIRY_BAR = 20.0

_POLLERS = 10

_DEADLINE_SECONDS = 60.0

#: A standby looks at its peers every second; after this long it surely watches the victim.
_LOOK_SECONDS = 2.5


@contextmanager
def worker(url: str, worker_id: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process; ended by pid whatever happens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.worker_process", url, worker_id, str(TTL_SECONDS)]
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(what: str, condition: Callable[[], bool], seconds: float = _DEADLINE_SECONDS) -> None:
    """Wait until something holds, for some seconds.

    Raises:
        TimeoutError: it did not in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.01)


def _find(fleet: Fleet, task_id: str, type_: str, worker_id: str) -> Event | None:
    chain = fleet.store.chain(task_chain(task_id))
    return next((e for e in chain if e.type == type_ and e.worker_id == worker_id), None)


@dataclass(frozen=True, slots=True)
class Taken:
    """One takeover, in seconds.

    Attributes:
        claimed: from the fault to the claim.
        restored: from the fault to the restored graph.
        late: from the end of the victim's lease to the claim.
        polled: the same, had the claimant looked once a second: the mean of all phases.
    """

    claimed: float
    restored: float
    late: float = 0.0
    polled: float = 0.0


def _poll(store: Store, session_id: str, phase: float, seen: list[float]) -> None:
    """Look once a second whether a lease has expired, and note how late that was seen."""
    threading.Event().wait(phase)
    while True:
        session = store.sessions.get(session_id)
        assert session is not None
        late_us = store.clock.now_us() - (session.beat_at + session.spec.ttl_us)
        if late_us >= 0:
            seen.append(late_us / 1e6)
            return
        threading.Event().wait(1.0)


def _polled(store: Store, session_id: str) -> Callable[[], float]:
    """Start the pollers; the result waits for them."""
    seen: list[float] = []
    threads = [
        threading.Thread(target=_poll, args=(store, session_id, number / _POLLERS, seen))
        for number in range(_POLLERS)
    ]
    for thread in threads:
        thread.start()

    def result() -> float:
        for thread in threads:
            thread.join()
        return statistics.mean(seen)

    return result


def _round(fleet: Fleet, url: str, number: int, fault: signal.Signals) -> Taken:
    """One takeover by a warm standby."""
    store = fleet.store
    task_id, victim, standby = f"task-{number}", f"victim-{number}", f"standby-{number}"
    with worker(url, victim) as held:
        fleet.submit("slow", {"n": 0}, task_id=task_id)
        wait_for("a step", lambda: _find(fleet, task_id, "step", victim) is not None)
        with worker(url, standby):
            # Warm: it has a session, has run the graph once and watches its peer.
            fleet.submit("quick", {"n": 0}, task_id=f"warm-{number}")
            wait_for("warmth", lambda: _find(fleet, f"warm-{number}", "done", standby) is not None)
            began = time.monotonic()
            wait_for("a look at its peers", lambda: time.monotonic() - began > _LOOK_SECONDS)
            at = store.clock.now_us()
            os.kill(held.pid, fault)
            session_id = str(store.task(task_id).session_id)
            polled = _polled(store, session_id) if fault is signal.SIGSTOP else None
            wait_for("restored", lambda: _find(fleet, task_id, "resumed", standby) is not None)
            claimed = _find(fleet, task_id, "claimed", standby)
            resumed = _find(fleet, task_id, "resumed", standby)
            assert claimed is not None
            assert resumed is not None
            taken = Taken((claimed.at - at) / 1e6, (resumed.at - at) / 1e6)
            if polled is not None:
                session = store.sessions.get(session_id)
                assert session is not None
                late = claimed.at - (session.beat_at + session.spec.ttl_us)
                taken = Taken(taken.claimed, taken.restored, late / 1e6, polled())
            fleet.store.cancel(task_id)
    return taken


def _on(kind: str, url: str, kills: int, silences: int) -> list[Figure]:
    with open_fleet(url) as fleet:
        silent, killed = [], []
        for number in range(silences):
            say(f"{kind}: freeze {number + 1} of {silences}")
            silent.append(_round(fleet, url, 1000 + number, signal.SIGSTOP))
        for number in range(kills):
            say(f"{kind}: kill {number + 1} of {kills}")
            killed.append(_round(fleet, url, number, signal.SIGKILL))
    wait = statistics.mean(one.claimed for one in silent)
    found = []
    for what, times in (
        ("claim committed", sorted(one.claimed for one in killed)),
        ("graph restored", sorted(one.restored for one in killed)),
    ):
        median = statistics.median(times)
        detail = (
            f"median {median * 1e3:.1f} ms, max {times[-1] * 1e3:.1f} ms of {kills}; "
            f"TTL wait {wait:.2f} s, mean of {silences}"
        )
        found.append(
            Figure(
                f"{kind}: TTL wait / SIGKILL to {what}",
                wait / median,
                BARS[kind][what],
                at_most=False,
                detail=detail,
            )
        )
    late = statistics.mean(one.late for one in silent)
    polled = statistics.mean(one.polled for one in silent)
    found.append(
        Figure(
            f"{kind}: polling each second / lease expiry to claim",
            polled / late,
            EXPIRY_BAR,
            at_most=False,
            detail=f"{late * 1e3:.1f} ms, max {max(one.late for one in silent) * 1e3:.1f} ms of "
            f"{silences}; {_POLLERS} pollers {polled * 1e3:.0f} ms, a mean over all phases",
        )
    )
    return found


def figures(kills: int, silences: int) -> list[Figure]:
    """Kill, freeze, and compare the two, on both stores.

    Args:
        kills: how many workers are killed on each.
        silences: how many are frozen on each, each costing a TTL.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="baton-bench-"))
        found = _on("SQLite", f"sqlite:///{folder}/fleet.db", kills, silences)
        return found + _on("PostgreSQL", stack.enter_context(local_postgres()), kills, silences)
