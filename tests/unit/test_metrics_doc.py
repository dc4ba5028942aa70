"""docs/metrics.md is the catalogue."""

from __future__ import annotations

from pathlib import Path

from baton.domain.catalogue import CATALOGUE, TAKEOVER_LATENCY, WORKER_STATE
from baton.observe.metrics_doc import render_metrics_doc

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def rows() -> dict[str, list[str]]:
    """The cells of each table row, by the metric in its first cell."""
    lines = [line for line in render_metrics_doc().splitlines() if line.startswith("| `")]
    cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {name.strip("`"): rest for name, *rest in cells}


def test_the_page_is_not_behind() -> None:
    """After a change of the catalogue, render the page again."""
    assert PAGE.read_text() == render_metrics_doc(), "run `make docs`"


def test_every_metric_has_its_row() -> None:
    """In the catalogue's order, with everything that the catalogue says of it."""
    found = rows()
    assert list(found) == [metric.name for metric in CATALOGUE]
    for metric in CATALOGUE:
        kind, labels, source, stability, meaning, blind = found[metric.name]
        assert kind.startswith(metric.type)
        assert all(f"`{label}`" in labels for label in metric.series_labels)
        assert source.strip("*") == metric.source
        assert stability == metric.stability
        assert meaning == metric.help
        assert metric.blind_spot in blind
        assert bool(metric.diagnostic) == ("No alert needs it" in blind)


def test_values_and_exemplars_are_told() -> None:
    """A reader learns the values of a label and where exemplars are."""
    kind, labels, *_ = rows()[TAKEOVER_LATENCY.name]
    assert kind == "histogram with exemplars"
    assert "`reason`: crashed, heartbeat_lost" in labels
    assert "starting, idle, busy" in rows()[WORKER_STATE.name][1]
