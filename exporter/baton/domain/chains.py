"""What a chain of the ledger has told so far: what its next event is judged against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from baton.domain.ledger import GENESIS, Event
from baton.domain.shapes import SHAPES
from baton.domain.transitions import session_after, task_after
from baton.domain.words import EventType, SessionState, TaskState

_E = EventType
_T = TaskState

#: What only the holder of a task writes, or what is written in its name as it gives the task back.
HOLDER_EVENTS = frozenset(
    {
        *(_E.RESUMED, _E.STEP, _E.EFFECT, _E.EFFECT_DEDUPLICATED, _E.RELEASED, _E.DRAINED),
        *(_E.INTERRUPTED, _E.DONE, _E.FAILED),
    }
)

#: The types by their names.
_BY_NAME: Mapping[str, EventType] = {type_.value: type_ for type_ in SHAPES}

#: A claim of a task in one of these begins a run; only external tasks are claimed so.
_OVER = frozenset({_T.DONE, _T.FAILED, _T.INTERRUPTED})

#: Worker, session and epoch of a claim.
Holder = tuple[str | None, str | None, int | None]


@dataclass(slots=True)
class ChainState:
    """The end of a chain, and what a reader knows at that point.

    Attributes:
        n: the place of the last event; -1 before the first.
        hash: its hash; ``GENESIS`` before the first.
        at: its store time.
        seq: its place in the tail.
        blind: events are missing, and no claim has said since how things stand.
        state: the state of the task or of the session.
        epoch: the highest epoch of the task.
        holder: the last claim.
        run_id: the task's run.
        external: the task runs in somebody's own runtime.
        vacated: the reason for which a pending task's run was left unfinished.
        steps: the last checkpoint by namespace.
    """

    n: int = -1
    hash: str = GENESIS
    at: int | None = None
    seq: int = 0
    blind: bool = False
    state: TaskState | SessionState | None = None
    epoch: int = 0
    holder: Holder | None = None
    run_id: str | None = None
    external: bool = False
    vacated: str | None = None
    steps: dict[str, str] = field(default_factory=dict)

    def behind_gap(self) -> ChainState:
        """What is still known where events are missing: how far time and epoch had come."""
        return ChainState(at=self.at, seq=self.seq, blind=True, epoch=self.epoch)

    def advance(self, event: Event, data: Mapping[str, Any]) -> None:
        """Take note of an event, whatever the checks have said of it.

        Args:
            event: the event that comes next, or one behind a gap.
            data: its payload.
        """
        if event.n != self.n + 1:
            self.blind = True
            self.state = self.holder = self.run_id = self.vacated = None
            self.steps = {}
        self.n, self.hash, self.at = event.n, event.hash, event.at
        self.seq = max(self.seq, event.seq)
        type_ = _BY_NAME.get(event.type)
        if type_ is None or type_ is _E.FAULT_INJECTED:
            return
        after = state_after(self, type_, data) or _likely(type_, data)
        if SHAPES[type_].chain == "task":
            self._advance_task(event, type_, data, after)
        self.state = after

    def _advance_task(
        self,
        event: Event,
        type_: EventType,
        data: Mapping[str, Any],
        after: TaskState | SessionState | None,
    ) -> None:
        if self.blind or self.run_id is None or begins_run(self, type_, data):
            self.run_id = event.run_id
        self.epoch = max(self.epoch, event.epoch or 0)
        if after is _T.PENDING and self.state is _T.ACTIVE:
            self.vacated = event.reason
        elif after is not _T.PENDING:
            self.vacated = None
        if type_ in (_E.SUBMITTED, _E.CLAIMED):
            self.external = data.get("external") is True
        if type_ is _E.CLAIMED:
            self.blind = False
            self.holder = (event.worker_id, event.session_id, event.epoch)
        elif type_ is _E.STEP:
            self._note_step(data.get("ns"), event.step_id)
        elif type_ is _E.DONE and not self.external:
            self.steps = {}

    def _note_step(self, ns: object, step_id: str | None) -> None:
        if ns == "" and len(self.steps) > 1:
            # What ran inside the step that is now durable never runs again.
            self.steps = {inner: last for inner, last in self.steps.items() if ":" not in inner}
        if isinstance(ns, str) and step_id:
            self.steps[ns] = step_id

    def to_list(self) -> list[Any]:
        """Plain values, in the order of the fields."""
        holder = None if self.holder is None else list(self.holder)
        told = [self.n, self.hash, self.at, self.seq, self.blind, self.state, self.epoch]
        return [*told, holder, self.run_id, self.external, self.vacated, dict(self.steps)]

    @classmethod
    def from_list(cls, values: list[Any]) -> ChainState:
        """Read back ``to_list``."""
        n, hash_, at, seq, blind, state, epoch, holder, run_id, external, vacated, steps = values
        return cls(
            n=n,
            hash=hash_,
            at=at,
            seq=seq,
            blind=blind,
            state=_state(state),
            epoch=epoch,
            holder=None if holder is None else (holder[0], holder[1], holder[2]),
            run_id=run_id,
            external=external,
            vacated=vacated,
            steps=dict(steps),
        )


def state_after(
    before: ChainState, type_: EventType, data: Mapping[str, Any]
) -> TaskState | SessionState | None:
    """The state of the task or session after an event; None where it is impossible."""
    state = before.state
    if SHAPES[type_].chain == "session":
        return None if isinstance(state, TaskState) else session_after(state, type_)
    if isinstance(state, SessionState):
        return None
    external = before.external or data.get("external") is True
    return task_after(state, type_, action=_action(data), external=external)


def begins_run(before: ChainState, type_: EventType, data: Mapping[str, Any]) -> bool:
    """Whether an event begins a new run of a task."""
    if type_ is _E.OPERATOR_ACTION:
        return _action(data) == "retry"
    return type_ is _E.RESUME_REQUESTED or (type_ is _E.CLAIMED and before.state in _OVER)


def raises_epoch(type_: EventType, data: Mapping[str, Any]) -> bool:
    """Whether an event comes with a new epoch."""
    if type_ is _E.OPERATOR_ACTION:
        return _action(data) != "retry"
    return type_ in (_E.CLAIMED, _E.QUARANTINED)


def _action(data: Mapping[str, Any]) -> str:
    action = data.get("action")
    return action if isinstance(action, str) else ""


def _likely(type_: EventType, data: Mapping[str, Any]) -> TaskState | SessionState | None:
    """The state after an event whose state before is not known, or cannot have been."""
    if SHAPES[type_].chain == "session":
        return next(filter(None, (session_after(state, type_) for state in SessionState)), None)
    action = _action(data)
    return next(filter(None, (task_after(state, type_, action=action) for state in _T)), None)


def _state(value: str | None) -> TaskState | SessionState | None:
    if value is None:
        return None
    return TaskState(value) if value in {*TaskState} else SessionState(value)
