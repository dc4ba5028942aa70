"""Fifty workers, five thousand tasks, two hundred random kills on PostgreSQL: what became of it.

The workers are real processes, killed with SIGKILL at random moments and started anew. Afterwards
the ledger is verified, and every task is compared with the same graph run without any of this.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from langgraph.checkpoint.memory import InMemorySaver

from baton.domain.ledger import Event
from baton.domain.verify import Verifier
from baton.fleet.fleet import Fleet
from baton.fleet.fleet import open as open_fleet
from benchmarks import trial_worker
from benchmarks.harness import Figure, say
from benchmarks.server import tuned_postgres

#: For how long nothing may become done before it is given up. What is asked is whether all comes
#: out right, not how soon: on a busy machine it takes its time.
_STANDSTILL_SECONDS = 120.0
_LOOK_SECONDS = 0.05
_PAGE = 5000

#: Kills come at random within this many seconds of the moment that progress calls for one.
_SPREAD_SECONDS = 0.05

#: Imported before a worker is forked, all of it: what is missing here each worker imports anew, for
#: a second of CPU, and a trial starts one for each kill. ``__main__`` is this process's own.
_PRELOADED = [
    "__main__",
    "benchmarks.trial_worker",
    "baton.fleet.fleet",
    "baton.fleet.worker",
    "baton.fleet.postgres_store",
]

_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'baton'"

#: Each task's super-steps in order, and whether each one's parent is the one before it.
_CHAINS = """
SELECT thread_id, array_agg(step ORDER BY checkpoint_id),
    bool_and(parent_checkpoint_id IS NOT DISTINCT FROM before)
FROM (
    SELECT thread_id, checkpoint_id, parent_checkpoint_id, (metadata->>'step')::integer AS step,
        lag(checkpoint_id) OVER (PARTITION BY thread_id ORDER BY checkpoint_id) AS before
    FROM checkpoints WHERE checkpoint_ns = ''
) AS each GROUP BY thread_id
"""


@dataclass
class _Crew:
    """The worker processes, forked from one that has imported everything."""

    url: str
    sink: str
    context: Any = field(init=False)
    processes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(_PRELOADED)

    def start(self, worker_id: str) -> None:
        process = self.context.Process(
            target=trial_worker.main, args=(self.url, worker_id, self.sink)
        )
        process.start()
        self.processes[worker_id] = process

    def kill(self, worker_id: str) -> None:
        process = self.processes[worker_id]
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        self.start(worker_id)

    def end(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.join(30)
            if process.is_alive():
                process.kill()
                process.join()


@dataclass
class Tally:
    """What was found afterwards; all but the first and the last four should be 0."""

    done: int = 0
    lost_steps: int = 0
    doubled_steps: int = 0
    forked: int = 0
    wrong_results: int = 0
    effects_not_once: int = 0
    findings: int = 0
    takeovers: int = 0
    attempts: int = 0
    events: int = 0
    unledgered: int = 0


@dataclass(frozen=True, slots=True)
class _Control:
    """The same graph, undisturbed: its super-steps and its result."""

    steps: tuple[int, ...]
    digest: str


def _control(fleet: Fleet, n: int) -> _Control:
    graph = trial_worker.errand(trial_worker.receipt).compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    graph.invoke({"n": n}, config, durability="sync")
    values = graph.get_state(config).values
    history = sorted(
        graph.get_state_history(config), key=lambda s: s.config["configurable"]["checkpoint_id"]
    )
    steps = tuple(int((state.metadata or {})["step"]) for state in history)
    digest = hashlib.sha256(fleet.saver().serde.dumps_typed(values)[1]).hexdigest()
    return _Control(steps, digest)


def _done(fleet: Fleet) -> int:
    return sum(n for _, _, state, n in fleet.store.counts() if state == "done")


def _disturb(crew: _Crew, fleet: Fleet, tasks: int, kills: int, seed: int) -> int:
    """Kill until every kill is made and every task is done; returns the most connections seen."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    made, most, told = 0, 0, -1
    moved, moved_at = -1, time.monotonic()
    with psycopg.connect(crew.url, autocommit=True) as connection:
        while (done := _done(fleet)) < tasks:
            if done > moved:
                moved, moved_at = done, time.monotonic()
            elif time.monotonic() - moved_at > _STANDSTILL_SECONDS:
                say(f"given up: {done} of {tasks} done, none for {_STANDSTILL_SECONDS:.0f} s")
                break
            # Spread over the work, the last kill well before its end.
            while made < kills and done >= made * tasks * 0.95 / kills:
                time.sleep(chance.random() * _SPREAD_SECONDS)
                crew.kill(chance.choice(sorted(crew.processes)))
                made += 1
                done = _done(fleet)
            row = connection.execute(_CONNECTIONS).fetchone()
            most = max(most, row[0] if row else 0)
            if done * 20 // tasks > told:
                told = done * 20 // tasks
                say(f"{done} of {tasks} tasks done, {made} of {kills} workers killed")
            time.sleep(_LOOK_SECONDS)
    assert made == kills, f"{made} of {kills} kills were made"
    return most


def _events(fleet: Fleet) -> Iterator[Event]:
    position = 0
    while page := fleet.store.events(position, _PAGE):
        yield from page
        position = page[-1].seq


def _judge(fleet: Fleet, url: str, sink: Path, tasks: int, variety: int) -> Tally:
    tally = Tally(done=_done(fleet))
    control = {n: _control(fleet, n) for n in range(variety)}
    verifier = Verifier()
    steps, effects = Counter[str](), Counter[str]()
    digests: dict[str, str] = {}
    for event in _events(fleet):
        verifier.apply(event)
        task_id = event.task_id or ""
        steps[task_id] += event.type == "step"
        effects[task_id] += event.type == "effect"
        tally.takeovers += event.type == "claimed" and event.reason is not None
        if event.type == "done":
            digests[task_id] = str(event.data["state_digest"])
    verifier.finish()
    tally.events, tally.findings = verifier.events, sum(verifier.counts.values())
    with psycopg.connect(url) as connection:
        chains = {row[0]: (row[1], row[2]) for row in connection.execute(_CHAINS)}
    paid = [line.split() for line in sink.read_text().splitlines()]
    tally.attempts = len(paid)
    keys = Counter(n for n, _ in {(n, key) for n, key in paid})
    for number in range(tasks):
        task_id, expected = f"task-{number}", control[number % variety]
        found, linear = chains.get(task_id, ([], True))
        have, want = Counter(found), Counter(expected.steps)
        tally.lost_steps += (want - have).total()
        tally.doubled_steps += (have - want).total()
        tally.forked += not linear or tuple(found) != expected.steps
        tally.unledgered += steps[task_id] != len(found)
        tally.wrong_results += digests.get(task_id) != expected.digest
        tally.effects_not_once += effects[task_id] != 1
    # The sink knows errands and not tasks: as many keys as there were tasks with that number.
    for n in range(variety):
        tally.effects_not_once += keys[str(n)] != len(range(n, tasks, variety))
    return tally


def _submit(fleet: Fleet, tasks: int, variety: int) -> None:
    for number in range(tasks):
        fleet.submit(trial_worker.GRAPH, {"n": number % variety}, task_id=f"task-{number}")


def trial(
    workers: int, tasks: int, kills: int, *, seed: int, max_connections: int, variety: int = 50
) -> tuple[Tally, str]:
    """Run it; returns what was found, and the circumstances in one line.

    Args:
        workers: how many processes at a time.
        tasks: how many tasks.
        kills: how many of the processes are killed, one after another.
        seed: of the choice of victims and moments.
        max_connections: what the server allows.
        variety: how many different inputs there are, and so control runs.
    """
    with (
        tempfile.TemporaryDirectory(prefix="baton-bench-") as folder,
        tuned_postgres({"max_connections": str(max_connections)}) as url,
        open_fleet(url) as fleet,
    ):
        sink = Path(folder) / "sink"
        sink.touch()
        say(f"submitting {tasks} tasks")
        _submit(fleet, tasks, variety)
        crew = _Crew(url, str(sink))
        began = time.monotonic()
        try:
            for number in range(workers):
                crew.start(f"worker-{number}")
            most = _disturb(crew, fleet, tasks, kills, seed)
            seconds = time.monotonic() - began
        finally:
            crew.end()
        say("verifying")
        tally = _judge(fleet, url, sink, tasks, variety)
    return tally, f"seed {seed}, {seconds:.0f} s, at most {most} connections"


def figures(workers: int, tasks: int, kills: int, seed: int) -> list[Figure]:
    """One trial, each of its counts held to what it must be."""
    tally, how = trial(workers, tasks, kills, seed=seed, max_connections=100)
    name = f"{workers} workers, {tasks} tasks, {kills} SIGKILLs, PostgreSQL"
    nothing = (
        ("steps lost", tally.lost_steps, f"beside an undisturbed run; {tally.takeovers} takeovers"),
        ("steps doubled", tally.doubled_steps, "beside an undisturbed run"),
        ("tasks with a forked history", tally.forked, "checkpoints linear, in the same order"),
        ("tasks whose ledger tells other steps", tally.unledgered, "step events / checkpoints"),
        ("tasks with another result", tally.wrong_results, "digest of an undisturbed run"),
        ("effects not exactly once", tally.effects_not_once, f"{tally.attempts} attempts"),
        ("findings of ledger verify", tally.findings, f"{tally.events} events"),
    )
    done = Figure(
        f"{name}: tasks done / submitted", tally.done / tasks, 1, at_most=False, detail=how
    )
    return [done] + [
        Figure(f"{name}: {what}", float(count), 0, at_most=True, detail=detail, unit="")
        for what, count, detail in nothing
    ]
