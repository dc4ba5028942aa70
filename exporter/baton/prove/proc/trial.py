"""One trial on real processes: the harness that starts them, breaks them, and keeps what they say.

Everything that happens comes to one thread, through one queue: what workers say on their sockets,
what the maker says of their ends, and the harness's own timers. Whatever goes wrong, the maker
ends with the harness, and every worker with the maker.
"""

from __future__ import annotations

import heapq
import itertools
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from random import Random
from typing import TYPE_CHECKING, Any

import baton
from baton.domain.continuity.model import TraceKind, TraceLine
from baton.domain.words import TaskState
from baton.errors import StoreRestored
from baton.fleet.fleet import Fleet
from baton.fleet.points import Point
from baton.prove.proc import ears
from baton.prove.proc.channel import Channel, Message, listen
from baton.prove.proc.faults import Arrival, Director
from baton.prove.proc.people import People
from baton.prove.proc.process import Process
from baton.prove.proc.restoring import Restoring
from baton.prove.proc.stepping import Stepping
from baton.prove.proc.vitals import Vitals
from baton.prove.proc.worker import Spec
from baton.prove.scenarios.arrivals import us
from baton.prove.scenarios.graphs import input_of
from baton.prove.scenarios.model import Scenario, Worker

if TYPE_CHECKING:
    from baton.prove.proc.wire import Wire

#: What makes the processes: another program only where a bug is planted in them.
MAKER = (sys.executable, "-m", "baton.prove.proc.maker")

#: How often somebody looks whether a task waits for an answer, or all is over.
_LOOK_US = 50_000

#: How long workers may take until all of them have begun, and until all have left.
_START_SECONDS = 180.0
_LEAVE_SECONDS = 20.0

#: How a worker ends whom the store refuses as an older copy.
_REFUSED = StoreRestored.exit_code

_OVER = (TaskState.DONE, TaskState.FAILED, TaskState.QUARANTINED)


class TrialFailed(Exception):
    """The trial itself went wrong, not the fleet."""


class ProcTrial:
    """A fleet of real processes, the faults that befall it, and the people around it."""

    def __init__(self, scenario: Scenario, seed: int, work: Path, store_url: str) -> None:
        """Start the maker and open the store; ``run`` performs.

        Args:
            scenario: what to perform.
            seed: decides what chance decides here; the kernel decides the rest.
            work: an empty folder.
            store_url: an empty store.

        Raises:
            BatonError: the store cannot be opened.
        """
        self.scenario, self._seed, self._work, self.url = scenario, seed, work, store_url
        self._chance = Random(f"{seed}/harness")  # noqa: S311 - replayed, not secret
        self.people: Fleet
        self._others: People
        self.processes: list[Process] = []
        self.trace: list[TraceLine] = []
        self.sink: dict[str, tuple[str, str, int]] = {}
        self.accepted: set[str] = set()
        self.director = Director(self, scenario.faults)
        self._restoring = Restoring(self, store_url)
        self.snapshot, self.restore = self._restoring.snapshot, self._restoring.restore
        self._stepping = Stepping(self)
        self.step_store = self._stepping.step
        self._inbox: ears.Inbox = SimpleQueue()
        self._timers: list[tuple[int, int, Callable[[], object]]] = []
        self._order = itertools.count(1)
        self._zero = time.monotonic()
        #: Store time at the beginning, in microseconds.
        self.zero_store_us = 0
        self._opened: set[str] = set()
        self._asked_since: dict[str, int] = {}
        self._expected_back = 0
        self._expected_tasks = 0
        self.vitals = Vitals()
        self._quiet_since: int | None = None
        self._leaving = False
        self._ready = False
        self._broken: str | None = None
        self.open_store()
        self._control = work / "control.sock"
        self._listening = listen(str(self._control))
        self._maker = self._start_maker()

    def _start_maker(self) -> subprocess.Popen[bytes]:
        with (self._work / "maker.log").open("wb") as log:
            maker = subprocess.Popen(
                MAKER,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        inbox = self._inbox
        for target in (
            lambda: ears.accept(self._listening, inbox, self._met, self._told),
            lambda: ears.hear_maker(maker, inbox, self._made, self._maker_gone),
        ):
            threading.Thread(target=target, name="trial-ears", daemon=True).start()
        return maker

    def end(self) -> None:
        """End every process, and wait until it is gone."""
        assert self._maker.stdin is not None
        with suppress(OSError):
            self._maker.stdin.close()
        try:
            self._maker.wait(_LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._maker.kill()
            self._maker.wait()

    def close(self) -> None:
        """End whatever runs, and let go of the store."""
        self.end()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for process in self.processes:
            process.close()
        self._stepping.close()
        self.close_store()

    # Performing

    def run(self) -> None:
        """Perform: until everything is over, or the limit is reached.

        Raises:
            TrialFailed: a process could not begin, or the maker is gone.
        """
        self._until(lambda: self._ready, _START_SECONDS, "the maker did not begin")
        now = [one for one in self.scenario.topology.workers if not one.joins_after_seconds]
        for worker in now:
            self._start(self._spec(worker))
        names = {worker.name for worker in now}
        self._until(lambda: names <= self._opened, _START_SECONDS, "the workers did not begin")
        self._begin()
        self._until(self._ended, self.scenario.timing.limit_seconds, None)
        if self._expected_tasks:
            raise TrialFailed(f"{self._expected_tasks} tasks were not submitted in time")

    def open_store(self) -> None:
        """Open it for the people around the fleet."""
        self.people = baton.open(self.url)
        self._others = People(self.url, self._inbox.put)

    def close_store(self) -> None:
        """Leave it: nobody of us has it open afterwards."""
        self._others.close()
        self.people.close()

    @property
    def now(self) -> int:
        """Microseconds since the beginning."""
        return round((time.monotonic() - self._zero) * 1e6)

    def at(self, when_us: int, job: Callable[[], object]) -> None:
        """Let something happen at a time."""
        heapq.heappush(self._timers, (when_us, next(self._order), job))

    def _begin(self) -> None:
        self._zero = time.monotonic()
        self.zero_store_us = self.people.store.clock.now_us()
        self.director.begin()
        for seconds, task_id in self.scenario.timing.submissions(self.scenario.topology):
            if seconds:
                self._expected_tasks += 1
                self.at(us(seconds), partial(self._submit, task_id))
            else:
                self.resubmit(task_id)
        for worker in self.scenario.topology.workers:
            if worker.joins_after_seconds:
                self.at(us(worker.joins_after_seconds), partial(self._start, self._spec(worker)))
        self.at(_LOOK_US, self._look)
        self.at(0, self._sample)

    def _submit(self, task_id: str) -> None:
        def accepted() -> None:
            self._expected_tasks -= 1
            self.accepted.add(task_id)

        self._others.submit(task_id, accepted)

    def _sample(self) -> None:
        self.vitals.take(self.processes, self.now)
        self.at(self.now + Vitals.EVERY_US, self._sample)

    def _until(self, done: Callable[[], bool], seconds: float, otherwise: str | None) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if self._broken is not None:
                raise TrialFailed(self._broken)
            left = deadline - time.monotonic()
            if left <= 0:
                if otherwise is None:
                    return
                raise TrialFailed(f"{otherwise} within {seconds:g} s; {self._last_words()}")
            self._turn(left)

    def _turn(self, seconds: float) -> None:
        if self._timers:
            seconds = min(seconds, max(0.0, (self._timers[0][0] - self.now) / 1e6))
        try:
            self._inbox.get(timeout=seconds)()
        except Empty:
            while self._timers and self._timers[0][0] <= self.now:
                heapq.heappop(self._timers)[2]()

    def _ended(self) -> bool:
        return self._leaving and all(process.dead or process.frozen for process in self.processes)

    def _look(self) -> None:
        """What people do: answer questions, and go home when all is over."""
        if self._restoring.under_way:
            self.at(self.now + _LOOK_US, self._look)
            return
        counts = Counter[str]()
        for _, _, state, tasks in self.people.store.counts():
            counts[state] += tasks
        if counts[TaskState.INTERRUPTED]:
            self._answer()
        over = sum(counts[state] for state in _OVER) == counts.total()
        calm = over and not self._unfinished()
        if not calm:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = self.now
        rest_us = us(2 * self.scenario.timing.heartbeat_seconds)
        if calm and self._quiet_since is not None and self.now - self._quiet_since >= rest_us:
            self._leaving = True
            for process in self.processes:
                process.signal(signal.SIGTERM)
            return
        self.at(self.now + _LOOK_US, self._look)

    def _unfinished(self) -> bool:
        """Whether something is still to come, although every task may be over."""
        return bool(self.director.open or self._expected_back or self._expected_tasks)

    def _answer(self) -> None:
        """Answer the questions that have waited for long enough."""
        asked = {"state": TaskState.INTERRUPTED.value, "pool": None, "limit": 1_000_000}
        for row in self.people.store.data.rows("tasks", asked):
            since = self._asked_since.setdefault(row["run_id"], self.now)
            if self.now - since >= us(self.scenario.timing.answer_after_seconds):
                self._others.answer(row["task_id"], row["run_id"])

    # Processes

    def _spec(self, worker: Worker) -> Spec:
        timing, topology = self.scenario.timing, self.scenario.topology
        deadline = timing.deadline_seconds
        return Spec(
            process="",
            worker_id=worker.name,
            control=str(self._control),
            folder=str(self._work),
            store_url=self.url,
            graphs=tuple(sorted(topology.tasks)),
            waits=tuple(sorted({f.at.value for f in self.scenario.faults if f.at is not None})),
            version=worker.version,
            apart=topology.hosts == "apart",
            node_seconds=timing.node_seconds,
            seed=self._seed,
            ttl_seconds=timing.ttl_seconds,
            settings={
                "heartbeat_seconds": timing.heartbeat_seconds,
                "concurrency": worker.concurrency,
                "poll_seconds": timing.poll_seconds,
                "drain_timeout_seconds": timing.drain_timeout_seconds,
                "progress_deadlines_seconds": (
                    dict.fromkeys(topology.tasks, deadline) if deadline is not None else None
                ),
            },
        )

    def _start(self, spec: Spec) -> Process:
        spec = replace(spec, wall_seconds=self._stepping.seconds)
        wire = self._wire()
        if wire is not None:
            spec = replace(spec, store_url=wire.url)
        process = Process(f"p-{len(self.processes) + 1}", spec)
        process.wire = wire
        self.processes.append(process)
        assert self._maker.stdin is not None
        try:
            self._maker.stdin.write(process.spec.encode().encode() + b"\n")
            self._maker.stdin.flush()
        except OSError as error:
            raise TrialFailed(f"the maker is gone; {self._last_words()}") from error
        return process

    def _wire(self) -> Wire | None:
        """A wire of its own for a process that begins, to a server that is the trial's own."""
        if not self.url.startswith("postgres"):
            return None
        from baton.fleet.postgres_connect import address_of
        from baton.prove.proc.wire import Wire

        return Wire(self.url) if address_of(self.url)[0].startswith("/") else None

    def start_all(self) -> list[Process]:
        """Start every worker of the topology that has no process."""
        there = {process.name for process in self.processes if not process.dead}
        gone = [one for one in self.scenario.topology.workers if one.name not in there]
        return [self._start(self._spec(worker)) for worker in gone]

    def restart(self, process: Process, after_us: int) -> None:
        """Let a process that is gone come back after a while."""
        self._expected_back += 1

        def back() -> None:
            self._expected_back -= 1
            self._start(process.spec)

        self.at(self.now + after_us, back)

    def twin(self, process: Process) -> Process:
        """Start a second process under a worker's name."""
        return self._start(process.spec)

    def resubmit(self, task_id: str) -> bool:
        """Submit a task; returns whether it was new."""
        graph = task_id.rpartition("-")[0]
        new = self.people.store.task_or_none(task_id) is None
        self.people.submit(graph, input_of(graph), task_id=task_id)
        self.accepted.add(task_id)
        return new

    # What they hear

    def _process(self, key: str) -> Process:
        return self.processes[int(key.removeprefix("p-")) - 1]

    def _met(self, key: str, channel: Channel) -> None:
        self._process(key).channel = channel

    def _maker_gone(self) -> None:
        self._broken = self._broken or f"the maker is gone; {self._last_words()}"

    def _made(self, message: Message) -> None:
        if "ready" in message:
            self._ready = True
        elif "process" in message:
            self._process(message["process"]).pid = message["pid"]
        else:
            process = next(one for one in self.processes if one.pid == message["pid"])
            code = message["code"]
            process.end(code)
            if code > 0 and not (code == _REFUSED and self._restoring.under_way):
                self._broken = f"{process.name} ended with {code}; {self._last_words(process)}"
            if process.back_after_us is not None:
                self.restart(process, process.back_after_us)

    def _told(self, key: str, message: Message) -> None:
        process = self._process(key)
        match message["say"]:
            case "trace":
                self._traced(process, message["line"])
            case "deliver":
                what = message["what"]
                task, held, attempts = self.sink.get(message["key"], (message["task"], what, 0))
                self.sink[message["key"]] = (task, held, attempts + 1)
            case "reached":
                arrival = Arrival(process, message["ticket"])
                self.director.reach(arrival, Point(message["point"]), message["about"])
            case _:
                process.hear(message)

    def _traced(self, process: Process, line: dict[str, Any]) -> None:
        kind = TraceKind(line["kind"])
        if kind is TraceKind.SESSION_OPENED:
            self._opened.add(process.name)
        if kind is TraceKind.RUN_BEGAN:
            process.epochs[line["task_id"]] = line["epoch"]
        self.trace.append(TraceLine(worker_id=process.name, **line | {"kind": kind}))

    def _last_words(self, process: Process | None = None) -> str:
        log = self._work / "maker.log" if process is None else process.spec.log
        lines = log.read_text(errors="replace").split("\n") if log.exists() else []
        said = [line.strip() for line in lines if line.strip()]
        return f"last words: {said[-1]}" if said else "it said nothing"
