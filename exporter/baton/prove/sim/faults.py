"""Faults in the simulated world: how each is done, and what was seen of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from baton.domain.continuity.model import TraceKind
from baton.errors import StoreError
from baton.fleet.points import Point
from baton.prove.scenarios import arrivals
from baton.prove.scenarios.arrivals import ANSWERS, EVERYBODY, Arrivals, us
from baton.prove.scenarios.model import ALL, STORE, Do, Fault, Scenario
from baton.prove.sim.process import Process
from baton.prove.sim.world import Died, World

#: How much later than the first the last of several processes goes on, in microseconds.
_WAKES_US = 50_000

Planned = arrivals.Planned[Process]


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
    if fault.do is Do.DROP_ACK and fault.at not in ANSWERS:
        points = ", ".join(sorted(ANSWERS))
        return f"answers are lost here at {points} only"
    if fault.do is Do.DELAY and fault.at is None:
        return "a delay needs a point here"
    if fault.do is Do.BLOCK_LOOP and fault.at is not Point.STEP_BEGIN:
        return f"a loop is blocked here at {Point.STEP_BEGIN} only"
    if fault.do in (Do.SIGSTOP, Do.SIGKILL, Do.SIGTERM) and fault.actor == STORE:
        return "the store is no process here"
    return None


class Director(Arrivals[Process]):
    """Breaks what is to be broken in the simulated world."""

    def __init__(self, stage: Stage, faults: Iterable[Fault]) -> None:
        """Plan faults.

        Args:
            stage: what they are done to.
            faults: in the order in which the scenario names them.
        """
        super().__init__(faults)
        self._points = {plan.fault.at for plan in self.planned}
        self._stage, self._world = stage, stage.world

    # See ``Arrivals``

    @property
    def now(self) -> int:
        """The world's time."""
        return self._world.now

    @property
    def everybody(self) -> Sequence[Process]:
        """Every process of the trial."""
        return self._stage.processes

    def at(self, when_us: int, job: Callable[[], None]) -> None:
        """In the world's time."""
        self._world.at(when_us, job)

    def act(self, plan: Planned, process: Process | None, about: str) -> None:
        """By the table of acts."""
        _ACTS[plan.fault.do](self, plan, process, about)

    def epoch_of(self, process: Process, task_id: str) -> int:
        """As the store has it."""
        task = process.store.task_or_none(task_id)
        return task.epoch if task else 0

    def reach(self, point: Point, about: str) -> None:
        """A process has reached a point of its life."""
        process = self._world.current
        if not isinstance(process, Process):
            return
        if point is Point.STEP_BEGIN:
            self._attempt(process, about)
        if point in self._points:
            for plan in self.due(process, point, about):
                self.fire(plan, process, about)

    @staticmethod
    def _attempt(process: Process, task_id: str) -> None:
        key, node, step = process.starting[task_id]
        process.note(TraceKind.ATTEMPT, key=key, node=node, step=step)

    # What is done

    def _sigkill(self, plan: Planned, process: Process | None, about: str) -> None:
        del about
        assert process is not None
        process.kill()
        self.see(plan, f"{process.name} (pid {process.pid}) ended by signal 9")
        if plan.fault.back_after_seconds is not None:
            self._stage.restart(process, us(plan.fault.back_after_seconds))
        if self._world.current is process:
            raise Died

    def _sigstop(self, plan: Planned, process: Process | None, about: str) -> None:
        del about
        assert process is not None
        process.freeze()
        self.see(plan, f"{process.name} (pid {process.pid}) stood still")
        if plan.fault.for_seconds is not None:
            # Of several that stood still together, one is awake before the others.
            slow_us = self._world.chance("wakes", 0, _WAKES_US) if plan.fault.actor == ALL else 0
            wakes_us = us(plan.fault.for_seconds) + slow_us
            self._world.later(wakes_us, lambda: self._go_on(plan, process))
        if self._world.current is process:
            self._stand(process, lambda: not process.frozen)

    def _go_on(self, plan: Planned, process: Process) -> None:
        if not process.dead:
            self.see(plan, f"{process.name} (pid {process.pid}) went on")
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
        self.see(plan, f"{process.name} (pid {process.pid}) was asked to drain")
        if plan.fault.back_after_seconds is not None:
            process.back_after_us = us(plan.fault.back_after_seconds)

    def _outage(self, plan: Planned, process: Process | None, about: str) -> None:
        del about
        fault = plan.fault
        until = None if fault.for_seconds is None else self._world.now + us(fault.for_seconds)
        hit = self._stage.processes if fault.actor in EVERYBODY else [process] if process else []
        for one in hit:
            one.line.cut(fault.of, until)
        named = ", ".join(one.name for one in hit if not one.dead)
        self.see(plan, f"{fault.of} of {named} refused")

    def _drop_ack(self, plan: Planned, process: Process | None, about: str) -> None:
        del about
        assert process is not None
        self.see(plan, f"an answer to {process.name} was lost")
        raise StoreError(url="sqlite:///:memory:", detail="the trial has lost the answer")

    def _delay(self, plan: Planned, process: Process | None, about: str) -> None:
        del about
        assert process is not None
        until = self._world.now + us(plan.fault.for_seconds or 0)
        self._world.at(until, lambda: None)
        self.see(plan, f"a call of {process.name} was held up")
        self._stand(process, lambda: self._world.now >= until and not process.frozen)

    def _fail_write(self, plan: Planned, process: Process | None, about: str) -> None:
        del about
        assert process is not None
        self.see(plan, f"a write of {process.name} failed")
        raise sqlite3.OperationalError("disk I/O error")

    def _block_loop(self, plan: Planned, process: Process | None, about: str) -> None:
        assert process is not None
        until = self._world.now + us(plan.fault.for_seconds or 0)
        process.blocked_until[about] = until
        self._world.at(until, lambda: None)
        self.see(plan, f"a node of {process.name} blocked its thread")
        self._stand(process, lambda: self._world.now >= until and not process.frozen)

    def _clock_offset(self, plan: Planned, process: Process | None, about: str) -> None:
        del about
        seconds = plan.fault.seconds
        if plan.fault.actor == STORE:
            self._stage.note_store_step(seconds)
            self.see(plan, f"the store's wall clock leapt by {seconds:g} s")
            return
        for one in self.hit(plan, process):
            one.clock.shift(offset_us=round(seconds * 1e6))
            self._follow(one)
            self.see(plan, f"the clock of {one.name} leapt by {seconds:g} s")

    def _clock_rate(self, plan: Planned, process: Process | None, about: str) -> None:
        del about
        for one in self.hit(plan, process):
            one.clock.shift(rate_permille=round(plan.fault.rate * 1000))
            self._follow(one)
            self.see(plan, f"the clock of {one.name} runs {plan.fault.rate:g} times as fast")

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
            self.see(plan, f"{named} were there together")
        self._stand(process, lambda: len(plan.waiting) >= parties)

    def _twin(self, plan: Planned, process: Process | None, about: str) -> None:
        del about
        assert process is not None
        made = self._stage.twin(process)
        self.see(plan, f"pid {made.pid} began as {made.name} beside pid {process.pid}")

    def _resubmit(self, plan: Planned, process: Process | None, about: str) -> None:
        del process, about
        task_id = plan.fault.task or ""
        was = "a new one" if self._stage.resubmit(task_id) else "known"
        self.see(plan, f"{task_id} was submitted again and found {was}")

    def _snapshot(self, plan: Planned, process: Process | None, about: str) -> None:
        del process, about
        self.see(plan, f"copied as of position {self._stage.snapshot()}")

    def _restore(self, plan: Planned, process: Process | None, about: str) -> None:
        del about
        self.see(plan, f"put back as of position {self._stage.restore()}")
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
