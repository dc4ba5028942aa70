"""Faults: who breaks what, at which arrival, and what was seen of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from baton.domain.continuity.model import FaultFact, TraceKind
from baton.errors import StoreError
from baton.fleet.points import Point
from baton.prove.scenarios.model import ALL, HOLDER, STORE, SUCCESSOR, Do, Fault, Scenario
from baton.prove.sim.process import Process
from baton.prove.sim.world import Died, World

#: Points that concern a session and not a task.
_OF_SESSIONS = frozenset(
    {Point.CLAIM_BEFORE, Point.BURY_BEFORE, Point.HB_BEFORE, Point.HB_AFTER_WRITE}
)

#: Points behind a commit whose answer can be lost on its way.
_ANSWERS = frozenset({Point.HB_AFTER_WRITE, Point.CKPT_AFTER_WRITE, Point.DONE_AFTER})

_EVERYBODY = (ALL, STORE)

#: How much later than the first the last of several processes goes on, in microseconds.
_WAKES_US = 50_000


class Stage(Protocol):
    """What faults are done to."""

    world: World
    processes: list[Process]

    def note_store_step(self, seconds: float) -> None:
        """Let the wall clock of the store's host leap."""

    def restart(self, process: Process, after_us: int) -> None:
        """Let a process that is gone come back after a while."""

    def twin(self, process: Process) -> Process:
        """Start a second process under a worker's name."""

    def resubmit(self, task_id: str) -> bool:
        """Submit a task again; returns whether it was new."""

    def snapshot(self) -> int:
        """Copy the data aside; returns how far the ledger went."""

    def restore(self) -> int:
        """Stop everybody, put the copy back, start everybody; returns how far the ledger goes."""


@dataclass(slots=True)
class Planned:
    """A fault, and how far it has come."""

    fault: Fault
    arrivals: int = 0
    fired: int = 0
    open_at: int | None = None
    ended_at: int = 0
    waiting: list[Process] = field(default_factory=list)
    observed: list[str] = field(default_factory=list)

    @property
    def spent(self) -> bool:
        """Whether it has happened as often as it is to."""
        return self.fired >= self.fault.times


def refused_by_sim(scenario: Scenario) -> str | None:
    """Why the simulator cannot perform a scenario; None if it can."""
    for fault in scenario.faults:
        why = _cannot(fault)
        if why is not None:
            return f"fault {fault.name!r}: {why}"
    return None


def _cannot(fault: Fault) -> str | None:
    holding = fault.at is Point.CKPT_WRITE
    if fault.do in (Do.SIGSTOP, Do.DELAY, Do.BLOCK_LOOP, Do.BARRIER) and holding:
        return (
            f"{fault.do} at {fault.at} would hold the write lock, and here nobody can wait for it"
        )
    if fault.do is Do.FAIL_WRITE and not holding:
        return f"a write fails here at {Point.CKPT_WRITE} only"
    if fault.do is Do.DROP_ACK and fault.at not in _ANSWERS:
        points = ", ".join(sorted(_ANSWERS))
        return f"answers are lost here at {points} only"
    if fault.do is Do.DELAY and fault.at is None:
        return "a delay needs a point here"
    if fault.do is Do.BLOCK_LOOP and fault.at is not Point.STEP_BEGIN:
        return f"a loop is blocked here at {Point.STEP_BEGIN} only"
    if fault.do in (Do.SIGSTOP, Do.SIGKILL, Do.SIGTERM) and fault.actor == STORE:
        return "the store is no process here"
    return None


class Director:
    """Watches the points that processes reach, and breaks what is to be broken."""

    def __init__(self, stage: Stage, faults: Iterable[Fault]) -> None:
        """Plan faults.

        Args:
            stage: what they are done to.
            faults: in the order in which the scenario names them.
        """
        self._stage, self._world = stage, stage.world
        self.planned = [Planned(fault) for fault in faults]
        self._by_name = {plan.fault.name: plan for plan in self.planned}
        #: Until when something is still disturbed, in the world's time.
        self.healed_at = 0

    def begin(self) -> None:
        """Open the faults that depend on no other."""
        for plan in self.planned:
            if plan.fault.after is None:
                self._open(plan)

    def _open(self, plan: Planned) -> None:
        plan.open_at = self._world.now + _us(plan.fault.after_seconds)
        if plan.fault.at is None:
            self._world.at(plan.open_at, lambda: self._on_time(plan))

    @property
    def open(self) -> bool:
        """Whether something may still happen by the clock alone."""
        now = self._world.now
        return self.healed_at > now or any(
            plan.fault.at is None and not plan.spent and plan.open_at is not None
            for plan in self.planned
        )

    def facts(self) -> tuple[FaultFact, ...]:
        """What was planned, and what was seen of it."""
        return tuple(
            FaultFact(
                name=plan.fault.name,
                must_fire=False,
                fired=plan.fired,
                observed=tuple(plan.observed),
            )
            for plan in self.planned
        )

    # Arrivals

    def reach(self, point: Point, about: str) -> None:
        """A process has reached a point of its life."""
        process = self._world.current
        if not isinstance(process, Process):
            return
        if point is Point.STEP_BEGIN:
            self._attempt(process, about)
        for plan in self.planned:
            if plan.fault.at is point and self._meets(plan, process, point, about):
                plan.arrivals += 1
                if plan.arrivals >= plan.fault.nth:
                    plan.arrivals = 0
                    self._fire(plan, process, about)

    @staticmethod
    def _attempt(process: Process, task_id: str) -> None:
        key, node, step = process.starting[task_id]
        process.note(TraceKind.ATTEMPT, key=key, node=node, step=step)

    def _meets(self, plan: Planned, process: Process, point: Point, about: str) -> bool:
        fault = plan.fault
        if plan.spent or plan.open_at is None or self._world.now < plan.open_at:
            return False
        session = point in _OF_SESSIONS or about not in process.epochs
        if point is Point.CLAIM_AFTER:
            session, epochs = False, {about: self._epoch(process, about)}
        else:
            epochs = process.epochs if session else {about: process.epochs[about]}
        if fault.task is not None and fault.task not in (epochs if session else {about}):
            return False
        if fault.actor == HOLDER:
            return any(epoch == 1 for epoch in epochs.values())
        if fault.actor == SUCCESSOR:
            return any(epoch > 1 for epoch in epochs.values())
        return fault.actor in (*_EVERYBODY, process.name)

    @staticmethod
    def _epoch(process: Process, task_id: str) -> int:
        task = process.store.task_or_none(task_id)
        return task.epoch if task else 0

    def _on_time(self, plan: Planned) -> None:
        fault = plan.fault
        hit = [
            process
            for process in self._stage.processes
            if not process.dead and fault.actor in (ALL, process.name)
        ]
        if fault.do in (Do.OUTAGE, Do.CLOCK_OFFSET, Do.RESUBMIT, Do.SNAPSHOT, Do.RESTORE):
            self._fire(plan, hit[0] if hit else None, fault.task or "")
            return
        for process in hit:
            plan.fired -= process is not hit[0]
            self._fire(plan, process, fault.task or "")

    # What is done

    def _fire(self, plan: Planned, process: Process | None, about: str) -> None:
        plan.fired += 1
        fault = plan.fault
        if fault.for_seconds is not None:
            self.healed_at = max(self.healed_at, self._world.now + _us(fault.for_seconds))
        self.healed_at = max(self.healed_at, self._world.now)
        for other in self.planned:
            if other.fault.after == fault.name and other.open_at is None:
                self._open(other)
        if fault.at is None and not plan.spent:
            self._world.later(_us(fault.after_seconds or 1.0), lambda: self._on_time(plan))
        _ACTS[fault.do](self, plan, process, about)

    def _see(self, plan: Planned, what: str) -> None:
        plan.observed.append(f"{what} at {self._world.now / 1e6:.6f} s")

    def _sigkill(self, plan: Planned, process: Process | None, about: str) -> None:
        del about
        assert process is not None
        process.kill()
        self._see(plan, f"{process.name} (pid {process.pid}) ended by signal 9")
        if plan.fault.back_after_seconds is not None:
            self._stage.restart(process, _us(plan.fault.back_after_seconds))
        if self._world.current is process:
            raise Died

    def _sigstop(self, plan: Planned, process: Process | None, about: str) -> None:
        del about
        assert process is not None
        process.freeze()
        self._see(plan, f"{process.name} (pid {process.pid}) stood still")
        if plan.fault.for_seconds is not None:
            # Of several that stood still together, one is awake before the others.
            slow_us = self._world.chance("wakes", 0, _WAKES_US) if plan.fault.actor == ALL else 0
            wakes_us = _us(plan.fault.for_seconds) + slow_us
            self._world.later(wakes_us, lambda: self._go_on(plan, process))
        if self._world.current is process:
            self._stand(process, lambda: not process.frozen)

    def _go_on(self, plan: Planned, process: Process) -> None:
        if not process.dead:
            self._see(plan, f"{process.name} (pid {process.pid}) went on")
            process.thaw()

    def _stand(self, process: Process, done: Callable[[], bool]) -> None:
        """Stay in the middle of a call while the rest of the world goes on."""
        self._world.until(lambda: process.dead or done())
        if process.dead:
            raise Died

    def _sigterm(self, plan: Planned, process: Process | None, about: str) -> None:
        del about
        assert process is not None
        process.drain()
        self._see(plan, f"{process.name} (pid {process.pid}) was asked to drain")
        if plan.fault.back_after_seconds is not None:
            process.back_after_us = _us(plan.fault.back_after_seconds)

    def _outage(self, plan: Planned, process: Process | None, about: str) -> None:
        del about
        fault = plan.fault
        until = None if fault.for_seconds is None else self._world.now + _us(fault.for_seconds)
        hit = self._stage.processes if fault.actor in _EVERYBODY else [process] if process else []
        for one in hit:
            one.line.cut(fault.of, until)
        named = ", ".join(one.name for one in hit if not one.dead)
        self._see(plan, f"{fault.of} of {named} refused")

    def _drop_ack(self, plan: Planned, process: Process | None, about: str) -> None:
        del about
        assert process is not None
        self._see(plan, f"an answer to {process.name} was lost")
        raise StoreError(url="sqlite:///:memory:", detail="the trial has lost the answer")

    def _delay(self, plan: Planned, process: Process | None, about: str) -> None:
        del about
        assert process is not None
        until = self._world.now + _us(plan.fault.for_seconds or 0)
        self._world.at(until, lambda: None)
        self._see(plan, f"a call of {process.name} was held up")
        self._stand(process, lambda: self._world.now >= until and not process.frozen)

    def _fail_write(self, plan: Planned, process: Process | None, about: str) -> None:
        del about
        assert process is not None
        self._see(plan, f"a write of {process.name} failed")
        raise sqlite3.OperationalError("disk I/O error")

    def _block_loop(self, plan: Planned, process: Process | None, about: str) -> None:
        assert process is not None
        until = self._world.now + _us(plan.fault.for_seconds or 0)
        process.blocked_until[about] = until
        self._world.at(until, lambda: None)
        self._see(plan, f"a node of {process.name} blocked its thread")
        self._stand(process, lambda: self._world.now >= until and not process.frozen)

    def _clock_offset(self, plan: Planned, process: Process | None, about: str) -> None:
        del about
        seconds = plan.fault.seconds
        if plan.fault.actor == STORE:
            self._stage.note_store_step(seconds)
            self._see(plan, f"the store's wall clock leapt by {seconds:g} s")
            return
        for one in self._hit(plan, process):
            one.clock.shift(offset_us=round(seconds * 1e6))
            self._follow(one)
            self._see(plan, f"the clock of {one.name} leapt by {seconds:g} s")

    def _clock_rate(self, plan: Planned, process: Process | None, about: str) -> None:
        del about
        for one in self._hit(plan, process):
            one.clock.shift(rate_permille=round(plan.fault.rate * 1000))
            self._follow(one)
            self._see(plan, f"the clock of {one.name} runs {plan.fault.rate:g} times as fast")

    def _hit(self, plan: Planned, process: Process | None) -> list[Process]:
        if plan.fault.actor == ALL:
            return [one for one in self._stage.processes if not one.dead]
        return [process] if process else []

    def _follow(self, process: Process) -> None:
        """Let a process see that its timers are due at other moments."""
        process.later(0, process.look_at_timers)

    def _barrier(self, plan: Planned, process: Process | None, about: str) -> None:
        del about
        assert process is not None
        plan.waiting.append(process)
        parties = plan.fault.parties
        # Every arrival counts as one firing; the barrier opens once and stays open.
        plan.fired = 0 if len(plan.waiting) < parties else plan.fault.times
        if len(plan.waiting) >= parties:
            named = ", ".join(one.name for one in plan.waiting)
            self._see(plan, f"{named} were there together")
        self._stand(process, lambda: len(plan.waiting) >= parties)

    def _twin(self, plan: Planned, process: Process | None, about: str) -> None:
        del about
        assert process is not None
        made = self._stage.twin(process)
        self._see(plan, f"pid {made.pid} began as {made.name} beside pid {process.pid}")

    def _resubmit(self, plan: Planned, process: Process | None, about: str) -> None:
        del process, about
        task_id = plan.fault.task or ""
        was = "a new one" if self._stage.resubmit(task_id) else "known"
        self._see(plan, f"{task_id} was submitted again and found {was}")

    def _snapshot(self, plan: Planned, process: Process | None, about: str) -> None:
        del process, about
        self._see(plan, f"copied as of position {self._stage.snapshot()}")

    def _restore(self, plan: Planned, process: Process | None, about: str) -> None:
        del about
        self._see(plan, f"put back as of position {self._stage.restore()}")
        if process is not None and process.dead and self._world.current is process:
            raise Died


_ACTS: dict[Do, Callable[[Director, Planned, Process | None, str], None]] = {
    Do.SIGKILL: Director._sigkill,  # noqa: SLF001 - its own table
    Do.SIGSTOP: Director._sigstop,  # noqa: SLF001
    Do.SIGTERM: Director._sigterm,  # noqa: SLF001
    Do.OUTAGE: Director._outage,  # noqa: SLF001
    Do.DROP_ACK: Director._drop_ack,  # noqa: SLF001
    Do.DELAY: Director._delay,  # noqa: SLF001
    Do.FAIL_WRITE: Director._fail_write,  # noqa: SLF001
    Do.BLOCK_LOOP: Director._block_loop,  # noqa: SLF001
    Do.CLOCK_OFFSET: Director._clock_offset,  # noqa: SLF001
    Do.CLOCK_RATE: Director._clock_rate,  # noqa: SLF001
    Do.BARRIER: Director._barrier,  # noqa: SLF001
    Do.TWIN: Director._twin,  # noqa: SLF001
    Do.RESUBMIT: Director._resubmit,  # noqa: SLF001
    Do.SNAPSHOT: Director._snapshot,  # noqa: SLF001
    Do.RESTORE: Director._restore,  # noqa: SLF001
}


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
