"""What is done to a recorded fleet; the first line of each says it in the recording too."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from recorded_fleet import WORKERS, Stage

import baton

#: Below the TTL by more than a busy machine is late, above the margin that an alert watches.
_GASP_SECONDS = 12.0


def kill(stage: Stage) -> None:
    """A worker is killed, and started again later."""
    stage.hit(signal.SIGKILL, "w-1")
    stage.wait(100)
    stage.bring_back("w-1")
    stage.wait(30)


def freeze(stage: Stage) -> None:
    """Workers are stopped for longer than their TTL, and wake up as if nothing had been."""
    # Who wakes up either writes first, and is refused, or hears first that it is lost.
    for name, seconds in zip(WORKERS, (100, 25, 25), strict=True):
        stage.hit(signal.SIGSTOP, name)
        stage.wait(seconds)
        stage.hit(signal.SIGCONT, name)
        stage.wait(20)


def gasp(stage: Stage) -> None:
    """A worker is stopped over and over, each time for a little less than its TTL."""
    until = time.monotonic() + 440
    while time.monotonic() < until:
        stage.until_renewed("w-1")
        stage.hit(signal.SIGSTOP, "w-1")
        stage.wait(_GASP_SECONDS)
        stage.hit(signal.SIGCONT, "w-1")
    stage.wait(20)


def drain(stage: Stage) -> None:
    """Every worker is rotated in turn, as a release does it."""
    for name in WORKERS:
        stage.rotate(name)
        stage.wait(25)
    stage.wait(75)


def hang(stage: Stage) -> None:
    """Every node hangs, and a worker that is told to drain waits for its own."""
    stage.hit(signal.SIGTERM, "w-1")
    stage.wait(1260)


def full(stage: Stage) -> None:
    """A worker is killed while the others have no slot free; it comes back after a while."""
    stage.hit(signal.SIGKILL, "w-1")
    stage.wait(150)
    stage.bring_back("w-1")
    stage.wait(30)


def gone(stage: Stage) -> None:
    """All workers are killed, work goes on arriving, and they come back after eleven minutes."""
    stage.hit(signal.SIGKILL, *WORKERS)
    stage.submit(2, steps=1, seconds=1.0)
    stage.wait(650)
    stage.bring_back(*WORKERS)
    stage.wait(30)


def burn(stage: Stage) -> None:
    """All workers are killed with many tasks in their hands, and are back within a minute."""
    stage.hit(signal.SIGKILL, *WORKERS)
    stage.wait(30)
    stage.bring_back(*WORKERS)
    stage.wait(240)


def heir(stage: Stage) -> None:
    """A worker is killed, and so is its successor, before the first node of the takeover."""
    for name in ("w-2", "w-3"):
        stage.end(name)
    stage.hit(signal.SIGKILL, "w-1")
    stage.wait(5)
    stage.start_worker("w-2", graphs="record_heirs")
    stage.until(lambda: stage.workers["w-2"].exit_code is not None, "the death of the heir")
    stage.bring_back(*WORKERS)
    stage.wait(60)


def poison(stage: Stage) -> None:
    """Tasks that kill whoever runs them, under a supervisor that starts workers again."""
    stage.supervised = True
    stage.submit(2, steps=1, seconds=0, graph="poison")
    stage.wait(120)


def outage(stage: Stage) -> None:
    """No session can be renewed: somebody else holds the sessions' file."""
    with _held(stage.store.with_name(stage.store.name + ".sessions")):
        stage.wait(180)
    stage.wait(40)


def slow(stage: Stage) -> None:
    """The store is slow: somebody else holds its data for three seconds out of every eight."""
    until = time.monotonic() + 960
    while time.monotonic() < until:
        with _held(stage.store):
            stage.wait(3)
        stage.wait(5)


def vanish(stage: Stage) -> None:
    """The store is moved away and back; then the exporter is killed and started again."""
    away = stage.folder / "away"
    away.mkdir()
    names = [path.name for path in stage.folder.glob("fleet.db*")]
    for name in names:
        (stage.folder / name).rename(away / name)
    stage.wait(140)
    for name in names:
        (away / name).rename(stage.folder / name)
    stage.wait(30)
    stage.end_exporter(signal.SIGKILL)
    stage.wait(200)
    stage.start_exporter()
    stage.wait(30)


def other(stage: Stage) -> None:
    """The exporter is started again on another store, by mistake."""
    stage.end_exporter(signal.SIGTERM)
    empty = stage.folder / "other.db"
    baton.open(f"sqlite:///{empty}").close()
    stage.start_exporter(empty)
    stage.wait(345)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Keep every writer out of a database file."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")
