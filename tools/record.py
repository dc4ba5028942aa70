"""Record what the real exporter serves while real workers are killed: `make record`.

Each recording is a fleet of its own: processes of `baton worker` and `baton exporter`, one fault
by a real signal or on the real store, and a scrape each second. What the alert rules read of it is
written as a promtool test to alerts/recordings/, with the alerts that this fault has to raise:
those, and no others. The recordings run side by side and take about ten minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from queries import selectors
from recorded_fleet import WORKERS, Stage

from baton.observe.alerts import alert_groups, recording_groups
from baton.observe.alerts_self import WATCHDOG
from baton.observe.settings import Settings
from baton.prove.demo.cast import Cast

ROOT = Path(__file__).parents[1]
OUT = ROOT / "alerts" / "recordings"

#: Before the fault, so that rates have something to start from.
_QUIET_SECONDS = 30.0
#: How often the test evaluates the rules.
_EVERY = "5s"


# The faults


def kill(stage: Stage) -> None:
    """A worker is killed, and started again later."""
    stage.hit(signal.SIGKILL, "w-1")
    stage.wait(100)
    stage.start_worker("w-1")
    stage.wait(30)


def freeze(stage: Stage) -> None:
    """Workers are stopped for longer than their TTL, and wake up as if nothing had been."""
    # Who wakes up either writes first, and is refused, or hears first that it is lost.
    for name, seconds in zip(WORKERS, (100, 25, 25), strict=True):
        stage.hit(signal.SIGSTOP, name)
        stage.wait(seconds)
        stage.hit(signal.SIGCONT, name)
        stage.wait(20)


def drain(stage: Stage) -> None:
    """Every worker is rotated in turn, as a release does it."""
    for name in WORKERS:
        process = stage.workers[name]
        process.send(signal.SIGTERM)
        stage.until(lambda one=process: one.exit_code is not None, f"the end of {name}")  # type: ignore[misc]
        stage.start_worker(name)
        stage.wait(25)
    stage.wait(75)


def full(stage: Stage) -> None:
    """A worker is killed while the others have no slot free; it comes back after a while."""
    stage.hit(signal.SIGKILL, "w-1")
    stage.wait(110)
    stage.start_worker("w-1")
    stage.wait(30)


def gone(stage: Stage) -> None:
    """All workers are killed, and come back after six minutes."""
    stage.hit(signal.SIGKILL, *WORKERS)
    stage.wait(375)
    for name in WORKERS:
        stage.start_worker(name)
    stage.wait(30)


def poison(stage: Stage) -> None:
    """Tasks that kill whoever runs them, under a supervisor that starts workers again."""
    stage.supervised = True
    stage.submit(2, steps=1, seconds=0, graph="poison")
    stage.wait(120)


def outage(stage: Stage) -> None:
    """No session can be renewed: somebody else holds the sessions' file."""
    path = stage.store.with_name(stage.store.name + ".sessions")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("BEGIN EXCLUSIVE")
        stage.wait(180)
        connection.execute("ROLLBACK")
    stage.wait(40)


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
    assert stage.exporter is not None
    stage.exporter.send(signal.SIGKILL)
    stage.wait(200)
    stage.start_exporter()
    stage.wait(30)


@dataclass(frozen=True)
class Recording:
    """A fault, and what has to come of it.

    Attributes:
        fault: what is done; its docstring says it.
        alerts: what has to fire at some time after it, and nothing else.
        maybe: what may fire or not, as it is a matter of milliseconds.
        over: which of these have to have ended by the end.
        tasks: how many tasks the fleet runs, of ``steps`` steps of ``seconds``.
        concurrency: of each worker.
    """

    fault: Callable[[Stage], None]
    alerts: tuple[str, ...] = ()
    maybe: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    tasks: int = 6
    steps: int = 20
    seconds: float = 20.0
    concurrency: int = 4


RECORDINGS = (
    Recording(
        kill, ("BatonWorkerHeartbeatStale",), over=("BatonWorkerHeartbeatStale",), seconds=5.0
    ),
    Recording(
        freeze,
        ("BatonTakeoverStorm", "BatonWorkerHeartbeatStale", "BatonWritesRefused"),
        over=("BatonWorkerHeartbeatStale",),
        tasks=12,
        steps=60,
        seconds=5.0,
        concurrency=8,
    ),
    Recording(drain, seconds=2.0, steps=60),
    Recording(
        full,
        (
            "BatonLeaseExpiredUnclaimed",
            "BatonTakeoverSlow",
            "BatonTakeoverStuck",
            "BatonWorkerHeartbeatStale",
        ),
        over=("BatonWorkerHeartbeatStale",),
        tasks=3,
        steps=2,
        seconds=300.0,
        concurrency=1,
    ),
    Recording(
        gone,
        (
            "BatonFleetBelowExpected",
            "BatonFleetHeartbeatsStale",
            "BatonLeaseExpiredUnclaimed",
            "BatonPoolWithoutWorkers",
            "BatonTakeoverSlow",
            "BatonWorkerHeartbeatStale",
        ),
        over=("BatonWorkerHeartbeatStale",),
        seconds=5.0,
        steps=200,
    ),
    Recording(
        poison,
        ("BatonTakeoverSlow", "BatonTaskQuarantined", "BatonWorkerFlapping"),
        maybe=("BatonTakeoverRepeated",),
        tasks=0,
    ),
    Recording(
        outage,
        (
            "BatonFleetHeartbeatsStale",
            "BatonHeartbeatsFailing",
            "BatonWorkerHeartbeatStale",
        ),
        over=("BatonWorkerHeartbeatStale",),
        tasks=0,
    ),
    Recording(vanish, ("BatonExporterAbsent", "BatonSourceDown"), tasks=0),
)


def perform(recording: Recording, folder: Path) -> str:
    """Play one recording; returns the text of its file."""
    folder.mkdir()
    name = recording.fault.__name__
    environment = {"PYTHONPATH": os.pathsep.join((str(ROOT / "tools"), str(ROOT / "exporter")))}
    with Cast(folder, environment) as cast, ThreadPoolExecutor(1) as scraper:
        stage = Stage(folder, cast, concurrency=recording.concurrency)
        for worker in WORKERS:
            stage.start_worker(worker)
        stage.until(stage.store.exists, "the store")
        stage.start_exporter()
        stage.until(stage.is_complete, "the first scrape")
        recorded = scraper.submit(stage.record)
        try:
            stage.submit(recording.tasks, steps=recording.steps, seconds=recording.seconds)
            stage.wait(_QUIET_SECONDS)
            print(f"{name}: {recording.fault.__doc__}", flush=True)
            stage.fault()
            recording.fault(stage)
        finally:
            stage.stop()
        recorded.result()
        return _file(recording, stage)


def _file(recording: Recording, stage: Stage) -> str:
    name, about = recording.fault.__name__, recording.fault.__doc__
    groups = (*recording_groups(Settings()), *alert_groups(Settings()))
    lines = [
        f"# Recorded by `make record` from a real fleet: {about}",
        "# The test says which alerts fire after the fault, none before it, and what has ended.",
        "rule_files:",
        "  - ../baton-records.rules.yaml",
        "  - ../baton-alerts.rules.yaml",
        f"evaluation_interval: {_EVERY}",
        "group_eval_order:",
        *(f"  - {group.name}" for group in groups),
        "tests:",
        f"  - name: {name}",
        "    interval: 1s",
        "    input_series:",
    ]
    for series, values in stage.tape.lines(used_by_rules()):
        lines += [f"      - series: '{series}'", f"        values: '{values}'"]
    left_out = "|".join((WATCHDOG, *recording.maybe))
    fired = f'ALERTS{{alertname!~"{left_out}", alertstate="firing"}}'
    ever = f"group by (alertname) (max_over_time({fired}[1h]))"
    last = stage.tape.looked[-1]
    lines.append("    promql_expr_test:")
    lines += _expectation(ever, stage.fault_second, ())
    lines += _expectation(ever, last, recording.alerts)
    for alert in recording.over:
        lines += _expectation(f'ALERTS{{alertname="{alert}", alertstate="firing"}}', last, ())
    return "\n".join(lines) + "\n"


def _expectation(expr: str, second: int, alerts: tuple[str, ...]) -> list[str]:
    lines = [f"      - expr: '{expr}'", f"        eval_time: {second}s"]
    if not alerts:
        return [*lines, "        exp_samples: []"]
    lines.append("        exp_samples:")
    for alert in sorted(alerts):
        lines += [f"          - labels: '{{alertname=\"{alert}\"}}'", "            value: 1"]
    return lines


def used_by_rules() -> Callable[[str, dict[str, str]], bool]:
    """Whether some rule selects a series."""
    groups = (*recording_groups(Settings()), *alert_groups(Settings()))
    found = [one for group in groups for rule in group.rules for one in selectors(rule.expr.text)]
    return lambda name, labels: any(one.takes(name, labels) for one in found)


def main() -> int:
    """Record what is asked for, or everything."""
    names = [recording.fault.__name__ for recording in RECORDINGS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    only = parser.parse_args().only or names
    wanted = [each for each in RECORDINGS if each.fault.__name__ in only]
    OUT.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="baton-record-"))
    with ThreadPoolExecutor(len(wanted)) as players:
        played = {
            each.fault.__name__: players.submit(perform, each, folder / each.fault.__name__)
            for each in wanted
        }
        for name, text in played.items():
            (OUT / f"{name}.test.yaml").write_text(text.result(), encoding="utf-8")
            print(f"{name}: written", flush=True)
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
