"""The rule files as Prometheus and Alertmanager see them, and the tests beside them."""

from __future__ import annotations

import importlib
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from baton.observe.alerts import alerts
from baton.observe.alerts_self import SOURCE_DOWN, WATCHDOG
from baton.observe.rules import Severity
from baton.observe.settings import Settings

FOLDER = Path(__file__).parents[2] / "alerts"
TESTS = sorted((FOLDER / "tests").glob("*.test.yaml"))
RECORDINGS = sorted((FOLDER / "recordings").glob("*.test.yaml"))
NAMES = [alert.name for alert in alerts(Settings())]

#: Alerts that no kill, stop, drain or outage of the recorded fleets causes, each for its reason.
NOT_RECORDED = {
    "BatonClockSkew": "one machine has one clock",
    "BatonCollectorFailing": "takes an error in the exporter",
    "BatonConcurrentWriters": "takes a broken fence",
    "BatonContinuityViolated": "takes a broken promise",
    "BatonLedgerInvalid": "takes an edited ledger",
    "BatonLedgerTailLag": "takes a ledger too long to be read in minutes",
    "BatonVersionSkew": "takes two releases",
    WATCHDOG: "fires in every recording, and is left out there",
}


def said(*command: str | Path) -> str:
    """What a program says that ends well."""
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        check=False,
        # These are Go programs that live for seconds: collecting their garbage costs a fifth.
        env={**os.environ, "GOGC": "800"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def expectations(path: Path) -> list[tuple[str, list[str]]]:
    """Each query of a promtool test, and the alerts that it has to return."""
    found = []
    for test in yaml.safe_load(path.read_text())["tests"]:
        for one in test["promql_expr_test"]:
            labels = [sample["labels"] for sample in one["exp_samples"]]
            found.append((one["expr"], labels))
    return found


def test_prometheus_takes_the_rules(promtool: str) -> None:
    """Every rule parses, none is there twice."""
    files = sorted(FOLDER.glob("*.rules.yaml"))
    assert len(files) == 2
    out = said(promtool, "check", "rules", "--lint=all", *files)
    assert f"{len(NAMES)} rules found" in out
    assert "duplicate" not in out


@pytest.mark.timeout(180)
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_alerts_fire_and_keep_quiet(promtool: str, path: Path) -> None:
    """Over series by hand, some of which last for days."""
    assert "SUCCESS" in said(promtool, "test", "rules", path)


@pytest.mark.timeout(300)
def test_alerts_fire_and_keep_quiet_over_what_was_recorded(promtool: str) -> None:
    """Over series that the real exporter served during real kills; one call for all of them."""
    out = said(promtool, "test", "rules", *RECORDINGS)
    assert out.count("SUCCESS") == len(RECORDINGS) > 8


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_tested_both_ways(name: str) -> None:
    """One case in which it fires, and one in which it does not."""
    mine = [labels for path in TESTS for expr, labels in expectations(path) if f'"{name}"' in expr]
    assert any(mine), f"{name} never fires"
    assert name == WATCHDOG or not all(mine), f"{name} is never silent"


def test_every_alert_that_a_kill_can_cause_was_recorded() -> None:
    """From the real exporter, as series written by hand may be such as it never serves."""
    recorded = {
        name
        for path in RECORDINGS
        for _, labels in expectations(path)
        for name in NAMES
        if any(f'"{name}"' in label for label in labels)
    }
    assert set(NAMES) - recorded - NOT_RECORDED.keys() == set(), "neither recorded nor explained"
    assert NOT_RECORDED.keys() - (set(NAMES) - recorded) == set(), "a reason that is none any more"


def alert_labels(names: Iterable[str]) -> list[str]:
    """The alerts of an expectation as promtool writes them."""
    return [f'{{alertname="{name}"}}' for name in sorted(names)]


def test_each_recording_expects_what_the_recorder_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """All alerts of its fault and no others; none is edited, left out or left over."""
    monkeypatch.syspath_prepend(str(FOLDER.parent / "tools"))
    wanted: dict[str, list[list[str]]] = {}
    for one in importlib.import_module("record").RECORDINGS:
        over: list[list[str]] = [[] for _ in one.over]
        wanted[one.name] = [[], alert_labels(one.alerts), *over]
        if one.later:
            wanted[f"{one.name}-later"] = [[], alert_labels(one.later)]
    found = {
        path.name.removesuffix(".test.yaml"): [labels for _, labels in expectations(path)]
        for path in RECORDINGS
    }
    assert found == wanted


def test_a_planned_rotation_was_recorded_and_is_silent() -> None:
    """The recording in which nothing may fire is there."""
    found = expectations(FOLDER / "recordings" / "drain.test.yaml")
    assert len(found) == 2
    assert [labels for _, labels in found] == [[], []]


# Alertmanager


CONFIG = FOLDER / "alertmanager.yaml"


def test_alertmanager_takes_its_configuration(amtool: str) -> None:
    """As it is."""
    assert "SUCCESS" in said(amtool, "check-config", CONFIG)


@pytest.mark.parametrize(
    ("receiver", "labels"),
    [
        ("pages", ("alertname=BatonSourceDown", "severity=critical")),
        ("tickets", ("alertname=BatonWorkerHeartbeatStale", "severity=warning")),
        ("log", ("alertname=BatonWritesRefused", "severity=info")),
        ("dead-mans-switch", (f"alertname={WATCHDOG}", "severity=info")),
        ("tickets", ("alertname=SomethingElse",)),
    ],
)
def test_alerts_go_where_they_should(amtool: str, receiver: str, labels: tuple[str, ...]) -> None:
    """By severity, and the dead man's switch to a place of its own."""
    tree = ("config", "routes", "test", f"--config.file={CONFIG}")
    said(amtool, *tree, f"--verify.receivers={receiver}", *labels)


def test_what_is_blind_is_inhibited() -> None:
    """All that is read from the store while it cannot be read, and nothing that says why."""
    rules = yaml.safe_load(CONFIG.read_text())["inhibit_rules"]
    (down,) = [r for r in rules if r["source_matchers"] == [f'alertname="{SOURCE_DOWN}"']]
    blind = set(down["target_matchers"][0].split('"')[1].split("|"))
    assert {"BatonFleetBelowExpected", "BatonWorkerHeartbeatStale"} <= blind
    assert not blind & {SOURCE_DOWN, "BatonExporterAbsent", WATCHDOG, "BatonHeartbeatsFailing"}
    assert down["equal"] == ["cluster", "namespace", "job"]
    assert blind <= set(NAMES)


# Grafana's own alerting


def test_grafana_has_the_same_alerts() -> None:
    """Flat, as its file provisioning reads them: one rule each, with every field it asks for."""
    document = yaml.safe_load((FOLDER / "grafana-rules.yaml").read_text())
    prometheus = yaml.safe_load((FOLDER / "baton-alerts.rules.yaml").read_text())
    theirs = {rule["alert"]: rule for group in prometheus["groups"] for rule in group["rules"]}
    rules = {rule["title"]: rule for group in document["groups"] for rule in group["rules"]}
    assert list(rules) == NAMES == list(theirs)
    assert len({rule["uid"] for rule in rules.values()}) == len(NAMES)
    for name, rule in rules.items():
        query, condition = rule["data"]
        assert query["model"]["expr"] == theirs[name]["expr"]
        assert query["model"]["instant"] is True
        assert condition["model"]["expression"] == "is_number($A)"
        assert (rule["condition"], rule["noDataState"]) == (condition["refId"], "OK")
        assert rule["for"] == theirs[name].get("for", "0s")
        assert rule["keepFiringFor"] == theirs[name].get("keep_firing_for", "0s")
        assert len(rule["uid"]) <= 40
        assert "$value " not in rule["annotations"]["description"]
        assert rule["labels"]["severity"] in set(Severity)
