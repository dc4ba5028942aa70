"""A trial with what follows from its ledger, worked out once and only if somebody asks."""

from __future__ import annotations

from copy import deepcopy
from functools import cached_property

from baton.domain.continuity.lease_words import lease_words
from baton.domain.continuity.model import Trial, Verdict
from baton.domain.continuity.tally import Tally
from baton.domain.continuity.watch import Watch
from baton.domain.folds import Fold
from baton.domain.ledger import Event, task_chain
from baton.domain.takeovers import Takeover, TakeoverTracker
from baton.domain.verify import Verifier
from baton.domain.words import EventType, TaskState

_E = EventType

#: What a task may have come to at the end: it is over, was put aside, or waits for an answer.
_SETTLED = ("D", "E", "Q", "I")


class Reading:
    """What the assertions read."""

    def __init__(self, trial: Trial) -> None:
        """Read a trial; nothing is worked out yet."""
        self.trial = trial
        #: What was judged already.
        self.verdicts: dict[str, Verdict] = {}

    def of_ledger(self, assertion: str) -> Tally:
        """What the ledger alone says of an assertion, to go on counting."""
        return deepcopy(self.watch.tallies[assertion])

    @cached_property
    def watch(self) -> Watch:
        """What the ledger alone proves or breaks."""
        verifier, watch = Verifier(self.trial.seal), Watch()
        for event in self.trial.events:
            watch.apply(event, verifier.apply(event))
        watch.finish(verifier.finish())
        return watch

    @cached_property
    def tasks(self) -> dict[str, list[Event]]:
        """The events of each task's chain."""
        found: dict[str, list[Event]] = {}
        for event in self.trial.events:
            if event.task_id is not None and event.chain == task_chain(event.task_id):
                found.setdefault(event.task_id, []).append(event)
        return found

    @cached_property
    def words(self) -> dict[str, str]:
        """The lease word of each task."""
        return lease_words(self.trial.events)

    @cached_property
    def fold(self) -> Fold:
        """The counters that follow from the ledger."""
        fold = Fold()
        for event in self.trial.events:
            fold.apply(event)
        return fold

    @cached_property
    def takeovers(self) -> list[Takeover]:
        """Each takeover as far as it came."""
        tracker, found = TakeoverTracker(), dict[tuple[str, int], Takeover]()
        for event in self.trial.events:
            for reached in tracker.apply(event):
                found[reached.task_id, reached.epoch] = reached
        return list(found.values())

    def claim_line(self, takeover: Takeover) -> str:
        """The ledger line of the claim that began a takeover."""
        for event in self.tasks.get(takeover.task_id, ()):
            if event.type == _E.CLAIMED and event.epoch == takeover.epoch:
                return f"{event.chain}#{event.n}"
        return f"{task_chain(takeover.task_id)}#0"

    def last_line(self, task_id: str) -> str:
        """The last ledger line of a task; its first place if the ledger does not know it."""
        events = self.tasks.get(task_id)
        return f"{task_chain(task_id)}#{events[-1].n if events else 0}"

    def done(self, task_id: str) -> bool:
        """Whether the ledger tells that the task is done."""
        return any(event.type == TaskState.DONE for event in self.tasks.get(task_id, ()))

    def settled_at(self, task_id: str) -> int | None:
        """Store time since which a task is over, put aside or waits for an answer; or None."""
        word = self.words.get(task_id, "")
        if not word.endswith(_SETTLED):
            return None
        return self.tasks[task_id][-1].at
