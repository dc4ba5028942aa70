"""What of a task's history is the same in every run of the same input: numbers, never ids."""

from __future__ import annotations

from collections.abc import Iterable

from baton.domain.ledger import Event
from baton.domain.words import EventType


def steps_of(events: Iterable[Event]) -> tuple[int, ...]:
    """The numbers of a task's own super-steps, in their order; subgraphs are within them.

    Args:
        events: the events of one task.
    """
    steps = (event.data for event in events if event.type == EventType.STEP)
    return tuple(data["step"] for data in steps if data.get("ns") == "" and "step" in data)


def effects_of(events: Iterable[Event]) -> tuple[str, ...]:
    """The super-step of each recorded effect, sorted, one entry for each.

    A super-step is written ``3``, or ``sub:0`` inside a subgraph; ``?`` if no step tells of it.

    Args:
        events: the events of one task.
    """
    places: dict[str, str] = {}
    effects: list[str] = []
    for event in events:
        if event.type == EventType.STEP and event.step_id:
            data = event.data
            names = [part.partition(":")[0] for part in str(data.get("ns", "")).split("|")]
            places[event.step_id] = ":".join([*filter(None, names), str(data.get("step"))])
        elif event.type == EventType.EFFECT:
            effects.append(event.step_id or "")
    return tuple(sorted(places.get(step_id, "?") for step_id in effects))
