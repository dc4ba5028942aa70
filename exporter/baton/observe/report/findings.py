"""What a ledger lets a report say: which chains are sound, what they tell, what they prove."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from baton.domain.checks import (
    LINKS,
    correlation_mismatch,
    correlation_missing,
    payload_invalid,
    seal_mismatch,
    word_unknown,
)
from baton.domain.continuity import ASSERTIONS, Outcome, Trial, Verdict, judge, merge
from baton.domain.ledger import Event, session_chain, task_chain
from baton.domain.verify import Finding, Seal, Verifier
from baton.domain.verify import Told as ToldBefore
from baton.domain.words import SessionState, TaskState
from baton.observe.report.history import Case, History, PutAside, read, within
from baton.observe.report.scope import Scope, chains_of

#: Assertions that judge the trial and not the fleet.
_OF_TRIALS = "V"

#: After one of these a chain cannot be believed, or not be read. What the other checks find is
#: truly written there, and is a guarantee that was broken: that is told, and not withheld.
ALTERED = frozenset(
    {
        *LINKS,
        *(seal_mismatch.__name__, payload_invalid.__name__, word_unknown.__name__),
        *(correlation_missing.__name__, correlation_mismatch.__name__),
    }
)

_GONE = (SessionState.LOST, SessionState.STOPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What a report is made from.

    Attributes:
        events: every event, in the order of the tail.
        store_id: the store they are from; None where that is not known.
        complete: whether the ledger was read to its end.
        seal: chain heads that were kept elsewhere.
        told: asked for a chain that does not begin with its first event.
    """

    events: Sequence[Event]
    store_id: str | None = None
    complete: bool = True
    seal: Seal | None = None
    told: ToldBefore = lambda chain: None  # noqa: ARG005 - the verifier's own default


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """Where a task stands at the end of the ledger.

    Attributes:
        last: its last line.
        holder: the worker that holds it; None if nobody does.
        orphaned: why nobody works on it although its run is unfinished; None if somebody may.
        external: it runs in somebody's own runtime.
    """

    task_id: str
    state: TaskState
    last: Event
    holder: str | None
    orphaned: str | None
    external: bool
    gone: Event | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the continuity assertions say of some tasks."""

    outcome: Outcome
    verdicts: tuple[Verdict, ...]

    @property
    def checked(self) -> list[Verdict]:
        """Those that something was held against."""
        return [verdict for verdict in self.verdicts if verdict.checked]

    @property
    def broken(self) -> list[Verdict]:
        """Those that were broken."""
        return [verdict for verdict in self.verdicts if verdict.outcome is Outcome.FAIL]


class Findings:
    """Everything that follows from a ledger for one scope.

    Attributes:
        wrong: what is wrong with the ledger, all of it; ``altered`` of that, what makes it
            unbelievable.
        doubtful: chains that matter here and cannot be believed.
        events: the believable events of the chains that matter.
        history: what they tell, narrowed to the scope.
        whole: what they tell, not narrowed to a window.
        pruned: chains of which only the head is left.
    """

    def __init__(self, ledger: Ledger, scope: Scope) -> None:
        """Verify everything, then read what can be believed and matters."""
        self.ledger, self.scope = ledger, scope
        self.verifier = Verifier(ledger.seal, ledger.told)
        wrong = [found for event in ledger.events for found in self.verifier.apply(event)]
        self.wrong: list[Finding] = wrong + self.verifier.finish()
        self.altered = [found for found in self.wrong if found.check in ALTERED]
        untrusted = frozenset(found.chain for found in self.altered)
        sound = [event for event in ledger.events if event.chain not in untrusted]
        chains = chains_of(sound, scope)
        self.doubtful = untrusted
        if scope.kind == "task":
            self.doubtful = untrusted & self._of_task(sound, str(scope.task))
        self.events = [event for event in sound if event.chain in chains]
        self.whole: History = read(self.events)
        self.history = within(self.whole, scope.covers)
        firsts: dict[str, int] = {}
        for event in self.events:
            firsts.setdefault(event.chain, event.n)
        self.pruned = frozenset(chain for chain, n in firsts.items() if n)
        self._by_task: dict[str, Judged | None] = {}
        self._chains: dict[str, list[Event]] = {}
        for event in self.events:
            self._chains.setdefault(event.chain, []).append(event)

    def _of_task(self, sound: Iterable[Event], task_id: str) -> frozenset[str]:
        """The chains that statements on a task rest on, believable or not."""
        own = task_chain(task_id)
        named = {session for event in sound if event.chain == own for session in _named(event)}
        return frozenset({own, *map(session_chain, named)})

    @property
    def trusted(self) -> bool:
        """Whether statements on all of the scope can be supported."""
        return not self.doubtful and self.ledger.complete

    def supported(self, case: Case) -> bool:
        """Whether every chain that a takeover rests on can be believed."""
        takeover = case.takeover
        sessions = (takeover.from_session, takeover.to_session)
        return not {session_chain(one or "") for one in sessions} & self.doubtful

    @cached_property
    def cases(self) -> list[Case]:
        """The takeovers of the scope that can be told of."""
        return [case for case in self.history.cases if self.supported(case)]

    @cached_property
    def put_aside(self) -> list[PutAside]:
        """The quarantines of the scope that can be told of."""
        found = self.history.put_aside
        return [
            one
            for one in found
            if session_chain(str(one.event.data.get("previous_session"))) not in self.doubtful
            and all(map(self.supported, one.cases))
        ]

    @cached_property
    def tasks(self) -> list[TaskView]:
        """Where each task stands at the end of the ledger, by its id."""
        found = (self._view(task_id, last) for task_id, last in sorted(self.whole.last.items()))
        return [view for view in found if view is not None]

    def _view(self, task_id: str, last: Event) -> TaskView | None:
        told = self.verifier.state_of(last.chain)
        if not isinstance(told.state, TaskState):
            return None  # nothing but a trial's faults has been told of it
        worker, session, _ = told.holder or (None, None, None)
        active = told.state is TaskState.ACTIVE
        orphaned, gone = None, None
        if active and (ended := self._session(session)) in _GONE:
            orphaned = f"{worker} is {ended} and nobody has taken it over yet"
            gone = self._chains[session_chain(session or "")][-1]
        elif told.state is TaskState.PENDING and told.vacated is not None:
            orphaned = f"it was given back ({told.vacated}) and nobody has claimed it yet"
        return TaskView(
            task_id=task_id,
            state=told.state,
            last=last,
            holder=worker if active else None,
            orphaned=orphaned,
            external=told.external,
            gone=gone,
        )

    def _session(self, session: str | None) -> SessionState | None:
        chain = session_chain(session or "")
        if chain not in self._chains:
            return None
        state = self.verifier.state_of(chain).state
        return state if isinstance(state, SessionState) else None

    @cached_property
    def judged(self) -> Judged | None:
        """What the continuity assertions say of everything; None where that cannot be trusted."""
        return self._judge(set(self._chains)) if self.trusted else None

    def judged_of(self, task_id: str) -> Judged | None:
        """What they say of one task and the sessions it names; None where that is in doubt."""
        if task_id not in self._by_task:
            own = task_chain(task_id)
            named = {name for event in self._chains.get(own, ()) for name in _named(event)}
            chains = {own, *map(session_chain, named)}
            doubtful = chains & self.doubtful or not self.ledger.complete
            judged = None if doubtful else self._judge(chains & self._chains.keys())
            self._by_task[task_id] = judged
        return self._by_task[task_id]

    def _judge(self, chains: set[str]) -> Judged:
        # A chain of which only the head is left was judged when it was whole.
        found = [event for chain in chains - self.pruned for event in self._chains[chain]]
        found.sort(key=lambda event: event.seq)
        trial = Trial(events=found, complete=self.ledger.complete)
        verdicts = judge(trial, [name for name in ASSERTIONS if not name.startswith(_OF_TRIALS)])
        outcome = merge(verdict.outcome for verdict in verdicts if verdict.checked)
        if not any(event.chain.startswith("task:") for event in found):
            outcome = Outcome.UNKNOWN
        return Judged(outcome=outcome, verdicts=verdicts)

    def line(self, witness: str) -> Event | None:
        """The line that a verdict names as ``CHAIN#N``."""
        chain, _, n = witness.rpartition("#")
        found = self._chains.get(chain, [])
        return next((event for event in found if str(event.n) == n), None)

    def ends(self) -> tuple[Event, ...]:
        """The first and the last line that was read."""
        return (self.events[0], self.events[-1]) if self.events else ()


def _named(event: Event) -> Iterable[str]:
    before: Mapping[str, object] = event.data
    for session in (event.session_id, before.get("previous_session")):
        if isinstance(session, str):
            yield session


__all__ = ["Findings", "Judged", "Ledger", "TaskView"]
