"""The processes on trial, and the one that makes them.

``python -m tests.chaos.worker SPEC`` runs one, started from nothing. Without a spec it is the
maker: it imports everything once and then forks a process for each spec on its standard input,
which takes milliseconds instead of seconds. It has no threads and no files of any fleet.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from langgraph.graph import StateGraph
from tests.chaos import graphs

import baton
from baton.cli import main
from baton.errors import BadInput, LeaseLost
from baton.fleet import points, sqlite_write
from baton.fleet.points import Point

_log = logging.getLogger("chaos")

#: What a fault may do, besides the signals: hold only the thread that reached the point.
HOLD = "HOLD"


@dataclass(frozen=True)
class Fault:
    """What happens to a process at a point of its life.

    Attributes:
        at: the point.
        do: the name of a signal that the process sends to itself, or HOLD.
        nth: the first, the second, … time that the point is reached.
        about: only for this task.
    """

    at: str
    do: str = HOLD
    nth: int = 1
    about: str | None = None


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One process on trial.

    Attributes:
        name: of the worker.
        files: how the names of its files begin.
        role: ``worker``, or what else ``ROLES`` names.
        task_id: the thread, for roles that lease one by themselves.
        settings: for ``baton.Worker``.
    """

    name: str
    files: str
    folder: str
    role: str = "worker"
    graphs: list[str] = field(default_factory=list)
    ttl_seconds: float = 2.0
    task_id: str = ""
    faults: list[Fault] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def encode(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, line: str) -> Spec:
        """Read it back."""
        fields = json.loads(line)
        return cls(**fields | {"faults": [Fault(**fault) for fault in fields["faults"]]})

    def file(self, suffix: str) -> Path:
        """A file of this process's own."""
        return Path(self.folder) / f"{self.files}.{suffix}"

    @property
    def url(self) -> str:
        """The store."""
        return f"sqlite:///{self.folder}/fleet.db"


@dataclass
class Trial:
    """The listener of a process on trial: writes down each point, and carries out the faults."""

    spec: Spec
    counts: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    fleet: baton.Fleet | None = None

    def __post_init__(self) -> None:
        """Open the trace; each line is one append, so that a kill loses none of them."""
        path = self.spec.file("trace")
        self.trace = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def __call__(self, point: Point, about: str) -> None:
        """A point was reached."""
        with self.lock:
            self.counts[point.value, None] += 1
            self.counts[point.value, about] += 1
            due = [
                fault
                for fault in self.spec.faults
                if fault.at == point.value
                and fault.about in (None, about)
                and fault.nth == self.counts[point.value, fault.about]
            ]
        done = [fault.do for fault in due]
        line = json.dumps([time.monotonic(), point.value, about, done])
        os.write(self.trace, line.encode() + b"\n")
        for do in done:
            if do == HOLD:
                self.hold()
            elif do == "SIGSTOP":
                self.stop(inside=point is Point.CKPT_WRITE)
            else:
                os.kill(os.getpid(), signal.Signals[do])

    def stop(self, *, inside: bool) -> None:
        """Stop the process where this thread stands.

        A signal to the process would let this thread run on for an instant, one to the thread
        does not. Unless the fault is about that, no other thread is caught inside a transaction:
        then the whole fleet would wait for it, which is another test.
        """
        with ExitStack() as stack:
            if self.fleet is not None and not inside:
                stack.enter_context(self.fleet.store.data.lock)
                stack.enter_context(self.fleet.store.sessions._lock)  # noqa: SLF001
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

    def hold(self) -> None:
        """Wait, this thread only, until the test lets go."""
        go, never = self.spec.file("go"), threading.Event()
        while not go.exists():
            never.wait(0.005)


def run_worker(spec: Spec, trial: Trial) -> int:
    """A worker, as the command line would run it."""
    made = {name: graphs.GRAPHS[name]() for name in spec.graphs}
    fleet = trial.fleet = baton.open(spec.url, kind="worker", ttl_seconds=spec.ttl_seconds)
    worker = baton.Worker(
        fleet, made, worker_id=spec.name, ttl_seconds=spec.ttl_seconds, **spec.settings
    )
    worker.run()
    if worker.stuck:
        _log.warning("left with something under way")
        sys.stdout.flush()
        os._exit(0)
    fleet.close()
    return 0


def run_lease(spec: Spec, trial: Trial) -> int:
    """An application that leases a thread by itself, and again where it has lost the lease."""
    with baton.open(spec.url, ttl_seconds=spec.ttl_seconds) as fleet:
        trial.fleet = fleet
        name = spec.graphs[0]
        made = graphs.GRAPHS[name]()
        assert isinstance(made, StateGraph)
        graph = made.compile(checkpointer=fleet.saver())
        while True:
            try:
                with fleet.lease(spec.task_id) as lease:
                    found = fleet.saver().get_tuple(lease.config)
                    value = None if found else graphs.input_of(name)
                    graph.invoke(value, lease.config, durability="sync")
            except LeaseLost as lost:
                _log.warning("%s", lost)
            else:
                return 0


def run_prefork(spec: Spec, _: Trial) -> int:
    """A server that opens its fleet too early, before it forks."""
    with baton.open(spec.url, ttl_seconds=spec.ttl_seconds) as fleet:
        child = os.fork()
        if child == 0:
            os._exit(_lease_in_child(fleet, spec.task_id))
        _, status = os.waitpid(child, 0)
        # The parent's own use of it is none the worse.
        with fleet.lease(spec.task_id) as lease:
            _log.info("the parent leased it at epoch %s", lease.epoch)
    return os.waitstatus_to_exitcode(status)


def _lease_in_child(fleet: baton.Fleet, task_id: str) -> int:
    try:
        with fleet.lease(task_id):
            return 1
    except BadInput as error:
        _log.info("the child was told: %s", error)
        return 0


def run_command(spec: Spec, trial: Trial) -> int:
    """A command of Baton; ``unfenced`` has every write let in, as no option of Baton could."""
    if spec.settings.get("unfenced"):
        let_everything_in(spec, trial)
    return main(spec.settings["words"])


def let_everything_in(spec: Spec, trial: Trial) -> None:
    """Take the fence away in this process, and have it stop before a write once told to."""

    def head(self: sqlite_write.SqliteWrite, key: Any) -> Any:
        return self.head(f"task:{key.task_id}")

    def listener(point: Point, about: str) -> None:
        trial(point, about)
        told = spec.file("stand")
        if point is Point.CKPT_BEFORE and told.exists():
            told.unlink()
            trial.stop(inside=False)

    sqlite_write.SqliteWrite.fence = head  # type: ignore[method-assign]
    sqlite_write.SqliteWrite.fence_only = lambda self, key: None  # type: ignore[method-assign] # noqa: ARG005
    points.listener = listener


ROLES = {
    "worker": run_worker,
    "lease": run_lease,
    "prefork": run_prefork,
    "command": run_command,
}


def run(spec: Spec) -> int:
    """Be the process that the spec describes; returns the exit code."""
    logging.basicConfig(
        stream=sys.stdout,
        level=logging.INFO,
        format="%(relativeCreated)8.1f ms %(threadName)s %(message)s %(session_id)s %(task_id)s",
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(_fill)
    graphs.sink = graphs.Sink(Path(spec.folder) / "sink.jsonl")
    points.listener = trial = Trial(spec)
    return ROLES[spec.role](spec, trial)


def _fill(record: logging.LogRecord) -> bool:
    for name in ("session_id", "task_id"):
        record.__dict__.setdefault(name, "")
    return True


# The maker of processes


class Maker:
    """Forks a process for each spec, and says when each has begun and ended."""

    def __init__(self) -> None:
        """Listen to the standard input and to the ends of children."""
        self.wake_fd, write_fd = os.pipe()
        os.set_blocking(write_fd, False)
        signal.set_wakeup_fd(write_fd)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.fds = (self.wake_fd, write_fd)
        self.children: set[int] = set()

    def serve(self) -> None:
        """Go on until the standard input ends; then nobody is left behind."""
        selector = selectors.DefaultSelector()
        selector.register(0, selectors.EVENT_READ)
        selector.register(self.wake_fd, selectors.EVENT_READ)
        rest = b""
        try:
            while True:
                for key, _ in selector.select():
                    read = os.read(key.fd, 65536)
                    if key.fd == self.wake_fd:
                        self.reap()
                        continue
                    if not read:
                        return
                    *lines, rest = (rest + read).split(b"\n")
                    for line in lines:
                        self.fork(Spec.decode(line.decode()))
        finally:
            for child in self.children:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)

    def fork(self, spec: Spec) -> None:
        """Make one process."""
        child = os.fork()
        if child == 0:
            self.become(spec)
        self.children.add(child)
        self.say(name=spec.files, pid=child)

    def become(self, spec: Spec) -> None:
        """What a forked child does; it does not come back."""
        code = 70
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for fd in self.fds:
                os.close(fd)
            log = os.open(spec.file("log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            code = run(spec)
        except BaseException:  # noqa: BLE001 - this is the end of the process, whatever it is
            _log.exception("this process failed")
        finally:
            sys.stdout.flush()
            os._exit(code)

    def reap(self) -> None:
        """Say who has ended, and how."""
        for child in tuple(self.children):
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                self.children.discard(pid)
                self.say(pid=pid, code=os.waitstatus_to_exitcode(status))

    @staticmethod
    def say(**fields: Any) -> None:
        """One line on the standard output."""
        os.write(1, json.dumps(fields).encode() + b"\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(run(Spec.decode(sys.argv[1])))
    Maker().serve()
