"""The exporter over HTTP and over real files: what a scraper sees when a store comes and goes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.house import SECOND, House

from baton.cli import main
from baton.domain import catalogue as c
from baton.domain.metric import Metric
from baton.errors import PortInUse, StoreUnreachable
from baton.fleet.model import SessionSpec
from baton.fleet.store import open_store
from baton.observe import exporter as exporter_module
from baton.observe.exporter import Exporter
from baton.observe.instruments import WorkerInstruments
from baton.observe.server import MetricsServer, parse_address
from baton.observe.source import StoreSource
from baton.prove.demo.cast import free_port

DEADLINE_SECONDS = 30.0


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, and fail if it takes too long."""
    give_up = time.monotonic() + DEADLINE_SECONDS
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < give_up, "the condition never came true"
        pause.wait(0.01)


def get(address: str, path: str) -> tuple[int, bytes]:
    """One request over a connection of its own."""
    connection = HTTPConnection(*parse_address(address), timeout=DEADLINE_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def scrape(address: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by its name and its label values."""
    status, body = get(address, "/metrics")
    assert status == 200
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def sample(address: str, metric: Metric, *labels: str) -> float | None:
    """One sample of a scrape, its label values in the order of their names."""
    return scrape(address).get((metric.name, labels))


@contextmanager
def store_at(path: Path) -> Iterator[House]:
    """A real store, and the means to act on it."""
    store = open_store(f"sqlite:///{path}")
    try:
        yield House(store, store.clock)
    finally:
        store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with one worker, which serves metrics, and two tasks."""
    path = tmp_path / "fleet.db"
    with store_at(path) as house:
        house.store.start_session(
            SessionSpec(
                session_id="s-1",
                worker_id="w-1",
                pool="default",
                kind="worker",
                interval_us=5 * SECOND,
                ttl_us=15 * SECOND,
                metrics_address="127.0.0.1:1",
            )
        )
        house.submit("t-1")
        house.submit("t-2")
    return path


@pytest.fixture
def exporter(path: Path) -> Iterator[Exporter]:
    """An exporter of that store, ready."""
    with Exporter(f"sqlite:///{path}", "127.0.0.1", 0, expect={"default": 2}) as running:
        until(lambda: get(running.address, "/-/ready")[0] == 200)
        yield running


def remove(path: Path) -> None:
    """Take a store away with everything that belongs to it."""
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink() if file.is_file() else shutil.rmtree(file)


def test_the_pages_of_an_exporter(exporter: Exporter) -> None:
    """Metrics, health, readiness, and targets that Prometheus takes as they are."""
    assert sample(exporter.address, c.SOURCE_UP) == 1
    assert sample(exporter.address, c.TASKS, "g", "default", "pending") == 2
    assert sample(exporter.address, c.WORKERS_EXPECTED, "default") == 2
    assert get(exporter.address, "/-/healthy")[0] == 200
    status, body = get(exporter.address, "/sd/workers")
    targets = [{"targets": ["127.0.0.1:1"], "labels": {"worker": "w-1", "pool": "default"}}]
    assert (status, json.loads(body)) == (200, targets)


def test_a_store_that_vanishes_is_down_and_one_that_returns_is_up(
    exporter: Exporter, path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its file is still open here, and could be read to the end of time."""
    away = tmp_path / "away"
    away.mkdir()
    events = sample(exporter.address, c.EVENTS, "submitted")
    for file in path.parent.glob("fleet.db*"):
        file.rename(away / file.name)
    down = scrape(exporter.address)
    assert down[c.SOURCE_UP.name, ()] == 0
    assert not any(name.startswith("langgraph_tasks") for name, _ in down)
    assert not any(name == c.EVENTS.name for name, _ in down)
    assert down[c.WORKERS_EXPECTED.name, ("default",)] == 2
    assert get(exporter.address, "/-/ready")[0] == 503
    assert get(exporter.address, "/-/healthy")[0] == 200
    assert get(exporter.address, "/sd/workers")[0] == 503
    assert list(path.parent.glob("fleet.db*")) == []
    scrape(exporter.address)
    for file in away.iterdir():
        file.rename(path.parent / file.name)
    assert sample(exporter.address, c.SOURCE_UP) == 1
    assert sample(exporter.address, c.EVENTS, "submitted") == events
    said = [r.getMessage() for r in caplog.records if r.name == "baton.observe.collector"]
    assert [line.partition(":")[0] for line in said] == [
        "the store cannot be read, its series are withdrawn",
        "the store can be read again",
    ]


def test_another_store_in_its_place_is_read_from_its_beginning(
    exporter: Exporter, path: Path
) -> None:
    """A file of the same name need not be the same store."""
    assert sample(exporter.address, c.EVENTS, "submitted") == 2
    remove(path)
    with store_at(path) as house:
        house.submit("other", pool="batch")
    until(lambda: sample(exporter.address, c.EVENTS, "submitted") == 1)
    assert sample(exporter.address, c.TASKS, "g", "batch", "pending") == 1
    assert sample(exporter.address, c.TASKS, "g", "default", "pending") is None


def test_an_older_copy_in_its_place_is_down_until_it_is_accepted(
    exporter: Exporter, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What nobody has accepted must not look like the fleet's present."""
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    with store_at(path) as house:
        house.submit("t-3")
    assert sample(exporter.address, c.EVENTS, "submitted") == 3
    for leftover in ("-wal", "-shm"):
        path.with_name(path.name + leftover).unlink(missing_ok=True)
    copy.rename(path)
    assert sample(exporter.address, c.SOURCE_UP) == 0
    assert main(["exporter", "--store", f"sqlite:///{path}"]) == 4
    assert "accept-restore" in capsys.readouterr().err


def test_a_damaged_store_is_down(exporter: Exporter, path: Path) -> None:
    """Damage is for a person; the exporter lives on to say so."""
    remove(path)
    path.write_text("this is no database, and never was " * 100)
    assert sample(exporter.address, c.SOURCE_UP) == 0
    assert sample(exporter.address, c.COLLECTOR_SUCCESS, "tasks") == 0


def test_an_exporter_never_makes_a_store(tmp_path: Path) -> None:
    """A typing error must not become an empty fleet that looks healthy."""
    missing = tmp_path / "missing.db"
    with pytest.raises(StoreUnreachable):
        Exporter(f"sqlite:///{missing}", "127.0.0.1", 0)
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_said_before_anything_is_served(
    exporter: Exporter, path: Path
) -> None:
    """Two exporters on one port: the second one ends."""
    with pytest.raises(PortInUse):
        Exporter(f"sqlite:///{path}", *parse_address(exporter.address))


def test_not_ready_before_the_ledger_was_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for ready never sees half a count."""
    held = threading.Event()
    monkeypatch.setattr(
        exporter_module.StoreCollector, "catch_up", lambda *_: held.wait(DEADLINE_SECONDS)
    )
    with Exporter(f"sqlite:///{path}", "127.0.0.1", 0) as running:
        assert get(running.address, "/-/ready")[0] == 503
        assert get(running.address, "/-/healthy")[0] == 200
        held.set()


def test_a_source_opens_again_after_a_doubt(path: Path) -> None:
    """A failed read may be the end of that connection, and not of the store."""
    source = StoreSource(f"sqlite:///{path}")
    first = source.store()
    assert source.store() is first
    source.doubt()
    again = source.store()
    assert again is not first
    assert len(again.tasks()) == 2
    source.close()


@pytest.fixture
def process(path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``baton exporter`` as a process of its own, and its address."""
    running = subprocess.Popen(
        [sys.executable, "-m", "baton", "exporter", "--listen", "127.0.0.1:0", "--log", "json"],
        env={**os.environ, "BATON_STORE": f"sqlite:///{path}"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stderr is not None
        line = json.loads(running.stderr.readline())
        assert line["message"].startswith("serving http://")
        yield running, line["message"].removeprefix("serving http://").removesuffix("/metrics")
    finally:
        running.kill()
        running.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(
    process: tuple[subprocess.Popen[str], str], number: signal.Signals
) -> None:
    """Exit 0, and the last word is one of its own."""
    running, address = process
    assert sample(address, c.SOURCE_UP) == 1
    running.send_signal(number)
    _, errors = running.communicate(timeout=DEADLINE_SECONDS)
    assert running.returncode == 0
    assert [json.loads(line)["message"] for line in errors.splitlines()] == ["stopping"]


def asked(address: str, query: str) -> list[dict[str, str]]:
    """The labels of the series that a Prometheus answers with, those that are 1 only."""
    status, body = get(address, f"/api/v1/query?{urlencode({'query': f'{query} == 1'})}")
    if status != 200:
        return []
    return [found["metric"] for found in json.loads(body)["data"]["result"]]


def test_prometheus_scrapes_it_and_finds_the_workers(
    exporter: Exporter, path: Path, tmp_path: Path, prometheus: str
) -> None:
    """A real one takes the scrape and the targets, and gives workers the labels of the fleet."""
    config = tmp_path / "prometheus.yml"
    config.write_text(
        f"""
global: {{scrape_interval: 1s}}
scrape_configs:
- job_name: exporter
  static_configs: [{{targets: ["{exporter.address}"]}}]
- job_name: workers
  http_sd_configs: [{{url: "http://{exporter.address}/sd/workers", refresh_interval: 1s}}]
"""
    )
    address = f"127.0.0.1:{free_port()}"
    instruments = WorkerInstruments()
    with ExitStack() as stack:
        worker = stack.enter_context(MetricsServer("127.0.0.1", 0, collect=instruments.snapshot))
        with store_at(path) as house:
            spec = SessionSpec(
                session_id="s-2",
                worker_id="w-2",
                pool="batch",
                kind="worker",
                interval_us=5 * SECOND,
                ttl_us=15 * SECOND,
                metrics_address=worker.address,
            )
            house.store.start_session(spec)
        running = subprocess.Popen(
            [
                prometheus,
                f"--config.file={config}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(running.wait)
        stack.callback(running.kill)

        def found(query: str) -> list[dict[str, str]]:
            with suppress(OSError):
                return asked(address, query)
            return []

        until(lambda: bool(found('up{job="exporter"}')))
        until(lambda: bool(found('up{job="workers"}')))
        (target,) = found('up{job="workers"}')
        assert (target["worker"], target["pool"]) == ("w-2", "batch")
        (state,) = found(f'{c.WORKER_STATE.name}{{worker="w-2"}}')
        assert state[c.WORKER_STATE.name] == "idle"
