"""Takeovers, put together from the ledger as their stages become known.

A takeover is a claim that continues a run which another session left unfinished. It passes
through the stages of ``Stage``, each once, in the store's time:

* **claimed**: the new epoch is committed; the event says who was lost, since when, and why;
* **restored**: the graph's state is loaded and its first node may start (``resumed``). A runtime
  of somebody's own (an external task) has no way to say so: there a takeover counts as restored
  at the first event that its new holder writes about its work, which is the first step as a
  rule, so that its restore phase contains that step's nodes;
* **progressed**: the first new step or effect is durable;
* **abandoned**: the lease ended, and nothing shows that the state was ever loaded.

An outcome ``completed`` (nothing was left to run) has no progress to wait for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

from baton.domain.ledger import Event
from baton.domain.words import EventType, TakeoverOutcome, TakeoverPhase, TakeoverReason

_E = EventType


class Stage(StrEnum):
    """How far a takeover has come, in the order in which the stages pass."""

    CLAIMED = "claimed"
    RESTORED = "restored"
    PROGRESSED = "progressed"
    ABANDONED = "abandoned"


#: The fields of ``Takeover`` between which each phase lies.
PHASES: Mapping[TakeoverPhase, tuple[str, str]] = {
    TakeoverPhase.DETECT: ("last_sign_at", "lost_at"),
    TakeoverPhase.CLAIM: ("lost_at", "claimed_at"),
    TakeoverPhase.RESTORE: ("claimed_at", "restored_at"),
    TakeoverPhase.PROGRESS: ("restored_at", "progress_at"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """One takeover as far as it is known. Times are store time in microseconds.

    Attributes:
        external: the task runs in somebody's own runtime.
        from_worker: who held the task before, with ``from_session`` and ``from_epoch``.
        to_worker: who holds it now, with ``to_session`` and ``epoch``.
        last_sign_at: the last sign of life of the old holder; of progress, if it was stuck.
        lost_at: the loss was established.
        claimed_at: the new epoch was committed.
        restored_at: the first node may start.
        progress_at: the first new step or effect was durable.
        outcome: what the successor found; None until then.
        evidence: how the loss was known, where there was one.
        silence_us: from the last heartbeat to the loss.
    """

    task_id: str
    run_id: str
    pool: str
    graph: str
    external: bool
    reason: TakeoverReason
    from_worker: str | None
    from_session: str | None
    from_epoch: int | None
    to_worker: str
    to_session: str
    epoch: int
    last_sign_at: int | None
    lost_at: int | None
    claimed_at: int
    restored_at: int | None = None
    progress_at: int | None = None
    outcome: TakeoverOutcome | None = None
    evidence: str | None = None
    silence_us: int | None = None

    @property
    def stage(self) -> Stage:
        """How far it has come."""
        if self.outcome is TakeoverOutcome.ABANDONED:
            return Stage.ABANDONED
        if self.progress_at is not None:
            return Stage.PROGRESSED
        return Stage.CLAIMED if self.outcome is None else Stage.RESTORED

    def phase_us(self, phase: TakeoverPhase) -> int | None:
        """Microseconds that a phase took; None while that is not known."""
        start, end = PHASES[phase]
        return _between(getattr(self, start), getattr(self, end))

    @property
    def latency_us(self) -> int | None:
        """Microseconds of detect, claim and restore together; None while that is not known."""
        return _between(self.last_sign_at, self.restored_at)

    @property
    def detect_seconds(self) -> float | None:
        """Last sign of life until the loss was established."""
        return _seconds(self.phase_us(TakeoverPhase.DETECT))

    @property
    def claim_seconds(self) -> float | None:
        """Loss until the new epoch was committed."""
        return _seconds(self.phase_us(TakeoverPhase.CLAIM))

    @property
    def restore_seconds(self) -> float | None:
        """New epoch until the first node may start."""
        return _seconds(self.phase_us(TakeoverPhase.RESTORE))

    @property
    def progress_seconds(self) -> float | None:
        """First node until the first new step or effect was durable; contains the user's nodes."""
        return _seconds(self.phase_us(TakeoverPhase.PROGRESS))

    @property
    def latency_seconds(self) -> float | None:
        """Detect, claim and restore together: the takeover latency."""
        return _seconds(self.latency_us)

    def to_dict(self) -> dict[str, Any]:
        """Plain values: the fields, the stage, and each phase in seconds."""
        derived: dict[str, Any] = {
            f"{phase}_seconds": _seconds(self.phase_us(phase)) for phase in TakeoverPhase
        }
        stage = {"latency_seconds": self.latency_seconds, "stage": self.stage.value}
        return {**asdict(self), **derived, **stage}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Takeover:
        """Read back ``to_dict``; what is derived is derived again.

        Raises:
            KeyError: a field is not there.
            ValueError: a reason or an outcome is none.
        """
        read = {field.name: values[field.name] for field in fields(cls)}
        read["reason"] = TakeoverReason(read["reason"])
        read["outcome"] = read["outcome"] and TakeoverOutcome(read["outcome"])
        return cls(**read)


#: What a new holder writes about its work. Any of it shows that the state was loaded.
_WORK = frozenset({_E.STEP, _E.EFFECT, _E.EFFECT_DEDUPLICATED, _E.INTERRUPTED, _E.DONE})
_PROGRESS = frozenset({_E.STEP, _E.EFFECT})
_FOUND = {str(found): found for found in TakeoverOutcome if found != TakeoverOutcome.ABANDONED}
_ENDS = frozenset(
    {
        *(_E.CLAIMED, _E.RELEASED, _E.DRAINED, _E.INTERRUPTED, _E.DONE, _E.FAILED),
        *(_E.QUARANTINED, _E.OPERATOR_ACTION),
    }
)


class TakeoverTracker:
    """Follows the takeovers of a ledger, one event at a time.

    Its state is bounded by the number of takeovers under way: one is followed from its claim
    until its first progress or the end of its lease.
    """

    def __init__(self) -> None:
        """Begin with no takeover under way."""
        self._followed: dict[str, Takeover] = {}

    def apply(self, event: Event) -> list[Takeover]:
        """Take the next event; returns the takeovers that reached a new stage by it, in order."""
        type_ = event.type
        followed = self._followed.get(event.task_id or "")
        if followed is None and type_ != _E.CLAIMED:
            return []
        reached: list[Takeover] = []
        if followed is not None:
            reached = self._advance(followed, event)
            if type_ in _ENDS:
                self._followed.pop(followed.task_id, None)
        if type_ == _E.CLAIMED and (opened := _opened(event)) is not None:
            self._followed[opened.task_id] = opened
            reached.append(opened)
        return reached

    def open(self) -> list[Takeover]:
        """The takeovers that were claimed and have come to no outcome yet, oldest first."""
        return [found for found in self._followed.values() if found.outcome is None]

    def to_dict(self) -> list[dict[str, Any]]:
        """The takeovers under way, to go on with later."""
        return [followed.to_dict() for followed in self._followed.values()]

    @classmethod
    def from_dict(cls, stored: list[dict[str, Any]]) -> TakeoverTracker:
        """Go on where ``to_dict`` left off."""
        tracker = cls()
        for values in stored:
            followed = Takeover.from_dict(values)
            tracker._followed[followed.task_id] = followed
        return tracker

    def _advance(self, now: Takeover, event: Event) -> list[Takeover]:
        type_ = event.type
        # Only the new holder's own work counts; a write that the fence let slip does not.
        own = event.epoch == now.epoch
        reached: list[Takeover] = []
        if now.outcome is None:
            outcome = _outcome(event) if own else None
            if outcome is None and type_ in _ENDS:
                return [replace(now, outcome=TakeoverOutcome.ABANDONED)]
            if outcome is None:
                return []
            now = replace(now, outcome=outcome, restored_at=event.at)
            reached.append(now)
        if own and type_ in _PROGRESS:
            reached.append(replace(now, progress_at=event.at))
        if reached:
            self._followed[now.task_id] = now
        if now.outcome is TakeoverOutcome.COMPLETED or (own and type_ in _PROGRESS):
            del self._followed[now.task_id]
        return reached


def _outcome(event: Event) -> TakeoverOutcome | None:
    """What an event of the new holder says about its takeover; None if it does not tell."""
    if event.type == _E.RESUMED:
        return _FOUND.get(_text(event.data, "outcome") or "", TakeoverOutcome.RESUMED)
    if event.type == _E.DONE:
        return TakeoverOutcome.COMPLETED
    return TakeoverOutcome.RESUMED if event.type in _WORK else None


def _opened(event: Event) -> Takeover | None:
    """The takeover that a claim begins; None for a claim that begins a run."""
    try:
        reason = TakeoverReason(event.reason or "")
    except ValueError:
        return None
    data = event.data
    return Takeover(
        task_id=event.task_id or "",
        run_id=event.run_id or "",
        pool=_text(data, "pool") or "",
        graph=_text(data, "graph") or "",
        external=data.get("external") is True,
        reason=reason,
        from_worker=_text(data, "previous_worker"),
        from_session=_text(data, "previous_session"),
        from_epoch=_whole(data, "previous_epoch"),
        to_worker=event.worker_id or "",
        to_session=event.session_id or "",
        epoch=event.epoch or 0,
        last_sign_at=_whole(data, "last_sign_at"),
        lost_at=_whole(data, "lost_at"),
        claimed_at=event.at,
        evidence=_text(data, "evidence"),
        silence_us=_whole(data, "silence_us"),
    )


def _whole(data: Mapping[str, Any], key: str) -> int | None:
    value = data.get(key)
    return value if type(value) is int else None


def _text(data: Mapping[str, Any], key: str) -> str | None:
    value = data.get(key)
    return value if isinstance(value, str) else None


def _between(start: int | None, end: int | None) -> int | None:
    return None if start is None or end is None else end - start


def _seconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1e6
