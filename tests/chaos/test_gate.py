"""The release gate against a real fleet and a real Prometheus: one course, broken bit by bit."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.harness import (
    DEADLINE_SECONDS,
    HEARTBEAT_SECONDS,
    TTL_SECONDS,
    Fleet,
    Maker,
    OnTrial,
    wait_until,
)

from baton import content
from baton.cli import main
from baton.prove.demo.cast import free_port
from baton.prove.demo.prometheus import Prometheus, arguments
from baton.prove.scenarios.library import chosen
from baton.prove.scenarios.running import perform_all
from baton.prove.sim.engine import SimEngine

pytestmark = pytest.mark.timeout(180)

WINDOW_SECONDS = 8
SCRAPE = "1s"
#: A fleet in a hurry: everything else is as it ships.
HURRY = {
    "window": f"{WINDOW_SECONDS}s",
    "scrape_interval": SCRAPE,
    "stale_after": "4s",
    "gap_max": "3s",
    "coverage_min": "0.5",
    "scenarios_min": "2",
}
WORKERS = ("w-1", "w-2", "w-3")
BUDGET_SECONDS = 1.0


@dataclass(frozen=True)
class Asked:
    """What the gate said once."""

    code: int
    document: dict[str, Any]

    def of(self, *statuses: str) -> dict[str, str]:
        """Criteria with these statuses, and the reason of each."""
        rows = self.document["criteria"]
        return {row["id"]: row["reason"] for row in rows if row["status"] in statuses}


@dataclass
class Course:
    """A fleet, what watches it, and what the gate said at each stage."""

    fleet: Fleet
    folder: Path
    exporter: str
    server: Prometheus
    places: dict[str, str] = field(
        default_factory=lambda: {name: f"127.0.0.1:{free_port()}" for name in WORKERS}
    )
    process: subprocess.Popen[bytes] | None = None
    said: dict[str, Asked] = field(default_factory=dict)

    def command(self, name: str, *words: str, **more: Any) -> OnTrial:
        """Start a process of Baton on the store."""
        words = (*words, "--store", self.fleet.url)
        again = any(one.spec.name == name for one in self.fleet.processes)
        return self.fleet.start(name, role="command", again=again, words=words, **more)

    def worker(self, name: str, *graphs: str, **more: Any) -> OnTrial:
        """Start a worker that is scraped."""
        places = [f"{graph}=tools.record_graphs:walk" for graph in graphs or ("walk",)]
        return self.command(
            name,
            "worker",
            *("--worker-id", name, "--concurrency", "4", "--metrics", self.places[name]),
            *("--ttl", str(TTL_SECONDS), "--heartbeat", str(HEARTBEAT_SECONDS)),
            *(word for place in places for word in ("--graph", place)),
            **more,
        )

    def configure(self, *, rules: bool = True) -> None:
        """Write Prometheus's configuration, and have it read."""
        # Fixed places: Prometheus looks for discovered ones every five seconds only.
        workers = [
            {"targets": [place], "labels": {"pool": "default", "worker": name}}
            for name, place in self.places.items()
        ]
        exporter = [{"targets": [self.exporter]}]
        jobs = {"baton-exporter": exporter, "baton-worker": workers}
        times = dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), SCRAPE)
        document = {
            "global": times,
            "rule_files": [str(content.root() / "alerts" / "*.rules.yaml")] if rules else [],
            "scrape_configs": [
                {"job_name": job, "static_configs": static} for job, static in jobs.items()
            ],
        }
        (self.folder / "prometheus.json").write_text(json.dumps(document))
        if self.process is not None:
            self.process.send_signal(signal.SIGHUP)

    def has(self, query: str, value: float = 1) -> bool:
        """Whether Prometheus answers with this value, and nothing else."""
        with contextlib.suppress(OSError):
            return [one.value for one in self.server.ask(query)] == [value]
        return False

    def await_(self, query: str, value: float = 1) -> None:
        """Wait until it does."""
        looking, deadline = threading.Event(), time.monotonic() + DEADLINE_SECONDS
        while not self.has(query, value):
            if time.monotonic() > deadline:
                pytest.fail(f"not within {DEADLINE_SECONDS:g} s: {query} is {value}")
            looking.wait(0.1)

    def ask(self, stage: str, *more: str, store: bool = True) -> Asked:
        """Ask the gate, and keep what it said."""
        options = [f"--set={name}={value}" for name, value in HURRY.items()]
        options += ["--store", self.fleet.url] if store else []
        out = self.folder / stage
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            code = main(
                ["gate", "--prometheus", self.server.url, "--out", str(out), *options, *more]
            )
        document = json.loads((out / "decision.json").read_text())
        self.said[stage] = Asked(code, document)
        return self.said[stage]

    def settled(self) -> None:
        """Every worker lives, is fresh and is scraped, and nobody waits."""
        self.all_live()
        self.await_('count(up{job="baton-worker"} == 1)', len(WORKERS))
        self.await_("min_over_time(pool:langgraph_workers_live:count[2500ms])", len(WORKERS))
        self.await_("sum(langgraph_takeovers_pending)", 0)

    # The stages

    def begin(self) -> None:
        """Two workers for one task, and one that has no fence on a task of its own."""
        submit = self.fleet.here.submit
        submit("stray", {"left": 900, "seconds": 0.15}, task_id="t-stray")
        self.worker("w-3", "stray", unfenced=True)
        self.worker("w-1")
        self.worker("w-2")
        submit("walk", {"left": 900, "seconds": 0.15}, task_id="t-0")
        self.progressed()

    def progressed(self) -> None:
        """Wait until the task has a new step: taken over in vain twice, it would run alone."""

        def has() -> bool:
            types = [event.type for event in self.fleet.events("t-0", "claimed", "step")]
            return types[-1:] == ["step"]

        wait_until(has, "t-0 goes on")

    def healthy(self) -> None:
        """A crash, a rotation and a silence, each taken over; then the gate."""
        for number, reason in (
            (signal.SIGKILL, "crashed"),
            (signal.SIGTERM, "drained"),
            (signal.SIGSTOP, "heartbeat_lost"),
        ):
            name = self.fleet.task("t-0").worker_id
            assert name is not None
            (holder,) = self.live(name)
            holder.signal(number)
            self.taken_over(reason)
            self.progressed()
            if number is signal.SIGSTOP:
                holder.signal(signal.SIGCONT)
            else:
                self.worker(name)
            self.all_live()
        self.settled()
        least = WINDOW_SECONDS - 1
        self.await_(
            f'min(count_over_time(up{{job="baton-exporter"}}[{WINDOW_SECONDS}s])) >= bool {least}'
        )
        self.ask("healthy", "--evidence", str(self.folder / "evidence"))

    def rules_gone(self) -> None:
        """Prometheus is told of no rules."""
        self.configure(rules=False)
        self.await_('absent(ALERTS{alertname="BatonWatchdog"})')
        # All else as it was when the fleet was well; which rules are loaded is told of now only.
        at = str(self.said["healthy"].document["at"])
        self.ask("rules", "--at", at, "--evidence", str(self.folder / "evidence"))
        self.configure()

    def unscraped(self) -> None:
        """A worker lives whom nobody scrapes."""
        lone = self.command(
            "w-4", "worker", "--worker-id", "w-4", "--graph", "walk=tools.record_graphs:walk"
        )
        self.await_('langgraph_worker_state{worker="w-4", langgraph_worker_state="idle"}')
        self.ask("unscraped", "--evidence", str(self.folder / "evidence"))
        lone.signal(signal.SIGKILL)

    def over_budget(self) -> None:
        """Nobody is there to take over, for longer than the budget."""
        slow = self.live("w-1", "w-2")
        for worker in slow:
            worker.signal(signal.SIGKILL)
        begun = time.monotonic()
        wait_until(lambda: time.monotonic() > begun + 1.5 * BUDGET_SECONDS, "the budget is spent")
        # From here on both serve the stray task too.
        for name in ("w-1", "w-2"):
            self.worker(name, "walk", "stray")
        count = 'sum(langgraph_takeover_latency_seconds_count{reason="crashed"})'
        kept = 'sum(langgraph_takeover_latency_seconds_bucket{reason="crashed", le="1.0"})'
        self.await_(f"{count} - {kept} > bool 0")
        self.settled()
        self.ask("budget", "--evidence", str(self.folder / "evidence"))

    def unfenced(self) -> None:
        """A worker without a fence stands still, is taken over, and writes after all."""
        (stray,) = self.live("w-3")
        stray.spec.file("stand").touch()
        stray.wait_stopped()
        task = self.fleet.task
        wait_until(lambda: task("t-stray").worker_id != "w-3", "the stray task is taken over")
        stray.signal(signal.SIGCONT)
        self.await_("sum(langgraph_continuity_violations_total) > bool 0")
        self.ask("fence", "--evidence", str(self.folder / "evidence"))

    def exporter_gone(self) -> None:
        """The exporter is killed."""
        (exporter,) = self.live("exporter")
        exporter.signal(signal.SIGKILL)
        self.await_('up{job="baton-exporter"}', 0)
        self.ask("exporter", "--evidence", str(self.folder / "evidence"), store=False)

    def live(self, *names: str) -> list[OnTrial]:
        """The processes of these names that still run."""
        return [one for one in self.fleet.processes if one.spec.name in names and one.code is None]

    def all_live(self) -> None:
        """There is a successor for whatever happens next."""
        wait_until(lambda: len(self.fleet.store.peers("default")[1]) == len(WORKERS), "all live")

    def taken_over(self, reason: str) -> None:
        """Wait until the task was taken over for that reason."""
        wait_until(
            lambda: self.fleet.takeovers("t-0")[-1:] == [reason],
            f"t-0 is taken over ({reason})",
        )

    def evidence(self) -> None:
        """Scenarios that were really performed, the contract, and a soak's word."""
        folder = self.folder / "evidence"
        folder.mkdir()
        perform_all(chosen(["K01", "Z01"]), SimEngine(), seed=1, out=folder / "scenarios")
        assert main(["compat", "--check", "--out", str(folder / "compat.json")]) == 0
        (folder / "soak").mkdir()
        (folder / "soak" / "soak.json").write_text('{"judgement": "PASS"}')


@pytest.fixture(scope="module")
def course(
    tmp_path_factory: pytest.TempPathFactory, maker: Maker, prometheus: str
) -> Iterator[Course]:
    """Everything that happens, once; each test looks at what the gate said at its stage."""
    folder = tmp_path_factory.mktemp("gate")
    fleet = Fleet(folder, maker)
    course = Course(
        fleet,
        folder,
        f"127.0.0.1:{free_port()}",
        Prometheus(f"127.0.0.1:{free_port()}"),
    )
    course.configure()
    command = arguments(
        prometheus, folder / "prometheus.json", folder / "tsdb", course.server.address
    )
    course.process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        course.command("exporter", "exporter", "--listen", course.exporter, "--expect", "default=3")
        wait_until(lambda: course.server.is_ready(folder / "tsdb"), "Prometheus is ready")
        course.ask("started")
        course.begin()
        course.evidence()
        course.settled()
        course.healthy()
        course.unscraped()
        course.rules_gone()
        course.over_budget()
        course.unfenced()
        course.exporter_gone()
        yield course
    except BaseException as error:
        for title, text in fleet.report()[:-1]:
            error.add_note(f"{title}\n{text[-400:]}")
        raise
    finally:
        fleet.close()
        course.process.kill()
        course.process.wait()


def test_a_prometheus_that_has_just_started_decides_nothing(course: Course) -> None:
    """INCONCLUSIVE, because the window is not covered; and nothing is taken for broken."""
    said = course.said["started"]
    assert (said.code, said.document["decision"]) == (2, "INCONCLUSIVE")
    assert said.of("FAIL", "ERROR", "WAIVED") == {}
    assert said.of("INCONCLUSIVE")["COV-EXPORTER-UP"] in ("SHORT_WINDOW", "NO_DATA")


def test_a_healthy_fleet_goes(course: Course) -> None:
    """GO, and every criterion was measured."""
    said = course.said["healthy"]
    assert said.of("WARN", "FAIL", "INCONCLUSIVE", "ERROR", "WAIVED") == {}
    assert (said.code, said.document["decision"]) == (0, "GO")


@pytest.mark.parametrize(
    ("stage", "criteria"),
    [
        ("rules", {"COV-RULES": "RULES_NOT_LOADED"}),
        ("unscraped", {"COV-WORKERS-SCRAPED": "THRESHOLD"}),
        ("budget", {"LAT-CRASHED": "THRESHOLD"}),
        # The pages about the broken fence, which came before, go on.
        ("exporter", {"COV-EXPORTER-UP": "THRESHOLD", "CONT-ALERTS": "THRESHOLD"}),
    ],
)
def test_each_fault_is_a_no_by_its_own_criterion(
    course: Course, stage: str, criteria: dict[str, str]
) -> None:
    """NO-GO, and nothing else fails."""
    said = course.said[stage]
    assert said.of("FAIL", "ERROR") == criteria
    assert (said.code, said.document["decision"]) == (1, "NO-GO")


def test_a_fence_that_is_off_is_a_no(course: Course) -> None:
    """By the ledger and by the metrics, each on its own."""
    said = course.said["fence"]
    failed = said.of("FAIL")
    assert failed["CONT-SUPERSEDED"] == "CONTINUITY_BROKEN"
    assert failed["CONT-VIOLATIONS"] == "THRESHOLD"
    assert said.code == 1


def test_without_a_store_continuity_is_not_known(course: Course) -> None:
    """Whatever Prometheus says of it."""
    unknown = course.said["exporter"].of("INCONCLUSIVE")
    assert unknown["CONT-LEDGER"] == unknown["CONT-SUPERSEDED"] == "NO_STORE"


@pytest.mark.parametrize("stage", ["started", "healthy", "fence"])
def test_a_replay_gives_the_same_bytes(course: Course, stage: str, tmp_path: Path) -> None:
    """Without a server, and with the same exit code."""
    kept = course.folder / stage
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = main(["gate", "--replay", str(kept), "--out", str(tmp_path / "again")])
    assert code == course.said[stage].code
    assert tree(tmp_path / "again") == tree(kept)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
