"""Sixteen scrapers at once of twenty thousand series, beside prometheus-client's own server.

Ours collects from a real store; the client's serves gauges of the same names, labels and values,
as an application would keep them. The scrapers are another process.
"""

from __future__ import annotations

import concurrent.futures
import http.client
import multiprocessing
import tempfile
import threading
import time
from contextlib import ExitStack
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from baton.fleet.fleet import open as open_fleet
from baton.fleet.model import SessionSpec
from baton.observe.collector import StoreCollector
from baton.observe.exposition import Snapshot, render
from baton.observe.server import MetricsServer
from benchmarks.harness import Figure, say

SCRAPERS, SERIES = 16, 20_000
BAR = 4.0

_TIMEOUT_SECONDS = 60


def _scrape(address: tuple[str, int], ready: threading.Barrier) -> float:
    connection = http.client.HTTPConnection(*address, timeout=_TIMEOUT_SECONDS)
    ready.wait()
    began = time.perf_counter()
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    body = answer.read()
    seconds = time.perf_counter() - began
    connection.close()
    assert answer.status == http.client.OK
    assert body.count(b"\n") >= SERIES
    return seconds


def slowest(host: str, port: int) -> float:
    """Scrape at once from threads of this process; seconds of the slowest."""
    ready = threading.Barrier(SCRAPERS)
    with concurrent.futures.ThreadPoolExecutor(SCRAPERS) as pool:
        times = [pool.submit(_scrape, (host, port), ready) for _ in range(SCRAPERS)]
        return max(one.result() for one in times)


def _count(text: str) -> int:
    return sum(not line.startswith("#") for line in text.splitlines())


def _fill(store: Any, collector: StoreCollector) -> None:
    """Register workers until a scrape has the series that are asked for."""
    number = 0
    while True:
        text = render(collector.collect(), "text/plain")[0].decode()
        found = _count(text)
        if found >= SERIES:
            return
        each = max(8, found // max(1, number))
        for _ in range(max(1, (SERIES - found) // each)):
            number += 1
            store.sessions.start(
                SessionSpec(
                    session_id=f"s-{number}",
                    worker_id=f"worker-{number}",
                    pool="default",
                    kind="worker",
                    interval_us=5_000_000,
                    ttl_us=600_000_000,
                )
            )


def _as_gauges(text: str) -> CollectorRegistry:
    """The same series as an application's own gauges."""
    registry = CollectorRegistry()
    gauges: dict[str, Gauge] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            names = sorted(sample.labels)
            if sample.name not in gauges:
                gauges[sample.name] = Gauge(sample.name, "as served", names, registry=registry)
            gauge = gauges[sample.name]
            (gauge.labels(**sample.labels) if names else gauge).set(sample.value)
    return registry


def figures(rounds: int) -> list[Figure]:
    """The slowest of the scrapers, and how many collections all of them cost."""
    collections = 0
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="baton-bench-"))
        fleet = stack.enter_context(open_fleet(f"sqlite:///{folder}/fleet.db"))
        collector = StoreCollector(fleet.store)
        collector.catch_up()
        say(f"workers until there are {SERIES} series")
        _fill(fleet.store, collector)
        text = render(collector.collect(), "text/plain")[0].decode()

        def collect() -> Snapshot:
            nonlocal collections
            collections += 1
            return collector.collect()

        server, thread = start_http_server(0, "127.0.0.1", registry=_as_gauges(text))
        stack.callback(thread.join)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        ours = stack.enter_context(MetricsServer("127.0.0.1", 0, collect=collect, title="bench"))
        port = int(ours.address.rpartition(":")[2])
        pool = stack.enter_context(
            concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        )
        theirs: list[float] = []
        mine: list[float] = []
        shared: list[int] = []
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            theirs.append(pool.submit(slowest, "127.0.0.1", server.server_port).result())
            collections = 0
            mine.append(pool.submit(slowest, "127.0.0.1", port).result())
            shared.append(collections)
    return [
        Figure(
            f"slowest of {SCRAPERS} scrapers of {SERIES:,} series, prometheus-client / ours",
            min(theirs) / min(mine),
            BAR,
            at_most=False,
            detail=f"{min(theirs) * 1e3:.0f} ms against {min(mine) * 1e3:.0f} ms; "
            f"{_count(text):,} series",
        ),
        Figure(
            f"collections for {SCRAPERS} scrapes at once",
            min(shared),
            1,
            at_most=True,
            detail=f"{min(shared)} to {max(shared)} in {rounds} rounds",
            unit="",
        ),
    ]
