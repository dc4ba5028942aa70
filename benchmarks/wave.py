"""A thousand leases of one dead worker, and four others with room for a quarter of them each.

All five are worker processes, whose runs write one checkpoint and wait. The time runs from the
SIGKILL until the last lease has a new holder, so noticing the death is in it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack

from baton.fleet.fleet import Fleet
from baton.fleet.fleet import open as open_fleet
from baton.prove.local_postgres import local_postgres
from benchmarks.harness import Figure, say
from benchmarks.takeover import wait_for

LEASES, HEIRS = 1000, 4
BAR = 500.0

#: Longer than the death watch needs to know the victim and to elect its watcher.
_LOOK_SECONDS = 3.0

#: For a thousand runs to begin.
_BEGIN_SECONDS = 240.0

_PAGE = 5000


def _start(stack: ExitStack, url: str, worker_id: str, concurrency: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.wave_worker", url, worker_id, str(concurrency)]
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def _steps(fleet: Fleet) -> int:
    """How many tasks have begun durably."""
    begun, position = set(), 0
    while page := fleet.store.events(position, _PAGE):
        position = page[-1].seq
        begun |= {event.task_id for event in page if event.type == "step"}
    return len(begun)


def _holders(fleet: Fleet) -> Counter[str]:
    held = Counter[str]()
    for session_id, _, tasks, _ in fleet.store.leases():
        held[session_id] += tasks
    return held


def _claims(fleet: Fleet) -> Counter[str]:
    """Claims by task."""
    claims, position = Counter[str](), 0
    while page := fleet.store.events(position, _PAGE):
        position = page[-1].seq
        claims.update(event.task_id for event in page if event.type == "claimed" and event.task_id)
    return claims


def _wave(kind: str, url: str) -> list[Figure]:
    with ExitStack() as stack:
        fleet = stack.enter_context(open_fleet(url))
        for number in range(LEASES):
            fleet.submit("still", {"n": 0}, task_id=f"task-{number}")
        say(f"{kind}: one worker takes {LEASES} leases")
        victim = _start(stack, url, "victim", LEASES)
        wait_for("a thousand runs", lambda: _steps(fleet) == LEASES, _BEGIN_SECONDS)
        dead = next(iter(_holders(fleet)))
        say(f"{kind}: {HEIRS} others come up")
        for number in range(HEIRS):
            _start(stack, url, f"heir-{number}", LEASES // HEIRS)
        live = fleet.store.sessions.live
        wait_for("four heirs", lambda: len([s for s in live("default") if s.beat > 0]) == 1 + HEIRS)
        began = time.monotonic()
        wait_for("a look at its peers", lambda: time.monotonic() - began > _LOOK_SECONDS)
        began = time.monotonic()
        os.kill(victim.pid, signal.SIGKILL)

        def taken() -> bool:
            held = _holders(fleet)
            return held[dead] == 0 and held.total() == LEASES

        wait_for("every lease taken over", taken)
        seconds = time.monotonic() - began
        shares = sorted(_holders(fleet).values())
        twice = sum(n != 2 for n in _claims(fleet).values())  # noqa: PLR2004 - the victim's and one more
    return [
        Figure(
            f"{kind}: {LEASES} leases of a dead worker claimed by {HEIRS}",
            LEASES / seconds,
            BAR,
            at_most=False,
            detail=f"within {seconds * 1e3:.0f} ms of the kill; {shares[0]} to {shares[-1]} each",
            unit="/s",
        ),
        Figure(
            f"{kind}: leases not claimed exactly once",
            twice,
            0,
            at_most=True,
            detail="claims in the ledger",
            unit="",
        ),
    ]


def figures() -> list[Figure]:
    """On both stores."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="baton-bench-"))
        found = _wave("SQLite", f"sqlite:///{folder}/fleet.db")
        return found + _wave("PostgreSQL", stack.enter_context(local_postgres()))
