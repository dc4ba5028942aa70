"""The kinds of panels that the boards use, and their colours.

Each kind is a function that writes the options of today's schema
(https://github.com/grafana/grafana/tree/main/packages/grafana-schema/src/raw/composable); what all
panels share is in ``panels.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from baton.observe.panels import Json, Query, Size, panel, targets
from baton.observe.promql import Expr

GREEN, YELLOW, ORANGE, RED = "green", "yellow", "orange", "red"
BLUE, PURPLE, GRAY = "blue", "purple", "#808080"

#: The unit of what is counted: ``increase`` estimates it in fractions, and people want it whole.
WHOLE = "whole"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One query of a table, for one value a row.

    Attributes:
        expr: what is asked.
        heading: the heading of its value; empty for a query that is asked for its labels.
        unit: of the value.
        steps: where its cell changes colour.
    """

    expr: Expr
    heading: str = ""
    unit: str = "short"
    steps: Sequence[Json] = ()


def above(*limits: float) -> list[Json]:
    """Green, and from the last of one or two limits on red; orange in between."""
    colours = [ORANGE, RED][-len(limits) :]
    return _steps(GREEN, zip(colours, limits, strict=True))


def below(*limits: float) -> list[Json]:
    """Red below the first of one or two limits, green from the last one on."""
    colours = [ORANGE, GREEN][-len(limits) :]
    return _steps(RED, zip(colours, limits, strict=True))


def plain(colour: str = BLUE) -> list[Json]:
    """One colour: no value is better than another."""
    return _steps(colour, ())


def _steps(base: str, rest: Iterable[tuple[str, float]]) -> list[Json]:
    return [
        {"color": base, "value": None},
        *({"color": colour, "value": limit} for colour, limit in rest),
    ]


def words(said: Mapping[Any, tuple[str, str]]) -> list[Json]:
    """Words instead of numbers.

    Args:
        said: by value, the word and its colour.
    """
    options = {
        str(value): {"text": text, "color": colour, "index": index}
        for index, (value, (text, colour)) in enumerate(said.items())
    }
    return [{"type": "value", "options": options}]


def _unit(unit: str) -> Json:
    return {"unit": "short", "decimals": 0} if unit == WHOLE else {"unit": unit}


def stat(
    title: str,
    why: str,
    *queries: Query,
    unit: str = "short",
    steps: Sequence[Json] = (),
    mappings: Sequence[Json] = (),
    empty: str = "",
    links: Sequence[Json] = (),
    size: Size = (4, 4),
) -> Any:
    """One number, or one for each series, as it is now.

    Args:
        title: of the panel.
        why: what it means, and what to do about it.
        queries: asked for one moment.
        unit: a unit of Grafana's, or ``WHOLE``.
        steps: where the colour changes.
        mappings: words for values.
        empty: what is shown where there is no series; nothing is then not an error.
        links: what a click on the number opens; from ``link``.
        size: width in columns of 24, and height in rows of about 30 pixels.
    """
    options = {
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": _LAST,
        "textMode": "auto",
        "wideLayout": True,
    }
    field = {
        **_unit(unit),
        "mappings": list(mappings),
        "noValue": empty,
        "links": list(links),
    }
    return panel(
        "stat",
        (title, why, size),
        targets(queries, instant=True),
        steps=steps or plain(),
        field=field,
        options=options,
    )


def lines(
    title: str,
    why: str,
    *queries: Query,
    unit: str,
    steps: Sequence[Json] = (),
    stacked: bool = False,
    bars: bool = False,
    size: Size = (8, 8),
) -> Any:
    """Values over time; limits are dashed, from ``steps`` or from queries that are limits.

    Args:
        title: of the panel.
        why: what it means, and what to do about it.
        queries: asked over the board's time.
        unit: a unit of Grafana's, or ``WHOLE``.
        steps: where the limits lie.
        stacked: whether the series add up to something.
        bars: whether values count what happened in an interval.
        size: width in columns of 24, and height in rows of about 30 pixels.
    """
    custom = {
        "drawStyle": "bars" if bars else "line",
        "fillOpacity": 60 if bars or stacked else 8,
        "lineWidth": 1,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
        "thresholdsStyle": {"mode": "dashed" if steps else "off"},
    }
    field = {
        **_unit(unit),
        "min": 0,
        "color": {"mode": "palette-classic"},
        "custom": custom,
    }
    options = {
        "legend": {
            "calcs": ["lastNotNull", "max"],
            "displayMode": "table",
            "placement": "bottom",
            "showLegend": True,
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    asked = targets(queries)
    dashed = [
        _override("byFrameRefID", target.refId, _LIMIT)
        for target, query in zip(asked, queries, strict=True)
        if query.limit
    ]
    return panel(
        "timeseries",
        (title, why, size),
        asked,
        steps=steps or plain(GREEN),
        field=field,
        options=options,
        overrides=dashed,
    )


def heatmap(title: str, why: str, query: Query, unit: str, size: Size = (12, 9)) -> Any:
    """How often each bucket of a histogram was hit, over time.

    Args:
        title: of the panel.
        why: what it means, and what to do about it.
        query: increases of buckets, by ``le``.
        unit: of the buckets' bounds.
        size: width in columns of 24, and height in rows of about 30 pixels.
    """
    options = {
        "calculate": False,
        "cellGap": 1,
        "cellValues": {"unit": "short"},
        "color": {
            "exponent": 0.5,
            "fill": "dark-orange",
            "mode": "scheme",
            "reverse": False,
            "scale": "exponential",
            "scheme": "Oranges",
            "steps": 64,
        },
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": False},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit},
    }
    return panel(
        "heatmap",
        (title, why, size),
        targets([query], form="heatmap"),
        steps=plain(),
        field={"unit": unit, "custom": {"scaleDistribution": {"type": "linear"}}},
        options=options,
    )


def gauges(
    title: str,
    why: str,
    *queries: Query,
    unit: str,
    steps: Sequence[Json] = (),
    size: Size = (12, 9),
) -> Any:
    """One bar for each series, as it is now; arguments as of ``lines``."""
    options = {
        "displayMode": "basic",
        "minVizHeight": 16,
        "minVizWidth": 8,
        "namePlacement": "auto",
        "orientation": "horizontal",
        "reduceOptions": _LAST,
        "showUnfilled": True,
        "sizing": "auto",
        "valueMode": "color",
    }
    return panel(
        "bargauge",
        (title, why, size),
        targets(queries, instant=True),
        steps=steps or plain(),
        field={"unit": unit, "min": 0},
        options=options,
    )


def timeline(
    title: str, why: str, query: Query, mappings: Sequence[Json], size: Size = (24, 8)
) -> Any:
    """Which state each series was in, over time.

    Args:
        title: of the panel.
        why: what it means, and what to do about it.
        query: states as numbers.
        mappings: their words.
        size: width in columns of 24, and height in rows of about 30 pixels.
    """
    options = {
        "alignValue": "left",
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
        "mergeValues": True,
        "perPage": 20,
        "rowHeight": 0.9,
        "showValue": "auto",
        "tooltip": {"mode": "single", "sort": "none"},
    }
    field = {
        "unit": "short",
        "color": {"mode": "thresholds"},
        "custom": {"fillOpacity": 80, "lineWidth": 0},
        "mappings": list(mappings),
    }
    return panel(
        "state-timeline",
        (title, why, size),
        targets([query]),
        steps=plain(GRAY),
        field=field,
        options=options,
    )


def table(
    title: str,
    why: str,
    *columns: Column,
    labels: Mapping[str, str],
    colours: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    links: Mapping[str, Json] = MappingProxyType({}),
    size: Size = (24, 8),
) -> Any:
    """One row for each combination of the labels, with a value from each query.

    Args:
        title: of the panel.
        why: what it means, and what to do about it.
        columns: asked for one moment.
        labels: the heading of each label that is shown.
        colours: by label, the colour of each of its values.
        links: by label, what a click on its cell opens; from ``link``.
        size: width in columns of 24, and height in rows of about 30 pixels.

    Raises:
        ValueError: no query has one of the labels.
    """
    found = frozenset().union(*(column.expr.labels for column in columns))
    if odd := sorted(labels.keys() - found):
        raise ValueError(f"table {title!r} has no label {', '.join(odd)}")
    asked = targets([Query(column.expr) for column in columns], instant=True, form="table")
    alone = len(columns) == 1
    values = ["Value" if alone else f"Value #{target.refId}" for target in asked]
    headings = dict(labels) | {
        value: column.heading for value, column in zip(values, columns, strict=True)
    }
    shown = {name: heading for name, heading in headings.items() if heading}
    organize = {
        "excludeByName": {"Time": True} | {name: True for name in headings if name not in shown},
        "indexByName": {name: place for place, name in enumerate(shown)},
        "renameByName": shown,
    }
    overrides = [_cells(column) for column in columns if column.heading]
    for label, looks in colours.items():
        said = {value: (value, colour) for value, colour in looks.items()}
        overrides.append(_override("byName", labels[label], _coloured(words(said))))
    for label, opened in links.items():
        opens = [{"id": "links", "value": [opened]}]
        overrides.append(_override("byName", labels[label], opens))
    return panel(
        "table",
        (title, why, size),
        asked,
        steps=plain(),
        field={"unit": "short", "custom": {"align": "auto"}},
        options={"cellHeight": "sm", "showHeader": True},
        overrides=overrides,
        transformations=[
            {"id": "merge", "options": {}},
            {"id": "organize", "options": organize},
        ],
    )


def _cells(column: Column) -> Json:
    properties: list[Json] = [{"id": "unit", "value": column.unit}]
    if column.steps:
        steps = {"mode": "absolute", "steps": list(column.steps)}
        properties += [_BACKGROUND, {"id": "thresholds", "value": steps}]
    return _override("byName", column.heading, properties)


def _coloured(mappings: list[Json]) -> list[Json]:
    return [_BACKGROUND, {"id": "mappings", "value": mappings}]


_BACKGROUND = {
    "id": "custom.cellOptions",
    "value": {"type": "color-background", "mode": "basic"},
}


_LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}

#: How a limit that is a query of its own is drawn.
_LIMIT: list[Json] = [
    {"id": "custom.lineStyle", "value": {"dash": [10, 10], "fill": "dash"}},
    {"id": "custom.fillOpacity", "value": 0},
    {"id": "color", "value": {"fixedColor": RED, "mode": "fixed"}},
]


def _override(matcher: str, wanted: str, properties: Sequence[Json]) -> Json:
    return {"matcher": {"id": matcher, "options": wanted}, "properties": list(properties)}
