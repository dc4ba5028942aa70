"""Processes on trial, as a test sees them: begun, caught at a point, signalled, waited for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from langchain_core.runnables import RunnableConfig
from tests.chaos import graphs
from tests.chaos.worker import Fault, Spec

import baton
from baton.domain.ledger import Event, session_chain, task_chain
from baton.domain.words import TaskState
from baton.fleet.model import Session, Task

ROOT = Path(__file__).parents[2]

#: For what should happen soon: long enough for a machine under load, never used up by a good run.
DEADLINE_SECONDS = 30.0

#: Silence after which a worker is lost. Two seconds: under load a heartbeat of half a second is
#: late at times, and four of them in a row are not.
TTL_SECONDS = 2.0
HEARTBEAT_SECONDS = 0.5

#: A command that gives a process a PID namespace of its own, and a /proc that fits it.
IN_A_NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc")


def wait_until(
    condition: Callable[[], bool], what: str, *, seconds: float = DEADLINE_SECONDS
) -> None:
    """Wait for a condition, and fail in one line if it does not come true."""
    never, deadline = threading.Event(), time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what}", pytrace=False)
        never.wait(0.003)


class Mark(NamedTuple):
    """One line of a process's trace.

    Attributes:
        at: the monotonic clock, which the processes of a machine share, in seconds.
        about: the task or the session.
        done: what faults were due here.
    """

    at: float
    point: str
    about: str
    done: list[str]


def only_child(pid: int) -> int:
    """The id of the process that a command has made, once it has."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    wait_until(lambda: path.read_text(encoding="utf-8") != "", f"pid {pid} has a child")
    return int(path.read_text(encoding="utf-8").split()[0])


class Maker:
    """The process that forks those on trial."""

    def __init__(self) -> None:
        """Start it; it is ready a second later, and nobody has to wait for that."""
        self.child = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.worker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # A signal to the test run is none of its business: it ends with its standard input,
            # and ends those it has made.
            start_new_session=True,
        )
        self.pids: dict[str, int] = {}
        self.codes: dict[int, int] = {}
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            said = json.loads(line)
            if "name" in said:
                # An id may be given out again, and then stands for the new process only.
                self.codes.pop(said["pid"], None)
                self.pids[said["name"]] = said["pid"]
            elif "code" in said:
                self.codes[said["pid"]] = said["code"]

    def make(self, spec: Spec) -> int:
        """Fork a process; returns its id."""
        assert self.child.stdin is not None
        self.pids.pop(spec.files, None)
        self.child.stdin.write(spec.encode() + "\n")
        self.child.stdin.flush()
        wait_until(lambda: spec.files in self.pids, f"process {spec.files} begins")
        return self.pids[spec.files]

    def close(self) -> None:
        """End it, and with it whatever it has left."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.close()
        self.child.wait(DEADLINE_SECONDS)
        self.reader.join(DEADLINE_SECONDS)
        self.child.stdout.close()


class OnTrial:
    """One process on trial."""

    def __init__(self, spec: Spec, pid: int, exit_code: Callable[[], int | None]) -> None:
        """Take note of a process that has begun."""
        self.spec = spec
        self.pid = pid
        self._exit_code = exit_code

    def __repr__(self) -> str:
        return f"{self.spec.name} (pid {self.pid})"

    @property
    def code(self) -> int | None:
        """The exit code, negative for a signal; None while it lives."""
        return self._exit_code()

    def marks(self, point: str | None = None) -> list[Mark]:
        """What it has reached so far."""
        found = [Mark(*json.loads(line)) for line in graphs.whole_lines(self.spec.file("trace"))]
        return [mark for mark in found if point in (None, mark.point)]

    def caught(self) -> list[Mark]:
        """The marks at which a fault was due."""
        return [mark for mark in self.marks() if mark.done]

    def wait_caught(self, times: int = 1) -> None:
        """Wait until its faults have come about."""
        faults = [(fault.at, fault.nth, fault.do) for fault in self.spec.faults]
        wait_until(lambda: len(self.caught()) >= times, f"{self} is caught at {faults}")

    def log(self) -> str:
        """What it wrote to its standard output and error."""
        path = self.spec.file("log")
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def let_go(self) -> None:
        """Let the threads that are held go on."""
        self.spec.file("go").touch()

    def wait_stopped(self) -> None:
        """Wait until the kernel has stopped it."""
        wait_until(lambda: self.state() == "T", f"{self} is stopped")

    def state(self) -> str:
        """The kernel's letter for its state."""
        with suppress(OSError):
            text = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8")
            return text.rpartition(")")[2].split()[0]
        return ""

    def wait_ended(self) -> int:
        """Wait for its end; returns the exit code."""
        wait_until(lambda: self.code is not None, f"{self} ends")
        assert self.code is not None
        return self.code

    def end(self) -> None:
        """Kill it if it still lives, stopped or not, and wait until it is gone."""
        if self.code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.wait_ended()


class Fleet:
    """A store of its own, its sink, and the processes of one test."""

    def __init__(self, folder: Path, maker: Maker) -> None:
        """Open an empty store in a folder."""
        self.folder = folder
        self.sink = graphs.Sink(folder / "sink.jsonl")
        self.url = f"sqlite:///{folder}/fleet.db"
        self.processes: list[OnTrial] = []
        self._maker = maker
        self.here = baton.open(self.url)
        self.store = self.here.store

    # Processes

    def start(self, name: str, *faults: Fault, **more: Any) -> OnTrial:
        """Begin a process, by default a worker of one graph, and leave it to itself."""
        spec = self._spec(name, faults, **more)
        pid = self._maker.make(spec)
        begun = OnTrial(spec, pid, lambda: self._maker.codes.get(pid))
        self.processes.append(begun)
        return begun

    def _spec(
        self,
        name: str,
        faults: tuple[Fault, ...],
        *,
        graphs: str | list[str] = "chain",
        role: str = "worker",
        task_id: str = "",
        ttl_seconds: float = TTL_SECONDS,
        again: bool = False,
        **settings: Any,
    ) -> Spec:
        """What a process is to be; ``again`` under a name in use."""
        if role == "worker":
            settings = {"heartbeat_seconds": HEARTBEAT_SECONDS, "poll_seconds": 0.05} | settings
        return Spec(
            name=name,
            files=f"{name}-again" if again else name,
            folder=str(self.folder),
            role=role,
            graphs=[graphs] if isinstance(graphs, str) else graphs,
            ttl_seconds=ttl_seconds,
            task_id=task_id,
            faults=list(faults),
            settings=settings,
        )

    def start_cold(
        self, name: str, *faults: Fault, prefix: tuple[str, ...] = (), **more: Any
    ) -> OnTrial:
        """Begin a process from nothing, as a supervisor would, perhaps by way of a command."""
        spec = self._spec(name, faults, **more)
        with spec.file("log").open("ab") as log:
            child = subprocess.Popen(
                [*prefix, sys.executable, "-m", "tests.chaos.worker", spec.encode()],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        pid = only_child(child.pid) if prefix else child.pid
        begun = OnTrial(spec, pid, child.poll)
        self.processes.append(begun)
        return begun

    def standby(self, name: str = "w-b", *faults: Fault, **more: Any) -> OnTrial:
        """Begin a worker and wait until it watches its peers."""
        begun = self.start(name, *faults, **more)
        self.wait_watching(begun)
        return begun

    def wait_watching(self, process: OnTrial) -> None:
        """Wait until a worker may bury: two heartbeats after its first."""
        wait_until(lambda: len(process.marks("hb.after_write")) >= 1, f"{process} beats")

    def close(self) -> None:
        """End every process by its id, then close the store."""
        for process in self.processes:
            process.end()
        if self.sink.children.exists():
            os.kill(int(self.sink.children.read_text(encoding="utf-8")), signal.SIGKILL)
        self.here.close()

    # Tasks

    def submit(self, variant: str, task_id: str) -> str:
        """Submit a task of a graph, with one of its inputs."""
        value = graphs.input_of(variant)
        return self.here.submit(graphs.graph_of(variant), value, task_id=task_id)

    def task(self, task_id: str) -> Task:
        """A task as the store knows it."""
        return self.store.task(task_id)

    def wait_state(self, state: str, *task_ids: str, seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until tasks are in a state."""
        for task_id in task_ids:
            wait_until(
                lambda task_id=task_id: self.task(task_id).state == state,  # type: ignore[misc]
                f"task {task_id} is {state}",
                seconds=seconds,
            )

    def wait_done(self, *task_ids: str, seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until tasks are done; one that fails is told at once."""
        final = (TaskState.DONE, TaskState.FAILED, TaskState.QUARANTINED)
        for task_id in task_ids:
            wait_until(
                lambda task_id=task_id: self.task(task_id).state in final,  # type: ignore[misc]
                f"task {task_id} is done",
                seconds=seconds,
            )
            task = self.task(task_id)
            assert task.state is TaskState.DONE, f"{task_id} is {task.state}: {task.error}"

    def pending_writes(self, task_id: str) -> int:
        """How many pending writes of nodes follow the newest checkpoint of a task."""
        config: RunnableConfig = {"configurable": {"thread_id": task_id}}
        found = self.here.saver().get_tuple(config)
        return len(found.pending_writes or ()) if found else 0

    # The ledger

    def events(self, task_id: str, *types: str) -> list[Event]:
        """The chain of a task, or its events of some types."""
        chain = self.store.chain(task_chain(task_id))
        return [event for event in chain if not types or event.type in types]

    def takeovers(self, task_id: str) -> list[str | None]:
        """The reasons of a task's claims after its first."""
        return [event.reason for event in self.events(task_id, "claimed")[1:]]

    def outcomes(self, task_id: str) -> list[str]:
        """What each successor found."""
        return [event.data["outcome"] for event in self.events(task_id, "resumed")]

    def session_events(self, session_id: str, *types: str) -> list[Event]:
        """The chain of a session, or its events of some types."""
        chain = self.store.chain(session_chain(session_id))
        return [event for event in chain if not types or event.type in types]

    def sessions(self, worker_id: str) -> list[Session]:
        """Every session of a worker, oldest first."""
        found = self.store.sessions.recent(0)
        return [session for session in found if session.spec.worker_id == worker_id]

    def all_events(self) -> Iterator[Event]:
        """The whole ledger, in the order of commits."""
        seq = 0
        while page := self.store.events(seq):
            yield from page
            seq = page[-1].seq

    # For a test that has failed

    def report(self) -> list[tuple[str, str]]:
        """What the processes wrote, where they were caught, and the ledger."""
        sections = []
        for process in self.processes:
            tail = "\n".join(str(tuple(mark)) for mark in process.marks()[-15:])
            text = f"{process.log()}\nlast points:\n{tail}"
            sections.append((f"{process}: exit {process.code}", text))
        lines = [
            f"{event.seq:4} {event.at % 10**9 / 1000:10.1f} ms {event.chain[:24]:24} {event.n:3}"
            f" {event.type:20} epoch {event.epoch} {event.worker_id} {event.reason or ''}"
            f" {event.payload[:150]}"
            for event in self.all_events()
        ]
        return [*sections, ("ledger", "\n".join(lines))]
