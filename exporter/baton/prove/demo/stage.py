"""The demo's stage: the fleet and its processes, watched while one waits for something.

Nothing here sleeps for a length of time: ``wait`` looks many times a second whether a condition
holds, and meanwhile reads the ledger, tells what happened, draws, and asks Prometheus.
"""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from baton.domain.words import SESSION_EVENTS, EventType
from baton.errors import BatonError
from baton.fleet.fleet import Fleet
from baton.observe.wording import sentence
from baton.prove.demo import prometheus as prom
from baton.prove.demo.cast import Cast, Process, free_port
from baton.prove.demo.picture import Picture, Scenery, task_rows, worker_rows
from baton.prove.demo.show import Show
from baton.prove.demo.view import View

#: The events that are told; the others come too often.
_TOLD = frozenset(
    {
        *SESSION_EVENTS,
        *(EventType.CLAIMED, EventType.RESUMED, EventType.DRAINED, EventType.RELEASED),
        *(EventType.DONE, EventType.FAILED, EventType.QUARANTINED),
    }
)
_LOOK_SECONDS = 0.05
_DRAW_SECONDS = 0.2
_ASK_SECONDS = 1.0
#: Ports that are tried before a server is given up.
_PORTS_MAX = 3
_START_SECONDS = 60.0
#: As long as two scrapes take.
_SCRAPES_SECONDS = 2.0 * prom.SCRAPE_SECONDS


def _all_but_rules(folder: str, names: list[str]) -> list[str]:
    del folder
    return [name for name in names if not name.endswith(".rules.yaml")]


class Interrupted(Exception):
    """Somebody asked the demo to end."""


class NotStarted(BatonError):
    """{name} did not start: {detail} (its log: {log})."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the demo is asked for, and the times it keeps.

    Attributes:
        ttl_seconds: of the workers; short, so that silence is over while one looks.
        pace_seconds: how long each node of the graph pauses.
        patience_seconds: how long a wait may take before the demo goes on without.
    """

    workers: int
    tasks: int
    store_url: str
    pool: str
    folder: Path
    ttl_seconds: float = 3.0
    heartbeat_seconds: float = 0.5
    pace_seconds: float = 0.7
    patience_seconds: float = 45.0


class Interrupts:
    """SIGINT, SIGTERM and SIGHUP as a flag, so that nothing is ever left half done."""

    def __init__(self) -> None:
        """Nobody has asked yet."""
        self.count = 0
        self.number = signal.SIGINT
        self.on_repeat: Callable[[], None] = lambda: None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Take the signals, but for one that somebody had ignored, as nohup does."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._asked)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give them back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.number = signal.Signals(number)
        self.count += 1
        if self.count > 1:
            self.on_repeat()


@dataclass(slots=True, kw_only=True)
class Stage:
    """Everything that an act works with.

    Attributes:
        workers: the newest process of each worker.
        exporter: ``HOST:PORT``.
        prometheus: the server; None where there is none, and ``why_none`` says why.
        answers: what Prometheus said last, in words.
    """

    settings: Settings
    fleet: Fleet
    cast: Cast
    show: Show
    view: View
    scenery: Scenery
    interrupts: Interrupts
    headline: str
    workers: dict[str, Process] = field(default_factory=dict)
    exporter: str = ""
    prometheus: prom.Prometheus | None = None
    why_none: str = ""
    answers: tuple[tuple[str, str], ...] = ()
    act: str = ""
    _began_us: int = 0
    _seq: int = 0
    _drawn_at: float = 0.0
    _asked_at: float = 0.0
    _up: str = ""

    def __post_init__(self) -> None:
        """Begin to count the time."""
        self._began_us = self.now_us()

    # Time and news

    def now_us(self) -> int:
        """Store time in microseconds."""
        return self.fleet.store.clock.now_us()

    def elapsed_seconds(self, at_us: int) -> float:
        """Since the demo began."""
        return (at_us - self._began_us) / 1e6

    def announce(self, act: str) -> None:
        """Say what is being done to the fleet."""
        self.act = act
        self.say(act)

    def say(self, text: str) -> None:
        """Tell something that is in no ledger."""
        self.show.line(self.elapsed_seconds(self.now_us()), text)

    def read_ledger(self) -> None:
        """Take in what has happened since the last time, and tell it."""
        while events := self.fleet.store.events(self._seq):
            for event in events:
                self._seq = event.seq
                reached = self.view.take(event)
                if reached is not None and event.type in _TOLD:
                    self.show.line(self.elapsed_seconds(event.at), sentence(event, reached))

    def wait(
        self, condition: Callable[[], bool], waiting: str, seconds: float | None = None
    ) -> bool:
        """Wait until a condition holds.

        Args:
            condition: looked at after each reading of the ledger.
            waiting: what is waited for, in words.
            seconds: how long at most; the settings' patience by default.

        Returns:
            Whether it came to hold.

        Raises:
            Interrupted: somebody asked the demo to end.
        """
        patience = self.settings.patience_seconds if seconds is None else seconds
        deadline = time.monotonic() + patience
        while True:
            if self.interrupts.count:
                raise Interrupted
            self.read_ledger()
            if condition():
                return True
            if time.monotonic() > deadline:
                self.say(f"gave up {waiting} after {patience:g} s")
                return False
            self._ask_and_draw(waiting)
            time.sleep(_LOOK_SECONDS)

    def _ask_and_draw(self, waiting: str) -> None:
        now = time.monotonic()
        if now - self._asked_at >= _ASK_SECONDS:
            self.ask()
        if self.show.is_live and now - self._drawn_at >= _DRAW_SECONDS:
            self._drawn_at = now
            self.show.draw(self.picture(waiting))

    def ask(self) -> None:
        """Ask Prometheus everything, if there is one."""
        self._asked_at = time.monotonic()
        if (server := self.prometheus) is None:
            return
        try:
            up, targets = server.targets_up(self.view.pool)
            self._up = f"{up} of {targets} targets up"
            answers = [
                (question.words, question.tell(server.ask(question.query)))
                for question in prom.questions(self.view.pool)
            ]
        except OSError as error:
            self._up = f"gives no answer ({error})"
            return
        self.answers = tuple(answer for answer in answers if answer[1])

    def picture(self, waiting: str) -> Picture:
        """How things stand."""
        now_us, live = self.fleet.store.peers(self.view.pool)
        rows = worker_rows(self.view, live, now_us, self.scenery)
        server = self.prometheus
        return Picture(
            headline=self.headline,
            elapsed_seconds=self.elapsed_seconds(now_us),
            act=self.act,
            waiting=waiting,
            workers=rows,
            tasks=task_rows(self.view, rows, self.scenery),
            takeovers=tuple(self.view.takeovers),
            refusals=tuple(self.view.refusals),
            answers=self.answers,
            prometheus=f"{server.url}, {self._up}" if server else self.why_none,
        )

    # Processes

    def start_worker(self, worker_id: str) -> Process:
        """Start a worker as an operator would; a restarted one is a new session."""
        settings = self.settings
        command = self._baton(
            "worker",
            *("--graph", "review=baton.prove.demo.review_graph:graph"),
            *("--worker-id", worker_id),
            *("--pool", settings.pool),
            *("--ttl", f"{settings.ttl_seconds:g}"),
            *("--heartbeat", f"{settings.heartbeat_seconds:g}"),
            # Any one of them may fail, and the others still have room for every task.
            *("--concurrency", str(-(-settings.tasks // (settings.workers - 1)))),
            *("--metrics", "127.0.0.1:0"),
        )
        self.workers[worker_id] = self.cast.start(worker_id, command)
        return self.workers[worker_id]

    def start_exporter(self) -> None:
        """Start the exporter, on a port that it takes for itself.

        Raises:
            NotStarted: it does not serve.
        """
        expected = f"{self.settings.pool}={self.settings.workers}"
        command = self._baton("exporter", "--listen", "127.0.0.1:0", "--expect", expected)
        process = self.cast.start("exporter", command)

        def address() -> str | None:
            return process.said(r"serving http://(\S+)/metrics")

        self._settled(process, lambda: address() is not None)
        self.exporter = address() or ""
        if not self.exporter:
            raise self._not_started(process)
        self.say(f"exporter on http://{self.exporter}/metrics")

    def start_prometheus(self) -> None:
        """Start Prometheus where there is one, and say why not where there is none."""
        program = prom.find_program()
        if program is None:
            self.why_none = "is not on PATH; the demo goes on without it"
            self.say("no Prometheus on PATH; the demo goes on without it")
            return
        try:
            self.prometheus = self._prometheus(program)
        except NotStarted as error:
            self.why_none = "did not start; the demo goes on without it"
            self.say(f"{error}; the demo goes on without it")
            return
        self.say(f"Prometheus on {self.prometheus.url}")

    def await_scrapes(self) -> None:
        """Wait until Prometheus, if there is one, has counts from before the first fault."""
        server = self.prometheus
        if server is None:
            return

        def scraped() -> bool:
            try:
                since = server.scraped_since()
            except OSError:
                return False
            return since is not None and time.time() - since > _SCRAPES_SECONDS

        self.wait(scraped, "waiting for the first scrapes", _START_SECONDS)

    def _prometheus(self, program: str) -> prom.Prometheus:
        """Start it on a free port, and on another should that be taken meanwhile."""
        folder = self.settings.folder
        config = folder / "prometheus.json"
        # Its answers name the files of its rules: by their place in here, not on this machine.
        shutil.copytree(prom.rule_files(), folder / "rules", ignore=_all_but_rules)
        config.write_text(prom.configuration(self.exporter, Path("rules")))
        data = folder / "prometheus"
        for _ in range(_PORTS_MAX):
            server = prom.Prometheus(f"127.0.0.1:{free_port()}")
            process = self.cast.start(
                "prometheus",
                prom.arguments(program, Path(config.name), data, server.address),
                folder,
            )
            self._settled(process, partial(server.is_ready, data))
            if process.exit_code is None:
                return server
        raise self._not_started(process)

    def _settled(self, process: Process, serves: Callable[[], bool]) -> None:
        """Wait until a server has ended or serves.

        Raises:
            NotStarted: it does neither.
        """
        waiting = f"waiting for the {process.name} to answer"
        if not self.wait(
            lambda: process.exit_code is not None or serves(), waiting, _START_SECONDS
        ):
            raise self._not_started(process)

    @staticmethod
    def _not_started(process: Process) -> NotStarted:
        detail = process.last_words() or "it gives no answer"
        return NotStarted(name=process.name, detail=detail, log=process.log)

    def _baton(self, verb: str, *options: str) -> list[str]:
        return [sys.executable, "-m", "baton", verb, "--store", self.settings.store_url, *options]
