"""The boards, held to Grafana's schema, its linter's rules, the catalogue and each other."""

from __future__ import annotations

import copy
import dataclasses
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
from grafanalib import _gen
from tests.support import dashboard_linter as linter
from tests.support.grafana import Json, boards, broken, panels

from baton import content
from baton.domain.catalogue import (
    CATALOGUE,
    LEASES,
    TAKEOVER_LATENCY,
    TASKS,
    WORKER_HEARTBEAT_FRESHNESS,
    WORKER_INFO,
    WORKER_STATE,
)
from baton.domain.metric import Metric
from baton.observe import charts
from baton.observe.boards import FRESHNESS_LOOK, SESSION_LOOK, View, state_words
from baton.observe.dashboards import rendered
from baton.observe.panels import Query, annotation
from baton.observe.promql import TARGET_LABELS, labels_of
from baton.observe.settings import Board, Budgets, Settings, Thresholds

FOLDER = content.root() / "dashboards"
BOARDS = boards()

every_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS.keys())


def panel_named(board: Json, title: str) -> Json:
    """The panel of that title."""
    (found,) = (panel for panel in panels(board) if panel["title"] == title)
    return found


# What is rendered


def test_every_board_is_rendered_once() -> None:
    """Each has the uid that links are made of."""
    assert sorted(board["uid"] for board in BOARDS.values()) == sorted(Board)
    assert all(board["title"].startswith("Baton / ") for board in BOARDS.values())


@pytest.mark.parametrize(("name", "text"), rendered(Settings()).items())
def test_the_committed_file_is_what_is_rendered(name: str, text: str) -> None:
    """Nobody edits it by hand; `baton render` writes it."""
    assert (FOLDER / name).read_text() == text


def test_every_committed_board_is_rendered() -> None:
    """A board whose source is gone would be installed for ever."""
    assert {path.name for path in FOLDER.glob("*.json")} == rendered(Settings()).keys()


@pytest.mark.parametrize("source", sorted(FOLDER.glob("*.dashboard.py")), ids=lambda p: p.name)
def test_grafanalibs_own_generator_writes_the_same(source: Path) -> None:
    """A board is what any file of that name is to grafanalib."""
    written = io.StringIO()
    _gen.write_dashboard(_gen.loader(str(source)), written)
    assert written.getvalue() == rendered(Settings())[source.name.replace(".dashboard.py", ".json")]


# The page about them

PAGE = FOLDER.parent / "docs" / "dashboards.md"


@every_board
def test_the_page_has_each_board_with_its_question(board: Json) -> None:
    """A board that nobody finds answers nothing."""
    title = board["title"].removeprefix("Baton / ")
    assert f"| {title} | `{board['uid']}` | {board['description']} |" in PAGE.read_text()


# Grafana's schema


def kinds(panel: Json) -> Iterator[tuple[str, Any]]:
    """The parts of a panel that the schema describes, each with the name of its type."""
    kind = panel["type"].replace("-", "_")
    yield "Panel", panel
    yield f"{kind}_options", panel["options"]
    if custom := panel["fieldConfig"]["defaults"].get("custom"):
        yield f"{kind}_custom", custom


def out_of_schema(board: Json) -> list[str]:
    """What in a board today's schema does not allow."""
    found = broken("Dashboard", board)
    for panel in panels(board):
        for kind, value in kinds(panel):
            found += [f"{panel['title']} {kind} {said}" for said in broken(kind, value)]
    return found


@every_board
def test_a_board_is_of_todays_schema(board: Json) -> None:
    """Strictly: a field that Grafana does not know is an offence."""
    assert out_of_schema(board) == []
    assert board["schemaVersion"] >= 39


def _removed_field(board: Json) -> None:
    board["rows"] = []


def _number_as_title(board: Json) -> None:
    board["title"] = 5


def _unknown_option(board: Json) -> None:
    panels(board)[0]["options"]["fieldOptions"] = {}


def _unknown_word(board: Json) -> None:
    panels(board)[0]["options"]["colorMode"] = "loud"


def _string_as_source(board: Json) -> None:
    panels(board)[0]["datasource"] = "prometheus"


@pytest.mark.parametrize(
    "spoil", [_removed_field, _number_as_title, _unknown_option, _unknown_word, _string_as_source]
)
def test_the_schema_refuses_what_is_not_of_it(spoil: Callable[[Json], None]) -> None:
    """A schema that lets everything pass holds nothing."""
    board = copy.deepcopy(BOARDS["Baton / Fleet overview"])
    spoil(board)
    assert out_of_schema(board)


#: What Grafana 11 draws by itself; graph, singlestat and worldmap were Angular.
KINDS = {"bargauge", "heatmap", "stat", "state-timeline", "table", "timeseries"}


@every_board
def test_no_panel_needs_what_grafana_removed(board: Json) -> None:
    """Angular panels draw nothing since Grafana 12."""
    assert {panel["type"] for panel in panels(board)} <= KINDS


# Its linter's rules


ALL_RULES = (*linter.RULES, *linter.OWN_RULES)


def test_there_are_seventeen_rules() -> None:
    """As many as the linter has."""
    assert len({rule.__name__ for rule in linter.RULES}) == 17


@every_board
@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.__name__)
def test_a_board_keeps_the_rule(board: Json, rule: Callable[[Json], Iterator[str]]) -> None:
    """Nothing is excluded."""
    assert list(rule(board)) == []


def _asks(expr: str) -> Callable[[Json], None]:
    """Let the first panel ask something else."""

    def spoil(board: Json) -> None:
        panels(board)[0]["targets"][0]["expr"] = expr

    return spoil


def _says(place: str, value: object) -> Callable[[Json], None]:
    """Let the board say something else at a place, such as ``templating.list.0.name``."""

    def spoil(board: Json) -> None:
        *way, last = place.split(".")
        here: Any = board
        for step in way:
            here = here[int(step)] if step.isdigit() else here[step]
        here[last] = value

    return spoil


GOOD = 'x{job=~"$job",instance=~"$instance"}'
#: The places of the variables: data source, cluster, namespace, job, instance.
JOB, INSTANCE = "templating.list.3", "templating.list.4"

PLANTED = [
    (linter.template_datasource, _says("templating.list.0.name", "source")),
    (linter.template_datasource, _says("templating.list.0.label", "Prometheus")),
    (linter.template_job, _says(f"{JOB}.multi", value=False)),
    (linter.template_job, _says(f"{JOB}.allValue", ".*")),
    (linter.template_job, _says(f"{JOB}.name", "jobs")),
    (linter.template_instance, _says(f"{INSTANCE}.label", "Host")),
    (linter.template_instance, _says(f"{INSTANCE}.datasource", {"uid": "my-prometheus"})),
    (linter.template_label_promql, _says(f"{JOB}.query", "label_values(up{, job)")),
    (linter.template_label_promql, _says(f"{JOB}.query", "up")),
    (linter.template_on_time_change_reload, _says(f"{JOB}.refresh", 1)),
    (linter.panel_datasource, _says("panels.1.datasource", {"uid": "my-prometheus"})),
    (linter.panel_datasource, _says("panels.1.targets.0.datasource", "Prometheus")),
    (linter.panel_title_description, _says("panels.1.description", "")),
    (linter.panel_units, _says("panels.1.fieldConfig.defaults.unit", "seconds")),
    (linter.panel_units, _says("panels.1.fieldConfig.defaults", {})),
    (linter.panel_no_targets, _says("panels.1.targets", [])),
    (linter.target_logql, _says("panels.1.targets.0.datasource", {"type": "loki", "uid": "x"})),
    (linter.target_logql_auto, _asks(f"rate({GOOD}[$__auto])")),
    (linter.target_promql, _asks(f"rate({GOOD})")),
    (linter.target_promql, _asks('x{job=~"$job", instance=~"$instance", pool="$nobody"}')),
    (linter.target_rate_interval, _asks(f"rate({GOOD}[5m])")),
    (linter.target_job, _asks('sum(x{instance=~"$instance"})')),
    (linter.target_job, _asks(f'{GOOD} / x{{job="$job",instance=~"$instance"}}')),
    (linter.target_instance, _asks('sum(x{job=~"$job"})')),
    (linter.target_counter_agg, _asks(f"sum({GOOD.replace('x', 'x_total', 1)})")),
    (linter.target_counter_agg, _asks(f"max_over_time({GOOD.replace('x', 'x_total', 1)}[5m])")),
    (linter.uneditable_dashboard, _says("editable", value=True)),
]


@pytest.mark.parametrize(("rule", "spoil"), PLANTED)
def test_each_rule_catches_its_offence(
    rule: Callable[[Json], Iterator[str]], spoil: Callable[[Json], None]
) -> None:
    """A rule that cannot fail holds nothing."""
    board = copy.deepcopy(BOARDS["Baton / Fleet overview"])
    spoil(board)
    assert list(rule(board))


def test_every_rule_has_its_offence() -> None:
    """None was forgotten, here or above."""
    assert {rule for rule, _ in PLANTED} == set(linter.RULES)
    assert {rule for rule, _, _ in PLANTED_IN_KIND} >= set(linter.OWN_RULES)
    assert {kind for _, kind, _ in PLANTED_IN_KIND} == {"bargauge", "heatmap", "state-timeline"}


UNIT = "fieldConfig.defaults.unit"
WORDS = "fieldConfig.defaults.mappings.0.options"
ASKED = "targets.0.expr"

#: Offences in the three kinds of panels that the linter itself does not look at.
PLANTED_IN_KIND = [
    *((linter.panel_units, kind, _says(UNIT, "seconds")) for kind in linter.OWN_KINDS),
    *((linter.panel_title_description, kind, _says("title", "")) for kind in linter.OWN_KINDS),
    *((linter.panel_datasource, kind, _says("datasource", {})) for kind in linter.OWN_KINDS),
    *((linter.panel_no_targets, kind, _says("targets", [])) for kind in linter.OWN_KINDS),
    *((linter.target_job, kind, _says(ASKED, "x")) for kind in linter.OWN_KINDS),
    *((linter.target_promql, kind, _says(ASKED, "x(")) for kind in linter.OWN_KINDS),
    (linter.panel_units, "heatmap", _says("options.yAxis.unit", "seconds")),
    (linter.state_timeline_words, "state-timeline", _says(f"{WORDS}.9", {})),
    (linter.state_timeline_words, "state-timeline", _says(f"{WORDS}.1", {"text": ""})),
    (linter.state_timeline_words, "state-timeline", _says("fieldConfig.defaults.mappings", [{}])),
    (linter.state_timeline_words, "state-timeline", _says("fieldConfig.defaults.color", {})),
    (linter.heatmap_buckets, "heatmap", _says("options.calculate", value=True)),
    (linter.heatmap_buckets, "heatmap", _says("targets.0.format", "time_series")),
    (linter.heatmap_buckets, "heatmap", _says(ASKED, "sum by (le) (increase(x_count[1h]))")),
    (linter.heatmap_buckets, "heatmap", _says(ASKED, "sum by (pool) (increase(x_bucket[1h]))")),
    (linter.bargauge_values, "bargauge", _says("fieldConfig.defaults.min", None)),
    (linter.bargauge_values, "bargauge", _says("fieldConfig.defaults.thresholds", {})),
    (linter.bargauge_values, "bargauge", _says("options.reduceOptions.calcs", ["mean"])),
    (linter.bargauge_values, "bargauge", _says("targets.0.instant", value=False)),
    (linter.bargauge_values, "bargauge", _says("targets.0.legendFormat", "")),
]


@pytest.mark.parametrize(("rule", "kind", "spoil"), PLANTED_IN_KIND)
def test_each_rule_catches_its_offence_in_every_kind_of_panel(
    rule: Callable[[Json], Iterator[str]], kind: str, spoil: Callable[[Json], None]
) -> None:
    """Also in those kinds that the linter passes by."""
    board = copy.deepcopy(next(b for b in BOARDS.values() if of_kind(b, kind)))
    assert not list(rule(board))
    spoil(of_kind(board, kind)[0])
    assert list(rule(board))


def of_kind(board: Json, kind: str) -> list[Json]:
    """The panels of one kind."""
    return [panel for panel in panels(board) if panel["type"] == kind]


# The catalogue

#: What Prometheus makes by itself, and the labels that it has.
OWN = dict.fromkeys(("up", "scrape_duration_seconds", "scrape_samples_scraped"), TARGET_LABELS)
SAMPLES = {
    name: labels_of(metric, name.removeprefix(metric.name))
    for metric in CATALOGUE
    for name in metric.sample_names
} | OWN


def selectors(board: Json) -> Iterator[promql.VectorSelector]:
    """Every selector of every panel."""
    for _, target in linter.targets(board):
        yield from linter.selectors(linter.parsed(target))


@every_board
def test_every_name_and_label_is_of_the_catalogue(board: Json) -> None:
    """A metric that nobody serves, or a label that it does not have, is an empty panel."""
    found = list(selectors(board))
    assert found
    for selector in found:
        labels = {matcher.name for matcher in selector.matchers.matchers}
        assert labels <= SAMPLES[selector.name], selector.name


def test_every_metric_is_on_a_panel() -> None:
    """What is exported and never looked at is not known to work."""
    shown = {selector.name for board in BOARDS.values() for selector in selectors(board)}
    assert [m.name for m in CATALOGUE if shown.isdisjoint(m.sample_names)] == []


def test_no_source_of_a_board_types_a_metrics_name() -> None:
    """They are constants of the catalogue, so a name changes in one place."""
    names = re.compile(r"langgraph_\w+")
    sources = sorted(FOLDER.glob("*.dashboard.py"))
    assert sources
    assert {
        source.name: found for source in sources if (found := names.findall(source.read_text()))
    } == {}


@every_board
def test_exemplars_are_asked_for_where_the_metric_has_them(board: Json) -> None:
    """And nowhere else: the request costs time in every other panel."""
    buckets = {f"{metric.name}_bucket" for metric in CATALOGUE if metric.exemplars}
    for _, target in linter.targets(board):
        names = {one.name for one in linter.selectors(linter.parsed(target))}
        assert target["exemplar"] == (bool(names & buckets) and target["range"])
        assert target["range"] is not target["instant"]


def test_a_join_with_something_in_parentheses_is_read_as_it_is_meant() -> None:
    """``group_left (a * 3)`` would be a list of labels."""
    view = View(Settings())
    joined = view.per_pool(view.fact(WORKER_INFO, view.each), "*", view.ttl() * 3)
    assert " group_left () (max by" in joined.text
    assert isinstance(promql.parse(joined.text), promql.BinaryExpr)


# Legends, states and heatmaps


def test_a_legend_names_labels_that_the_series_have() -> None:
    """Otherwise it shows braces."""
    expr = View(Settings()).amount(TASKS, ("pool",))
    assert Query(expr, "{{pool}}").legend == "{{pool}}"
    with pytest.raises(ValueError, match="names worker"):
        Query(expr, "{{worker}}")
    with pytest.raises(ValueError, match="names state"):
        annotation("Tasks", expr, "{{state}}", charts.RED)


def test_a_tables_columns_are_labels_that_the_series_have() -> None:
    """Otherwise the column is missing."""
    expr = View(Settings()).fact(LEASES, ("pool", "state"))
    with pytest.raises(ValueError, match="no label worker"):
        charts.table("T", "Why.", charts.Column(expr=expr, heading="N"), labels={"worker": "W"})


@pytest.mark.parametrize(
    ("look", "metric"),
    [(SESSION_LOOK, WORKER_STATE), (FRESHNESS_LOOK, WORKER_HEARTBEAT_FRESHNESS)],
)
def test_words_and_numbers_of_states_agree(look: dict[str, str], metric: Metric) -> None:
    """A state's number in the query is its number among the words."""
    assert tuple(look) == metric.states
    (mapping,) = state_words(look)
    said = {number: word["text"] for number, word in mapping["options"].items()}
    query = View(Settings()).coded(metric).text
    for number, state in said.items():
        assert re.search(rf'{metric.name}="{state}"[^}}]*}} \* {number}\b', query)


@every_board
def test_a_description_is_in_sentences(board: Json) -> None:
    """It says more than the title does."""
    for panel in [board, *panels(board)]:
        assert panel["description"][-1] in ".?", panel["title"]
        assert panel["description"] != panel["title"]


# Settings


def changed(kind: type[Any], name: str) -> Any:
    """A record of settings that differs in one field from the default, and stays possible."""
    value = getattr(kind(), name)
    return kind(**{name: value / 2})


#: What alerts alone judge by: counts of workers and takeovers that no panel draws a line at.
OF_ALERTS_ONLY = {
    "heartbeats_stale_ratio",
    "heartbeats_stale_workers",
    "flapping_losses",
    "takeovers_per_day",
}


@pytest.mark.parametrize(
    ("group", "name"),
    [
        (group, field.name)
        for group, kind in (("budgets", Budgets), ("thresholds", Thresholds))
        for field in dataclasses.fields(kind)
    ],
)
def test_limits_are_those_of_the_settings(group: str, name: str) -> None:
    """A panel and the alert about it change together."""
    kind = type(getattr(Settings(), group))
    settings = Settings(**{group: changed(kind, name)})
    differs = rendered(settings) != rendered(Settings())
    assert differs is (name not in OF_ALERTS_ONLY)


def test_chosen_pools_are_all_pools() -> None:
    """Settings for some pools make boards of these, also where all are chosen."""
    text = "".join(rendered(Settings(pools=("blue", "green"))).values())
    assert text.count('"allValue": "blue|green"') == len(Board)


def test_fleet_labels_are_variables() -> None:
    """Those that the settings name, in every query."""
    text = rendered(Settings(fleet_labels=("region",)))["fleet.json"]
    assert 'region=~\\"$region\\"' in text
    assert "$cluster" not in text


# Links and places

LINK = re.compile(r"/d/([\w-]+)\?(.+)")


@every_board
def test_links_lead_to_a_board_and_keep_what_was_chosen(board: Json) -> None:
    """Time and variables come along, and what a link adds is a variable there."""
    by_uid = {each["uid"]: each for each in BOARDS.values()}
    (others,) = board["links"]
    assert (others["type"], others["tags"]) == ("dashboards", ["baton"])
    assert others["includeVars"]
    assert others["keepTime"]
    for url in re.findall(r'"url": "([^"]+)"', str(board).replace("'", '"')):
        found = LINK.fullmatch(url)
        assert found, url
        there = {variable["name"] for variable in by_uid[found[1]]["templating"]["list"]}
        parameters = found[2].split("&")
        assert "${__url_time_range}" in parameters
        assert "${datasource:queryparam}" in parameters
        kept = [p[2:].partition(":")[0] for p in parameters if p.endswith(":queryparam}")]
        set_to = [p[4:].partition("=")[0] for p in parameters if p.startswith("var-")]
        # A variable that is given twice would have both values.
        assert len({*kept, *set_to}) == len(kept) + len(set_to)
        assert {*kept, *set_to} <= there


def test_a_link_keeps_the_variables_that_it_does_not_set() -> None:
    """By the uid of the board, with all that every board shares."""
    link = View(Settings(fleet_labels=("region",))).link_to(Board.FLEET, "Open", pool="x")
    assert link["url"] == (
        "/d/baton-fleet?${datasource:queryparam}&${region:queryparam}&${job:queryparam}"
        "&${instance:queryparam}&var-pool=x&${__url_time_range}"
    )


def test_the_fleets_table_leads_to_the_worker() -> None:
    """A click on a name opens the drill-down of that worker."""
    table = panel_named(BOARDS["Baton / Fleet overview"], "Workers")
    links = [
        change["value"][0]["url"]
        for override in table["fieldConfig"]["overrides"]
        for change in override["properties"]
        if change["id"] == "links"
    ]
    assert [url.partition("?")[0] for url in links] == [f"/d/{Board.WORKER}"]
    assert "var-worker=${__value.raw}" in links[0]


@every_board
def test_panels_have_a_number_and_a_place_of_their_own(board: Json) -> None:
    """None covers another, none sticks out."""
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not taken & cells, panel["title"]
        taken |= cells


def test_the_drill_down_repeats_for_each_worker() -> None:
    """One row of panels for each worker that is chosen, and that is one to begin with."""
    variables = BOARDS["Baton / Worker drill-down"]["templating"]["list"]
    (worker,) = (each for each in variables if each["name"] == "worker")
    assert worker["multi"]
    assert not worker["includeAll"]
    assert "current" not in worker
    rows = [p for p in BOARDS["Baton / Worker drill-down"]["panels"] if p["type"] == "row"]
    assert [row["title"] for row in rows if row.get("repeat") == "worker"] == ["$worker"]


def test_latency_is_shown_as_a_heatmap_and_by_phase() -> None:
    """The two questions about takeovers: how long, and where did the time go?"""
    board = BOARDS["Baton / Leases and takeovers"]
    heat = panel_named(board, "Latency of all takeovers")
    assert heat["type"] == "heatmap"
    assert f"{TAKEOVER_LATENCY.name}_bucket" in heat["targets"][0]["expr"]
    assert "by (phase)" in panel_named(board, "Mean time in each phase")["targets"][0]["expr"]
