"""Takeovers in plain words: the cause, the holders, the phases, and what limited them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from baton.domain.ledger import Event
from baton.domain.takeovers import Stage, Takeover
from baton.domain.words import EventType, Evidence, TakeoverOutcome, TakeoverPhase, TakeoverReason
from baton.observe.report.history import Case, History, PutAside
from baton.observe.wording import duration

_R = TakeoverReason

#: The phases that takeover latency consists of.
LATENCY = (TakeoverPhase.DETECT, TakeoverPhase.CLAIM, TakeoverPhase.RESTORE)

#: How a loss was known, as the end of a sentence.
_KNOWN: Mapping[str | None, str] = {
    Evidence.PIDFD: "the kernel reported the end of its process",
    Evidence.FLOCK: "the kernel let go of the lock that its process held",
    Evidence.CONNECTION: "the database saw its connection end",
    Evidence.TTL: "it was silent for longer than its TTL",
}

_FOUND: Mapping[TakeoverOutcome | None, str] = {
    TakeoverOutcome.RESUMED: "went on from its last durable step",
    TakeoverOutcome.RESTARTED: "began again from its input, as there was no checkpoint",
    TakeoverOutcome.COMPLETED: "found nothing left to run",
    TakeoverOutcome.ABANDONED: "did not get to load its state before it lost the task as well",
    None: "has not loaded its state yet",
}


@dataclass(frozen=True, slots=True)
class Said:
    """A statement, and the lines of the ledger that it rests on.

    Attributes:
        text: one sentence for people.
        lines: where the ledger says so.
        command: what to type, for something that is to be done.
        whole: it speaks of what is not there, and rests on every line that was read; ``lines``
            are then the first and the last of them.
    """

    text: str
    lines: tuple[Event, ...]
    command: str | None = None
    whole: bool = False


def times(count: int, what: str, many: str | None = None) -> str:
    """A number of things."""
    return f"{count or 'no'} {what if count == 1 else many or what + 's'}"


def some(names: Iterable[str], most: int = 5) -> str:
    """Some names, and how many more there are."""
    found = sorted(set(names))
    shown = ", ".join(found[:most])
    return shown if len(found) <= most else f"{shown} and {len(found) - most} more"


def cause(case: Case) -> Said:
    """Why the run needed another holder."""
    takeover, lost = case.takeover, case.lost
    who = takeover.from_worker or "the holder before"
    lines = tuple(event for event in (lost, case.vacated, case.claim) if event is not None)
    match takeover.reason:
        case _R.CRASHED:
            known = _KNOWN.get(takeover.evidence, "its session was found to be over")
            return Said(f"{who} was gone: {known}", lines)
        case _R.HEARTBEAT_LOST if case.vacated is not None:
            return Said(f"{who} could not renew its session and gave the task back itself", lines)
        case _R.HEARTBEAT_LOST:
            return _silence(case, who, lines)
        case _R.PROGRESS_STALLED:
            text = f"{who} lived, but brought nothing durable within the deadline of its graph"
            return Said(text, lines)
        case _R.DRAINED:
            between = case.vacated is not None and case.vacated.type == EventType.DRAINED
            how = "between two steps" if between else "unfinished, as its session ended"
            return Said(f"{who} gave the task back {how}, as planned", lines)
        case _R.OPERATOR:
            return Said(f"an operator took the task from {who}", lines)


def _silence(case: Case, who: str, lines: tuple[Event, ...]) -> Said:
    silence = case.takeover.silence_us
    length = "for longer than its TTL" if silence is None else f"for {duration(silence)}"
    text = f"{who} sent no heartbeat {length} and was declared lost by its silence"
    if case.refused:
        # Only a process that lives can be refused: it was frozen or cut off, and not dead.
        return Said(f"{text}; it was frozen or cut off and not dead, as it wrote later", lines)
    return Said(f"{text}; whether it was dead, frozen or cut off, the ledger does not tell", lines)


def quarantine_cause(aside: PutAside) -> Said:
    """Why a task was put aside."""
    event = aside.event
    reasons = some((one.takeover.reason.value for one in aside.cases), 9)
    counted = event.data.get("fruitless")
    last = f"; the last holder was lost as well ({aside.lost.reason})" if aside.lost else ""
    text = (
        f"{counted} takeovers in a row brought nothing durable"
        f"{f' ({reasons})' if reasons else ''}{last}"
    )
    lost = () if aside.lost is None else (aside.lost,)
    return Said(text, (*(one.claim for one in aside.cases), *lost, event))


def handed_over(case: Case) -> Said:
    """From whom to whom, why, and what came of it."""
    takeover = case.takeover
    before = _holder(takeover.from_worker, takeover.from_epoch)
    after = _holder(takeover.to_worker, takeover.epoch)
    text = f"{takeover.task_id} went from {before} to {after} ({takeover.reason.value})"
    text += f": {cause(case).text}. {takeover.to_worker} {_FOUND[takeover.outcome]}"
    if takeover.stage is Stage.RESTORED and takeover.outcome is not TakeoverOutcome.COMPLETED:
        text += ", and has made nothing durable yet"
    if case.replayed:
        text += f"; {times(case.replayed, 'step')} that had begun ran again"
    if case.refused:
        late = times(len(case.refused), "late write")
        text += f"; {late} of {takeover.from_worker} came and {_was(case.refused)} refused"
    return Said(f"{text}.", (*case.lines, *case.refused))


def set_aside(aside: PutAside) -> Said:
    """A task that nobody holds any more."""
    event, told = aside.event, quarantine_cause(aside)
    before = event.data.get("previous_worker") or "its last holder"
    return Said(
        f"{event.task_id} was put aside (quarantined) and is held by nobody; {before} held it last:"
        f" {told.text}.",
        told.lines,
    )


def _holder(worker: str | None, epoch: int | None) -> str:
    return f"{worker or 'nobody known'}{'' if epoch is None else f' (epoch {epoch})'}"


def _was(things: list[Event]) -> str:
    return "was" if len(things) == 1 else "were"


def length_us(takeover: Takeover, phase: TakeoverPhase | None = None) -> int | None:
    """How long a phase took, or the whole takeover; None while that is not known.

    Time that runs backwards is a finding about the ledger, and no length.
    """
    found = takeover.latency_us if phase is None else takeover.phase_us(phase)
    return None if found is None or found < 0 else found


def phase_lines(case: Case, phase: TakeoverPhase) -> tuple[Event, ...]:
    """Where the beginning and the end of a phase are told; the claim tells of all before it."""
    ends = {
        TakeoverPhase.DETECT: (case.lost, case.claim),
        TakeoverPhase.CLAIM: (case.claim,),
        TakeoverPhase.RESTORE: (case.claim, case.restored),
        TakeoverPhase.PROGRESS: (case.restored, case.progressed),
    }[phase]
    return tuple(event for event in ends if event is not None)


def took(case: Case, history: History) -> Said | None:
    """What a takeover's time went into; None while it is not known."""
    takeover = case.takeover
    known = {phase: us for phase in LATENCY if (us := length_us(takeover, phase)) is not None}
    latency = length_us(takeover)
    if latency is None or len(known) < len(LATENCY):
        return None
    parts = ", ".join(f"{phase} {duration(us)}" for phase, us in known.items())
    longest = max(known, key=lambda phase: known[phase])
    started = history.started.get(takeover.from_session or "")
    why, more = _limit(takeover, longest, started)
    text = (
        f"{takeover.task_id}, epoch {takeover.epoch}: {duration(latency)} ({parts})."
        f" {longest.capitalize()} was the longest: {why}."
    )
    return Said(text, (*case.lines, *more))


def _limit(
    takeover: Takeover, longest: TakeoverPhase, started: Event | None
) -> tuple[str, tuple[Event, ...]]:
    """What a phase is bounded by, with the lines that tell of the bound."""
    if longest is TakeoverPhase.DETECT and takeover.reason is _R.HEARTBEAT_LOST:
        ttl = None if started is None else started.data.get("ttl_us")
        if started is not None and type(ttl) is int:
            return f"silence counts only after the TTL of {duration(ttl)}", (started,)
        return "silence counts only after the TTL", ()
    return {
        TakeoverPhase.DETECT: "the time from its last sign of life until the loss was known",
        TakeoverPhase.CLAIM: "the time until a worker with room for it claimed it",
        TakeoverPhase.RESTORE: "the time until the state of its graph was loaded",
    }[longest], ()
