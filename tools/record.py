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
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import record_faults as faults
from queries import selectors
from recorded_fleet import WORKERS, Stage

from baton.observe.alerts import alert_groups, alerts, recording_groups
from baton.observe.alerts_self import WATCHDOG
from baton.observe.rules import Alert
from baton.observe.rules import Recording as RecordingRule
from baton.observe.settings import Settings
from baton.prove.demo.cast import Cast

ROOT = Path(__file__).parents[1]
OUT = ROOT / "alerts" / "recordings"

#: Before the fault, so that rates have something to start from.
_QUIET_SECONDS = 30.0
#: How often the test evaluates the rules.
_EVERY = "15s"
#: How long a test goes on with what was served last, where an alert waits for longer than one
#: would record; and of how many seconds it then takes one, to be quick.
LATER_SECONDS = 4200
_THINNED_SECONDS = 15


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A fault, and what has to come of it.

    Attributes:
        fault: what is done; its docstring says it.
        alerts: what has to fire at some time after it, and nothing else.
        maybe: what may fire or not, as it is a matter of milliseconds.
        over: which of these have to have ended by the end.
        later: what has to fire ``LATER_SECONDS`` after the end, if nothing else happens.
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


def perform(recording: Recording, folder: Path) -> dict[str, str]:
    """Play one recording; returns the texts of its files by their names."""
    folder.mkdir()
    name = recording.name
    environment = {"PYTHONPATH": os.pathsep.join((str(ROOT / "tools"), str(ROOT / "exporter")))}
    with Cast(folder, environment) as cast, ThreadPoolExecutor(1) as scraper:
        stage = Stage(
            folder,
            cast,
            concurrency=recording.concurrency,
            options=recording.options,
            expecting=recording.expecting,
        )
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
        return files(recording, stage)


def files(recording: Recording, stage: Stage) -> dict[str, str]:
    """The tests of one recording, by the names of their files."""
    tape, last = stage.tape, stage.tape.looked[-1]
    left_out = "|".join((WATCHDOG, *recording.maybe))
    ever = f"group by (alertname) (max_over_time({_firing('!~', left_out)}[1h]))"
    expected = _expectation(ever, stage.fault_second, ())
    expected += _expectation(ever, last, recording.alerts)
    for alert in recording.over:
        expected += _expectation(_firing("=", alert), last, ())
    name, about = recording.name, str(recording.fault.__doc__)
    series = tape.lines(used_by(*_rules()))
    written = {name: _file(recording.name, _head(about, _EVERY), "1s", series, expected)}
    if recording.later:
        names = "|".join(recording.later)
        series = tape.lines(
            used_by(*(alert for alert in alerts(Settings()) if alert.name in recording.later)),
            every=_THINNED_SECONDS,
            hold=LATER_SECONDS // _THINNED_SECONDS,
        )
        still = f"group by (alertname) ({_firing('=~', names)})"
        expected = _expectation(still, last, ())
        expected += _expectation(still, last + LATER_SECONDS, recording.later)
        about += f" Then nothing else happens for {LATER_SECONDS // 60} minutes."
        head, interval = _head(about, "1m"), f"{_THINNED_SECONDS}s"
        written[f"{name}-later"] = _file(f"{name}, later", head, interval, series, expected)
    return written


def _head(about: str, every: str) -> list[str]:
    groups = (*recording_groups(Settings()), *alert_groups(Settings()))
    return [
        f"# Recorded by `make record` from a real fleet: {about}",
        "# The test says which alerts fire after the fault, none before it, and what has ended.",
        "rule_files:",
        "  - ../baton-records.rules.yaml",
        "  - ../baton-alerts.rules.yaml",
        f"evaluation_interval: {every}",
        "group_eval_order:",
        *(f"  - {group.name}" for group in groups),
    ]


def _file(
    name: str,
    head: list[str],
    interval: str,
    series: Iterable[tuple[str, str]],
    expected: list[str],
) -> str:
    lines = [*head, "tests:", f"  - name: {name}", f"    interval: {interval}"]
    lines.append("    input_series:")
    for one, values in series:
        lines += [f"      - series: '{one}'", f"        values: '{values}'"]
    return "\n".join((*lines, "    promql_expr_test:", *expected)) + "\n"


def _firing(op: str, names: str) -> str:
    return f'ALERTS{{alertname{op}"{names}", alertstate="firing"}}'


def _expectation(expr: str, second: int, alerts: tuple[str, ...]) -> list[str]:
    lines = [f"      - expr: '{expr}'", f"        eval_time: {second}s"]
    if not alerts:
        return [*lines, "        exp_samples: []"]
    lines.append("        exp_samples:")
    for alert in sorted(alerts):
        lines += [f"          - labels: '{{alertname=\"{alert}\"}}'", "            value: 1"]
    return lines


def _rules() -> tuple[Alert | RecordingRule, ...]:
    groups = (*recording_groups(Settings()), *alert_groups(Settings()))
    return tuple(rule for group in groups for rule in group.rules)


def used_by(*rules: Alert | RecordingRule) -> Callable[[str, dict[str, str]], bool]:
    """Whether one of the rules selects a series, or a rule that records what these read."""
    known, found, todo = _rules(), [], list(rules)
    while todo:
        for one in selectors(todo.pop().expr.text):
            if one in found:
                continue
            found.append(one)
            todo += [
                each
                for each in known
                if isinstance(each, RecordingRule) and each.record == one.name
            ]
    return lambda name, labels: any(one.takes(name, labels) for one in found)


def main() -> int:
    """Record what is asked for, or everything."""
    names = [recording.name for recording in RECORDINGS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    only = parser.parse_args().only or names
    wanted = [each for each in RECORDINGS if each.name in only]
    if odd := set(only) - set(names):
        parser.error(f"unknown: {', '.join(sorted(odd))}; there are {', '.join(names)}")
    OUT.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="baton-record-"))
    with ThreadPoolExecutor(len(wanted)) as players:
        played = [players.submit(perform, each, folder / each.name) for each in wanted]
        for each in as_completed(played):
            for name, text in each.result().items():
                (OUT / f"{name}.test.yaml").write_text(text, encoding="utf-8")
                print(f"{name}: written", flush=True)
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
