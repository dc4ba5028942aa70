"""Faults on real processes: how each is done, and what was seen of it."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from baton.fleet.fleet import Fleet
from baton.fleet.points import Point
from baton.prove.proc.barrier import FAIL, GO, STEADY
from baton.prove.proc.process import Process
from baton.prove.scenarios import arrivals
from baton.prove.scenarios.arrivals import ANSWERS, EVERYBODY, Arrivals, us
from baton.prove.scenarios.model import STORE, Do, Fault, Scenario

Planned = arrivals.Planned[Process]


class Stage(Protocol):
    """What faults are done to."""

    people: Fleet
    processes: list[Process]

    @property
    def now(self) -> int:
        """Microseconds since the beginning."""

    def at(self, when_us: int, job: Callable[[], None]) -> None:
        """Let something happen at a time."""

    def restart(self, process: Process, after_us: int) -> None:
        """Let a process that is gone come back after a while."""

    def twin(self, process: Process) -> Process:
        """Start a second process under a worker's name."""

    def resubmit(self, task_id: str) -> bool:
        """Submit a task again; returns whether it was new."""

    def step_store(self, seconds: float, done: Callable[[], None]) -> None:
        """Let the clock of the store's host step; ``done`` is told once all see it."""

    def snapshot(self, see: Callable[[str], None]) -> None:
        """Copy the data aside."""

    def restore(self, see: Callable[[str], None]) -> None:
        """End everybody, put the copy back, and let an operator accept it."""


@dataclass(slots=True)
class Arrival:
    """A thread that waits at a point.

    Attributes:
        process: where it waits.
        ticket: which of its threads.
        do: what it is told.
        held: whether it is told later, or never.
    """

    process: Process
    ticket: int
    do: str = GO
    held: bool = False

    def release(self) -> None:
        """Let it go."""
        self.process.answer(self.ticket, self.do)


def refused_by_proc(scenario: Scenario, *, postgres: bool) -> str | None:
    """Why real processes cannot perform a scenario; None if they can.

    Args:
        scenario: the scenario.
        postgres: whether the store is a PostgreSQL database and no SQLite file.
    """
    for fault in scenario.faults:
        why = _cannot(fault, postgres=postgres)
        if why is not None:
            return f"fault {fault.name!r}: {why}"
    return None


def _cannot(fault: Fault, *, postgres: bool) -> str | None:
    if fault.do in (Do.SNAPSHOT, Do.RESTORE) and postgres:
        return "PostgreSQL copies no database that is in use; use --store sqlite"
    if fault.do is Do.CLOCK_OFFSET and fault.actor == STORE and postgres:
        return (
            "store time is the server's own clock there, so a renewal before its step and a loss"
            " after it stand in no order that could be judged; use --store sqlite"
        )
    if fault.do is Do.CLOCK_RATE and fault.actor == STORE:
        return "the store's clock can be made to step here, and not to run at another rate"
    if fault.do is Do.SIGSTOP and fault.at is Point.CKPT_WRITE:
        return (
            f"who stands still at {fault.at} holds the write lock of all, and is ended by whoever"
            " waits for it"
        )
    if fault.do is Do.FAIL_WRITE and fault.at is not Point.CKPT_WRITE:
        return f"a write fails here at {Point.CKPT_WRITE} only"
    if fault.do is Do.DROP_ACK and fault.at not in ANSWERS:
        points = ", ".join(sorted(ANSWERS))
        return f"answers are lost here at {points} only"
    if fault.do is Do.DELAY and fault.at is None:
        return "a delay needs a point here"
    return None


class Director(Arrivals[Process]):
    """Breaks real processes where they wait at a point."""

    def __init__(self, stage: Stage, faults: Iterable[Fault]) -> None:
        """Plan faults.

        Args:
            stage: what they are done to.
            faults: in the order in which the scenario names them.
        """
        super().__init__(faults)
        self._stage = stage
        self._arrival: Arrival | None = None
        self._orders = itertools.count(1)
        self._together: dict[str, list[Callable[[], None]]] = {}

    # See ``Arrivals``

    @property
    def now(self) -> int:
        """The harness's time."""
        return self._stage.now

    @property
    def everybody(self) -> Sequence[Process]:
        """Every process of the trial."""
        return self._stage.processes

    def at(self, when_us: int, job: Callable[[], None]) -> None:
        """In the harness's time."""
        self._stage.at(when_us, job)

    def act(self, plan: Planned, process: Process | None, about: str) -> None:
        """By the table of acts."""
        del about
        _ACTS[plan.fault.do](self, plan, process)

    def there(self, process: Process) -> bool:
        """It has begun, and is not on its way out."""
        leaving = process.doomed or process.back_after_us is not None
        return process.channel is not None and not process.dead and not leaving

    def epoch_of(self, process: Process, task_id: str) -> int:
        """As the store has it: whoever has just claimed is still waiting."""
        del process
        task = self._stage.people.store.task_or_none(task_id)
        return task.epoch if task else 0

    def reach(self, arrival: Arrival, point: Point, about: str) -> None:
        """A thread waits at a point; it goes on at once if nothing is due there."""
        if arrival.process.dead or arrival.process.doomed:
            return
        for plan in self.due(arrival.process, point, about):
            self._arrival = arrival
            try:
                self.fire(plan, arrival.process, about)
            finally:
                self._arrival = None
        if not arrival.held:
            arrival.release()

    def _hold(self) -> Callable[[], None]:
        """Keep the thread that waits where it is; returns what lets it go."""
        arrival = self._arrival
        if arrival is None:
            return lambda: None
        arrival.held = True
        return arrival.release

    # What is done

    def _sigkill(self, plan: Planned, process: Process | None) -> None:
        assert process is not None
        self._hold()
        back = plan.fault.back_after_seconds

        def ended(code: int) -> None:
            if code == -signal.SIGKILL:
                self.see(plan, f"{process.name} (pid {process.pid}) ended by signal 9")
            if back is not None:
                # If it was draining, it comes back once.
                process.back_after_us = None
                self._stage.restart(process, us(back))

        process.doomed = True
        process.when_ended(ended)
        process.signal(signal.SIGKILL)

    def _sigstop(self, plan: Planned, process: Process | None) -> None:
        assert process is not None
        release, arrival = self._hold(), self._arrival
        stopped: list[bool] = []

        def stop() -> None:
            if process.stop():
                stopped.append(True)
                self.see(plan, f"{process.name} (pid {process.pid}) stood still")
            if plan.fault.for_seconds is not None:
                self.at(self.now + us(plan.fault.for_seconds), go_on)

        def go_on() -> None:
            if not process.dead:
                self.see(plan, f"{process.name} (pid {process.pid}) went on")
                # It is read once it wakes up, so that the thread that waits is not behind others.
                if arrival is None:
                    process.tell("loud")
                release()
                process.go_on()

        def missed(code: int) -> None:
            del code
            if not stopped:
                # Something else ended it before it stood still.
                plan.fired -= 1
                self.again(plan)

        # Nobody else of the process may be in the middle of a transaction.
        if arrival is not None:
            process.when("steady", arrival.ticket, stop)
            process.answer(arrival.ticket, STEADY)
        else:
            order = next(self._orders)
            process.when("obeyed", order, stop)
            process.tell("quiet", order)
            process.when_ended(missed)

    def _sigterm(self, plan: Planned, process: Process | None) -> None:
        assert process is not None
        if plan.fault.back_after_seconds is not None:
            process.back_after_us = us(plan.fault.back_after_seconds)
        process.signal(signal.SIGTERM)
        self.see(plan, f"{process.name} (pid {process.pid}) was asked to drain")

    def _outage(self, plan: Planned, process: Process | None) -> None:
        fault = plan.fault
        everybody = fault.actor in EVERYBODY
        hit = [one for one in self.everybody if everybody or one is process]
        hit = [one for one in hit if not one.dead]
        for one in hit:
            one.refuse(fault.of)
        where = " on the wire" if any(one.wire for one in hit) else ""
        named = ", ".join(one.name for one in hit)
        self.see(plan, f"{fault.of} of {named} refused{where}")

        def over() -> None:
            for one in hit:
                one.refuse(None)

        if fault.for_seconds is not None:
            self.at(self.now + us(fault.for_seconds), over)

    def _drop_ack(self, plan: Planned, process: Process | None) -> None:
        self._fail(plan, process, "an answer to {} was lost")

    def _fail_write(self, plan: Planned, process: Process | None) -> None:
        self._fail(plan, process, "a write of {} failed")

    def _fail(self, plan: Planned, process: Process | None, what: str) -> None:
        assert process is not None
        assert self._arrival is not None
        self._arrival.do = FAIL
        self.see(plan, what.format(process.name))

    def _delay(self, plan: Planned, process: Process | None) -> None:
        self._wait(plan, process, "a call of {} was held up")

    def _block_loop(self, plan: Planned, process: Process | None) -> None:
        self._wait(plan, process, "a node of {} blocked its thread")

    def _wait(self, plan: Planned, process: Process | None, what: str) -> None:
        assert process is not None
        self.at(self.now + us(plan.fault.for_seconds or 0.0), self._hold())
        self.see(plan, what.format(process.name))

    def _clock_offset(self, plan: Planned, process: Process | None) -> None:
        seconds = plan.fault.seconds
        if plan.fault.actor == STORE:
            release = self._hold()

            def stepped() -> None:
                self.see(plan, f"the store's wall clock leapt by {seconds:g} s")
                release()

            self._stage.step_store(seconds, stepped)
            return
        for one in self.hit(plan, process):
            self._clock(plan, one, f"leapt by {seconds:g} s", offset_seconds=seconds, rate=None)

    def _clock_rate(self, plan: Planned, process: Process | None) -> None:
        rate = plan.fault.rate
        for one in self.hit(plan, process):
            self._clock(plan, one, f"runs {rate:g} times as fast", offset_seconds=0.0, rate=rate)

    def _clock(self, plan: Planned, one: Process, what: str, **shift: float | None) -> None:
        order = next(self._orders)
        one.when("obeyed", order, lambda: self.see(plan, f"the clock of {one.name} {what}"))
        one.tell("clock", order, **shift)

    def _barrier(self, plan: Planned, process: Process | None) -> None:
        assert process is not None
        release, parties = self._hold(), plan.fault.parties
        plan.waiting.append(process)
        self._together.setdefault(plan.fault.name, []).append(release)
        # Every arrival counts as one firing; the barrier opens once and stays open.
        plan.fired = 0 if len(plan.waiting) < parties else plan.fault.times
        if len(plan.waiting) >= parties:
            named = ", ".join(one.name for one in plan.waiting)
            self.see(plan, f"{named} were there together")
            for let_go in self._together.pop(plan.fault.name):
                let_go()

    def _twin(self, plan: Planned, process: Process | None) -> None:
        assert process is not None
        made = self._stage.twin(process)
        self.see(plan, f"{made.spec.process} began as {made.name} beside pid {process.pid}")

    def _resubmit(self, plan: Planned, process: Process | None) -> None:
        del process
        task_id = plan.fault.task or ""
        was = "a new one" if self._stage.resubmit(task_id) else "known"
        self.see(plan, f"{task_id} was submitted again and found {was}")

    def _snapshot(self, plan: Planned, process: Process | None) -> None:
        del process
        self._stage.snapshot(lambda what: self.see(plan, what))

    def _restore(self, plan: Planned, process: Process | None) -> None:
        del process
        self._stage.restore(lambda what: self.see(plan, what))


_ACTS: dict[Do, Callable[[Director, Planned, Process | None], None]] = {
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
