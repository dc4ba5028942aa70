"""Archiving finished tasks and pruning them, while workers go on.

In this order, so that a process that is killed anywhere in between has lost nothing, and the next
one goes on with the same files: the fold of the ledger as it is now is stored; a batch of tasks is
noted under the name of its archive; the archive is written and synced; the events before the head
of each chain go, with effects, checkpoints and input, in transactions of bounded size, each of
which looks again whether the task still stands where it was archived.

What stays is the task's row with its epoch, and the head of its chain: a task that comes back, as
one does when a restore is accepted, goes on from there. Threads leased with `fleet.lease` are left
alone: whether such a conversation is over is not for us to say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from baton.domain.chains import ChainState
from baton.domain.ledger import Event, task_chain
from baton.domain.verify import Verifier
from baton.domain.words import TaskState
from baton.fleet.archive import archive_path, opened_folder, read_archives, write_archive
from baton.fleet.store import Store
from baton.fleet.write import Write

#: Tasks in one archive.
BATCH_TASKS = 200

#: Events that one transaction removes, unless one task alone has more.
TRANSACTION_EVENTS = 1000

_FINISHED = (TaskState.DONE.value, TaskState.FAILED.value)
_BELONGINGS = ("delete_checkpoints", "delete_channels", "delete_writes", "delete_effects")


@dataclass(slots=True)
class Pruned:
    """What one run of pruning did.

    Attributes:
        tasks: how many were archived and pruned.
        events: how many events of theirs were removed.
        archives: the files that were written.
        left: chains that do not verify; they are evidence, and stay as they are.
    """

    tasks: int = 0
    events: int = 0
    archives: list[Path] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Chain:
    """A chain as it is archived, and what it told before its head."""

    task_id: str
    events: list[Event]
    told: ChainState

    @property
    def head(self) -> Event:
        return self.events[-1]


def prune(store: Store, folder: Path, older_than_us: int) -> Iterator[Pruned]:
    """Archive and prune the tasks that finished long ago; yields the sum so far after each batch.

    Args:
        store: the open store; workers may run on it.
        folder: where archives go; made if it is not there.
        older_than_us: how long ago they ended at least, in microseconds.

    Raises:
        BadInput: the folder cannot be used.
        BatonError: the store cannot be read or written; what was done until then is done.
    """
    before = store.clock.now_us() - older_than_us
    done = Pruned()
    with opened_folder(folder):
        position = _store_fold(store)
        for batch, task_ids in _batches(store, before):
            chains = _read_chains(store, task_ids, position, done)
            _archive(store, folder, batch, chains, done)
            for part in _parts(chains):
                _remove(store, part, done)
            yield done


def _store_fold(store: Store) -> int:
    """Bring the stored fold up to the end of the ledger; returns that place."""
    fold = store.stored_fold()
    while page := store.events(fold.position):
        for event in page:
            fold.apply(event)
    about = {"position": fold.position, "fold": json.dumps(fold.to_dict())}
    with store.data.write() as write:
        write.run("save_fold", about)
    return fold.position


def _batches(store: Store, before: int) -> Iterator[tuple[str, list[str]]]:
    """First what an earlier run began, then what is due; each batch is noted before it comes."""
    begun = [(row[0], row[1]) for row in store.data.rows("pruning")]
    for batch, noted_before in groupby(begun, key=lambda row: row[0]):
        yield batch, [task_id for _, task_id in noted_before]
    after = {"after_at": -1, "after_id": ""}
    while rows := store.data.rows("prunable", {"before": before, "limit": BATCH_TASKS, **after}):
        after = {"after_at": rows[-1]["ended_at"], "after_id": rows[-1]["task_id"]}
        first = store.task(rows[0]["task_id"])
        batch = f"{store.store_id}-{first.ended_at}-{first.run_id}"
        with store.data.write() as write:
            noted = [
                row["task_id"]
                for row in rows
                if write.run("begin_prune", (task_chain(row["task_id"]), row["task_id"], batch))
            ]
        if noted:
            yield batch, noted


def _read_chains(store: Store, task_ids: list[str], position: int, done: Pruned) -> list[_Chain]:
    """The chains that can go; what is noted and cannot is taken off the note."""
    chains: list[_Chain] = []
    kept: list[str] = []
    for task_id in task_ids:
        chain = task_chain(task_id)
        events = store.chain(chain)
        verifier = Verifier()
        wrong = [finding for event in events[:-1] for finding in verifier.apply(event)]
        told = ChainState.from_list(verifier.state_of(chain).to_list()) if events[1:] else None
        wrong += verifier.apply(events[-1]) if events else []
        if wrong:
            done.left.append(chain)
        if wrong or told is None or events[-1].seq > position:
            kept.append(chain)
        else:
            chains.append(_Chain(task_id, events, told))
    if kept:
        with store.data.write() as write:
            for chain in kept:
                write.run("drop_prune", (chain,))
    return chains


def _archive(store: Store, folder: Path, batch: str, chains: list[_Chain], done: Pruned) -> None:
    """Put on the disk what an earlier run has not put there already."""
    path, number = archive_path(folder, batch), 1
    while path.exists():
        archived = {event.hash for event in read_archives(path)}
        chains = [chain for chain in chains if chain.head.hash not in archived]
        number += 1
        path = archive_path(folder, f"{batch}-{number}")
    if chains:
        events = {task_chain(chain.task_id): chain.events for chain in chains}
        write_archive(path, store.store_id, events)
        done.archives.append(path)


def _parts(chains: list[_Chain]) -> Iterator[list[_Chain]]:
    """Chains in portions of bounded size."""
    part: list[_Chain] = []
    events = 0
    for chain in chains:
        if part and events + len(chain.events) > TRANSACTION_EVENTS:
            yield part
            part, events = [], 0
        part.append(chain)
        events += len(chain.events)
    if part:
        yield part


def _remove(store: Store, chains: list[_Chain], done: Pruned) -> None:
    """One transaction: whatever of these chains still is as it was archived goes."""
    tasks = removed = to = 0
    with store.data.write() as write:
        for chain in chains:
            if not _stands(write, chain):
                write.run("drop_prune", (task_chain(chain.task_id),))
                continue
            told = json.dumps(chain.told.to_list())
            before_head = len(chain.events) - 1
            if not write.run("end_prune", (before_head, told, task_chain(chain.task_id))):
                continue  # Another process has done it meanwhile.
            tasks += 1
            removed += write.run("delete_events", (task_chain(chain.task_id), chain.head.n))
            to = max(to, chain.events[-2].seq)
            for name in _BELONGINGS:
                if name in store.data.sql:
                    write.run(name, (chain.task_id,))
            write.run("hollow_task", (chain.task_id,))
        write.run("note_pruned", (to, tasks, removed))
    done.tasks += tasks
    done.events += removed


def _stands(write: Write, chain: _Chain) -> bool:
    row = write.free_task(chain.task_id)
    if row is None or row["state"] not in _FINISHED:
        return False
    head = write.one("chain_head", (task_chain(chain.task_id),))
    return bool((head["n"], head["hash"]) == (chain.head.n, chain.head.hash))
