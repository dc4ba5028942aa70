"""A super-step as one plain statement, sent as the server takes it.

``baton_put`` does the same whatever there is to write, and pays for it: a function builds each of
its expressions anew in every transaction, and an array is taken apart row by row. Nearly every
super-step has few rows, which are values of a statement that the server keeps prepared.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from baton.domain.ledger import SCHEMA_VERSION, netstring, task_chain
from baton.domain.words import EventType
from baton.fleet.model import Checkpoint, LeaseKey, ParkedWrite
from baton.fleet.postgres_connect import INT4, INT8, Prepared, Value, jsonb
from baton.fleet.postgres_write import SQL

#: A statement has so many values at most, so that a connection keeps few of them prepared.
_VALUES_MAX = 50

#: The values that every statement has, in their order, by their types: first those that all steps
#: of a lease share.
_SHARED = {
    "task": "text",
    "epoch": "int8",
    "session": "text",
    "chain": "text",
    "run": "text",
    "worker": "text",
    "mark": "int8",
    "before": "text",
    "wall": "int8",
    "step": "text",
    "payload": "text",
    "after": "text",
    "ns": "text",
    "parent": "text",
    "body": "jsonb",
    "metadata": "jsonb",
}

#: Those that come last where the chain's last event is given.
_GIVEN = {"n": "int8", "at": "int8", "prev": "text"}

#: A row of each kind.
_CHANNEL = ("text", "text", "text", "bytea")
_WRITE = ("text", "text", "text", "text", "int4", "text", "text", "bytea")

_NAME = re.compile(r"%\((\w+)\)s")


class LeaseSteps:
    """The super-steps of one lease over one connection.

    What all of them share is encoded once. And while nobody else appends to the task's chain, each
    stands behind the one before, which need not be looked for: if somebody did, its place is taken.
    The end of a chain is remembered with its connection, since a store is never rolled back to an
    older copy under one that stays.
    """

    __slots__ = ("_before", "_end", "_fixed", "_head", "_middle")

    def __init__(self, key: LeaseKey, run_id: str, worker_id: str, mark: int) -> None:
        """Begin without a head.

        Args:
            key: the lease.
            run_id: the run.
            worker_id: the holder's worker.
            mark: what every mark of the store begins with, from the query of that name.
        """
        task_id, epoch, session_id = key
        chain = task_chain(task_id)
        named = (session_id, chain, run_id, worker_id)
        self._fixed: tuple[bytes, ...] = (
            task_id.encode(),
            INT8.pack(epoch),
            *(value.encode() for value in named),
            INT8.pack(mark),
        )
        self._before = netstring(SCHEMA_VERSION) + netstring(chain)
        self._middle = netstring(EventType.STEP.value) + netstring(task_id) + netstring(run_id)
        whose = netstring(worker_id) + netstring(session_id) + netstring(epoch)
        self._end = whose + netstring(None)
        #: Place, time and hash of the last event, as the server has them.
        self._head: tuple[bytes, bytes, bytes] | None = None

    def statement(
        self, c: Checkpoint, parked: Sequence[ParkedWrite], payload: str, wall: int
    ) -> tuple[Prepared, list[Value]] | None:
        """The next super-step and its values; None if there are too many for one statement.

        Args:
            c: the checkpoint.
            parked: the pending writes that go with it.
            payload: of the event.
            wall: wall time in microseconds.
        """
        count = len(_SHARED) + len(_CHANNEL) * len(c.channels) + len(_WRITE) * len(parked)
        if count > _VALUES_MAX:
            return None
        given: tuple[bytes, ...] = ()
        told, step, before = payload.encode(), c.checkpoint_id, self._before
        after = f",{netstring(wall)}{self._middle}{netstring(step)}{self._end}"
        after += f"{len(told)}:{payload},"
        if self._head is not None:
            given = self._head
            (n,) = INT8.unpack(given[0])
            before += netstring(n + 1)
            after += f"64:{given[2].decode()},"
        values: list[Value] = [
            *self._fixed,
            before.encode(),
            INT8.pack(wall),
            step.encode(),
            told,
            after.encode(),
            c.ns.encode(),
            None if c.parent_id is None else c.parent_id.encode(),
            jsonb(c.blob),
            jsonb(c.metadata),
        ]
        for channel, version, type_, blob in c.channels:
            # A version may be a number; the stock saver's column is a text all the same.
            values += (channel.encode(), str(version).encode(), type_.encode(), blob)
        for _, (_, ns, checkpoint, call, path, place, channel, type_, blob) in parked:
            values += (ns.encode(), checkpoint.encode(), call.encode(), path.encode())
            values += (INT4.pack(place), channel.encode(), type_.encode(), blob)
        values += given
        return _prepared(len(c.channels), len(parked), bool(given)), values

    def written(self, row: Sequence[bytes]) -> int:
        """Take note of what the statement has answered with; returns the place in the tail."""
        seq, at, prev, n = row
        self._head = (n, at, prev)
        place: int = INT8.unpack(seq)[0]
        return place

    def forget(self) -> None:
        """Look for the end of the chain next time."""
        self._head = None


@cache
def _prepared(channels: int, writes: int, given: bool) -> Prepared:  # noqa: FBT001 - a key
    how = "given" if given else "found"
    text, types = [SQL["step"]], dict(_SHARED)
    for name, row, count in (
        ("step_channels", _CHANNEL, channels),
        ("step_writes", _WRITE, writes),
    ):
        rows = []
        for which in range(count):
            fields = {f"{name}_{which}_{place}": type_ for place, type_ in enumerate(row)}
            rows.append(", ".join(f"%({field})s" for field in fields))
            types |= fields
        if rows:
            text.append(SQL[name].replace("[rows]", ", ".join(f"({row})" for row in rows)))
    if given:
        types |= _GIVEN
    event = SQL["step_event"].replace("[head]", SQL[f"step_head_{how}"])
    text.append(event.replace("[encoding]", SQL[f"step_encoding_{how}"]))
    places = {name: f"${place}" for place, name in enumerate(types, 1)}
    return Prepared(
        name=f"baton_step_{channels}_{writes}_{how}".encode(),
        text=_NAME.sub(lambda found: places[found[1]], "\n".join(text)).encode(),
        types=tuple(types.values()),
    )
