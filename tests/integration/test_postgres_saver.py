"""The fenced saver on PostgreSQL: one transaction for a super-step, in the stock saver's rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt
from tests.support.house import House, assert_ledger_holds
from tests.support.postgres import PostgresServer, open_here
from tests.support.runs import Graph, Runs, State, in_a_row, runs_on, says, side_by_side

import baton
from baton.domain.ledger import task_chain
from baton.errors import LeaseLost, LeaseRequired, StoreUnfit
from baton.fleet.postgres_data import DataTables
from baton.fleet.store import new_id
from baton.prove.proc.facts import checkpoints_of

#: Longer than a row of an index may be, and nothing that the server could make shorter.
LONG = "".join(hashlib.sha256(b"%d" % number).hexdigest() for number in range(200))


@pytest.fixture
def runs(database: str) -> Iterator[Runs]:
    """Graphs on PostgreSQL; parked writes wait for whatever comes next."""
    with closing(open_here(database)) as store:
        house = House(store, store.clock, new_id)
        with runs_on(house) as runs:
            yield runs
        assert_ledger_holds(house.events())


@pytest.fixture
def past(database: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection past the store."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def test_a_super_step_is_one_transaction(runs: Runs, past: psycopg.Connection[Any]) -> None:
    """Its checkpoint, its channels, its event, and the pending writes that it follows from."""
    names = [f"n{number}" for number in range(5)]
    graph = in_a_row(**{name: says(name) for name in names})
    lease = runs.lease()
    graph.compile(checkpointer=runs.saver).invoke({"seen": []}, lease.config, durability="sync")
    rows = past.execute(
        "SELECT c.xmin::text = e.xmin::text, (SELECT array_agg(DISTINCT w.xmin::text)"
        " FROM checkpoint_writes AS w WHERE w.checkpoint_id = c.parent_checkpoint_id)"
        " <@ ARRAY[c.xmin::text] FROM checkpoints AS c JOIN baton_event AS e"
        " ON e.step_id = c.checkpoint_id AND e.type = 'step' ORDER BY c.checkpoint_id"
    ).fetchall()
    assert rows[0] == (True, None)
    assert rows[1:] == [(True, True)] * 6


def fan_out() -> Graph:
    """A graph whose second step is as wide as its input."""
    graph: Graph = StateGraph(State)
    graph.add_node("begin", lambda _: {})
    graph.add_node("work", lambda state: {"seen": [f"worked on {state['item']}"]})
    graph.add_edge(START, "begin")
    graph.add_conditional_edges(
        "begin", lambda state: [Send("work", {"item": item}) for item in state["seen"]], ["work"]
    )
    graph.add_edge("work", END)
    return graph


def nested() -> Graph:
    """A graph with a graph inside, whose own checkpoints are kept."""
    inner = in_a_row(inner_a=says("inner a"), inner_b=says("inner b")).compile(checkpointer=True)
    return in_a_row(before=says("before"), inner=inner, after=says("after"))


def asking() -> Graph:
    """A graph that stops at a question in the middle of a step."""
    return side_by_side(one=says("one"), ask=lambda _: {"seen": [interrupt("?")]})


def rows_of(connection: psycopg.Connection[Any]) -> list[Any]:
    """What LangGraph's tables hold, without what differs from run to run."""
    found: list[Any] = []
    steps: dict[str | None, int] = {}
    for ns, step_id, parent, body, metadata in connection.execute(
        "SELECT checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata"
        " FROM checkpoints ORDER BY checkpoint_id"
    ):
        steps[step_id] = metadata["step"]
        name = ns.partition(":")[0]
        inline = json.dumps(body["channel_values"], sort_keys=True).replace(ns, name)
        about = (metadata["source"], steps.get(parent), sorted(body["channel_versions"]))
        found.append(("checkpoint", name, metadata["step"], *about, inline))
    for step_id, path, idx, channel, type_, blob in connection.execute(
        "SELECT checkpoint_id, task_path, idx, channel, type, blob FROM checkpoint_writes"
    ):
        # An interrupt carries an id of its own.
        kept = None if channel == "__interrupt__" else bytes(blob)
        found.append(("write", steps[step_id], path, idx, channel, type_, kept))
    for ns, channel, version, type_, blob in connection.execute(
        "SELECT checkpoint_ns, channel, split_part(version, '.', 1)::int, type, blob"
        " FROM checkpoint_blobs"
    ):
        kept = None if blob is None or channel == "__interrupt__" else bytes(blob)
        found.append(("channel", ns.partition(":")[0], channel, version, type_, kept))
    return sorted(found, key=repr)


@pytest.mark.parametrize(
    "make",
    [lambda: in_a_row(a=says("a"), b=says("b")), fan_out, nested, asking],
    ids=["row", "fan_out", "nested", "asking"],
)
def test_the_rows_are_those_of_the_stock_saver(
    runs: Runs,
    past: psycopg.Connection[Any],
    postgres: PostgresServer,
    make: Callable[[], Graph],
) -> None:
    """Whatever the graph: one after another, wide, nested, or waiting for an answer."""
    value: Any = {"seen": ["x", "y", "z"]}
    lease = runs.lease()
    ours = make().compile(checkpointer=runs.saver).invoke(value, lease.config, durability="sync")
    runs.house.store.data.flush()
    with postgres.empty_database() as url, PostgresSaver.from_conn_string(url) as saver:
        saver.setup()
        config: RunnableConfig = {"configurable": {"thread_id": "t-1"}}
        theirs = make().compile(checkpointer=saver).invoke(value, config, durability="sync")
        assert ours["seen"] == theirs["seen"]
        with psycopg.connect(url) as connection:
            assert rows_of(past) == rows_of(connection)


def test_a_refused_super_step_leaves_nothing_behind(
    runs: Runs, past: psycopg.Connection[Any]
) -> None:
    """Neither a checkpoint nor a channel nor a pending write nor an event."""

    def taken_over(state: State) -> State:
        del state
        runs.supersede(lease)
        return {"seen": ["too late"]}

    lease = runs.lease()
    graph = in_a_row(before=says("before"), taken_over=taken_over)
    with pytest.raises(LeaseLost):
        graph.compile(checkpointer=runs.saver).invoke({"seen": []}, lease.config, durability="sync")
    types = runs.house.types("task:t-1")
    assert types == ["submitted", "claimed", *["step"] * 3, "claimed"]
    tables = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
    late = [
        past.execute(
            f"SELECT count(*) FROM {table} WHERE xmin::text::bigint >= ("  # noqa: S608
            "SELECT max(xmin::text::bigint) FROM baton_event WHERE type = 'claimed')"
        ).fetchone()
        for table in tables
    ]
    assert late == [(0,)] * 3
    assert runs.house.last(f"session:{lease.claim.key.session_id}").type == "write_refused"


@pytest.mark.parametrize("name", ["a\x00b", LONG])
def test_what_the_server_cannot_keep_is_refused_whole(
    runs: Runs, past: psycopg.Connection[Any], name: str
) -> None:
    """And not cut short where a text of C would end; the lease goes on."""
    lease = runs.lease()
    saver, checkpoint = runs.saver, empty_checkpoint()
    checkpoint["channel_values"] = {name: [1]}
    checkpoint["channel_versions"] = {name: "1"}
    with pytest.raises(StoreUnfit):
        saver.put(lease.config, checkpoint, {"step": 0}, {name: "1"})
    assert past.execute("SELECT count(*) FROM checkpoints").fetchone() == (0,)
    assert past.execute("SELECT count(*) FROM checkpoint_blobs").fetchone() == (0,)
    assert runs.house.types("task:t-1") == ["submitted", "claimed"]
    in_a_row(a=says("a")).compile(checkpointer=saver).invoke({"seen": []}, lease.config)
    assert runs.house.types("task:t-1").count("step") == 3


def test_a_plan_that_the_connection_forgot_is_made_anew(runs: Runs) -> None:
    """Psycopg forgets all of them when a transaction of the same connection is rolled back."""
    data = runs.saver._data  # noqa: SLF001 - what only a reconnect would bring about
    assert isinstance(data, DataTables)
    graph = in_a_row(a=says("a")).compile(checkpointer=runs.saver)
    lease = runs.lease()
    graph.invoke({"seen": []}, lease.config, durability="sync")
    with data._pool.connection() as connection:  # noqa: SLF001 - as above
        known = "SELECT name FROM pg_prepared_statements WHERE name LIKE 'baton%'"
        names = [name for (name,) in connection.execute(known)]
        assert names
        for name in names:
            connection.execute(f"DEALLOCATE {name}")
    graph.invoke({"seen": []}, lease.config, durability="sync")
    assert runs.house.types("task:t-1").count("step") == 6
    with data._pool.connection() as connection:  # noqa: SLF001 - as above
        assert connection.execute(known).fetchall()


def test_a_thread_is_pruned_by_its_holder_only(database: str) -> None:
    """The latest checkpoint stays, and the run goes on from it; the ledger is not touched."""
    with baton.open(database) as fleet:
        graph = fleet.attach(in_a_row(a=says("a"), b=says("b")))
        config: RunnableConfig = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        with fleet.lease("t") as lease:
            graph.invoke({"seen": []}, lease.config, durability="sync")
            before = fleet.store.chain(task_chain("t"))
            assert len(list(fleet.saver().list(config))) == 4
            fleet.saver().prune(["t"])
            (kept,) = fleet.saver().list(config)
            assert kept.checkpoint["channel_values"]["seen"] == ["a", "b"]
            assert fleet.store.chain(task_chain("t")) == before
        with pytest.raises(LeaseRequired):
            fleet.saver().prune(["t"])
        with pytest.raises(TypeError, match="a sequence of thread ids"):
            fleet.saver().prune("t")


def test_the_digest_of_a_step_is_found_again_in_the_rows(runs: Runs) -> None:
    """Whatever the numbers and strings that JSON keeps in its own way, and for nested graphs."""
    odd: list[Any] = [1e22, 1.5e-7, -0.0, 1.0, 0.1, 3, True, None, "ß\u2028\t", -1e300, 2**60]
    for number, graph in enumerate((nested(), fan_out())):
        lease = runs.lease(f"t-{number}", worker_id=f"w-{number}")
        graph.compile(checkpointer=runs.saver).invoke({"seen": ["x"]}, lease.config)
    for number, value in enumerate(odd):
        lease = runs.lease(f"odd-{number}", worker_id=f"w-{number}")
        graph = in_a_row(a=lambda _, value=value: {"item": value}, b=says("b"))
        graph.compile(checkpointer=runs.saver).invoke({"seen": []}, lease.config)
    steps = [event for event in runs.house.events() if event.type == "step"]
    facts = checkpoints_of(runs.fleet, tuple({event.task_id or "" for event in steps}))
    found = {(fact.task_id, fact.step_id): fact.digest for fact in facts}
    assert len(found) == len(steps) > 3 * len(odd)
    told = {(event.task_id, event.step_id): event.data["digest"] for event in steps}
    assert found == told


def test_another_value_in_a_row_is_another_digest(
    runs: Runs, past: psycopg.Connection[Any]
) -> None:
    """One byte of a channel, or one character of the checkpoint's own JSON."""
    lease = runs.lease()
    in_a_row(a=says("a"), b=says("b")).compile(checkpointer=runs.saver).invoke(
        {"seen": ["x"], "item": "y"}, lease.config
    )
    before = {fact.step_id: fact.digest for fact in checkpoints_of(runs.fleet, ("t-1",))}
    past.execute(
        "UPDATE checkpoint_blobs SET blob = set_byte(blob, octet_length(blob) - 1, 65)"
        " WHERE channel = 'seen' AND version = (SELECT max(version) FROM checkpoint_blobs)"
    )
    past.execute(
        "UPDATE checkpoints SET"
        " checkpoint = jsonb_set(checkpoint, '{channel_values,item}', '\"z\"')"
        " WHERE checkpoint_id = (SELECT min(checkpoint_id) FROM checkpoints WHERE"
        " checkpoint->'channel_values' ? 'item')"
    )
    after = {fact.step_id: fact.digest for fact in checkpoints_of(runs.fleet, ("t-1",))}
    assert len([step for step in before if before[step] != after[step]]) == 2
