"""What the target of a trial's effects holds in the end, for every engine alike."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from baton.domain.continuity.model import SinkEntry


def sink_of(held: Mapping[str, tuple[str, str, int]]) -> tuple[SinkEntry, ...]:
    """What the target of the effects holds.

    Args:
        held: by effect key, the task, what happened, and how often it was tried.
    """
    return tuple(
        SinkEntry(
            key=key,
            task_id=task_id,
            value_digest=hashlib.sha256(value.encode()).hexdigest(),
            attempts=attempts,
        )
        for key, (task_id, value, attempts) in sorted(held.items())
    )
