"""What a continuity assertion may look at, and what it may say.

A ``Trial`` is everything that is known of one run of a fleet: its ledger, and beside it whatever
a scenario supplies. What is not known is None, and an assertion that needs it is not judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from baton.domain.ledger import Event

#: A series as it was served: its name, and its labels in the order of their names.
SeriesKey = tuple[str, tuple[tuple[str, str], ...]]


class Outcome(StrEnum):
    """What came of judging one assertion."""

    PASS = "pass"  # noqa: S105 - a verdict, and no password
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of judging one assertion, and the lines that show it.

    Attributes:
        assertion: its id, a key of ``ASSERTIONS``.
        outcome: nothing that was not checked passes.
        checked: how many things were held against the assertion.
        violations: how many of them broke it.
        text: one sentence for people.
        witnesses: ledger lines as ``CHAIN#N`` and trace lines as ``trace:LINE``, at most
            ``WITNESSES_MAX``; those that break it, or some of those that were checked.
        judged: false if an input was missing, or the judging itself went wrong.
    """

    assertion: str
    outcome: Outcome
    checked: int
    text: str
    violations: int = 0
    witnesses: tuple[str, ...] = ()
    judged: bool = True


#: More lines than this nobody reads.
WITNESSES_MAX = 20


class TraceKind(StrEnum):
    """What a worker writes into its trace."""

    SESSION_OPENED = "session_opened"
    SESSION_OVER = "session_over"
    BEAT_SENT = "beat_sent"
    BEAT_ACKED = "beat_acked"
    BEAT_FAILED = "beat_failed"
    RUN_BEGAN = "run_began"
    RUN_ENDED = "run_ended"
    ATTEMPT = "attempt"
    EFFECT_ATTEMPT = "effect_attempt"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceLine:
    """One line of a worker's trace: an attempt or a renewal as the worker saw it.

    Attributes:
        kind: what it was; an ``attempt`` is a node that begins.
        at_us: the worker's monotonic clock, whole microseconds.
        confirmed_until_us: until when the leases were surely its own, by the same clock; None
            while no renewal was confirmed.
        effect_key: the key of the effect that is tried, on ``effect_attempt``, if it is known.
        store_us: the store's own time of the renewal, on ``beat_acked``, if it is known.
        ttl_us: the session's TTL, on ``session_opened``.
        margin_us: the last part of it in which no node may begin, on ``session_opened``.
    """

    kind: TraceKind
    at_us: int
    worker_id: str
    session_id: str | None = None
    task_id: str | None = None
    epoch: int | None = None
    step: str | None = None
    node: str | None = None
    effect_key: str | None = None
    store_us: int | None = None
    confirmed_until_us: int | None = None
    ttl_us: int | None = None
    margin_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlTask:
    """What an undisturbed run of one task did.

    Attributes:
        steps: the numbers of its super-steps, in their order; ``portable.steps_of`` counts them.
        effects: the super-step of each effect, sorted, one entry for each;
            ``portable.effects_of`` counts them.
        state_digest: of its final state under the declared projection.
    """

    steps: tuple[int, ...]
    effects: tuple[str, ...]
    state_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What the same inputs lead to when nothing is disturbed.

    Attributes:
        tasks: by task id.
        projection: what the state digests leave out, in words; empty if nothing.
    """

    tasks: Mapping[str, ControlTask]
    projection: tuple[str, ...] = ()

    def each(self) -> list[tuple[str, ControlTask]]:
        """The tasks in the order of their ids, which is also theirs after they were JSON."""
        return sorted(self.tasks.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFact:
    """A checkpoint as it lies in LangGraph's own table.

    Attributes:
        step: LangGraph's number of the super-step.
        digest: SHA-256 of the stored checkpoint, as the step's event gives it; None where the
            store does not keep the bytes of which it is the digest.
        ns: its checkpoint namespace; empty for the graph itself.
    """

    task_id: str
    step_id: str
    parent_id: str | None
    step: int
    digest: str | None
    ns: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayFact:
    """A super-step that was run again from the checkpoint before it, with recorded inputs.

    Attributes:
        recorded: the digest of the recorded state, under the declared projection.
        replayed: the digests of the state that each replay came to; two or more.
    """

    task_id: str
    step_id: str
    parent_id: str
    step: int
    recorded: str
    replayed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkEntry:
    """An effect as its target holds it.

    Attributes:
        key: the effect key that the target was given.
        value_digest: of what it holds under that key.
        attempts: how often somebody tried; the target accepted the first.
    """

    key: str
    task_id: str
    value_digest: str
    attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultFact:
    """A fault that a scenario planned, and what was seen of it.

    Attributes:
        name: tells the faults of a trial apart.
        must_fire: whether the trial shows nothing unless it happened.
        fired: how often it happened.
        observed: what was seen of it, such as ``waitpid: signal 9``.
    """

    name: str
    must_fire: bool
    fired: int
    observed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a scenario expects; None where it expects nothing in particular.

    Attributes:
        lease: the lease word of a task, as ``lease_words`` gives it, such as ``H1 X H2 F``.
        takeovers: how many takeovers there are by reason; reasons left out have none.
        quiet: tasks that nobody may take over.
        assertions: the ids that the scenario requires.
        takeover_max_us: the longest takeover (detect, claim and restore) by reason.
        claims_per_second_max: most claims in any second of store time, over all workers.
        conflicts_max: most refused writes.
        healed_at_us: store time from which nothing is disturbed any more.
        converge_within_us: how long after that every accepted task is over.
    """

    lease: Mapping[str, str] | None = None
    takeovers: Mapping[str, int] | None = None
    quiet: tuple[str, ...] = ()
    assertions: tuple[str, ...] = ()
    takeover_max_us: Mapping[str, int] | None = None
    claims_per_second_max: int | None = None
    conflicts_max: int | None = None
    healed_at_us: int | None = None
    converge_within_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Everything that the assertions may look at.

    Attributes:
        events: the ledger, in the order of its tail.
        complete: whether it was read to its end.
        seal: chain heads that were exported elsewhere.
        accepted: the tasks whose acceptance was confirmed to whoever submitted them.
        control: an undisturbed run of the same inputs.
        results: digests of the final states by task, under the control's projection.
        checkpoints: what lies in LangGraph's tables.
        replays: super-steps that were run again.
        trace: what the workers wrote of their attempts and renewals, each worker's in its order.
        sink: what the target of the effects holds.
        faults: what was to be broken, and what was.
        counters: what the exporter served at the end.
        expected: what the scenario expects.
        mutants_killed: the assertions that a planted bug was seen to fail, in this build.
    """

    events: Sequence[Event]
    complete: bool = True
    seal: Mapping[str, str] | None = None
    accepted: frozenset[str] | None = None
    control: Control | None = None
    results: Mapping[str, str] | None = None
    checkpoints: Sequence[CheckpointFact] | None = None
    replays: Sequence[ReplayFact] | None = None
    trace: Sequence[TraceLine] | None = None
    sink: Sequence[SinkEntry] | None = None
    faults: Sequence[FaultFact] | None = None
    counters: Mapping[SeriesKey, float] | None = None
    expected: Expected = field(default_factory=Expected)
    mutants_killed: frozenset[str] | None = None
