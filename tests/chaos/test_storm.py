"""Many tasks, few workers, and signals at any moment: nothing is aimed, everything must hold."""

from __future__ import annotations

import random
import signal
import time
from dataclasses import dataclass, field

from tests.chaos.continuity import Control, assert_continuous
from tests.chaos.graphs import graph_of
from tests.chaos.harness import TTL_SECONDS, Fleet, OnTrial, wait_until

GRAPHS = ("chain", "fan", "sub", "anode", "agent", "pace", "pace-slow")

#: What may befall a worker, more often the worse: killed, frozen for longer or for less than a
#: TTL, and told to go.
FATES = ("kill", "kill", "kill", "freeze", "freeze", "blink", "drain")


@dataclass
class Storm:
    """A few workers that are struck down and replaced until all tasks are done."""

    fleet: Fleet
    seed: int
    workers: list[OnTrial] = field(default_factory=list)
    frozen: list[tuple[float, OnTrial]] = field(default_factory=list)
    made: int = 0
    struck: int = 0

    def __post_init__(self) -> None:
        """Everything that is drawn comes from the seed; the scheduling of processes does not."""
        self.random = random.Random(self.seed)  # noqa: S311 - a seeded draw is the point

    def blow(self, tasks: dict[str, str], strikes: int) -> None:
        """Strike until enough workers were hit at their work, then let the survivors finish."""
        while self.struck < strikes and self.busy():
            while len(self.workers) < 3:
                self.made += 1
                graphs = sorted({graph_of(graph) for graph in GRAPHS})
                more = {"heartbeat_seconds": 0.25, "concurrency": 2}
                self.workers.append(self.fleet.start(f"w-{self.made}", graphs=graphs, **more))
            pause, since = self.random.uniform(0.05, 0.5), time.monotonic()
            wait_until(lambda: time.monotonic() - since > pause, "the next strike")  # noqa: B023
            self.strike(self.workers.pop(self.random.randrange(len(self.workers))))
            self.thaw()
        while self.frozen:
            wait_until(lambda: time.monotonic() > self.frozen[0][0], "the last one thaws")
            self.thaw()
        self.fleet.wait_done(*tasks)

    def busy(self) -> list[str | None]:
        """Whose tasks are not done; nobody's, if they wait."""
        return [task.worker_id for task in self.fleet.store.tasks() if task.ended_at is None]

    def strike(self, worker: OnTrial) -> None:
        """One of the fates."""
        if worker.code is not None:
            return
        fate = self.random.choice(FATES)
        self.struck += worker.spec.name in self.busy()
        if fate in ("kill", "drain"):
            worker.signal(signal.SIGKILL if fate == "kill" else signal.SIGTERM)
            return
        worker.signal(signal.SIGSTOP)
        ttls = self.random.uniform(1.1, 1.5) if fate == "freeze" else self.random.uniform(0.1, 0.5)
        self.frozen.append((time.monotonic() + ttls * TTL_SECONDS, worker))
        self.frozen.sort(key=lambda item: item[0])

    def thaw(self) -> None:
        """Continue those whose time has come; they are workers again like any other."""
        while self.frozen and time.monotonic() > self.frozen[0][0]:
            _, worker = self.frozen.pop(0)
            if worker.code is None:
                worker.signal(signal.SIGCONT)
                self.workers.append(worker)


def test_a_storm_loses_nothing(fleet: Fleet, control: Control) -> None:
    """Whatever was hit, and whenever: every task ends as if it had run alone in the world."""
    tasks = {}
    for graph in GRAPHS:
        for n in range(10 if graph == "pace-slow" else 2):
            tasks[fleet.submit(graph, f"t-{graph}-{n}")] = graph
    Storm(fleet, seed=1).blow(tasks, strikes=8)
    assert sum(len(fleet.takeovers(task_id)) for task_id in tasks) > 0, "nothing was hit"
    assert_continuous(fleet, control, tasks)
