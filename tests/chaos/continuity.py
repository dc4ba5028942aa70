"""Was anything lost, or done twice? One checker for every chaos test.

It reads what a stranger could read: LangGraph's own tables through plain SQL and the stock saver,
the ledger, and the sink. Each check yields a sentence for what it finds wrong.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from langgraph.checkpoint.sqlite import SqliteSaver
from tests.chaos import graphs
from tests.chaos.harness import Fleet

from baton.domain.ledger import GENESIS, Event, recomputed_hash
from baton.domain.transitions import session_after, task_after
from baton.domain.words import SESSION_EVENTS, EventType, SessionState, TaskState


@dataclass(frozen=True)
class Checkpoint:
    """One row of LangGraph's table."""

    ns: str
    id: str
    parent: str | None
    step: int
    source: str
    epoch: int


@dataclass(frozen=True)
class Undisturbed:
    """What a graph came to when nothing disturbed it."""

    values: dict[str, Any]
    effects: Counter[str]
    steps: Counter[tuple[int, str]]
    digest: str | None


Control = dict[str, Undisturbed]

#: The answer that every question of these tests is given.
ANSWER = "yes"


def take_control(fleet: Fleet) -> Control:
    """Run each graph once from each of its inputs, with one worker and no fault."""
    names = sorted({*graphs.GRAPHS, *graphs.INPUTS} - {"poison"})
    for name in names:
        fleet.submit(name, name)
    worker = fleet.start("control", graphs=list(graphs.GRAPHS), until_idle=True, concurrency=6)
    fleet.wait_state("interrupted", "ask")
    fleet.here.resume("ask", ANSWER)
    again = fleet.start("control-2", graphs=["ask"], until_idle=True)
    fleet.wait_done(*names)
    for process in (worker, again):
        assert process.wait_ended() == 0
    wrong = [line for name in names for line in offences(fleet, name, None)]
    assert wrong == []
    return {name: undisturbed(fleet, name) for name in names}


def undisturbed(fleet: Fleet, task_id: str) -> Undisturbed:
    """What there is to compare with."""
    return Undisturbed(
        values=final_values(fleet, task_id),
        effects=fleet.sink.effects(task_id),
        steps=steps(checkpoints(fleet, task_id)),
        digest=done_digest(fleet, task_id),
    )


def done_digest(fleet: Fleet, task_id: str) -> str | None:
    """The digest that the ledger keeps of the final state; None where messages have random ids."""
    done = fleet.events(task_id, "done")
    random = "messages" in final_values(fleet, task_id)
    return None if random or not done else done[-1].data["state_digest"]


def final_values(fleet: Fleet, task_id: str) -> dict[str, Any]:
    """The state at the head, as a stock saver reads it, without what may differ between runs."""
    with closing(_connect(fleet.folder)) as connection:
        found = SqliteSaver(connection).get_tuple({"configurable": {"thread_id": task_id}})
    assert found is not None
    values = found.checkpoint["channel_values"]
    return graphs.projected({k: v for k, v in values.items() if not k.startswith(("__", "branch"))})


def checkpoints(fleet: Fleet, task_id: str) -> list[Checkpoint]:
    """The checkpoints of a task, of the graph itself and of the graphs inside it."""
    query = (
        "SELECT checkpoint_ns, checkpoint_id, parent_checkpoint_id, metadata"
        " FROM checkpoints WHERE thread_id = ? ORDER BY checkpoint_id"
    )
    with closing(_connect(fleet.folder)) as connection:
        rows = connection.execute(query, (task_id,)).fetchall()
    found = []
    for ns, id_, parent, blob in rows:
        about = json.loads(blob)
        found.append(
            Checkpoint(ns, id_, parent, about["step"], about["source"], about["lease_epoch"])
        )
    return found


def _connect(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{folder}/fleet.db?mode=ro", uri=True, check_same_thread=False)


def steps(found: Iterable[Checkpoint]) -> Counter[tuple[int, str]]:
    """How often each step number occurs; namespaces carry ids, so only their depth is kept."""
    return Counter(
        (one.step, "/".join(p.split(":")[0] for p in one.ns.split("|"))) for one in found
    )


# The checks


def offences(
    fleet: Fleet, task_id: str, expected: Undisturbed | None, *, inputs: int = 1
) -> Iterator[str]:
    """Everything that is wrong with a task.

    Args:
        fleet: its store and sink.
        task_id: the task.
        expected: an undisturbed run of the same graph and input, to compare with.
        inputs: how often the thread was given an input.
    """
    found = checkpoints(fleet, task_id)
    for ns in sorted({one.ns for one in found}):
        inside = [one for one in found if one.ns == ns]
        yield from (f"{task_id} {ns!r}: {wrong}" for wrong in broken_history(inside, inputs))
    chain = fleet.events(task_id)
    yield from (f"{task_id}: {wrong}" for wrong in broken_chain(chain))
    yield from (f"{task_id}: {wrong}" for wrong in foreign_writes(chain))
    yield from (f"{task_id}: {wrong}" for wrong in strange_moves(chain))
    yield from (f"{task_id}: {wrong}" for wrong in unmatched_steps(chain, found))
    effects = fleet.sink.effects(task_id)
    yield from (
        f"{task_id}: effect {what} reached the sink under {keys} keys"
        for what, keys in effects.items()
        if keys != 1
    )
    if expected is not None:
        yield from _differences(fleet, task_id, expected, found, effects)


def _differences(
    fleet: Fleet,
    task_id: str,
    expected: Undisturbed,
    found: list[Checkpoint],
    effects: Counter[str],
) -> Iterator[str]:
    if effects != expected.effects:
        yield f"{task_id}: effects {effects} instead of {expected.effects}"
    if (values := final_values(fleet, task_id)) != expected.values:
        yield f"{task_id}: ends in {values} instead of {expected.values}"
    # An application says that it is done, and nothing of what its graph came to.
    external = fleet.task(task_id).external
    if not external and (digest := done_digest(fleet, task_id)) != expected.digest:
        yield f"{task_id}: the ledger's digest of the end is {digest} instead of {expected.digest}"
    if (counted := steps(found)) != expected.steps:
        yield f"{task_id}: steps {counted} instead of {expected.steps}"


def broken_history(found: Sequence[Checkpoint], inputs: int = 1) -> Iterator[str]:
    """One root, one line, numbered without a gap, under epochs that never fall."""
    roots = [one for one in found if one.parent is None]
    if len(roots) != 1:
        yield f"{len(roots)} roots"
    children = Counter(one.parent for one in found if one.parent is not None)
    yield from (f"checkpoint {id_} has {n} children" for id_, n in children.items() if n > 1)
    by_id = {one.id: one for one in found}
    heads = [one for one in found if one.id not in children]
    if len(heads) != 1:
        yield f"{len(heads)} heads"
        return
    line, at = [heads[0]], heads[0]
    while at.parent is not None:
        if at.parent not in by_id:
            yield f"checkpoint {at.id} has a parent that is not there"
            return
        at = by_id[at.parent]
        line.append(at)
    line.reverse()
    if len(line) != len(found):
        yield f"the head reaches {len(line)} of {len(found)} checkpoints"
    for before, after in pairwise(line):
        if after.step != before.step + 1:
            yield f"step {after.step} follows step {before.step}"
        if after.epoch < before.epoch:
            yield f"epoch {after.epoch} follows epoch {before.epoch} at step {after.step}"
    if (given := sum(one.source == "input" for one in found)) != inputs:
        yield f"{given} inputs"


def broken_chain(chain: Sequence[Event]) -> Iterator[str]:
    """Dense, linked, and each hash as it ought to be."""
    prev = GENESIS
    for n, event in enumerate(chain):
        if event.n != n:
            yield f"event {event.n} stands at place {n} of {event.chain}"
        if event.prev != prev:
            yield f"event {n} of {event.chain} is not linked to the one before"
        if recomputed_hash(event) != event.hash:
            yield f"event {n} of {event.chain} does not have the hash of its fields"
        prev = event.hash


def foreign_writes(chain: Sequence[Event]) -> Iterator[str]:
    """Whatever was accepted came from the session that held the task at that time."""
    epoch, session_id = 0, None
    for event in chain:
        if event.type == EventType.CLAIMED:
            if (event.epoch or 0) <= epoch:
                yield f"claim {event.n} has epoch {event.epoch} after {epoch}"
            epoch, session_id = event.epoch or 0, event.session_id
        elif event.session_id is not None and (event.epoch, event.session_id) != (
            epoch,
            session_id,
        ):
            yield f"{event.type} {event.n} is by epoch {event.epoch} while {epoch} held the task"


def strange_moves(chain: Sequence[Event]) -> Iterator[str]:
    """Every event is possible after those before it."""
    state: TaskState | None = None
    external = bool(chain and chain[0].data.get("external"))
    for event in chain:
        action = event.data.get("action")
        after = task_after(state, EventType(event.type), action=action, external=external)
        if after is None:
            yield f"{event.type} {event.n} cannot follow {state}"
            return
        state = after


def unmatched_steps(chain: Sequence[Event], found: Sequence[Checkpoint]) -> Iterator[str]:
    """The ledger and LangGraph's table tell of the same super-steps."""
    told = Counter(event.step_id for event in chain if event.type == EventType.STEP)
    stored = Counter(one.id for one in found)
    if told != stored:
        yield f"steps only in the ledger {told - stored}, only in the table {stored - told}"


def broken_sessions(events: Iterable[Event]) -> Iterator[str]:
    """Every session's chain is whole, and each event possible after those before it."""
    chains: dict[str, list[Event]] = {}
    for event in events:
        if event.type in SESSION_EVENTS:
            chains.setdefault(event.chain, []).append(event)
    for name, chain in chains.items():
        yield from broken_chain(chain)
        state: SessionState | None = None
        for event in chain:
            after = session_after(state, EventType(event.type))
            if after is None:
                yield f"{name}: {event.type} {event.n} cannot follow {state}"
                break
            state = after


def assert_continuous(
    fleet: Fleet, control: Control, tasks: dict[str, str], *, inputs: int = 1
) -> None:
    """Nothing was lost and nothing done twice.

    Args:
        fleet: the store and the sink.
        control: undisturbed runs.
        tasks: by task, its graph, or which of its inputs it was given.
        inputs: how often each thread was given an input.
    """
    wrong = [
        line
        for task_id, graph in tasks.items()
        for line in offences(fleet, task_id, control[graph], inputs=inputs)
    ]
    wrong += broken_sessions(fleet.all_events())
    assert wrong == []
