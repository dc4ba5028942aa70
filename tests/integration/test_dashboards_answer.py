"""Every panel of every board, asked of a real Prometheus that scrapes a real exporter."""

from __future__ import annotations

import json
import math
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.integration.test_exporter import DEADLINE_SECONDS, store_at, until
from tests.support.grafana import Asked, asked, boards, interpolated
from tests.support.house import SECOND, House, Member

from baton.cli import main
from baton.domain import catalogue as c
from baton.domain.words import Evidence, TakeoverOutcome
from baton.errors import LeaseLost
from baton.fleet.model import Claim, SessionSpec
from baton.observe.exporter import Exporter
from baton.observe.instruments import WorkerInstruments
from baton.observe.server import MetricsServer, parse_address
from baton.observe.settings import Settings
from baton.prove.demo.cast import free_port

#: A window that holds everything that the story does.
WINDOW = "1m"
SCRAPE_SECONDS = 1
#: Long enough that nobody falls silent while a busy machine runs the story.
TTL_SECONDS = 180


class Asking:
    """A Prometheus to ask (https://prometheus.io/docs/prometheus/latest/querying/api/)."""

    def __init__(self, address: str) -> None:
        """Name it by its ``HOST:PORT``."""
        self.address = address
        self._at = ""

    def settle(self, query: str) -> bool:
        """Whether a query has a number now; if so, everything is asked about this moment from here.

        What a busy machine fails to scrape later changes no answer.
        """
        now = f"{time.time():.3f}"
        settled = bool(self.values(query, now))
        self._at = now if settled else ""
        return settled

    def get(self, path: str, **fields: str) -> Any:
        """What it says, or None while it does not answer.

        Raises:
            AssertionError: it does not understand the question.
        """
        connection = HTTPConnection(*parse_address(self.address), timeout=DEADLINE_SECONDS)
        try:
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", f"/api/v1/{path}", urlencode(fields), form)
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, ValueError):
            return None
        finally:
            connection.close()
        if response.status == 503:
            return None
        assert answer["status"] == "success", (fields, answer)
        return answer["data"]

    def values(self, query: str, at: str = "") -> list[float]:
        """The values that a query has, those that are numbers."""
        moment = at or self._at
        found = self.get("query", query=query, **({"time": moment} if moment else {}))
        values = [float(one["value"][1]) for one in found["result"]] if found else []
        return [value for value in values if not math.isnan(value)]


def start(house: House, worker_id: str, *, address: str | None = None) -> Member:
    """A session that serves one graph."""
    spec = SessionSpec(
        session_id=f"s-{worker_id}",
        worker_id=worker_id,
        pool="default",
        kind="worker",
        interval_us=TTL_SECONDS * SECOND // 3,
        ttl_us=TTL_SECONDS * SECOND,
        concurrency=2,
        graphs=("review",),
        version="1.2.0",
        metrics_address=address,
        host="alpha",
    )
    house.store.start_session(spec)
    return Member(house.store, spec)


def claimed(member: Member) -> Claim:
    """The one task that waits."""
    return member.claim(graphs=("review",))


def taken_over(house: House, member: Member) -> Claim:
    """A claim that goes on with what another session left."""
    claim = claimed(member)
    house.store.resumed(claim, member.worker_id, TakeoverOutcome.RESUMED, "")
    member.put(claim)
    return claim


def story(house: House, workers: list[Member], instruments: WorkerInstruments) -> None:
    """A crash, a silence and a planned release are taken over; one crash is not, one task waits."""
    first, second, third, fourth, fifth = workers
    rescuer = second
    house.submit("t-crash", graph="review")
    lost = claimed(first)
    first.put(lost)
    step_id = first.put(lost, step=1)
    house.store.record_effect(lost, first.worker_id, "key", step_id, ("json", b"1"))
    house.store.effect(lost, first.worker_id, "key", step_id)
    house.bury(first, Evidence.PIDFD)
    rescuer.done(taken_over(house, rescuer))
    with pytest.raises(LeaseLost):
        first.put(lost, step=2)
    house.store.refused(lost.key)
    house.submit("t-silence", graph="review")
    claimed(third)
    house.bury(third, Evidence.TTL)
    taken_over(house, rescuer)
    house.submit("t-drained", graph="review")
    given = claimed(fourth)
    fourth.put(given)
    fourth.drained(given)
    rescuer.done(taken_over(house, rescuer))
    house.submit("t-left", graph="review")
    claimed(fifth)
    house.bury(fifth, Evidence.PIDFD)
    house.submit("t-waits", graph="review")
    instruments.checkpoint_write(0.01)
    instruments.heartbeat["accepted"](0.002)
    instruments.node("review", "read")(0.2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, prometheus: str) -> Iterator[Asking]:
    """A Prometheus that has scraped the fleet before the story, and after it."""
    folder = tmp_path_factory.mktemp("boards")
    instruments = WorkerInstruments()
    instruments.node("review", "read")
    with ExitStack() as stack:
        own = stack.enter_context(MetricsServer("127.0.0.1", 0, collect=instruments.snapshot))
        house = stack.enter_context(store_at(folder / "fleet.db"))
        workers = [start(house, f"w-{number}") for number in (1, 3, 4, 5)]
        workers.insert(1, start(house, "w-2", address=own.address))
        url = f"sqlite:///{folder / 'fleet.db'}"
        exporter = stack.enter_context(Exporter(url, "127.0.0.1", 0, expect={"default": 5}))
        asking = stack.enter_context(running(prometheus, folder, exporter.address))
        until(lambda: asking.values(BEFORE) == [2])
        story(house, workers, instruments)
        until(lambda: asking.settle(AFTER))
        yield asking


#: Both targets have been scraped twice, so that whatever the story adds is an increase.
BEFORE = f"count(sum_over_time(up[{WINDOW}]) >= 2)"
#: Both have told the end of the story, and the last scrape of neither failed.
AFTER = " and on () ".join(
    (
        "(min(up) == 1)",
        f'(sum({c.RUNS.name}{{outcome="done"}}) == 2)',
        f"(sum({c.CHECKPOINT_WRITE.name}_count) == 1)",
    )
)


@contextmanager
def running(program: str, folder: Path, exporter: str) -> Iterator[Asking]:
    """A Prometheus that finds the exporter, and through it the worker."""
    settings = Settings()
    discovery = {"url": f"http://{exporter}/sd/workers", "refresh_interval": "1s"}
    jobs = [
        {"job_name": settings.exporter_job, "static_configs": [{"targets": [exporter]}]},
        {"job_name": settings.worker_job, "http_sd_configs": [discovery]},
    ]
    times = dict.fromkeys(("scrape_interval", "scrape_timeout"), f"{SCRAPE_SECONDS}s")
    (folder / "prometheus.yml").write_text(json.dumps({"global": times, "scrape_configs": jobs}))
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
            "--enable-feature=exemplar-storage",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Asking(address)
    finally:
        process.kill()
        process.wait()


def sent(board: str, query: str) -> str:
    """A query as Grafana would send it to that Prometheus."""
    return interpolated(boards()[board], query, __rate_interval=WINDOW, __range=WINDOW)


ASKED = list(asked())


@pytest.mark.parametrize("one", ASKED, ids=str)
def test_every_query_of_every_panel_has_data(server: Asking, one: Asked) -> None:
    """A number comes back: the metric, its labels and every join are those of the exporter."""
    assert server.values(sent(one.board, one.target["expr"]))


#: Labels that only some installations attach to their targets.
OPTIONAL = set(Settings().fleet_labels)


@pytest.mark.parametrize("title", boards())
def test_every_variable_has_values(server: Asking, title: str) -> None:
    """Otherwise it is empty, and with it everything that it narrows."""
    board = boards()[title]
    for variable in board["templating"]["list"]:
        if variable["type"] != "query" or variable["name"] in OPTIONAL:
            continue
        selector, label = LABEL_VALUES.fullmatch(variable["query"]).groups()  # type: ignore[union-attr]
        series = server.get("series", **{"match[]": sent(title, selector)})
        found = {one[label] for one in series if label in one}
        assert found, variable["name"]
        assert variable["name"] != "job" or found == {"baton-exporter", "baton-worker"}


LABEL_VALUES = re.compile(r"label_values\((.+), (\w+)\)", re.DOTALL)


def test_every_query_of_the_runbook_is_understood(server: Asking) -> None:
    """Whether it has data depends on what has happened; that it can be asked does not."""
    page = (Path(__file__).parents[2] / "docs" / "runbook.md").read_text()
    queries = set(re.findall(r"```promql\n(.+?)\n```", page, re.DOTALL))
    assert len(queries) > 60
    answered = {query for query in queries if server.get("query", query=query)["result"]}
    assert len(answered) > len(queries) / 4, "nearly nothing of it speaks of this fleet"


def test_the_gate_of_the_runbook_decides(
    server: Asking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one command of that page that asks Prometheus: a verdict, and no complaint."""
    line = "baton gate --out gate-out"
    assert f"\n{line}\n" in (Path(__file__).parents[2] / "docs" / "runbook.md").read_text()
    monkeypatch.setenv("BATON_PROMETHEUS", f"http://{server.address}")
    monkeypatch.chdir(tmp_path)
    code = main(line.split()[1:])
    decision = json.loads((tmp_path / "gate-out" / "decision.json").read_text())
    assert code == decision["exit_code"]
    assert code in {0, 1, 2}
    assert "COV-EXPORTER-UP" in {one["id"] for one in decision["criteria"]}


def test_every_mark_is_a_query_and_new_versions_show(server: Asking) -> None:
    """Marks are asked for like panels; a fleet that just began is new."""
    marks: dict[str, list[float]] = {}
    for title, board in boards().items():
        for mark in board["annotations"]["list"]:
            marks[mark["name"]] = server.values(sent(title, mark["target"]["expr"]))
    assert marks["New versions"]
    assert marks["Unplanned takeovers"]
    assert marks["Faults injected"] == marks["Alerts"] == []


def test_exemplars_lead_from_a_takeover_to_its_task(server: Asking) -> None:
    """Prometheus hands them out for the queries that ask for them."""
    queries = [one for one in asked() if one.target["exemplar"]]
    assert queries
    for one in queries:
        query = sent(one.board, one.target["expr"])
        series = server.get("query_exemplars", query=query, start="0", end="4102444800")
        labels = [each["labels"] for found in series for each in found["exemplars"]]
        assert labels, one
        assert all({"task_id", "run_id"} <= set(each) for each in labels), one


def test_the_story_reads_as_it_happened(server: Asking) -> None:
    """Some numbers, by name: what a reader of the boards would say of this fleet."""

    def shown(board: str, panel: str) -> list[float]:
        return [
            value
            for one in asked()
            if (one.board, one.panel) == (f"Baton / {board}", panel)
            for value in server.values(sent(one.board, one.target["expr"]))
        ]

    # Three sessions were buried; one gave its task back, and lives.
    assert shown("Fleet overview", "Live workers") == [2]
    assert shown("Fleet overview", "Live, of those expected") == [pytest.approx(2 / 5)]
    assert shown("Fleet overview", "Expired leases") == [1]
    assert shown("Fleet overview", "Pending takeovers") == [1]
    assert shown("Fleet overview", "Store") == [1]
    assert shown("Leases and takeovers", "Concurrent writers") == [1]
    assert shown("Tasks, runs and steps", "Quarantined") == [0]
    (succeeded,) = shown("Continuity and gate", "Scrapes that succeeded")
    assert 0 < succeeded <= 1
    assert shown("Exporter health", "Targets") == [2, 2]
