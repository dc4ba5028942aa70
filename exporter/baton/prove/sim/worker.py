"""Production's driver on lanes of virtual time, and what the kernel tells it of its peers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from baton.domain.continuity.model import TraceKind
from baton.domain.words import Evidence
from baton.fleet import messages as m
from baton.fleet.driver import Lane
from baton.fleet.evidence import OnGone
from baton.fleet.lease import Lease
from baton.fleet.model import Session, SessionSpec
from baton.prove.scenarios.tracing import TracedDriver
from baton.prove.sim.stores import SimStore

if TYPE_CHECKING:
    from baton.prove.sim.process import Process

#: The host that every process of a trial says it is on.
HOST = "sim"

#: How long after a death the kernel tells of it, at least and at most, in microseconds.
_EVIDENCE_US = (600, 6_500)


class _SimLane(Lane):
    """One thing after another, each a moment after the one before."""

    __slots__ = ("_busy", "_jobs", "_process")

    def __init__(self, name: str, process: Process) -> None:
        super().__init__(name)
        self._process = process
        self._jobs: list[Callable[[], None]] = []
        self._busy = False

    def start(self) -> None:
        """There is no thread."""

    def end(self, timeout_seconds: float) -> bool:
        """There is no thread."""
        del timeout_seconds
        return not self._busy

    def put(self, job: Callable[[], None]) -> None:
        """Do this after everything before it."""
        self._jobs.append(job)
        self._next()

    def _next(self) -> None:
        if not self._busy and self._jobs:
            self._busy = True
            self._process.later(self._process.hop("calls", 80, 400), self._do)

    def _do(self) -> None:
        self._jobs.pop(0)()
        self._busy = False
        self._next()


class SimWatch:
    """What a process knows of its peers' deaths."""

    def __init__(self, process: Process, on_gone: OnGone) -> None:
        """Watch nobody yet."""
        self._process, self._on_gone = process, on_gone
        self.watched: set[str] = set()

    def hold(self, session_id: str) -> tuple[Path, int] | None:
        """The process itself is the sign of life."""
        del session_id
        return None

    def watch(self, session: Session) -> None:
        """Be told when that process is gone."""
        around = self._process.around
        peer = around.process_of(session.spec.pid)
        if not around.shared_host or peer is None or session.spec.session_id in self.watched:
            return
        self.watched.add(session.spec.session_id)
        if peer.gone_at is not None:
            self.tell(session.spec.session_id, peer.gone_at, held=False)
        else:
            peer.watchers.append((self, session.spec.session_id))

    def forget(self, session_id: str) -> None:
        """Watch that one no more."""
        self.watched.discard(session_id)

    def close(self) -> None:
        """Watch nobody."""
        self.watched.clear()

    def tell(self, session_id: str, gone_at: int, *, held: bool) -> None:
        """The kernel tells of a death, in a moment."""
        process = self._process

        def told() -> None:
            if session_id in self.watched:
                self.watched.discard(session_id)
                ago_us = process.around.world.now - gone_at
                ended_ns = (process.clock.now_us() - ago_us) * 1000
                self._on_gone(session_id, Evidence.PIDFD, held, ended_ns)

        process.later(process.hop("evidence", *_EVIDENCE_US), told)


class SimDriver(TracedDriver):
    """Production's driver, whose threads are jobs of the world."""

    def __init__(self, process: Process, store: SimStore, config: m.WorkerConfig) -> None:
        """Put a worker together; nothing runs yet."""
        self._process = process
        self._ring_at: int | None = None
        super().__init__(
            store,
            config,
            kind="worker",
            version=process.version,
            draw=lambda: process.hop("pacing", 0, 999_999) / 1e6,
        )

    def lane(self, name: str) -> Lane:
        """See ``Driver.lane``."""
        return _SimLane(name, self._process)

    def begin(self) -> None:
        """What ``Driver.run`` begins with."""
        self._carry_out(self._protocol.start())
        self.follow()

    def tell(self, event: m.Event) -> None:
        """Tell the protocol something, in a moment."""
        self._process.later(self._process.hop("events", 10, 60), lambda: self._arrive(event))

    def _arrive(self, event: m.Event) -> None:
        if not self._done:
            self.react(event)
        self.follow()

    def follow(self) -> None:
        """See to the next timer, or to the end; also after the clock was shifted."""
        process = self._process
        if self._done:
            process.leave()
            return
        process.changed.fire()
        if self._timers:
            at = process.clock.world_us(min(self._timers.values()))
            if self._ring_at is None or at < self._ring_at:
                self._ring_at = at
                process.around.world.at(at, self._ring, process)

    def _ring(self) -> None:
        self._ring_at = None
        name, at = min(self._timers.items(), key=lambda item: item[1], default=("", 0.0))
        if name and not self._done and round(at * 1e6) <= self._process.clock.now_us():
            del self._timers[name]
            self.react(m.Tick(name))
        self.follow()

    def _spec(self, session_id: str, lock: tuple[Path, int] | None) -> SessionSpec:
        del lock
        config = self.config
        return SessionSpec(
            session_id=session_id,
            worker_id=config.worker_id,
            pool=config.pool,
            kind=self._kind,
            interval_us=round(config.interval_seconds * 1e6),
            ttl_us=round(config.ttl_seconds * 1e6),
            concurrency=config.concurrency,
            graphs=config.graphs,
            version=self._version,
            host=HOST,
            pid=self._process.pid,
            boot_id=HOST,
        )

    def now_us(self) -> int:
        """See ``TracedDriver.now_us``."""
        return self._process.clock.now_us()

    def note(self, kind: TraceKind, *, at_us: int | None = None, **fields: int) -> None:
        """See ``TracedDriver.note``."""
        self._process.note(kind, at_us=at_us, key=None, **fields)

    def _start_run(self, command: m.StartRun) -> None:
        assert self.session is not None
        lease = Lease(self._store, command.claim, self.session)
        self.add_lease(lease)
        self._process.run(lease)
