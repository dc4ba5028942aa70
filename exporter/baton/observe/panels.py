"""Boards and panels as Grafana 11 and later read them; the only module that imports grafanalib.

grafanalib's last release predates today's schema: what it writes of gauges, heatmaps and tables is
of Grafana 6, its targets know no exemplars, and everything carries fields that are gone. So its
classes are used for what still holds (a dashboard of rows, panels, targets and variables), and here
each is cut down to the fields that today's schema has, and given those that it lacks. The schema
is that of https://github.com/grafana/grafana/tree/main/packages/grafana-schema, version 39, which
Grafana 11 writes and later ones read.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grafanalib import _gen, core

from baton.domain.catalogue import CATALOGUE
from baton.observe.promql import Expr

SCHEMA_VERSION = 39

#: The variable that holds the data source.
DATASOURCE = "datasource"
_SOURCE = {"type": "prometheus", "uid": f"${{{DATASOURCE}}}"}

#: The boards' tag; their links find each other by it.
TAG = "baton"

#: The width of a board in Grafana's grid.
_COLUMNS = 24

Json = dict[str, Any]
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel.

    Attributes:
        expr: what is asked.
        legend: the name of its series, with labels in double braces.
        limit: whether it draws a limit that the panel's other series are compared with.
    """

    expr: Expr
    legend: str = ""
    limit: bool = False

    def __post_init__(self) -> None:
        """Refuse a legend that names a label which its series do not have."""
        _check_labels(self.expr, self.legend)


_NAMED = re.compile(r"\{\{(\w+)\}\}")


def _check_labels(expr: Expr, text: str) -> None:
    if odd := sorted(set(_NAMED.findall(text)) - expr.labels):
        raise ValueError(f"{text!r} names {', '.join(odd)}, which {expr.text} does not have")


# The classes of grafanalib, cut down to today's schema


def _kept(data: Mapping[str, Any], names: Iterable[str]) -> Json:
    """The fields that today's schema has, where they say something."""
    return {name: data[name] for name in names if data.get(name) not in (None, [], "")}


class _Target(core.Target):  # type: ignore[misc] # grafanalib ships no types
    """A query, with exemplars wherever a metric of it has them."""

    def to_json_data(self) -> Json:
        kept = _kept(super().to_json_data(), ("expr", "format", "legendFormat", "refId"))
        return {
            **kept,
            "datasource": _SOURCE,
            "editorMode": "code",
            "exemplar": not self.instant and _has_exemplars(self.expr),
            "instant": self.instant,
            "range": not self.instant,
        }


def _has_exemplars(expr: str) -> bool:
    return any(f"{metric.name}_bucket" in expr for metric in CATALOGUE if metric.exemplars)


class _Panel(core.Panel):  # type: ignore[misc] # grafanalib ships no types
    """A panel; what its kind adds to the fields that all kinds share is in ``extraJson``."""

    FIELDS = (
        *("datasource", "description", "fieldConfig", "gridPos", "id", "options"),
        *("targets", "title", "transformations", "type"),
    )

    def to_json_data(self) -> Json:
        return _kept(self.panel_json({}), self.FIELDS)


class _Row(core.RowPanel):  # type: ignore[misc] # grafanalib ships no types
    """A heading; the panels under it follow it in the board's list."""

    def to_json_data(self) -> Json:
        kept = _kept(super().to_json_data(), ("gridPos", "id", "repeat", "title", "type"))
        return {**kept, "collapsed": False, "panels": []}


class _Variable(core.Template):  # type: ignore[misc] # grafanalib ships no types
    """A variable. One that asks Prometheus asks again when the time range changes."""

    FIELDS = ("allValue", "hide", "includeAll", "label", "multi", "name", "query", "sort", "type")

    def to_json_data(self) -> Json:
        kept = _kept(super().to_json_data(), self.FIELDS)
        if self.type != "query":
            return {**kept, "options": []}
        asking = {**kept, "datasource": _SOURCE, "options": [], "refresh": 2}
        everything = {"selected": True, "text": ["All"], "value": ["$__all"]}
        return {**asking, "current": everything} if self.includeAll else asking


class _Link(core.DashboardLink):  # type: ignore[misc] # grafanalib ships no types
    """A link to the other boards, which takes time and variables along."""

    FIELDS = (
        *("asDropdown", "icon", "includeVars", "keepTime", "tags", "targetBlank", "title"),
        *("tooltip", "type", "url"),
    )

    def to_json_data(self) -> Json:
        return {"tooltip": "", "url": "", **_kept(super().to_json_data(), self.FIELDS)}


class _Dashboard(core.Dashboard):  # type: ignore[misc] # grafanalib ships no types
    """A board."""

    FIELDS = (
        *("annotations", "description", "editable", "graphTooltip", "links", "panels", "refresh"),
        *("schemaVersion", "tags", "templating", "time", "timezone", "title", "uid"),
    )

    def to_json_data(self) -> Json:
        return _kept(super().to_json_data(), self.FIELDS)


def targets(
    queries: Sequence[Query], *, instant: bool = False, form: str = "time_series"
) -> list[Any]:
    """Queries as a panel holds them, named A, B and so on.

    Args:
        queries: what is asked.
        instant: for one moment, or over the board's time.
        form: ``time_series``, ``table`` or ``heatmap``.
    """
    return [
        _Target(
            expr=query.expr.text,
            legendFormat=query.legend or "__auto",
            refId=letter,
            instant=instant,
            format=form,
        )
        for letter, query in zip(string.ascii_uppercase, queries, strict=False)
    ]


def panel(
    kind: str,
    about: tuple[str, str, Size],
    targets: Sequence[Any],
    *,
    steps: Sequence[Json],
    field: Json,
    options: Json,
    overrides: Sequence[Json] = (),
    transformations: Sequence[Json] = (),
) -> Any:
    """A panel of any kind; what the kind does not need is left out.

    Args:
        kind: as Grafana names it.
        about: its title, its description and its size.
        targets: from ``targets``.
        steps: of its thresholds.
        field: defaults of its fields, such as their unit.
        options: of the kind.
        overrides: for some of the fields.
        transformations: of the data, in order.
    """
    title, why, (width, height) = about
    return _Panel(
        title=title,
        description=why,
        dataSource=_SOURCE,
        gridPos=core.GridPos(h=height, w=width, x=0, y=0),
        targets=list(targets),
        thresholds=list(steps),
        extraJson={
            "type": kind,
            "options": options,
            "fieldConfig": {"defaults": _kept(field, field), "overrides": list(overrides)},
        },
        transformations=list(transformations),
    )


# Boards


@dataclass(frozen=True, slots=True)
class Row:
    """A heading and the panels under it.

    Attributes:
        title: the heading.
        panels: from left to right, and on from the left where a line is full.
        repeat: the variable for each of whose values the row is shown.
    """

    title: str
    panels: tuple[Any, ...]
    repeat: str = ""


def row(title: str, *panels: Any, repeat: str = "") -> Row:
    """A heading and the panels under it; see ``Row``."""
    return Row(title, panels, repeat)


def link(title: str, url: str) -> Json:
    """What a click opens.

    Args:
        title: what the reader is offered.
        url: with Grafana's variables in it.
    """
    return {"targetBlank": False, "title": title, "url": url}


def source_variable() -> Any:
    """The variable that chooses the Prometheus."""
    return _Variable(name=DATASOURCE, label="Data source", type="datasource", query="prometheus")


def variable(name: str, query: str, *, label: str = "", every: str = ".+") -> Any:
    """A variable of the values that a label has.

    Args:
        name: as queries name it.
        query: what gives its values.
        label: as the reader sees it; the name by default.
        every: the regular expression that stands for all values, which are chosen to begin with;
            if it is empty the first value is, and all of them only one by one.
    """
    return _Variable(
        name=name,
        label=label or name.title(),
        query=query,
        dataSource=_SOURCE,
        allValue=every,
        includeAll=bool(every),
        multi=True,
    )


def annotation(name: str, expr: Expr, text: str, colour: str, *, shown: bool = True) -> Json:
    """A mark on every panel, wherever a query has a value above 0.

    Args:
        name: of the switch above the board.
        expr: what is asked.
        text: with labels in double braces.
        colour: of the mark.
        shown: whether the switch is on to begin with.

    Raises:
        ValueError: the text names a label that the query's series do not have.
    """
    _check_labels(expr, text)
    return {
        "datasource": _SOURCE,
        "enable": shown,
        "hide": False,
        "iconColor": colour,
        "name": name,
        "target": {"expr": expr.text, "refId": "Anno"},
        "titleFormat": name,
        "textFormat": text,
    }


def dashboard(
    uid: str,
    title: str,
    why: str,
    rows: Sequence[Row],
    *,
    variables: Sequence[Any],
    annotations: Sequence[Json],
) -> Any:
    """A board.

    Args:
        uid: fixed, so that links survive.
        title: of the board.
        why: the question that it answers.
        rows: from top to bottom.
        variables: in the order in which they are shown.
        annotations: marks on every panel.
    """
    others = _Link(
        title="Baton",
        type="dashboards",
        tags=[TAG],
        asDropdown=True,
        includeVars=True,
        keepTime=True,
        targetBlank=False,
        icon="dashboard",
    )
    return _Dashboard(
        uid=uid,
        title=title,
        description=why,
        editable=False,
        schemaVersion=SCHEMA_VERSION,
        tags=[TAG, "langgraph"],
        graphTooltip=core.GRAPH_TOOLTIP_MODE_SHARED_CROSSHAIR,
        refresh="30s",
        time=core.Time("now-1h", "now"),
        timezone="browser",
        links=[others],
        panels=_placed(rows),
        templating=core.Templating(list=list(variables)),
        annotations=core.Annotations(list=list(annotations)),
    )


def _placed(rows: Sequence[Row]) -> list[Any]:
    """Every row and panel with its number and its place."""
    placed: list[Any] = []
    y = 0
    for each in rows:
        heading = _Row(
            title=each.title,
            id=len(placed) + 1,
            gridPos=core.GridPos(h=1, w=_COLUMNS, x=0, y=y),
            repeat=core.Repeat(variable=each.repeat or None),
        )
        placed.append(heading)
        x, y, tallest = 0, y + 1, 0
        for panel in each.panels:
            size = panel.gridPos
            if x + size.w > _COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            panel.id = len(placed) + 1
            panel.gridPos = core.GridPos(h=size.h, w=size.w, x=x, y=y)
            placed.append(panel)
            x, tallest = x + size.w, max(tallest, size.h)
        y += tallest
    return placed


def as_json(board: Any) -> str:
    """The board as grafanalib writes it, the same text for the same board.

    Args:
        board: from ``dashboard``.
    """
    return json.dumps(board, sort_keys=True, indent=2, cls=_gen.DashboardEncoder) + "\n"
