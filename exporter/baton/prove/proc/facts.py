"""What is found in a store after a trial: its ledger, its checkpoints, and each step run again."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel

import baton
from baton.domain.continuity.model import CheckpointFact, ControlTask, ReplayFact
from baton.domain.continuity.portable import effects_of, steps_of
from baton.domain.ledger import Event
from baton.domain.words import EventType
from baton.fleet.fleet import Fleet
from baton.fleet.guard import needs_async
from baton.fleet.sqlite_store import SqliteStore
from baton.prove.scenarios import graphs

#: What the digests of states leave out: an undisturbed run makes others.
PROJECTION = ("the ids of messages",)

_SERDE = JsonPlusSerializer()

#: The writes of a call that are an input to it, and not its result.
_INPUTS = ("__resume__",)

AnyPregel = Pregel[Any, Any, Any, Any]


def digest_of(values: Mapping[str, Any]) -> str:
    """The digest of a state under the projection."""
    return hashlib.sha256(_SERDE.dumps_typed(_plain(values))[1]).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseMessage):
        return value.model_dump(exclude={"id"})
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in sorted(value)}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def events_of(fleet: Fleet) -> tuple[Event, ...]:
    """The whole ledger."""
    after, found = 0, list[Event]()
    while page := fleet.store.events(after):
        after = page[-1].seq
        found += page
    return tuple(found)


def results_of(fleet: Fleet, events: tuple[Event, ...]) -> dict[str, str]:
    """The digests of the final states of tasks that are done."""
    done = sorted({event.task_id or "" for event in events if event.type == EventType.DONE})
    return {
        task_id: digest_of(_graph_of(fleet, task_id).get_state(_thread(task_id)).values)
        for task_id in done
    }


def _thread(task_id: str, checkpoint_id: str | None = None) -> RunnableConfig:
    about = {"thread_id": task_id, "checkpoint_ns": ""}
    return {"configurable": about | ({"checkpoint_id": checkpoint_id} if checkpoint_id else {})}


def _graph_of(fleet: Fleet, task_id: str) -> AnyPregel:
    return fleet.attach(graphs.GRAPHS[task_id.rpartition("-")[0]]())


def control_of(graph: str, url: str) -> ControlTask:
    """What a graph does when nothing happens to it, in this process.

    Args:
        graph: its name.
        url: an empty store.
    """
    task_id = f"{graph}-1"
    fleet = baton.open(url)
    try:
        made = {graph: graphs.GRAPHS[graph]()}
        fleet.submit(graph, graphs.input_of(graph), task_id=task_id)
        while fleet.task(task_id).state != "done":
            if fleet.task(task_id).state == "interrupted":
                fleet.resume(task_id, graphs.ANSWER)
            baton.Worker(fleet, made, worker_id="control", until_idle=True).run()
        events = events_of(fleet)
        own = [event for event in events if event.task_id is not None]
        return ControlTask(
            steps=steps_of(own),
            effects=effects_of(own),
            state_digest=results_of(fleet, events)[task_id],
        )
    finally:
        fleet.close()


def checkpoints_of(fleet: Fleet, task_ids: tuple[str, ...]) -> tuple[CheckpointFact, ...]:
    """What lies in LangGraph's own tables."""
    digests = _digests_of(fleet)
    facts = []
    for task_id in task_ids:
        # Without a namespace, the checkpoints of all of them.
        for found in fleet.saver().list({"configurable": {"thread_id": task_id}}):
            ns, step_id = found.config["configurable"]["checkpoint_ns"], found.checkpoint["id"]
            parent = found.parent_config
            facts.append(
                CheckpointFact(
                    task_id=task_id,
                    step_id=step_id,
                    parent_id=parent["configurable"]["checkpoint_id"] if parent else None,
                    step=found.metadata["step"],
                    digest=digests.get((task_id, ns, step_id)),
                    ns=ns,
                )
            )
    return tuple(facts)


def _digests_of(fleet: Fleet) -> dict[tuple[str, str, str], str]:
    if not isinstance(fleet.store, SqliteStore):
        return _digests_on_postgres(fleet)
    with fleet.store.data.read() as cursor:
        rows = cursor.execute(
            "SELECT thread_id, checkpoint_ns, checkpoint_id, checkpoint FROM checkpoints"
        ).fetchall()
    return {(row[0], row[1], row[2]): hashlib.sha256(row[3]).hexdigest() for row in rows}


def _digests_on_postgres(fleet: Fleet) -> dict[tuple[str, str, str], str]:
    """Of each checkpoint and the channels that came with it, which lie in a table of their own."""
    from baton.fleet.postgres_saver import digest_of_stored

    with fleet.store.data.read() as cursor:
        rows = cursor.execute(
            "SELECT thread_id, checkpoint_ns, checkpoint_id, checkpoint::text AS body,"
            " parent_checkpoint_id FROM checkpoints"
        ).fetchall()
        values = cursor.execute(
            "SELECT thread_id, checkpoint_ns, channel, version, type, blob FROM checkpoint_blobs"
        ).fetchall()
    blobs = {tuple(row[:4]): tuple(row[2:]) for row in map(_row, values)}
    told = {tuple(row[:3]): row[3:] for row in map(_row, rows)}
    versions = {key: json.loads(body)["channel_versions"] for key, (body, _) in told.items()}
    found = {}
    for (thread_id, ns, step_id), (body, parent_id) in told.items():
        before = versions.get((thread_id, ns, parent_id), {})
        own = versions[thread_id, ns, step_id].items()
        came = [(thread_id, ns, *pair) for pair in own if before.get(pair[0]) != pair[1]]
        channels = [blobs[key] for key in came if key in blobs]
        found[thread_id, ns, step_id] = digest_of_stored(body, channels)
    return found


def _row(row: Any) -> tuple[Any, ...]:
    return tuple(row.values()) if isinstance(row, Mapping) else tuple(row)


def replays_of(fleet: Fleet, task_ids: tuple[str, ...]) -> tuple[ReplayFact, ...]:
    """Every super-step of a graph itself once more, from the checkpoint before it.

    Once by the rules, with every node's body run again, what it was told by people as recorded;
    and once by LangGraph from the writes that are recorded.
    """
    with _rules():
        return tuple(fact for task_id in task_ids for fact in _replays_of(fleet, task_id))


@contextmanager
def _rules() -> Iterator[None]:
    """Nodes that do nothing outside: an effect only says what it came to."""
    outside = graphs.outside
    before = dataclasses.replace(outside)
    outside.once, outside.work = lambda what, send: what, lambda: None  # noqa: ARG005
    try:
        yield
    finally:
        outside.once, outside.work = before.once, before.work


@cache
def _bare(graph: str) -> AnyPregel:
    made = graphs.GRAPHS[graph]()
    return made.compile() if isinstance(made, StateGraph) else made


def _replays_of(fleet: Fleet, task_id: str) -> Iterator[ReplayFact]:
    saver, graph = fleet.saver(), _graph_of(fleet, task_id)
    for found in saver.list(_thread(task_id)):
        if found.parent_config is None or found.metadata["step"] < 0:
            continue
        before = saver.get_tuple(found.parent_config)
        if before is None:
            continue
        step_id, parent_id = (one.checkpoint["id"] for one in (found, before))
        yield ReplayFact(
            task_id=task_id,
            step_id=step_id,
            parent_id=parent_id,
            step=found.metadata["step"],
            recorded=digest_of(graph.get_state(_thread(task_id, step_id)).values),
            replayed=tuple(
                _again(task_id, before, recorded=recorded) for recorded in (False, True)
            ),
        )


def _again(task_id: str, before: CheckpointTuple, *, recorded: bool) -> str:
    """Take one super-step from a checkpoint, in memory; returns the digest of the state."""
    memory = InMemorySaver()
    versions = before.checkpoint["channel_versions"]
    placed = memory.put(_thread(task_id), before.checkpoint, before.metadata, versions)
    writes: dict[str, list[tuple[str, Any]]] = {}
    for call_id, channel, value in before.pending_writes or ():
        if recorded or channel in _INPUTS:
            writes.setdefault(call_id, []).append((channel, value))
    for call_id, own in writes.items():
        memory.put_writes(placed, own, call_id)
    graph = _bare(task_id.rpartition("-")[0]).copy({"checkpointer": memory})
    # As the last of its thread, and not by its id: that would be a fork, which forgets answers.
    config = _thread(task_id)
    if needs_async(graph):
        asyncio.run(graph.ainvoke(None, config, interrupt_before="*", durability="sync"))
    else:
        graph.invoke(None, config, interrupt_before="*", durability="sync")
    return digest_of(graph.get_state(config).values)
