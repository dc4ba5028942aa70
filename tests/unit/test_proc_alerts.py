"""Alerts of a trial: what silence, firing and not having looked come to, and the times of rules."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from baton import content
from baton.prove.proc.scaling import Scale
from baton.prove.scenarios.engine import AlertFact, Performance
from baton.prove.scenarios.judging import Judgement, conclude
from baton.prove.scenarios.library import chosen
from baton.prove.scenarios.model import Scenario
from baton.prove.sim.engine import SimEngine

EXPECTED, SILENT = "BatonWorkerHeartbeatStale", "BatonWritesRefused"
FIRED = AlertFact(name=EXPECTED, fired_after_seconds=5.0, resolved_after_seconds=8.5)


@pytest.fixture(scope="module")
def performed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scenario, Performance]:
    """A scenario that expects one alert and the silence of another, and what it left."""
    (scenario,) = chosen(["K01"], [])
    scenario = replace(scenario, expect=replace(scenario.expect, silent=(SILENT,)))
    return scenario, SimEngine().perform(
        scenario,
        1,
        tmp_path_factory.mktemp("work"),
        lambda line: None,  # noqa: ARG005
    )


@pytest.mark.parametrize(
    ("alerts", "judgement", "reason"),
    [
        ((FIRED,), Judgement.PASS, ""),
        ((), Judgement.FAIL, f"alert {EXPECTED}: was silent"),
        (
            (FIRED, AlertFact(name=SILENT, fired_after_seconds=2.0)),
            Judgement.FAIL,
            f"silence of {SILENT}: fired after 2.0 s and did not end",
        ),
    ],
)
def test_alerts_that_were_evaluated_decide(
    performed: tuple[Scenario, Performance],
    alerts: tuple[AlertFact, ...],
    judgement: Judgement,
    reason: str,
) -> None:
    """Alerts that were evaluated decide."""
    scenario, performance = performed
    result = conclude(scenario, replace(performance, alerts=alerts))
    assert (result.judgement, result.reason) == (judgement, reason)


def test_alerts_that_had_to_be_evaluated_and_were_not_never_pass(
    performed: tuple[Scenario, Performance],
) -> None:
    """Alerts that had to be evaluated and were not never pass; a virtual fleet has none."""
    scenario, performance = performed
    result = conclude(scenario, replace(performance, unwatched="no prometheus"))
    assert result.judgement is Judgement.INCONCLUSIVE
    assert result.reason == f"alert {EXPECTED}: not evaluated: no prometheus"
    assert conclude(scenario, performance).judgement is Judgement.PASS


def test_the_rules_of_a_trial_are_those_that_ship_but_for_their_times(tmp_path: Path) -> None:
    """The rules of a trial are those that ship but for their times."""
    times = re.compile(r"\[\d+\w+\]")
    shipped = content.root() / "alerts"
    for path in Scale(3.0).write(shipped, tmp_path):
        was, now = (yaml.safe_load((at / path.name).read_text()) for at in (shipped, tmp_path))
        for before, after in zip(was["groups"], now["groups"], strict=True):
            for long, short in zip(before["rules"], after["rules"], strict=True):
                assert times.sub("", long.pop("expr")) == times.sub("", short.pop("expr"))
                for key in ("for", "keep_firing_for"):
                    assert (key in long) == (key in short)
                    long.pop(key, None), short.pop(key, None)
                assert long == short
    (alerts, _) = sorted(tmp_path.glob("*.yaml"))
    rules = {
        rule["alert"]: rule
        for g in yaml.safe_load(alerts.read_text())["groups"]
        for rule in g["rules"]
    }
    # A minute is a second where the TTL is three; nothing holds for longer than three TTLs.
    assert rules["BatonWorkerHeartbeatStale"]["for"] == "1000ms"
    assert rules["BatonVersionSkew"]["for"] == "9000ms"
    assert "[10000ms]" in rules["BatonWritesRefused"]["expr"]
    assert len(rules) > 20
