"""A worker on trial: the production worker, with a barrier at the points of its life.

The maker (``maker.py``) forks them from a process that has everything imported already. What is
special about a worker on trial is said here and nowhere else: production has no option and no
variable for any of it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from langgraph.config import get_config

from baton.domain.continuity.model import TraceKind
from baton.errors import StoreRestored
from baton.fleet import messages as m
from baton.fleet import points
from baton.fleet.fleet import Fleet
from baton.fleet.guard import AnyGraph
from baton.fleet.lease import Lease, lease_in
from baton.fleet.model import Session
from baton.fleet.points import Point
from baton.fleet.sqlite_store import SqliteStore
from baton.fleet.store import Store, open_store
from baton.fleet.worker import Worker
from baton.prove.proc.barrier import Barrier
from baton.prove.proc.channel import Message, connect
from baton.prove.proc.clockwork import ShiftedClock, step_wall
from baton.prove.proc.trouble import Trouble
from baton.prove.scenarios.tracing import TracedDriver

_log = logging.getLogger("baton.trial")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One worker process.

    Attributes:
        process: tells the processes of a trial apart; a restarted worker is another process.
        worker_id: the worker's own name.
        control: the path of the harness's socket.
        folder: where its log goes.
        store_url: as this worker reaches the store.
        graphs: the names of graphs on trial.
        waits: the points at which its threads wait for the harness.
        version: what its sessions say of the software; empty for this Baton's own.
        apart: whether only silence tells it of the deaths of others.
        node_seconds: how long a node works, give or take a tenth.
        seed: decides the tenth.
        ttl_seconds: silence after which others may take its tasks.
        wall_seconds: how far the wall clock that it sees is off.
        metrics: whether it serves metrics of its own.
        settings: for ``Worker``.
    """

    process: str
    worker_id: str
    control: str
    folder: str
    store_url: str
    graphs: tuple[str, ...]
    waits: tuple[str, ...] = ()
    version: str = ""
    apart: bool = False
    node_seconds: float = 0.0
    seed: int = 0
    ttl_seconds: float = 2.0
    wall_seconds: float = 0.0
    metrics: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    def encode(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, line: str) -> Spec:
        """Read it back."""
        said = json.loads(line)
        return cls(**said | {name: tuple(said[name]) for name in ("graphs", "waits")})

    @property
    def log(self) -> Path:
        """Where its standard output and error go."""
        return Path(self.folder) / f"{self.process}.log"


#: Writes a line of the trace: what it was, when, and whom it concerns.
Note = Callable[..., None]


class _Driver(TracedDriver):
    """Production's driver, which tells the harness of its session."""

    trace: Note
    clock: ShiftedClock

    def now_us(self) -> int:
        """The shifted clock."""
        return round(self.clock.monotonic() * 1e6)

    def note(self, kind: TraceKind, *, at_us: int | None = None, **fields: int) -> None:
        """Send it to the harness."""
        session = self.session
        about = None if session is None else session.session_id
        at = self.now_us() if at_us is None else at_us
        self.trace(kind=kind.value, at_us=at, session_id=about, **fields)

    def note_of(self, kind: TraceKind, lease: Lease) -> None:
        """Send what concerns a lease."""
        key = lease.claim.key
        self.trace(
            kind=kind.value,
            at_us=self.now_us(),
            session_id=key.session_id,
            task_id=key.task_id,
            epoch=key.epoch,
        )


class _Worker(Worker):
    """Production's worker, which tells the harness of its runs."""

    driver_class = _Driver

    @property
    def driver(self) -> _Driver:
        """What carries out its protocol."""
        assert isinstance(self._driver, _Driver)
        return self._driver

    def _run_task(self, lease: Lease) -> bool:
        self.driver.note_of(TraceKind.RUN_BEGAN, lease)
        try:
            return super()._run_task(lease)
        finally:
            self.driver.note_of(TraceKind.RUN_ENDED, lease)


class _Blind:
    """On a host of its own: nothing tells of the deaths of others but their silence."""

    def hold(self, session_id: str) -> None:
        """There is nobody to see it."""

    def watch(self, session: Session) -> None:
        """There is nothing to be seen."""

    def forget(self, session_id: str) -> None:
        """Nobody is watched."""

    def close(self) -> None:
        """Nothing is held."""


class OnTrial:
    """One worker process from its spec to its exit code."""

    def __init__(self, spec: Spec) -> None:
        """Get into touch with the harness."""
        self.spec = spec
        self.clock = ShiftedClock()
        self.trouble = Trouble(spec.store_url)
        self.channel = connect(spec.control)
        self.channel.send(say="hello", process=spec.process, pid=os.getpid())
        self.barrier = Barrier(self.channel, spec.waits, spec.store_url)
        self.barrier.on_order = self.obey
        self.barrier.on_point = self._passed
        self._held = ExitStack()
        self._chance = Random(f"{spec.seed}/{spec.process}")  # noqa: S311 - replayed, not secret
        self.worker: _Worker | None = None

    def obey(self, order: Message) -> None:
        """Change what the harness wants changed in the surroundings of this worker."""
        match order["do"]:
            case "trouble":
                self.trouble.switch(order["of"])
            case "clock":
                self.clock.shift(offset_seconds=order["offset_seconds"], rate=order["rate"])
                if self.worker is not None:
                    # Timers that are due by the new time are not waited for by the old one.
                    self.worker.driver.tell(m.Tick("clock"))
            case "wall":
                step_wall(order["seconds"])
            case "quiet":
                self._held.enter_context(self.barrier.quiet())
            case "loud":
                self._held.close()
        self.channel.send(say="obeyed", do=order["do"], order=order.get("order"))

    def run(self, graphs: Mapping[str, AnyGraph]) -> int:
        """Work until drained; returns the exit code."""
        spec = self.spec
        self.clock.install()
        step_wall(spec.wall_seconds)
        store = open_store(
            spec.store_url, create=False, kind="worker", patience_seconds=spec.ttl_seconds
        )
        self._surround(store)
        fleet = Fleet(store, kind="worker", ttl_seconds=spec.ttl_seconds)
        fleet.version = spec.version or fleet.version
        worker = self.worker = _Worker(
            fleet,
            graphs,
            worker_id=spec.worker_id,
            ttl_seconds=spec.ttl_seconds,
            **self._measured(),
            **spec.settings,
        )
        worker.driver.clock, worker.driver.trace = self.clock, self._trace
        self._outside()
        points.listener = self.barrier
        self.barrier.serve()
        worker.run()
        if worker.stuck:
            _log.warning("left with something under way")
            sys.stdout.flush()
            os._exit(0)
        fleet.close()
        return 0

    def _measured(self) -> dict[str, Any]:
        """What makes a worker serve metrics, as ``baton worker --metrics`` does."""
        if not self.spec.metrics:
            return {}
        from baton.observe.instruments import WorkerInstruments, hooks_of
        from baton.observe.server import MetricsServer

        instruments = WorkerInstruments()
        server = MetricsServer("127.0.0.1", 0, collect=instruments.snapshot, title="On trial")
        server.__enter__()  # until the process ends
        return {"metrics_address": server.address, "hooks": hooks_of(instruments)}

    def _surround(self, store: Store) -> None:
        self.barrier.quiet = lambda: _quiet(store)
        self.trouble.surround(store)
        if self.spec.apart:
            vars(store)["evidence"] = lambda on_gone, on_wake: _Blind()  # noqa: ARG005

    def _outside(self) -> None:
        from baton.prove.scenarios.graphs import outside

        seconds = self.spec.node_seconds

        def work() -> None:
            time.sleep(seconds * self._chance.uniform(0.9, 1.1))

        def deliver(key: str, task: str, what: str) -> None:
            lease = self._lease(task)
            if lease is not None and self.worker is not None:
                self.worker.driver.note_of(TraceKind.EFFECT_ATTEMPT, lease)
            self.channel.send(say="deliver", key=key, task=task, what=what)

        outside.work, outside.deliver = work, deliver

    def _lease(self, task_id: str) -> Lease | None:
        """The lease under which this thread runs a node; the newest on the task if it cannot say.

        A run that has lost its lease may still be ending beside its successor's.
        """
        try:
            own = lease_in(get_config())
        except RuntimeError:
            own = None
        leases = [] if self.worker is None else self.worker.driver.leases()
        newest = [lease for lease in leases if lease.task_id == task_id]
        return own or max(newest, key=lambda lease: lease.epoch, default=None)

    def _passed(self, point: Point, about: str) -> None:
        if point is Point.STEP_BEGIN and self.worker is not None:
            lease = self._lease(about)
            if lease is not None:
                self.worker.driver.note_of(TraceKind.ATTEMPT, lease)

    def _trace(self, **line: Any) -> None:
        self.channel.send(say="trace", line=line)


@contextmanager
def _quiet(store: object) -> Iterator[None]:
    """Nobody is inside a transaction of a SQLite store, whose write lock all processes share."""
    with ExitStack() as stack:
        if isinstance(store, SqliteStore):
            stack.enter_context(store.data.lock)
            stack.enter_context(store.sessions._lock)  # noqa: SLF001 - as the driver of a trial
        yield


def run(spec: Spec) -> int:
    """Be the worker that a spec describes; returns the exit code."""
    from baton.prove.scenarios import graphs

    logging.basicConfig(
        stream=sys.stdout,
        level=logging.INFO,
        format="%(relativeCreated)8.1f ms %(threadName)s %(message)s",
    )
    try:
        return OnTrial(spec).run({name: graphs.GRAPHS[name]() for name in spec.graphs})
    except StoreRestored as error:
        # As `baton worker` does, and no failure of the process.
        _log.warning("%s", error)
        return error.exit_code
