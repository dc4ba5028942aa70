"""The ledger read once for a report: takeovers with the lines they rest on, leases, losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from baton.domain import catalogue as c
from baton.domain.folds import Fold
from baton.domain.ledger import Event
from baton.domain.takeovers import Stage, Takeover, TakeoverTracker
from baton.domain.words import EventType

_E = EventType

#: After one of these nobody holds the task; a claim ends the lease before it as well.
_ENDS = frozenset(
    {
        *(_E.RELEASED, _E.DRAINED, _E.INTERRUPTED, _E.DONE, _E.FAILED, _E.QUARANTINED),
        _E.OPERATOR_ACTION,
    }
)
#: By one of these a holder, or an operator in its place, leaves a run unfinished.
_GIVES_BACK = frozenset({_E.RELEASED, _E.DRAINED, _E.OPERATOR_ACTION})


def place(event: Event) -> tuple[str, int]:
    """What tells a line from every other; its ``seq`` is not hashed, so it does not."""
    return event.chain, event.n


@dataclass(slots=True, kw_only=True)
class Case:
    """One takeover, and the lines of the ledger that tell of it.

    Attributes:
        takeover: as far as it came.
        claim: where it was claimed.
        vacated: where the run was given back, if it was.
        lost: where the holder before was declared lost, if it was.
        restored: where the state was loaded, with ``progressed`` and ``abandoned``.
        replayed: how many super-steps ran again.
        effects: effects that the new holder had happen.
        repeats: effects whose recorded result stood.
        refused: writes of the holder before that came too late.
    """

    takeover: Takeover
    claim: Event
    vacated: Event | None = None
    lost: Event | None = None
    restored: Event | None = None
    progressed: Event | None = None
    abandoned: Event | None = None
    replayed: int = 0
    effects: list[Event] = field(default_factory=list)
    repeats: list[Event] = field(default_factory=list)
    refused: list[Event] = field(default_factory=list)

    @property
    def lines(self) -> list[Event]:
        """Where its stages are told, in the order of the ledger."""
        found = (self.vacated, self.lost, self.claim, self.restored, self.progressed)
        told = [event for event in (*found, self.abandoned) if event is not None]
        return sorted({place(event): event for event in told}.values(), key=lambda one: one.seq)


@dataclass(slots=True, kw_only=True)
class PutAside:
    """A task that was quarantined.

    Attributes:
        event: where it was.
        cases: the takeovers of the same run before it.
        lost: where the last holder was declared lost.
    """

    event: Event
    cases: list[Case]
    lost: Event | None = None


@dataclass(slots=True, kw_only=True)
class Lease:
    """A session's hold on a task, from its claim to the line that ended it."""

    claim: Event
    end: Event | None = None


@dataclass(slots=True, kw_only=True)
class History:
    """What a report tells of.

    Attributes:
        events: in the order of the ledger's tail.
        cases: takeovers, in the order of their claims.
        last: the last event of each task.
        lost: where each session was declared lost.
        started: where each session began.
        refusals: late writes.
        faults: what a trial broke.
    """

    events: list[Event] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    put_aside: list[PutAside] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)
    last: dict[str, Event] = field(default_factory=dict)
    lost: dict[str, Event] = field(default_factory=dict)
    started: dict[str, Event] = field(default_factory=dict)
    refusals: list[Event] = field(default_factory=list)
    faults: list[Event] = field(default_factory=list)


class _Reader:
    """Builds a history, one event at a time."""

    def __init__(self) -> None:
        self.history = History()
        self._takeovers, self._fold = TakeoverTracker(), Fold()
        self._replayed = 0.0
        self._cases: dict[tuple[str, int], Case] = {}
        self._held: dict[str, Lease] = {}
        self._vacated: dict[str, Event] = {}

    def apply(self, event: Event) -> None:
        """Take the next event."""
        history = self.history
        history.events.append(event)
        self._fold.apply(event)
        for reached in self._takeovers.apply(event):
            self._reach(reached, event)
        if event.type == _E.SESSION_STARTED:
            history.started[event.session_id or ""] = event
        elif event.type == _E.SESSION_LOST:
            history.lost[event.session_id or ""] = event
        elif event.type == _E.WRITE_REFUSED:
            history.refusals.append(event)
        elif event.type == _E.FAULT_INJECTED:
            history.faults.append(event)
        if event.chain == f"task:{event.task_id}":
            self._of_task(event, event.task_id or "")

    def _of_task(self, event: Event, task_id: str) -> None:
        history = self.history
        history.last[task_id] = event
        if event.type == _E.CLAIMED or event.type in _ENDS:
            lease = self._held.pop(task_id, None)
            if lease is not None:
                lease.end = event
        if event.type == _E.CLAIMED:
            self._held[task_id] = Lease(claim=event)
            history.leases.append(self._held[task_id])
            self._vacated.pop(task_id, None)
        elif event.type in _GIVES_BACK:
            self._vacated[task_id] = event
        elif event.type == _E.QUARANTINED:
            before = [one for one in history.cases if _same_run(one.claim, event)]
            history.put_aside.append(PutAside(event=event, cases=before))
        case = self._cases.get((task_id, event.epoch or 0))
        if case is not None and event.type == _E.EFFECT:
            case.effects.append(event)
        elif case is not None and event.type == _E.EFFECT_DEDUPLICATED:
            case.repeats.append(event)

    def _reach(self, takeover: Takeover, event: Event) -> None:
        key = (takeover.task_id, takeover.epoch)
        if takeover.stage is Stage.CLAIMED:
            vacated = self._vacated.get(takeover.task_id)
            case = Case(takeover=takeover, claim=event, vacated=vacated)
            self._cases[key] = case
            self.history.cases.append(case)
            return
        case = self._cases[key]
        case.takeover = takeover
        if takeover.stage is Stage.RESTORED:
            case.restored = event
            # The exporter counts these too, and there is one rule for both.
            before = self._replayed
            self._replayed = sum(self._fold.counters[c.STEPS_REPLAYED].values())
            case.replayed = round(self._replayed - before)
        elif takeover.stage is Stage.PROGRESSED:
            case.progressed = event
        else:
            case.abandoned = event


def _same_run(claim: Event, event: Event) -> bool:
    return claim.task_id == event.task_id and claim.run_id == event.run_id


def read(events: Iterable[Event]) -> History:
    """Read a ledger, or whole chains of one, in the order of its tail."""
    reader = _Reader()
    for event in events:
        reader.apply(event)
    history = reader.history
    refused: dict[tuple[str | None, str | None], list[Event]] = {}
    for event in history.refusals:
        refused.setdefault((event.task_id, event.session_id), []).append(event)
    for case in history.cases:
        takeover = case.takeover
        # The record of a loss may come behind the claim that rests on it.
        case.lost = history.lost.get(takeover.from_session or "")
        late = refused.get((takeover.task_id, takeover.from_session), [])
        case.refused = [event for event in late if event.epoch == takeover.from_epoch]
    for aside in history.put_aside:
        aside.lost = history.lost.get(str(aside.event.data.get("previous_session")))
    return history


def within(history: History, wanted: Callable[[Event], bool]) -> History:
    """The same history, of which only what happened in a window is told of.

    Args:
        history: everything.
        wanted: whether an event lies in the window.
    """
    return replace(
        history,
        cases=[one for one in history.cases if wanted(one.claim)],
        put_aside=[one for one in history.put_aside if wanted(one.event)],
        refusals=[event for event in history.refusals if wanted(event)],
        faults=[event for event in history.faults if wanted(event)],
    )
