"""The rules of faults, the same for every engine: whose arrival at a point counts, and what is due.

An engine says what time it is, who takes part, and how each thing is done.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from baton.domain.continuity.model import FaultFact
from baton.fleet.points import Point
from baton.prove.scenarios.model import ALL, HOLDER, STORE, SUCCESSOR, Do, Fault

#: Points that concern a session and not a task.
OF_SESSIONS = frozenset(
    {Point.CLAIM_BEFORE, Point.BURY_BEFORE, Point.HB_BEFORE, Point.HB_AFTER_WRITE}
)

#: Points behind a commit whose answer can be lost on its way.
ANSWERS = frozenset({Point.HB_AFTER_WRITE, Point.CKPT_AFTER_WRITE, Point.DONE_AFTER})

EVERYBODY = (ALL, STORE)

#: When somebody looks again whether a fault by the clock can happen now, in microseconds.
_AGAIN_US = 50_000

#: Faults by the clock that happen once, and not to each process.
_ONCE = (Do.OUTAGE, Do.CLOCK_OFFSET, Do.RESUBMIT, Do.SNAPSHOT, Do.RESTORE)


class Actor(Protocol):
    """A process, as far as the rules look at it.

    Attributes:
        name: its worker's name.
        dead: whether it is gone.
        epochs: every task that it ever ran, with its last epoch there.
    """

    name: str
    dead: bool
    epochs: dict[str, int]


P = TypeVar("P", bound=Actor)


@dataclass(slots=True)
class Planned(Generic[P]):
    """A fault, and how far it has come."""

    fault: Fault
    arrivals: int = 0
    fired: int = 0
    open_at: int | None = None
    waiting: list[P] = field(default_factory=list)
    observed: list[str] = field(default_factory=list)

    @property
    def spent(self) -> bool:
        """Whether it has happened as often as it is to."""
        return self.fired >= self.fault.times


class Arrivals(ABC, Generic[P]):
    """Watches the points that processes reach, and says what is to be broken."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        """Plan faults.

        Args:
            faults: in the order in which the scenario names them.
        """
        self.planned = [Planned[P](fault) for fault in faults]
        #: Until when something is still disturbed, in the engine's time.
        self.healed_at = 0

    # What an engine supplies

    @property
    @abstractmethod
    def now(self) -> int:
        """Microseconds since the beginning."""

    @property
    @abstractmethod
    def everybody(self) -> Sequence[P]:
        """Every process there ever was, in the order of their beginnings."""

    @abstractmethod
    def at(self, when_us: int, job: Callable[[], None]) -> None:
        """Let something happen at a time."""

    @abstractmethod
    def act(self, plan: Planned[P], process: P | None, about: str) -> None:
        """Do what a fault does."""

    @abstractmethod
    def epoch_of(self, process: P, task_id: str) -> int:
        """The epoch under which a task was claimed just now."""

    def there(self, process: P) -> bool:
        """Whether a fault by the clock can befall a process now."""
        return not process.dead

    # The rules

    def begin(self) -> None:
        """Open the faults that depend on no other."""
        for plan in self.planned:
            if plan.fault.after is None:
                self._open(plan)

    def _open(self, plan: Planned[P]) -> None:
        plan.open_at = self.now + us(plan.fault.after_seconds)
        if plan.fault.at is None:
            self.at(plan.open_at, lambda: self._on_time(plan))

    @property
    def open(self) -> bool:
        """Whether something may still happen by the clock alone."""
        now = self.now
        return self.healed_at > now or any(
            plan.fault.at is None and not plan.spent and plan.open_at is not None
            for plan in self.planned
        )

    def facts(self, must_fire: Iterable[str]) -> tuple[FaultFact, ...]:
        """What was planned, and what was seen of it.

        Args:
            must_fire: the names of those without which the trial shows nothing.
        """
        due = set(must_fire)
        return tuple(
            FaultFact(
                name=plan.fault.name,
                must_fire=plan.fault.name in due,
                fired=plan.fired,
                observed=tuple(plan.observed),
            )
            for plan in self.planned
        )

    def due(self, process: P, point: Point, about: str) -> Iterator[Planned[P]]:
        """The faults that a process brings about by reaching a point; each is to be fired."""
        for plan in self.planned:
            if plan.fault.at is point and self._meets(plan, process, point, about):
                plan.arrivals += 1
                if plan.arrivals >= plan.fault.nth:
                    plan.arrivals = 0
                    yield plan

    def _meets(self, plan: Planned[P], process: P, point: Point, about: str) -> bool:
        fault = plan.fault
        if plan.spent or plan.open_at is None or self.now < plan.open_at:
            return False
        session = point in OF_SESSIONS or about not in process.epochs
        if point is Point.CLAIM_AFTER:
            session, epochs = False, {about: self.epoch_of(process, about)}
        else:
            epochs = process.epochs if session else {about: process.epochs[about]}
        if fault.task is not None and fault.task not in (epochs if session else {about}):
            return False
        if fault.actor == HOLDER:
            return any(epoch == 1 for epoch in epochs.values())
        if fault.actor == SUCCESSOR:
            return any(epoch > 1 for epoch in epochs.values())
        return fault.actor in (*EVERYBODY, process.name)

    def _on_time(self, plan: Planned[P]) -> None:
        fault = plan.fault
        hit = [
            process
            for process in self.everybody
            if self.there(process) and fault.actor in (ALL, process.name)
        ]
        if fault.do in _ONCE:
            self.fire(plan, hit[0] if hit else None, fault.task or "")
            return
        if not hit:
            # It is gone, and may come back.
            self.again(plan)
        for process in hit:
            plan.fired -= process is not hit[0]
            self.fire(plan, process, fault.task or "")

    def again(self, plan: Planned[P]) -> None:
        """Let a fault by the clock happen a little later."""
        self.at(self.now + _AGAIN_US, lambda: self._on_time(plan))

    def fire(self, plan: Planned[P], process: P | None, about: str) -> None:
        """Let a fault happen, and open those that come after it."""
        plan.fired += 1
        fault, now = plan.fault, self.now
        self.healed_at = max(self.healed_at, now + us(fault.for_seconds or 0.0))
        for other in self.planned:
            if other.fault.after == fault.name and other.open_at is None:
                self._open(other)
        if fault.at is None and not plan.spent:
            self.at(now + us(fault.after_seconds or 1.0), lambda: self._on_time(plan))
        self.act(plan, process, about)

    def see(self, plan: Planned[P], what: str) -> None:
        """Take down what was seen of a fault."""
        plan.observed.append(f"{what} at {self.now / 1e6:.6f} s")

    def hit(self, plan: Planned[P], process: P | None) -> list[P]:
        """Whom a fault meets that may meet all."""
        if plan.fault.actor == ALL:
            return [one for one in self.everybody if not one.dead]
        return [process] if process else []


def us(seconds: float) -> int:
    """Whole microseconds."""
    return round(seconds * 1e6)
