"""One trial: a scenario's fleet from its first session to its rest."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from baton.domain.continuity.model import TraceLine
from baton.domain.words import TaskState
from baton.errors import BadInput
from baton.fleet import messages as m
from baton.fleet import points
from baton.fleet.fleet import package_version
from baton.fleet.model import Typed
from baton.prove.scenarios.graphs import ANSWER
from baton.prove.scenarios.model import Scenario, Worker
from baton.prove.sim.clocks import StoreTime, shown
from baton.prove.sim.faults import Director
from baton.prove.sim.process import Process
from baton.prove.sim.stores import Memory
from baton.prove.sim.world import TrialOver, World

#: How often somebody looks whether a task waits for an answer, or all is over.
_LOOK_US = 50_000

#: How long after the restore of a copy an operator accepts it.
_ACCEPT_US = 2_000_000

#: The first process id.
_FIRST_PID = 1001

_OVER = (TaskState.DONE, TaskState.FAILED, TaskState.QUARANTINED)

_SERDE = JsonPlusSerializer()


class SimTrial:
    """A fleet in virtual time, the faults that befall it, and the people around it."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        """Set the stage; ``run`` performs.

        Args:
            scenario: what to perform.
            seed: decides everything that chance decides.
        """
        self.scenario = scenario
        self.world = World(seed, _us(scenario.timing.limit_seconds))
        self.clock = StoreTime(self.world)
        self._ids = self._checkpoints = 0
        self.memory = Memory(self.clock, self.new_id)
        self.people = self.memory.open()
        self.shared_host = scenario.topology.hosts == "shared"
        self.processes: list[Process] = []
        self.trace: list[TraceLine] = []
        self.sink: dict[str, tuple[str, str, int]] = {}
        self.accepted: set[str] = set()
        self.director = Director(self, scenario.faults)
        self._copied: bytes | None = None
        self._asked_since: dict[str, int] = {}
        self._expected_back = 0
        self._expected_tasks = 0
        self._quiet_since: int | None = None
        self._leaving = False

    # Performing

    def run(self) -> None:
        """Perform: until everything is over, or the limit is reached."""
        with shown(self._now_us, self.new_id):
            points.listener = self.director.reach
            try:
                self._begin()
                with suppress(TrialOver):
                    self.world.until(self._ended)
            finally:
                points.listener = None
                self.world.over = True

    def close(self) -> None:
        """End what still waits, and let go of the tables."""
        self.world.close()
        self.memory.close()

    def _now_us(self) -> int:
        host = self.world.current
        return host.clock.now_us() if isinstance(host, Process) else self.world.now

    def _begin(self) -> None:
        for seconds, task_id in self.scenario.timing.submissions(self.scenario.topology):
            self._expected_tasks += 1
            if seconds:
                self.world.later(_us(seconds), partial(self._submit, task_id))
            else:
                self._submit(task_id)
        for worker in self.scenario.topology.workers:
            delay_us = _us(worker.joins_after_seconds) + self.world.chance("starts", 0, 40_000)
            self.world.later(delay_us, self._starter(worker))
        self.director.begin()
        self.world.later(_LOOK_US, self._look)

    def _submit(self, task_id: str) -> None:
        self._expected_tasks -= 1
        self.resubmit(task_id)

    def _ended(self) -> bool:
        return self._leaving and all(process.dead or process.frozen for process in self.processes)

    def _look(self) -> None:
        """What people do: answer questions, and go home when all is over."""
        now = self.world.now
        counts = Counter[str]()
        for _, _, state, tasks in self.people.counts():
            counts[state] += tasks
        if counts[TaskState.INTERRUPTED]:
            self._answer()
        over = sum(counts[state] for state in _OVER) == counts.total()
        calm = over and not (self.director.open or self._expected_back or self._expected_tasks)
        if not calm:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = now
        timing = self.scenario.timing
        rest_us = _us(timing.ttl_seconds + 2 * timing.heartbeat_seconds)
        if calm and self._quiet_since is not None and now - self._quiet_since >= rest_us:
            self._leaving = True
            for process in self.processes:
                process.drain()
            return
        self.world.later(_LOOK_US, self._look)

    def _answer(self) -> None:
        """Answer the questions that have waited for long enough."""
        asked = {"state": TaskState.INTERRUPTED.value, "pool": None, "limit": 1_000_000}
        for row in self.people.data.rows("tasks", asked):
            since = self._asked_since.setdefault(row["run_id"], self.world.now)
            if self.world.now - since >= _us(self.scenario.timing.answer_after_seconds):
                self.people.request_resume(row["task_id"], *_typed(ANSWER))

    # Processes

    def _starter(self, worker: Worker) -> Callable[[], None]:
        timing, topology = self.scenario.timing, self.scenario.topology
        config = m.WorkerConfig(
            worker_id=worker.name,
            graphs=tuple(sorted(topology.tasks)),
            interval_seconds=timing.heartbeat_seconds,
            ttl_seconds=timing.ttl_seconds,
            concurrency=worker.concurrency,
            poll_seconds=timing.poll_seconds,
            drain_timeout_seconds=timing.drain_timeout_seconds,
            deadlines_seconds=(
                dict.fromkeys(topology.tasks, timing.deadline_seconds)
                if timing.deadline_seconds is not None
                else {}
            ),
        )
        version = worker.version or package_version()

        def start() -> None:
            self._start(config, version)

        return start

    def _start(self, config: m.WorkerConfig, version: str) -> Process:
        process = Process(self, _FIRST_PID + len(self.processes), config, version)
        self.processes.append(process)
        self.world.later(0, process.start, process)
        return process

    def process_of(self, pid: int) -> Process | None:
        """Any process of the trial, gone or not."""
        place = pid - _FIRST_PID
        return self.processes[place] if 0 <= place < len(self.processes) else None

    def ended(self, process: Process) -> None:
        """A process is gone; one that drained comes back if that was planned."""
        if process.back_after_us is not None:
            self.restart(process, process.back_after_us)

    def restart(self, process: Process, after_us: int) -> None:
        """Let a process that is gone come back after a while."""
        self._expected_back += 1

        def back() -> None:
            self._expected_back -= 1
            self._start(process.config, process.version)

        self.world.later(after_us, back)

    def twin(self, process: Process) -> Process:
        """Start a second process under a worker's name."""
        return self._start(process.config, process.version)

    def note_store_step(self, seconds: float) -> None:
        """Let the wall clock of the store's host leap; store time itself cannot."""
        self.clock.wall_offset_us += _us(seconds)

    # The store, as people use it

    def resubmit(self, task_id: str) -> bool:
        """Submit a task; returns whether it was new."""
        graph = task_id.rpartition("-")[0]
        typed, digest = _typed({"log": ["begun"]})
        new = self.people.submit(
            task_id, graph=graph, pool="default", input_=typed, input_digest=digest
        )
        self.accepted.add(task_id)
        return new

    def snapshot(self) -> int:
        """Copy the data aside; returns how far the ledger went."""
        self._copied = self.memory.copy()
        return self._position()

    def restore(self) -> int:
        """Stop everybody, put the copy back, start everybody; returns how far the ledger goes.

        Whoever starts on the copy is refused; a while later an operator accepts it, and they
        start again.
        """
        assert self._copied is not None
        gone = [process for process in self.processes if not process.dead]
        for process in gone:
            process.kill()
        self.memory.put_back(self._copied)
        for process in gone:
            self._start(process.config, process.version)
        self._expected_back += 1
        self.world.later(_ACCEPT_US, lambda: self._accept(gone))
        return self._position()

    def _accept(self, gone: list[Process]) -> None:
        try:
            self.memory.accept_restore()
        except BadInput:
            # Sessions that were cut off count as running until their TTL has passed.
            self.world.later(_ACCEPT_US, lambda: self._accept(gone))
            return
        self._expected_back -= 1
        self.people = self.memory.open()
        for process in gone:
            self._start(process.config, process.version)

    def _position(self) -> int:
        return int(self.people.data.rows("position")[0][0])

    # Chance and the outside

    def new_id(self) -> str:
        """An id for a session or a run."""
        self._ids += 1
        return hashlib.sha256(
            f"{self.world.chance('ids', 0, 2**62)}/{self._ids}".encode()
        ).hexdigest()[:16]

    def new_checkpoint(self) -> str:
        """An id for a checkpoint, behind every one before it."""
        self._checkpoints += 1
        return f"{self.world.now:016d}-{self._checkpoints:08d}"

    def work_us(self) -> int:
        """How long a node works: as the scenario says, give or take a tenth."""
        us = _us(self.scenario.timing.node_seconds)
        return self.world.chance("work", us - us // 10, us + us // 10)

    def deliver(self, key: str, task_id: str, what: str) -> str:
        """The target of the effects: it honours the key, and only counts what it has seen."""
        held, value, attempts = self.sink.get(key, (task_id, what, 0))
        self.sink[key] = (held, value, attempts + 1)
        return value


def _typed(value: object) -> tuple[Typed, str]:
    typed = _SERDE.dumps_typed(value)
    return typed, hashlib.sha256(typed[0].encode() + b"\0" + typed[1]).hexdigest()


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
