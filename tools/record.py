"""Record what the real exporter serves while real workers are killed: `make record`.

Each recording is a fleet of its own: processes of `baton worker` and `baton exporter`, one fault
by a real signal or on the real store, and a scrape each second. What the alert rules read of it is
written as a promtool test to alerts/recordings/, with the alerts that this fault has to raise:
those, and no others. The recordings run side by side and take about twenty-three minutes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import record_faults as faults
from queries import Selector, selectors
from recorded_fleet import WORKERS, Stage

from baton.observe.alerts import alert_groups, alerts, recording_groups
from baton.observe.alerts_self import WATCHDOG
from baton.observe.rules import Recording as RecordingRule
from baton.observe.settings import Settings
from baton.prove.demo.cast import Cast

ROOT = Path(__file__).parents[1]
OUT = ROOT / "alerts" / "recordings"

#: Before the fault, so that rates have something to start from.
_QUIET_SECONDS = 30.0
#: How often the test evaluates the rules.
_EVERY = "5s"


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A fault, and what has to come of it.

    Attributes:
        fault: what is done; its docstring says it.
        alerts: what has to fire at some time after it, and nothing else.
        maybe: what may fire or not, as it is a matter of milliseconds.
        over: which of these have to have ended by the end.
        later: what has to fire ``LATER_SECONDS`` after the end, if nothing else happens until then.
        tasks: how many tasks the fleet runs, of ``steps`` steps of ``seconds``.
        concurrency: of each worker.
        options: further ones of each worker.
        expecting: whether the exporter is told how many workers there should be.
    """

    fault: Callable[[Stage], None]
    alerts: tuple[str, ...] = ()
    maybe: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    tasks: int = 6
    steps: int = 20
    seconds: float = 20.0
    concurrency: int = 4
    options: tuple[str, ...] = ()
    expecting: bool = True

    @property
    def name(self) -> str:
        """What it is called."""
        return self.fault.__name__


RECORDINGS = (
    Recording(
        fault=faults.kill,
        alerts=("BatonWorkerHeartbeatStale",),
        over=("BatonWorkerHeartbeatStale",),
        seconds=5.0,
    ),
    Recording(
        fault=faults.freeze,
        alerts=("BatonTakeoverStorm", "BatonWorkerHeartbeatStale", "BatonWritesRefused"),
        over=("BatonWorkerHeartbeatStale",),
        tasks=12,
        steps=60,
        seconds=5.0,
        concurrency=8,
    ),
    Recording(fault=faults.gasp, alerts=("BatonLeaseRenewalMarginLow",), steps=100),
    Recording(fault=faults.drain, seconds=2.0, steps=60),
    Recording(
        fault=faults.hang,
        alerts=("BatonRotationStalled", "BatonWorkerStalled"),
        tasks=3,
        steps=2,
        seconds=1500.0,
        concurrency=1,
        options=("--drain-timeout", "1800"),
    ),
    Recording(
        fault=faults.full,
        alerts=(
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
        fault=faults.gone,
        alerts=(
            "BatonFleetBelowExpected",
            "BatonFleetHeartbeatsStale",
            "BatonLeaseExpiredUnclaimed",
            "BatonPoolWithoutWorkers",
            "BatonQueueStalled",
            "BatonTakeoverSlow",
            "BatonWorkerHeartbeatStale",
        ),
        over=("BatonQueueStalled", "BatonWorkerHeartbeatStale"),
        seconds=5.0,
        steps=200,
    ),
    Recording(
        fault=faults.burn,
        alerts=("BatonTakeoverBudgetBurnFast", "BatonTakeoverSlow", "BatonTakeoverStorm"),
        later=("BatonTakeoverBudgetBurnSlow",),
        tasks=60,
        steps=60,
        concurrency=20,
    ),
    Recording(
        fault=faults.heir,
        alerts=("BatonTakeoverRepeated", "BatonTakeoverSlow"),
        tasks=4,
        seconds=5.0,
        steps=60,
        concurrency=8,
    ),
    Recording(
        fault=faults.poison,
        alerts=("BatonTakeoverSlow", "BatonTaskQuarantined", "BatonWorkerFlapping"),
        maybe=("BatonTakeoverRepeated",),
        tasks=0,
    ),
    Recording(
        fault=faults.outage,
        alerts=(
            "BatonFleetHeartbeatsStale",
            "BatonHeartbeatsFailing",
            "BatonWorkerHeartbeatStale",
        ),
        over=("BatonWorkerHeartbeatStale",),
        tasks=0,
    ),
    Recording(fault=faults.slow, alerts=("BatonCheckpointSlow",), tasks=3, steps=300, seconds=7.0),
    Recording(fault=faults.vanish, alerts=("BatonExporterAbsent", "BatonSourceDown"), tasks=0),
    Recording(fault=faults.other, alerts=("BatonPoolVanished",), tasks=0, expecting=False),
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
