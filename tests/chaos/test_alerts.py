"""From a killed worker to a notification: real workers, exporter, Prometheus and Alertmanager."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.chaos.harness import wait_until

import baton
from baton.cli import main
from baton.prove.demo.cast import Cast, free_port
from baton.prove.demo.prometheus import arguments

ROOT = Path(__file__).parents[2]
STALE = "BatonWorkerHeartbeatStale"

#: What an operator may write: the same rules, for people in a hurry.
SETTINGS = f"""
hold_seconds: {{{STALE}: 2}}
keep_firing_seconds: 1
runbook_url: https://wiki.example.org/runbook
dashboard_url: https://grafana.example.org
"""


@dataclass
class Inbox:
    """What Alertmanager has sent: receiver and alert, in the order of arrival."""

    notes: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def of(self, name: str, status: str) -> list[tuple[str, dict[str, Any]]]:
        """The notes about an alert in that state."""
        return [
            (receiver, alert)
            for receiver, alert in list(self.notes)
            if (alert["labels"]["alertname"], alert["status"]) == (name, status)
        ]

    def names(self) -> set[str]:
        """All alerts that ever came."""
        return {alert["labels"]["alertname"] for _, alert in list(self.notes)}


def answers(address: str) -> bool:
    """Whether a server says that it is ready."""
    connection = http.client.HTTPConnection(address, timeout=2)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/-/ready")
        return connection.getresponse().status == http.client.OK
    return False


@contextmanager
def webhook(inbox: Inbox) -> Iterator[str]:
    """A receiver of notifications, by its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            inbox.notes += [(body["receiver"], alert) for alert in body["alerts"]]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Watched:
    """A fleet with everything that watches it.

    Attributes:
        cast: its processes.
        folder: its store, logs and configuration.
        inbox: what its people receive.
    """

    cast: Cast
    folder: Path
    inbox: Inbox

    @property
    def url(self) -> str:
        """The store."""
        return f"sqlite:///{self.folder / 'fleet.db'}"

    def baton(self, name: str, *words: str) -> Any:
        """Start a process of Baton on the store."""
        return self.cast.start(name, [sys.executable, "-m", "baton", *words, "--store", self.url])

    def worker(self, name: str) -> Any:
        """Start a worker whose silence is over in three seconds."""
        times = ("--ttl", "3", "--heartbeat", "0.5")
        graph = ("--graph", "walk=record_graphs:walk", "--concurrency", "4")
        return self.baton(name, "worker", "--worker-id", name, *graph, *times)

    def live(self) -> int:
        """How many sessions live."""
        with baton.open(self.url) as fleet:
            return sum(session.live for session in fleet.store.sessions.recent(0))

    def watch(self, prometheus: str, alertmanager: str, hook: str) -> None:
        """Start exporter, Prometheus and Alertmanager on the rendered files."""
        (self.folder / "settings.yaml").write_text(SETTINGS)
        config = str(self.folder / "settings.yaml")
        assert main(["render", "--config", config, "--out", str(self.folder)]) == 0
        exporter, manager, server = (f"127.0.0.1:{free_port()}" for _ in range(3))
        self.baton("exporter", "exporter", "--listen", exporter, "--expect", "default=2")
        self._alertmanager(alertmanager, manager, hook)
        document = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(self.folder / "alerts" / "*.rules.yaml")],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [manager]}]}]},
            "scrape_configs": [
                {"job_name": "baton-exporter", "static_configs": [{"targets": [exporter]}]}
            ],
        }
        path = self.folder / "prometheus.yaml"
        path.write_text(yaml.safe_dump(document))
        command = arguments(prometheus, path, self.folder / "tsdb", server)
        # What fires before Alertmanager is found is lost, and by default sent again in a minute.
        self.cast.start("prometheus", [*command, "--rules.alert.resend-delay=2s"])
        wait_until(lambda: answers(exporter), "the exporter is ready")
        wait_until(lambda: answers(server), "Prometheus is ready")
        wait_until(lambda: answers(manager), "Alertmanager is ready")

    def _alertmanager(self, program: str, address: str, hook: str) -> None:
        """The rendered configuration, with receivers put in and its times made short."""
        config = yaml.safe_load((self.folder / "alerts" / "alertmanager.yaml").read_text())
        for receiver in config["receivers"]:
            receiver["webhook_configs"] = [{"url": hook, "send_resolved": True}]
        for route in (config["route"], *config["route"]["routes"]):
            route |= {"group_wait": "1s", "group_interval": "1s"}
        path = self.folder / "alertmanager.yaml"
        path.write_text(yaml.safe_dump(config))
        options = (
            f"--config.file={path}",
            f"--storage.path={self.folder / 'alertmanager'}",
            f"--web.listen-address={address}",
            "--cluster.listen-address=",
        )
        self.cast.start("alertmanager", [program, *options])


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A folder and a cast that leaves no process behind."""
    paths = (str(ROOT / "tools"), str(ROOT / "exporter"))
    with Cast(tmp_path, {"PYTHONPATH": os.pathsep.join(paths)}) as cast:
        yield Watched(cast, tmp_path, Inbox())


@pytest.mark.timeout(240)
def test_a_kill_is_told_and_a_rotation_is_not(
    watched: Watched, prometheus: str, alertmanager: str
) -> None:
    """The alert comes with its labels and links, it ends when the worker is back, and only it."""
    inbox = watched.inbox
    with webhook(inbox) as hook:
        first, second = watched.worker("w-1"), watched.worker("w-2")
        wait_until((watched.folder / "fleet.db").exists, "there is a store")
        watched.watch(prometheus, alertmanager, hook)
        wait_until(lambda: watched.live() == 2, "both workers live")
        with baton.open(watched.url) as fleet:
            for _ in range(4):
                fleet.submit("walk", {"left": 60, "seconds": 1.0})
        wait_until(lambda: bool(inbox.of("BatonWatchdog", "firing")), "alerts arrive at all")
        assert {receiver for receiver, _ in inbox.of("BatonWatchdog", "firing")} == {
            "dead-mans-switch"
        }

        second.send(signal.SIGTERM)
        wait_until(lambda: second.exit_code is not None, "the rotated worker has left")
        watched.worker("w-2")
        wait_until(lambda: watched.live() == 2, "its successor lives")

        first.send(signal.SIGKILL)
        wait_until(lambda: bool(inbox.of(STALE, "firing")), "the kill is told")
        receiver, alert = inbox.of(STALE, "firing")[0]
        assert receiver == "tickets"
        labels = {"alertname": STALE, "severity": "warning", "job": "baton-exporter"}
        assert alert["labels"] == {**labels, "pool": "default", "worker": "w-1"}
        said = alert["annotations"]
        assert said["summary"] == "Worker w-1 of pool default is silent."
        assert said["runbook_url"] == f"https://wiki.example.org/runbook#{STALE.lower()}"
        assert said["dashboard_url"] == (
            "https://grafana.example.org/d/baton-worker?from=now-1h&to=now"
            "&var-job=baton-exporter&var-pool=default&var-worker=w-1"
        )

        watched.worker("w-1")
        wait_until(lambda: bool(inbox.of(STALE, "resolved")), "it is told that the worker is back")
    assert inbox.names() == {"BatonWatchdog", STALE}
    assert {alert["labels"]["worker"] for _, alert in inbox.of(STALE, "firing")} == {"w-1"}
