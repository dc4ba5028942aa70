"""A worker's own instruments."""

from __future__ import annotations

import threading

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.registry import DuplicateTimeseries

from baton.domain.catalogue import (
    CATALOGUE,
    CHECKPOINT_WRITE,
    HEARTBEAT_DURATION,
    NODE_DURATION,
    RENEWAL_RESULTS,
    served_by,
)
from baton.domain.metric import Metric, Source
from baton.observe.exposition import HistogramPoint, render
from baton.observe.instruments import WorkerInstruments


def observed(instruments: WorkerInstruments, metric: Metric, *labels: str) -> HistogramPoint:
    """What one series has counted so far."""
    (point,) = (p for p in instruments.snapshot()[metric] if p.labels == labels)
    assert isinstance(point.value, HistogramPoint)
    return point.value


def test_known_series_start_at_zero() -> None:
    """Renewals of each result and checkpoint writes are there before the first one."""
    instruments = WorkerInstruments()
    for labels in HEARTBEAT_DURATION.label_sets():
        assert sum(observed(instruments, HEARTBEAT_DURATION, *labels).counts) == 0
    assert sum(observed(instruments, CHECKPOINT_WRITE).counts) == 0
    assert NODE_DURATION not in instruments.snapshot()


def test_a_node_is_there_once_it_is_bound() -> None:
    """Binding twice gives the same series, so nothing is lost."""
    instruments = WorkerInstruments()
    instruments.node("review", "fetch")
    assert observed(instruments, NODE_DURATION, "review", "fetch").sum == 0
    instruments.node("review", "fetch")(0.25)
    instruments.node("review", "fetch")(0.5)
    point = observed(instruments, NODE_DURATION, "review", "fetch")
    assert (sum(point.counts), point.sum) == (2, 0.75)


def test_it_serves_the_workers_part_of_the_catalogue_and_no_more() -> None:
    """Each metric has one source, and this one leaves none of its own out."""
    instruments = WorkerInstruments()
    instruments.node("review", "fetch")
    assert set(instruments.snapshot()) == set(served_by(Source.WORKER)) < set(CATALOGUE)


def test_renewals_are_told_apart() -> None:
    """A refused renewal is not an accepted one that took long."""
    instruments = WorkerInstruments()
    instruments.heartbeat["refused"](0.1)
    counted = {
        result: sum(observed(instruments, HEARTBEAT_DURATION, result).counts)
        for result in RENEWAL_RESULTS
    }
    assert counted == {"accepted": 0, "refused": 1, "failed": 0}


@pytest.mark.parametrize("seconds", [0.0, 0.0001, 0.00011, 0.5, 15.0, 16.0, 1e6])
def test_buckets_are_those_of_the_client(seconds: float) -> None:
    """An own bucket search that differs by one bound would bend every quantile."""
    instruments, registry = WorkerInstruments(), CollectorRegistry()
    name, bounds = CHECKPOINT_WRITE.name, CHECKPOINT_WRITE.buckets
    client = Histogram(name, CHECKPOINT_WRITE.help, buckets=bounds, registry=registry)
    instruments.checkpoint_write(seconds)
    client.observe(seconds)

    def samples(text: bytes) -> set[str]:
        return {
            line
            for line in text.decode().splitlines()
            if line.startswith((f"{name}_b", f"{name}_s"))
        }

    assert samples(render(instruments.snapshot())[0]) == samples(generate_latest(registry))


def test_threads_lose_no_observation() -> None:
    """Observers are shared by all threads of a worker, and so is binding them."""
    instruments = WorkerInstruments()
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(500):
            instruments.node("review", "fetch")(0.5)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    point = observed(instruments, NODE_DURATION, "review", "fetch")
    assert (sum(point.counts), point.sum) == (2000, 1000)


def test_an_application_serves_them_from_its_own_registry() -> None:
    """A runtime that already has a registry needs no second port, and cannot register twice."""
    registry = CollectorRegistry(auto_describe=True)
    WorkerInstruments(registry).node("review", "fetch")(0.5)
    labels = {"graph": "review", "node": "fetch"}
    assert registry.get_sample_value(f"{NODE_DURATION.name}_count", labels) == 1
    with pytest.raises(DuplicateTimeseries):
        WorkerInstruments(registry)
