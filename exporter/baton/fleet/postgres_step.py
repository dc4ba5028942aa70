"""A super-step as one plain statement.

``baton_put`` does the same whatever there is to write, and pays for it: a function builds each of
its expressions anew in every transaction, and an array is taken apart row by row. Nearly every
super-step has few rows, which are values of a statement that the server keeps prepared.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

from baton.domain.ledger import SCHEMA_VERSION, netstring, task_chain
from baton.domain.words import EventType
from baton.fleet.model import Checkpoint, LeaseKey, ParkedWrite
from baton.fleet.postgres_write import SQL

#: With more values than this psycopg reads a statement's text anew each time.
_VALUES_MAX = 50

#: How a row of each kind is written, by the place of its first value.
_CHANNEL = ("text", "text", "text", "bytea")
_WRITE = ("text", "text", "text", "text", "integer", "text", "text", "bytea")

_LEASES_MAX = 1024


def step_statement(
    key: LeaseKey,
    run_id: str,
    worker_id: str,
    c: Checkpoint,
    parked: Sequence[ParkedWrite],
    payload: str,
    wall: int,
) -> tuple[str, dict[str, Any]] | None:
    """The statement and its values; None if there are too many for one.

    Args:
        key: the lease.
        run_id: the run.
        worker_id: the holder's worker.
        c: the checkpoint.
        parked: the pending writes that go with it.
        payload: of the event.
        wall: wall time in microseconds.
    """
    before, middle, after = _fixed(*key, run_id, worker_id)
    after = f"{middle}{netstring(c.checkpoint_id)}{after}{netstring(payload)}"
    values = {
        "task": key.task_id,
        "epoch": key.epoch,
        "session": key.session_id,
        "chain": task_chain(key.task_id),
        "wall": wall,
        "run": run_id,
        "worker": worker_id,
        "step": c.checkpoint_id,
        "payload": payload,
        "before": before,
        "after": netstring(wall) + after,
        "ns": c.ns,
        "parent": c.parent_id,
        "body": c.blob.decode(),
        "metadata": c.metadata.decode(),
    }
    for kind, rows in (("c", c.channels), ("w", [row[1:] for _, row in parked])):
        for number, row in enumerate(rows):
            for place, value in enumerate(row):
                values[f"{kind}{number}_{place}"] = value
    if len(values) > _VALUES_MAX:
        return None
    return _text(len(c.channels), len(parked)), values


@lru_cache(maxsize=_LEASES_MAX)
def _fixed(
    task_id: str, epoch: int, session_id: str, run_id: str, worker_id: str
) -> tuple[str, str, str]:
    """What the encodings of all steps of a lease share: before n, before and after the step id."""
    return (
        netstring(SCHEMA_VERSION) + netstring(task_chain(task_id)),
        netstring(EventType.STEP.value) + netstring(task_id) + netstring(run_id),
        netstring(worker_id) + netstring(session_id) + netstring(epoch) + netstring(None),
    )


@cache
def _text(channels: int, writes: int) -> str:
    parts = [SQL["step"]]
    for name, kind, types, count in (
        ("step_channels", "c", _CHANNEL, channels),
        ("step_writes", "w", _WRITE, writes),
    ):
        if count:
            rows = ", ".join(f"({_row(f'{kind}{number}', types)})" for number in range(count))
            parts.append(SQL[name].replace("[rows]", rows))
    return "\n".join((*parts, SQL["step_end"]))


def _row(name: str, types: Sequence[str]) -> str:
    # Bytes travel as they are, and not as text.
    return ", ".join(
        f"%({name}_{place}){'b' if type_ == 'bytea' else 's'}::{type_}"
        for place, type_ in enumerate(types)
    )
