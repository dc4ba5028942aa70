"""Heartbeats and fairness while eight processes write as fast as they can.

Beside it: the plain way, in which leases, heartbeats and the stock saver share one file and
wait for each other by ``busy_timeout``.
"""

from __future__ import annotations

import multiprocessing
import sqlite3
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.sqlite import SqliteSaver

from baton.fleet.fleet import open as open_fleet
from baton.fleet.sqlite_files import pragmas
from benchmarks.harness import Figure

WRITERS = 8
HEARTBEAT_SECONDS = 0.5

DELAY_BAR = 8.0
FAIR_BAR = 0.25

#: What one writer reports: its longest heartbeat in seconds, and how many checkpoints it wrote.
Report = tuple[float, int]


def _write(
    saver: BaseCheckpointSaver[Any],
    config: RunnableConfig,
    beat: Callable[[], None],
    seconds: float,
) -> Report:
    """Write checkpoints without a pause, and renew the lease on time beside it."""
    done = threading.Event()
    longest = 0.0

    def beats() -> None:
        nonlocal longest
        while not done.wait(HEARTBEAT_SECONDS):
            began = time.monotonic()
            beat()
            longest = max(longest, time.monotonic() - began)

    heart = threading.Thread(target=beats)
    heart.start()
    count = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        checkpoint = empty_checkpoint()
        configurable = {"checkpoint_ns": "", **config["configurable"]}
        saver.put({"configurable": configurable}, checkpoint, {"source": "loop", "step": count}, {})
        count += 1
    done.set()
    heart.join()
    return longest, count


def _plain(path: str, start: Any, seconds: float, reports: Any) -> None:
    saver_connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
    heart_connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
    for connection in (saver_connection, heart_connection):
        for pragma in pragmas("full"):
            connection.execute(pragma)
    name = uuid.uuid4().hex

    def beat() -> None:
        heart_connection.execute("INSERT OR REPLACE INTO lease VALUES (?, ?)", (name, time.time()))
        heart_connection.commit()

    saver = SqliteSaver(saver_connection)
    saver.setup()
    start.wait()
    reports.put(_write(saver, {"configurable": {"thread_id": name}}, beat, seconds))


def _baton(path: str, start: Any, seconds: float, reports: Any) -> None:
    with open_fleet(f"sqlite:///{path}") as fleet, fleet.lease(uuid.uuid4().hex) as lease:

        def beat() -> None:
            fleet.store.heartbeat(lease.claim.key.session_id)

        start.wait()
        reports.put(_write(fleet.saver(), lease.config, beat, seconds))


def _run(target: Callable[..., None], path: Path, seconds: float) -> list[Report]:
    context = multiprocessing.get_context("spawn")
    start, reports = context.Barrier(WRITERS), context.Queue()
    processes = [
        context.Process(target=target, args=(str(path), start, seconds, reports))
        for _ in range(WRITERS)
    ]
    for process in processes:
        process.start()
    found = [reports.get(timeout=seconds + 180) for _ in processes]
    for process in processes:
        process.join()
    return found


def figures(seconds: float) -> list[Figure]:
    """Both ways, one after the other.

    Args:
        seconds: how long each set of writers writes.
    """
    with tempfile.TemporaryDirectory(prefix="baton-bench-") as name:
        path = Path(name) / "plain.db"
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE lease (name TEXT PRIMARY KEY, at REAL)")
        SqliteSaver(connection).setup()
        connection.close()
        plain = _run(_plain, path, seconds)
        ours = _run(_baton, Path(name) / "fleet.db", seconds)
    worst_plain, worst_ours = (max(beat for beat, _ in one) for one in (plain, ours))
    counts = sorted(count for _, count in ours)
    fair = sum(counts) / len(counts)
    plain_counts = sorted(count for _, count in plain)
    return [
        Figure(
            "longest heartbeat among 8 writers, busy_timeout / ours",
            worst_plain / worst_ours,
            DELAY_BAR,
            at_most=False,
            detail=f"{worst_plain * 1e3:.0f} ms against {worst_ours * 1e3:.1f} ms",
        ),
        Figure(
            "least of 8 writers / its fair share",
            counts[0] / fair,
            FAIR_BAR,
            at_most=False,
            detail=f"{counts[0]} to {counts[-1]} writes; busy_timeout {plain_counts[0]} to "
            f"{plain_counts[-1]}",
        ),
    ]
