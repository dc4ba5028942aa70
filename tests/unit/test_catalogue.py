"""The catalogue: its conventions hold, and a metric that breaks one cannot be written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from baton.domain import catalogue
from baton.domain.catalogue import CATALOGUE, LEASE_TRANSITIONS
from baton.domain.metric import Known, Metric, MetricType, Source, every
from baton.domain.words import (
    EventType,
    LeaseState,
    TakeoverOutcome,
    TakeoverPhase,
    TakeoverReason,
)

PACKAGE = Path(catalogue.__file__).parents[1]

in_catalogue = pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)


def test_every_constant_is_listed_once() -> None:
    """The tuple and the module's constants are the same metrics, under distinct names."""
    constants = [value for value in vars(catalogue).values() if isinstance(value, Metric)]
    assert list(CATALOGUE) == constants
    assert len({metric.name for metric in CATALOGUE}) == len(CATALOGUE) > 0
    assert all(catalogue.by_name(metric.name) is metric for metric in CATALOGUE)


def test_an_unknown_name_is_an_error() -> None:
    """A lookup never invents a metric."""
    with pytest.raises(KeyError):
        catalogue.by_name("langgraph_nothing")


@in_catalogue
def test_names_follow_the_conventions(metric: Metric) -> None:
    """The prefix names what is observed; seconds and points in time end as Prometheus asks."""
    assert metric.name.startswith("langgraph_")
    assert metric.unit == ("seconds" if metric.name.endswith("_seconds") else "")
    if "timestamp" in metric.name:
        assert metric.name.endswith("_timestamp_seconds")
        assert metric.type is MetricType.GAUGE


@in_catalogue
def test_no_label_is_an_id(metric: Metric) -> None:
    """Nothing that grows with the work done is a label."""
    forbidden = {"task", "run", "step", "thread", "session", "trace", "epoch"}
    assert not forbidden & set(metric.labels)
    assert not [label for label in metric.labels if label.endswith("_id")]


@in_catalogue
def test_texts_are_single_sentences(metric: Metric) -> None:
    """Help, blind spot and diagnostic reason are sentences, and help is never left out."""
    for text in filter(None, (metric.help, metric.blind_spot, metric.diagnostic)):
        assert re.fullmatch(r"[A-Z].*\.", text), text
    assert metric.help
    assert ". " not in metric.help


@in_catalogue
def test_a_worker_repeats_no_label_of_its_target(metric: Metric) -> None:
    """Service discovery attaches worker and pool; a second one would become exported_pool."""
    if metric.source is Source.WORKER:
        assert not {"worker", "pool"} & set(metric.labels)


def test_the_two_sources_share_nothing_and_leave_nothing_out() -> None:
    """Each metric is served by exactly one side."""
    served = [catalogue.served_by(source) for source in Source]
    assert sorted(metric.name for side in served for metric in side) == sorted(
        metric.name for metric in CATALOGUE
    )
    assert all(served)


def test_sample_names_never_clash() -> None:
    """No metric's name is another's sample: OpenMetrics would refuse the scrape."""
    suffixes = ("", "_total", "_created", "_bucket", "_count", "_sum", "_info")
    families = [re.sub("_(total|info)$", "", metric.name) for metric in CATALOGUE]
    taken = {family + suffix for family in families for suffix in suffixes if suffix}
    assert not taken & set(families)


def test_known_label_values_are_the_words_of_the_house() -> None:
    """The values that exist from the start are those that the ledger will use."""
    takeovers = catalogue.TAKEOVERS.known
    assert takeovers.values("reason") == tuple(TakeoverReason)
    assert takeovers.values("outcome") == tuple(TakeoverOutcome)
    assert len(takeovers.rows) == len(TakeoverReason) * len(TakeoverOutcome)
    assert catalogue.TAKEOVER_PHASE.known.values("phase") == tuple(TakeoverPhase)
    assert catalogue.EVENTS.known.values("type") == tuple(EventType)


def test_lease_transitions_are_a_walk() -> None:
    """Every state that a lease can get into it can leave, and no transition is listed twice."""
    words = {*LeaseState} - {LeaseState.WARNING}
    assert {before for before, _, _ in LEASE_TRANSITIONS} == words
    assert {after for _, after, _ in LEASE_TRANSITIONS} == words
    assert len(set(LEASE_TRANSITIONS)) == len(LEASE_TRANSITIONS)


def test_each_takeover_reason_is_a_way_to_a_lease() -> None:
    """Whatever the reason, the new lease begins with that reason."""
    begun = {reason for _, after, reason in LEASE_TRANSITIONS if after is LeaseState.ACTIVE}
    assert begun == {*TakeoverReason, EventType.CLAIMED}


@pytest.mark.parametrize("metric", [catalogue.TAKEOVER_LATENCY, catalogue.TAKEOVER_PHASE])
def test_takeover_buckets_resolve_crashes_and_silence(metric: Metric) -> None:
    """From 1 ms to 10 minutes, several buckets below 10 ms and a bound at the default TTL."""
    assert (metric.buckets[0], metric.buckets[-1]) == (0.001, 600)
    assert len([bound for bound in metric.buckets if bound <= 0.01]) >= 4
    assert 15 in metric.buckets
    assert metric.exemplars


def test_label_sets_are_every_known_series() -> None:
    """The caller gives what the catalogue cannot know, in any order; the result is in its own."""
    assert catalogue.TASKS.label_sets(graph=["g"], pool=["a", "b"])[:2] == [
        ("a", "g", "pending"),
        ("a", "g", "active"),
    ]
    assert catalogue.SOURCE_UP.label_sets() == [()]
    sets = catalogue.LEASE_TRANSITIONS_TOTAL.label_sets(pool=["a"])
    assert sets == [("a", *row) for row in LEASE_TRANSITIONS]


@pytest.mark.parametrize("given", [{}, {"pool": ["a"], "colour": ["red"]}, {"reason": ["x"]}])
def test_label_sets_refuse_other_labels(given: Mapping[str, Any]) -> None:
    """A label too many or too few is a mistake of the caller."""
    with pytest.raises(ValueError, match="langgraph_takeovers_total: unknown or missing labels"):
        catalogue.TAKEOVERS.label_sets(**given)


def test_samples_and_labels_as_a_query_sees_them() -> None:
    """What dashboards and rules may ask for."""
    latency = catalogue.TAKEOVER_LATENCY
    assert latency.sample_names[0] == f"{latency.name}_bucket"
    assert (latency.bounds[0], latency.bounds[-2:]) == ("0.001", ("600.0", "+Inf"))
    state = catalogue.WORKER_STATE
    assert state.series_labels == ("worker", "pool", state.name)
    assert state.sample_names == (state.name,)
    assert state.bounds == ()


GAUGE = MetricType.GAUGE
BROKEN: list[tuple[str, dict[str, Any]]] = [
    ("lower case words", {"name": "langgraph_Tasks"}),
    ("lower case words", {"name": "langgraph__tasks"}),
    ("_total ends counters", {"name": "x_total"}),
    ("_total ends counters", {"name": "x", "type": MetricType.COUNTER}),
    ("_info ends infos", {"name": "x_info"}),
    ("the unit seconds comes last", {"name": "x_seconds_max", "unit": "seconds"}),
    ("labels are distinct", {"labels": ("pool", "pool")}),
    ("labels are distinct", {"labels": ("Pool",)}),
    ("an id is never a label", {"labels": ("task",)}),
    ("an id is never a label", {"labels": ("pool", "worker_id")}),
    ("values are known for labels", {"known": every(reason=["a"])}),
    ("histograms have buckets", {"type": MetricType.HISTOGRAM}),
    ("histograms have buckets", {"buckets": (1.0,)}),
    ("buckets rise", {"type": MetricType.HISTOGRAM, "buckets": (2.0, 1.0)}),
    ("buckets rise", {"type": MetricType.HISTOGRAM, "buckets": (1.0, 1.0)}),
    ("state sets have states", {"type": MetricType.STATESET}),
    ("state sets have states", {"states": ("on",)}),
    ("exemplars sit on", {"exemplars": True}),
]


@pytest.mark.parametrize(("why", "fields"), BROKEN)
def test_a_broken_metric_cannot_be_written(why: str, fields: dict[str, Any]) -> None:
    """A rule that cannot fail holds nothing."""
    whole = {"name": "x", "type": GAUGE, "group": "self", "help": "A value.", **fields}
    with pytest.raises(ValueError, match=f"metric {whole['name']}: .*{why}"):
        Metric(**whole)


def test_known_combinations() -> None:
    """All combinations, in the order in which the values were given."""
    known = every(a=["1", "2"], b=["3", "4"])
    assert known == Known(("a", "b"), (("1", "3"), ("1", "4"), ("2", "3"), ("2", "4")))
    assert known.values("b") == ("3", "4")


def test_no_metric_name_is_typed_twice() -> None:
    """Only the catalogue spells a name: everything else derives from its constants."""
    name = re.compile(rf"\b(?:{'|'.join(metric.name for metric in CATALOGUE)})\b")
    typed = {
        f"{file.relative_to(PACKAGE)}: {found}"
        for file in PACKAGE.rglob("*.py")
        for found in name.findall(file.read_text())
        if file != Path(catalogue.__file__)
    }
    assert typed == set()
    assert len(name.findall(Path(catalogue.__file__).read_text())) == len(CATALOGUE)
