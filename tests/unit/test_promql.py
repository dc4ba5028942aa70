"""Expressions name only what exists, and come out as PromQL that means what was written."""

from __future__ import annotations

from collections.abc import Callable

import promql_parser
import pytest

from baton.domain import catalogue as c
from baton.observe import promql as q
from baton.observe.promql import Expr, Not, Regex, Scope

ALL = Scope()
BOARD = Scope(job=Regex("$job"), pool=Regex("$pool"))


def parsed(expr: Expr) -> str:
    """An expression as a parser of PromQL writes it."""
    return str(promql_parser.parse(expr.text).prettify()).replace("\n", " ")


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (ALL.series(c.SOURCE_UP), "langgraph_source_up"),
        (ALL.series(c.WORKERS, state="lost"), 'langgraph_workers{state="lost"}'),
        (
            ALL.series(c.WORKERS, state=("idle", "busy"), pool=Not("x")),
            'langgraph_workers{pool!="x", state=~"idle|busy"}',
        ),
        (
            ALL.series(c.LEASE_TRANSITIONS_TOTAL, "", **{"from": "active"}),
            'langgraph_lease_transitions_total{from="active"}',
        ),
        (BOARD.series(c.SOURCE_UP), 'langgraph_source_up{job=~"$job"}'),
        (BOARD.series(c.WORKERS), 'langgraph_workers{job=~"$job", pool=~"$pool"}'),
        (
            ALL.state(c.WORKER_STATE, "lost"),
            'langgraph_worker_state{langgraph_worker_state="lost"}',
        ),
        (ALL.series(c.WORKERS, pool='a"b\\'), 'langgraph_workers{pool="a\\"b\\\\"}'),
        (ALL.rate(c.STEPS, "5m"), "rate(langgraph_steps_total[5m])"),
        (
            ALL.increase(c.TAKEOVER_LATENCY, "1h", "_bucket", le="1.0"),
            'increase(langgraph_takeover_latency_seconds_bucket{le="1.0"}[1h])',
        ),
        (
            ALL.quantile(0.5, c.TAKEOVER_LATENCY, "5m", ("pool",)),
            (
                "histogram_quantile(0.5, sum by (le, pool) "
                "(rate(langgraph_takeover_latency_seconds_bucket[5m])))"
            ),
        ),
        (q.total(ALL.series(c.WORKERS), ("pool",)), "sum by (pool) (langgraph_workers)"),
        (q.age(ALL.series(c.LEASE_TTL)), "time() - langgraph_lease_ttl_seconds"),
        (
            q.age_at_scrape(ALL.series(c.LEASE_TTL)) > 1,
            "timestamp(langgraph_lease_ttl_seconds) - langgraph_lease_ttl_seconds > 1",
        ),
        (q.absent(ALL.series(c.SOURCE_UP)), "absent(langgraph_source_up)"),
        (q.over("max_over_time", q.now() - 1, "5m", "15s"), "max_over_time((time() - 1)[5m:15s])"),
    ],
)
def test_it_is_written_like_this(expr: Expr, text: str) -> None:
    """Matchers are sorted, quoted, and only on series that have the label."""
    assert str(expr) == text


UP, TTL = ALL.series(c.SOURCE_UP), ALL.series(c.LEASE_TTL)


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        ((UP + 1) * 2, "(langgraph_source_up + 1) * 2"),
        (UP + UP * 2, "langgraph_source_up + langgraph_source_up * 2"),
        (UP - (UP - 1), "langgraph_source_up - (langgraph_source_up - 1)"),
        (UP / (UP * 2), "langgraph_source_up / (langgraph_source_up * 2)"),
        ((UP > 1) * 2, "(langgraph_source_up > 1) * 2"),
        ((UP >= 1) < 2, "langgraph_source_up >= 1 < 2"),
        (q.age(TTL) > 1, "time() - langgraph_lease_ttl_seconds > 1"),
        (q.age(TTL + 1), "time() - (langgraph_lease_ttl_seconds + 1)"),
    ],
)
def test_parentheses_stand_where_they_are_needed(expr: Expr, text: str) -> None:
    """And nowhere else; a parser agrees that the text means the same."""
    assert str(expr) == text
    assert parsed(expr) == parsed(Expr(text))


def test_joins_stand_in_lines_of_their_own() -> None:
    """A rule of several parts can be read in a browser."""
    joined = q.age(TTL).op(">", TTL, on=("pool",), many=True).unless(UP, on=("job",)).otherwise(UP)
    assert str(joined).splitlines() == [
        "time() - langgraph_lease_ttl_seconds",
        "> on (pool) group_left langgraph_lease_ttl_seconds",
        "unless on (job) langgraph_source_up",
        "or langgraph_source_up",
    ]
    promql_parser.parse(str(joined))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: ALL.series(c.SOURCE_UP, pool="a"),
        lambda: ALL.series(c.WORKERS, state="sleeping"),
        lambda: ALL.series(c.WORKERS, state=("idle", "sleeping")),
        lambda: ALL.state(c.WORKER_STATE, "gone"),
        lambda: ALL.series(c.TAKEOVER_LATENCY),
        lambda: ALL.series(c.WORKERS, "_bucket"),
        lambda: ALL.series(c.TAKEOVER_LATENCY, "_bucket", le="1"),
        lambda: ALL.series(c.TAKEOVER_LATENCY, "_count", le="1.0"),
        lambda: ALL.rate(c.WORKERS, "5m"),
        lambda: ALL.increase(c.LEASE_TTL, "5m"),
        lambda: ALL.quantile(0.5, c.TAKEOVER_LATENCY, "5m", ("worker",)),
        lambda: q.total(ALL.series(c.WORKERS), ("worker",)),
        lambda: q.total(q.total(ALL.series(c.WORKERS), ("pool",)), ("state",)),
        lambda: ALL.series(c.WORKERS).op(">", UP, on=("pool",)),
        lambda: ALL.series(c.WORKERS).op("*", UP, on=("job",), many=True, bring=("version",)),
        lambda: q.recorded("a:b:c", ("pool",), worker="w"),
    ],
)
def test_what_does_not_exist_is_refused(wrong: Callable[[], Expr]) -> None:
    """Where it is written, and not by a panel that stays empty."""
    with pytest.raises(ValueError, match=r"metric|label"):
        wrong()


def test_a_result_has_the_labels_that_are_left() -> None:
    """Joins keep those of the side of the many, arithmetic those that it matched on."""
    workers, ttl = ALL.series(c.WORKERS), q.largest(TTL, ("pool",))
    assert q.total(workers, ("pool", "state")).labels == {"pool", "state"}
    assert workers.op("*", ttl, on=("pool",), many=True).labels == workers.labels
    assert workers.op("*", ttl, on=("pool",)).labels == {"pool"}
    assert workers.op(">", ttl, on=("pool",)).labels == workers.labels
    assert workers.where(ttl, on=("pool",)).labels == workers.labels
    assert workers.op(
        "*", ALL.series(c.WORKER_INFO), on=("pool",), many=True, bring=("host",)
    ).labels == workers.labels | {"host"}


def test_a_workers_own_metrics_have_the_labels_of_their_target() -> None:
    """Service discovery attaches worker and pool to what a worker serves."""
    assert {"worker", "pool", "job"} <= q.labels_of(c.CHECKPOINT_WRITE)
    assert "worker" not in q.labels_of(c.TAKEOVER_LATENCY)
