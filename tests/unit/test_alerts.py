"""The alerts as data: complete, linked, and in words and metrics that exist."""

from __future__ import annotations

import json
import re
import shlex
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tools.queries import Selector, grouping_labels, selectors

from baton.cli import command_line, tasks
from baton.domain import catalogue as c
from baton.errors import BadInput
from baton.observe import promql as q
from baton.observe.alerts import alerts, recording_groups
from baton.observe.alerts_doc import render_alerts_doc
from baton.observe.alerts_self import SOURCE_DOWN, WATCHDOG
from baton.observe.collector import RETENTION_SECONDS
from baton.observe.promql import Expr
from baton.observe.rules import Alert, Recording, Severity, duration
from baton.observe.rules_yaml import rule_files
from baton.observe.settings import Board, Settings
from baton.observe.terms import EXTERNAL_GRAPH, TAKEOVER_BOUND
from baton.prove.gate.parse import parse

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
SETTINGS = Settings()
ALERTS = alerts(SETTINGS)
RECORDINGS = [
    rule
    for group in recording_groups(SETTINGS)
    for rule in group.rules
    if isinstance(rule, Recording)
]
NAMES = [alert.name for alert in ALERTS]
EACH = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)

#: Series that Prometheus or the rules make, beside those of the catalogue.
MADE = {rule.record for rule in RECORDINGS} | {
    *("up", "ALERTS", "scrape_duration_seconds", "scrape_samples_scraped"),
}
SAMPLES = {name: metric for metric in c.CATALOGUE for name in metric.sample_names}


def test_names_are_unique() -> None:
    """An alert is found by its name."""
    assert len(set(NAMES)) == len(NAMES) > 25


@EACH
def test_it_says_everything(alert: Alert) -> None:
    """A summary that is one sentence, a description, where to look, and both links."""
    said = alert.annotations(SETTINGS)
    assert list(said) == ["summary", "description", "runbook_url", "dashboard_url"]
    assert all(said.values())
    assert alert.summary.endswith(".")
    assert alert.description.endswith(".")
    assert alert.first_look.endswith((".", "?"))
    assert said["runbook_url"] == f"docs/runbook.md#{alert.name.lower()}"
    assert said["dashboard_url"].startswith(f"http://localhost:3000/d/{alert.board}?")
    # Grafana would take this for a variable of its environment.
    assert not any("${" in text for text in said.values())


@EACH
def test_its_link_narrows_the_dashboard(alert: Alert) -> None:
    """By every label that it has and the dashboard has a variable for."""
    url = alert.annotations(SETTINGS)["dashboard_url"]
    for label in ("pool", "worker"):
        assert (f"&var-{label}=" in url) == (label in alert.expr.labels)


@EACH
def test_what_inhibits_it_exists(alert: Alert) -> None:
    """And is at least as severe, or silence would be the answer to a page."""
    order = list(Severity)
    for name in alert.inhibited_by:
        larger = ALERTS[NAMES.index(name)]
        assert order.index(larger.severity) <= order.index(alert.severity)
        assert name != alert.name


@EACH
def test_a_page_survives_the_loss_of_its_series(alert: Alert) -> None:
    """For longer than it takes to be told why they are gone; and nothing else is prolonged."""
    watchers = [ALERTS[NAMES.index(name)] for name in (SOURCE_DOWN, "BatonExporterAbsent")]
    pages = alert.severity is Severity.CRITICAL and alert.needs_source
    assert alert.survives == (pages and "BudgetBurn" not in alert.name)
    if alert.survives:
        assert alert.keeps_seconds(SETTINGS) > max(w.hold_seconds for w in watchers) + 60


@EACH
def test_a_dead_workers_series_outlive_it(alert: Alert) -> None:
    """An alert must not resolve because the exporter has forgotten whom it was about."""
    margin = 3600.0
    lasts = alert.hold_seconds + alert.keeps_seconds(SETTINGS)
    assert lasts + margin < RETENTION_SECONDS


def test_five_to_start_with() -> None:
    """Few enough to set up in a first hour."""
    assert {alert.name for alert in ALERTS if alert.start_here} == {
        "BatonSourceDown",
        "BatonFleetBelowExpected",
        "BatonLeaseExpiredUnclaimed",
        "BatonTakeoverStuck",
        "BatonConcurrentWriters",
    }


def test_ages_scale_with_each_pool() -> None:
    """No TTL or interval is a number in a rule."""
    scaled = {
        "BatonWorkerHeartbeatStale": c.HEARTBEAT_INTERVAL,
        "BatonFleetHeartbeatsStale": c.HEARTBEAT_INTERVAL,
        "BatonLeaseExpiredUnclaimed": c.LEASE_TTL,
        "BatonLeaseRenewalMarginLow": c.LEASE_TTL,
        "BatonTakeoverStuck": c.LEASE_TTL,
        "BatonClockSkew": c.LEASE_TTL,
    }
    for name, metric in scaled.items():
        assert metric.name in ALERTS[NAMES.index(name)].expr.text


def test_settings_reach_the_rules() -> None:
    """Pools, jobs, budgets, holds and links."""
    mine = Settings(
        exporter_job="mine",
        pools=("a", "b"),
        hold_seconds={"BatonWorkerHeartbeatStale": 5},
        keep_firing_seconds=2,
        runbook_url="https://wiki.example.org/runbook",
        dashboard_url="https://grafana.example.org/",
    )
    rules = yaml.safe_load(rule_files(mine)["baton-alerts.rules.yaml"])["groups"][0]["rules"]
    stale = rules[0]
    assert stale["for"] == "5s"
    assert 'job=~"mine", pool=~"a|b"' in stale["expr"]
    assert stale["annotations"]["runbook_url"].startswith("https://wiki.example.org/runbook#baton")
    assert stale["annotations"]["dashboard_url"].startswith("https://grafana.example.org/d/baton-")
    assert rules[1]["keep_firing_for"] == "2s"


def test_a_hold_for_an_unknown_alert_is_refused() -> None:
    """A misspelt name would change nothing and say nothing."""
    with pytest.raises(BadInput, match="hold_seconds names BatonQueueStaled; alerts are Baton"):
        alerts(Settings(hold_seconds={"BatonQueueStaled": 5}))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.5, "500ms"), (30, "30s"), (90, "90s"), (60, "1m"), (7200, "2h"), (86400, "1d")],
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    """As Prometheus writes them."""
    assert duration(seconds) == text


def alert_like(name: str = "BatonTest", summary: str = "It.", **more: bool) -> Alert:
    """An alert about nothing."""
    return Alert(
        name=name,
        severity=Severity.WARNING,
        expr=Expr("vector(1)", frozenset({"pool"})),
        summary=summary,
        description="It.",
        first_look="It.",
        board=Board.FLEET,
        **more,
    )


def test_a_broken_alert_is_refused() -> None:
    """Where it is written."""
    assert alert_like(summary="{{ $labels.pool }}").anchor == "batontest"
    for wrong in ({"name": "Test"}, {"summary": "{{ $labels.worker }}"}, {"survives": True}):
        with pytest.raises(ValueError, match="alert "):
            alert_like(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="level:metric:operations"):
        Recording(record="takeovers", expr=Expr("vector(1)"), meaning="It.")


def test_the_bounds_are_those_of_the_histogram() -> None:
    """Budgets are counted by them."""
    bounds = [dict(rule.labels)["le"] for rule in RECORDINGS if rule.record == TAKEOVER_BOUND]
    assert bounds == list(c.TAKEOVER_LATENCY.bounds)


def test_the_external_graph_is_called_so() -> None:
    """The store's name for threads of somebody's own runtime, as the exporter serves it."""
    golden = (ROOT / "tests" / "integration" / "scrape.golden.txt").read_text()
    assert f'graph="{EXTERNAL_GRAPH}"' in golden


# The contract with the catalogue, for whatever asks: rules, boards and the runbook.


def rule_queries() -> Iterator[str]:
    """Every query of every rule, as it is written to the files."""
    for name, text in rule_files(SETTINGS).items():
        if name.endswith(".rules.yaml"):
            for group in yaml.safe_load(text)["groups"]:
                yield from (rule["expr"] for rule in group["rules"])


def runbook_queries() -> list[str]:
    """Every query that the runbook gives."""
    blocks = re.findall(r"```promql\n(.+?)\n```", RUNBOOK, re.DOTALL)
    inline = re.findall(r"`(\w+ by \([^`]+)`", RUNBOOK)
    return [*blocks, *inline]


def board_queries() -> Iterator[str]:
    """Every query of every dashboard, with a value for each of its variables."""
    for path in sorted((ROOT / "dashboards").glob("*.json")):
        found: list[str] = []
        _collect(json.loads(path.read_text()), found)
        for query in found:
            filled = re.sub(r"\$__\w+|\$\{__\w+\}", "5m", query)
            yield re.sub(r"\$\w+|\$\{\w+[^}]*\}", ".+", filled)


def _collect(node: object, found: list[str]) -> None:
    if isinstance(node, dict):
        if isinstance(node.get("expr"), str) and node["expr"]:
            found.append(node["expr"])
        for value in node.values():
            _collect(value, found)
    elif isinstance(node, list):
        for value in node:
            _collect(value, found)


def gate_queries() -> Iterator[str]:
    """Everything that the release gate asks, but for the range that it puts behind samples."""
    path = ROOT / "gates" / "release.yaml"
    for criterion in parse(path.name, path.read_text()).criteria:
        enough = criterion.enough.query if criterion.enough else ""
        yield from filter(None, (criterion.query, criterion.samples, enough))


QUERIES = sorted({*rule_queries(), *runbook_queries(), *board_queries(), *gate_queries()})


def offences(selector: Selector) -> Iterator[str]:
    """What a selector names that does not exist."""
    if selector.name in MADE:
        return
    metric = SAMPLES.get(selector.name)
    if metric is None:
        yield f"{selector.name} is not in the catalogue"
        return
    suffix = selector.name.removeprefix(metric.name)
    for matcher in selector.matchers:
        if matcher.name not in q.labels_of(metric, suffix):
            yield f"{selector.name} has no label {matcher.name}"
        known = metric.states if matcher.name == metric.name else ()
        if matcher.name in metric.known.labels:
            known = metric.known.values(matcher.name)
        if known and not any(_alone(selector, matcher, value) for value in known):
            yield f"{selector.name} has no {matcher.name} {matcher.value}"


def _alone(selector: Selector, matcher: object, value: str) -> bool:
    one = Selector(selector.name, (matcher,))
    return one.takes(selector.name, {matcher.name: value})  # type: ignore[attr-defined]


def test_there_are_queries_of_every_kind() -> None:
    """Or the next tests would hold of nothing."""
    assert len(list(rule_queries())) > 60
    assert len(runbook_queries()) > 60
    assert len(list(board_queries())) > 50
    assert len(list(gate_queries())) > 40


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_what_exists(query: str) -> None:
    """It parses, and its metrics, labels and values are those of the catalogue."""
    found = list(selectors(query))
    assert [said for selector in found for said in offences(selector)] == []
    own = {label for metric in c.CATALOGUE for label in q.labels_of(metric, "_bucket")}
    assert grouping_labels(query) <= own | {"alertname", "severity"}


@pytest.mark.parametrize(
    "query",
    [
        "langgraph_worker_up",
        'langgraph_workers{worker="w-1"}',
        'langgraph_workers{state="sleeping"}',
        'langgraph_worker_state{langgraph_worker_state=~"gone|away"}',
        "rate(langgraph_takeover_latency_seconds[5m])",
    ],
)
def test_a_query_about_nothing_is_caught(query: str) -> None:
    """Names, labels and values that nobody serves."""
    assert [said for selector in selectors(query) for said in offences(selector)]


def test_every_metric_is_read_by_somebody() -> None:
    """By a rule or a panel; a metric that nobody looks at is a cost, unless it says why."""
    watched = [*rule_queries(), *board_queries()]
    read = {SAMPLES[s.name] for each in watched for s in selectors(each) if s.name in SAMPLES}
    unread = [metric.name for metric in c.CATALOGUE if metric not in read and not metric.diagnostic]
    assert unread == []


def test_no_alert_reads_what_says_that_none_does() -> None:
    """A reason that has become wrong misleads."""
    for alert in ALERTS:
        for selector in selectors(alert.expr.text):
            metric = SAMPLES.get(selector.name)
            assert metric is None or not metric.diagnostic, f"{alert.name} reads {selector.name}"


def test_every_metric_that_a_rule_reads_is_served() -> None:
    """By the exporter in its golden scrape, or by a worker."""
    golden = (ROOT / "tests" / "integration" / "scrape.golden.txt").read_text()
    served = set(re.findall(r"^([a-z_]+)[{ ]", golden, re.MULTILINE))
    wanted = {s.name for each in rule_queries() for s in selectors(each)} - MADE
    own = {name for name in wanted if SAMPLES[name].source is c.Source.WORKER}
    assert wanted - own - served == set()


# The pages


def sections() -> dict[str, str]:
    """The runbook's sections, by their headings."""
    parts = re.split(r"^## ", RUNBOOK, flags=re.MULTILINE)[1:]
    return {part.splitlines()[0]: part for part in parts}


CRITERIA = [
    criterion.id
    for criterion in parse("release.yaml", (ROOT / "gates" / "release.yaml").read_text()).criteria
]


def test_every_alert_and_every_criterion_has_its_section() -> None:
    """In the order of the rules and of the policy, and no section is about nothing."""
    assert list(sections()) == [*NAMES, *CRITERIA]


@pytest.mark.parametrize("name", [*NAMES, *CRITERIA])
def test_a_section_is_complete(name: str) -> None:
    """Symptom, first query, decisions, what is safe and what is forbidden, and the way out."""
    section = sections()[name]
    marks = [
        *("**Symptom.** ", "**First query**", "```promql", "| you see | then |"),
        *("**Safe**", "```sh", "**Never.** ", "**Verify.** ", "```promql"),
        *("**Roll back.** ", "**Escalate.** "),
    ]
    place = 0
    for mark in marks:
        place = section.find(mark, place) + 1
        assert place, f"{name}: no {mark}"
    assert len(re.findall(r"^\| (?!you see|---).+ \| .+ \|$", section, re.MULTILINE)) >= 2


COMMANDS = sorted(set(re.findall(r"^baton .+$", RUNBOOK, re.MULTILINE)))


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_runbook_can_be_typed(line: str) -> None:
    """Its verb and its options exist."""
    words = tasks.spelled_out(shlex.split(line)[1:])
    args = Namespace()
    command_line().parse_args(words, args)
    assert callable(args.run)


def test_what_the_runbook_mentions_exists() -> None:
    """Verbs, options and alerts in its sentences."""
    helps = " ".join(path.read_text() for path in (ROOT / "docs").glob("cli.md"))
    for verb in re.findall(r"`(baton [a-z]+(?: [a-z-]+)?)`", RUNBOOK):
        assert f"## {verb}\n" in helps, verb
    for option in re.findall(r"`(--[a-z-]+)", RUNBOOK):
        assert f"`{option}" in helps, option
    assert set(re.findall(r"\bBaton[A-Z]\w+", RUNBOOK)) <= set(NAMES)


def test_the_page_of_alerts_has_a_row_for_each() -> None:
    """With its severity, and a link into the runbook."""
    page = render_alerts_doc(SETTINGS)
    for alert in ALERTS:
        (row,) = [line for line in page.splitlines() if line.startswith(f"| [{alert.name}](")]
        assert f"runbook.md#{alert.anchor}" in row
        assert alert.first_look in row
        assert alert.name == WATCHDOG or str(alert.severity) in row
    assert "{{" not in page
