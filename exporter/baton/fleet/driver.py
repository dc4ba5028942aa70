"""Threads that carry out what the protocol decides: the only place where it meets the world.

Two lanes carry the store's calls, each in order. Heartbeats, loss and peers go to the sessions
file and never wait for a data write; claims and the end of a session go to the data file.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

from baton import errors
from baton.domain.words import Evidence
from baton.errors import BatonError, StoreRestored
from baton.fleet import messages as m
from baton.fleet.lease import Lease, LiveSession
from baton.fleet.model import ClaimRequest, LeaseKey, SessionSpec
from baton.fleet.points import Point, reach
from baton.fleet.process import ProcessIdentity
from baton.fleet.protocol import WorkerProtocol
from baton.fleet.store import Store, new_id

_log = logging.getLogger("baton.worker")


class Runner(Protocol):
    """Runs a task to its end on a thread of its own."""

    def __call__(self, lease: Lease) -> bool:
        """Run; returns whether the store gave trouble, so that the lease is in doubt."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """Who is told what the worker measures; told nothing by default.

    Attributes:
        on_beat: one of ``RENEWAL_RESULTS``, and how long the renewal took, in seconds.
        on_node: the graph, the node, and how long its body ran, in seconds.
        on_write: how long a checkpoint took to become durable, in seconds.
    """

    on_beat: Callable[[str, float], None] = lambda result, seconds: None  # noqa: ARG005
    on_node: Callable[[str, str, float], None] = lambda graph, node, seconds: None  # noqa: ARG005
    on_write: Callable[[float], None] = lambda seconds: None  # noqa: ARG005


@dataclass(slots=True)
class Lane:
    """One thread that does one thing after another."""

    name: str
    todo: SimpleQueue[Callable[[], None] | None] = field(default_factory=SimpleQueue)
    thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin with what is at hand."""
        self.thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self.thread.start()

    def put(self, job: Callable[[], None]) -> None:
        """Do this after everything before it."""
        self.todo.put(job)

    def end(self, timeout_seconds: float) -> bool:
        """Wait for what is at hand; returns whether that has ended in time."""
        self.todo.put(None)
        if self.thread is not None:
            self.thread.join(timeout_seconds)
        return self.thread is None or not self.thread.is_alive()

    def _run(self) -> None:
        while (job := self.todo.get()) is not None:
            job()


class Driver:
    """One worker's threads, from its first session to its last."""

    def __init__(
        self,
        store: Store,
        config: m.WorkerConfig,
        *,
        kind: str,
        runner: Runner | None = None,
        version: str = "",
        metrics_address: str | None = None,
        hooks: Hooks | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Put a worker together; nothing runs yet.

        Args:
            store: the open store.
            config: how the worker behaves.
            kind: ``worker`` or ``embedded``.
            runner: runs a task; None for a session that only leases by hand.
            version: what the session row says of the software.
            metrics_address: where this process exports its own metrics, if it does.
            hooks: who is told of measurements.
            draw: random numbers from 0 to below 1, for ``pacing``.
        """
        self.config = config
        self.session: LiveSession | None = None
        self.hooks = hooks or Hooks()
        self._store = store
        self._kind = kind
        self._runner = runner
        self._version = version
        self._metrics_address = metrics_address
        self._protocol = WorkerProtocol(config, draw)
        self._events: SimpleQueue[m.Event] = SimpleQueue()
        self._timers: dict[str, float] = {}
        self._beats = self.lane("baton-heartbeat")
        self._calls = self.lane("baton-claims")
        self._watch = store.evidence(self._on_gone, self._on_wake)
        self._leases: dict[LeaseKey, Lease] = {}
        self._leases_lock = threading.Lock()
        self._opened = threading.Event()
        self._complaints: dict[str, str] = {}
        self._done = False
        self.fatal: BatonError | None = None
        #: Once ``run`` has returned: whether a run or a call to the store has not.
        self.stuck = False

    def lane(self, name: str) -> Lane:
        """What carries the store's calls; a simulation has lanes of its own."""
        return Lane(name)

    # The loop

    def run(self) -> None:
        """Run until drained.

        Raises:
            BatonError: the store turned out to be unusable, for instance an older copy.
        """
        self._beats.start()
        self._calls.start()
        try:
            self._carry_out(self._protocol.start())
            while not self._done:
                self._turn()
        finally:
            self._close()
        if self.fatal is not None:
            raise self.fatal

    def _turn(self) -> None:
        """Wait for one event or one timer, and carry out what follows."""
        now = time.monotonic()
        due = min(self._timers.items(), key=lambda item: item[1], default=None)
        try:
            event: m.Event = self._events.get(
                timeout=None if due is None else max(0.0, due[1] - now)
            )
        except Empty:
            assert due is not None
            self._timers.pop(due[0], None)
            event = m.Tick(due[0])
        self.react(event)

    def react(self, event: m.Event) -> None:
        """Hand one event to the protocol, and carry out what follows."""
        commands = self._protocol.on(event, time.monotonic())
        if self.session is not None and self._protocol.session_id == self.session.session_id:
            self.session.confirm(self._protocol.confirmed_until)
        self._carry_out(commands)

    def tell(self, event: m.Event) -> None:
        """Tell the protocol something, from any thread or from a signal handler."""
        self._events.put(event)

    def wait_opened(self, timeout_seconds: float) -> LiveSession | None:
        """The live session, once there is one; None if that took too long."""
        deadline = time.monotonic() + timeout_seconds
        while (left := deadline - time.monotonic()) > 0 and self.fatal is None:
            session = self.session
            if session is not None and session.over is None:
                return session
            self._opened.wait(min(left, 0.05))
        return None

    def _close(self) -> None:
        self._watch.close()
        if self.session is not None:
            self.session.end("stopped")
        lanes = (self._beats, self._calls)
        ended = [lane.end(self.config.margin_seconds) for lane in lanes]
        self.stuck = bool(self.leases()) or not all(ended)

    # Commands

    def _carry_out(self, commands: list[m.Command]) -> None:
        for command in commands:
            self._do(command)

    def _do(self, command: m.Command) -> None:  # noqa: C901, PLR0912 - the dispatch table, flat on purpose
        match command:
            case m.SetTimer():
                self._timers[command.name] = command.at
            case m.SendBeat():
                self._beats.put(lambda: self._send_beat(command.session_id))
            case m.LookAtPeers():
                self._beats.put(lambda: self._call("peers", self._look_at_peers))
            case m.Bury():
                self._beats.put(lambda: self._call("bury", lambda: self._bury(command)))
            case m.TryClaim():
                self._calls.put(lambda: self._call("claim", lambda: self._claim(command)))
            case m.OpenSession():
                self._calls.put(lambda: self._call("open", self._open_session))
            case m.StopSession():
                self._calls.put(lambda: self._call("stop", lambda: self._stop(command)))
            case m.DrainSession():
                self._calls.put(lambda: self._call("drain", lambda: self._drain(command)))
            case m.NoteLate():
                self._calls.put(lambda: self._call("note", lambda: self._note_late(command)))
            case m.Watch():
                self._watch.watch(command.session)
            case m.Forget():
                self._watch.forget(command.session_id)
            case m.StartRun():
                self._start_run(command)
            case m.DrainRuns():
                self._drain_runs()
            case m.LoseRuns():
                self._lose_runs(command)
            case m.Exit():
                self._done = True

    def _call(self, what: str, call: Callable[[], m.Event | None]) -> None:
        """Make a call to the store on a lane, and tell the protocol how it went."""
        try:
            event = call()
        except StoreRestored as error:
            # Whoever goes on writing to a copy would split the history.
            self.fatal = error
            self._end_all("stopped")
            self._done = True
            event = m.CallFailed(what, str(error))
        except errors.LeaseLost:
            event = m.SessionOver()
        except (BatonError, OSError) as error:
            self._complain(what, str(error))
            event = m.CallFailed(what, str(error))
        else:
            self._complaints.pop(what, None)
        if event is not None:
            self.tell(event)

    def _complain(self, what: str, words: str) -> None:
        # Once, and not with every try for as long as it lasts.
        if self._complaints.get(what) != words:
            _log.warning("store did not answer: %s", words, extra={"call": what})
        self._complaints[what] = words

    # Calls, on a lane

    def _open_session(self) -> m.Event:
        session_id = new_id()
        sent_at = time.monotonic()
        lock = self._watch.hold(session_id)
        beat = self._store.start_session(self._spec(session_id, lock))
        self.session = LiveSession(session_id, self.config.worker_id)
        self._opened.set()
        _log.info("session started", extra={"session_id": session_id})
        return m.SessionOpened(session_id, beat, sent_at)

    def _spec(self, session_id: str, lock: tuple[Path, int] | None) -> SessionSpec:
        identity = ProcessIdentity.of_self()
        return SessionSpec(
            session_id=session_id,
            worker_id=self.config.worker_id,
            pool=self.config.pool,
            kind=self._kind,
            interval_us=round(self.config.interval_seconds * 1e6),
            ttl_us=round(self.config.ttl_seconds * 1e6),
            concurrency=self.config.concurrency,
            graphs=self.config.graphs,
            version=self._version,
            metrics_address=self._metrics_address,
            host=identity.host,
            pid=identity.pid,
            start_ticks=identity.start_ticks,
            boot_id=identity.boot_id,
            pid_namespace=identity.pid_namespace,
            lock_path=str(lock[0]) if lock else None,
            lock_inode=lock[1] if lock else None,
        )

    def sending(self) -> float:
        """The moment from which a renewal that is about to be sent counts."""
        return time.monotonic()

    def _send_beat(self, session_id: str) -> None:
        sent_at = self.sending()
        result = "failed"

        def beat() -> m.Event:
            nonlocal result
            reach(Point.HB_BEFORE, session_id)
            answer = self._store.heartbeat(session_id)
            result = "accepted" if answer.accepted else "refused"
            reach(Point.HB_AFTER_WRITE, session_id)
            return m.BeatDone(answer, sent_at)

        self._call("beat", beat)
        self.hooks.on_beat(result, time.monotonic() - sent_at)

    def _look_at_peers(self) -> m.Event:
        now_us, sessions = self._store.peers()
        return m.PeersSeen(now_us, tuple(sessions))

    def _bury(self, command: m.Bury) -> m.Event:
        reach(Point.BURY_BEFORE, command.loss.by or "")
        if self._store.bury(command.loss):
            loss = command.loss
            about = {"peer_session_id": loss.session_id, "evidence": loss.evidence.value}
            _log.warning("peer lost", extra=about)
        return m.Buried(command.loss.session_id)

    def _claim(self, command: m.TryClaim) -> m.Event:
        config = self.config
        claims = self._store.claim(
            ClaimRequest(
                session_id=command.session_id,
                worker_id=config.worker_id,
                pool=config.pool,
                graphs=config.graphs,
                limit=command.limit,
                running=command.running,
                deadlines_us={g: round(s * 1e6) for g, s in config.deadlines_seconds.items()},
                fruitless_max=config.fruitless_max,
                avoid_us=round(config.ttl_seconds * 1e6),
            )
        )
        for task_id in claims.quarantined:
            _log.error("task quarantined", extra={"task_id": task_id})
        outstanding = 0
        if config.until_idle and not claims.won:
            outstanding = sum(
                tasks
                for pool, graph, state, tasks in self._store.counts()
                if pool == config.pool and graph in config.graphs and state in ("pending", "active")
            )
        return m.ClaimDone(claims, outstanding)

    def _stop(self, command: m.StopSession) -> m.Event:
        reach(Point.RELEASE_BEFORE, command.session_id)
        self._store.stop_session(
            command.session_id, self.config.worker_id, command.reason, cut_off=command.cut_off
        )
        _log.info("session stopped", extra={"session_id": command.session_id})
        return m.SessionStopped()

    def _drain(self, command: m.DrainSession) -> None:
        self._store.drain_session(command.session_id, self.config.worker_id)

    def _note_late(self, command: m.NoteLate) -> None:
        self._store.note_late(command.session_id, self.config.worker_id, command.silence_us)

    # Peers and runs

    def _on_gone(self, session_id: str, evidence: Evidence, held: bool, ended_ns: int) -> None:  # noqa: FBT001 - DeathWatch's signature
        # The same moment on the store's clock, whose unit is the microsecond.
        ago_us = (time.monotonic_ns() - ended_ns) // 1000
        last_sign_at = self._store.clock.now_us() - ago_us if held else None
        self.tell(m.PeerGone(session_id, evidence, last_sign_at))

    def _on_wake(self) -> None:
        self.tell(m.Woken())

    def _start_run(self, command: m.StartRun) -> None:
        session = self.session
        assert session is not None
        assert self._runner is not None
        lease = Lease(self._store, command.claim, session)
        lease.on_write = self.hooks.on_write
        self.add_lease(lease)
        threading.Thread(
            target=self._run_task, args=(lease,), name=f"baton-run-{lease.task_id}", daemon=True
        ).start()

    def _run_task(self, lease: Lease) -> None:
        assert self._runner is not None
        trouble = suspect = True
        try:
            trouble = self._runner(lease)
            suspect = False
        except BatonError as error:
            about = {"task_id": lease.task_id, "epoch": lease.epoch}
            _log.warning("run could not be recorded: %s", error, extra=about)
        finally:
            self.drop_lease(lease)
            self.tell(m.RunEnded(lease.claim.key, trouble, suspect))

    def add_lease(self, lease: Lease) -> None:
        """Let a lease learn of the session's fate."""
        with self._leases_lock:
            self._leases[lease.claim.key] = lease

    def drop_lease(self, lease: Lease) -> None:
        """The lease is over."""
        with self._leases_lock:
            self._leases.pop(lease.claim.key, None)

    def lease(self, key: LeaseKey) -> Lease | None:
        """A lease that is held now."""
        with self._leases_lock:
            return self._leases.get(key)

    def leases(self) -> list[Lease]:
        """The leases that are held now."""
        with self._leases_lock:
            return list(self._leases.values())

    def _drain_runs(self) -> None:
        for lease in self.leases():
            if lease.control is not None:
                lease.control.request_drain("drain")

    def _lose_runs(self, command: m.LoseRuns) -> None:
        session = self.session
        if session is not None and session.session_id == command.session_id:
            session.end(command.why)
            self._opened.clear()
        for lease in self.leases():
            if lease.claim.key.session_id == command.session_id:
                lease.lost = lease.lost or command.why

    def _end_all(self, why: str) -> None:
        if self.session is not None:
            self.session.end(why)
        for lease in self.leases():
            lease.lost = lease.lost or why
