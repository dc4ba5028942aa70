"""The history of a lease as a word, and what of a run can be compared with another run."""

from __future__ import annotations

from collections.abc import Iterable

from baton.domain.ledger import Event
from baton.domain.words import EventType, TakeoverReason

_E = EventType

_LETTERS: dict[str, str] = {
    _E.RELEASED: "F",
    _E.DRAINED: "F",
    _E.INTERRUPTED: "I",
    _E.DONE: "D",
    _E.FAILED: "E",
    _E.QUARANTINED: "Q",
}
_LOST = frozenset(
    {TakeoverReason.CRASHED, TakeoverReason.HEARTBEAT_LOST, TakeoverReason.PROGRESS_STALLED}
)


def lease_words(events: Iterable[Event]) -> dict[str, str]:
    """The lease word of each task, read off its chain alone.

    ``H2``: a session holds it under epoch 2; ``X``: its holder was lost (crashed, silent or
    stalled), which shows once somebody acts on it; ``F``: it was given back unfinished, or an
    operator took it; ``I``: it waits for an answer; ``Q``: it was put aside; ``D``: done; ``E``:
    failed or cancelled. A task that nobody ever claimed has an empty word.

    Args:
        events: a ledger, each chain in its order.
    """
    words: dict[str, list[str]] = {}
    for event in events:
        if event.type == _E.SUBMITTED or (event.task_id and event.type == _E.CLAIMED):
            words.setdefault(event.task_id or "", [])
        word = words.get(event.task_id or "")
        if word is not None and event.chain == f"task:{event.task_id}":
            word += _letters(event, held=bool(word) and word[-1].startswith("H"))
    return {task_id: " ".join(word) for task_id, word in words.items()}


def _letters(event: Event, *, held: bool) -> list[str]:
    if event.type == _E.CLAIMED:
        left = ["X" if event.reason in _LOST else "F"] if held else []
        return [*left, f"H{event.epoch}"]
    if event.type == _E.QUARANTINED:
        return ["X", "Q"] if held else ["Q"]
    if event.type == _E.OPERATOR_ACTION:
        action = event.data.get("action")
        if action == "cancel":
            return ["E"]
        return ["F"] if held and action != "retry" else []
    letter = _LETTERS.get(event.type)
    return [letter] if letter else []
