"""The rules of https://github.com/grafana/dashboard-linter, over a board's JSON.

Each function below is one of its seventeen rules, named as there, and yields what offends. The
linter looks at the kinds of panels that it knows; a rule here looks at every panel, so that it also
holds for state timelines, heatmaps and bar gauges. What those three need beyond that the linter
does not ask; ``OWN_RULES`` do. Nothing is excluded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import promql_parser as promql
from tests.support.grafana import Json, interpolated, panels, schema

#: What ``$__rate_interval`` stands for while rules look, so that they recognise it.
RATE_INTERVAL = "4m2s"
_RATE_SECONDS = 242

_LABEL_QUERY = re.compile(r"(label_names|label_values|metrics|query_result)\((.+)\)", re.DOTALL)


def targets(board: Json) -> Iterator[tuple[str, Json]]:
    """Every query with the place where it stands."""
    for panel in panels(board):
        for target in panel.get("targets", ()):
            yield f"{panel['title']} / {target['refId']}", target


def parsed(target: Json) -> promql.Expr:
    """A query's syntax tree, with Grafana's windows filled in and its variables left as they are.

    Raises:
        ValueError: it is no PromQL.
    """
    text = target["expr"].replace("$__rate_interval", RATE_INTERVAL).replace("$__range", "1h")
    return promql.parse(text)


def nodes(tree: promql.Expr) -> Iterator[tuple[promql.Expr, tuple[promql.Expr, ...]]]:
    """Every node of a tree with its parents, the nearest last."""
    todo: list[tuple[promql.Expr, tuple[promql.Expr, ...]]] = [(tree, ())]
    while todo:
        node, parents = todo.pop()
        yield node, parents
        todo += [(child, (*parents, node)) for child in _children(node)]


def _children(node: promql.Expr) -> list[promql.Expr]:
    match node:
        case promql.BinaryExpr():
            return [node.lhs, node.rhs]
        case promql.AggregateExpr():
            return [node.expr, *([node.param] if node.param else [])]
        case promql.Call():
            return list(node.args)
        case promql.MatrixSelector():
            return [node.vector_selector]
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return [node.expr]
        case promql.VectorSelector() | promql.NumberLiteral() | promql.StringLiteral():
            return []
    raise AssertionError(f"unknown node {node!r}")


def selectors(tree: promql.Expr) -> Iterator[promql.VectorSelector]:
    """Every selector of a tree."""
    for node, _ in nodes(tree):
        if isinstance(node, promql.VectorSelector):
            yield node


def _trees(board: Json) -> Iterator[tuple[str, promql.Expr]]:
    for place, target in targets(board):
        try:
            yield place, parsed(target)
        except ValueError:
            continue  # another rule's offence


def _variables(board: Json, kind: str) -> list[Json]:
    return [each for each in board["templating"]["list"] if each["type"] == kind]


def template_datasource(board: Json) -> Iterator[str]:
    """One variable chooses the data source, and is named as everywhere."""
    found = _variables(board, "datasource")
    names = [(each["name"], each["label"], each["query"]) for each in found]
    if names != [("datasource", "Data source", "prometheus")]:
        yield f"data source variables are {names}"


def _template(board: Json, name: str) -> Iterator[str]:
    found = [each for each in board["templating"]["list"] if each["name"] == name]
    if len(found) != 1:
        yield f"{len(found)} variables {name}"
        return
    wanted = {"type": "query", "label": name.title(), "multi": True, "allValue": ".+"}
    for key, value in wanted.items():
        if found[0].get(key) != value:
            yield f"variable {name} has {key} {found[0].get(key)!r}"
    if not _is_chosen(found[0].get("datasource")):
        yield f"variable {name} asks {found[0].get('datasource')}"


def template_job(board: Json) -> Iterator[str]:
    """One can choose the job."""
    yield from _template(board, "job")


def template_instance(board: Json) -> Iterator[str]:
    """One can choose the instance."""
    yield from _template(board, "instance")


def template_label_promql(board: Json) -> Iterator[str]:
    """A variable's query is a function of the data source, over PromQL."""
    for each in _variables(board, "query"):
        found = _LABEL_QUERY.fullmatch(each["query"])
        if not found:
            yield f"variable {each['name']} asks {each['query']}"
            continue
        try:
            promql.parse(found[2].rpartition(",")[0] or found[2])
        except ValueError as error:
            yield f"variable {each['name']}: {error}"


def template_on_time_change_reload(board: Json) -> Iterator[str]:
    """A variable asks again when the time range changes."""
    for each in _variables(board, "query"):
        if each.get("refresh") != 2:
            yield f"variable {each['name']} has refresh {each.get('refresh')}"


def _is_chosen(source: object) -> bool:
    return isinstance(source, dict) and source.get("uid") in ("$datasource", "${datasource}")


def panel_datasource(board: Json) -> Iterator[str]:
    """Every panel and query asks the data source that was chosen."""
    for panel in panels(board):
        for asking in (panel, *panel.get("targets", ())):
            if not _is_chosen(asking.get("datasource")):
                yield f"{panel['title']} asks {asking.get('datasource')}"


def panel_title_description(board: Json) -> Iterator[str]:
    """Every panel says what it is and what it means."""
    for panel in panels(board):
        for key in ("title", "description"):
            if not panel.get(key):
                yield f"panel {panel['id']} has no {key}"


def panel_units(board: Json) -> Iterator[str]:
    """Every panel has a unit that Grafana knows; overrides, and the axis of a heatmap, too."""
    known = schema()["definitions"]["unit"]["enum"]
    for panel in panels(board):
        field = panel["fieldConfig"]
        units = [field["defaults"].get("unit")]
        units += [
            change["value"]
            for override in field["overrides"]
            for change in override["properties"]
            if change["id"] == "unit"
        ]
        if panel["type"] == "heatmap":
            units.append(panel["options"]["yAxis"].get("unit"))
        for unit in units:
            if unit not in known:
                yield f"{panel['title']} has unit {unit!r}"


def panel_no_targets(board: Json) -> Iterator[str]:
    """Every panel asks something."""
    for panel in panels(board):
        if not panel.get("targets"):
            yield f"{panel['title']} asks nothing"


def target_logql(board: Json) -> Iterator[str]:
    """Queries of Loki parse; there are none, so any is an offence."""
    for place, target in targets(board):
        if target.get("datasource", {}).get("type") == "loki":
            yield f"{place} asks Loki"


def target_logql_auto(board: Json) -> Iterator[str]:
    """``$__auto`` is for ranges of LogQL; PromQL has ``$__rate_interval``."""
    for place, target in targets(board):
        if "$__auto" in target["expr"] or "$__interval" in target["expr"]:
            yield f"{place} has a window of another language"


def target_promql(board: Json) -> Iterator[str]:
    """Every query is PromQL, also once its variables are filled in."""
    for place, target in targets(board):
        try:
            parsed(target)
            filled = interpolated(
                board, target["expr"], __rate_interval=RATE_INTERVAL, __range="1h"
            )
            if "$" in filled:
                yield f"{place} has an unknown variable: {filled}"
            promql.parse(filled)
        except ValueError as error:
            yield f"{place}: {error}"


def target_rate_interval(board: Json) -> Iterator[str]:
    """``rate`` and ``irate`` look back as far as Grafana says is enough."""
    for place, tree in _trees(board):
        for node, parents in nodes(tree):
            if not isinstance(node, promql.MatrixSelector):
                continue
            if node.range.total_seconds() == _RATE_SECONDS:
                continue
            if not parents or parents[-1].func.name in ("rate", "irate"):
                yield f"{place} looks back {node.range}"


def _matched(board: Json, label: str) -> Iterator[str]:
    for place, tree in _trees(board):
        for selector in selectors(tree):
            found = [(m.op, m.value) for m in selector.matchers.matchers if m.name == label]
            # The linter looks at the first matcher of a label only.
            if found[:1] != [(promql.MatchOp.Re, f"${label}")]:
                yield f"{place}: {selector.name} is not narrowed by ${label}"


def target_job(board: Json) -> Iterator[str]:
    """Every selector is narrowed by the chosen jobs."""
    yield from _matched(board, "job")


def target_instance(board: Json) -> Iterator[str]:
    """Every selector is narrowed by the chosen instances."""
    yield from _matched(board, "instance")


def target_counter_agg(board: Json) -> Iterator[str]:
    """A counter's value means nothing, only by how much it rose; nor do a histogram's counts."""
    for place, tree in _trees(board):
        for node, parents in nodes(tree):
            if not isinstance(node, promql.VectorSelector) or not node.name.endswith(_COUNTS):
                continue
            call = parents[-2] if len(parents) > 1 else None
            if not isinstance(call, promql.Call) or call.func.name not in _RISING:
                yield f"{place}: {node.name} is shown as it is"


_COUNTS = ("_total", "_bucket", "_count", "_sum")
_RISING = ("rate", "irate", "increase")


def uneditable_dashboard(board: Json) -> Iterator[str]:
    """A board is changed where it is written."""
    if board.get("editable") is not False:
        yield "the board can be edited"


RULES = (
    template_datasource,
    template_job,
    template_instance,
    template_label_promql,
    template_on_time_change_reload,
    panel_datasource,
    panel_title_description,
    panel_units,
    panel_no_targets,
    target_logql,
    target_logql_auto,
    target_promql,
    target_rate_interval,
    target_job,
    target_instance,
    target_counter_agg,
    uneditable_dashboard,
)


def _of_kind(board: Json, kind: str) -> Iterator[Json]:
    return (panel for panel in panels(board) if panel["type"] == kind)


def state_timeline_words(board: Json) -> Iterator[str]:
    """A state timeline has a word and a colour for each number, from its first on without a gap."""
    for panel in _of_kind(board, "state-timeline"):
        defaults = panel["fieldConfig"]["defaults"]
        words = defaults.get("mappings", [{}])[0].get("options", {})
        numbers = sorted(int(number) for number in words)
        if not numbers or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            yield f"{panel['title']} has words for {numbers}"
        for number, word in words.items():
            if not (word.get("text") and word.get("color")):
                yield f"{panel['title']} says {word} for {number}"
        if defaults.get("color") != {"mode": "thresholds"}:
            yield f"{panel['title']} has colours that are not those of its words"


def heatmap_buckets(board: Json) -> Iterator[str]:
    """A heatmap shows one histogram's increases by ``le``; Grafana makes no buckets of its own."""
    for panel in _of_kind(board, "heatmap"):
        if panel["options"].get("calculate") is not False:
            yield f"{panel['title']} calculates buckets"
        if [target.get("format") for target in panel["targets"]] != ["heatmap"]:
            yield f"{panel['title']} does not ask for one heatmap"
        for target in panel["targets"]:
            names = {one.name for one in selectors(parsed(target))}
            if not target["expr"].startswith("sum by (le) (") or not all(
                name.endswith("_bucket") for name in names
            ):
                yield f"{panel['title']} asks {target['expr']}"


def bargauge_values(board: Json) -> Iterator[str]:
    """A bar gauge shows what holds now, each bar under a name and from 0 on."""
    for panel in _of_kind(board, "bargauge"):
        defaults = panel["fieldConfig"]["defaults"]
        if defaults.get("min") != 0:
            yield f"{panel['title']} begins at {defaults.get('min')}"
        if defaults.get("thresholds", {}).get("steps", [{}])[0].get("value", 0) is not None:
            yield f"{panel['title']} has no colour to begin with"
        if panel["options"].get("reduceOptions", {}).get("calcs") != ["lastNotNull"]:
            yield f"{panel['title']} shows something else than its last value"
        for target in panel["targets"]:
            if not target["instant"] or not target.get("legendFormat"):
                yield f"{panel['title']} / {target['refId']} has a past, or no name"


OWN_RULES = (state_timeline_words, heatmap_buckets, bargauge_values)
OWN_KINDS = ("bargauge", "heatmap", "state-timeline")
