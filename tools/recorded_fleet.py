"""A small real fleet on trial: its processes, its work, and a scrape of it each second."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from tape import Tape

import baton
from baton.prove.demo.cast import Cast, Process, free_port

WORKERS = ("w-1", "w-2", "w-3")
POOL = "default"

#: Longer than every ordinary startup on a busy machine.
_PATIENCE_SECONDS = 300.0
_POLL_SECONDS = 0.1
_TIMEOUT_SECONDS = 0.9


@dataclass
class Stage:
    """One fleet on trial.

    Attributes:
        folder: where its store and its logs are.
        cast: its processes.
        tape: what was scraped.
        concurrency: of each worker.
        options: further ones of each worker.
        supervised: whether workers that end are started again.
        expecting: whether the exporter is told how many workers there should be.
    """

    folder: Path
    cast: Cast
    tape: Tape = field(default_factory=Tape)
    workers: dict[str, Process] = field(default_factory=dict)
    concurrency: int = 4
    options: tuple[str, ...] = ()
    supervised: bool = False
    expecting: bool = True
    fault_second: int = 0
    _exporter: Process | None = None
    _address: str = ""
    _known: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def store(self) -> Path:
        """The store's file."""
        return self.folder / "fleet.db"

    def start_worker(self, name: str, *, graphs: str = "record_graphs") -> None:
        """Start a worker with the times that are Baton's defaults.

        Args:
            name: of the worker.
            graphs: the module that it loads its graphs from.
        """
        command = (
            *("worker", "--store", f"sqlite:///{self.store}", "--worker-id", name),
            *("--graph", f"walk={graphs}:walk", "--graph", f"poison={graphs}:poison"),
            *("--concurrency", str(self.concurrency), "--metrics", "127.0.0.1:0"),
            *self.options,
        )
        self.workers[name] = self.cast.start(name, [sys.executable, "-m", "baton", *command])

    def bring_back(self, *names: str) -> None:
        """Start workers again, and wait until each has been heard."""
        for name in names:
            self.start_worker(name)
        for name in names:
            self.until_renewed(name)

    def rotate(self, name: str) -> None:
        """Let a worker drain, and start its successor."""
        self.end(name)
        self.start_worker(name)

    def end(self, name: str) -> None:
        """Let a worker drain."""
        process = self.workers[name]
        process.send(signal.SIGTERM)
        self.until(lambda: process.exit_code is not None, f"the end of {name}")

    def start_exporter(self, store: Path | None = None) -> None:
        """Start the exporter where it was before, if it was.

        Args:
            store: another store than the fleet's.
        """
        self._address = self._address or f"127.0.0.1:{free_port()}"
        expected = ("--expect", f"{POOL}={len(self.workers)}") if self.expecting else ()
        command = ("exporter", "--store", f"sqlite:///{store or self.store}", *expected)
        listen = ("--listen", self._address)
        self._exporter = self.cast.start(
            "exporter", [sys.executable, "-m", "baton", *command, *listen]
        )

    def end_exporter(self, number: signal.Signals) -> None:
        """End the exporter by a signal."""
        process = self._exporter
        assert process is not None
        process.send(number)
        self.until(lambda: process.exit_code is not None, "the end of the exporter")

    def submit(self, count: int, *, steps: int, seconds: float, graph: str = "walk") -> None:
        """Bring work."""
        with baton.open(f"sqlite:///{self.store}") as fleet:
            for _ in range(count):
                fleet.submit(graph, {"left": steps, "seconds": seconds}, pool=POOL)

    def wait(self, seconds: float) -> None:
        """Let the fleet be, and start again whom its task killed, where that is asked for."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
            for name, process in list(self.workers.items()):
                if self.supervised and process.exit_code is not None:
                    self.start_worker(name)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something that has to happen."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > until:
                raise SystemExit(f"{self.folder.name}: {what} did not happen; see {self.folder}")
            time.sleep(_POLL_SECONDS)

    def until_renewed(self, worker: str) -> None:
        """Wait for the next heartbeat of a worker."""
        with baton.open(f"sqlite:///{self.store}") as fleet:

            def beats() -> int:
                sessions = fleet.store.sessions.recent(0)
                return sum(one.beat for one in sessions if one.spec.worker_id == worker)

            before = beats()
            self.until(lambda: beats() > before, f"a heartbeat of {worker}")

    def hit(self, number: signal.Signals, *names: str) -> None:
        """Send a signal to workers, in the middle of their work."""
        for name in names:
            self.workers[name].send(number)

    def is_complete(self) -> bool:
        """Whether the exporter answers, and knows every worker."""
        return len(self._targets()) == len(self.workers)

    def fault(self) -> None:
        """What comes from now on comes of the fault."""
        self.fault_second = self.tape.looked[-1]

    def record(self) -> None:
        """Scrape each second until told to stop."""
        self.tape = Tape()
        second = 0
        while not self._over.wait(max(0.0, second - self.tape.passed())):
            second = max(second, int(self.tape.passed()))
            self.tape.looked.append(second)
            self._scrape(second, self._address, {"job": "baton-exporter", "instance": "exporter"})
            for address, labels in self._targets():
                self._scrape(second, address, {"job": "baton-worker", **labels})
            second += 1

    def stop(self) -> None:
        """Stop to record."""
        self._over.set()

    def _scrape(self, second: int, address: str, labels: dict[str, str]) -> None:
        try:
            text = fetch(address, "/metrics")
        except (OSError, http.client.HTTPException):
            self.tape.note(second, "up", labels, 0)
            return
        self.tape.note(second, "up", labels, 1)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self.tape.note(second, sample.name, {**sample.labels, **labels}, sample.value)

    def _targets(self) -> list[tuple[str, dict[str, str]]]:
        """The workers, as before where discovery does not answer: so does Prometheus."""
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            self._known = [
                (group["targets"][0], {**group["labels"], "instance": group["labels"]["worker"]})
                for group in json.loads(fetch(self._address, "/sd/workers"))
            ]
        return self._known


def fetch(address: str, path: str) -> str:
    """What a server of ours answers."""
    connection = http.client.HTTPConnection(address, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise OSError(f"{address}{path} answers {answer.status}")
        return answer.read().decode()
    finally:
        connection.close()
