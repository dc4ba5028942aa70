"""How fast a standby takes over from a killed worker, beside waiting for the TTL.

Both are real: workers are killed with SIGKILL, and others are frozen with SIGSTOP so that only
the TTL can tell. Times are read from the ledger, on the store's clock.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from baton.domain.ledger import Event, task_chain
from baton.fleet.fleet import Fleet
from baton.fleet.fleet import open as open_fleet
from benchmarks.harness import Figure

TTL_SECONDS = 15.0

#: SIGKILL to claim committed, and to graph restored: how many times faster than the TTL.
CLAIM_BAR = 500.0
RESTORE_BAR = 80.0

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


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: it did not in time.
    """
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.01)


def _find(fleet: Fleet, task_id: str, type_: str, worker_id: str) -> Event | None:
    chain = fleet.store.chain(task_chain(task_id))
    return next((e for e in chain if e.type == type_ and e.worker_id == worker_id), None)


def _round(fleet: Fleet, number: int, fault: signal.Signals) -> tuple[float, float]:
    """One takeover: seconds from the fault to the claim, and to the restored graph."""
    store = fleet.store
    task_id, victim, standby = f"task-{number}", f"victim-{number}", f"standby-{number}"
    with worker(store.url, victim) as held:
        fleet.submit("slow", {"n": 0}, task_id=task_id)
        wait_for("a step", lambda: _find(fleet, task_id, "step", victim) is not None)
        with worker(store.url, standby):
            # Warm: it has a session, has run the graph once and watches its peer.
            fleet.submit("quick", {"n": 0}, task_id=f"warm-{number}")
            wait_for("warmth", lambda: _find(fleet, f"warm-{number}", "done", standby) is not None)
            began = time.monotonic()
            wait_for("a look at its peers", lambda: time.monotonic() - began > _LOOK_SECONDS)
            at = store.clock.now_us()
            os.kill(held.pid, fault)
            wait_for("restored", lambda: _find(fleet, task_id, "resumed", standby) is not None)
            claimed = _find(fleet, task_id, "claimed", standby)
            resumed = _find(fleet, task_id, "resumed", standby)
            assert claimed is not None
            assert resumed is not None
            fleet.store.cancel(task_id)
    return (claimed.at - at) / 1e6, (resumed.at - at) / 1e6


def figures(kills: int, silences: int) -> list[Figure]:
    """Kill, freeze, and compare the two.

    Args:
        kills: how many workers are killed.
        silences: how many are frozen, each costing a TTL.
    """
    with (
        tempfile.TemporaryDirectory(prefix="baton-bench-") as folder,
        open_fleet(f"sqlite:///{folder}/fleet.db") as fleet,
    ):
        silent = [_round(fleet, 1000 + i, signal.SIGSTOP)[0] for i in range(silences)]
        killed = [_round(fleet, i, signal.SIGKILL) for i in range(kills)]
    wait = statistics.mean(silent)
    found = []
    for what, index, bar in (("claim committed", 0, CLAIM_BAR), ("graph restored", 1, RESTORE_BAR)):
        times = sorted(one[index] for one in killed)
        median = statistics.median(times)
        detail = (
            f"median {median * 1e3:.1f} ms, max {times[-1] * 1e3:.1f} ms of {kills}; "
            f"TTL wait {wait:.2f} s, mean of {silences}"
        )
        found.append(Figure(f"TTL wait / SIGKILL to {what}", wait / median, bar, False, detail))  # noqa: FBT003 - a lower bound
    return found
