"""Catalogue values to the bytes of a scrape."""

from __future__ import annotations

import itertools

import pytest
from prometheus_client import core
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from baton.domain.catalogue import (
    BUILD_INFO,
    EVENTS,
    SOURCE_UP,
    STEP_DURATION,
    TAKEOVER_LATENCY,
    TAKEOVERS,
    WORKER_HEARTBEAT_AGE,
    WORKER_STATE,
    WORKERS,
)
from baton.domain.metric import Metric
from baton.domain.words import SessionState
from baton.observe.exposition import (
    EXEMPLAR_CHARACTERS_MAX,
    Exemplar,
    HistogramPoint,
    Point,
    Snapshot,
    content_type,
    render,
    zeros,
)

OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4"


def parsed(snapshot: Snapshot) -> dict[tuple[str, frozenset[tuple[str, str]]], core.Sample]:
    """What a strict parser of OpenMetrics reads, by name and labels."""
    text = render(snapshot, OPENMETRICS)[0].decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(snapshot: Snapshot, name: str, **labels: str) -> float:
    """One sample's value."""
    return parsed(snapshot)[name, frozenset(labels.items())].value


def latency(*values: float, exemplars: tuple[Exemplar, ...] = ()) -> Snapshot:
    """A snapshot of one takeover histogram."""
    observed = HistogramPoint.of(TAKEOVER_LATENCY, values, exemplars)
    return {TAKEOVER_LATENCY: [Point(("default", "crashed"), observed)]}


def test_a_gauge_a_counter_and_an_info() -> None:
    """Label values land under the label of the same place in the catalogue."""
    snapshot = {
        WORKER_HEARTBEAT_AGE: [Point(("w-1", "default"), 1.25)],
        TAKEOVERS: [Point(("default", "crashed", "resumed"), 2)],
        BUILD_INFO: [Point(("1.2.0", "1.0.0", "3.11", "sqlite"), 1)],
    }
    assert value(snapshot, WORKER_HEARTBEAT_AGE.name, worker="w-1", pool="default") == 1.25
    labels = {"pool": "default", "reason": "crashed", "outcome": "resumed"}
    assert value(snapshot, TAKEOVERS.name, **labels) == 2
    labels = {"version": "1.2.0", "contract": "1.0.0", "python": "3.11", "store": "sqlite"}
    assert value(snapshot, BUILD_INFO.name, **labels) == 1


def test_a_state_set_has_all_its_states() -> None:
    """Each state is a series, and only the one that it is in is 1."""
    snapshot = {WORKER_STATE: [Point(("w-1", "default"), SessionState.BUSY)]}
    states = {
        dict(labels)[WORKER_STATE.name]: s.value for (_, labels), s in parsed(snapshot).items()
    }
    assert states == {state.value: float(state is SessionState.BUSY) for state in SessionState}


def test_a_histogram_cumulates() -> None:
    """A value on a bound belongs to that bound's bucket; the rest is above the last one."""
    snapshot = latency(0.001, 0.0011, 15, 1000)
    labels = {"pool": "default", "reason": "crashed"}
    counts = [
        value(snapshot, f"{TAKEOVER_LATENCY.name}_bucket", le=bound, **labels)
        for bound in TAKEOVER_LATENCY.bounds
    ]
    assert counts[:2] == [1, 2]
    assert counts[TAKEOVER_LATENCY.bounds.index("10.0") :][:2] == [2, 3]
    assert counts[-2:] == [3, 4]
    assert value(snapshot, f"{TAKEOVER_LATENCY.name}_count", **labels) == 4
    assert value(snapshot, f"{TAKEOVER_LATENCY.name}_sum", **labels) == pytest.approx(1015.0021)


def exemplars_of(snapshot: Snapshot) -> list[core.Exemplar]:
    """The exemplars that a strict parser reads."""
    return [sample.exemplar for sample in parsed(snapshot).values() if sample.exemplar]


def test_exemplars_lead_to_the_case_in_point() -> None:
    """They sit on the bucket of their value, with ids, value and time, in OpenMetrics only."""
    ids = {"task_id": "t-1", "run_id": "r-1", "trace_id": "abc", "input": "secret"}
    snapshot = latency(0.3, exemplars=(Exemplar(ids, 0.3, 1700000000.5),))
    (sample,) = (sample for sample in parsed(snapshot).values() if sample.exemplar)
    assert sample.labels["le"] == "0.5"
    assert sample.exemplar
    assert sample.exemplar.labels == {"task_id": "t-1", "run_id": "r-1", "trace_id": "abc"}
    assert sample.exemplar.value == 0.3
    assert float(sample.exemplar.timestamp or 0) == 1700000000.5
    assert b"t-1" not in render(snapshot)[0]


def test_the_newest_exemplar_of_a_bucket_stays() -> None:
    """One exemplar fits a bucket, and the last one given is it."""
    twice = (Exemplar({"run_id": "r-1"}, 0.3), Exemplar({"run_id": "r-2"}, 0.4))
    (exemplar,) = exemplars_of(latency(0.3, 0.4, exemplars=twice))
    assert exemplar.labels == {"run_id": "r-2"}


@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        ({"task_id": "t" * 121}, {"task_id"}),
        ({"task_id": "t" * 122}, set()),
        ({"task_id": "t" * 122, "run_id": "r"}, {"run_id"}),
        ({"task_id": "t" * 60, "run_id": "r" * 60, "trace_id": "a" * 32}, {"task_id", "trace_id"}),
        ({"task_id": "t" * 36, "run_id": "r" * 36, "trace_id": "a" * 32}, None),
        ({"task_id": "", "run_id": "r"}, {"run_id"}),
        ({}, set()),
        ({"input": "secret"}, set()),
    ],
)
def test_long_ids_are_dropped_and_never_cut(ids: dict[str, str], kept: set[str] | None) -> None:
    """An exemplar has 128 characters in all; half an id would name something else."""
    found = exemplars_of(latency(0.3, exemplars=(Exemplar(ids, 0.3),)))
    labels = found[0].labels if found else {}
    assert labels == {name: ids[name] for name in (ids if kept is None else kept)}
    assert sum(len(name) + len(text) for name, text in labels.items()) <= EXEMPLAR_CHARACTERS_MAX


def test_a_metric_without_exemplars_carries_none() -> None:
    """The catalogue decides, not the collector."""
    observed = HistogramPoint.of(STEP_DURATION, [0.3], [Exemplar({"run_id": "r-1"}, 0.3)])
    assert exemplars_of({STEP_DURATION: [Point(("review",), observed)]}) == []


def test_equal_snapshots_are_equal_bytes() -> None:
    """Neither the order of metrics nor that of points shows."""
    points = [Point(("default", state), place) for place, state in enumerate(SessionState)]
    metrics: list[tuple[Metric, list[Point]]] = [
        (WORKERS, points),
        (SOURCE_UP, [Point((), 1)]),
        *latency(1, 2).items(),  # type: ignore[list-item]
    ]
    for accept in ("", OPENMETRICS):
        bodies = {
            render(dict(order), accept)[0]
            for order in itertools.permutations([*metrics[1:], (WORKERS, points[::-1]), metrics[0]])
        }
        assert len(bodies) == 1


def test_label_values_are_escaped() -> None:
    """A worker may be called anything, and the scrape still parses."""
    odd = 'w "1"\\\nüñ'
    snapshot = {WORKER_HEARTBEAT_AGE: [Point((odd, "default"), 1)]}
    assert value(snapshot, WORKER_HEARTBEAT_AGE.name, worker=odd, pool="default") == 1


def test_a_metric_without_points_is_left_out() -> None:
    """A withdrawn state leaves no trace, not even its help."""
    assert render({WORKERS: [], SOURCE_UP: [Point((), 0)]}) == render({SOURCE_UP: [Point((), 0)]})
    assert render({}, OPENMETRICS)[0] == b"# EOF\n"


def test_counts_start_at_zero() -> None:
    """Every known series is there before anything has happened."""
    events = zeros(EVENTS)
    assert [point.value for point in events] == [0.0] * len(EVENTS.known.rows)
    histogram = zeros(TAKEOVER_LATENCY, pool=["default"])
    assert {
        value for value in parsed({TAKEOVER_LATENCY: histogram}).values() if value.value
    } == set()
    assert len(histogram) == len(TAKEOVER_LATENCY.known.rows)


@pytest.mark.parametrize(
    ("metric", "points", "why"),
    [
        (WORKERS, [Point(("default",), 1)], "takes the labels"),
        (SOURCE_UP, [Point(("default",), 1)], "takes the labels"),
        (SOURCE_UP, [Point((), 1), Point((), 0)], "has that series twice"),
        (SOURCE_UP, [Point((), "up")], "is of type gauge and cannot be 'up'"),
        (BUILD_INFO, [Point(("a", "b", "c", "d"), 2)], "is of type info and cannot be 2"),
        (WORKER_STATE, [Point(("w", "p"), "asleep")], "is of type stateset and cannot be 'asleep'"),
        (WORKER_STATE, [Point(("w", "p"), 1)], "is of type stateset and cannot be 1"),
        (TAKEOVER_LATENCY, [Point(("p", "crashed"), 1)], "is of type histogram and cannot be 1"),
        (
            TAKEOVER_LATENCY,
            [Point(("p", "crashed"), HistogramPoint((1, 2), 3.0))],
            "is of type histogram and cannot be",
        ),
    ],
)
def test_a_point_that_does_not_fit_is_an_error(
    metric: Metric, points: list[Point], why: str
) -> None:
    """A mistake of the collector becomes an error that names the metric, never a series."""
    with pytest.raises(ValueError, match=f"metric {metric.name} {why}"):
        render({metric: points})


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "text/plain;version=1.0.0;escaping=allow-utf-8",
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        (
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        (
            "application/openmetrics-text;version=0.0.1,text/plain",
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        ("application/openmetrics-text;version=x", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text;version=2.0\r\n evil",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
    ],
)
def test_the_format_is_the_scrapers_choice(accept: str, kind: str) -> None:
    """Two formats; what the scraper sent is never echoed."""
    assert render({}, accept)[1] == content_type(accept) == kind
