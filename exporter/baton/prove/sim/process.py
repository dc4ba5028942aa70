"""A worker process of a trial: production's driver and protocol on lanes of virtual time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Protocol

from langchain_core.runnables import RunnableConfig

from baton.domain.continuity.model import TraceKind, TraceLine
from baton.errors import BatonError, LeaseLost
from baton.fleet import messages as m
from baton.fleet.lease import Lease, lease_of
from baton.fleet.model import LeaseKey
from baton.fleet.runner import NOTHING, Run
from baton.fleet.saver import FencedSqliteSaver
from baton.prove.sim.clocks import ProcessClock
from baton.prove.sim.machine import Machine, PlayedGraph, Stage
from baton.prove.sim.shapes import SHAPES
from baton.prove.sim.stores import Line, Memory
from baton.prove.sim.worker import SimDriver, SimWatch
from baton.prove.sim.world import Fiber, Signal, World


class Surroundings(Protocol):
    """What a process finds around it."""

    world: World
    memory: Memory
    shared_host: bool
    trace: list[TraceLine]

    def process_of(self, pid: int) -> Process | None:
        """Any process of the trial, gone or not."""

    def work_us(self) -> int:
        """How long a node works, this time."""

    def new_id(self) -> str:
        """An id for a session or a run."""

    def new_checkpoint(self) -> str:
        """An id for a checkpoint, behind every one before it."""

    def deliver(self, key: str, task_id: str, what: str) -> str:
        """Let the effects' target have an effect; returns what it holds under that key."""

    def ended(self, process: Process) -> None:
        """A process is gone."""


class Process:
    """One incarnation of a worker."""

    def __init__(
        self,
        around: Surroundings,
        pid: int,
        config: m.WorkerConfig,
        version: str,
    ) -> None:
        """Prepare a process; ``start`` begins it.

        Args:
            around: what it finds around it.
            pid: tells the processes of a trial apart.
            config: how its worker behaves.
            version: what its session says of the software.
        """
        self.around, self.pid, self.config, self.version = around, pid, config, version
        self.name = config.worker_id
        self.clock = ProcessClock(around.world)
        self.line = Line(lambda: around.world.now)
        self.dead = False
        self.frozen = False
        #: When it ended, in whatever way.
        self.gone_at: int | None = None
        self.watchers: list[tuple[SimWatch, str]] = []
        self.changed = Signal()
        self.driver: SimDriver | None = None
        #: Everything it ever ran: the task and its last epoch here.
        self.epochs: dict[str, int] = {}
        self.blocked_until: dict[str, int] = {}
        #: By task, the call that is about to begin: its lease, node and super-step.
        self.starting: dict[str, tuple[LeaseKey, str, str]] = {}
        #: Comes back so long after its end; None if not.
        self.back_after_us: int | None = None
        self._kept: list[Callable[[], None]] = []

    # Its life

    def start(self) -> None:
        """Open the store and begin to work; end at once if the store refuses."""
        try:
            store = self.around.memory.open(self.line, lambda gone: SimWatch(self, gone))
        except BatonError:
            self.leave()
            return
        self.store = store
        self.saver = FencedSqliteSaver(store.data, self)
        store.data.on_lost = self._lost
        self.driver = SimDriver(self, store, self.config)
        self.driver.begin()

    def leave(self) -> None:
        """End by its own will."""
        self._end()

    def kill(self) -> None:
        """End at once; whatever it had not committed is gone."""
        self._end()

    def _end(self) -> None:
        if self.dead:
            return
        self.dead = True
        self.gone_at = self.around.world.now
        if self.driver is not None:
            for lease in self.driver.leases():
                lease.forget()
        for watch, session_id in self.watchers:
            watch.tell(session_id, self.gone_at, held=True)
        self.around.ended(self)

    def drain(self) -> None:
        """Be asked to drain and to leave."""
        if self.driver is not None:
            self.driver.tell(m.DrainRequested())

    def look_at_timers(self) -> None:
        """See which timers are due, after the clock was shifted."""
        if self.driver is not None:
            self.driver.follow()

    def freeze(self) -> None:
        """Stand still: what comes is kept, timers too."""
        self.frozen = True

    def thaw(self) -> None:
        """Go on with whatever was kept, in its order."""
        self.frozen = False
        kept, self._kept = self._kept, []
        for job in kept:
            self.later(0, job)

    def keep(self, job: Callable[[], None]) -> None:
        """See ``Host.keep``."""
        self._kept.append(job)

    # What its parts ask of it

    def later(self, in_us: int, job: Callable[[], None]) -> None:
        """Let something happen here after a while."""
        self.around.world.later(in_us, job, self)

    def hop(self, stream: str, low_us: int, high_us: int) -> int:
        """How long something small takes this time."""
        return self.around.world.chance(stream, low_us, high_us)

    def note(
        self,
        kind: TraceKind,
        *,
        at_us: int | None = None,
        key: LeaseKey | None = None,
        **fields: int | str | None,
    ) -> None:
        """Write a line of the trace."""
        session = self.driver.session if self.driver else None
        named = session.session_id if session else None
        about: dict[str, int | str | None] = dict(fields)
        if key is not None:
            named = key.session_id
            about |= {"task_id": key.task_id, "epoch": key.epoch}
        at = self.clock.now_us() if at_us is None else at_us
        self.around.trace.append(
            TraceLine(kind=kind, at_us=at, worker_id=self.name, session_id=named, **about)  # type: ignore[arg-type]
        )

    # Leases, as the saver asks for them

    def held_lease(self, task_id: str) -> Lease | None:
        """The lease on a task that is held here now."""
        leases = self.driver.leases() if self.driver else []
        return next((lease for lease in leases if lease.task_id == task_id), None)

    def held(self, task_id: str, *, lease: bool) -> RunnableConfig | None:
        """See ``Leases.held``."""
        del lease
        found = self.held_lease(task_id)
        return found.config if found else None

    def refused(self, lost: LeaseLost, key: LeaseKey) -> None:
        """See ``Leases.refused``."""
        self._lost(lost, key)
        self.store.refused(key)

    def _lost(self, lost: LeaseLost, key: LeaseKey) -> None:
        lease = lease_of(key)
        if lease is not None:
            lease.lost = lease.lost or lost.why

    # Runs

    def run(self, lease: Lease) -> None:
        """Run a task as the driver's thread would."""
        self.epochs[lease.task_id] = lease.epoch
        shape = SHAPES[lease.claim.graph]
        graph = PlayedGraph(shape, self.saver)
        run = Run(self.store, self.saver, graph, lease, lambda node, seconds: None)  # type: ignore[arg-type]  # noqa: ARG005
        machine = Machine(self._stage, shape, self.saver, lease)
        self.around.world.go(self._running(run, machine, lease), self, self._failed)

    def _running(self, run: Run, machine: Machine, lease: Lease) -> Fiber:
        yield self.hop("threads", 40, 200)
        key, trouble, suspect = lease.claim.key, True, True
        self.note(TraceKind.RUN_BEGAN, key=key)
        run.open()
        try:
            error: Exception | None = None
            try:
                value = run.begin()
                if value is not NOTHING:
                    yield from machine.run(value)
            except Exception as raised:  # noqa: BLE001 - the runner says what it means
                error = raised
            yield self.hop("threads", 40, 200)
            trouble, suspect = run.close(error).store_trouble, False
        except BatonError:
            pass  # the run could not be recorded; the lease is in doubt
        lease.forget()
        assert self.driver is not None
        self.driver.drop_lease(lease)
        self.note(TraceKind.RUN_ENDED, key=key)
        self.driver.tell(m.RunEnded(key, trouble, suspect))

    @staticmethod
    def _failed(error: Exception | None) -> None:
        if error is not None:
            raise error

    @cached_property
    def _stage(self) -> Stage:
        around = self.around

        def starting(key: LeaseKey, node: str, step_id: str) -> None:
            self.starting[key.task_id] = (key, node, step_id)

        def trying(key: LeaseKey, step_id: str, effect_key: str) -> None:
            self.note(TraceKind.EFFECT_ATTEMPT, key=key, step=step_id, effect_key=effect_key)

        return Stage(
            go=lambda fiber, then: around.world.go(fiber, self, then),
            later=self.later,
            changed=self.changed,
            new_id=around.new_checkpoint,
            work_us=around.work_us,
            hop_us=lambda: self.hop("graphs", 50, 300),
            blocked_us=lambda task: self.blocked_until.get(task, 0) - around.world.now,
            starting=starting,
            deliver=around.deliver,
            trying=trying,
            flush=self._flush,
        )

    def _flush(self) -> None:
        with suppress(BatonError):  # whoever writes next meets the same error
            self.store.data.flush()
